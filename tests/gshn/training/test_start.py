"""Runs that start from a finished checkpoint, in one process."""

import sys
from pathlib import Path

import official
import pytest
import torch
from helpers import TINY
from safetensors.torch import load_file

from gshn import train
from gshn.config import load_config
from gshn.errors import CheckpointError, ConfigError
from gshn.model import GSHN
from gshn.training import loop
from gshn.training.loop import Trainer
from neuromorphic.errors import ArgumentError

SCENES = [
    *TINY,
    "data.pairs.train=24",
    "data.pairs.test=4",
    "pretrain.batch_size=8",
    "checkpoint_every=2",
    "log_every=1",
]
PHOTOGRAPHS = ["data.pairs.train=null", "data.pairs.test=null", "data.pairs.segmenter=superpixels"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on drawn scenes with a task, in ``first``, and photographs with captions, in ``flickr``."""
    root = tmp_path_factory.mktemp("start")
    official.flickr8k(root / "flickr", count=6)
    tasks = [f"data.hypotheses.{key}" for key in ("source=shapescenes", "train=8", "test=4", "image_size=96")]
    tasks += ["data.hypotheses.segmenter=ground-truth", "finetune.batch_size=8", "finetune.rehearsal=0"]
    tasks += ["finetune.tasks=[entailment]", "finetune.steps=1"]
    train_all(run(root, "first", *SCENES, *tasks, "pretrain.steps=2"))
    return root


def train_all(trainer: Trainer) -> None:
    """All but the evaluation."""
    try:
        trainer.train()
    finally:
        trainer.close()


def run(root: Path, name: str, *overrides: str, resume: bool = False) -> Trainer:
    return Trainer(load_config("default", [f"data.cache={root / 'cache'}", *overrides]), root / name, resume)


def started(root: Path, name: str, *overrides: str, resume: bool = False) -> Trainer:
    """A run on the photographs that starts from the first."""
    keys = [*SCENES, f"init={root / 'first'}", f"data.pairs.source=flickr8k:{root / 'flickr'}", *PHOTOGRAPHS]
    return run(root, name, *keys, "finetune.tasks=[]", "pretrain.steps=3", *overrides, resume=resume)


def test_what_both_vocabularies_have_is_taken_over_and_the_rest_is_new(root: Path, caplog) -> None:
    trainer = started(root, "taken")
    trainer.close()
    own, first = trainer.model, GSHN.from_pretrained(root / "first")
    words = first.tokenizer.get_vocab()
    assert {word: own.tokenizer.get_vocab()[word] for word in words} == words
    new = own.tokenizer.get_vocab().keys() - words.keys()
    assert new and "unknown to the checkpoint, and learned anew: " in caplog.text
    assert "entailment is not trained on (finetune.tasks), and forgotten" in caplog.text
    learned, rows, known = first.state_dict(), own.vocabulary_rows(), first.vocabulary_rows()
    compared = 0
    for name, tensor in own.state_dict().items():
        if name not in rows:
            assert torch.equal(tensor, learned[name]), name
            continue
        for row, entry in enumerate(rows[name]):
            if entry in known[name]:
                assert torch.equal(tensor[row], learned[name][known[name].index(entry)]), (name, entry)
                compared += 1
    assert compared > 3 * len(words)
    # Categories: ShapeScenes' are others than photographs', all but superpixels' own.
    assert own.vocabulary.categories == ["region"] and len(first.vocabulary.categories) > 5


def test_resume_of_such_a_run_is_bit_for_bit(root: Path, monkeypatch) -> None:
    train_all(started(root, "whole"))
    saved = loop.save_state

    def killed(folder: Path, *rest: object) -> None:
        saved(folder, *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_state", killed)
    with pytest.raises(KeyboardInterrupt):
        train_all(started(root, "cut"))
    monkeypatch.undo()
    train_all(started(root, "cut", resume=True))
    resumed, expected = (load_file(root / name / "model.safetensors") for name in ("cut", "whole"))
    first = load_file(root / "first" / "model.safetensors")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in expected.items())
    assert not torch.equal(expected["encoder.r"], first["encoder.r"])
    loaded = GSHN.from_pretrained(root / "cut")
    assert loaded.config.init == str(root / "first")


def test_a_checkpoint_that_does_not_fit_is_told(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not fit: these keys are others: .*model\.gat\.layers \(2, here 1\)"):
        started(root, "wrong", "model.gat.layers=1")
    with pytest.raises(
        ConfigError, match=r"'model.text.encoder' is 'spikformer': the checkpoint of init=.* has 'bert'"
    ):
        started(root, "wrong", "model.text.encoder=spikformer")
    with pytest.raises(CheckpointError, match="nowhere is not a folder"):
        started(root, "wrong", "init=nowhere")


def test_a_checkpoint_that_changed_meanwhile_is_told(root: Path, monkeypatch) -> None:
    other = root / "copy"
    GSHN.from_pretrained(root / "first").save_pretrained(other)
    monkeypatch.setattr(loop.Trainer, "run_stage", lambda self, stage: loop.save_state(
        self.out, self.model, loop.make_optimizer(self.model, self.config.pretrain), self.progress))  # fmt: skip
    train_all(started(root, "later", f"init={other}"))
    changed = GSHN.from_pretrained(other)
    torch.nn.init.ones_(changed.encoder.r)
    changed.encoder.r.data += 1
    changed.save_pretrained(other)
    with pytest.raises(CheckpointError, match=r"copy/model.safetensors is not what .*later started from; restore it"):
        started(root, "later", f"init={other}", resume=True)


def test_the_command_takes_the_checkpoints_configuration(root: Path, monkeypatch) -> None:
    seen = {}
    monkeypatch.setattr(loop, "Trainer", lambda config, out, resume: seen.update(config=config, out=out) or 1 / 0)
    overrides = [f"data.pairs.source=flickr8k:{root / 'flickr'}", "pretrain.steps=3"]
    monkeypatch.setattr(sys, "argv", ["gshn.train", "--init", str(root / "first"), "--out", "second", *overrides])
    with pytest.raises(ZeroDivisionError):
        train.main()
    config = seen["config"]
    assert config.model.width == 16 and config.pretrain.steps == 3 and config.init == str(root / "first")
    monkeypatch.setattr(sys, "argv", ["gshn.train", "--init", str(root / "first")])
    with pytest.raises(ArgumentError, match="--init needs --out"):
        train.main()
