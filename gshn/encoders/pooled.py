"""The pooled two-tower baseline: one hidden layer on the features of the whole image, without segments."""

from __future__ import annotations

from torch import Tensor, nn

from gshn.config import ModelConfig
from gshn.encoders.hybrid import EncodedGraphs, NodeInputs
from gshn.encoders.spiking import SpikeTrains
from gshn.errors import ConfigError


class PooledEncoder(nn.Module):
    """h = x + W_2 Dropout(ReLU(W_1 LayerNorm(x) + b_1)) + b_2, with x the embedding of the node of the whole image.

    A retrieval model without segments, graph and spikes. The embeddings of other nodes are not changed.
    """

    spiking = None

    def __init__(self, config: ModelConfig):
        super().__init__()
        c, hidden = config.width, config.pooled_hidden
        dropout = nn.Dropout(config.hidden_dropout)
        self.hidden = nn.Sequential(nn.LayerNorm(c), nn.Linear(c, hidden), nn.ReLU(), dropout, nn.Linear(hidden, c))

    def forward(self, inputs: NodeInputs, spikes: SpikeTrains | None = None) -> EncodedGraphs:
        """Encode a batch of scene graphs. ``spikes`` is not used: this encoder does not spike.

        Raises:
            ConfigError: no node stands for the whole image.
        """
        if inputs.whole is None:
            raise ConfigError("model.encoder=pooled looks at the whole image only: set graph.whole_image=true")
        x: Tensor = inputs.x[inputs.whole]
        readout = x + self.hidden(x)
        return EncodedGraphs(inputs.x, readout, inputs.batch, inputs.num_graphs, inputs.centroid, None)
