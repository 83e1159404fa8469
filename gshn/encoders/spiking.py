"""Discrete path: a spiking network on the scene graph."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from gshn.encoders.aggregation import Aggregation
from gshn.encoders.quantized import Round, quantized_aggregation, slayer_rounding, weight_step
from gshn.neurons.kinds import Neuron


@dataclass(frozen=True)
class SpikeTrains:
    """Spikes of every layer.

    Attributes:
        layers: One tensor per LIF layer, in {0, 1}, shape (T, N, C): steps, nodes, channels.
    """

    layers: tuple[Tensor, ...]

    @property
    def output(self) -> Tensor:
        """Spikes of the last layer, shape (T, N, C)."""
        return self.layers[-1]

    @property
    def code(self) -> Tensor:
        """Spikes of every layer side by side, shape (T, N, sum of the layers' C): what spiked text learning teaches."""
        return torch.cat(self.layers, dim=2) if len(self.layers) > 1 else self.output

    @property
    def rates(self) -> Tensor:
        """E_SNN: firing rates of the last layer, spikes per step, shape (N, C)."""
        return self.output.mean(dim=0)

    @property
    def firing_rate(self) -> Tensor:
        """Mean over all layers' neurons and steps, spikes per neuron and step, shape ()."""
        return torch.stack([s.mean() for s in self.layers]).mean()


class SpikingGraphEncoder(nn.Module):
    """LIF layers over T steps. Between layers, spikes pass along the edges of the scene graph.

    Layer 0: current[t] = x W_0^T + b_0, the same at every step. Later layers: current[t] = A s[t] W_k^T + b_k, with s
    the spikes of the layer before. s = LIF(current), see :func:`gshn.neurons.lif.lif_step`, with v = 0 before step 0.
    E_SNN of arXiv:2501.19069 is the mean of the last layer's spikes over the steps.

    In eval mode the path is computed in float64, whatever the precision of the rest of the model. A spike is a
    comparison; in float32 it would depend on the order of summation, and so on batch size, BLAS and device. Lava's
    float models are float64, too.

    With ``quantize``, training uses synapses that are rounded as on a fixed-point chip
    (:mod:`gshn.encoders.quantized`), and the gradient passes the rounding unchanged. The weights stay float. Eval mode
    and the NIR export do not round them: the compiler does.

    With a neuron that does not spike (:mod:`gshn.neurons.kinds`) this is the same network without spikes, for
    comparison.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        layers: int,
        steps: int,
        neuron: Neuron,
        quantize: bool = False,
    ):
        super().__init__()
        self.steps = steps
        self.neuron = neuron
        self.quantize = quantize
        self.rounding: Round | None = None
        p = neuron.p
        sizes = [in_channels] + [channels] * layers
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        # A LIF neuron fires when r current exceeds v_threshold for long enough; PyTorch's default weights would leave
        # most neurons silent for ever, with surrogate gradients near zero.
        for linear in self.linears:
            assert isinstance(linear, nn.Linear)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            nn.init.constant_(linear.bias, 0.5 * (p.v_threshold - p.v_leak) / p.r)

    def forward(self, x: Tensor, aggregate: Aggregation) -> SpikeTrains:
        """Encode node inputs x of shape (N, in_channels).

        Raises:
            ConfigError: in training, ``quantize`` is on and lava-dl is not installed.
        """
        dtype = torch.float32 if self.training else torch.float64
        rounding = self.training_rounding() if self.training and self.quantize else None
        with torch.autocast(x.device.type, enabled=False):
            layers: list[Tensor] = []
            for linear in self.linears:
                assert isinstance(linear, nn.Linear)
                weight, bias = linear.weight.to(dtype), linear.bias.to(dtype)
                if layers and rounding:
                    current = quantized_aggregation(layers[-1], weight, aggregate, rounding) + bias
                elif layers:
                    # A (s W^T) = (A s) W^T: one matrix product over all steps, then the graph.
                    current = aggregate(layers[-1] @ weight.T) + bias
                else:
                    if rounding:
                        weight = rounding(weight, weight_step(weight))
                    current = (x.to(dtype) @ weight.T + bias).expand(self.steps, -1, -1)
                layers.append(self.neuron(current))
        return SpikeTrains(tuple(layers))

    @property
    def weights(self) -> list[Tensor]:
        """W_k of every layer, shape (out, in)."""
        return [linear.weight for linear in self.linears]  # type: ignore[misc]

    def training_rounding(self) -> Round:
        """lava-dl's rounding, imported when it is first needed: evaluation does without."""
        if self.rounding is None:
            self.rounding = slayer_rounding()
        return self.rounding
