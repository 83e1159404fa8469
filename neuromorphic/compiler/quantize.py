"""Folded layers in Loihi's fixed-point numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.lower import LIFChain, LIFLayer

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
        weight_error: Largest error of a weight, as a fraction of the layer's largest weight.
        decay_clipped: Neurons whose decay was clipped to 4095 / 4096 (tau close to dt) or to 1 / 4096.
        threshold_clipped: Neurons whose threshold was clipped.
        may_saturate: Neurons whose membrane could reach the 24-bit limit, were all inputs at their worst for ever; it
            would stay there, not wrap. Synaptic sums cannot wrap: the scale is chosen so.
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
    threshold_clipped: int
    may_saturate: int


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
    first, message_scale = quantize_input_layer(chain.layers[0], input_limit)
    # Spikes are messages of 1.
    return FixedChain((first, *(quantize_layer(layer, 1.0, 1.0) for layer in chain.layers[1:])), message_scale)


def quantize_input_layer(layer: LIFLayer, input_limit: float) -> tuple[FixedLayer, float]:
    """The first layer, and the message scale that makes the most of the message's and the accumulator's bits."""
    rows = np.abs(integer_weights(layer.weight)[0]).sum(axis=1)
    limit = min(MESSAGE_LIMIT, ACCUMULATOR_LIMIT // max(int(rows.max()), 1))
    message_scale = limit / input_limit if input_limit > 0 else 1.0
    exponent = weight_exponent(layer, message_scale, input_limit)
    if exponent < WEIGHT_EXPONENTS.start:
        message_scale *= 2.0 ** (exponent - WEIGHT_EXPONENTS.start)
    return quantize_layer(layer, message_scale, input_limit), message_scale


def integer_weights(weight: sparse.csr_matrix) -> tuple[sparse.csr_matrix, float]:
    """Even integers in +-254, and how many of their units are 1."""
    largest = float(np.abs(weight.data).max(initial=0.0))
    unit = WEIGHT_LIMIT / largest if largest > 0 else 1.0
    data = (2 * np.round(weight.data * (unit / 2))).astype(np.int32)
    return sparse.csr_matrix((data, weight.indices, weight.indptr), shape=weight.shape), unit


def weight_exponent(layer: LIFLayer, message_scale: float, input_limit: float) -> int:
    """Largest exponent with which sums and thresholds stay below their limits; it may be below Loihi's range."""
    _, unit = integer_weights(layer.weight)
    drive = np.abs(layer.weight).sum(axis=1).A1 * input_limit + np.abs(layer.bias) + np.abs(layer.onset)
    largest = max(float(drive.max()), float(layer.threshold.max()))
    # 2 % are kept for the rounding of weights and messages.
    return int(np.floor(np.log2(0.98 * ACTIVATION_LIMIT / (largest * unit * message_scale))))


def quantize_layer(layer: LIFLayer, message_scale: float, input_limit: float) -> FixedLayer:
    """Quantise a layer whose messages are ``message_scale`` times its inputs, of which |x| <= input_limit."""
    weight, unit = integer_weights(layer.weight)
    exponent = min(weight_exponent(layer, message_scale, input_limit), WEIGHT_EXPONENTS.stop - 1)
    scale = unit * message_scale * 2.0**exponent
    exact_decay = np.round(DECAY_UNITY * layer.decay)
    decay = np.clip(exact_decay, 1, DECAY_UNITY - 1)
    exact_threshold = np.round(scale * layer.threshold)
    drive = np.abs(layer.weight).sum(axis=1).A1 * input_limit + np.abs(layer.bias)
    error = np.abs(weight.data / unit - layer.weight.data).max(initial=0.0) * unit / WEIGHT_LIMIT
    return FixedLayer(
        name=layer.name,
        weight=weight,
        weight_exp=exponent,
        bias=np.round(scale * layer.bias).astype(np.int32),
        onset=np.round(scale * layer.onset).astype(np.int32),
        decay=decay.astype(np.int32),
        threshold=np.minimum(exact_threshold, ACTIVATION_LIMIT).astype(np.int32),
        scale=scale,
        weight_error=float(error),
        decay_clipped=int((decay != exact_decay).sum()),
        threshold_clipped=int((exact_threshold > ACTIVATION_LIMIT).sum()),
        may_saturate=int((scale * drive / (decay / DECAY_UNITY) > ACTIVATION_LIMIT).sum()),
    )
