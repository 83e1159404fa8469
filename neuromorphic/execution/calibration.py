"""Scales for fixed point from inputs, checked on the integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.network import Network
from neuromorphic.compiler.quantize import FixedNetwork, Ranges, merge_ranges, quantize
from neuromorphic.execution import populations
from neuromorphic.execution.populations import Overflow, PopulationRun

ATTEMPTS = 6
"""How often more room is left where a register overflows: 1.5 times as much each time, 7.6 times in the end."""
MORE_ROOM = 1.5


@dataclass(frozen=True)
class Calibration:
    """A network in integers.

    Attributes:
        network: The integers.
        ranges: What its scales were chosen for.
        runs: What it did with each sample; what still overflows is counted there.
    """

    network: FixedNetwork
    ranges: Ranges
    runs: list[PopulationRun]


def calibrate(
    network: Network,
    samples: Sequence[Mapping[str, NDArray]],
    ranges: Ranges | None = None,
    potentials: Collection[str] = (),
    signed: bool = False,
) -> Calibration:
    """Quantise a network for some inputs, and run them in integers.

    Integers take a slightly other way than the float run that scales are chosen from, and after a first spike that
    differs another one altogether. Where a register overflows, scales are chosen anew with more room, unless a
    threshold would become too coarse (:func:`~neuromorphic.compiler.quantize.largest_scale`).

    Args:
        network: Float.
        samples: Inputs by name, shape (T, n) each.
        ranges: Choose the scales for these, once; by default for what the samples reach.
        potentials: Populations whose potentials are recorded.
        signed: Inputs may have either sign, even if those of the samples have one.
    """
    chosen = ranges or merge_ranges([populations.run(network, x).ranges for x in samples])
    if signed:
        chosen = replace(chosen, unsigned=chosen.unsigned - network.inputs.keys())
    fixed = quantize(network, chosen)
    for attempt in range(ATTEMPTS):
        runs = [populations.run(fixed, x, potentials) for x in samples]
        full = {name: total_overflow([run.overflow[name] for run in runs]) for name in runs[0].overflow}
        if ranges is not None or attempt == ATTEMPTS - 1 or not any(count.any for count in full.values()):
            break
        wider = with_room(chosen, full)
        other = quantize(network, wider)
        if all(
            np.array_equal(ours.scale, theirs.scale)  # type: ignore[attr-defined]
            for ours, theirs in zip(fixed.populations, other.populations, strict=True)
        ):
            break
        fixed, chosen = other, wider
    return Calibration(fixed, chosen, runs)


def total_overflow(counts: Sequence[Overflow]) -> Overflow:
    """Counts of several runs together."""
    return Overflow(*(sum(getattr(count, key) for count in counts) for key in vars(Overflow())))


def with_room(ranges: Ranges, full: Mapping[str, Overflow]) -> Ranges:
    """Ranges with more room for what overflowed."""

    def wider(values: Mapping[str, float]) -> dict[str, float]:
        return {name: value * (MORE_ROOM if name in full and full[name].any else 1) for name, value in values.items()}

    return replace(ranges, current=wider(ranges.current), potential=wider(ranges.potential))
