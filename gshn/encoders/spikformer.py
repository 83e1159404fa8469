"""A spiking transformer over nodes or tokens, as a baseline. With patches as nodes it is the encoder of SpikeCLIP."""

from __future__ import annotations

from torch import Tensor, nn

from gshn.config import ModelConfig
from gshn.encoders.hybrid import EncodedGraphs, NodeInputs
from gshn.encoders.padding import node_mask_of
from gshn.encoders.spiking import SpikeTrains
from gshn.neurons.lif import LIFParameters, Spike, spike_function
from gshn.neurons.multistep import lif


class SpikingLinear(nn.Module):
    """s = LIF(BatchNorm(x W^T)), shape (T, M, C_in) -> (T, M, C_out). In eval mode the norm is an affine map."""

    def __init__(self, inputs: int, outputs: int, p: LIFParameters, spike: Spike):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        # Currents of unit variance around the threshold: half of the neurons spike from the start.
        nn.init.constant_(self.norm.bias, (p.v_threshold - p.v_leak) / p.r)
        self.p, self.spike = p, spike

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of every step, shape (T, M, C_in) -> (T, M, C_out)."""
        current = self.norm(self.linear(x).flatten(0, 1)).unflatten(0, x.shape[:2])
        return lif(current, self.p, self.spike)


class SpikingSelfAttention(nn.Module):
    """Spiking self-attention, for each head and step.

    Q, K, V = LIF(BN(x W)); out = LIF(BN(W_o LIF(scale Q K^T V))). There is no softmax: Q K^T counts spikes and is never
    negative. Source: Zhou et al., Spikformer, arXiv:2209.15425, eq. 5 to 8. The paper has scale 0.125 with a threshold
    of 0.5; here all neurons have the same threshold, and scale 0.25 is equivalent.
    """

    SCALE = 0.25

    def __init__(self, channels: int, heads: int, p: LIFParameters, spike: Spike):
        super().__init__()
        self.heads, self.p, self.spike = heads, p, spike
        self.query, self.key, self.value, self.out = (SpikingLinear(channels, channels, p, spike) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Attend within each row of ``mask``.

        Args:
            x: Spikes of all tokens, without padding, shape (T, M, C).
            mask: True at tokens, shape (B, S); M of them.

        Returns:
            Spikes of query, key, value, attended and out, each of shape (T, M, C). The last is the module's output.
        """
        trains = [layer(x) for layer in (self.query, self.key, self.value)]
        dense = []
        for train in trains:
            padded = train.new_zeros(train.shape[0], *mask.shape, train.shape[2])
            padded[:, mask] = train
            dense.append(padded.unflatten(3, (self.heads, -1)).transpose(2, 3))  # (T, B, heads, S, C / heads)
        q, k, v = dense
        attended = (q @ (k.transpose(3, 4) @ v)).transpose(2, 3).flatten(3)[:, mask]
        spikes = lif(self.SCALE * attended, self.p, self.spike)
        return (*trains, spikes, self.out(spikes))


class SpikingTransformer(nn.Module):
    """Residual blocks of spiking self-attention and a spiking perceptron over T steps.

    x_0 = LIF(BN(W input)), with the same input at every step; x <- x + SSA(x); x <- x + MLP(x). The output is
    LayerNorm(mean of the last x over the steps).
    """

    def __init__(self, channels: int, heads: int, layers: int, steps: int, p: LIFParameters, spike: Spike):
        super().__init__()
        self.steps = steps
        self.encode = SpikingLinear(channels, channels, p, spike)
        self.attention = nn.ModuleList(SpikingSelfAttention(channels, heads, p, spike) for _ in range(layers))
        self.wide = nn.ModuleList(SpikingLinear(channels, 4 * channels, p, spike) for _ in range(layers))
        self.narrow = nn.ModuleList(SpikingLinear(4 * channels, channels, p, spike) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)

    def forward(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, SpikeTrains]:
        """Encode tokens.

        Args:
            inputs: Embeddings of all tokens, without padding, shape (M, C).
            mask: True at tokens, shape (B, S); M of them.

        Returns:
            States, shape (M, C), and the spikes of every layer, each of shape (T, M, its channels).
        """
        x = self.encode(inputs.expand(self.steps, *inputs.shape))
        layers = [x]
        for attention, wide, narrow in zip(self.attention, self.wide, self.narrow, strict=True):
            attended = attention(x, mask)
            x = x + attended[-1]
            hidden = wide(x)
            out = narrow(hidden)
            x = x + out
            layers += [*attended, hidden, out]
        return self.norm(x.mean(dim=0)), SpikeTrains(tuple(layers))


def spiking_transformer(config: ModelConfig, heads: int, layers: int) -> SpikingTransformer:
    """A spiking transformer with the steps and neurons of ``model.spiking``."""
    s = config.spiking
    p = LIFParameters(tau=s.tau, dt=s.dt, v_threshold=s.v_threshold)
    return SpikingTransformer(config.width, heads, layers, s.steps, p, spike_function(s.surrogate, s.slope))


class SpikformerEncoder(nn.Module):
    """A spiking transformer over the nodes of a graph. Edges are not used. The readout is the mean over the nodes.

    Source: the image encoder of Li et al., SpikeCLIP, arXiv:2310.06488, after Spikformer.
    """

    spiking = None

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.transformer = spiking_transformer(config, config.transformer.heads, config.transformer.layers)

    def forward(self, inputs: NodeInputs, spikes: SpikeTrains | None = None) -> EncodedGraphs:
        """Encode a batch of scene graphs. ``spikes`` is not used: no other simulator runs this path."""
        mask = node_mask_of(inputs.batch, inputs.num_graphs)
        nodes, own = self.transformer(inputs.x, mask)
        total = nodes.new_zeros(inputs.num_graphs, nodes.shape[1]).index_add(0, inputs.batch, nodes)
        readout = total / mask.sum(dim=1, keepdim=True).clamp(min=1)
        return EncodedGraphs(nodes, readout, inputs.batch, inputs.num_graphs, inputs.centroid, own)
