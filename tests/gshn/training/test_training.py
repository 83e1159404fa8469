"""Whole runs, as a user starts them: in a process of their own."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import STEPS, finish, kill_when, lines, start, tiny_model
from safetensors.torch import load_file, save_file

from gshn.config import TASKS, load_config
from gshn.errors import CheckpointError
from gshn.model import GSHN
from gshn.training.checkpoint import FILE, read_state
from gshn.training.loop import MetricsLog, Trainer, learning_rate
from neuromorphic.errors import UserError
from neuromorphic.files import Lock


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    figures = json.loads((finished / "metrics.json").read_text())
    for key in ("vqa.accuracy", "retrieval.i2t_r1", "retrieval.t2i_r1", "firing_rate"):
        assert 0 <= figures[key] <= 1
    assert figures["seconds"] > 0
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12, 2, 4, 6]
    assert {"itc", "spike_contrast", "stl_contrast", "stl_words", "mlm", "itm", "firing_rate"} <= rows[0].keys()
    assert "vqa" in rows[-1]
    assert load_config(finished / "config.yaml").pretrain.steps == 12
    card = (finished / "README.md").read_text()
    assert f"| vqa.accuracy | {100 * figures['vqa.accuracy']:.2f} % |" in card and "--config smoke" in card
    assert isinstance(GSHN.from_pretrained(finished), GSHN)


@pytest.mark.parametrize(("stage", "count"), [("pretrain", 3), ("finetune", 8)])
def test_kill_and_resume_ends_in_the_same_weights(
    tmp_path: Path, finished: Path, cache: str, stage: str, count: int
) -> None:
    process = start(tmp_path / "run", cache, *STEPS)
    log = tmp_path / "run" / "metrics.jsonl"
    kill_when(process, lambda: lines(log) >= count)
    assert (tmp_path / "run" / FILE).is_file()
    assert not (tmp_path / "run" / "metrics.json").is_file()
    finish(start(tmp_path / "run", "--resume", cache, *STEPS))
    resumed, whole = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", finished))
    assert resumed.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == [2, 4, 6, 8, 10, 12, 2, 4, 6]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="with GPUs processes find each other by NCCL")
@pytest.mark.parametrize(("stage", "first", "then"), [("pretrain", 2, 1), ("pretrain", 1, 2), ("finetune", 2, 1)])
def test_training_goes_on_on_another_number_of_processes(
    tmp_path: Path, cache: str, stage: str, first: int, then: int
) -> None:
    stages = ["finetune.tasks=[]"] if stage == "pretrain" else ["pretrain.steps=1", "finetune.steps=12"]
    options = [cache, *STEPS, "log_every=1", "chunk=5", *stages]

    def train(out: Path, processes: int, *arguments: str) -> subprocess.Popen[str]:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = ["-m", "gshn.train", "--config", "smoke", "--out", str(out), *arguments, *options]
        return subprocess.Popen([sys.executable, *launcher, *command], stderr=subprocess.PIPE, text=True)

    whole, rest = tmp_path / "whole", tmp_path / "rest"
    process = train(whole, first)
    while (begun := read_state(whole)) is None or begun[0].stage != stage:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    rest.mkdir()
    for name in ("config.yaml", FILE):
        (rest / name).write_bytes((whole / name).read_bytes())
    begun = read_state(rest)
    assert begun is not None and begun[0].step < 12
    finish(process)
    finish(train(rest, then, "--resume"))
    expected = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    found = [json.loads(line) for line in (rest / "metrics.jsonl").read_text().splitlines()]
    expected = [row for row in expected if row["stage"] == stage]
    assert 0 < len(found) < len(expected) == 12
    for row, other in zip(found, expected[-len(found) :], strict=True):
        for name in row.keys() - {"stage", "images_per_second"}:
            assert row[name] == pytest.approx(other[name], rel=1e-3), f"{name} of step {row['step']}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="with GPUs processes find each other by NCCL")
def test_two_processes_of_this_machine_train_one_model(tmp_path: Path, cache: str) -> None:
    options = [cache, "finetune.tasks=[]", "pretrain.steps=2", "log_every=1"]
    out, err = finish(start(tmp_path / "run", "--processes", "2", *options))
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["device"] == "cpu, 2 processes, each 1 thread"
    assert out.count("checkpoint: ") == 1 and "elastic" not in err
    assert lines(tmp_path / "run" / "metrics.jsonl") == 2
    assert isinstance(GSHN.from_pretrained(tmp_path / "run"), GSHN)


def test_all_tasks_in_turn_go_on_with_the_same_batches(tmp_path: Path, cache: str) -> None:
    sources = [
        f"data.{name}.{setting}"
        for name in ("pairs", "questions", "hypotheses", "statements")
        for setting in ("source=shapescenes-compositions", "train=64", "test=64", "segmenter=ground-truth")
    ]
    sources += [f"data.{name}.image_size=96" for name in ("questions", "hypotheses", "statements")]
    options = [cache, *sources, "finetune.tasks=[vqa,entailment,nlvr2]", "pretrain.steps=2", "log_every=1"]
    options += ["pretrain.batch_size=66"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    _, err = finish(start(whole, *options, "finetune.steps=7", "checkpoint_every=5"))
    assert "'pretrain.batch_size' is 66, but there are only 64 images to train on" in err
    assert err.count("but there are only") == 1
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    tasks = [next(task for task in TASKS if task in row) for row in rows[2:]]
    assert tasks == ["vqa", "entailment", "nlvr2", "vqa", "entailment", "nlvr2", "vqa"]
    figures = json.loads((whole / "metrics.json").read_text())
    assert {"vqa.accuracy", "entailment.accuracy", "nlvr2.accuracy", "nlvr2.consistency"} <= figures.keys()
    # As if it had been killed after the checkpoint of step 5, in the middle of a round.
    process = start(cut, *options, "finetune.steps=7", "checkpoint_every=5")
    kill_when(process, lambda: lines(cut / "metrics.jsonl") >= 8)
    finish(start(cut, "--resume", *options, "finetune.steps=7", "checkpoint_every=5"))
    resumed, expected = (load_file(folder / "model.safetensors") for folder in (cut, whole))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in expected.items())


def test_resuming_a_finished_run_keeps_its_weights(finished: Path, cache: str) -> None:
    before = (finished / "model.safetensors").read_bytes()
    finish(start(finished, "--resume", cache, *STEPS))
    assert (finished / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.wdth=3"], "model.wdth"),
        (["--config", "nowhere"], "'nowhere' is neither a file nor one of"),
        (["pretrain.batch_size=one"], "pretrain.batch_size"),
        (["pretrain.pretrained_lr=0"], "'pretrain.pretrained_lr' is 0.0: must lie in (0, 10]"),
        (["--steps", "3"], "--steps"),
        (["--processes", "some"], "--processes: must be a whole number from 1 to 1024, got 'some'"),
        (["--processes", "0"], "--processes: must be a whole number from 1 to 1024, got '0'"),
        (["--seed", "-1"], "argument --seed: must be a whole number from 0"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, cache: str, arguments: list[str], message: str) -> None:
    _, err = finish(start(tmp_path / "run", *arguments, cache), status=2)
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_folder_that_cannot_be_used(tmp_path: Path, finished: Path, cache: str) -> None:
    (tmp_path / "file").write_text("")
    _, err = finish(start(tmp_path / "file" / "run", cache), status=2)
    assert "cannot be written to" in err
    _, err = finish(start(finished, cache, *STEPS), status=2)
    assert "holds a run already; add --resume" in err
    _, err = finish(start(finished, "--resume", cache, *STEPS, "model.dropout=0.3"), status=2)
    assert "model.dropout (0.0 and 0.3)" in err


def test_a_folder_belongs_to_one_run(tmp_path: Path, finished: Path) -> None:
    with (
        Lock(tmp_path / ".lock", "the run", "wait"),
        pytest.raises(UserError, match=r"is being written by process \d+ on .*; wait for it to end, or choose another"),
    ):
        Trainer(load_config("smoke"), tmp_path, resume=False)
    assert list(tmp_path.iterdir()) == []
    assert not (finished / ".lock").exists()


def test_a_full_disk_while_figures_are_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", None)
    log.path = Path("/dev/full")
    with pytest.raises(
        UserError, match=r"/dev/full cannot be written \(No space left on device\); make room and go on"
    ):
        log.write({"stage": "pretrain", "step": 1})


def test_checkpoints_that_do_not_fit_are_named(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    loaded = GSHN.from_pretrained(tmp_path)
    for (name, a), b in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "encoder.r": torch.ones(3)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'encoder\.r'.*shape \(3,\), the model's \(\)"):
        GSHN.from_pretrained(tmp_path)
    save_file({name: t for name, t in tensors.items() if name != "encoder.r"}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'encoder\.r' is missing"):
        GSHN.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is broken"):
        GSHN.from_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        GSHN.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="not a folder"):
        GSHN.from_pretrained(tmp_path / "nowhere")


def test_learning_rate() -> None:
    stage = load_config("default", ["pretrain.steps=100", "pretrain.warmup=10", "pretrain.lr=1"]).pretrain
    assert [learning_rate(stage.lr, stage, step) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert learning_rate(stage.lr, stage, 55) == pytest.approx(0.5)
    assert learning_rate(stage.lr, stage, 99) < 0.01
