"""The console script ``neuromorphic``, the help of its commands, and what reads checkpoints for them."""

from __future__ import annotations

import json
import tomllib
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenarios import SCENARIOS

from neuromorphic import __main__ as script
from neuromorphic import cli, errors, export, plugins, profile
from neuromorphic.backends import BACKENDS
from neuromorphic.nir_file import read_nir, write_nir

ROOT = Path(__file__).parents[2]


def call(monkeypatch: pytest.MonkeyPatch, main: Any, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["neuromorphic", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_nir(tmp_path / "model.nir", SCENARIOS["random_0"].graph)
    np.savez(tmp_path / "in.npz", input=SCENARIOS["random_0"].x)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", list(script.COMMANDS))
def test_every_help_has_an_example_and_says_what_choices_mean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert call(monkeypatch, script.script, command, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(f"usage: neuromorphic {command} ") and "``" not in text and ":mod:" not in text
    assert f"python -m neuromorphic.{command} --" in text and "example" in text
    assert "(B, T, ...)" in text or command == "doctor"
    if command not in ("doctor", "conformance"):
        assert "subtracts v_threshold" in text
    if "--backend" in text:
        assert all(f"{backend}: " in text for backend in BACKENDS)


def test_the_script_runs_commands_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Path
) -> None:
    assert call(monkeypatch, script.script, "run", "--nir", "model.nir", "--input", "in.npz", "--out", "o.npz") == 0
    assert json.loads(Path("o.json").read_text())["agreement"] == 1.0
    capsys.readouterr()
    assert call(monkeypatch, script.script) == 0
    listing = capsys.readouterr().out
    assert all(f"  {name} " in listing and import_module(f"neuromorphic.{name}").main for name in script.COMMANDS)
    assert call(monkeypatch, script.script, "fly") == 2
    assert capsys.readouterr().err == f"error: 'fly' is not a command; choose one of {', '.join(script.COMMANDS)}\n"
    assert call(monkeypatch, script.script, "run", "--nirr", "x") == 2
    assert "neuromorphic run --help lists the arguments" in capsys.readouterr().err


def test_beginnings_of_options_are_no_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (["--out", "x"], "there is no option --out; did you mean --outputs?"),
        (["--list", "--gr=lif_*"], "there is no option --gr; did you mean --graphs?"),
        (["--list", "--nirr"], "there is no option --nirr"),
        (["--list", "lif_0"], "unrecognized arguments: lif_0"),
    ):
        assert call(monkeypatch, script.script, "conformance", *arguments) == 2
        end = "neuromorphic conformance --help lists the arguments"
        assert capsys.readouterr().err == f"error: {message}; {end}\n"
    parser = cli.CommandParser("command")
    parser.add_argument("--text", required=True)
    assert parser.parse_args(["--text", "--no option"]).text == "--no option"


def test_what_to_type_next_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    cli.print_next(["gshn.evaluate", "--checkpoint", Path("my runs/a")], ["neuromorphic.check", "--support"])
    first, second = capsys.readouterr().out.splitlines()
    assert first == "next:       python -m gshn.evaluate --checkpoint 'my runs/a'"
    assert second == "            python -m neuromorphic.check --support"


def test_profile_of_a_nir_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Path
) -> None:
    assert call(monkeypatch, profile.main, "--nir", "model.nir", "--input", "in.npz", "--out", "p") == 0
    report = json.loads(Path("p/report.json").read_text())
    rows = {row["name"]: row for row in report["layers"]}
    assert set(rows) == {"lif_0", "lif_1", "lif_2", "output"} and rows["lif_1"]["synaptic_operations"] > 0
    energy = [row for row in report["energy"] if row["model"] == "loihi2"]
    assert sum(row["joules_high"] for row in energy) == pytest.approx(
        report["totals"]["joules_per_sample"]["loihi2"]["joules_high"]
    )
    assert "lif_1" in Path("p/report.html").read_text() and "loihi2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (export.main, ["--to", "lava", "--out", "o"], "give --nir or --checkpoint, one of them"),
        (export.main, ["--to", "lava", "--out", "o", "--nir", "model.nir"], "--nir needs --input"),
        (export.main, ["--to", "netx", "--out", "o", "--nir", "model.nir"], "--to netx takes a --checkpoint"),
        (export.main, ["--to", "nir", "--out", "o", "--checkpoint", "c", "--dt", "1"], "--dt goes with --nir"),
        (profile.main, ["--out", "o", "--nir", "model.nir", "--checkpoint", "c"], "give --nir or --checkpoint"),
        (profile.main, ["--out", "o", "--nir", "model.nir"], "--nir needs --input"),
        (profile.main, ["--out", "o", "--nir", "model.nir", "--images", "3"], "--images goes with --checkpoint"),
        (profile.main, ["--out", ".", "--nir", "model.nir", "--input", "in.npz", "--energy-models", "x"], "x"),
    ],
)
def test_arguments_that_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch, files: Path, main: Any, arguments: list[str], message: str
) -> None:
    before = sorted(files.rglob("*"))
    with pytest.raises(errors.UserError, match=message):
        call(monkeypatch, main, *arguments)
    assert sorted(files.rglob("*")) == before


def test_what_reads_checkpoints_is_found_installed_and_in_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][plugins.GROUP]
    for installed in ([EntryPoint("gshn", "gshn.deployment", plugins.GROUP)], []):
        monkeypatch.setattr(plugins, "entry_points", lambda group, installed=installed: installed)
        assert {point.name: point.value for point in plugins.registered()} == declared
        tools = plugins.checkpoint_tools()
        assert tools.__name__ == "gshn.deployment" and callable(tools.export) and callable(tools.profile)  # type: ignore[attr-defined]
    monkeypatch.setattr(plugins, "registered", list)
    with pytest.raises(errors.PackagesMissingError, match=r"no installed package reads checkpoints .*gshn\[train\]"):
        call(monkeypatch, export.main, "--to", "nir", "--checkpoint", "runs/default", "--out", "o")


@pytest.mark.lava
def test_a_nir_file_on_lava_as_a_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Path
) -> None:
    write_nir(files / "x/model.nir", SCENARIOS["random_1"].graph)  # of an earlier export, as the next one
    (files / "x/program").mkdir()
    (files / "x/program/program.77.npy").touch()
    assert call(monkeypatch, export.main, "--to", "lava", "--nir", "model.nir", "--input", "in.npz", "--out", "x") == 0
    assert "100.0000 %" in capsys.readouterr().out
    with np.load("x/spikes.npz") as file:
        assert set(file) == {"output", "lif_0", "lif_1", "lif_2"} and file["lif_1"].shape == (24, 6)
    assert (files / "x/program/program.json").is_file() and not (files / "x/program/program.77.npy").exists()
    ours, theirs = read_nir(Path("x/model.nir")), read_nir(Path("model.nir"))
    assert ours.edges == theirs.edges and ours.nodes.keys() == theirs.nodes.keys()
    for name, node in ours.nodes.items():
        np.testing.assert_equal(vars(node), vars(theirs.nodes[name]))
    assert not list((files / "x").glob(".program*"))
