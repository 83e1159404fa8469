"""Running compiled chains on the Lava simulator, in a child process with a deadline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.lower import LIFChain, pack
from neuromorphic.compiler.quantize import FixedLayer, quantize
from neuromorphic.errors import LavaRunError
from neuromorphic.execution.spikes import Spikes
from neuromorphic.lava.compat import require_lava
from neuromorphic.lava.program import Program, fixed_program, float_program, save_program

Precision = Literal["float", "fixed"]
GRACE_SECONDS = 5.0
"""Time in which the child may end by itself and free Lava's shared memory, before it is killed."""


@dataclass(frozen=True)
class LavaResult:
    """What a run gave.

    Attributes:
        spikes: For each chain the spikes of each layer by name, shape (T, neurons).
        steps: T.
        seconds: Wall time of the phases: compile, build, start, run, stop, read.
        fixed: How the layers were quantised; empty in float.
    """

    spikes: list[dict[str, Spikes]]
    steps: int
    seconds: dict[str, float]
    fixed: tuple[FixedLayer, ...]


def run_on_lava(
    chains: Sequence[LIFChain],
    inputs: Sequence[NDArray[np.float64]],
    precision: Precision = "float",
    deadline: float = 600.0,
) -> LavaResult:
    """Run chains side by side in one Lava network.

    Args:
        chains: With the same layers, of any sizes.
        inputs: Input of each chain, shape (T, n), T the same for all.
        precision: ``float`` computes in float64; ``fixed`` in Loihi's integers, with scales chosen over all chains.
        deadline: Seconds after which the run is stopped.

    Raises:
        LavaMissingError: Lava is not installed.
        LavaRunError: the run failed or did not end in time; nothing of it is left behind.
        UnsupportedGraphError: the chains cannot be packed.
    """
    require_lava()
    begun = time.perf_counter()
    chain = pack(chains)
    x = np.concatenate(inputs, axis=1)
    if x.shape[1] != chain.sizes[0]:
        raise ValueError(f"the chains take {chain.sizes[0]} inputs, got {x.shape[1]}")
    fixed: tuple[FixedLayer, ...] = ()
    if precision == "fixed":
        fixed_chain = quantize(chain, input_limit=float(np.abs(x).max(initial=0.0)))
        fixed = fixed_chain.layers
        program = fixed_program(fixed_chain, x)
    else:
        program = float_program(chain, x)
    compiled = time.perf_counter()

    layers, seconds = run_program(program, deadline)
    spikes: list[dict[str, Spikes]] = [{} for _ in chains]
    for k, (layer, record) in enumerate(zip(chain.layers, layers, strict=True)):
        ends = np.cumsum([part.sizes[k + 1] for part in chains])
        for own, columns in zip(spikes, np.split(record, ends[:-1], axis=1), strict=True):
            own[layer.name] = columns
    return LavaResult(spikes, len(x), {"compile": compiled - begun, **seconds}, fixed)


def run_program(program: Program, deadline: float) -> tuple[list[Spikes], dict[str, float]]:
    """Run a program in a child process.

    Returns:
        Spikes of every layer, shape (T, neurons), and the seconds of each phase.

    Raises:
        LavaRunError: see :func:`run_on_lava`.
    """
    with tempfile.TemporaryDirectory(prefix="gshn-lava-") as name:
        folder = Path(name)
        begun = time.perf_counter()
        save_program(folder, program)
        for k, population in enumerate(program.populations):
            np.save(folder / f"{k}.spikes.npy", np.zeros((len(program.messages), len(population.vth)), bool))
        saved = time.perf_counter()
        run_child(folder, deadline)
        ended = time.perf_counter()
        seconds = json.loads((folder / "timings.json").read_text())
        seconds["hand over"] = saved - begun + (ended - saved - sum(seconds.values()))
        layers = [np.load(folder / f"{k}.spikes.npy") for k in range(len(program.populations))]
        seconds["read"] = time.perf_counter() - ended
        return layers, seconds


def run_child(folder: Path, deadline: float) -> None:
    """Run :mod:`neuromorphic.lava.child`, in a process group of its own so that all of it can be ended."""
    with (folder / "stderr.txt").open("wb") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "neuromorphic.lava.child", str(folder)],
            stdin=subprocess.PIPE,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
            # Lava's processes share the cores already; threads of BLAS beside them only wait for each other.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    try:
        status = child.wait(deadline)
    except subprocess.TimeoutExpired:
        raise LavaRunError(f"Lava did not end within {deadline:g} s and was stopped; allow more, or run less") from None
    finally:
        end(child)
    if status:
        raise failure(folder, status)


def end(child: subprocess.Popen[bytes]) -> None:
    """End the child and all that it started, if anything of it is left."""
    assert child.stdin is not None
    child.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def failure(folder: Path, status: int) -> LavaRunError:
    """The error that a failed child left: one line, with all that it said as a note."""
    reports = [folder / name for name in ("error.txt", "stderr.txt")]
    text = "\n".join(path.read_text(errors="replace").strip() for path in reports if path.exists()).strip()
    error = LavaRunError(f"Lava failed: {text.splitlines()[0] if text else f'its process ended with status {status}'}")
    error.add_note(text)
    return error
