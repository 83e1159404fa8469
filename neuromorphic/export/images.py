"""Images of a checkpoint's own test set, as what its spiking path computes on."""

from __future__ import annotations

import torch

from gshn.errors import CheckpointError, ConfigError
from gshn.inference import SpikingInput, device_of, spiking_inputs
from gshn.model import GSHN
from gshn.training.corpora import Corpora


@torch.inference_mode()
def held_out_images(model: GSHN, count: int) -> dict[str, SpikingInput]:
    """The first held-out scenes of the model's configuration, by name.

    Raises:
        CheckpointError: the model has no spiking path.
        ConfigError: there are fewer held-out scenes than ``count``.
    """
    if model.encoder.spiking is None:
        raise CheckpointError("the checkpoint has no spiking path: model.spiking.enabled is false in its config.yaml")
    held_out = model.config.data.scenes.test
    if count > held_out:
        raise ConfigError(
            f"--images {count} is more than the {held_out} held-out scenes of the checkpoint (data.scenes.test)"
        )
    corpora = Corpora(model.config)
    graphs = corpora.test_pairs.graphs.batch(range(count))
    inputs = spiking_inputs(model, model.node_inputs(graphs.to(device_of(model))))
    scenes = corpora.scenes("test", count)
    return {scenes[i].name: spiking_input for i, spiking_input in enumerate(inputs)}
