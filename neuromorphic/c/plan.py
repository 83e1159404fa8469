"""Plan of a network in C: the form of each weight matrix, and number types in which no sum can overflow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from neuromorphic.c.matrices import Form, Stencil, form_of, smallest_signed
from neuromorphic.compiler.network import GRADED, SUM, Network, Population
from neuromorphic.compiler.operators import expanded
from neuromorphic.compiler.quantize import (
    BIAS_FRACTION,
    DECAY_UNITY,
    STATE_LIMIT,
    FixedNetwork,
    FixedPopulation,
    FixedProjection,
)
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph import Shape

INT32_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Source:
    """A sender of messages: an input or a population.

    Attributes:
        name: Name of the NIR node.
        id: Its name in C.
        size: Number of messages in a step.
        number: Number type of the messages; uint8 for spikes.
        spikes: Whether messages are 0 or 1.
        depth: Number of steps whose messages are stored.
    """

    name: str
    id: str
    size: int
    number: np.dtype
    spikes: bool
    depth: int


@dataclass(frozen=True)
class Tap:
    """Synapses of one delay: a_i += floor(sum_j w_ij m_j 2^shift_i). Floats have no shift and no floor.

    Attributes:
        form: The weights w.
        id: Their name in C.
        source: The sender, which is read ``delay`` steps late.
        number: Number type of the sums.
        shift: Exponents, int8, shape (1,) or (M,).
        limit: Largest sum within the 32 bits of the integer simulator; None where sums cannot exceed it.
    """

    form: Form
    id: str
    source: str
    delay: int
    number: np.dtype
    shift: NDArray
    limit: int | None = None

    @property
    def is_plain(self) -> bool:
        """Whether sums can be added to the population's directly: they have no shift, and the order of the targets."""
        return not self.shift.any() and not isinstance(self.form, Stencil)


@dataclass(frozen=True)
class Cells:
    """A population in C.

    Attributes:
        population: The population.
        id: Its name in C.
        taps: Taps of each projection, in the order in which they are added.
        copied: For an output that only repeats a source: that source. Else None.
        number: Number type of the sums a.
        state: Number type of u and v; wider where u may leave its register by more than one wrap.
        sent: Number type of the messages.
        memory: Whether u is kept between steps.
        wraps: Whether u can overflow its register.
    """

    population: Population
    id: str
    taps: tuple[tuple[Tap, ...], ...]
    copied: str | None
    number: np.dtype
    state: np.dtype
    sent: np.dtype
    memory: bool
    wraps: bool = False


@dataclass(frozen=True)
class Plan:
    """A network as C.

    Attributes:
        network: Float or fixed-point network.
        sources: Inputs and populations, by name.
        cells: Populations, in the order of updates; outputs come last.
        inputs: Largest absolute message of each input for which the integers are wide enough; empty for floats.
    """

    network: Network
    sources: Mapping[str, Source]
    cells: tuple[Cells, ...]
    inputs: Mapping[str, int] = field(default_factory=dict)

    @property
    def fixed(self) -> bool:
        """Whether it computes in integers."""
        return isinstance(self.network, FixedNetwork)

    @property
    def outputs(self) -> tuple[Cells, ...]:
        """The cells of the network's Output nodes."""
        return tuple(cells for cells in self.cells if cells.population.kind == SUM)

    @property
    def neurons(self) -> tuple[Cells, ...]:
        """All cells that are not outputs."""
        return tuple(cells for cells in self.cells if cells.population.kind != SUM)


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """A valid identifier of C for each name. They differ even when letter case is ignored."""
    out: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_")[:40]
        plain = plain if plain[:1].isalpha() else f"n{plain}"
        found, k = plain, 2
        while found.upper() in {other.upper() for other in out.values()}:
            found, k = f"{plain}_{k}", k + 1
        out[name] = found
    return out


def plan(network: Network, limits: Mapping[str, int] | None = None, exact: bool = False) -> Plan:
    """Choose forms of matrices and number types.

    Args:
        network: Float or fixed-point network.
        limits: Fixed point: largest absolute message of each input. The smallest number type that holds it is chosen,
            and all values of this type are allowed. None: 16 bits.
        exact: Whether messages never exceed ``limits``, even where the type would hold them. Then C may need fewer
            checks.

    Raises:
        UnsupportedGraphError: sums could leave 63 bits.
    """
    fixed = isinstance(network, FixedNetwork)
    ids = identifiers([*network.inputs, *(p.name for p in network.populations)])
    depth = dict.fromkeys(ids, 0)
    for projection in network.projections:
        depth[projection.source] = max(depth[projection.source], *projection.taps)
    sources: dict[str, Source] = {}
    largest: dict[str, float] = {}
    for name in network.inputs:
        bits = (limits or {}).get(name, 2**15 - 1)
        number = np.dtype(np.float64) if not fixed else smallest_signed(np.array([-bits, bits])).dtype
        largest[name] = float(bits if exact else -np.iinfo(number).min) if fixed else 0.0
        sources[name] = Source(name, ids[name], network.size(name), number, False, depth[name])
    cells: list[Cells] = []
    numbers = count()
    shapes = {**network.inputs, **{p.name: p.shape for p in network.populations}}
    # What reads a source is planned after it, or, in a loop, before: messages are bounded by the state's registers.
    for p in network.populations:
        number = sent_type(p, fixed)
        largest[p.name] = 1.0 if p.spikes else float(-np.iinfo(number).min) if fixed and p.kind == GRADED else 0.0
        sources[p.name] = Source(p.name, ids[p.name], p.size, number, p.spikes, depth[p.name])
    for p in network.populations:
        own = cells_of(network, p, sources, largest, shapes, numbers)
        cells.append(own)
        if own.sent != sources[p.name].number:
            sources[p.name] = Source(p.name, ids[p.name], p.size, own.sent, p.spikes, depth[p.name])
    kept = {name: int(np.iinfo(sources[name].number).max) for name in network.inputs} if fixed else {}
    return Plan(network, sources, tuple(cells), kept)


def sent_type(p: Population, fixed: bool) -> np.dtype:
    """Number type of the messages of a population. That of outputs follows from their sums."""
    if p.spikes:
        return np.dtype(np.uint8)
    if not isinstance(p, FixedPopulation):
        return np.dtype(np.float64)
    most = STATE_LIMIT >> p.message_shift if p.kind == GRADED else INT32_LIMIT
    return smallest_signed(np.array([-most, most - 1])).dtype


def cells_of(
    network: Network,
    p: Population,
    sources: Mapping[str, Source],
    largest: Mapping[str, float],
    shapes: Mapping[str, Shape],
    numbers: Iterator[int],
) -> Cells:
    """Plan a population.

    Args:
        network: The network.
        p: The population.
        sources: Senders by name.
        largest: Largest absolute message of each sender.
        shapes: Shape of each node.
        numbers: Counter for names of taps.

    Raises:
        UnsupportedGraphError: sums could leave 63 bits.
    """
    projections = network.into(p.name)
    if len(projections) == 1 and network.is_direct(projections[0]):
        source = projections[0].source
        number = sources[source].number
        return Cells(p, sources[p.name].id, (), source, number, number, number, False)
    real = np.dtype(np.float64)
    if not isinstance(p, FixedPopulation):
        taps = tuple(
            tuple(
                Tap(form_of(expanded(w, 0), shapes[q.source], p.shape), f"w{next(numbers)}", q.source, d, real,
                    np.zeros(1, np.int8))
                for d, w in sorted(q.taps.items(), reverse=True) if w.nnz
            )
            for q in projections
        )  # fmt: skip
        memory = p.kind != SUM and bool((p.du != 1).any())
        return Cells(p, sources[p.name].id, drop_empty(taps), None, real, real, sources[p.name].number, memory)
    bound = np.abs(p.bias.values.astype(np.float64)).max(axis=0, initial=0.0) / 2**BIAS_FRACTION + 1
    groups = []
    for q in projections:
        assert isinstance(q, FixedProjection)
        own = []
        for delay, operator in sorted(q.taps.items(), reverse=True):
            matrix = expanded(operator, 0).tocsr()
            if not matrix.count_nonzero():
                continue
            common = trailing_zeros(matrix.data)
            if common:  # The network's own stays as it is.
                matrix = csr_matrix((matrix.data >> common, matrix.indices, matrix.indptr), matrix.shape)
            form = form_of(matrix, shapes[q.source], p.shape)
            absolute = abs(matrix).astype(np.float64)
            sums = np.asarray(absolute.sum(axis=1)).reshape(-1)
            if isinstance(form, Stencil) and form.rest is not None:  # The window alone may have larger sums.
                sums = sums + 2 * float(np.abs(form.kernel.astype(np.float64)).sum(axis=(0, 1)).max())
            sums = sums * largest[q.source]
            shift = q.weight_exp.astype(np.int64) + common
            shift = shift[:1] if (shift == shift[:1]).all() else shift
            most = float(sums.max(initial=0.0))
            limit = INT32_LIMIT >> common if most * 2.0**common > INT32_LIMIT else None
            number = integer(most, p.name)
            own.append(Tap(form, f"w{next(numbers)}", q.source, delay, number, smallest_signed(shift), limit))
            bound = bound + np.ceil(sums * 2.0**shift) + 1
        groups.append(tuple(own))
    most = float(bound.max(initial=0.0)) * 2**p.alignment
    memory = p.kind != SUM and bool((p.du != DECAY_UNITY).any())
    # A current that memory carries stays in its register if what comes in a step wraps it once at most.
    threshold = float(p.threshold.max(initial=0)) * 2**p.alignment
    narrow = most < INT32_LIMIT - 2 * STATE_LIMIT and threshold < INT32_LIMIT and (not memory or most < 2 * STATE_LIMIT)
    number = integer(bound.max(initial=0.0), p.name)
    state = np.dtype(np.int32 if narrow else np.int64)
    sent = number if p.kind == SUM else sources[p.name].number
    return Cells(
        p,
        sources[p.name].id,
        drop_empty(tuple(groups)),
        None,
        number,
        state,
        sent,
        memory,
        memory or most >= STATE_LIMIT,
    )


def drop_empty(groups: tuple[tuple[Tap, ...], ...]) -> tuple[tuple[Tap, ...], ...]:
    """The taps without those that have no synapse, and without projections that have no tap left."""
    return tuple(group for group in groups if group)


def trailing_zeros(values: NDArray) -> int:
    """Exponent of the largest power of two that divides all integers of an array. (8-bit weights are even.)"""
    joined = int(np.bitwise_or.reduce(np.abs(values.astype(np.int64)), initial=0))
    return (joined & -joined).bit_length() - 1 if joined else 0


def integer(most: float, name: str) -> np.dtype:
    """Signed integer type for sums up to ``most``, of at least 32 bits; ``name`` is the node, for the message.

    Raises:
        UnsupportedGraphError: 64 bits are not enough.
    """
    if most >= 2.0**62:
        raise UnsupportedGraphError(f"node '{name}': sums of its synapses can leave 63 bits; scale its weights down")
    return np.dtype(np.int32 if most < INT32_LIMIT else np.int64)
