"""Quantised layers as lava-dl's HDF5 network (``.net``), the format of ``lava.lib.dl.netx``.

Like the program for Lava, the file is a compiler's output. Neither PyTorch nor lava-dl is needed to write it;
:mod:`neuromorphic.lava.netx` runs it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.network import LIF, SUM, Levels
from neuromorphic.compiler.operators import expanded
from neuromorphic.compiler.quantize import (
    BIAS_FRACTION,
    DECAY_UNITY,
    WEIGHT_LIMIT,
    FixedNetwork,
    FixedPopulation,
    FixedProjection,
    Ints,
)
from neuromorphic.errors import UnsupportedGraphError

BIAS_LIMIT = 2**12 - 1
"""Largest bias: a mantissa of 13 bits with sign, which netx shifts by 6 bits, as Lava does synaptic sums."""
MESSAGE_BITS = 16
"""Bits of the input, an argument of ``Network``. Any number above 0 has the same effect; 0 would mean spikes."""


@dataclass(frozen=True)
class NetxLayer:
    """A dense layer of CUBA neurons in the integers of a ``.net`` file.

    u = u (4096 - du) / 4096 + 2^6 weight m;  v = v (4096 - dv) / 4096 + u + 2^6 bias;  s = v > 2^6 vth;  v = 0 if s

    Both divisions round towards 0; u and v have 24 bits. The file cannot hold a weight exponent. netx shifts weights so
    that they fill their 8 bits, and chooses the exponent that reverses this shift.

    Attributes:
        name: Name of the LIF node.
        weight: Even, in +-254, shape (M, K).
        bias: In +-4095, shape (M,).
        du: 4096: the current does not outlive its step.
        dv: 1 to 4095, shape (M,).
        vth: 0 to 2^17 - 1, shape (M,).
        scale: Units per unit of potential.
        weight_error: Largest error of a weight that is due to the missing exponent, as a fraction of the largest weight
            of 8 bits.
    """

    name: str
    weight: NDArray[np.int32]
    bias: Ints
    du: int
    dv: Ints
    vth: Ints
    scale: float
    weight_error: float


@dataclass(frozen=True)
class NetxNetwork:
    """Layers of a ``.net`` file. Input messages are round(message_scale x); T is ``steps``."""

    layers: tuple[NetxLayer, ...]
    message_scale: float
    steps: int

    def loading(self) -> dict[str, int]:
        """Arguments of ``lava.lib.dl.netx.hdf5.Network`` with which netx computes this network.

        A bias acts from Lava's step 1 on, but step 0 of layer k takes place in Lava's step k + 2 (see
        docs/lava.md). netx can reset layer by layer: with these arguments layer k is set
        to v = 0 right before its step 0, so what bias did earlier is undone, and the spikes that it caused arrive at
        the next layer before that one's reset.
        """
        # Longer than the run, which is steps + layers: no second reset.
        interval = self.steps + len(self.layers) + 1
        return {"input_message_bits": MESSAGE_BITS, "reset_interval": interval, "reset_offset": 1}


def chain_of(network: FixedNetwork) -> list[tuple[FixedPopulation, FixedProjection]]:
    """Populations from the input to the output, each with the projection that leads to it.

    Raises:
        UnsupportedGraphError: the network is not a chain of LIF populations; the message names a node.
    """
    if len(network.inputs) != 1:
        raise UnsupportedGraphError(f"netx takes one input, the graph has {len(network.inputs)}")
    chain: list[tuple[FixedPopulation, FixedProjection]] = []
    (source,) = network.inputs
    for population in network.populations:
        into = network.into(population.name)
        if len(into) != 1 or into[0].source != source or set(into[0].taps) != {0}:
            raise UnsupportedGraphError(f"node '{population.name}' does not follow '{source}' alone; netx takes chains")
        if population.kind == SUM and network.is_direct(into[0]):
            continue
        if population.kind != LIF:
            raise UnsupportedGraphError(
                f"node '{population.name}': netx takes LIF neurons with a reset to v_reset only"
            )
        assert isinstance(population, FixedPopulation) and isinstance(into[0], FixedProjection)
        chain.append((population, into[0]))
        source = population.name
    return chain


def netx_network(network: FixedNetwork, steps: int) -> NetxNetwork:
    """Convert a quantised chain of populations to the layers of a ``.net`` file.

    A layer's sums are (weight m) 2^e in the chain, and weight m in the file. All sums of a layer, its biases and its
    thresholds are divided by 2^s, where s makes the largest bias fit. Then k = s - e bits must be dropped: from the
    messages of the input in the first layer, from the weights in all others, where k is 0 unless e is below s.

    Args:
        network: Quantised with one exponent for each projection (``quantize(..., groups=1)``).
        steps: T.

    Raises:
        UnsupportedGraphError: a ``.net`` file cannot represent a layer exactly; the message names its node.
    """
    layers = []
    (message_scale,) = network.message_scale.values()
    for index, (population, projection) in enumerate(chain_of(network)):
        bias_excess = int(np.ceil(np.log2(max(float(np.abs(bias_of(population)).max(initial=0)) / BIAS_LIMIT, 1.0))))
        exponent = int(projection.weight_exp[0]) if len(projection.weight_exp) else 0
        assert (projection.weight_exp == exponent).all()
        shift = max(exponent, bias_excess, 0)
        surplus = shift - exponent
        if index == 0 and message_scale != 1:  # Whole numbers have no bits to give.
            message_scale /= 2**surplus
            surplus = 0
        layers.append(netx_layer(population, projection, shift, surplus))
    return NetxNetwork(tuple(layers), message_scale, steps)


def bias_of(population: FixedPopulation) -> Ints:
    """A bias that is the same in all steps, in whole units.

    Raises:
        UnsupportedGraphError: it is not.
    """
    if population.bias.start not in ((), (0,)):
        raise UnsupportedGraphError(
            f"node '{population.name}': v_reset is not 0, or a delay holds its bias back, so the first steps "
            "differ from the others; netx's neurons start at their reset potential"
        )
    return np.round(population.bias.at(0) / 2.0**BIAS_FRACTION).astype(np.int32)


def netx_layer(population: FixedPopulation, projection: FixedProjection, shift: int, surplus: int) -> NetxLayer:
    """Convert a layer, with units divided by 2^shift and weights by 2^surplus.

    Raises:
        UnsupportedGraphError: see :func:`netx_network`.
    """
    name = population.name
    if (population.du != DECAY_UNITY).any():
        raise UnsupportedGraphError(f"node '{name}': synaptic currents that outlive their step are not written yet")
    exact = expanded(projection.taps[0], 0).toarray() / 2**surplus
    weight = (2 * np.round(exact / 2)).astype(np.int32)
    low, high = int(weight.min(initial=0)), int(weight.max(initial=0))
    if low == high == 0:
        raise UnsupportedGraphError(f"node '{name}': all its synapses are 0, which netx cannot scale")
    if high <= 0 and (-low).bit_count() == 1:
        # netx shifts the smallest to -256; Lava takes weights without a positive one as 0 to -255 and clips.
        raise UnsupportedGraphError(
            f"node '{name}': synapses that are all negative, down to a power of 2, are changed by netx"
        )
    return NetxLayer(
        name=name,
        weight=weight,
        bias=np.round(bias_of(population) / 2**shift).astype(np.int32),
        du=DECAY_UNITY,
        dv=np.asarray(population.dv, np.int32),
        vth=np.round(population.threshold / 2**shift).astype(np.int32),
        scale=float(population.scale.max(initial=0.0)) / 2**shift,
        weight_error=float(np.abs(weight - exact).max() / WEIGHT_LIMIT),
    )


def fixed_network(netx: NetxNetwork, network: FixedNetwork) -> FixedNetwork:
    """The network that the file computes, for :func:`neuromorphic.execution.populations.run`; made from ``network``."""
    layers = {layer.name: layer for layer in netx.layers}
    populations, projections = [], []
    for population in network.populations:
        if population.name in layers:
            assert isinstance(population, FixedPopulation)
            layer = layers[population.name]
            bias = Levels((0,), layer.bias[None] * 2**BIAS_FRACTION)
            population = replace(
                population, bias=bias, threshold=np.asarray(layer.vth), scale=np.full(population.size, layer.scale)
            )
        populations.append(population)
    for projection in network.projections:
        if projection.target in layers:
            assert isinstance(projection, FixedProjection)
            taps = {0: sparse.csr_matrix(layers[projection.target].weight)}
            none = np.zeros_like(projection.weight_exp)
            projection = replace(projection, taps=taps, weight_exp=none)
        projections.append(projection)
    scales = dict.fromkeys(network.message_scale, netx.message_scale)
    return replace(network, populations=tuple(populations), projections=tuple(projections), message_scale=scales)


def netx_file(network: NetxNetwork) -> bytes:
    """The content of a ``.net`` file.

    Layout (that of ``export_hdf5`` of lava-dl's slayer): ``layer/0`` the input's shape, ``layer/k`` a layer each, with
    ``type``, ``shape``, ``weight``, ``bias`` and ``neuron/{type, iDecay, vDecay, vThMant, refDelay, gradedSpike}``.
    Attributes of the file, which netx does not read: ``message_scale``, ``steps``, and the arguments of
    :meth:`NetxNetwork.loading`.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update({"message_scale": network.message_scale, "steps": network.steps, **network.loading()})
        write_type(group := file.create_group("layer/0"), "input")
        group["shape"] = np.array([network.layers[0].weight.shape[1]])
        for k, layer in enumerate(network.layers, start=1):
            write_type(group := file.create_group(f"layer/{k}"), "dense")
            group.attrs["name"] = layer.name
            group["shape"] = np.array([layer.weight.shape[0]])
            # kron(A, W) is mostly zeros; int16 holds 8 bits and sign.
            group.create_dataset("weight", data=layer.weight.astype(np.int16), compression="gzip")
            group["bias"] = layer.bias
            write_type(neuron := group.create_group("neuron"), "CUBA")
            neuron["iDecay"] = layer.du
            neuron["vDecay"] = scalar_if_uniform(layer.dv)
            neuron["vThMant"] = scalar_if_uniform(layer.vth)
            neuron["refDelay"] = 1
            neuron["gradedSpike"] = False
    return buffer.getvalue()


def write_type(group: h5py.Group, name: str) -> None:
    """Write ``type`` as netx reads it."""
    group.create_dataset("type", data=np.array([name.encode("ascii")]))


def scalar_if_uniform(values: Ints) -> Ints | int:
    """A scalar if all values are equal: Loihi's back ends take a population's decay and threshold as scalars."""
    return int(values[0]) if len(values) and (values == values[0]).all() else values
