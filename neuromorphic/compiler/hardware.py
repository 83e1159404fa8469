"""Split a network for a chip, whose populations each have one du, one dv and one threshold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.network import SUM, Levels, Network, Population, Projection
from neuromorphic.compiler.operators import Floats, Operator, expanded, scale_rows
from neuromorphic.compiler.quantize import DECAY_UNITY, FixedNetwork, decay_registers
from neuromorphic.errors import UnsupportedGraphError

Indices = NDArray[np.intp]

SPREAD = 4.0
"""Largest ratio of two thresholds in one part. The weights of a part are rounded in the same steps, so a neuron with a
small gain loses precision in proportion."""


@dataclass(frozen=True)
class Part:
    """Neurons of a node with the same decays, and with the same threshold once their gains are applied.

    Attributes:
        name: ``node[k]``; ``node`` if all of its neurons are one part.
        neurons: Their numbers in the node, ascending, shape (m,).
        gain: Potential in the part over potential in the node, shape (m,).
        du, dv, threshold: The same for all neurons of the part.
    """

    name: str
    neurons: Indices
    gain: Floats
    du: float
    dv: float
    threshold: float


Parts: TypeAlias = Mapping[str, tuple[Part, ...]]
"""Parts of every population, by its name."""


def for_hardware(network: Network, registers: bool = False) -> Network:
    """Split populations so that each has one du, one dv and one threshold. The spikes stay the same.

    Neurons of a node are grouped by their decays and by the size of their thresholds. A group gets one threshold, the
    most frequent one. For neuron i, gain_i = threshold / threshold_i, and its u, v, weights and bias are multiplied by
    gain_i. Neurons with a threshold of 0 are a group of their own, as no gain can change it.

    A gain that is not a power of two causes rounding: potentials change by a few 1e-16 of their size. Only a spike
    whose potential is that close to the threshold can differ.

    Args:
        network: Float.
        registers: First round decays to the 12 bits of Loihi's registers, as :func:`~.quantize.quantize` does. Decays
            that are then equal share a group. The spikes are those of the network with rounded decays.

    Returns:
        The split network. :func:`parts_of` tells which neurons its populations have; :func:`join` merges their records.

    Raises:
        UnsupportedGraphError: a part's name is that of another node, or the network is in integers already.
    """
    if isinstance(network, FixedNetwork):
        raise UnsupportedGraphError("a network in integers cannot be split for hardware: split first, then quantise")
    parts = parts_of(network, registers)
    inputs = {name: (undivided(name, np.arange(network.size(name))),) for name in network.inputs}
    populations = tuple(part_of(p, part) for p in network.populations for part in parts[p.name])
    projections = []
    for projection in network.projections:
        projections += split_projection(projection, {**inputs, **parts}, network.is_direct(projection))
    return Network(network.inputs, populations, tuple(projections), network.dt)


def parts_of(network: Network, registers: bool = False) -> Parts:
    """The parts into which :func:`for_hardware` splits each population.

    Raises:
        UnsupportedGraphError: a part would get the name of another node.
    """
    parts = {p.name: tuple(split(p, registers)) for p in network.populations}
    for projection in network.projections:
        # An output that copies one population is split like it.
        if network.is_direct(projection) and projection.source in parts:
            name = projection.target
            source = parts[projection.source]
            parts[name] = tuple(
                undivided(name if len(source) == 1 else f"{name}[{k}]", part.neurons) for k, part in enumerate(source)
            )
    names = [*network.inputs, *(part.name for own in parts.values() for part in own)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UnsupportedGraphError(f"two populations would be named '{twice}' once nodes are split; rename that node")
    return parts


def split(population: Population, registers: bool) -> Iterable[Part]:
    """Parts of a population, in the order of their first neurons."""
    size = population.size
    du, dv = population.du, population.dv
    if population.kind == SUM or not size:
        yield undivided(population.name, np.arange(size))
        return
    if registers:
        du, dv = (values / DECAY_UNITY for values in decay_registers(du, dv))
    threshold = population.threshold if population.spikes else np.zeros(size)
    keys = np.stack([du, dv, sizes_of(threshold)], axis=1)
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    for k, number in enumerate(order):
        neurons = np.flatnonzero(group.reshape(-1) == number)
        values, at, counts = np.unique(threshold[neurons], return_index=True, return_counts=True)
        # The most frequent threshold, of several the first: most neurons then have a gain of 1 and keep their numbers.
        common = float(values[min(range(len(values)), key=lambda i: (-counts[i], at[i]))])
        gain = np.divide(common, threshold[neurons], out=np.ones(len(neurons)), where=threshold[neurons] > 0)
        name = population.name if len(order) == 1 else f"{population.name}[{k}]"
        yield Part(name, neurons, gain, float(du[neurons[0]]), float(dv[neurons[0]]), common)


def sizes_of(threshold: Floats) -> Indices:
    """A group number for each threshold, shape (M,). Thresholds of a group fit in one part; group 0 is that of 0."""
    out = np.zeros(len(threshold), np.intp)
    least, number = 0.0, 0
    for value in np.unique(threshold[threshold > 0]):
        if number == 0 or value > SPREAD * least:
            least, number = value, number + 1
        out[threshold == value] = number
    return out


def undivided(name: str, neurons: Indices) -> Part:
    """A part of an input or output, which has no dynamics."""
    return Part(name, neurons, np.ones(len(neurons)), 1.0, 1.0, 0.0)


def part_of(population: Population, part: Part) -> Population:
    """A part as a population; its offset is gain times the node's, so that its potentials are gain times NIR's."""
    shape = population.shape if len(part.neurons) == population.size else (len(part.neurons),)
    size = len(part.neurons)
    values = population.bias.values[:, part.neurons] * part.gain
    kept = [k for k in range(len(values)) if np.any(values[k] if k == 0 else values[k] != values[k - 1])]
    return replace(
        population,
        name=part.name,
        shape=shape,
        du=np.full(size, part.du),
        dv=np.full(size, part.dv),
        threshold=np.full(size, part.threshold),
        bias=Levels(tuple(population.bias.start[k] for k in kept), values[kept]),
        offset=population.offset[part.neurons] * part.gain,
    )


def split_projection(projection: Projection, parts: Parts, direct: bool) -> list[Projection]:
    """Split a projection into those between the parts of its source and target. Empty ones are left out."""
    sources, targets = parts[projection.source], parts[projection.target]
    if direct:
        return [
            Projection(source.name, target.name, {0: expanded(None, len(source.neurons))}, True)
            for source, target in zip(sources, targets, strict=True)
        ]
    out = []
    for target in targets:
        rows = {delay: rows_of(operator, target, len(targets)) for delay, operator in projection.taps.items()}
        for source in sources:
            taps: dict[int, Operator] = {}
            for delay, operator in rows.items():
                own = operator if len(sources) == 1 else expanded(operator, 0)[:, source.neurons].tocsr()
                if own.nnz or len(sources) == len(targets) == 1:
                    taps[delay] = own
            if taps:
                identity = projection.identity and len(sources) == len(targets) == 1
                out.append(Projection(source.name, target.name, taps, identity))
    return out


def rows_of(operator: Operator, target: Part, count: int) -> Operator:
    """The synapses into one part, of ``count`` parts of the target."""
    own = operator if count == 1 else expanded(operator, 0)[target.neurons]
    return own if (target.gain == 1).all() else scale_rows(own, target.gain)


def join(parts: Parts, records: Mapping[str, NDArray], potentials: bool = False) -> dict[str, NDArray]:
    """Merge records of a split network into records of the network, with each node's neurons in their order.

    Args:
        parts: From :func:`parts_of`.
        records: Messages by part, shape (..., m). A node without the records of all its parts is left out.
        potentials: Whether the records are potentials, not messages.

    Returns:
        By node, shape (..., M); potentials in NIR's units.
    """
    out = {}
    for name, own in parts.items():
        if all(part.name in records for part in own):
            rows = [records[part.name] / part.gain if potentials else records[part.name] for part in own]
            out[name] = in_order(own, rows)
    return out


def in_order(parts: Sequence[Part], rows: Sequence[NDArray]) -> NDArray:
    """Put the rows of a node's parts, shape (..., m) each, into the order of its neurons, shape (..., M)."""
    neurons = np.concatenate([part.neurons for part in parts])
    return np.concatenate(rows, axis=-1)[..., np.argsort(neurons)]
