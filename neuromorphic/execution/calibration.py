"""Choose fixed-point scales for given inputs, and check them in a run of the integers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.network import Network
from neuromorphic.compiler.quantize import FixedNetwork, Ranges, quantize
from neuromorphic.execution import populations
from neuromorphic.execution.populations import Overflow, PopulationRun

ATTEMPTS = 6
"""Largest number of runs. After each but the last, registers that overflow get more room: 7.6 times in the end."""
MORE_ROOM = 1.5
"""Factor by which the room of an overflowing register grows."""


@dataclass(frozen=True)
class Calibration:
    """A quantised network, and its run.

    Attributes:
        network: The network in integers.
        ranges: The ranges that its scales were chosen for.
        run: Its run on the inputs, which counts the overflows that are left.
    """

    network: FixedNetwork
    ranges: Ranges
    run: PopulationRun


def calibrate(
    network: Network,
    inputs: Mapping[str, NDArray],
    ranges: Ranges | None = None,
    potentials: Collection[str] = (),
    signed: bool = False,
    batched: bool = False,
    simulator: Callable[..., PopulationRun] = populations.run,
    rounded: Callable[[Network, Ranges], FixedNetwork] = quantize,
) -> Calibration:
    """Quantise a network for given inputs, and run it on them in integers.

    Scales are chosen from a float run. The integer run deviates from it a little, and after the first spike that
    differs perhaps a lot. If a register then overflows, new scales leave more room, unless a threshold would become too
    coarse (:func:`~neuromorphic.compiler.quantize.largest_scale`).

    Args:
        network: Float.
        inputs: By name, shape (T, *shape), or (B, T, *shape) with ``batched``.
        ranges: Choose the scales for these ranges, and only once. By default they are measured on the inputs.
        potentials: Names of the populations whose potentials are recorded.
        signed: Leave room for negative inputs even if the given ones have none.
        batched: Whether the inputs have an axis of samples.
        simulator: The function that runs a network: :func:`neuromorphic.execution.populations.run`, or
            :func:`neuromorphic.c.library.run`, which gives the same results.
        rounded: The function that quantises: :func:`neuromorphic.compiler.quantize.quantize`, or a cached one.

    Returns:
        The network in integers, its ranges, and its run.
    """
    chosen = ranges or simulator(network, inputs, batched=batched, watch=True).ranges
    if signed:
        chosen = replace(chosen, unsigned=chosen.unsigned - network.inputs.keys())
    fixed = rounded(network, chosen)
    for attempt in range(ATTEMPTS):
        run = simulator(fixed, inputs, potentials, batched)
        if ranges is not None or attempt == ATTEMPTS - 1 or not any(count.any for count in run.overflow.values()):
            break
        wider = with_room(chosen, run.overflow)
        other = rounded(network, wider)
        if all(
            np.array_equal(ours.scale, theirs.scale)  # type: ignore[attr-defined]
            for ours, theirs in zip(fixed.populations, other.populations, strict=True)
        ):
            break
        fixed, chosen = other, wider
    return Calibration(fixed, chosen, run)


def with_room(ranges: Ranges, full: Mapping[str, Overflow]) -> Ranges:
    """Ranges with more room for the populations that overflowed."""

    def wider(values: Mapping[str, float]) -> dict[str, float]:
        return {name: value * (MORE_ROOM if name in full and full[name].any else 1) for name, value in values.items()}

    return replace(ranges, current=wider(ranges.current), potential=wider(ranges.potential))
