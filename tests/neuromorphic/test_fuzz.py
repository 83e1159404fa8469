"""Broken and hostile NIR files: each is read and flattened, or refused by one line that names the node or the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from scenarios import SCENARIOS

from gshn.errors import GSHNError
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
    "nan": (replace(NODES + "lif_1/tau", data=[1.0, np.nan]), r"lif_1.*tau is nan at \[1\]"),
    "infinity": (replace(NODES + "lif_1/r", data=[np.inf]), "lif_1.*r is inf"),
    "dt": (replace("node/metadata/dt", data=np.nan), "the graph: metadata 'dt' is nan"),
    "unknown type": (replace(NODES + "lif_0/type", data="Neuron"), "lif_0.*no node type 'Neuron', only .*LIF"),
    "type of no text": (replace(NODES + "lif_0/type", data=3), "lif_0.*type is no text"),
    "no type": (remove(NODES + "lif_0/type"), "lif_0.*no 'type'"),
    "no tau": (remove(NODES + "lif_0/tau"), r"lif_0.*\(LIF\) has no 'tau'"),
    "no edges": (remove("node/edges"), r"the graph .* no 'edges'"),
    "edges of numbers": (replace("node/edges", data=np.ones((3, 2))), "edges holds no texts"),
    "edge to nowhere": (replace("node/edges", data=[["input", "ghost"]]), "'ghost', which it does not have"),
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
    with pytest.raises(GSHNError, match=message) as caught:
        flatten(read_nir(file))
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_refused(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        group = opened["node"]
        for _ in range(50):
            group = group["nodes"].create_group("deeper")
            group["type"], group["edges"] = "NIRGraph", np.zeros(0)
            group.create_group("nodes")
    with pytest.raises(GSHNError, match="nested more than 32"):
        read_nir(file)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_cut_file_is_refused(file: Path, share: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(GSHNError, match=r"graph\.nir"):
        read_nir(file)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(GSHNError, match="is a folder"):
        read_nir(tmp_path)
