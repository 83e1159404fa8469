"""Nasty values for every argument, of all commands and of what Python calls: each is taken for what it says, or refused
by one line; never a traceback, never a default in its place, and nothing is left half-written."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from random_graphs import random_graph
from scenarios import chain, relay

from gshn.cli import run_command
from gshn.errors import GSHNError
from neuromorphic import backends, check, doctor, nir_file, profile, run, signals, verify
from neuromorphic.compiler.lower import lower
from neuromorphic.conversion.report import compile_graph, conversion_report
from neuromorphic.execution import populations, reference, spikes
from neuromorphic.execution.torch_simulator import simulate_torch
from neuromorphic.export import __main__ as export
from neuromorphic.graph import flatten, time_step
from neuromorphic.nir_file import write_nir
from neuromorphic.profiling.energy import load_models
from neuromorphic.profiling.report import profile as profile_of

GRAPH = chain(*relay(2), *relay(2))
STEPS, SIZE = 4, 2
X = np.ones((STEPS, SIZE))

WORDS = ["", " ", "lif_0", "nothing", "[/x]", "[red]", ":smile:", "\n", "\x1b[31m", "é", "\udcff", "-", "--", "-x", "*"]
NUMBERS = ["nan", "inf", "-inf", "-1", "0", "1", "7", "1e400", "1e-320", "1e300", "1.5", "1_0", "0x10", "1e12", "9" * 40]
PATHS = ["none", "folder", "text", "empty", "model.nir", "cut.nir", "in.npz", "in.npy", "a" * 300, "/dev/null", "/proc/x"]
PATHS += ["text/x.npz", "folder/x.npz", "x.npz", "x.NPZ", ".npz", "x", "folder.npz", "x.tar.npz", "/proc/none/x.npz", "é.npz"]
INPUTS = ["nan.npz", "none.npz", "no_step.npz", "no_sample.npz", "objects.npz", "texts.npz", "complex.npz", "flat.npz"]
INPUTS += ["extra.npz", "cut.npz", "zip.npz", "huge.npz", "alone.npy", "scalar.npy", "batch.npz", "records.npz"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of every kind; each call gets a copy."""
    folder = tmp_path_factory.mktemp("source")
    write_nir(folder / "model.nir", GRAPH)
    whole = (folder / "model.nir").read_bytes()
    (folder / "cut.nir").write_bytes(whole[: len(whole) // 2])
    np.savez(folder / "in.npz", input=X)
    np.save(folder / "in.npy", X)
    (folder / "text").write_text("text\n")
    (folder / "empty").write_bytes(b"")
    (folder / "folder").mkdir()
    (folder / "folder.npz").mkdir()
    arrays: dict[str, dict[str, Any]] = {
        "nan": {"input": X * np.nan},
        "none": {},
        "no_step": {"input": X[:0]},
        "no_sample": {"input": X[None][:0]},
        "objects": {"input": np.array([{}])},
        "texts": {"input": np.array(["a", "b"])},
        "complex": {"input": X.astype(complex)},
        "flat": {"input": X.reshape(-1)},
        "extra": {"input": X, "file_": X[:0], "label": np.array(["a"])},
        "batch": {"input": np.stack([X, -X])},
        "records": {"input": np.zeros(3, [("a", float)])},
    }
    for name, own in arrays.items():
        np.savez(folder / f"{name}.npz", **own)
    (folder / "cut.npz").write_bytes((folder / "in.npz").read_bytes()[:200])
    with zipfile.ZipFile(folder / "zip.npz", "w") as file:
        file.writestr("input", "text")
    with zipfile.ZipFile(folder / "huge.npz", "w") as file:
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**12}, {SIZE}), }}".ljust(117) + "\n"
        file.writestr("input.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    np.save(folder / "alone.npy", X[0])
    np.save(folder / "scalar.npy", np.float64(1))
    return folder


@pytest.fixture
def folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(source, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    # Damage that HDF5 does not survive is test_fuzz.py's; a copy of this process for each call would take most of the time.
    monkeypatch.setattr(nir_file, "try_in_a_fork", lambda path, read: None)
    return tmp_path / "work"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def folders(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}


def call(main: Callable[[], None], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command as a shell does; its exit status."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    try:
        run_command(main)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


Good = dict[str, list[str]]
RUN: Good = {
    "--nir": ["model.nir"],
    "--input": ["in.npz"],
    "--out": ["o.npz"],
    "--dt": [],
    "--reset": [],
    "--backend": [],
    "--precision": [],
    "--steps": [],
    "--trace": [],
    "--target": [],
    "--deadline": [],
    "--compare": [],
}
VERIFY: Good = {
    "--nir": ["model.nir"],
    "--against": ["reference"],
    "--precision": [],
    "--backend": [],
    "--backend-precision": [],
    "--input": [],
    "--steps": ["4"],
    "--seed": [],
    "--json": ["o.json"],
    "--dt": [],
    "--reset": [],
}
CHECK: Good = {"--nir": ["model.nir"], "--target": [], "--input": ["in.npz"], "--json": ["o.json"], "--dt": [], "--reset": []}
DOCTOR: Good = {"--json": ["o.json"]}
EXPORT: Good = {"--to": ["nir"], "--checkpoint": ["folder"], "--out": ["new"], "--images": [], "--precision": []}
PROFILE: Good = {
    "--checkpoint": ["folder"],
    "--out": ["new"],
    "--images": [],
    "--backend": [],
    "--precision": [],
    "--compare": [],
    "--energy-models": [],
}
COMMANDS: dict[str, tuple[Callable[[], None], Good]] = {
    "run": (run.main, RUN),
    "verify": (verify.main, VERIFY),
    "check": (check.main, CHECK),
    "doctor": (doctor.main, DOCTOR),
    "export": (export.main, EXPORT),
    "profile": (profile.main, PROFILE),
}
POOL = {
    "--dt": NUMBERS + WORDS,
    "--deadline": NUMBERS + WORDS,
    "--steps": NUMBERS + WORDS,
    "--seed": NUMBERS + WORDS,
    "--images": NUMBERS + WORDS,
    "--input": PATHS + INPUTS + WORDS,
    "--out": PATHS + WORDS,
    "--json": PATHS + WORDS,
    "--nir": PATHS + WORDS,
    "--checkpoint": PATHS + WORDS,
    "--energy-models": PATHS + WORDS,
    "--compare": WORDS,
}


def cases(command: str) -> Iterator[list[str]]:
    """Each nasty value of each option in an otherwise good call, and some of two at once."""
    _, good = COMMANDS[command]
    random = np.random.default_rng(22)

    def line(changed: dict[str, list[str]]) -> list[str]:
        own = {**good, **changed}
        return [word for key, values in own.items() if values or key in changed for word in (key, *values)]

    for key in good:
        yield line({key: []})
        for value in POOL.get(key, WORDS + NUMBERS[:6]):
            yield line({key: [value]})
        yield line({key: ["1", "2"]})
    for _ in range(12 if len(good) > 1 else 0):
        first, second = random.choice(list(good), 2, replace=False)
        yield line({key: [str(random.choice(POOL.get(key, WORDS)))] for key in (first, second)})


def said(arguments: list[str], key: str) -> str | None:
    return arguments[arguments.index(key) + 1] if key in arguments else None


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, _ = COMMANDS[command]
    before, had = contents(folder), folders(folder)
    statuses = {0: 0, 1: 0, 2: 0}
    for arguments in cases(command):
        try:
            status = call(main, arguments, monkeypatch)
        except Exception as error:
            raise AssertionError(f"{command} {arguments}: {type(error).__name__}: {error}") from error
        out, err = capsys.readouterr()
        after = contents(folder)
        new = {name for name in after if name not in before or after[name] != before[name]}
        statuses[status] += 1
        assert "Traceback" not in err, f"{command} {arguments}: {err}"
        if status == 2:
            lines = [line for line in err.splitlines() if not line.startswith("note: ")]
            assert len(lines) == 1 and lines[0].startswith("error: "), f"{command} {arguments}: {err}"
            assert not new and folders(folder) == had, f"{command} {arguments}: it wrote {new or folders(folder) - had}"
            continue
        assert out, f"{command} {arguments}: nothing was said"
        if command == "run":
            path = Path(said(arguments, "--out") or "")
            report = json.loads(path.with_suffix(".json").read_text())
            for key, kind in (("steps", int), ("dt", float), ("backend", str), ("precision", str)):
                assert said(arguments, f"--{key}") in (None, str(report[key])) or report[key] == kind(
                    said(arguments, f"--{key}") or 0
                ), f"{arguments}: {key} became {report[key]}"
            with np.load(path) as arrays:
                assert len(arrays["output"]) in (report["steps"], report["batch"])
        asked = {said(arguments, "--json"), said(arguments, "--out")}
        for name in new:
            assert name not in before or name in asked, f"{command} {arguments} overwrote {name}"
            (folder / name).unlink()
            if name in before:
                (folder / name).write_bytes(before[name])
        for name in sorted(folders(folder) - had, reverse=True):
            (folder / name).rmdir()
    assert statuses[2] > 10 and (statuses[0] or command in ("export", "profile", "doctor"))
