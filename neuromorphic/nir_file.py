"""NIR files."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_path as as_path
from neuromorphic.arguments import check_type, not_finite
from neuromorphic.errors import NIRFileError, UnsupportedGraphError, UserError
from neuromorphic.files import check_destination, write_atomically
from neuromorphic.graph.model import PARAMETERS
from neuromorphic.graph.nested import MAX_DEPTH, check_nir_graph
from neuromorphic.hdf5 import CheckedFile, Member, reason, shown, try_in_a_fork

NODE_TYPES: Mapping[str, Any] = {
    name: kind
    for name, kind in vars(nir.ir).items()
    if isinstance(kind, type) and issubclass(kind, nir.NIRNode) and kind is not nir.NIRNode
}
"""NIR's primitives by the name that a file has for them."""
DERIVED = {"input_type", "output_type", "metadata"}
"""Fields of all nodes that are no parameters."""
LATER_FIELDS = ("v_reset", "metadata")
"""Fields that nodes lack in older versions and have in later ones: v_reset until nir 1.0.5, metadata, of some nodes, in
1.0.4, the oldest that we take."""
SHAPES = {"Input": "input_type", "Output": "output_type"}
"""Nodes whose shape stands in a file as ``shape``, with the field that it becomes."""
MAY_BE_MISSING = {"input_shape", "input_type"}
"""Fields that :func:`neuromorphic.graph.flatten` finds along the edges where a file does not have them."""
TEXTS = {"padding"}
"""Fields that may be a word."""


def write_nir(path: Path, graph: nir.NIRGraph) -> None:
    """Write a graph under a temporary name, then rename it: readers never see a part of it.

    Raises:
        ArgumentError: the path or the graph is of the wrong type.
        UserError: the folder cannot be written to, the disk is full, or the graph has what a NIR file cannot hold.
    """
    path = as_path("path", path)
    check_destination(path)
    check_nir_graph(graph)
    try:
        content = storable(graph.to_dict(), "the graph")
    except UserError:
        raise
    except Exception as error:  # Whatever the values' own copying raises.
        raise UnsupportedGraphError(f"the graph holds what cannot be written ({reason(error)}); remove it") from error
    buffer = io.BytesIO()
    try:
        nir.write(buffer, Content(content))
        with h5py.File(buffer, "r+") as file:
            add_later_fields(file["node"], graph)
    except UserError:
        raise
    except Exception as error:  # What nir and h5py do not take.
        raise UnsupportedGraphError(f"the graph cannot be written ({reason(error)})") from error
    write_atomically(path, buffer.getvalue())


def add_later_fields(group: h5py.Group, node: nir.NIRNode) -> None:
    """Write what the installed nir does not know of, but not a v_reset of zero: nir 1.0.4 can then read the file."""
    if isinstance(node, nir.NIRGraph):
        for name, own in node.nodes.items():
            add_later_fields(group["nodes"][name], own)
        return
    if "v_reset" not in group and np.any(getattr(node, "v_reset", 0)):
        group["v_reset"] = node.v_reset
    if "metadata" not in group:
        for key, value in storable(getattr(node, "metadata", {}), "metadata").items():
            group[f"metadata/{key}"] = value


class Content:
    """What ``nir.write`` asks a graph for."""

    def __init__(self, content: dict[str, Any]):
        self.content = content

    def to_dict(self) -> dict[str, Any]:
        """The graph as nested dictionaries."""
        return self.content


def storable(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A node's dictionary without values that ``nir.write`` cannot write: None, arrays of no dimension, NumPy's texts.

    Raises:
        UnsupportedGraphError: a value or name that a file cannot hold.
    """
    out: dict[str, Any] = {}
    for key, value in content.items():
        own = f"{where}: '{shown(str(key))}'"
        if not str(key) or "/" in str(key) or str(key) in (".", ".."):
            raise UnsupportedGraphError(f"{own} is not a name that a NIR file can hold; rename it, without slashes")
        if isinstance(value, Mapping):
            out[str(key)] = storable(value, own)
            continue
        if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and (value.ndim == 0 or value.size == 0)):
            value = value.tolist() if np.size(value) else np.asarray(value).tolist()
        if isinstance(value, np.ndarray) and value.dtype.kind == "U":
            value = value.tolist()
        if value is None:
            continue
        if not isinstance(value, str) and kind_of(value) not in "fiubUS":
            raise UnsupportedGraphError(f"{own} is a {type(value).__name__}; numbers and texts can be written")
        out[str(key)] = value
    return out


def kind_of(value: object) -> str:
    """NumPy's letter for what a value holds; that of objects where NumPy makes no array of it."""
    try:
        return np.asarray(value).dtype.kind
    except Exception:  # A ragged list, or a tensor that PyTorch does not hand out.
        return "O"


def build(data: Mapping[str, Any]) -> nir.NIRNode:
    """A node, but not a graph, from its fields by name, ``type`` among them.

    What the installed nir has no field for (:data:`LATER_FIELDS`) becomes an attribute of the node all the same.

    Raises:
        ArgumentError: ``data`` is not a mapping.
        UnsupportedGraphError: there is no such type, or it does not take these fields.
    """
    check_type("the node", data, Mapping, "give its fields by name, 'type' among them")
    kind = NODE_TYPES.get(str(data.get("type")))
    if kind is None:
        raise UnsupportedGraphError(f"nir {version('nir')} has no node type {data.get('type')!r}")
    known = {field.name for field in fields(kind)}
    later = {key: data[key] for key in LATER_FIELDS if key in data and key not in known}
    given = {key: value for key, value in data.items() if key not in later}
    try:
        node = kind.from_dict(given)
    except Exception as error:  # TypeError, AssertionError, IndexError, ..., as it happens.
        raise UnsupportedGraphError(f"these fields make no {data['type']} ({reason(error)})") from error
    for key, value in {"metadata": {}, **later}.items():
        if key not in known:
            setattr(node, key, value)
    return node


def graph_of(nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]], metadata: dict[str, Any]) -> nir.NIRGraph:
    """A graph whose shapes nir neither infers nor checks (it does so by default since 1.0.5)."""
    unchecked = {"type_check": False} if "type_check" in inspect.signature(nir.NIRGraph).parameters else {}
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata, **unchecked)


def read_nir(path: Path) -> nir.NIRGraph:
    """Read a graph, from a file that nobody vouches for.

    The file is checked before NIR's classes see it: see :mod:`neuromorphic.hdf5` for what it may claim. NIR's own
    inference of shapes is left out, since it errs on groups and on kernels that are not square, and adds nodes;
    :func:`neuromorphic.graph.flatten` does it.

    Raises:
        ArgumentError: the path is of the wrong type.
        NIRFileError: there is no such file, or it is not a NIR graph; the message names the node and the field.
    """
    path = as_path("path", path)
    check_path(path)
    try_in_a_fork(path, lambda: read_checked(path))
    return read_checked(path)


def read_checked(path: Path) -> nir.NIRGraph:
    """Read a graph. On some damaged files HDF5's library crashes the process; :func:`read_nir` survives that.

    Raises:
        NIRFileError: the file is not a NIR graph, is broken, or needs too much memory.
    """
    try:
        with h5py.File(path, "r") as file:
            return GraphReader(CheckedFile(path, file)).root()
    except NIRFileError:
        raise
    except MemoryError:
        raise NIRFileError(f"{path} needs more memory than there is; free some, or export a smaller graph") from None
    except Exception as error:  # h5py raises nearly everything on broken files.
        raise NIRFileError(f"{path} is not a NIR graph ({reason(error)[:200]}); export it again") from error


def check_path(path: Path) -> None:
    """Check that a file exists, is not empty, and can be read.

    Raises:
        NIRFileError: it is not so.
    """
    try:
        if path.is_dir():
            raise NIRFileError(f"{path} is a folder; give the NIR file in it")
        if not path.is_file():
            raise NIRFileError(f"NIR file {path} does not exist; export it, or correct the path")
        with path.open("rb") as file:
            if not file.read(1):
                raise NIRFileError(f"NIR file {path} is empty; export it again")
    except NIRFileError:
        raise
    except (OSError, ValueError) as error:
        raise NIRFileError(f"NIR file {shown(str(path))} cannot be read ({reason(error)})") from None


class GraphReader:
    """Builds NIR's nodes from a checked file. Its methods raise a NIRFileError that names file and node."""

    def __init__(self, file: CheckedFile):
        self.file = file

    def root(self) -> nir.NIRGraph:
        """Read the graph of the file.

        Raises:
            NIRFileError: there is none, or it is broken.
        """
        members = self.file.members(self.file.file, "the file")
        if "node" not in members:
            raise NIRFileError(f"{self.file.path} is not a NIR graph: it has no group 'node'; export it again")
        graph = self.node(members["node"], "", 0)
        if not isinstance(graph, nir.NIRGraph):
            raise self.file.error("the file", f"holds a single {type(graph).__name__} node, no graph; export a graph")
        return graph

    def node(self, group: Member, name: str, depth: int) -> nir.NIRNode:
        """Read a node. ``name`` is its flat name, empty for the graph of the file; ``depth`` counts nested graphs.

        Raises:
            NIRFileError: the node is broken, of an unknown type, or lacks a field.
        """
        where = f"node '{name}'" if name else "the graph"
        if not isinstance(group, h5py.Group):
            raise self.file.error(where, "is an array; a group with a 'type' is needed")
        members = self.file.members(group, where)
        if "type" not in members:
            raise self.file.error(where, "has no 'type'; export it again (NIR names hold no slashes)")
        kind = self.file.text(members.pop("type"), f"{where}: type")
        if kind not in NODE_TYPES:
            raise self.file.error(
                where,
                f"is unknown: nir {version('nir')} has no node type '{shown(kind)}', only {', '.join(NODE_TYPES)}",
            )
        metadata = self.metadata(members.pop("metadata", None), where)
        if NODE_TYPES[kind] is nir.NIRGraph:
            return self.graph(members, metadata, name, where, depth)
        known = {
            field.name: field.default is MISSING for field in fields(NODE_TYPES[kind]) if field.name not in DERIVED
        }
        if kind in SHAPES:
            known = {"shape": kind == "Input"}
        if kind == "Flatten":
            known["input_type"] = False
        if "v_threshold" in known:
            known["v_reset"] = False
        self.check_fields(members, {key: known[key] and key not in MAY_BE_MISSING for key in known}, kind, where)
        values: dict[str, Any] = {key: self.value(key, member, where) for key, member in members.items()}
        if NODE_TYPES[kind] in PARAMETERS:
            values = self.spread(values, where)
        return self.build(kind, values, metadata, where)

    def check_fields(self, members: Mapping[str, Member], known: Mapping[str, bool], kind: str, where: str) -> None:
        """Check the fields of a node. ``known`` has all fields of its type, and whether they are required.

        Raises:
            NIRFileError: a required field is missing, or a field is unknown.
        """
        for key, needed in known.items():
            if needed and key not in members:
                raise self.file.error(where, f"({kind}) has no '{key}'; export it again with it")
        for key in members:
            if key not in known:
                raise self.file.error(
                    where, f"({kind}) has '{shown(key)}', which nir {version('nir')} does not know there; remove it"
                )

    def value(self, key: str, member: Member, where: str) -> NDArray | str:
        """Read a parameter: a finite array of any shape, or a text.

        Raises:
            NIRFileError: it is something else.
        """
        own = f"{where}: {key}"
        if key in TEXTS and self.file.is_text(member):
            return self.file.text(member, own)
        array = self.file.numbers(member, own)
        self.check_finite(array, own)
        return array

    def check_finite(self, array: NDArray, where: str) -> None:
        """Check that an array of any shape has no NaN and no infinity.

        Raises:
            NIRFileError: it has one.
        """
        if found := not_finite(array):
            raise self.file.error(where, f"is {found}; it must be finite")

    def spread(self, values: dict[str, Any], where: str) -> dict[str, Any]:
        """Bring the parameters of neurons to one shape, which NIR's classes need. A single value is repeated.

        Raises:
            NIRFileError: shapes differ, or the arrays take too much memory.
        """
        shape = max((np.shape(value) for value in values.values()), key=lambda shape: (np.prod(shape), len(shape)))
        for key, value in values.items():
            if np.shape(value) == shape:
                continue
            if np.size(value) != 1:
                raise self.file.error(where, f"{key} has shape {np.shape(value)}, but other parameters {shape}")
            self.file.take(int(np.prod(shape)) * value.itemsize, f"{where}: {key}")
            values[key] = np.full(shape, value)
        return values

    def build(self, kind: str, values: dict[str, Any], metadata: dict[str, Any], where: str) -> nir.NIRNode:
        """Build a node from its values.

        The input shape of Conv and Flatten nodes is set after construction. From it, NIR's classes would compute other
        shapes, and fail on broken values, such as a stride of 0, without naming the node.

        Raises:
            NIRFileError: NIR's class refuses the values.
        """
        later: dict[str, Any] = {}
        if kind in SHAPES:
            values = {SHAPES[kind]: {SHAPES[kind].removesuffix("_type"): values.get("shape")}}
        elif kind == "Flatten":
            later = {"input_type": {"input": values.get("input_type")}}
            values["input_type"] = {"input": None}
        elif "input_shape" in {field.name for field in fields(NODE_TYPES[kind])}:
            later = {"input_shape": values.get("input_shape")}
            values["input_shape"] = None
        has = {field.name for field in fields(NODE_TYPES[kind])}
        later |= {key: values.pop(key) for key in LATER_FIELDS if key in values and key not in has}
        if "v_reset" in has and "v_reset" not in values:  # nir 1.0.6 has no default for it, later ones have this.
            values["v_reset"] = np.zeros_like(values["v_threshold"])
        if "metadata" in has:
            values["metadata"] = metadata
        else:
            later["metadata"] = metadata
        try:
            node = NODE_TYPES[kind](**values)
        except Exception as error:  # AssertionError, IndexError, ..., as it happens.
            raise self.file.error(where, f"is not a valid {kind} ({reason(error)}); export it again") from error
        for key, value in later.items():
            setattr(node, key, value)
        return node

    def metadata(self, group: Member | None, where: str, depth: int = 0) -> dict[str, Any]:
        """Read metadata: numbers, texts, arrays of both, and groups of them.

        Raises:
            NIRFileError: it is broken, nested too deep or too large, or its dt is not a time step.
        """
        if group is None:
            return {}
        own = f"{where}: metadata"
        if not isinstance(group, h5py.Group):
            raise self.file.error(own, "is an array; a group is needed")
        if depth > MAX_DEPTH:
            raise self.file.error(own, f"is nested more than {MAX_DEPTH} deep")
        out: dict[str, Any] = {}
        for key, member in self.file.members(group, own).items():
            place = f"{own} '{shown(key)}'"
            if isinstance(member, h5py.Group):
                out[key] = self.metadata(member, place, depth + 1)
            elif not self.file.is_text(member):
                out[key] = self.file.numbers(member, place)
            elif member.shape == ():
                out[key] = self.file.text(member, place)
            else:
                texts: list[NDArray] = []
                for block in self.file.texts(member, place):
                    self.file.take(sum(len(text) for text in block.flat), place)
                    texts.append(block)
                out[key] = np.concatenate(texts) if texts else np.zeros(member.shape, object)
        if not depth and "dt" in out:
            self.check_time_step(out["dt"], f"{own} 'dt'")
        return out

    def check_time_step(self, value: Any, where: str) -> None:
        """Check that a time step is a positive, finite number.

        Raises:
            NIRFileError: it is not.
        """
        if np.size(value) != 1 or np.asarray(value).dtype.kind not in "fiu":
            raise self.file.error(where, "is not a number; it must be the time step in seconds")
        if not 0 < float(np.reshape(value, ())) < float("inf"):
            raise self.file.error(where, f"is {value}; it must be the time step in seconds, positive and finite")

    def graph(
        self, members: dict[str, Member], metadata: dict[str, Any], name: str, where: str, depth: int
    ) -> nir.NIRGraph:
        """Read a graph from its members. Type and metadata have been read before.

        Raises:
            NIRFileError: it lacks nodes or edges, they are broken, or graphs are nested too deep.
        """
        if depth > MAX_DEPTH:
            raise self.file.error(where, f"is nested more than {MAX_DEPTH} graphs deep; flatten it")
        self.check_fields(members, {"nodes": True, "edges": True}, "NIRGraph", where)
        if not isinstance(members["nodes"], h5py.Group):
            raise self.file.error(f"{where}: nodes", "is an array; a group is needed")
        prefix = f"{name}." if name else ""
        nodes = {
            key: self.node(member, f"{prefix}{shown(key)}", depth + 1)
            for key, member in self.file.members(members["nodes"], f"{where}: nodes").items()
        }
        edges = self.edges(members["edges"], nodes, where)
        try:
            return graph_of(nodes, edges, metadata)
        except Exception as error:
            raise self.file.error(where, f"is not a graph ({reason(error)}); export it again") from error

    def edges(self, dataset: Member, nodes: Mapping[str, nir.NIRNode], where: str) -> list[tuple[str, str]]:
        """Read edges, as pairs of names; ``graph.node`` names a node of a nested graph.

        One unknown name is allowed: :func:`neuromorphic.graph.nested.misnamed` can mend one.

        Raises:
            NIRFileError: it is not a list of pairs, an edge is listed twice, or two names are unknown.
        """
        own = f"{where}: edges"
        if isinstance(dataset, h5py.Dataset) and dataset.shape == (0,):  # An empty list, of no type.
            return []
        if not isinstance(dataset, h5py.Dataset) or len(dataset.shape or ()) != 2 or dataset.shape[1] != 2:
            raise self.file.error(own, "is not a list of pairs; export it again")
        edges: dict[tuple[str, str], None] = {}
        names = {name: name for name in known_names(nodes)}
        strange = 0
        for block in self.file.texts(dataset, own):
            for pair in block.tolist():
                for end in pair:
                    if end in names:
                        continue
                    names[end], strange = end, strange + 1
                    if strange > 1:
                        raise self.file.error(
                            where,
                            f"has an edge to or from '{shown(end)}', which it does not have; its nodes are "
                            f"{', '.join(shown(key) for key in list(nodes)[:8])}{', ...' if len(nodes) > 8 else ''}",
                        )
                edge = (names[pair[0]], names[pair[1]])
                if edge in edges:
                    raise self.file.error(
                        where, f"has the edge from '{shown(edge[0])}' to '{shown(edge[1])}' twice; remove one"
                    )
                edges[edge] = None
        return list(edges)


def known_names(nodes: Mapping[str, nir.NIRNode]) -> Iterator[str]:
    """Names of nodes, and of those in nested graphs as ``graph.node``."""
    for name, node in nodes.items():
        yield name
        if isinstance(node, nir.NIRGraph):
            yield from (f"{name}.{inner}" for inner in known_names(node.nodes))
