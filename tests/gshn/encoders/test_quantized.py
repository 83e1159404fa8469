from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import STEPS, finish, kill_when, lines, start
from safetensors.torch import load_file

from gshn.config import load_config
from gshn.encoders.aggregation import degree_normalized
from gshn.encoders.quantized import LEVELS, quantized_aggregation, slayer_rounding, weight_step
from gshn.encoders.spiking import SpikingGraphEncoder
from gshn.errors import ConfigError
from gshn.neurons.kinds.lif import LIF
from gshn.neurons.lif import LIFParameters, spike_function
from neuromorphic.lava import lava_dl

needs_lava_dl = pytest.mark.skipif(not lava_dl.has_lava_dl(), reason="lava-dl is not installed: doctor --install lava")
# 0 -> 1, 0 -> 2, 2 -> 1; 3 is alone.
EDGES = torch.tensor([[0, 0, 2], [1, 2, 1]])


def make_encoder(quantize: bool) -> SpikingGraphEncoder:
    torch.manual_seed(0)
    encoder = SpikingGraphEncoder(5, 7, 2, 6, LIF(LIFParameters(), spike_function("atan", 2.0)), quantize)
    for linear in encoder.linears:
        torch.nn.init.normal_(linear.weight, std=1.2)
    return encoder


@needs_lava_dl
def test_rounded_weights_are_the_compilers() -> None:
    from neuromorphic.compiler.operators import even_integers
    from neuromorphic.compiler.quantize import WEIGHT_LIMIT

    weight = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    step = weight_step(weight)
    steps = slayer_rounding()(weight, step) / step
    torch.testing.assert_close(steps, steps.round())
    assert steps.abs().max().item() == pytest.approx(LEVELS)
    exact = weight.double().numpy()
    expected = even_integers(exact, WEIGHT_LIMIT / float(np.abs(exact).max()))
    np.testing.assert_array_equal((2 * steps.round()).numpy(), expected)


@needs_lava_dl
def test_aggregation_is_that_over_the_rounded_kronecker_product() -> None:
    aggregation = degree_normalized(EDGES, 4, self_weight=0.6)
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    spikes = (torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    whole = torch.kron(aggregation.dense(4), weight)
    step = whole.abs().max() / LEVELS
    expected = spikes.reshape(6, -1) @ ((whole / step).round() * step).T
    out = quantized_aggregation(spikes, weight, aggregation, slayer_rounding())
    torch.testing.assert_close(out, expected.reshape(6, 4, 5))
    # Rounding W alone would be something else.
    alone = aggregation(spikes @ ((weight / step).round() * step).T)
    assert not torch.allclose(out, alone, atol=1e-4)


@needs_lava_dl
def test_the_gradient_passes_the_rounding_unchanged() -> None:
    aggregation = degree_normalized(EDGES, 4, self_weight=0.6)
    weight = torch.randn(5, 3, requires_grad=True)
    spikes = (torch.rand(6, 4, 3) > 0.5).float().requires_grad_()
    direction = torch.randn(6, 4, 5)
    rounded = quantized_aggregation(spikes, weight, aggregation, slayer_rounding())
    (ours,) = torch.autograd.grad((rounded * direction).sum(), weight)
    (exact,) = torch.autograd.grad((aggregation(spikes @ weight.T) * direction).sum(), weight)
    torch.testing.assert_close(ours, exact)


@needs_lava_dl
def test_weights_of_zero_stay_zero() -> None:
    weight = torch.zeros(2, 3)
    assert not slayer_rounding()(weight, weight_step(weight)).any()


def test_only_training_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation neither rounds nor needs lava-dl."""
    monkeypatch.setattr(lava_dl, "find_spec", lambda _: None)
    x, aggregation = torch.randn(4, 5), degree_normalized(EDGES, 4, 0.5)
    on, off = (make_encoder(quantize).eval()(x, aggregation) for quantize in (True, False))
    for a, b in zip(on.layers, off.layers, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ConfigError, match=r"model\.spiking\.quantize.*lava-dl.*doctor --install lava"):
        make_encoder(True)(x, aggregation)


def test_attention_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.spiking\.aggregation.*degree is the only one"):
        load_config("default", ["model.spiking.quantize=true", "model.spiking.aggregation=attention"])


@needs_lava_dl
def test_a_killed_run_with_the_switch_resumes_to_the_same_weights(tmp_path: Path, cache: str, finished: Path) -> None:
    arguments = [cache, *STEPS, "model.spiking.quantize=true"]
    finish(start(tmp_path / "whole", *arguments))
    process = start(tmp_path / "killed", *arguments)
    log = tmp_path / "killed" / "metrics.jsonl"
    kill_when(process, lambda: lines(log) >= 3)
    assert not (tmp_path / "killed" / "metrics.json").is_file()
    finish(start(tmp_path / "killed", "--resume", *arguments))
    whole, resumed, plain = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "whole", tmp_path / "killed", finished)
    )
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name
    name = "encoder.spiking.linears.1.weight"
    assert not torch.equal(whole[name], plain[name])
