"""When populations do their steps on hardware whose synapses take a step each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neuromorphic.compiler.network import Network, Projection


@dataclass(frozen=True)
class Schedule:
    """Lags that make outputs line up with the graph's own steps.

    Attributes:
        lags: A population or input does its step t in the hardware's step t + lag, both counted from 0.
        waits: Per projection (source, target) and tap, the steps that a message waits beside its synapse's latency.
        instant: Projections whose synapses may take no step: in a loop whose Delay nodes have fewer steps than it has
            synapses there is no time for one. No chip has such synapses; simulators do. Loops without a Delay need
            none, their populations read each other as they were in the step before.
        direct: Projections that are no synapses: an output that is just what one population sends.
    """

    lags: Mapping[str, int]
    waits: Mapping[tuple[str, str], Mapping[int, int]]
    instant: frozenset[tuple[str, str]]
    direct: frozenset[tuple[str, str]]

    @property
    def longest(self) -> int:
        """The largest lag: a run is that much longer than the input."""
        return max(self.lags.values())


def schedule(network: Network) -> Schedule:
    """The smallest lags with which every message can arrive in time.

    A message with delay d from a population of lag L to one of lag L' waits L' - L + d - 1 steps, which must not be
    negative: L' >= L + 1 - d, the longest paths of a graph.
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
    """Raise lags until each edge (source, target, least difference) is met; False where that never ends."""
    for _ in range(len(lags) + 1):
        raised = False
        for source, target, difference in edges:
            if lags[target] < lags[source] + difference:
                lags[target] = lags[source] + difference
                raised = True
        if not raised:
            return True
    return False
