"""README and documentation: every Python block runs, every command parses, every figure is of the committed rows.

``test_page_commands.py`` runs the commands.
"""

from __future__ import annotations

import argparse
import doctest
import inspect
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import official
import pytest
import torch
import yaml
from PIL import Image
from site_pages import DOCS, NAMES, PAGES, ROOT, Command, blocks, commands, make_network

import gshn
from gshn.ablation.run import read_rows
from gshn.ablation.scenes import SCENES, SUMMARY
from gshn.ablation.summary import interval, tabulate
from gshn.config import flat, load_config, named_configs

# Pages whose Python blocks another test runs, in a place of their own.
ELSEWHERE = {
    "docs/api.md": ("tests/test_api_docs.py", "tests/neuromorphic/test_api.py"),
    "docs/app.md": ("tests/test_api_docs.py",),
    "docs/extending.md": ("tests/test_extending.py",),
}
# Commands of others and of the shell, which have no arguments of ours.
OTHERS = ("source ", "git clone https://", "cc -std=c99 ", "./model_test ", "./main ", "eval ", "'(cat' ")

KEYS = flat(load_config())
# Names of files, and of a node in a nested graph, that look like keys.
FILES = {"data.noun", "graph.nir", "graph.node", "model.nir", "model.safetensors"}
SECTIONS = ("data", "graph", "model", "objectives", "pretrain", "finetune")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


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


@pytest.mark.parametrize("command", list(commands()), ids=str)
def test_every_command_is_understood(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    if command.page == "docs/extending.md":  # has kinds of a package that only its own test installs
        return
    words = list(command.words)
    while "=" in words[0]:  # VARIABLE=value command
        words = words[1:]
    if command.text.startswith(OTHERS):
        return
    if words[0] == "srun":
        words = words[1:]
    program, *arguments = words
    if program == "make":
        targets_are_there(arguments)
    elif program == "pip":
        action, *wanted = arguments
        assert action == "install"
        assert all(what.partition("[")[0] in (".", "gshn") for what in wanted)
        extras_are_there(wanted)
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


# Commands in sentences: programs with what follows, and modules with an option.
SAID = re.compile(
    r"(?<!`)`((?:python|make|pip|gshn|neuromorphic)\s[^`]+|(?:gshn|neuromorphic|benchmarks)\.[a-z_]+\s--[^`]+)`(?!`)"
)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_in_a_sentence_is_there(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its module, file, target or extra, and its options."""
    for span in SAID.findall(re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)):
        program, *words = shlex.split(span)
        if program == "make":
            targets_are_there(words)
        elif program == "pip":
            extras_are_there(words[1:])
        elif program == "python" and words[0] != "-m":
            assert (ROOT / words[0]).is_file(), span
        elif "pytest" in words:
            assert all((ROOT / word).is_file() for word in words if word.startswith("tests/")), span
        elif words[0] != "--print-completion" and words != ["-m", "..."]:
            if program in ("gshn", "neuromorphic"):
                words = [f"{program}.{words[0]}", *words[1:]]
            module, *words = [program, *words] if program != "python" else words[1:]
            assert find_spec(module) is not None, span
            if options := {word for word in words if word.startswith("--")}:
                monkeypatch.setattr("sys.argv", [module, "--help"])
                with pytest.raises(SystemExit):
                    import_module(module).main()
                assert options <= set(re.findall(r"--[\w-]+", capsys.readouterr().out)), span


def targets_are_there(names: list[str]) -> None:
    assert set(names) <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def extras_are_there(packages: list[str]) -> None:
    """Those of ours; other packages are other people's."""
    known = set(PROJECT["project"]["optional-dependencies"])
    for what in packages:
        name, _, extras = what.partition("[")
        assert name not in (".", "gshn") or set(filter(None, extras.rstrip("]").split(","))) <= known


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


@pytest.mark.lava
def test_examples_in_the_reference_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of docstrings, from what the guide to NIR files makes; without nirtorch no line of ``snntorch``."""
    monkeypatch.chdir(tmp_path)
    make_network()
    nm = import_module("neuromorphic")
    given: dict[str, dict[str, Any]] = {
        "neuromorphic.spiking_network.load": {},
        "neuromorphic.session.Session": {"net": nm.load("model.nir"), "x": np.load("in.npz")["input"]},
        "neuromorphic.batch_norm.fold_batch_norm": {
            "net": torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)).eval(),
            "x": torch.zeros(1, 4),
        },
    }
    found = set()
    pages = "".join(page.read_text() for page in sorted((DOCS / "reference").glob("*.md")))
    for path in re.findall(r"^::: (\S+)$", pages, re.MULTILINE):
        module, _, name = path.rpartition(".")
        for own in (
            top := getattr(import_module(module), name),
            *(vars(top).values() if isinstance(top, type) else ()),
        ):
            names = {"neuromorphic": nm, **given.get(path, {})}
            text = inspect.getdoc(own) or ""
            if find_spec("nirtorch") is None:
                text = re.sub(r"^>>> snntorch.*\n", "", text, flags=re.MULTILINE)
            examples = doctest.DocTestParser().get_doctest(text, names, path, None, 0)
            if examples.examples:
                found.add(path)
                assert doctest.DocTestRunner().run(examples).failed == 0
    assert found == given.keys()


@pytest.mark.lava
def test_the_picture_of_the_method_is_drawn(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["docs/picture.py", str(finished), str(tmp_path)])
    monkeypatch.syspath_prepend(DOCS)
    runpy.run_path(str(DOCS / "picture.py"), run_name="__main__")
    for name in (f"{what}-{key}.png" for what in ("path", "explain") for key in ("light", "dark")):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert (DOCS / "figures" / name).is_file()


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


def test_tables_are_of_the_committed_rows(tmp_path: Path) -> None:
    tables = runpy.run_path(str(DOCS / "tables.py"))
    pages = {page for page, _ in tables["TABLES"].values()}
    for page in pages:
        shutil.copy(DOCS / page, tmp_path)
    tables["main"](tmp_path)
    assert all((tmp_path / page).read_text() == (DOCS / page).read_text() for page in pages), "python docs/tables.py"


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
