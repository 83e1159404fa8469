"""``neuromorphic.check`` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nir
import numpy as np
import pytest
from scenarios import DT, SCENARIOS, chain, lif, relay

from neuromorphic import check
from neuromorphic.errors import ArgumentError, UnsupportedGraphError
from neuromorphic.nir_file import write_nir
from neuromorphic.support import primitives

PAGE = Path(__file__).parents[2] / "docs/nir.md"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["check", *map(str, arguments)])
    check.main()


def test_a_graph_that_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    write_nir(tmp_path / "model.nir", SCENARIOS["random_1"].graph)
    np.savez(tmp_path / "in.npz", input=np.stack([SCENARIOS["random_1"].x] * 2))
    call(monkeypatch, "--nir", tmp_path / "model.nir", "--input", tmp_path / "in.npz", "--json", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["fits"] and report["breaks"] == [] and report["target"] == "loihi2"
    assert report["input"]["samples"] == 2 and report["input"]["steps"] == len(SCENARIOS["random_1"].x)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    for words in ("v_threshold", "folded:", "clipped", "never", "fits Loihi 2"):
        assert words in out


def test_what_breaks_a_limit_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_nir(tmp_path / "wide.nir", chain(nir.Linear(np.ones((1, 5000))), lif(1)))
    with pytest.raises(SystemExit) as exit_:
        call(monkeypatch, "--nir", tmp_path / "wide.nir", "--target", "loihi2")
    assert exit_.value.code == 1
    assert "'lif_0': a neuron hears 5,000 sources" in " ".join(capsys.readouterr().out.split())


def test_bad_input_ends_with_status_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_nir(tmp_path / "fast.nir", chain(nir.Linear(np.ones((1, 1))), lif(1, tau=DT / 2)))
    with pytest.raises(UnsupportedGraphError, match=r"fast.nir: node 'lif_0': tau must be at least dt"):
        call(monkeypatch, "--nir", tmp_path / "fast.nir")
    with pytest.raises(ArgumentError, match="--nir"):
        call(monkeypatch, "--target", "loihi2")
    write_nir(tmp_path / "model.nir", chain(*relay(1)))
    command = [sys.executable, "-m", "neuromorphic.check", "--nir", tmp_path / "model.nir", "--input", tmp_path / "no"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and run.stderr.startswith("error: ") and run.stderr.count("\n") == 1


@pytest.mark.lava
def test_support_is_printed_without_a_graph_and_is_the_guides_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        call(monkeypatch, "--support")
    assert exit_.value.code == 0
    text = PAGE.read_text()
    begin, end = "<!-- python -m neuromorphic.check --support -->\n", "\n<!-- end -->"
    assert text[text.index(begin) + len(begin) : text.index(end)].strip() == capsys.readouterr().out.strip()
    assert all(f"| {name} |" in text for name in primitives())
