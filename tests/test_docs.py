"""README and documentation: every Python block runs, every command parses, every figure is of the committed rows."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import official
import pytest
import yaml
from PIL import Image

import gshn
from gshn.ablation.run import read_rows
from gshn.ablation.scenes import SCENES, SUMMARY
from gshn.ablation.summary import interval, tabulate
from gshn.config import flat, load_config, named_configs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if page.parent.name != "results" or page.name == "conformance.md"),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

# Pages whose Python blocks another test runs, in a place of their own.
ELSEWHERE = {
    "docs/api.md": ("tests/test_api_docs.py", "tests/neuromorphic/test_api.py"),
    "docs/app.md": ("tests/test_api_docs.py",),
    "docs/extending.md": ("tests/test_extending.py",),
}
# Commands of others, as far as they have to be given: tests of C and of completion run theirs.
OTHERS = (
    "source .venv/bin/activate",
    "git clone https://",
    "hf auth login",
    "cc -std=c99 ",
    "./model_test",
    "./main",
    "eval $(gshn --print-completion ",
    "eval $(neuromorphic --print-completion ",
)

# Beginnings of commands that take a few seconds in the folder that the test below makes, and of others that take longer
# (make test-slow). Other tests run those of nir.md (below), own-images.md, extending.md, c.md, completion, and of
# conformance with a simulator. All the rest are parsed only: they train for long, or need data sets or packages.
QUICK = (
    "python -m gshn.explain photos/a.jpg",
    "python -m gshn.explain --index 7 --split test",
    "python -m gshn.search ",
    "python -m gshn.segment photos ",
    "python -m gshn.ablate --report ",
    "python -m neuromorphic.conformance --list",
    "python -m neuromorphic.export --to nir ",
    "python -m neuromorphic.export --to c ",
    "python -m neuromorphic.profile --nir ",
    "python -m neuromorphic.run ",
)
SLOW = (
    "python -m gshn.evaluate --checkpoint runs/default ",
    "python -m gshn.evaluate --checkpoint tour ",
    "python -m gshn.train --config smoke ",
    "python -m neuromorphic.conformance --write ",
    "python -m neuromorphic.export --to lava ",
    "python -m neuromorphic.export --to netx ",
    "python -m neuromorphic.profile --checkpoint runs/default --out runs/default/profile ",
)

KEYS = flat(load_config())
# Names of files, and of a node in a nested graph, that look like keys.
FILES = {"data.noun", "graph.nir", "graph.node", "model.nir", "model.safetensors"}
SECTIONS = ("data", "graph", "model", "objectives", "pretrain", "finetune")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, those in lists included."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


def commands() -> Iterator[Any]:
    """Every command of every page, but that for kinds of a package that only its own test installs."""
    for page, name in zip(PAGES, NAMES, strict=True):
        if name == "docs/extending.md":
            continue
        for block in blocks(page.read_text(), "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield pytest.param(words, id=f"{name}: {shlex.join(words)}")


class Parsed(Exception):
    """A command's arguments were understood."""


def parse(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What a command's own parser makes of its arguments, without running it."""
    for method in ("parse_args", "parse_intermixed_args"):
        real = getattr(argparse.ArgumentParser, method)

        def parsed(self: Any, args: Any = None, namespace: Any = None, real: Any = real) -> None:
            raise Parsed(real(self, args, namespace))

        monkeypatch.setattr(argparse.ArgumentParser, method, parsed)
    monkeypatch.setattr("sys.argv", [module, *arguments])
    with patch.dict(os.environ):  # some benchmarks set threads when they are imported
        try:
            import_module(
                module if find_spec(module).submodule_search_locations is None else f"{module}.__main__"
            ).main()
        except Parsed as end:
            return end.args[0]
        except SystemExit as end:
            assert end.code == 0, arguments
            return argparse.Namespace()
    raise AssertionError(f"{module} parsed nothing")


@pytest.mark.parametrize("words", list(commands()))
def test_every_command_is_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    while "=" in words[0]:  # VARIABLE=value command
        words = words[1:]
    if " ".join(words).startswith(OTHERS):
        return
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(arguments) <= set(targets)
    elif program == "pip":
        action, *wanted = arguments
        assert action == "install"
        for what in wanted:
            name, _, extras = what.partition("[")
            assert name in (".", "gshn")
            assert set(filter(None, extras.rstrip("]").split(","))) <= set(PROJECT["project"]["optional-dependencies"])
    elif program == "benchmarks/gpu.sh":
        assert (ROOT / program).is_file()
        parse("benchmarks.gpu", arguments, monkeypatch)
    elif program == "python" and arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file()
    elif "pytest" in arguments:
        assert all((ROOT / word).exists() for word in arguments if word.startswith("tests/"))
    elif program in ("gshn", "neuromorphic"):
        understood(f"{program}.{arguments[0]}", arguments[1:], monkeypatch)
    else:
        assert program in ("python", "torchrun") or words[:2] == ["accelerate", "launch"], words
        place = arguments.index("-m")
        understood(arguments[place + 1], arguments[place + 2 :], monkeypatch)


def understood(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Check a command of ours: its arguments, and the keys of the configuration that it changes."""
    if module == "benchmarks.text":  # takes nothing but keys
        load_config("photographs", arguments)
        return
    given = parse(module, arguments, monkeypatch)
    changed = [word for word in getattr(given, "overrides", None) or [] if "=shards:" not in word]
    config = getattr(given, "config", None) or "default"
    assert config in named_configs()
    load_config(config, changed)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_key_of_the_configuration_is_one(page: Path) -> None:
    sections = {".".join(key.split(".")[:depth]) for key in KEYS for depth in (1, 2, 3, 4)}
    for key in re.findall(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_.0-9]+)(?:=[^`]*)?`", page.read_text()):
        assert key.rstrip(".") in sections or key in FILES, key


@pytest.mark.parametrize(
    "page",
    [page for page, name in zip(PAGES, NAMES, strict=True) if blocks(page.read_text(), "python")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_python_block_runs(page: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in a folder with a trained ``runs/default``, two images in ``photos``, ``model.nir`` and ``in.npz``."""
    name = str(page.relative_to(ROOT))
    if name in ELSEWHERE:
        assert all(page.name in (ROOT / test).read_text() for test in ELSEWHERE[name])
        return
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/default").symlink_to(finished)
    official.jpeg(tmp_path / "photos/a.jpg")
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "photos/b.png")
    monkeypatch.chdir(tmp_path)
    make_network()
    names: dict[str, object] = {}
    for block in blocks(page.read_text(), "python"):
        if find_spec("lava") is not None or not block.startswith("# needs Lava"):
            exec(compile(block, name, "exec"), names)


def runnable() -> Iterator[Any]:
    """The commands that the test below runs, each once, whatever pages have it."""
    seen: set[str] = set()
    for own in commands():
        words = own.values[0]
        line = f"{shlex.join(words)} "
        if line in seen or not line.startswith(QUICK + SLOW):
            continue
        seen.add(line)
        marks = [pytest.mark.slow] if line.startswith(SLOW) else []
        yield pytest.param(words, marks=[*marks, pytest.mark.lava] if {"lava", "netx"} & {*words} else marks, id=own.id)


RUNNABLE = list(runnable())


@pytest.mark.parametrize("words", RUNNABLE)
def test_every_command_that_ends_soon_runs(
    words: list[str],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a folder like that of the Python blocks, with rows of an ablation and another framework's ``theirs.nir``."""
    for folder in ("runs/ablation", "docs/results"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(DOCS / "results/ablation-test.json", tmp_path / folder)
        shutil.copy(DOCS / "results/photographs-validation.json", tmp_path / folder)
    for name in ("default", "mine"):
        shutil.copytree(finished, tmp_path / "runs" / name)
    official.jpeg(tmp_path / "photos/a.jpg")
    official.jpeg(tmp_path / "photos/b.jpg", 1)
    monkeypatch.chdir(tmp_path)
    make_network()
    shutil.copy("model.nir", "theirs.nir")
    _, _, module, *arguments = words
    monkeypatch.setattr("sys.argv", [module, *arguments])
    import_module(module).main()
    for option in ("--out", "--json", "--write"):
        if option in arguments:
            out = Path(arguments[arguments.index(option) + 1])
            assert out.stat().st_size > 0 if out.suffix else any(out.iterdir())
    assert capsys.readouterr().out.strip()


def test_no_beginning_is_left_behind() -> None:
    lines = [f"{shlex.join(own.values[0])} " for own in RUNNABLE]
    assert all(any(line.startswith(start) for line in lines) for start in QUICK + SLOW)


def make_network() -> None:
    """The guide's file and input, ``model.nir`` and ``in.npz``."""
    exec(compile(blocks((DOCS / "nir.md").read_text(), "python")[0], "docs/nir.md", "exec"), {})


@pytest.mark.lava
def test_the_commands_for_a_nir_file_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    make_network()
    lines = "\n".join(blocks((DOCS / "nir.md").read_text(), "bash")).splitlines()
    assert len(lines) == 7
    for line in lines:
        _, _, module, *arguments = shlex.split(line, comments=True)
        monkeypatch.setattr("sys.argv", [module, *arguments])
        import_module(module).main()
    assert "agreement" in (tmp_path / "out.json").read_text()
    assert (tmp_path / "profiled/report.html").is_file()
    assert "spikes equal" in capsys.readouterr().out


def test_the_readme_is_short_and_its_links_are_there() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    links = [*re.findall(r"\]\(([^)]+)\)", text), *re.findall(r'(?:src|srcset)="([^"]+)"', text)]
    for link in links:
        path, _, anchor = link.partition("#")
        if link.startswith("https://"):
            continue
        assert (ROOT / path).exists(), link
        if anchor:  # Anchors as GitHub and Python-Markdown make them of plain headings.
            headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, link


def test_badges_and_citation_say_what_the_project_declares() -> None:
    badges = " ".join(re.findall(r"!\[([^\]]+)\]", (ROOT / "README.md").read_text()))
    assert f"Python {PROJECT['project']['requires-python'].removeprefix('>=')} " in badges
    assert f"License: {PROJECT['project']['license']}" in badges
    assert any(f"nir>={oldest}" in PROJECT["project"]["dependencies"] for oldest in re.findall(r"NIR (\S+) to", badges))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == gshn.__version__ and citation["license"] == PROJECT["project"]["license"]


def table(text: str, first: str) -> list[list[str]]:
    """Cells of the rows after a table's head."""
    lines = text[text.index(first) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in lines]


def test_the_readmes_figures_are_of_the_committed_rows() -> None:
    values = tabulate(SCENES, read_rows(DOCS / "results/ablation-test.json"))
    rows = table((ROOT / "README.md").read_text(), "| % | GSHN |")
    assert len(rows) <= 10
    for row, key in zip(rows, SUMMARY.values(), strict=False):
        assert row[1:4] == [str(interval(list(values[name, key].values()))) for name in ("hybrid", "gat", "snn")]
    photographs = (DOCS / "photographs.md").read_text()
    shown = {row[0].partition(" (")[0]: row[1:] for row in table(photographs, "| Flickr8k's official test")}
    for row, column in zip(rows[len(SUMMARY) :], (0, 1), strict=True):
        first = [shown[name][column].split(" / ")[0] for name in ("GSHN", "pooled baseline")]
        assert [row[1], row[4]] == first and not row[2]


def test_tables_are_of_the_committed_rows() -> None:
    command = [sys.executable, str(DOCS / "tables.py")]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"<!-- python docs/tables.py -->\n{made}<!-- end of energy -->" in (DOCS / "energy-results.md").read_text()


def texts(svg: Path) -> list[str]:
    """What is written in a figure."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text())


def test_figures_are_of_the_committed_rows(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(DOCS / "figures.py"), str(tmp_path)], check=True, env=environment)
    made, committed = ({path.name: path for path in folder.glob("*.svg")} for folder in (tmp_path, DOCS / "figures"))
    pages = "".join(page.read_text() for page in PAGES)
    assert made.keys() == committed.keys()
    for name, path in committed.items():
        assert texts(path) == texts(made[name]) and len(texts(path)) > 10, "python docs/figures.py"
        assert f"figures/{name}" in pages
        other = name.replace("-light", "-dark")
        assert texts(path) == texts(committed[other])


def test_every_page_is_in_the_navigation() -> None:
    lines = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    named = set(re.findall(r"[\w/-]+\.md", lines))
    assert named == {str(page.relative_to(DOCS)) for page in PAGES if page.is_relative_to(DOCS)}


def test_the_commands_page_lists_all() -> None:
    text = (DOCS / "reference/commands.md").read_text()
    for package in ("gshn", "neuromorphic"):
        listed = dict(
            re.findall(r"^\| `(\w+)` \| (.*) \|$", text.split(f"## {package}\n")[1].split("\n## ")[0], re.MULTILINE)
        )
        assert listed == import_module(f"{package}.__main__").COMMANDS
    assert set(named_configs()) <= set(re.findall(r"`(\w+)`", text.split("## Settings")[1]))


def test_the_makefile_lists_its_targets() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None and set(re.findall(r"make ([\w-]+)", listed)) == set(phony[1].split())
