"""Networks, which NIR graphs are folded into: populations of neurons as chips have them, and synapses between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from neuromorphic.compiler.operators import Floats, Operator, Repeated, within

if TYPE_CHECKING:  # The process that runs Lava needs this module, but no nir: every import there delays every run.
    from neuromorphic.graph import Shape

LIF, SUBTRACT, GRADED, SUM = "lif", "subtract", "graded", "sum"
"""Kinds of :class:`Population`."""


@dataclass(frozen=True)
class Levels:
    """A bias that changes in a few steps only: from step ``start[k]`` on it is ``values[k]``; before ``start[0]``, 0.

    Attributes:
        start: Ascending steps, from 0.
        values: Shape (len(start), M); float64, or int32 of fixed point.
    """

    start: tuple[int, ...]
    values: NDArray

    def at(self, t: int) -> NDArray:
        """The bias in step t, shape (M,)."""
        index = int(np.searchsorted(self.start, t, side="right")) - 1
        return self.values[index] if index >= 0 else np.zeros(self.values.shape[1], self.values.dtype)


@dataclass(frozen=True)
class Population:
    """M neurons with the dynamics of Lava's processes, with the potential measured from ``offset``: v = v_nir - offset.

    u' = (1 - du) u + a + bias;  w = (1 - dv) v + u'

    where a is the sum over the synapses, and u = v = 0 at the start. Then, by ``kind``,

    lif:       s = 1 if w > threshold else 0;  v' = 0 if s else w            (``lava.proc.lif.LIF``)
    subtract:  s = 1 if w > threshold else 0;  v' = w - threshold s          (the same with a reset of ours)
    graded:    v' = w, and the output is v
    sum:       no dynamics: the output is a + bias; an Output node of the NIR graph

    Neurons at rest stay at rest until they get an input, so a population may wait for its first step.

    Attributes:
        name: Name of the NIR node.
        kind: One of lif, subtract, graded and sum.
        shape: Shape of the NIR node; neurons are in C order.
        du, dv: In [0, 1], shape (M,).
        threshold: At least 0, shape (M,). Graded and sum populations do not use it.
        bias: Added to a in every step, shape (M,).
        offset: NIR's potential at v = 0, shape (M,).
    """

    name: str
    kind: str
    shape: Shape
    du: Floats
    dv: Floats
    threshold: Floats
    bias: Levels
    offset: Floats

    @property
    def size(self) -> int:
        """M."""
        return len(self.du)

    @property
    def spikes(self) -> bool:
        """Whether the output is 0 or 1."""
        return self.kind in (LIF, SUBTRACT)


@dataclass(frozen=True)
class Projection:
    """Synapses from one population or input to one population, with delays: a[t] = sum_d taps[d] m[t - d].

    m are the messages that the source sends: spikes, graded values or the input.
    """

    source: str
    target: str
    taps: Mapping[int, Operator]
    identity: bool = False
    """Whether the target gets the source's messages unchanged, in the same step."""


@dataclass(frozen=True)
class Network:
    """Populations, in the order of their updates, and what connects them.

    Attributes:
        inputs: Shape of each input.
        populations: Neurons, then one ``sum`` population per output.
        projections: At most one for each pair of source and target.
        dt: Seconds per step.
    """

    inputs: Mapping[str, Shape]
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    dt: float

    def population(self, name: str) -> Population:
        """The population of that name."""
        return next(population for population in self.populations if population.name == name)

    def into(self, name: str) -> list[Projection]:
        """Projections with that target."""
        return [projection for projection in self.projections if projection.target == name]

    def is_direct(self, projection: Projection) -> bool:
        """Whether a projection has no synapses: its target is an output that copies one population or input."""
        target = self.population(projection.target)
        alone = len(self.into(target.name)) == 1 and not target.bias.start
        return projection.identity and target.kind == SUM and alone

    def components(self, strong: bool = False) -> dict[str, int]:
        """The number of the connected component of each population and input.

        Args:
            strong: Number the strongly connected components, which loops are.
        """
        names = [*self.inputs, *(population.name for population in self.populations)]
        if not strong:
            group = {name: k for k, name in enumerate(names)}
            for p in self.projections:
                old, new = group[p.source], group[p.target]
                if old != new:
                    group = {name: new if number == old else number for name, number in group.items()}
            return group
        from scipy.sparse.csgraph import connected_components  # Slow to import, and not needed on Lava.

        index = {name: k for k, name in enumerate(names)}
        rows, columns = ([index[getattr(p, end)] for p in self.projections] for end in ("source", "target"))
        matrix = csr_matrix(([1] * len(rows), (rows, columns)), shape=(len(names), len(names)))
        _, labels = connected_components(matrix, connection="strong")
        return {name: int(labels[k]) for name, k in index.items()}

    def size(self, name: str) -> int:
        """Number of values that a population or input sends in a step."""
        if name in self.inputs:
            return int(np.prod(self.inputs[name], dtype=np.int64))
        return self.population(name).size


AnyNetwork = TypeVar("AnyNetwork", bound=Network)


def repeat(network: AnyNetwork, times: int) -> AnyNetwork:
    """Put a network B times side by side, once for each sample. The weights are in memory once.

    Args:
        network: Float or fixed.
        times: B. Inputs and messages of the network have shape (T, B n).
    """
    if times == 1:
        return network

    def repeated(value: Any) -> Any:
        if isinstance(value, Levels):
            return Levels(value.start, np.tile(value.values, (1, times)))
        return np.tile(value, times) if isinstance(value, np.ndarray) else value

    populations = tuple(
        replace(p, **{key: repeated(value) for key, value in vars(p).items()} | {"shape": (times * p.size,)})
        for p in network.populations
    )
    projections = tuple(
        replace(
            p,
            **{key: repeated(value) for key, value in vars(p).items()}
            | {"taps": {delay: Repeated(operator, times) for delay, operator in p.taps.items()}},
        )
        for p in network.projections
    )
    inputs = {name: (times * network.size(name),) for name in network.inputs}
    return replace(network, inputs=inputs, populations=populations, projections=projections)


def grow(network: AnyNetwork, sizes: Mapping[str, int]) -> AnyNetwork:
    """Enlarge the populations and inputs of a network with neurons that are not connected.

    Args:
        network: Float or fixed, of one sample.
        sizes: Number of neurons by population and input, at least the present one.
    """

    def grown(value: Any, extra: int) -> Any:
        if isinstance(value, Levels):
            return Levels(value.start, np.pad(value.values, ((0, 0), (0, extra))))
        return np.pad(value, (0, extra)) if isinstance(value, np.ndarray) else value

    populations = []
    for p in network.populations:
        own = {key: grown(value, sizes[p.name] - p.size) for key, value in vars(p).items()}
        own["shape"] = (sizes[p.name],)
        if "scale" in own:
            own["scale"] = np.pad(p.scale, (0, sizes[p.name] - p.size), constant_values=1.0)  # type: ignore[attr-defined]
        populations.append(replace(p, **own))
    projections = []
    for q in network.projections:
        shape = sizes[q.target], sizes[q.source]
        own = {key: grown(value, sizes[q.target] - network.size(q.target)) for key, value in vars(q).items()}
        own["taps"] = {delay: within(operator, shape) for delay, operator in q.taps.items()}
        projections.append(replace(q, **own))
    inputs = {name: (sizes[name],) for name in network.inputs}
    return replace(network, inputs=inputs, populations=tuple(populations), projections=tuple(projections))
