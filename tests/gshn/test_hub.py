"""Checkpoints from the hub and to the hub, with a folder in place of it: nothing here goes online."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from helpers import tiny_config, tiny_model
from huggingface_hub import CommitOperationAdd, ModelCard

import gshn
from gshn.config import flat, load_config
from gshn.errors import CheckpointError
from gshn.training.card import command_of, model_card
from neuromorphic.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and what a run leaves beside it."""
    folder = tmp_path_factory.mktemp("hub") / "checkpoint"
    tiny_model(tiny_config("finetune.tasks=[vqa]")).save_pretrained(folder)
    (folder / "metrics.json").write_text('{"retrieval.t2i_r1": 0.25, "vqa.accuracy": 0.5, "firing_rate": 0.0625}')
    (folder / "training_state.safetensors").write_bytes(b"not for others")
    return folder


def test_a_name_is_fetched_and_a_folder_is_not(folder: Path, monkeypatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    gshn.load(folder)
    assert not asked
    model = gshn.load("someone/gshn-tiny", revision="v2")
    assert model.name == "someone/gshn-tiny" and model.folder == folder
    ((name, revision, patterns),) = asked
    assert (name, revision) == ("someone/gshn-tiny", "v2") and "model.safetensors" in patterns
    assert not any("state" in pattern or "*" in pattern for pattern in patterns)
    with pytest.raises(CheckpointError, match="is a folder: it has no revision v2; leave that out"):
        gshn.load(folder, revision="v2")


@pytest.mark.parametrize("name", ["someone/no-such-model", "nowhere", "a/b/c", "../no such/x"])
def test_what_cannot_be_had_is_one_line(name: str) -> None:
    # Offline, as all tests are (conftest.py): the hub's own error is told.
    with pytest.raises(CheckpointError, match=r"is neither a folder here nor|is not a folder; name the one") as raised:
        gshn.load(name)
    assert "\n" not in str(raised.value)


def test_a_push_is_one_commit_of_what_loads_and_its_card(folder: Path, monkeypatch) -> None:
    commits: list[tuple[str, dict[str, bytes]]] = []

    class Api:
        def __init__(self, library_name: str) -> None:
            assert library_name == "gshn"

        def create_repo(self, name: str, private: bool | None, exist_ok: bool) -> SimpleNamespace:
            assert private and exist_ok
            return SimpleNamespace(repo_id=f"someone/{name}")

        def create_commit(self, repo: str, operations: list[CommitOperationAdd], commit_message: str) -> Any:
            read = {}
            for operation in operations:
                with operation.as_file() as file:
                    read[operation.path_in_repo] = file.read()
            commits.append((repo, read))
            return SimpleNamespace(commit_url="https://hub/commit")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    model = gshn.load(folder)
    assert model.push_to_hub("tiny", private=True, images=0) == "https://hub/commit"
    ((repo, files),) = commits
    assert repo == "someone/tiny" and not (folder / "README.md").exists()
    names = {"config.yaml", "vocabulary.json", "tokenizer.json", "model.safetensors", "metrics.json", "README.md"}
    assert files.keys() == names
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert b'gshn.load("tiny")' in files["README.md"]

    def refuse(*_: object, **__: object) -> None:
        raise OSError("401 Client Error\nmore")

    monkeypatch.setattr(Api, "create_repo", refuse)
    with pytest.raises(
        UserError, match=r"could not be pushed to tiny \(401 Client Error\); log in with `hf auth login`"
    ):
        model.push_to_hub("tiny", private=True, images=0)


def test_the_card_tells_data_figures_spikes_energy_and_the_command() -> None:
    model = tiny_model(tiny_config("finetune.tasks=[vqa]", "data.pairs.train=77"))
    figures = {"retrieval.t2i_r1": 0.25, "retrieval.caption1.t2i_r1": 0.1, "vqa.accuracy": 0.5, "firing_rate": 0.0625}
    energy = {"horowitz": {"joules_low": 1.5e-6, "joules_high": 2.5e-6, "images": 4}}
    text = model_card(model, "someone/tiny", figures, energy)
    card = ModelCard(text)
    assert card.data.library_name == "gshn"
    found = {(r.task_type, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert found == {("image-text-retrieval", "t2i_r1"): 0.25, ("visual-question-answering", "accuracy"): 0.5}
    for told in (
        "| captions | `shapescenes` | 77 | 1000 | ground-truth | 96 pixels |",
        "| vqa | `easyvqa` | all | all | superpixels | 224 pixels |",
        "| retrieval.t2i_r1 | 25.00 % |",
        "2 layers of LIF neurons over 8 steps, 0.0625 spikes per neuron and step",
        "| horowitz | 1.5e-06 | 2.5e-06 |",
        "on 4 held-out images",
        'gshn.load("someone/tiny")',
    ):
        assert told in text, told
    assert "caption1" not in text
    plain = model_card(tiny_model(tiny_config("model.spiking.enabled=false")), "x", {})
    assert "No spiking path." in plain and "no figures when this was written" in plain and "model-index" not in plain


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("default", ["seed=3", "model.r=0.5", "data.cache=cache", "data.questions.wordnet=my $words"]),
        ("photographs", ["data.pairs.source=captions:my photos/a.csv", "graph.levels=[4,8]"]),
        ("tasks", ["finetune.tasks=[]", "data.pairs.weights=null"]),
    ],
)
def test_the_command_of_the_card_gives_the_configuration_again(name: str, overrides: list[str]) -> None:
    import shlex

    config = load_config(name, overrides)
    command = command_of(config)
    words = shlex.split(command)
    assert words[:5] == ["python", "-m", "gshn.train", "--config", name]
    assert flat(load_config(words[4], words[5:])) == flat(config)
    assert len(words) - 5 <= len(overrides) and re.search(r"--config \w+", command)
