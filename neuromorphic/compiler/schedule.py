"""The steps in which populations are updated on hardware, where every synapse takes one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neuromorphic.compiler.network import Network, Projection


@dataclass(frozen=True)
class Schedule:
    """Lags of populations, with which messages arrive in the steps that the graph means.

    Attributes:
        lags: A population or input does its step t in the hardware's step t + lag, both counted from 0.
        waits: For each projection (source, target) and delay, the steps that a message waits in addition to the one
            step of its synapse.
        instant: Projections whose synapses must not take a step, because their loop has fewer steps of delay than
            synapses. Simulators have such synapses, chips do not. A loop without a Delay node needs none, as its
            populations read each other's messages of the step before.
        direct: Projections without synapses, to an output that copies one population or input.
    """

    lags: Mapping[str, int]
    waits: Mapping[tuple[str, str], Mapping[int, int]]
    instant: frozenset[tuple[str, str]]
    direct: frozenset[tuple[str, str]]

    @property
    def longest(self) -> int:
        """The largest lag: the number of steps by which a run is longer than its input."""
        return max(self.lags.values())


def schedule(network: Network) -> Schedule:
    """Find the smallest lags with which every message arrives in time.

    A message with delay d from a population of lag L to one of lag L' waits L' - L + d - 1 steps. This must not be
    negative, so L' >= L + 1 - d: the lags are longest paths in a graph.
    """
    direct = frozenset(key(p) for p in network.projections if network.is_direct(p))
    names = [*network.inputs, *(population.name for population in network.populations)]
    group = network.components(strong=True)
    instant = frozenset(
        key(p)
        for p in network.projections
        if 0 in p.taps and group[p.source] == group[p.target] and not settles(network, names, group, group[p.source])
    )
    lags = dict.fromkeys(names, 0)
    edges = [
        (p.source, p.target, 0 if key(p) in direct else (0 if key(p) in instant else 1) - min(p.taps))
        for p in network.projections
    ]
    relax(lags, edges)
    waits = {
        key(p): {d: lags[p.target] - lags[p.source] + d - (0 if key(p) in instant else 1) for d in p.taps}
        for p in network.projections
        if key(p) not in direct
    }
    return Schedule(lags, waits, instant, direct)


def key(projection: Projection) -> tuple[str, str]:
    """Source and target."""
    return projection.source, projection.target


def settles(network: Network, names: list[str], group: Mapping[str, int], number: int) -> bool:
    """Whether lags exist within a component when every synapse takes a step."""
    edges = [
        (p.source, p.target, 1 - min(p.taps))
        for p in network.projections
        if group[p.source] == group[p.target] == number
    ]
    return relax({name: 0 for name in names if group[name] == number}, edges)


def relax(lags: dict[str, int], edges: list[tuple[str, str, int]]) -> bool:
    """Raise lags in place until each edge (source, target, least difference) holds; False if that never ends."""
    for _ in range(len(lags) + 1):
        raised = False
        for source, target, difference in edges:
            if lags[target] < lags[source] + difference:
                lags[target] = lags[source] + difference
                raised = True
        if not raised:
            return True
    return False
