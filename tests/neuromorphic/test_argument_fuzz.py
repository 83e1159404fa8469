"""Nasty values for every argument, of all commands and of what Python calls: each is taken for what it says, or refused
by one line; never a traceback, never a default in its place, and nothing is left half-written."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from random_graphs import random_graph
from scenarios import chain, relay

from gshn.profiling.report import profile as profile_of
from neuromorphic import backends, check, conformance, doctor, export, nir_file, profile, run, signals, verify
from neuromorphic.cli import run_command
from neuromorphic.compiler.lower import lower
from neuromorphic.conversion.report import conversion_report, convert
from neuromorphic.errors import UserError
from neuromorphic.execution import populations, reference, spikes
from neuromorphic.execution.torch_simulator import simulate_torch
from neuromorphic.graph import flatten, time_step
from neuromorphic.nir_file import write_nir
from neuromorphic.profiling.energy import load_models

GRAPH = chain(*relay(2), *relay(2))
STEPS, SIZE = 4, 2
X = np.ones((STEPS, SIZE))

WORDS = ["", " ", "lif_0", "nothing", "[/x]", "[red]", ":smile:", "\n", "\x1b[31m", "é", "\udcff", "-", "--", "-x", "*"]
NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1",
    "7",
    "1e400",
    "1e-320",
    "1e300",
    "1.5",
    "1_0",
    "0x10",
    "1e12",
    "9" * 40,
]
PATHS = [
    "none",
    "folder",
    "text",
    "empty",
    "model.nir",
    "cut.nir",
    "in.npz",
    "in.npy",
    "a" * 300,
    "/dev/null",
    "/proc/x",
]
PATHS += [
    "text/x.npz",
    "folder/x.npz",
    "x.npz",
    "x.NPZ",
    ".npz",
    "x",
    "folder.npz",
    "x.tar.npz",
    "/proc/none/x.npz",
    "é.npz",
]
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
    # Damage that HDF5 does not survive is test_fuzz.py's; copying this process for each call would take longest.
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
    "--from": [],
    "--backend": [],
    "--precision": [],
    "--steps": [],
    "--trace": [],
    "--plot": [],
    "--target": [],
    "--deadline": [],
    "--compare": [],
}
VERIFY: Good = {
    "--nir": ["model.nir"],
    "--against": ["numpy"],
    "--precision": [],
    "--backend": [],
    "--backend-precision": [],
    "--input": [],
    "--steps": ["4"],
    "--seed": [],
    "--json": ["o.json"],
    "--dt": [],
    "--reset": [],
    "--from": [],
}
CHECK: Good = {
    "--nir": ["model.nir"],
    "--target": [],
    "--input": ["in.npz"],
    "--json": ["o.json"],
    "--dt": [],
    "--reset": [],
    "--from": [],
}
DOCTOR: Good = {"--json": ["o.json"]}
EXPORT: Good = {
    "--to": ["nir"],
    "--checkpoint": ["folder"],
    "--out": ["new"],
    "--images": [],
    "--precision": [],
    "--weights": [],
}
CONFORMANCE: Good = {
    "--simulator": ["numpy"],
    "--graphs": ["input_output"],
    "--precision": [],
    "--tolerance": [],
    "--json": ["o.json"],
}
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
    "conformance": (conformance.main, CONFORMANCE),
}
POOL = {
    "--dt": NUMBERS + WORDS,
    "--deadline": NUMBERS + WORDS,
    "--steps": NUMBERS + WORDS,
    "--seed": NUMBERS + WORDS,
    "--images": NUMBERS + WORDS,
    "--input": PATHS + INPUTS + WORDS,
    "--out": PATHS + WORDS,
    "--plot": ["p.png", "x.npz", "folder", "text/p.png", "/proc/none/p.png", ".png", *WORDS],
    "--json": PATHS + WORDS,
    "--nir": PATHS + WORDS,
    "--checkpoint": PATHS + WORDS,
    "--energy-models": PATHS + WORDS,
    "--compare": WORDS,
    "--tolerance": NUMBERS + WORDS,
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
            if path.suffix == ".npz":
                with np.load(path) as arrays:
                    assert len(arrays["output"]) in (report["steps"], report["batch"])
            elif path.suffix == ".npy":
                assert len(np.load(path)) in (report["steps"], report["batch"])
            else:
                assert set(nir.read_data(str(path)).nodes) >= {"output"}
        asked = {said(arguments, "--json"), said(arguments, "--out")}
        for name in new:
            assert name not in before or name in asked, f"{command} {arguments} overwrote {name}"
            (folder / name).unlink()
            if name in before:
                (folder / name).write_bytes(before[name])
        for name in sorted(folders(folder) - had, reverse=True):
            (folder / name).rmdir()
    assert statuses[2] > 10 and (statuses[0] or command in ("export", "profile", "doctor"))


class Mute:
    """What cannot even be printed."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


FLAT = flatten(GRAPH)
NETWORK = lower(FLAT)
ROWS = X[None]
RANGES = populations.run(NETWORK, {"input": X}).ranges


def objects() -> dict[str, Any]:
    """One of each kind of object, by name."""
    endless = nir.NIRGraph({}, [], type_check=False)
    endless.nodes["itself"] = endless
    return {
        **{str(value): value for value in (None, True, 0, -1, 3, 1.5, np.int64(3), float("nan"), float("inf"))},
        **{f"'{word}'": word for word in ("", "lif_0", "lif_9", "float", "fixed", "int8", "numpy", "zero", "loihi2")},
        **{f"{kind.__name__}()": kind() for kind in (list, tuple, dict, set, bytes, object, Mute)},
        "1e400": 10**400,
        "generator": (name for name in ["lif_0"]),
        "[1, 2]": [1, 2],
        "['lif_0']": ["lif_0"],
        "{1: 2}": {1: 2},
        "type": dict,
        "tensor": torch.ones(1, STEPS, SIZE, requires_grad=True),
        "path": Path("none"),
        "array": ROWS,
        "scalar": np.zeros(()),
        "empty": ROWS[:, :0],
        "texts": np.array(["a"]),
        "masked": np.ma.masked_array(ROWS),
        "inputs": {"input": ROWS},
        "small": {"input": ROWS.astype(np.float16)},
        "list": {"input": ROWS.tolist()},
        "no step": {"input": ROWS[:, :0]},
        "no sample": {"input": ROWS[:0]},
        "nan": {"input": ROWS * np.nan},
        "inf": {"input": ROWS * np.inf},
        "complex": {"input": ROWS.astype(complex)},
        "objects": {"input": ROWS.astype(object)},
        "dates": {"input": ROWS.astype("datetime64[s]")},
        "flat": {"input": X},
        "more": {"input": ROWS, "x": ROWS},
        "graph": FLAT,
        "nir": GRAPH,
        "node": GRAPH.nodes["lif_0"],
        "endless": endless,
        "network": NETWORK,
        "networks": [NETWORK],
        "flats": [{"input": X}],
        "ranges": RANGES,
        "state": reference.State(),
    }


Call = tuple[Callable[..., Any], dict[str, Any], dict[str, set[str]]]
TEXTS_OF_PATHS = {"'lif_0'", "'lif_9'", "'float'", "'fixed'", "'int8'", "'numpy'", "'zero'", "'loihi2'", "path"}
RUNS: dict[str, set[str]] = {
    "graph": {"graph"},
    "inputs": {"inputs", "small"},
    "potentials": {"['lif_0']", "list()", "tuple()", "dict()", "set()"},
}
OPTIONS = {"precision": {"'float'", "'fixed'"}, "deadline": {"1.5", "3"}, "ranges": {"None", "ranges"}}
FUNCTIONS: dict[str, Call] = {
    "simulate": (
        backends.simulate,
        {"graph": FLAT, "inputs": {"input": ROWS}, "backend": "numpy", "precision": "float", "potentials": ()}
        | {"deadline": 600.0, "ranges": None, "target": "simulator"},
        RUNS | OPTIONS | {"backend": {"'numpy'"}, "target": set()},
    ),
    "simulate fixed": (
        backends.simulate,
        {"graph": FLAT, "inputs": {"input": ROWS}, "backend": "numpy", "precision": "fixed", "potentials": ()}
        | {"deadline": 600.0, "ranges": None, "target": "simulator"},
        RUNS | OPTIONS | {"backend": {"'numpy'"}, "target": {"'loihi2'"}},
    ),
    "run_side_by_side": (
        backends.run_side_by_side,
        {"networks": [NETWORK], "inputs": [{"input": X}], "backend": "numpy", "precision": "float"}
        | {"potentials": (), "deadline": 600.0, "ranges": None, "target": "simulator"},
        OPTIONS
        | {"networks": {"networks"}, "inputs": {"flats"}, "backend": {"'numpy'"}, "target": {"'loihi2'"}}
        | {"potentials": RUNS["potentials"]},
    ),
    "reference.simulate_from": (
        reference.simulate_from,
        {"state": reference.State(), "graph": FLAT, "inputs": {"input": ROWS}, "potentials": ()},
        RUNS | {"state": {"state"}},
    ),
    "simulate_torch": (
        simulate_torch,
        {"graph": FLAT, "inputs": {"input": ROWS}, "potentials": (), "dtype": torch.float64, "device": None},
        RUNS | {"dtype": set(), "device": {"None"}},
    ),
    "flatten": (
        flatten,
        {"nir_graph": GRAPH, "dt": None, "reset": None},
        {"nir_graph": {"nir"}, "dt": {"None", "1.5", "3"}, "reset": {"None", "'zero'"}},
    ),
    "time_step": (time_step, {"nir_graph": GRAPH}, {"nir_graph": {"nir"}}),
    "read_nir": (nir_file.read_nir, {"path": "none"}, {"path": set()}),
    "write_nir": (
        write_nir,
        {"path": Path("model.nir"), "graph": GRAPH},
        {"path": TEXTS_OF_PATHS, "graph": {"nir"}},
    ),
    "build": (nir_file.build, {"data": {"type": "LIF"}}, {"data": set()}),
    "load_inputs": (
        signals.load_inputs,
        {"path": "in.npz", "graph": FLAT, "steps": None},
        {"path": set(), "graph": {"graph"}, "steps": {"None", "3"}},
    ),
    "save_arrays": (
        spikes.save_arrays,
        {"path": "o.npz", "named": {"a": X}},
        {
            "path": TEXTS_OF_PATHS,
            "named": {
                "dict()",
                "inputs",
                "small",
                "no step",
                "no sample",
                "nan",
                "inf",
                "complex",
                "dates",
                "flat",
                "more",
            },
        },
    ),
    "lower": (lower, {"graph": FLAT}, {"graph": {"graph"}}),
    "convert": (convert, {"graph": FLAT, "inputs": {"input": ROWS}}, RUNS),
    "conversion_report": (
        conversion_report,
        {"graph": FLAT, "target": "loihi2", "inputs": None},
        {"graph": {"graph"}, "target": {"'loihi2'"}, "inputs": {"None", "inputs", "small"}},
    ),
    "load_models": (load_models, {"path": None}, {"path": {"None"}}),
    "profile": (
        profile_of,
        {"checkpoint": "none", "images": 1, "source": "torch", "precision": "float"},
        {"checkpoint": set(), "images": set(), "source": set(), "precision": set()},
    ),
}


def taken(function: Callable[..., Any], good: dict[str, Any], what: str) -> dict[str, set[str]]:
    """By argument the objects that a function takes in its place; it refuses all others by one line."""
    out: dict[str, set[str]] = {key: set() for key in good}
    for key in good:
        for name, value in objects().items():
            try:
                function(**{**good, key: value})
                out[key].add(name)
            except UserError as error:
                assert str(error) and "\n" not in str(error), f"{what}, {key} = {name}: {error}"
            except Exception as error:
                raise AssertionError(f"{what}, {key} = {name}: {type(error).__name__}: {error}") from error
    return out


@pytest.mark.parametrize("what", FUNCTIONS)
def test_functions(what: str, folder: Path) -> None:
    function, good, accepted = FUNCTIONS[what]
    found = taken(function, good, what)
    assert found == {key: accepted[key] for key in good}


@pytest.mark.lava
def test_compile(folder: Path) -> None:
    from neuromorphic.lava import compile

    fixed = {"graph": FLAT, "precision": "fixed", "calibration": {"input": ROWS}}
    expected = {"graph": {"graph", "nir"}, "precision": {"'fixed'", "'float'"}, "calibration": {"inputs", "small"}}
    assert taken(compile, fixed, "compile") == expected
    again = {"graph": GRAPH, "dt": None, "reset": None}
    expected = {"graph": {"graph", "nir"}, "dt": {"None"}, "reset": {"None", "'zero'"}}  # Others are above tau.
    assert taken(compile, again, "compile") == expected
    with pytest.raises(UserError, match="dt and reset of a flat graph are its own"):
        compile(FLAT, dt=1.0)
    process = compile(**fixed)
    arrays = {"array", "scalar", "empty"}
    assert taken(process.encode, {"name": "input", "x": X}, "encode") == {"name": set(), "x": arrays}
    assert taken(process.decode, {"name": "output", "messages": X}, "decode") == {"name": set(), "messages": arrays}
    for name, value in objects().items():
        if name not in ("inputs", "small"):
            with pytest.raises(UserError):
                process.run(value)
    with pytest.raises(UserError, match="lif_9"):
        process.run({"input": ROWS}, potentials=["lif_9"])
    with pytest.raises(UserError, match="deadline"):
        process.run({"input": ROWS}, deadline=float("nan"))


def broken(random: np.random.Generator) -> tuple[nir.NIRGraph, str]:
    """A random graph in which one thing is something else: a field, a node, a name, an edge or metadata."""
    graph, _ = random_graph(int(random.integers(40)))
    pool = objects()
    name = str(random.choice(list(graph.nodes)))
    node = graph.nodes[name]
    way, (what, value) = int(random.integers(6)), list(pool.items())[int(random.integers(len(pool)))]
    if way == 0:
        graph.nodes[name] = value
    elif way == 1:
        try:
            graph.nodes[value] = node
        except TypeError:  # It cannot be a key.
            graph.nodes["\0"] = node
    elif way == 2:
        graph.edges.append(value if random.random() < 0.3 else (name, value))
    elif way == 3:
        graph.metadata = value if random.random() < 0.3 else {"dt": value, "reset": value}
    else:
        own = [key for key in vars(node) if key not in ("nodes",)]
        key = str(random.choice(own))
        setattr(node, key, value)
        what = f"{key} = {what}"
    return graph, f"{type(node).__name__} '{name}', way {way}, {what}"


def test_graphs_in_memory(tmp_path: Path) -> None:
    counts = {"taken": 0, "refused": 0}
    for seed in range(250):
        graph, what = broken(np.random.default_rng(seed))
        for function in (flatten, lambda own: write_nir(tmp_path / "graph.nir", own)):
            try:
                function(graph)
                counts["taken"] += 1
            except UserError as error:
                assert str(error) and "\n" not in str(error), f"seed {seed}, {what}: {error}"
                counts["refused"] += 1
            except Exception as error:
                raise AssertionError(f"seed {seed}, {what}: {type(error).__name__}: {error}") from error
        assert {path.name for path in tmp_path.iterdir()} <= {"graph.nir"}
    assert counts["refused"] > 180
