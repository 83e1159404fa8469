"""Every command of the site is run, or listed with the reason why not: ``page_commands.py`` says how each is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import official
import pytest
import torch
from helpers import CAPTIONS, STEPS
from page_commands import BOTH, ELSEWHERE, GRAPH, NEW, NOT_RUN, RUNS, TASKS, TINY, Run
from site_pages import DOCS, ROOT, Command, blocks, commands, make_network
from transformers import BertConfig, BertModel, SegformerConfig, SegformerForSemanticSegmentation
from transformers import SegformerImageProcessorPil as SegformerProcessor

from gshn.encoders.text_encoders import build_tokenizer
from gshn.training.segmentation import image_processor, small_mask2former

sys.path.insert(0, str(ROOT))  # for the benchmarks


def call(module: str, *arguments: str) -> int:
    """Run a command of ours, in this process; its exit status."""
    package = find_spec(module)
    assert package is not None
    name = module if package.submodule_search_locations is None else f"{module}.__main__"
    # Some benchmarks set threads when they are imported.
    with pytest.MonkeyPatch.context() as patch, mock.patch.dict(os.environ):
        patch.setattr("sys.argv", [module, *arguments])
        patch.setattr("sys.path", sys.path.copy())  # as a process of its own would have it
        try:
            import_module(name).main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


class Made:
    """Checkpoints and shards that several commands start from, each made once, when it is first asked for."""

    def __init__(self, root: Path, request: pytest.FixtureRequest) -> None:
        self.root, self.request = root, request

    def train(self, name: str, config: str, *overrides: str) -> Path:
        """Train in the folder of the data sets."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            assert call("gshn.train", "--config", config, "--out", name, *overrides) == 0
        return self.root / name

    @cached_property
    def finished(self) -> Path:
        return self.request.getfixturevalue("finished")

    @cached_property
    def photographs(self) -> Path:
        flickr8k(self.root / "flickr8k", self)
        return self.train("photographs", "photographs", "data.pairs.source=flickr8k:flickr8k", *NEW.split())

    @cached_property
    def photographs_tasks(self) -> Path:
        for prepare, name in ((flickr8k, "FLICKR8K"), (rows, "ROWS"), (leave_out, "LEAVE_OUT"), (daquar, "DAQUAR")):
            prepare(self.root / name, self)
        (line,) = {c.text for c in commands() if c.text.startswith("python -m gshn.train --config photographs_tasks ")}
        overrides = [word for word in shlex.split(line) if "=" in word]
        return self.train("photographs_tasks", "photographs_tasks", *overrides, *BOTH.split())

    @cached_property
    def tasks(self) -> Path:
        return self.train("tasks", "tasks", *TASKS.split())

    @cached_property
    def questions(self) -> Path:
        vqa2(self.root / "vqa2", self)
        asked = ["data.questions.source=vqa2:vqa2", "data.questions.segmenter=superpixels", "finetune.tasks=[vqa]"]
        return self.train("questions", "default", *TINY.split(), *asked)

    @cached_property
    def twin(self) -> Path:
        (line,) = {c.text for c in commands() if c.text.startswith("python -m gshn.train --out runs/twin ")}
        overrides = [word for word in shlex.split(line) if "=" in word]
        return self.train("twin", "smoke", *overrides, *STEPS)

    @cached_property
    def shards(self) -> Path:
        source = f"coco:{coco(self.root / 'coco', self)}"
        options = ["--config", "photographs", "--data", source, "--segmenter", "superpixels"]
        assert call("gshn.preprocess", *options, "--out", str(self.root / "shards"), *GRAPH.split()) == 0
        return self.root / "shards"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Made:
    return Made(tmp_path_factory.mktemp("made"), request)


def photos(path: Path, made: Made) -> None:
    """Two photographs."""
    for place, name in enumerate("ab"):
        official.jpeg(path / f"{name}.jpg", place)


def captions(path: Path, made: Made) -> None:
    """Photographs with a table of captions, those of docs/own-images.md among them."""
    folder = path.parent / "photos"
    names = ["dog", "field", *"cdefghijkl"]
    for place, name in enumerate(names):
        official.jpeg(folder / f"{name}.jpg", 500 + place)
    lines = ["image,caption", *(f"{name}.jpg,A photograph of {name}." for name in names)]
    official.write(folder / "captions.csv", "\n".join(lines) + "\n")


def flickr8k(path: Path, made: Made) -> None:
    """Twelve photographs in Flickr8k's layout, with its folder ``Images``."""
    if not path.exists():
        official.flickr8k(path, 12)
        (path / "Flicker8k_Dataset").rename(path / "Images")


def coco(path: Path, made: Made) -> Path:
    """COCO's layout, with different photographs in both splits."""
    official.coco(path, "train", 6, first=201)
    return official.coco(path, "val", 4, first=301)


def rows(path: Path, made: Made) -> None:
    """Hypotheses in SNLI-VE's layout, on photographs of Flickr8k."""
    labels = ["entailment", "neutral", "contradiction"]
    for split, numbers in (("train", (0, 1, 2)), ("dev", (3, 4)), ("test", (5, 6))):
        found = [
            {
                "Flickr30K_ID": f"{1000 + number}_ab{number}",
                "gold_label": label,
                "annotator_labels": [label],
                "captionID": f"{1000 + number}_ab{number}.jpg#0",
                "pairID": f"{1000 + number}_ab{number}.jpg#0r1{label[0]}",
                "sentence1": "A man sleeps.",
                "sentence2": f"Somebody rests {label}.",
            }
            for number in numbers
            for label in labels
        ]
        official.write(path / f"snli_ve_{split}.jsonl", "\n".join(map(json.dumps, found)) + "\n")
    official.write(path / "test_photographs.txt", "".join(f"{1000 + n}_ab{n}.jpg\n" for n in (3, 4, 5, 6)))


def leave_out(path: Path, made: Made) -> None:
    """The list that docs/photographs_tasks.md makes."""
    official.write(path, "".join(f"{1000 + n}_ab{n}.jpg\n" for n in (3, 4, 5, 6, 11)))


def daquar(path: Path, made: Made) -> None:
    """DAQUAR, with questions to choose by."""
    official.daquar(path)
    for place, name in enumerate(sorted((path / "nyu_depth_images").iterdir())):
        official.jpeg(name, 900 + place)  # no photograph of the other data sets
    official.write(path / "qa.894.raw.val.txt", "what is on the desk in the image9 ?\nlamp\n")
    train = (path / "qa.894.raw.train.txt").read_text().splitlines()
    kept = [line for pair in zip(train[::2], train[1::2], strict=True) if "image9" not in pair[0] for line in pair]
    official.write(path / "qa.894.raw.train.txt", "\n".join(kept) + "\n")


def nyu(path: Path, made: Made) -> None:
    """DAQUAR with maps of labels for its test photographs."""
    official.labelled_daquar(path, 12)


def vqa2(path: Path, made: Made) -> None:
    """VQA v2, two splits with photographs of their own."""
    if not path.exists():
        official.vqa2(path, "train", (9, 25))
        official.vqa2(path, "val", (31, 47))


def mask2former(path: Path, made: Made) -> None:
    """A small Mask2Former, untrained; the test takes all that it finds."""
    torch.manual_seed(0)
    small_mask2former().save_pretrained(path)
    image_processor(48).save_pretrained(path)


def semantic(path: Path, made: Made) -> None:
    """A small model of semantic segmentation, untrained."""
    shape = {"depths": [1] * 4, "hidden_sizes": [8] * 4, "num_attention_heads": [1] * 4, "decoder_hidden_size": 8}
    config = SegformerConfig(**shape, id2label={0: "Background", 1: "cat", 2: "grass"})
    SegformerForSemanticSegmentation(config).save_pretrained(path)
    SegformerProcessor(size={"height": 64, "width": 64}).save_pretrained(path)


def bert(path: Path, made: Made) -> None:
    """A small BERT in a folder, untrained."""
    tokenizer = build_tokenizer("bert", CAPTIONS, 20)
    shape = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(path)
    tokenizer.save_pretrained(path)


def network(path: Path, made: Made) -> None:
    """The guide's file and input."""
    make_network()


def theirs(path: Path, made: Made) -> None:
    """Another framework's file."""
    shutil.copy("model.nir", "theirs.nir")


def results(path: Path, made: Made) -> None:
    """Rows of finished grids."""
    folder = path.parent / "docs/results"
    folder.mkdir(parents=True)
    for name in ("ablation-test.json", "photographs-validation.json", "photographs-test.json"):
        shutil.copy(DOCS / "results" / name, folder)


def rows_of_a_grid(path: Path, made: Made) -> None:
    """Rows of a finished grid in its own folder."""
    path.mkdir(parents=True)
    shutil.copy(DOCS / "results/ablation-test.json", path)


def simulator(path: Path, made: Made) -> None:
    """The function of docs/conformance.md, and a package for it, which is a back end of ours."""
    official.write(path, blocks((DOCS / "conformance.md").read_text(), "python")[0])
    code = "import neuromorphic\n\n\ndef read(path):\n    return lambda inputs, dt: neuromorphic.load(path, dt=dt)"
    official.write(path.with_name("my_simulator.py"), code + ".run(inputs).outputs['output']\n")


def outputs(path: Path, made: Made) -> None:
    """What another program gave: the expected values of the set that ``--write`` writes."""
    assert call("neuromorphic.conformance", "--write", "golden", "--graphs", "lif_all") == 0
    path.mkdir()
    shutil.copy("golden/lif_all/expected.npz", path / "lif_all.npz")


def made_up(path: Path, made: Made) -> None:
    """Shards of made-up graphs."""
    assert call("benchmarks.coco", "--write", str(path), "--images", "520") == 0


def page_of_tables(path: Path, made: Made) -> None:
    """The page whose tables a benchmark writes."""
    (path.parent / "docs/results").mkdir(parents=True)
    shutil.copy(DOCS / "photographs_tasks.md", path.parent / "docs")


def scripts(path: Path, made: Made) -> None:
    """The benchmarks, with their script."""
    (path.parent / "benchmarks").symlink_to(ROOT / "benchmarks")


def makefile(path: Path, made: Made) -> None:
    """The Makefile, with a Python that makes each training small, and copies of the packages, which tour changes."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, name)
    Path(".venv").symlink_to(sys.prefix)
    Path("tools").symlink_to(ROOT / "tools")
    for name in ("gshn", "neuromorphic"):
        shutil.copytree(ROOT / name, name, ignore=shutil.ignore_patterns("__pycache__", "tour"))
    script = f"""#!/bin/sh
    case "$*" in *gshn.train*) exec {sys.executable} "$@" {TINY};; *) exec {sys.executable} "$@";; esac
    """
    official.write(Path("smaller"), script).chmod(0o755)


def project(path: Path, made: Made) -> None:
    """The Makefile, in a project of two empty packages and of a quick test, a slow one, and one of peers."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, name)
    Path(".venv").symlink_to(sys.prefix)
    for name in ("gshn", "neuromorphic"):
        official.write(Path(name) / "__init__.py", f'"""{name}."""\n\nONE: int = 1\n')
    marked = "".join(f"\n\n@pytest.mark.{mark}\ndef test_{mark}() -> None:\n    pass\n" for mark in ("slow", "peers"))
    official.write(Path("tests/test_one.py"), f"import pytest\n\n\ndef test_quick() -> None:\n    pass\n{marked}")


def unformatted(path: Path, made: Made) -> None:
    """Such a project, with a file that is to be formatted."""
    project(path, made)
    official.write(Path("gshn/one.py"), "x = {  'a':1 }\n")


def checkpoint(name: str) -> Callable[[Path, Made], None]:
    """What puts a copy of a checkpoint, or of shards, at a path."""
    return lambda path, made: shutil.copytree(getattr(made, name), path) and None


PREPARED: dict[str, Callable[[Path, Made], object]] = {
    prepare.__name__: prepare
    for prepare in (
        *(photos, captions, flickr8k, coco, rows, leave_out, daquar, nyu, vqa2, mask2former, semantic, bert, network),
        *(theirs, results, rows_of_a_grid, simulator, outputs, made_up, page_of_tables, scripts, project),
        *(makefile, unformatted),
    )
} | {name: checkpoint(name) for name in ("photographs", "photographs_tasks", "tasks", "questions", "twin", "shards")}
PREPARED["run"] = checkpoint("finished")


PLACES = {"run": "runs/default"}
"""Where what is prepared is put, if not under its own name."""
WRITTEN = ("--out", "--json", "--write", "--submission", "--gallery", "--plot")
"""Options that name what a command writes."""
OF_A_RUN = ("config.yaml", "metrics.json", "metrics.jsonl", "model.safetensors", "README.md")
SAID = {"retrieval": "R@K", "vqa": "vqa", "entailment": "entailment", "nlvr2": "nlvr2"}
"""What an evaluation prints of a task."""


@pytest.fixture(autouse=True)
def _as_in_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started find both packages, the benchmarks, and the commands of this environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": path, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def entry(command: Command) -> str:
    """The key of a command: the longest beginning that a table has; none where no table has it."""
    keys = [key for table in (RUNS, ELSEWHERE, NOT_RUN) for key in table if command.text.startswith(key)]
    return max(keys, key=len, default="")


def test_every_command_is_run_or_has_a_reason() -> None:
    new = [str(command) for command in commands() if not entry(command)]
    assert not new, "say in tests/page_commands.py how they are tested"
    used = {entry(command) for command in commands()}
    tables = [key for table in (RUNS, ELSEWHERE, NOT_RUN) for key in table]
    assert sorted(tables) == sorted(used), "no entry is left behind, or stands in two tables"
    for test in ELSEWHERE.values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), test
    assert all(NOT_RUN.values())


def runs() -> Iterator[object]:
    """Each command that is run, once, whatever pages have it."""
    seen: set[str] = set()
    for command in commands():
        if (key := entry(command)) not in RUNS or command.text in seen:
            continue
        seen.add(command.text)
        marks = [pytest.mark.slow] if RUNS[key].slow else []
        if {"lava", "netx", "--probe", "benchmarks.sessions", "benchmarks.lava_steps"} & {*command.words}:
            marks.append(pytest.mark.lava)
        yield pytest.param(command, RUNS[key], marks=marks, id=str(command))


@pytest.mark.parametrize(("command", "how"), list(runs()))
def test_every_command_runs(
    command: Command,
    how: Run,
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In an empty folder, with what ``how`` puts there and changes; and what is promised is there afterwards."""
    monkeypatch.chdir(tmp_path)
    # An untrained segmenter is sure of nothing.
    monkeypatch.setattr("gshn.segments.universal.THRESHOLD", 0.0)
    monkeypatch.setattr("gshn.segments.universal.OVERLAP", 0.0)
    for need in how.needs.split():
        name, _, place = need.partition(":")
        PREPARED[name](Path(place or PLACES.get(name, name)), made)
    assert how.words.keys() <= {*command.words}
    words = [own for word in command.words for own in (shlex.split(how.words[word]) if word in how.words else [word])]
    asked = [*words, *shlex.split(how.more)]
    promised = {*how.makes.split(), *written(asked)}
    before = {place: files(place) for place in promised}
    capfd.readouterr()
    if how.alone:
        line = shlex.join(words) if how.words or "#" in command.line else command.line
        status = subprocess.run(["bash", "-c", f"{line} {how.more}"], check=False).returncode
    else:
        assert "-m" in asked
        status = call(*asked[asked.index("-m") + 1 :])
    told = "".join(capfd.readouterr())
    assert status == how.status, told
    assert told.strip() or how.makes
    assert all(re.search(wanted, told) for wanted in (how.prints, *said(asked))), told
    for place in promised:
        assert files(place) - before[place], f"{place} has nothing new: {told}"


def written(words: list[str]) -> set[str]:
    """The files and folders that the options of a command say it writes."""
    found = {words[place + 1] for place, word in enumerate(words) if word in WRITTEN}
    if "gshn.train" in words:
        found = {f"{out}/{name}" for out in found for name in OF_A_RUN}
    return found


def said(words: list[str]) -> list[str]:
    """What the command of an evaluation prints."""
    return [SAID[words[words.index("--task") + 1]]] if "gshn.evaluate" in words else []


def files(place: str) -> set[Path]:
    """Files that are not empty: a file, those that a pattern describes, or all of a folder."""
    found = {path for top in Path().glob(place) for path in (top.rglob("*") if top.is_dir() else [top])}
    return {path for path in found if path.is_file() and path.stat().st_size > 0}
