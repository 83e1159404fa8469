"""Scales for fixed point from inputs, checked on the integers."""

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
"""How often more room is left where a register overflows: 1.5 times as much each time, 7.6 times in the end."""
MORE_ROOM = 1.5


@dataclass(frozen=True)
class Calibration:
    """A network in integers.

    Attributes:
        network: The integers.
        ranges: What its scales were chosen for.
        run: What it did with the inputs; what still overflows is counted there.
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
    """Quantise a network for some inputs, and run them in integers.

    Integers take a slightly other way than the float run that scales are chosen from, and after a first spike that
    differs another one altogether. Where a register overflows, scales are chosen anew with more room, unless a
    threshold would become too coarse (:func:`~neuromorphic.compiler.quantize.largest_scale`).

    Args:
        network: Float.
        inputs: By name, shape (T, *shape).
        ranges: Choose the scales for these, once; by default for what the inputs reach.
        potentials: Populations whose potentials are recorded.
        signed: Inputs may have either sign, even if these have one.
        batched: Whether inputs are those of B samples, shape (B, T, *shape).
        simulator: What runs networks: :func:`neuromorphic.execution.populations.run`, or
            :func:`neuromorphic.c.library.run`, which gives the same.
        rounded: What quantises: :func:`neuromorphic.compiler.quantize.quantize`, or what keeps what that gave.
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
    """Ranges with more room for what overflowed."""

    def wider(values: Mapping[str, float]) -> dict[str, float]:
        return {name: value * (MORE_ROOM if name in full and full[name].any else 1) for name, value in values.items()}

    return replace(ranges, current=wider(ranges.current), potential=wider(ranges.potential))
