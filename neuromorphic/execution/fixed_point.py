"""Loihi's fixed-point LIF arithmetic in NumPy, bit for bit that of Lava's ``fixed_pt`` models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuromorphic.compiler.quantize import DECAY_UNITY, FixedChain, FixedLayer

ALIGNMENT = 6
"""Synaptic sums and thresholds are shifted left by so many bits to meet the 24-bit potential."""
POTENTIAL_LIMIT = 2**23


def simulate_fixed(chain: FixedChain, x: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Spikes of every layer, shape (T, neurons), by name; ``x`` is the input before quantisation, shape (T, n)."""
    messages = chain.messages(x)
    spikes: dict[str, NDArray[np.bool_]] = {}
    for layer in chain.layers:
        spikes[layer.name] = run_layer(layer, messages)
        messages = spikes[layer.name].astype(np.int32)
    return spikes


def run_layer(layer: FixedLayer, messages: NDArray[np.int32]) -> NDArray[np.bool_]:
    """One layer, whose current does not outlive its step (du = 4095, which Loihi takes as 4096).

    a = (weight m) 2^weight_exp + bias (+ onset at step 0);  u = a 2^6, wrapping at +-2^23
    w = v (4096 - decay) / 4096, towards 0, + u, clipped to +-(2^23 - 1);  s = w > threshold 2^6;  v' = 0 if s else w
    """
    v = np.zeros(layer.weight.shape[0], np.int64)
    spikes = np.zeros((len(messages), len(v)), bool)
    for t, message in enumerate(messages):
        total = layer.weight @ message.astype(np.int64)
        a = total << layer.weight_exp if layer.weight_exp > 0 else total >> -layer.weight_exp
        a = a + layer.bias + (layer.onset if t == 0 else 0)
        u = a << ALIGNMENT
        u = np.where(u > POTENTIAL_LIMIT, u - 2 * POTENTIAL_LIMIT, u)
        u = np.where(u <= -POTENTIAL_LIMIT, u + 2 * POTENTIAL_LIMIT, u)
        kept = np.sign(v) * (np.abs(v) * (DECAY_UNITY - layer.decay.astype(np.int64)) // DECAY_UNITY)
        v = np.clip(kept + u, 1 - POTENTIAL_LIMIT, POTENTIAL_LIMIT - 1)
        spikes[t] = v > layer.threshold.astype(np.int64) << ALIGNMENT
        v[spikes[t]] = 0
    return spikes
