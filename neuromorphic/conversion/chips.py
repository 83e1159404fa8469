"""Limits of chips, each with its source, and an estimate of the cores that a network takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from neuromorphic.compiler.network import GRADED, SUBTRACT, SUM, Network
from neuromorphic.compiler.operators import Operator, expanded
from neuromorphic.compiler.quantize import FixedProjection, synapse_groups
from neuromorphic.compiler.schedule import Schedule


@dataclass(frozen=True)
class Limit:
    """A figure and its source."""

    value: int
    source: str


@dataclass(frozen=True)
class Chip:
    """The limits of a chip.

    Attributes:
        title: The chip's name.
        neurons: Neurons per core.
        axons: Input axons per core: sources whose spikes its neurons get.
        memory: Bytes of synapses per core.
        cores: Neuro cores per chip.
        weight_bits: Bits of a weight.
        delay: Largest number of steps that a spike can wait, in addition to the step that every synapse takes.
        payload: Bits of a graded spike; 0 if spikes are binary.
    """

    title: str
    neurons: Limit
    axons: Limit
    memory: Limit
    cores: Limit
    weight_bits: Limit
    delay: Limit
    payload: Limit

    def limits(self) -> dict[str, Limit]:
        """The limits by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "title"}


# Sources that were read: nengo-loihi is github.com/nengo/nengo-loihi, nengo_loihi/block.py (MAX_COMPARTMENTS,
# MAX_IN_AXONS, MAX_SYNAPSE_BITS, WEIGHT_BITS_MAP); Lava is lava-nc 0.10.0, lava/proc/sparse/models.py
# (PyDelaySparseModelBitAcc) and docs/lava.md's 8-bit weights.
# Sources known only from what others cite: Davies 2018 is Loihi, IEEE Micro 38(1), 82-99; Intel 2021 is the technology
# brief on Loihi 2, of which pages on the web also give 120 cores and 192 KB a core for all memories together.
CHIPS: Mapping[str, Chip] = {
    "loihi2": Chip(
        "Loihi 2",
        neurons=Limit(
            8192, "Intel 2021 (1 million a chip); fewer where a neuron has much state: how many is not public"
        ),
        axons=Limit(4096, "that of Loihi 1; for Loihi 2 it is not public"),
        memory=Limit(128 * 1024, "that of Loihi 1; Loihi 2 shares memory more freely, how is not public"),
        cores=Limit(120, "papers on the systems that are lent; Intel 2021 says 128"),
        weight_bits=Limit(8, "Lava's synapses"),
        delay=Limit(63, "Lava: 6 bits for delays"),
        payload=Limit(24, "Lava's graded spikes; Intel 2021 says up to 32"),
    ),
    "loihi1": Chip(
        "Loihi 1",
        neurons=Limit(1024, "nengo-loihi; Davies 2018"),
        axons=Limit(4096, "nengo-loihi"),
        memory=Limit(128 * 1024, "nengo-loihi, 2^20 bits; Davies 2018"),
        cores=Limit(128, "Davies 2018"),
        weight_bits=Limit(8, "nengo-loihi; Davies 2018 has 1 to 9 with the sign"),
        delay=Limit(62, "Davies 2018, as others cite it"),
        payload=Limit(0, "Davies 2018: spikes are binary"),
    ),
}

WITHOUT = {
    GRADED: "Lava has no process for the chip that does",
    SUBTRACT: "Lava has no process for the chip that does: its ATRLIF adds up spikes without end",
}
"""Why a chip cannot run populations of these kinds."""

RULES: Mapping[str, str] = {
    "Affine": "8-bit weights; the bias from the host, so that it starts in time",
    "Linear": "8-bit weights",
    "Scale": "folded into weights",
    "Conv1d": "unrolled into synapses",
    "Conv2d": "unrolled into synapses",
    "SumPool2d": "unrolled into synapses",
    "AvgPool2d": "unrolled into synapses",
    "Flatten": "nothing to do",
    "Delay": "synaptic delays, up to 63 steps",
    "Threshold": "LIF without memory; 1 / 4096 of it stays",
    "IF": "LIF; split by the size of thresholds",
    "LIF": "LIF; split by tau and the size of thresholds",
    "CubaLIF": "LIF; split by tau_syn, tau_mem and the size of thresholds",
    "I": "no: sends its potential, Lava has no such process for the chip",
    "LI": "no: as I",
    "CubaLI": "no: as I",
    "reset by subtraction": "no: Lava has no such process for the chip",
    "Input": "from the host; spikes, or graded spikes of up to 16 bits",
    "Output": "to the host",
    "NIRGraph": "its nodes",
    "loops": "a step a synapse; not where Delay nodes in a loop have fewer steps than it has synapses",
}
"""How each primitive is represented on Loihi 2, for the support table."""

DELAY_BITS = 6
"""Bits of a synapse for its delay, if its projection has delays."""
INDEX_BITS = range(6, 13)
"""Bits of a synapse for the number of its neuron; 0 if every axon has a synapse with every neuron."""
BLOCK_SYNAPSES, BLOCK_BITS, WORD_BITS = 64, 10, 64
"""Synapses of an axon are stored in blocks of 64 with a head of 10 bits, in words of 64 bits (nengo-loihi,
``SynapseConfig.bits_per_axon``). Loihi 2's formats are not public, so those of Loihi 1 are used."""


@dataclass(frozen=True)
class Placement:
    """The resources of a chip that a population takes.

    Attributes:
        neurons: Number of its neurons.
        axons: Number of its axons: sources that reach any of its neurons, counted once for each exponent of weights.
        synapses: Number of its synapses.
        memory: Bytes of its synapses on all cores.
        cores: Number of its cores, which are filled one after the other in the order of its neurons.
        largest_fan_in: Largest number of axons of one neuron.
        largest_neuron: Largest number of bytes of the synapses of one neuron.
        because: What fills its cores: neurons, axons or memory; empty if one core is enough.
    """

    neurons: int
    axons: int
    synapses: int
    memory: int
    cores: int
    largest_fan_in: int
    largest_neuron: int
    because: str


def place(network: Network, plan: Schedule, chip: Chip) -> dict[str, Placement]:
    """Estimate the resources of each population, on cores of its own. Outputs are computed by the host.

    A compiler can do better (populations can share a core, and convolutions their weights) or worse (a core needs
    memory for other things, too).

    Args:
        network: Float or fixed.
        plan: Its schedule.
        chip: The chip.
    """
    return {
        p.name: place_population(p.size, synapses_into(network, plan, p.name, chip), chip)
        for p in network.populations
        if p.kind != SUM
    }


@dataclass(frozen=True)
class Synapses:
    """The synapses into a population, sorted by neuron: numbers of neuron and axon, and bits of memory."""

    neuron: NDArray[np.int64]
    axon: NDArray[np.int64]
    bits: NDArray[np.int64]


def synapses_into(network: Network, plan: Schedule, name: str, chip: Chip) -> Synapses:
    """Synapses into a population.

    Each neuron of a source has one axon for each exponent of its weights. Delays do not matter.
    """
    parts: list[tuple[NDArray, NDArray, NDArray]] = []
    offset = 0
    for projection in network.into(name):
        delayed = any(plan.waits[projection.source, projection.target].values())
        groups: list[Mapping[int, Operator]] = [projection.taps]
        if isinstance(projection, FixedProjection) and not projection.host:
            groups = list(synapse_groups(projection).values())
        for taps in groups:
            for operator in taps.values():
                parts.append(coordinates(expanded(operator, network.size(projection.source)), delayed, chip, offset))
            offset += network.size(projection.source)
    if not parts:
        none = np.zeros(0, np.int64)
        return Synapses(none, none, none)
    neuron, axon, bits = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(neuron, kind="stable")
    return Synapses(neuron[order], axon[order], bits[order])


def coordinates(
    weights: csr_matrix, delayed: bool, chip: Chip, offset: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Neurons, axons and bits of the synapses with nonzero weights."""
    matrix = weights.tocoo()
    rows, columns = matrix.shape
    there = matrix.data != 0
    dense = int(there.sum()) == rows * columns
    index = (min(rows, chip.neurons.value) - 1).bit_length()
    index = 0 if dense else min(max(index, INDEX_BITS.start), INDEX_BITS.stop - 1)
    bits = chip.weight_bits.value + index + (DELAY_BITS if delayed else 0)
    neuron, axon = matrix.row[there].astype(np.int64), matrix.col[there].astype(np.int64) + offset
    return neuron, axon, np.full(len(neuron), bits, np.int64)


def axon_bits(count: NDArray, bits: NDArray) -> NDArray[np.int64]:
    """Bits of memory of axons with ``count`` synapses of ``bits`` each, in whole words."""
    blocks, rest = np.divmod(count, BLOCK_SYNAPSES)

    def words(n: NDArray | int) -> NDArray:
        return -(-(n * bits + BLOCK_BITS) // WORD_BITS) * WORD_BITS

    return blocks * words(BLOCK_SYNAPSES) + np.where(rest > 0, words(rest), 0)


def place_population(size: int, synapses: Synapses, chip: Chip) -> Placement:
    """Fill cores with neurons one after the other, until neurons, axons or memory are used up."""
    axons = int(synapses.axon.max(initial=-1)) + 1
    bits = np.zeros(axons, np.int64)
    np.maximum.at(bits, synapses.axon, synapses.bits)
    ends = np.searchsorted(synapses.neuron, np.arange(size + 1))
    room = chip.memory.value * 8
    count, used, held, memory, cores = np.zeros(axons, np.int64), 0, 0, 0, 1 if size else 0
    fan_in = largest = 0
    because: dict[str, None] = {}
    for neuron in range(size):
        own, times = np.unique(synapses.axon[ends[neuron] : ends[neuron + 1]], return_counts=True)
        alone = int(axon_bits(times, bits[own]).sum())
        fan_in, largest = max(fan_in, len(own)), max(largest, alone)
        more = int((axon_bits(count[own] + times, bits[own]) - axon_bits(count[own], bits[own])).sum())
        fresh = np.count_nonzero(count[own] == 0)
        full = [
            what
            for what, over in (
                ("neurons", held + 1 > chip.neurons.value),
                ("axons", axons > chip.axons.value and np.count_nonzero(count) + fresh > chip.axons.value),
                ("memory", used + more > room),
            )
            if over
        ]
        if full and held:
            because |= dict.fromkeys(full)
            cores, memory, held, used, count = cores + 1, memory + used, 0, 0, np.zeros(axons, np.int64)
            more = alone
        count[own] += times
        held, used = held + 1, used + more
    return Placement(
        neurons=size,
        axons=len(np.unique(synapses.axon)),
        synapses=len(synapses.neuron),
        memory=(memory + used + 7) // 8,
        cores=cores,
        largest_fan_in=fan_in,
        largest_neuron=(largest + 7) // 8,
        because=" and ".join(because),
    )
