"""The back end c against the integers in NumPy, and against PyTorch with one sample.

    python -m benchmarks.c_backend --rounds 5 --json c.json

784 - 1000 - 1000 - 10 LIF neurons and the convolutions of benchmarks.batch, T = 100. Ours is the steps of a network
that is planned and compiled already, as in a session; *planned anew* what a run makes of the quantised network: weights
are brought into their forms, and a library is taken that was compiled before.

Seconds are CPU seconds of this process, so that what else the machine does counts less; all on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.batch import DT, STEPS, conv_graph, graph, inputs
from benchmarks.timing import OURS, Row, rows, run
from neuromorphic.c import library
from neuromorphic.c.plan import plan
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.quantize import FixedNetwork, quantize
from neuromorphic.execution import populations
from neuromorphic.execution.torch_simulator import simulate_torch
from neuromorphic.graph import Graph, flatten

Inputs: TypeAlias = Mapping[str, NDArray]

BATCH, IMAGES = 64, 8


def cpu_medians(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds; all take their turn in every round, after one that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(rounds + 1):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            if k:
                spent[name].append(time.process_time() - begun)
    return {name: median(times) for name, times in spent.items()}


def steps_of(network: Network, x: np.ndarray) -> Callable[[], None]:
    """The steps alone, of a network that is compiled: (B, T, ...) in, spikes in arrays."""
    fixed = isinstance(network, FixedNetwork)
    made = library.Library(plan(network, {"input": 1} if fixed else None, exact=True), watch=fixed)
    x = x.reshape(*x.shape[:2], -1)
    messages = {"input": x.astype(made.plan.sources["input"].number)}
    sent = {c.population.name: np.zeros((*x.shape[:2], c.population.size), c.sent) for c in made.plan.cells}

    def call() -> None:
        made.advance(made.states(len(x)), messages, sent, {}, 0, x.shape[1])

    return call


def integers(graph: Graph, x: Inputs) -> FixedNetwork:
    """A graph quantised for some inputs."""
    return quantize(lower(graph, horizon=STEPS), library.run(lower(graph), x, batched=True, watch=True).ranges)


def compared(title: str, fixed: FixedNetwork, x: Inputs, rounds: int) -> list[Row]:
    """Integers in C and in NumPy."""
    calls = {
        OURS: steps_of(fixed, x["input"]),
        "c, planned anew": lambda: library.run(fixed, x, batched=True),
        "numpy": lambda: populations.run(fixed, x, batched=True),
    }
    return rows(title, cpu_medians(calls, rounds))


def measure(rounds: int) -> list[Row]:
    """All comparisons."""
    torch.set_num_threads(1)
    flat = flatten(graph(), DT)
    many, one = inputs(BATCH, STEPS, False), inputs(1, STEPS, False)
    fixed = integers(flat, many)
    images = inputs(IMAGES, STEPS, False, image=True)
    found = compared(f"integers, {BATCH} samples", fixed, many, rounds)
    found += compared(
        f"integers, convolutions, {IMAGES} samples", integers(flatten(conv_graph(), DT), images), images, rounds
    )
    exact = lower(flat)
    return found + rows(
        "one sample",
        cpu_medians(
            {
                OURS: steps_of(exact, one["input"]),
                "c steps, integers": steps_of(fixed, one["input"]),
                "c, planned anew": lambda: library.run(exact, one, batched=True),
                "torch, float64": lambda: simulate_torch(flat, one),
                "torch, float32": lambda: simulate_torch(flat, one, dtype=torch.float32),
            },
            rounds,
        ),
    )


def main() -> None:
    """Parse the arguments, measure and print."""
    run(__doc__, measure)


if __name__ == "__main__":
    main()
