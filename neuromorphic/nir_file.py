"""NIR files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
from nir.serialization import hdf2dict

from gshn.files import make_folder
from neuromorphic.errors import NIRFileError

NODE_TYPES: Mapping[str, Any] = {
    name: kind for name, kind in vars(nir).items() if isinstance(kind, type) and issubclass(kind, nir.NIRNode)
}
LATER_FIELDS = ("v_reset", "metadata")
"""Fields that some or all nodes lack in nir 1.0.4, the oldest version that we take, and have in later ones."""


def write_nir(path: Path, graph: nir.NIRGraph) -> None:
    """Write a graph under a temporary name, then rename it: readers never see a part of it.

    Raises:
        GSHNError: the folder cannot be written to.
    """
    make_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        nir.write(temporary, graph)
        with h5py.File(temporary, "r+") as file:
            add_later_fields(file["node"], graph)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_nir(path: Path) -> nir.NIRGraph:
    """Read a graph, by whichever version of nir it was written.

    Not by ``nir.read``: nir 1.0.4 refuses files of later versions, and nir 1.0.8 checks nested graphs' types even when
    told not to, which it infers wrongly for grouped convolutions and kernels that are not square.

    Raises:
        NIRFileError: there is no such file, or it is no NIR graph.
    """
    if not path.is_file():
        raise NIRFileError(f"NIR file {path} does not exist")
    try:
        with h5py.File(path, "r") as file:
            graph = build(hdf2dict(file["node"]))
    except Exception as error:  # h5py and nir raise nearly everything, AssertionError included, on broken files.
        reason = " ".join(str(error).split())[:200]
        raise NIRFileError(f"{path} is no NIR graph ({type(error).__name__}: {reason}); export it again") from error
    if not isinstance(graph, nir.NIRGraph):
        raise NIRFileError(f"{path} holds a single {type(graph).__name__} node, not a NIR graph; export it again")
    return graph


def add_later_fields(group: h5py.Group, node: nir.NIRNode) -> None:
    """Write what the installed nir does not know of, but not a v_reset of zero: nir 1.0.4 can then read the file."""
    if isinstance(node, nir.NIRGraph):
        for name, own in node.nodes.items():
            add_later_fields(group["nodes"][name], own)
        return
    if "v_reset" not in group and np.any(getattr(node, "v_reset", 0)):
        group["v_reset"] = node.v_reset
    if "metadata" not in group:
        for key, value in getattr(node, "metadata", {}).items():
            group[f"metadata/{key}"] = value


def build(data: Mapping[str, Any]) -> nir.NIRNode:
    """A node from its fields as a file has them, ``type`` among them; types of graphs are not checked.

    What the installed nir has no field for (:data:`LATER_FIELDS`) becomes an attribute of the node all the same.
    """
    kind = NODE_TYPES.get(str(data["type"]))
    if kind is None:
        raise ValueError(f"nir {nir.version} has no node type '{data['type']}'")
    if issubclass(kind, nir.NIRGraph):
        nodes = {name: build(node) for name, node in data["nodes"].items()}
        edges = [(source.decode(), target.decode()) for source, target in data["edges"]]
        graph = kind.__new__(kind)  # The constructor of 1.0.4 checks nothing, that of 1.0.8 unless told not to.
        graph.nodes, graph.edges, graph.metadata = nodes, edges, dict(data.get("metadata", {}))
        graph.__post_init__()
        return graph
    known = {field.name for field in fields(kind)}
    later = {key: data[key] for key in LATER_FIELDS if key in data and key not in known}
    given = {key: value for key, value in data.items() if key not in later}
    if "input_shape" in known:
        given.setdefault("input_shape", None)  # Convolutions need not say it, but nir needs the key.
    node = kind.from_dict(given)
    for key, value in {"metadata": {}, **later}.items():
        if key not in known:
            setattr(node, key, value)
    return node
