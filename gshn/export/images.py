"""Images of a checkpoint's own test set, as what its spiking path computes on."""

from __future__ import annotations

import torch

from gshn.errors import CheckpointError, ConfigError
from gshn.inference import SpikingInput, device_of, spiking_inputs
from gshn.model import GSHN
from gshn.training.corpora import Corpora
from neuromorphic.errors import counted


@torch.inference_mode()
def held_out_images(model: GSHN, count: int) -> dict[str, SpikingInput]:
    """The first held-out images of the model's configuration, by name.

    Raises:
        CheckpointError: the model has no spiking path.
        ConfigError: there are fewer held-out images than ``count``.
    """
    if model.encoder.spiking is None or not model.encoder.spiking.neuron.spikes:
        raise CheckpointError(
            "the checkpoint has no spiking path: by its config.yaml, model.spiking.enabled is false, "
            "model.spiking.neuron does not spike, or model.encoder is not hybrid"
        )
    return graph_inputs(model, count)


@torch.inference_mode()
def graph_inputs(model: GSHN, count: int) -> dict[str, SpikingInput]:
    """As :func:`held_out_images`, of a model whose discrete path spikes or not.

    Raises:
        ConfigError: there are fewer held-out images than ``count``.
    """
    pairs = Corpora(model.config, model.vocabulary).test_pairs
    if count > len(pairs):
        has = counted(len(pairs), "held-out image")
        raise ConfigError(f"--images {count} is more than the checkpoint has: {has} (data.pairs.test)")
    graphs = pairs.graphs.batch(range(count))
    inputs = spiking_inputs(model, model.node_inputs(graphs.to(device_of(model))))
    return dict(zip(pairs.names, inputs, strict=False))
