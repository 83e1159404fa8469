"""Running a NIR graph in PyTorch, against other frameworks' importers and against its matrix products alone.

    python -m benchmarks.nir_graph --rounds 11 --json nir.json

Affine(256, 256) - LIF - Affine(256, 256) - LIF, T = 64, batch 32, float32, without gradients. ``ours`` is what
``neuromorphic.run --backend torch`` computes with, arrays in and out; ``bound`` the two matrix products over all steps.
``importing`` is not in it. Where an importer's spikes differ from the equation of the NIR specification, the share is
said: docs/peers.md says why, and what mends it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise

import nir
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmarks.timing import OURS, Row, medians, rows, run
from neuromorphic.execution.torch_simulator import simulate_torch
from neuromorphic.graph import flatten

SIZE, STEPS, BATCH, DT = 256, 64, 32, 1e-4


def network() -> nir.NIRGraph:
    """The graph: tau = 2 dt, r = 1, threshold 1."""
    random, full = np.random.default_rng(0), np.ones(SIZE, np.float32)
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input({"input": np.array([SIZE])})}
    for k in range(2):
        weight = random.normal(0, 2.0 / SIZE**0.5, (SIZE, SIZE)).astype(np.float32)
        nodes[f"affine_{k}"] = nir.Affine(weight, 0.3 * full)
        nodes[f"lif_{k}"] = nir.LIF(2 * DT * full, full, 0 * full, full, 0 * full)
    nodes["output"] = nir.Output({"output": np.array([SIZE])})
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)))


def stepwise(module: Callable[..., object], x: torch.Tensor) -> torch.Tensor:
    """Step an imported module that takes its state and gives it back."""
    state, out = None, []
    for step in x.unbind(0):
        spikes, state = module(step, state)
        out.append(spikes)
    return torch.stack(out)


def snntorch(graph: nir.NIRGraph) -> Callable[[torch.Tensor], torch.Tensor]:
    """snnTorch's importer."""
    from snntorch.import_nir import import_from_nir

    module = import_from_nir(graph)
    return lambda x: stepwise(module, x)


def norse(graph: nir.NIRGraph) -> Callable[[torch.Tensor], torch.Tensor]:
    """Norse's importer, told the time step."""
    from norse.torch import from_nir

    module = from_nir(graph, dt=DT)
    return lambda x: stepwise(module, x)


def sinabs(graph: nir.NIRGraph) -> Callable[[torch.Tensor], torch.Tensor]:
    """Sinabs's importer; batch and time share its first axis."""
    from sinabs.nir import from_nir

    module = from_nir(graph, batch_size=BATCH)

    def call(x: torch.Tensor) -> torch.Tensor:
        for part in module.modules():
            if hasattr(part, "reset_states"):
                part.reset_states()
        out = module(x.transpose(0, 1).reshape(-1, SIZE))
        out = out[0] if isinstance(out, tuple) else out
        return out.reshape(BATCH, STEPS, SIZE).transpose(0, 1)

    return call


def spikingjelly(graph: nir.NIRGraph) -> Callable[[torch.Tensor], torch.Tensor]:
    """SpikingJelly's importer, in multi-step mode."""
    from spikingjelly.activation_based import functional
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    module = import_from_nir(graph, dt=DT, step_mode="m")

    def call(x: torch.Tensor) -> torch.Tensor:
        functional.reset_net(module)
        out = module(x)
        return out[0] if isinstance(out, tuple) else out

    return call


PEERS = {"snntorch": snntorch, "norse": norse, "sinabs": sinabs, "spikingjelly": spikingjelly}


@torch.inference_mode()
def measure(rounds: int) -> list[Row]:
    """In float32 with all importers that are installed, and in float64, which is what the command computes in."""
    graph = network()
    own = flatten(graph, dt=DT)
    x: NDArray[np.float32] = np.random.default_rng(1).normal(0.5, 1.0, (BATCH, STEPS, SIZE)).astype(np.float32)
    found: list[Row] = []
    for dtype in (torch.float32, torch.float64):
        first = torch.from_numpy(x).to(dtype).transpose(0, 1).contiguous()
        affine = [
            [torch.from_numpy(getattr(graph.nodes[f"affine_{k}"], part)).to(dtype) for part in ("weight", "bias")]
            for k in range(2)
        ]

        flat, signal = first.reshape(-1, SIZE), first.transpose(0, 1).contiguous().numpy()

        def bound(flat: torch.Tensor = flat, affine: list[list[torch.Tensor]] = affine) -> None:
            F.linear(F.linear(flat, *affine[0]), *affine[1])

        def ours(signal: NDArray = signal, dtype: torch.dtype = dtype) -> NDArray[np.bool_]:
            return simulate_torch(own, {"input": signal}, dtype=dtype).spikes["lif_1"]

        calls: dict[str, Callable[[], object]] = {"bound": bound, OURS: ours}
        expected = ours()
        for name, make in PEERS.items() if dtype == torch.float32 else ():
            try:
                with redirect_stdout(StringIO()):
                    subject = make(graph)
            except ImportError as error:
                print(f"{name} is left out: {error}; make bench installs it")
                continue
            got = subject(first).transpose(0, 1).numpy() > 0
            print(f"{name}: {100 * float((got != expected).mean()):.2f} % of the spikes differ from ours")
            calls[name] = lambda subject=subject, first=first: subject(first)
        found += rows(f"NIR graph, {dtype}".replace("torch.", ""), medians(calls, rounds))
    return found


if __name__ == "__main__":
    run(__doc__, measure)
