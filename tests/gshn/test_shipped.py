"""The checkpoint that ships with the package: gshn.load("tour"), its files, and what its card says."""

import json
import re
import subprocess
from pathlib import Path

import pytest

import gshn
from gshn.config import load_config
from gshn.errors import CheckpointError
from gshn.hub import NEEDED, SHIPPED, checkpoint_folder, shipped
from gshn.training.card import command_of
from gshn.training.corpora import Corpora
from gshn.training.loop import evaluate

ROOT = Path(__file__).parents[2]
FOLDER = SHIPPED / "tour"


@pytest.fixture(scope="module")
def model() -> gshn.Model:
    return gshn.load("tour")


def card() -> dict[str, float]:
    """Figures of the card's table, as fractions."""
    rows = re.findall(r"^\| ([a-z0-9_.]+) \| ([\d.]+) % \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    return {key: float(value) / 100 for key, value in rows}


def test_it_is_loaded_by_its_name_and_a_folder_of_that_name_counts_first(model, tmp_path, monkeypatch) -> None:
    assert shipped() == ["tour"] and model.folder == FOLDER and model.name == "tour"
    assert model.tasks == ["retrieval", "vqa"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tour").mkdir()
    with pytest.raises(CheckpointError, match=r"tour/config\.yaml is missing"):
        gshn.load("tour")
    with pytest.raises(CheckpointError, match="tour, which comes with the package, or owner/name"):
        checkpoint_folder("turo")


def test_the_docs_count_its_words(model) -> None:
    tokenizer = model.module.tokenizer
    words = len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens))
    assert f"with {words} words and punctuation marks" in (ROOT / "docs/app.md").read_text()


def test_its_files_are_few_small_and_tracked() -> None:
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(NEEDED) | {"metrics.json", "README.md"} == set(files) and sum(files.values()) < 4e6
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, FOLDER.iterdir())], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not ignored.stdout, "what git ignores, the wheel leaves out"
    told = "".join((FOLDER / name).read_text() for name in ("config.yaml", "README.md", "metrics.json"))
    assert "/tmp" not in told and "/home" not in told and "/work" not in told


def test_the_card_has_the_figures_that_were_measured_and_the_command_of_make_tour() -> None:
    figures = json.loads((FOLDER / "metrics.json").read_text())
    told = card()
    assert {"vqa.accuracy", "retrieval.i2t_r1", "retrieval.t2i_r1"} <= set(told)
    assert all(value == pytest.approx(figures[key], abs=5e-5) for key, value in told.items())
    text = (FOLDER / "README.md").read_text()
    config = load_config(FOLDER / "config.yaml")
    assert command_of(config) in text and f"{figures['firing_rate']:.4f} spikes per neuron and step" in text
    assert "| loihi1 |" in text
    (recipe,) = re.findall(r"^TOUR := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert load_config("tour", recipe.replace("\\\n", " ").split()) == config


def test_on_a_few_held_out_scenes_it_does_what_the_card_says(model, cache) -> None:
    """Among 32 scenes the right one is found at least as often as among 256; questions are fewer, and vary by more."""
    few = load_config(FOLDER / "config.yaml", [cache, "data.pairs.test=32", "data.questions.test=32"])
    figures, told = evaluate(model.module, Corpora(few, model.module.vocabulary)), card()
    assert figures["retrieval.i2t_r1"] >= told["retrieval.i2t_r1"] - 0.05
    assert figures["retrieval.t2i_r1"] >= told["retrieval.t2i_r1"] - 0.05
    assert figures["vqa.accuracy"] == pytest.approx(told["vqa.accuracy"], abs=0.15)


@pytest.mark.slow
def test_on_all_held_out_scenes_its_figures_are_the_cards(model, cache) -> None:
    config = load_config(FOLDER / "config.yaml", [cache])
    figures, told = evaluate(model.module, Corpora(config, model.module.vocabulary)), card()
    for key, value in told.items():
        assert figures[key] == pytest.approx(value, abs=0.01), key
