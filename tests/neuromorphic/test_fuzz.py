"""Broken and hostile NIR files: each is read and flattened, or refused by one line that names the node or the file."""

from __future__ import annotations

import os
import signal
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from random_graphs import random_graph
from scenarios import SCENARIOS

from neuromorphic import hdf5
from neuromorphic.errors import NIRFileError, UnsupportedGraphError, UserError
from neuromorphic.graph import flatten
from neuromorphic.nir_file import read_nir, write_nir

NODES = "node/nodes/"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_nir(tmp_path / "graph.nir", SCENARIOS["random_0"].graph)
    return tmp_path / "graph.nir"


def replace(key: str, **arguments: object) -> Callable[[h5py.File], None]:
    """Store another array in place of one."""

    def change(opened: h5py.File) -> None:
        del opened[key]
        opened.create_dataset(key, **arguments)

    return change


def remove(key: str) -> Callable[[h5py.File], None]:
    return lambda opened: opened.__delitem__(key)


def link(key: str, value: object) -> Callable[[h5py.File], None]:
    def change(opened: h5py.File) -> None:
        del opened[key]
        opened[key] = opened[value] if isinstance(value, str) else value

    return change


WEIGHT = NODES + "affine_0/weight"
CASES: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    # Nothing is written: HDF5 would read fill values for all that is claimed.
    "gigabytes": (replace(WEIGHT, shape=(10**5, 10**4), dtype="f8", chunks=(1000, 1000)), "affine_0.*holds only"),
    "terabytes": (replace(WEIGHT, shape=(10**6, 10**6), dtype="f8"), "affine_0.*holds only"),
    "tau": (replace(NODES + "lif_0/tau", shape=(10**12,), dtype="f4", chunks=(10**6,)), "lif_0.*tau.*holds only"),
    "input": (replace(NODES + "input/shape", data=[10**9]), "input"),
    "negative input": (replace(NODES + "input/shape", data=[-3]), "input"),
    "no numbers": (replace(WEIGHT, data=["a", "b"]), "affine_0.*weight holds texts"),
    "complex": (replace(WEIGHT, data=np.ones((2, 2), complex)), "affine_0.*complex"),
    "nan": (replace(NODES + "lif_1/tau", data=[1.0, np.nan]), r"lif_1.*tau is NaN at \[1\]"),
    "infinity": (replace(NODES + "lif_1/r", data=[np.inf]), "lif_1.*r is inf"),
    "dt": (replace("node/metadata/dt", data=np.nan), "the graph: metadata 'dt' is nan"),
    "unknown type": (replace(NODES + "lif_0/type", data="Neuron"), "lif_0.*no node type 'Neuron', only .*LIF"),
    "type of no text": (replace(NODES + "lif_0/type", data=3), "lif_0.*type is not a text"),
    "no type": (remove(NODES + "lif_0/type"), "lif_0.*no 'type'"),
    "no tau": (remove(NODES + "lif_0/tau"), r"lif_0.*\(LIF\) has no 'tau'"),
    "no edges": (remove("node/edges"), r"the graph .* no 'edges'"),
    "edges of numbers": (replace("node/edges", data=np.ones((3, 2))), "edges holds no texts"),
    "edge to nowhere": (replace("node/edges", data=[["input", "ghost"]]), "'ghost', which the graph does not have"),
    "edge twice": (replace("node/edges", data=[["input", "affine_0"]] * 2), "twice"),
    "soft link": (link(WEIGHT, h5py.SoftLink("/node/edges")), "affine_0.*link to another place"),
    "external link": (link(WEIGHT, h5py.ExternalLink("/etc/passwd", "/")), "affine_0.*link to another place"),
    "group in itself": (link(NODES + "lif_0", "/node"), "lif_0.*same object"),
    "one array twice": (link(NODES + "lif_0/tau", NODES + "lif_0/r"), "lif_0.*same object"),
    "other file": (replace(WEIGHT, shape=(2, 2), dtype="f8", external="/etc/passwd"), "affine_0.*another file"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_file_may_not_hold_is_named(file: Path, case: str) -> None:
    change, message = CASES[case]
    with h5py.File(file, "r+") as opened:
        change(opened)
    with pytest.raises(UserError, match=message) as caught:
        flatten(read_nir(file))
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_refused(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        group = opened["node"]
        for _ in range(50):
            group = group["nodes"].create_group("deeper")
            group["type"], group["edges"] = "NIRGraph", np.zeros(0)
            group.create_group("nodes")
    with pytest.raises(UserError, match="nested more than 32"):
        read_nir(file)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_cut_file_is_refused(file: Path, share: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"graph\.nir"):
        read_nir(file)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        read_nir(tmp_path)


def everything(tmp_path: Path) -> Path:
    """Files with every primitive that NIR has between them."""
    folder = tmp_path / "all"
    for seed in range(40):
        write_nir(folder / f"{seed}.nir", random_graph(seed)[0])
    return folder


def arrays(opened: h5py.File) -> list[str]:
    """Paths of all numeric arrays of nodes."""
    found: list[str] = []

    def visit(name: str, member: object) -> None:
        if name.startswith(NODES) and isinstance(member, h5py.Dataset) and member.dtype.kind in "fi":
            found.append(name)

    opened.visititems(visit)
    return found


def refused_or_read(path: Path) -> str:
    """The refusal of a file, a single line; empty where it is read and flattened."""
    try:
        flatten(read_nir(path))
    except UserError as error:
        assert "\n" not in str(error) and str(error)
        return str(error)
    return ""


def test_a_value_that_is_not_finite_is_named_in_every_field_of_every_primitive(tmp_path: Path) -> None:
    seen = set()
    for path in sorted(everything(tmp_path).iterdir()):
        with h5py.File(path) as opened:
            fields = {
                name: (bytes(opened[name].parent["type"][()]).decode(), opened[name][()]) for name in arrays(opened)
            }
        for name, (kind, values) in fields.items():
            key = name.rsplit("/", 1)[1]
            if (kind, key) in seen or values.dtype.kind != "f" or "metadata" in name:
                continue
            seen.add((kind, key))
            copy = tmp_path / "copy.nir"
            copy.write_bytes(path.read_bytes())
            spoilt = np.array(values)
            spoilt.reshape(-1)[-1] = np.nan
            with h5py.File(copy, "r+") as opened:
                replace(name, data=spoilt)(opened)
            message = refused_or_read(copy)
            node = name[len(NODES) :].rsplit("/", 1)[0].replace("/nodes/", ".")
            assert node in message and key in message, f"{name}: {message}"
    assert {kind for kind, _ in seen} >= {
        "Affine",
        "Linear",
        "Scale",
        "Delay",
        "I",
        "IF",
        "LI",
        "LIF",
        "CubaLI",
        "CubaLIF",
    }


def damage(path: Path, random: np.random.Generator) -> str:
    """Change one thing in a file as HDF5 has it: a field's shape, type or value, or an edge."""
    with h5py.File(path, "r+") as opened:
        name = str(random.choice(arrays(opened)))
        values = opened[name][()]
        way = int(random.integers(6))
        changed = [
            lambda: np.concatenate([np.ravel(values), np.ravel(values)[:1]]),
            lambda: np.zeros((0,), values.dtype),
            lambda: -np.abs(values) - 1,
            lambda: np.array("text", h5py.string_dtype()),
            lambda: values[None] if np.ndim(values) else np.full((2, 2), values),
            lambda: values * 1e30,
        ][way]()
        replace(name, data=changed)(opened)
    return f"{name}, way {way}"


def fuzz(tmp_path: Path, seeds: range) -> None:
    source = sorted(everything(tmp_path).iterdir())
    for seed in seeds:
        random = np.random.default_rng(seed)
        path = tmp_path / "fuzzed.nir"
        path.write_bytes(source[int(random.integers(len(source)))].read_bytes())
        what = damage(path, random)
        try:
            refused_or_read(path)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {what}: {type(error).__name__}: {error}") from error


def flip(tmp_path: Path, seeds: range) -> None:
    """Change up to four bytes anywhere."""
    whole = next(everything(tmp_path).iterdir()).read_bytes()
    for seed in seeds:
        random = np.random.default_rng(seed)
        changed = bytearray(whole)
        for place in random.integers(0, len(whole), int(random.integers(1, 5))):
            changed[place] ^= int(random.integers(1, 256))
        path = tmp_path / "flipped.nir"
        path.write_bytes(changed)
        try:
            refused_or_read(path)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error


def test_damaged_fields(tmp_path: Path) -> None:
    fuzz(tmp_path, range(80))


def test_flipped_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "CPU_SECONDS", 1)  # Some hang HDF5.
    flip(tmp_path, range(60))


@pytest.mark.slow
def test_more_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "CPU_SECONDS", 1)
    fuzz(tmp_path, range(1000, 4000))
    flip(tmp_path, range(1000, 3000))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be copied here")
def test_a_reading_that_hangs_or_crashes_is_one_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "CPU_SECONDS", 1)

    def hang() -> None:
        while True:
            pass

    with pytest.raises(NIRFileError, match=r"graph\.nir is damaged.*SIGXCPU"):
        hdf5.try_in_a_fork(file, hang)
    with pytest.raises(NIRFileError, match=r"graph\.nir is damaged.*SIGSEGV"):
        hdf5.try_in_a_fork(file, lambda: os.kill(os.getpid(), signal.SIGSEGV))


SMALL = nir.Input(np.array([1]))
HUGE = {
    "Input": ({"input": nir.Input(np.array([10**9]))}, nir.Threshold(np.ones(()))),
    "Conv1d": ({}, nir.Conv1d(10**9, np.ones((1, 1, 3)), 1, 0, 1, 1, np.zeros(1))),
    "Conv2d": (
        {"input": nir.Input(np.array([1, 20000, 20000]))},
        nir.Conv2d((20000, 20000), np.ones((1, 1, 3, 3)), 1, 0, 1, 1, np.zeros(1)),
    ),
    "delay": ({}, nir.Delay(np.array([1e9]))),
}  # fmt: skip


@pytest.mark.parametrize("case", HUGE)
def test_sizes_that_no_memory_holds_are_refused_by_name(case: str) -> None:
    nodes, node = HUGE[case]
    nodes = {"input": SMALL, **nodes, "node": node, "output": nir.Output(None)}
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedGraphError, match=r"'node'|'input'"):
            flatten(nir.NIRGraph(nodes, [("input", "node"), ("node", "output")], type_check=False), dt=1e-4)
        assert tracemalloc.get_traced_memory()[1] < 500e6
    finally:
        tracemalloc.stop()
