"""Lava in place of PyTorch, for a model's spiking path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gshn.encoders.spiking import SpikeTrains, SpikingGraphEncoder
from gshn.export.side_by_side import run_images
from gshn.inference import SpikingInput
from neuromorphic.backends import Precision
from neuromorphic.lava.compat import require_lava
from neuromorphic.lava.session import KeptUp


class LavaBackend:
    """Runs the spiking paths of a batch of scene graphs in one Lava network, from their NIR graphs. The network stays
    up: the next batch is handed to it as numbers, and costs no start.

    A :data:`gshn.inference.SpikeBackend`; use it in a ``with`` statement, or close it.
    """

    def __init__(self, encoder: SpikingGraphEncoder, precision: Precision = "float"):
        """Set up.

        Raises:
            LavaMissingError: Lava is not installed.
        """
        require_lava()
        self.encoder, self.precision = encoder, precision
        self.kept = KeptUp()

    def close(self) -> None:
        """End Lava's processes."""
        self.kept.close()

    def __enter__(self) -> LavaBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, graphs: Sequence[SpikingInput]) -> SpikeTrains:
        """Spike trains of the graphs, their nodes one graph after the other."""
        result = run_images(self.encoder, graphs, self.precision, kept=self.kept)
        layers = []
        for name in result.names:
            per_graph = [
                own[name].reshape(result.steps, graph.num_nodes, -1)
                for own, graph in zip(result.spikes, graphs, strict=True)
            ]
            layers.append(torch.from_numpy(np.concatenate(per_graph, axis=1).astype(np.float64)))
        return SpikeTrains(tuple(layers))
