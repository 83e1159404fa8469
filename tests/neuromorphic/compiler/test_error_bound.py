"""Where fixed point first gives another spike, float was as close to the threshold as the derived bound says."""

from __future__ import annotations

import nir
import numpy as np
import pytest
from random_graphs import random_graph
from scenarios import chain, lif

from neuromorphic.compiler.error_bound import spike_margins
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.quantize import quantize
from neuromorphic.execution.populations import run
from neuromorphic.graph import flatten


def first_differences(network: Network, x: dict[str, np.ndarray]) -> list[tuple[float, float]]:
    """For each population that is the first to differ: the float run's distance from threshold, and its bound."""
    names = [p.name for p in network.populations if p.spikes]
    exact = run(network, x, names)
    fixed = quantize(network, exact.ranges)
    ours = run(fixed, x)
    margins = spike_margins(network, fixed, exact.ranges, len(next(iter(x.values()))))
    steps = {}
    for name in names:
        different = (ours.sent[name] != exact.sent[name]).any(axis=1)
        steps[name] = int(different.argmax()) if different.any() else None
    found = [step for step in steps.values() if step is not None]
    if not found or any(count.any for count in ours.overflow.values()):
        return []
    out = []
    for name in names:
        if steps[name] != min(found):
            continue
        step = steps[name]
        # What the population got has to be the same: of sources in the same step the ones before it.
        before = names[: names.index(name)]
        if any(steps[other] == step for other in before):
            break
        for neuron in np.flatnonzero(ours.sent[name][step] != exact.sent[name][step]):
            distance = abs(exact.peaks[name][step, neuron] - network.population(name).threshold[neuron])
            out.append((float(distance), float(margins[name][neuron])))
        break
    return out


def test_the_bound_holds_on_random_graphs_and_is_not_idle() -> None:
    pairs = []
    for seed in range(300):
        nir_graph, x = random_graph(seed)
        pairs += first_differences(lower(flatten(nir_graph)), {name: values[0] for name, values in x.items()})
    assert len(pairs) > 30
    finite = [(distance, bound) for distance, bound in pairs if np.isfinite(bound)]
    assert len(finite) > 30 and all(distance <= bound for distance, bound in finite)
    # Tight enough to mean something: thresholds are about 0.6, and some neuron comes within a factor of its bound.
    assert np.median([bound for _, bound in finite]) < 0.25
    assert max(distance / bound for distance, bound in finite) > 0.2


@pytest.mark.parametrize("size", [1, 20])
def test_the_bound_grows_with_the_fan_in(size: int) -> None:
    graph = flatten(chain(nir.Linear(np.linspace(0.1, 1.0, size)[None]), lif(1)))
    network = lower(graph)
    x = {"input": np.random.default_rng(0).random((24, size))}
    exact = run(network, x)
    margin = spike_margins(network, quantize(network, exact.ranges), exact.ranges, 24)["lif_0"][0]
    # 8-bit weights err by at most 1 / 254 of the largest, decays halve it.
    assert 0 < margin <= size * (1 / 254 + 1e-3)
