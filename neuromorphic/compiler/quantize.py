"""Folded layers in Loihi's fixed-point numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.lower import Floats, LIFChain, LIFLayer

WEIGHT_LIMIT = 254
"""Largest 8-bit weight of mixed sign: the sign takes the lowest bit, so weights are even."""
WEIGHT_EXPONENTS = range(-8, 8)
"""Shared exponent of a layer's weights: 3 bits and sign."""
MESSAGE_LIMIT = 2**15 - 1
"""Largest graded message, 16 bits and sign included."""
ACTIVATION_LIMIT = 2**17 - 1
"""Largest synaptic sum, and threshold: both are shifted left by 6 bits into 24-bit registers, where a larger synaptic
sum would wrap around."""
DECAY_UNITY = 2**12
"""Decay constants are 12-bit fractions."""
ACCUMULATOR_LIMIT = 2**31 - 1
"""Largest synaptic sum before the weight exponent is applied (32 bits in Lava's model)."""

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class FixedLayer:
    """An :class:`~neuromorphic.compiler.lower.LIFLayer` in integers; :mod:`neuromorphic.execution.fixed_point` runs it.

    Bias, onset and threshold are in units of the synaptic sum, which is ``scale`` times the potential.

    Attributes:
        name: Name of the LIF node.
        weight: Even, in +-254, int32, shape (M, K).
        weight_exp: The synaptic sum is weight m shifted left by so many bits (right where negative).
        bias: Shape (M,).
        onset: Shape (M,).
        decay: In units of 1 / 4096, 1 to 4095, shape (M,).
        threshold: 0 to 2^17 - 1, shape (M,).
        scale: Units per unit of potential.
        weight_error: Largest error of a weight, as a fraction of the largest weight that 8 bits can hold.
        decay_clipped: Neurons whose decay was clipped to 4095 / 4096 (tau close to dt) or to 1 / 4096.
        may_saturate: Neurons whose membrane could reach the lower 24-bit limit, were all inputs at their worst for
            ever; it would stay there, not wrap. Sums, biases and thresholds always fit: the scale is chosen so.
    """

    name: str
    weight: sparse.csr_matrix
    weight_exp: int
    bias: Ints
    onset: Ints
    decay: Ints
    threshold: Ints
    scale: float
    weight_error: float
    decay_clipped: int
    may_saturate: int

    def report(self) -> dict[str, float | int]:
        """The numbers that describe the quantisation, by name."""
        names = ("scale", "weight_exp", "weight_error", "decay_clipped", "may_saturate")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class FixedChain:
    """Layers in integers, and ``message_scale``: input messages are round(message_scale x)."""

    layers: tuple[FixedLayer, ...]
    message_scale: float

    def messages(self, x: NDArray[np.float64]) -> Ints:
        """Input as integer messages, any shape."""
        return np.round(self.message_scale * x).astype(np.int32)


def quantize(chain: LIFChain, input_limit: float) -> FixedChain:
    """Choose each layer's scale from its weights, and the input's from ``input_limit``, the largest |x|.

    The largest weight becomes 254; the weight exponent, and with it the scale, is the largest with which no synaptic
    sum can wrap and no threshold exceeds its register.
    """
    first, *others = chain.layers
    inputs = input_messages(first, input_limit)
    spikes = Messages(scale=1.0, low=0.0, high=1.0)
    layers = (quantize_layer(first, inputs), *(quantize_layer(layer, spikes) for layer in others))
    return FixedChain(layers, inputs.scale)


@dataclass(frozen=True)
class Messages:
    """What a layer receives: integers, ``scale`` times values between ``low`` and ``high``."""

    scale: float
    low: float
    high: float


def input_messages(layer: LIFLayer, input_limit: float) -> Messages:
    """Graded messages that make the most of their bits, of the accumulator's and of the weight exponent's range."""
    unit = weight_unit(layer.weight)
    largest_sum = abs(integer_weights(layer.weight, unit)).sum(axis=1).max()
    limit = min(MESSAGE_LIMIT, ACCUMULATOR_LIMIT // max(int(largest_sum), 1))
    messages = Messages(limit / input_limit if input_limit > 0 else 1.0, -input_limit, input_limit)
    excess = min(weight_exponent(layer, messages, unit) - WEIGHT_EXPONENTS.start, 0)
    return replace(messages, scale=messages.scale * 2.0**excess)


def weight_unit(weight: sparse.csr_matrix) -> float:
    """Units per 1 with which the largest weight becomes 254."""
    largest = float(np.abs(weight.data).max(initial=0.0))
    return WEIGHT_LIMIT / largest if largest > 0 else 1.0


def integer_weights(weight: sparse.csr_matrix, unit: float) -> sparse.csr_matrix:
    """Weights rounded to even integers."""
    data = (2 * np.round(weight.data * (unit / 2))).astype(np.int32)
    return sparse.csr_matrix((data, weight.indices, weight.indptr), shape=weight.shape)


def drive_bounds(layer: LIFLayer, messages: Messages) -> tuple[Floats, Floats]:
    """Smallest and largest that can be added to each neuron's potential in a step, shape (M,) each."""
    positive, negative = (part.sum(axis=1).A1 for part in (layer.weight.maximum(0), layer.weight.minimum(0)))
    low = messages.low * positive + messages.high * negative + layer.bias
    high = messages.high * positive + messages.low * negative + layer.bias
    return low, high


def weight_exponent(layer: LIFLayer, messages: Messages, unit: float) -> int:
    """Largest exponent with which sums and thresholds stay below their limits; it may be out of Loihi's range."""
    low, high = (bound.max() for bound in np.abs(drive_bounds(layer, messages)))
    largest = max(low, high) + np.abs(layer.onset).max()
    # 2 % are kept for the rounding of weights and messages.
    room = 0.98 * ACTIVATION_LIMIT / max(largest, layer.threshold.max())
    return int(np.floor(np.log2(room / (unit * messages.scale))))


def quantize_layer(layer: LIFLayer, messages: Messages) -> FixedLayer:
    """Quantise a layer with the largest scale that its messages allow."""
    unit = weight_unit(layer.weight)
    exponent = weight_exponent(layer, messages, unit)
    excess = min(exponent - WEIGHT_EXPONENTS.start, 0)
    # Weights that are tiny beside the threshold cannot use all of their bits.
    unit, exponent = unit * 2.0**excess, min(exponent - excess, WEIGHT_EXPONENTS.stop - 1)
    weight = integer_weights(layer.weight, unit)
    scale = unit * messages.scale * 2.0**exponent
    exact_decay = np.round(DECAY_UNITY * layer.decay)
    decay = np.clip(exact_decay, 1, DECAY_UNITY - 1)
    # Only downwards: a membrane that reaches the upper limit is above any threshold, and is reset.
    lowest = scale * drive_bounds(layer, messages)[0] * DECAY_UNITY / decay
    return FixedLayer(
        name=layer.name,
        weight=weight,
        weight_exp=exponent,
        bias=np.round(scale * layer.bias).astype(np.int32),
        onset=np.round(scale * layer.onset).astype(np.int32),
        decay=decay.astype(np.int32),
        threshold=np.round(scale * layer.threshold).astype(np.int32),
        scale=scale,
        weight_error=float(np.abs(weight.data - unit * layer.weight.data).max(initial=0.0) / WEIGHT_LIMIT),
        decay_clipped=int((decay != exact_decay).sum()),
        may_saturate=int((lowest < -ACTIVATION_LIMIT).sum()),
    )
