"""Accelerate's trackers get the lines of metrics.jsonl."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import tracking
from helpers import TINY

from gshn.config import load_config
from gshn.errors import ConfigError
from gshn.training.loop import Trainer


class Kept(tracking.GeneralTracker):
    """Keeps what it is told, as a tracker of a caller's own that Accelerate knows by its name."""

    name = "kept"
    requires_logging_directory = True
    lines: ClassVar[list[tuple[int | None, dict[str, Any]]]] = []
    configs: ClassVar[list[dict[str, Any]]] = []
    ended: ClassVar[list[bool]] = []

    def __init__(self, run_name: str, logging_dir: str) -> None:
        super().__init__()
        self.run_name, self.logging_dir = run_name, logging_dir

    @property
    def tracker(self) -> None:
        return None

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.configs.append(values)

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self.lines.append((step, values))

    def finish(self) -> None:
        self.ended.append(True)


def test_a_tracker_gets_every_line_and_the_figures(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "kept", Kept)
    keys = [
        *TINY,
        "data.pairs.train=8",
        "data.pairs.test=4",
        "pretrain.steps=2",
        "pretrain.batch_size=8",
        "log_every=1",
    ]
    keys += ["finetune.tasks=[]", f"data.cache={tmp_path / 'cache'}", "log_with=[kept]"]
    trainer = Trainer(load_config("default", keys), tmp_path / "run", resume=False)
    figures = trainer.run()
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [step for step, _ in Kept.lines] == [1, 2, None]
    for row, (_, values) in zip(rows, Kept.lines, strict=False):
        assert {f"pretrain/{key}": value for key, value in row.items() if key not in ("stage", "step")} == values
    assert Kept.lines[-1][1]["test/retrieval.t2i_r1"] == figures["retrieval.t2i_r1"]
    (config,) = Kept.configs
    assert config["model.width"] == 16 and config["finetune.tasks"] == "[]" and Kept.ended == [True]


@pytest.mark.parametrize(("name", "said"), [
    ("tensorbord", "names 'tensorbord': choose of aim, comet_ml, mlflow, tensorboard, wandb"),
    ("wandb", "names wandb, whose library is not installed: pip install wandb, or leave it out"),
])  # fmt: skip
def test_a_tracker_that_is_not_there_is_told_before_anything_is_written(tmp_path, monkeypatch, name, said) -> None:
    monkeypatch.setattr("gshn.training.processes.get_available_trackers", list)
    with pytest.raises(ConfigError, match=said):
        Trainer(load_config("smoke", [f"log_with=[{name}]"]), tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())
