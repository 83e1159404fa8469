"""Neurons of the discrete path, and what the configuration knows of them without importing them."""

import nir
import pytest
import torch
from helpers import pair_batch, tiny_config, tiny_model

from gshn.config import SpikingConfig
from gshn.errors import ConfigError
from gshn.neurons.kinds import make_neuron
from gshn.registry import NEURONS
from gshn.training.objective import Objective

KINDS = ["lif", *sorted(NEURONS.kinds.keys() - {"lif"})]
OVERRIDES = {
    "relu": ["model.spiking.steps=1", "objectives.spike_contrast=0", "objectives.firing_rate=0"],
    "clipped_relu": ["model.spiking.steps=1", "objectives.spike_contrast=0"],
    "lif": [],
}


def config_of(kind: str) -> SpikingConfig:
    return tiny_config(f"model.spiking.neuron={kind}", *OVERRIDES[kind]).model.spiking


@pytest.mark.parametrize("kind", KINDS)
def test_neurons_are_what_their_files_declare(kind: str) -> None:
    config = config_of(kind)
    neuron = make_neuron(config)
    current = torch.linspace(-3, 3, 50).expand(max(config.steps, 2), 50)
    out = neuron(current)
    assert out.shape == current.shape and (out[:, current[0] < 0] == 0).all() and (out > 0).any()
    assert neuron.spikes == config.spikes == bool(((out == 0) | (out == 1)).all())
    assert config.rates == bool(((out >= 0) & (out <= 1)).all())
    if neuron.spikes:
        fields = neuron.nir_fields(3)
        assert getattr(nir, fields.pop("type"))(**fields).tau.shape == (3,)


def test_activations_of_the_twins() -> None:
    current = torch.tensor([[-1.0, 0.25, 3.0]])
    assert make_neuron(config_of("relu"))(current).tolist() == [[0, 0.25, 3]]
    assert make_neuron(config_of("clipped_relu"))(current).tolist() == [[0, 0.25, 1]]


def test_the_fair_twin_is_penalised_and_the_other_cannot_be() -> None:
    model = tiny_model(tiny_config("model.spiking.neuron=clipped_relu", *OVERRIDES["clipped_relu"],
                                   "objectives.firing_rate_target=0.001"))  # fmt: skip
    losses = Objective(model, model.config.objectives)(pair_batch(model, range(4)))
    assert losses["firing_rate"] > 0 and "spike_contrast" not in losses
    with pytest.raises(ConfigError, match=r"objectives\.firing_rate' is 1.0: must be 0 where .* is relu: there are no"):
        tiny_config("model.spiking.neuron=relu", "model.spiking.steps=1", "objectives.spike_contrast=0")
    with pytest.raises(ConfigError, match=r"objectives\.spike_contrast' is 0.1: must be 0 where .* is clipped_relu"):
        tiny_config("model.spiking.neuron=clipped_relu", "model.spiking.steps=1")
    with pytest.raises(ConfigError, match=r"model\.spiking\.steps' is 8: must be 1 where .*neuron is clipped_relu"):
        tiny_config("model.spiking.neuron=clipped_relu")
    with pytest.raises(ConfigError, match=r"model\.spiking\.neuron' is 'tanh': .*clipped_relu, lif, relu"):
        tiny_config("model.spiking.neuron=tanh")
