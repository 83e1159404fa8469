"""Programs as folders: the parent process writes them, the child that runs Lava reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from neuromorphic.compiler.network import Levels, Network, Population, Projection
from neuromorphic.compiler.operators import FixedKron, Kron, Repeated
from neuromorphic.compiler.quantize import FixedNetwork, FixedPopulation, FixedProjection
from neuromorphic.compiler.schedule import Schedule

CLASSES: dict[str, Any] = {
    c.__name__: c for c in (Network, Population, Projection, Levels, Kron, Repeated, Schedule)
} | {c.__name__: c for c in (FixedNetwork, FixedPopulation, FixedProjection, FixedKron)}


def save(folder: Path, value: Any, name: str = "program") -> None:
    """Write a value as ``name.json``, and each array in it as a ``.npy`` beside it.

    Raises:
        TypeError: it contains an object of an unknown class.
    """
    arrays: list[np.ndarray] = []

    def pack(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            arrays.append(x)
            return {"array": len(arrays) - 1}
        if isinstance(x, np.generic):
            return x.item()
        if sparse.issparse(x):
            return {"csr": [pack(getattr(x, part)) for part in ("data", "indices", "indptr")], "shape": list(x.shape)}
        if is_dataclass(x) and type(x).__name__ in CLASSES:
            return {"class": type(x).__name__, "fields": {f.name: pack(getattr(x, f.name)) for f in fields(x)}}
        if isinstance(x, Mapping):
            return {"items": [[pack(k), pack(v)] for k, v in x.items()]}
        if isinstance(x, frozenset):
            return {"set": [pack(item) for item in x]}
        if isinstance(x, tuple | list):
            return [pack(item) for item in x]
        if x is None or isinstance(x, str | int | float | bool):
            return x
        raise TypeError(f"{type(x).__name__} has no place in a program")

    tree = pack(value)
    for number, array in enumerate(arrays):
        np.save(folder / f"{name}.{number}.npy", array)
    (folder / f"{name}.json").write_text(json.dumps(tree))


def load(folder: Path, name: str = "program") -> Any:
    """Read what :func:`save` wrote; sequences come back as tuples, arrays stay on disk until they are used."""

    def unpack(x: Any) -> Any:
        if isinstance(x, list):
            return tuple(unpack(item) for item in x)
        if not isinstance(x, dict):
            return x
        if "array" in x:
            # As a plain array: np.memmap makes every operation slower.
            return np.asarray(np.load(folder / f"{name}.{x['array']}.npy", mmap_mode="r"))
        if "csr" in x:
            return sparse.csr_matrix(tuple(unpack(part) for part in x["csr"]), shape=x["shape"], copy=False)
        if "class" in x:
            return CLASSES[x["class"]](**{key: unpack(field) for key, field in x["fields"].items()})
        if "set" in x:
            return frozenset(unpack(item) for item in x["set"])
        return {unpack(k): unpack(v) for k, v in x["items"]}

    return unpack(json.loads((folder / f"{name}.json").read_text()))
