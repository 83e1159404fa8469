"""Nothing that is not finite is stepped on, saved or loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TINY, tiny_model
from safetensors.torch import load_file, save_file
from torch import nn

from gshn.config import load_config
from gshn.errors import CheckpointError, TrainingError
from gshn.model import GSHN
from gshn.training.checkpoint import FILE, Progress, read_state, save_state
from gshn.training.guard import LIMIT, Guard
from gshn.training.loop import Trainer
from neuromorphic.errors import UserNotice

INF, NAN = torch.tensor(float("inf")), torch.tensor(float("nan"))
FINE = torch.tensor(1.0)


@pytest.mark.parametrize(
    ("norm", "losses", "message"),
    [
        (NAN, {"loss": FINE, "itc": FINE}, "the gradient's norm became nan at pretrain step 11"),
        (INF, {"loss": INF, "itc": FINE, "mlm": INF}, "loss 'mlm' became inf at pretrain step 11"),
        (FINE, {"loss": NAN, "itc": NAN}, "loss 'itc' became nan at pretrain step 11"),  # however finite its gradient
    ],
)
def test_steps_are_skipped_and_counted_up_to_a_limit(norm: Any, losses: Any, message: str) -> None:
    guard = Guard("pretrain")
    assert guard.allows(FINE, {"loss": FINE}, 1)
    assert guard.report() is None
    assert not any(guard.allows(norm, losses, step) for step in range(2, LIMIT + 1))
    assert guard.streak == guard.skipped == LIMIT - 1
    with pytest.raises(TrainingError, match=f"{message}, the last of 10 running"):
        guard.allows(norm, losses, 11)


def test_a_step_that_is_made_ends_the_streak() -> None:
    guard = Guard("finetune")
    for step in range(1, 3 * LIMIT):
        assert guard.allows(FINE, {"loss": NAN if step % 2 else FINE}, step) == (step % 2 == 0)
    report = guard.report()
    assert report is not None
    assert report.startswith("15 steps of finetune left the weights as they were, the first because loss 'loss' became")


def test_a_poisoned_batch_costs_its_step_and_nothing_else(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [cache, *TINY, "pretrain.steps=4", "pretrain.batch_size=8", "finetune.tasks=[]", "log_every=1"]
    trainer = Trainer(load_config("smoke", [*options, "checkpoint_every=2"]), tmp_path / "run", resume=False)
    forward, batches, saved = trainer.objective.forward, 0, []

    def poisoned(*batch: Any) -> dict[str, torch.Tensor]:
        nonlocal batches
        batches += 1
        losses = forward(*batch)
        if batches in (2, 4):
            losses["itm"] = losses["itm"] * torch.nan
            losses["loss"] = losses["loss"] + losses["itm"]
        state = read_state(trainer.out)
        saved.append(state[0].step if state else 0)
        return losses

    monkeypatch.setattr(trainer.objective, "forward", poisoned)
    message = r"2 steps of pretrain left the weights as they were, the first because loss 'itm' became nan at step 2"
    with pytest.warns(UserNotice, match=message):
        trainer.run_stage("pretrain")
    assert saved == [0, 0, 0, 0], "the step before was skipped: no checkpoint of step 2"
    state = read_state(trainer.out)  # the stage's last is there
    assert state is not None
    assert state[0].step == 4
    assert {float(tensor) for name, tensor in state[1].items() if name.endswith(".step")} <= {1.0, 2.0}
    rows = [json.loads(line) for line in (trainer.out / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("skipped_steps", 0) for row in rows] == [0, 1, 1, 2]
    assert ["loss" in row for row in rows] == [True, False, True, False]


def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    save_state(tmp_path, model, optimizer, Progress("pretrain", 1, 0.0))
    before = (tmp_path / FILE).read_bytes()
    with torch.no_grad():
        model.bias[1] = torch.inf
    message = r"'model\.bias' has 1 of 3 values that are not finite after pretrain step 2: nothing is written"
    with pytest.raises(TrainingError, match=message):
        save_state(tmp_path, model, optimizer, Progress("pretrain", 2, 0.0))
    assert (tmp_path / FILE).read_bytes() == before


def test_a_checkpoint_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["encoder.r"].fill_(torch.nan)
    save_file(tensors, tmp_path / "model.safetensors")
    message = r"model\.safetensors: tensor 'encoder\.r' has 1 of 1 values that are not finite"
    with pytest.raises(CheckpointError, match=message):
        GSHN.from_pretrained(tmp_path)
    save_file({"model.x": torch.tensor([1.0, torch.nan])}, tmp_path / FILE, {"stage": "pretrain", "step": "3"})
    with pytest.raises(CheckpointError, match=r"'model\.x' has 1 of 2 values that are not finite"):
        read_state(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(before)
    with torch.no_grad():
        model.logit_scale.fill_(torch.inf)
    with pytest.raises(CheckpointError, match="'logit_scale' has 1 of 1 values that are not finite: nothing is writ"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
