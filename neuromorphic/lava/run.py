"""Run folded networks on the Lava simulator, in a child process with a deadline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_choice, check_names, check_seconds, check_type
from neuromorphic.compiler.network import Network, Population, repeat
from neuromorphic.compiler.quantize import FixedNetwork, FixedPopulation
from neuromorphic.compiler.schedule import schedule
from neuromorphic.errors import LavaRunError, UnsupportedGraphError
from neuromorphic.execution.populations import by_sample, flat_inputs
from neuromorphic.files import writing
from neuromorphic.lava.compat import require_lava
from neuromorphic.lava.folder import save
from neuromorphic.lava.progress import describe

CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from neuromorphic.lava.child import main
main()
"""
"""The child gets the parent's path, so that it imports the same modules wherever it is started."""
MEND = "make room, or let TMPDIR name another place"
"""What to do about a run's folder, a temporary one, that cannot be written."""
GRACE_SECONDS = 2.0
"""Seconds in which the child can end its own processes. After that all are killed, and the system's init process has to
reap them."""


@dataclass(frozen=True)
class LavaRun:
    """The result of a run on Lava. In a batched run every array has a leading axis of samples, (B, T, M).

    Attributes:
        sent: Messages of every population, shape (T, M): spikes as bool, graded values and outputs as numbers, which
            are integers in fixed point.
        potentials: Membrane potentials after each step, of the populations that were asked for, shape (T, M), in NIR's
            units.
        seconds: Wall time of each phase: hand over (with the start of Python), import, build, start, run, stop, read.
    """

    sent: dict[str, NDArray]
    potentials: dict[str, NDArray[np.float64]]
    seconds: dict[str, float]


def run_network(
    network: Network,
    inputs: Mapping[str, NDArray],
    potentials: Collection[str] = (),
    stock: bool = False,
    deadline: float = 600.0,
    target: Literal["simulator", "loihi2"] = "simulator",
    batched: bool = False,
) -> LavaRun:
    """Run a network from rest, like :func:`neuromorphic.execution.populations.run`.

    Args:
        network: Float, computed in float64, or fixed, computed in Loihi's integers.
        inputs: By name, shape (T, *shape). For a fixed network, too, these are values, not yet messages.
        potentials: Names of the populations whose potentials are recorded.
        stock: Use Lava's own processes for synapses, see :func:`neuromorphic.lava.network.build`.
        deadline: Seconds after which the run is stopped, with Lava's start included.
        target: See :func:`neuromorphic.lava.target.choose_target`. On Loihi 2 synapses are stock and the network fixed.
        batched: Whether inputs and results have an axis of samples, shape (B, T, ...). The samples run side by side.
            Our synapses are in memory once, stock synapses B times.

    Raises:
        ArgumentError: the network, target, a population or the deadline is not valid.
        LavaMissingError: Lava is not installed.
        LavaRunError: the run failed or did not end in time, with the name of the process that is to blame; nothing of
            it is left behind.
    """
    check_type("the network", network, Network, "give what neuromorphic.compiler.lower.lower returns")
    check_choice("target", target, ("simulator", "loihi2"))
    check_names("potentials", potentials, [p.name for p in network.populations])
    check_seconds("deadline", deadline)
    require_lava()
    if target == "loihi2" and (potentials or not isinstance(network, FixedNetwork)):
        raise UnsupportedGraphError("Loihi 2 computes in fixed point (--precision fixed) and shows no potentials")
    begun = time.perf_counter()
    batch, flat = flat_inputs(inputs, batched)
    steps = next(iter(flat.values())).shape[-2]
    network = repeat(network, batch or 1)
    fixed = isinstance(network, FixedNetwork)
    messages = {name: network.messages(name, x) if isinstance(network, FixedNetwork) else x for name, x in flat.items()}
    if batched:  # Side by side, (T, B n).
        messages = {name: x.swapaxes(0, 1).reshape(steps, -1) for name, x in messages.items()}
    with tempfile.TemporaryDirectory(prefix="neuromorphic-lava-") as name:
        folder = Path(name)
        keep: dict[str, dict[str, str]] = {}
        for number, p in enumerate(network.populations):
            keep[p.name] = {"messages": f"{number}.messages.npy"}
            if p.name in potentials:
                keep[p.name]["potentials"] = f"{number}.potentials.npy"
            for key, file in keep[p.name].items():
                integer = bool if key == "messages" and p.spikes else np.int32 if fixed else np.float64
                with writing(folder / file, MEND):
                    np.save(folder / file, np.zeros((steps, p.size), integer))
        plan = schedule(network)
        program = {
            "network": network,
            "plan": plan,
            "messages": messages,
            "steps": steps,
            "keep": keep,
            "stock": stock or target == "loihi2",
            "target": target,
            "stays": False,
        }
        with writing(folder, MEND):
            save(folder, program)
        saved = time.perf_counter()
        run_child(folder, deadline, steps + plan.longest)
        ended = time.perf_counter()
        seconds = json.loads((folder / "timings.json").read_text())
        seconds["hand over"] = saved - begun + (ended - saved - sum(seconds.values()))
        sent = {p.name: by_sample(np.load(folder / keep[p.name]["messages"]), batch) for p in network.populations}
        traces = {
            p.name: by_sample(potentials_of(p, np.load(folder / keep[p.name]["potentials"])), batch)
            for p in network.populations
            if p.name in potentials
        }
        seconds["read"] = time.perf_counter() - ended
        return LavaRun(sent, traces, seconds)


def potentials_of(p: Population, rows: NDArray) -> NDArray[np.float64]:
    """Potentials in NIR's units, from the v of Lava's neurons."""
    if isinstance(p, FixedPopulation):
        rows = rows / 2.0**p.alignment / p.scale
    return rows + p.offset


def run_child(folder: Path, deadline: float, steps: int) -> None:
    """Run :mod:`neuromorphic.lava.child` in a session of its own. So only we get Ctrl-C, and can kill all processes.

    Args:
        folder: The program.
        deadline: Seconds for all of it.
        steps: Lava's steps, for the error message.

    Raises:
        ArgumentError: the deadline is not a time.
        LavaRunError: it failed, or did not end in time.
    """
    check_seconds("deadline", deadline)
    child = start_child(folder)
    try:
        status = child.wait(deadline)
    except subprocess.TimeoutExpired:
        about = describe(folder, child.pid, steps)
        raise LavaRunError(f"Lava did not end within {deadline:g} s and was stopped: {about}") from None
    finally:
        stop_child(child)
    if status:
        raise failure(folder, status)


def start_child(folder: Path, *descriptors: int) -> subprocess.Popen[bytes]:
    """Start the child, see :func:`run_child`; it inherits the file descriptors."""
    with (folder / "stderr.txt").open("wb") as stderr:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-c", CHILD, json.dumps(sys.path), str(folder), str(os.getpid())),
                *map(str, descriptors),
            ],
            stdin=subprocess.PIPE,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
            pass_fds=descriptors,
            # Lava's processes share the cores already; threads of BLAS beside them only wait for each other.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )


def stop_child(child: subprocess.Popen[bytes]) -> None:
    """End the child and all of its processes that are left."""
    assert child.stdin is not None
    try:
        child.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)
    finally:  # Also when Ctrl-C comes again.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def failure(folder: Path, status: int) -> LavaRunError:
    """The error of a failed child: one line, with all of its output as a note."""
    reports = [folder / name for name in ("error.txt", "stderr.txt")]
    text = "\n".join(path.read_text(errors="replace").strip() for path in reports if path.exists()).strip()
    if status < 0:
        reason = f"its main process was killed by signal {-status}; was there memory enough?"
    else:
        reason = text.splitlines()[0] if text else f"its main process ended with status {status}"
    error = LavaRunError(f"Lava failed: {reason}")
    error.add_note(text)
    return error
