"""A frozen text encoder: what it says of texts is kept, and is what it would say."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CAPTIONS, pair_batch, tiny_config, tiny_model
from torch import nn
from transformers import BertConfig, BertModel

from gshn.encoders.text import FrozenText, tokenize, word_tokenizer
from gshn.errors import ConfigError, TrainingError
from gshn.model import GSHN
from gshn.training import text_states as module
from gshn.training.loop import make_optimizer
from gshn.training.objective import Objective
from gshn.training.text_states import text_identities, text_states


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pretrained encoder with dropout."""
    folder, tokenizer = tmp_path_factory.mktemp("encoder"), word_tokenizer(CAPTIONS, 20)
    torch.manual_seed(0)
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(tokenizer), hidden_dropout_prob=0.5, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"model.text.encoder=transformers:{folder}"


@pytest.fixture
def model(encoder: str) -> GSHN:
    return tiny_model(tiny_config(encoder, "model.text.tune=none")).train()


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The encoder must not be asked."""

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(FrozenText, "states", fail)
    yield
    monkeypatch.undo()


def test_a_frozen_encoder_is_not_trained(model: GSHN) -> None:
    batch = pair_batch(model, range(4))
    frozen = {id(p) for p in model.text.bert.parameters()}
    stage = replace(model.config.pretrain, pretrained_lr=1e-4)
    groups = make_optimizer(model, stage).param_groups
    assert not frozen & {id(p) for group in groups for p in group["params"]}
    Objective(model, model.config.objectives)(batch)["loss"].backward()
    assert all(p.grad is None for p in model.text.bert.parameters())
    assert model.text.projection.weight.grad.abs().sum() > 0
    with torch.no_grad():  # no dropout, though the model is in training mode
        once, again = (model.encode_text(batch.input_ids, batch.attention_mask).hidden for _ in range(2))
    assert model.training and torch.equal(once, again)
    count = sum(p.numel() for p in model.text.bert.parameters())
    assert f"of which {count / 1e6:.2f} M are frozen" in repr(model)


def test_kept_states_are_what_the_encoder_says(model: GSHN, tmp_path: Path) -> None:
    kept = text_states(model, CAPTIONS, tmp_path)
    assert kept is not None
    ids, mask = tokenize(model.tokenizer, CAPTIONS[2:])
    states = kept.of(text_identities(ids, mask), ids.shape[1])
    assert states.dtype == torch.float16 and not states[mask == 0].any()
    with torch.no_grad():
        asked, read = model.encode_text(ids, mask), model.encode_text(ids, mask, states)
        exact = model.text.bert(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
    own = states[mask.bool()].float()
    torch.testing.assert_close(own, exact, rtol=2**-10, atol=1e-6)
    torch.testing.assert_close(read.hidden[read.mask], asked.hidden[asked.mask], rtol=0, atol=1e-3)
    assert torch.equal(read.words, asked.words)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_a_whole_text_needs_no_tokens(encoder: str, tmp_path: Path, pooling: str) -> None:
    model = tiny_model(tiny_config(encoder, "model.text.tune=none", f"model.text.pooling={pooling}"))
    kept = text_states(model, CAPTIONS, tmp_path)
    ids, mask = tokenize(model.tokenizer, CAPTIONS)
    states = kept.of(text_identities(ids, mask), ids.shape[1])
    with torch.no_grad():
        full, lean = (model.encode_text(ids, mask, states, tokens) for tokens in (True, False))
    torch.testing.assert_close(lean.whole, full.whole, rtol=1e-5, atol=1e-5)
    assert lean.hidden.shape == (*ids.shape, 0) and torch.equal(lean.words, full.words)


def test_losses_are_those_without_the_cache(model: GSHN, tmp_path: Path) -> None:
    batch, objective = pair_batch(model, range(4)), Objective(model, model.config.objectives)
    kept = text_states(model, CAPTIONS, tmp_path)
    torch.manual_seed(0)
    asked = objective(batch)
    torch.manual_seed(0)
    read = objective(replace(batch, states=kept.of(batch.text, batch.input_ids.shape[1])))
    for name, loss in asked.items():
        torch.testing.assert_close(read[name], loss, rtol=0, atol=1e-3)


def test_each_text_is_computed_once(model: GSHN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    states = FrozenText.states
    monkeypatch.setattr(
        FrozenText, "states", lambda self, ids, mask: (asked.append(len(ids)), states(self, ids, mask))[1]
    )
    monkeypatch.setattr(module, "TOKENS_PER_FILE", 12)
    text_states(model, [*CAPTIONS[:5], CAPTIONS[0].upper()], tmp_path)
    assert sum(asked) == 5, "the last is the first in capitals, which the tokenizer does not tell"
    files = set(tmp_path.glob("*/*.npy"))
    assert len(files) > 1
    text_states(model, CAPTIONS, tmp_path)
    assert sum(asked) == len(CAPTIONS)
    assert files < set(tmp_path.glob("*/*.npy")), "what is new has files of its own"
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".") or path.suffix == ".lock"]


@pytest.mark.usefixtures("never")
def test_an_encoder_that_is_trained_is_not_asked(encoder: str, tmp_path: Path) -> None:
    assert text_states(tiny_model(tiny_config(encoder)), CAPTIONS, tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_other_weights_have_a_folder_of_their_own(model: GSHN, tmp_path: Path) -> None:
    text_states(model, CAPTIONS, tmp_path)
    with torch.no_grad():
        next(model.text.bert.parameters())[0, 0] += 1
    text_states(model, CAPTIONS, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_broken_file_is_made_anew(model: GSHN, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    first = text_states(model, CAPTIONS, tmp_path)
    ids, mask = tokenize(model.tokenizer, CAPTIONS)
    wanted = first.of(text_identities(ids, mask), ids.shape[1]).clone()
    (path,) = tmp_path.glob(f"*/*{suffix}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.unlink()  # the first has it mapped
    path.write_bytes(content)
    again = text_states(model, CAPTIONS, tmp_path)
    assert "is broken and will be computed again" in caplog.text
    assert torch.equal(again.of(text_identities(ids, mask), ids.shape[1]), wanted)


def test_states_that_float16_cannot_hold_are_refused(model: GSHN, tmp_path: Path) -> None:
    with torch.no_grad():
        model.text.bert.encoder.layer[1].output.LayerNorm.weight.fill_(1e6)
    with pytest.raises(TrainingError, match=r"too large for float16, or not finite: set model\.text\.tune=all"):
        text_states(model, CAPTIONS, tmp_path)
    assert not list(tmp_path.glob("*/*.np?"))


@pytest.mark.usefixtures("never")
def test_files_are_mapped_and_not_read(tmp_path: Path) -> None:
    states = np.arange(12, dtype=np.float16).reshape(4, 3)
    module.TextStates(tmp_path, 3).add([7, -9], [1, 3], states)
    kept = module.TextStates(tmp_path, 3)
    base = kept._of[-9].base
    while isinstance(getattr(base, "base", None), np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    out = kept.of(torch.tensor([-9, 7]), 3)
    assert torch.equal(
        out, torch.from_numpy(np.stack([states[1:], [states[0], [0, 0, 0], [0, 0, 0]]]).astype(np.float16))
    )
    assert 8 not in kept and 7 in kept


@pytest.fixture
def half_tuned(encoder: str) -> GSHN:
    """Of two layers, the last is trained."""
    return tiny_model(tiny_config(encoder, "model.text.tune=last:1", "model.text.pooling=mean")).train()


def test_last_layers_start_from_kept_states_and_say_what_the_whole_encoder_says(
    half_tuned: GSHN, tmp_path: Path
) -> None:
    kept = text_states(half_tuned, CAPTIONS, tmp_path)
    assert kept is not None
    ids, mask = tokenize(half_tuned.tokenizer, CAPTIONS)
    states = kept.of(text_identities(ids, mask), ids.shape[1])
    half_tuned.eval()
    with torch.no_grad():
        bert = deepcopy(half_tuned.text.bert)
        bert.set_attn_implementation("sdpa")  # as it comes; the last layers have plain attention on a CPU
        out = bert(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        own = mask.bool()
        torch.testing.assert_close(states[own].float(), out.hidden_states[1][own], rtol=2**-10, atol=1e-6)
        mean = (out.last_hidden_state * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        expected = half_tuned.text.projection(mean)
        for given in (states, None):
            for tokens in (True, False):
                whole = half_tuned.encode_text(ids, mask, given, tokens).whole
                torch.testing.assert_close(whole, expected, rtol=0, atol=3e-3)


def test_last_layers_are_trained_and_the_first_are_not(half_tuned: GSHN, tmp_path: Path) -> None:
    kept = text_states(half_tuned, CAPTIONS, tmp_path)
    batch = pair_batch(half_tuned, range(4))
    stage = replace(half_tuned.config.pretrain, pretrained_lr=1e-4)
    layers = half_tuned.text.bert.encoder.layer
    groups = make_optimizer(half_tuned, stage).param_groups
    slow = {id(p) for group in groups if group["peak"] == 1e-4 for p in group["params"]}
    assert slow == {id(p) for p in layers[1].parameters()}
    assert layers[1].training and not layers[0].training  # dropout
    assert kept is not None
    states = kept.of(text_identities(batch.input_ids, batch.attention_mask), batch.input_ids.shape[1])
    Objective(half_tuned, half_tuned.config.objectives)(replace(batch, states=states))["loss"].backward()
    assert all(p.grad is None for p in layers[0].parameters())
    assert layers[1].output.dense.weight.grad.abs().sum() > 0


def test_what_is_kept_does_not_depend_on_what_is_trained(half_tuned: GSHN, tmp_path: Path, never: None) -> None:
    """A resumed run has other last layers, and finds the states all the same."""
    folder = tmp_path / f"text-{module._key(half_tuned.text)}"
    with torch.no_grad():
        half_tuned.text.bert.encoder.layer[1].output.dense.weight += 1
        assert folder.name == f"text-{module._key(half_tuned.text)}"
        half_tuned.text.bert.encoder.layer[0].output.dense.weight += 1
        assert folder.name != f"text-{module._key(half_tuned.text)}"


def test_the_dropout_of_tuned_layers_can_be_chosen(encoder: str) -> None:
    for value, expected in (("null", {0.1, 0.5}), ("0.0", {0.0}), ("0.4", {0.4})):  # the encoder's own are 0.1 and 0.5
        model = tiny_model(tiny_config(encoder, "model.text.tune=last:2", f"model.text.dropout={value}")).train()
        assert {m.p for m in model.text.bert.modules() if isinstance(m, nn.Dropout)} == expected
        ids, mask = tokenize(model.tokenizer, CAPTIONS)
        twice = [model.encode_text(ids, mask).whole for _ in range(2)]
        assert torch.equal(*twice) == (expected == {0.0})


def test_last_layers_that_are_not_there(encoder: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.text\.tune=last:3: text encoder transformers:.* has 2 layers"):
        tiny_model(tiny_config(encoder, "model.text.tune=last:3"))
    for wrong in ("last", "last:0", "last:x", "first:1"):
        with pytest.raises(ConfigError, match=f"'model.text.tune' is '{wrong}': choose all, none, or last:K"):
            tiny_config(encoder, f"model.text.tune={wrong}")
