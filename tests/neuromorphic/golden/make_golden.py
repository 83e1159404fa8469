"""Writes the golden files with the nir that is installed; run once in an environment of each version:

    python make_golden.py

``VERSION/NAME.nir.gz`` are small graphs that between them hold every primitive of that version, each built as its users
build it: scalars and arrays, missing v_reset (nir 1.0.4 has none), shapes given and left out, metadata and none.
They are compressed because HDF5 spends 2 KB on every array. ``parameters.json`` holds the parameters as they stand
here, not as nir reads them back.

What a version does not have is left out there: CubaLI and metadata of some nodes in nir 1.0.4, v_reset in 1.0.4 and
1.0.5, scalars in 1.0.8, which cannot write them; 1.0.6 wants v_reset and gets zeros. None can write a missing shape,
which all can read: it is removed from the file afterwards. nir 1.0.7 writes what 1.0.6 writes.

    python make_golden.py expected

then writes ``expected.npz`` with our reference simulator: a random input of every graph, and what comes of it.
"""

from __future__ import annotations

import gzip
import inspect
import json
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

NEW = hasattr(nir, "CubaLI")
"""Since nir 1.0.5."""
V_RESET = "v_reset" in inspect.signature(nir.LIF).parameters
"""Since nir 1.0.6."""
NEEDS_V_RESET = V_RESET and inspect.signature(nir.LIF).parameters["v_reset"].default is inspect.Parameter.empty
"""In nir 1.0.6."""
SCALARS = "compression" not in inspect.signature(nir.write).parameters
"""Until nir 1.0.7."""
DT = 1e-3
METADATA = {"dt": DT, "reset": "zero"}
RANDOM = np.random.default_rng(0)


def values(low: float, high: float, *shape: int) -> np.ndarray:
    """Numbers with few digits: the same in every version, and short in the JSON file."""
    return np.round(RANDOM.uniform(low, high, shape), 3)


def node(kind: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    return kind, fields


def drawn_lif(n: int) -> tuple[str, dict[str, Any]]:
    """Every neuron another."""
    return node(
        "LIF",
        tau=values(0.002, 0.01, n),
        r=values(1, 3, n),
        v_leak=values(-0.2, 0.2, n),
        v_threshold=values(0.3, 0.6, n),
    )


def feed_forward() -> dict[str, tuple[str, dict[str, Any]]]:
    """All that has one axis, one after the other."""
    n = 6
    return {
        "input": node("Input", input_type={"input": np.array([4])}),
        "affine": node("Affine", weight=values(-0.5, 1, n, 4), bias=values(0, 0.3, n)),
        "lif": drawn_lif(n),
        "linear": node("Linear", weight=values(-0.3, 1, n, n)),
        "if": node("IF", r=values(0.3, 0.8, n), v_threshold=values(0.8, 1.2, n)),
        "delay": node("Delay", delay=DT * np.array([0.0, 1, 2, 0, 3, 1])),
        "scale": node("Scale", scale=values(0.5, 1.5, n)),
        "cuba": node(
            "CubaLIF",
            tau_syn=values(0.002, 0.004, n),
            tau_mem=values(0.002, 0.008, n),
            r=values(1, 2, n),
            v_leak=values(0, 0.1, n),
            v_threshold=values(0.15, 0.3, n),
            w_in=values(1, 2, n),
        ),
        "li": node("LI", tau=values(0.002, 0.006, n), r=values(1, 2, n), v_leak=values(-0.1, 0.1, n)),
        "threshold": node("Threshold", threshold=values(0.1, 0.4, n)),
        "i": node("I", r=values(0.1, 0.3, n)),
        "output": node("Output", output_type={"output": np.array([n])}),
    }


def images() -> dict[str, tuple[str, dict[str, Any]]]:
    """Convolutions and pooling: kernels that are not square, groups, strides, padding as numbers, pairs and words."""
    scalar = {} if not SCALARS else {"tau": np.float64(0.005), "r": np.float64(2.0), "v_leak": np.float64(0.0)}
    shape = (4, 6, 7)
    lif = scalar or {"tau": np.full(shape, 0.005), "r": np.full(shape, 2.0), "v_leak": np.zeros(shape)}
    threshold = np.float64(0.25) if scalar else np.full(shape, 0.25)
    return {
        "input": node("Input", input_type={"input": np.array([2, 6, 7])}),
        "conv": node(
            "Conv2d",
            input_shape=(6, 7),
            weight=values(-0.3, 0.6, 4, 1, 3, 1),
            stride=1,
            padding=(1, 0),
            dilation=1,
            groups=2,
            bias=values(0, 0.1, 4),
        ),
        "lif": node("LIF", **lif, v_threshold=threshold),
        "avg": node("AvgPool2d", kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0])),
        "conv_2": node(
            "Conv2d",
            input_shape=np.array([3, 3]),
            weight=values(-0.3, 0.9, 3, 4, 2, 2),
            stride=(1, 1),
            padding="same",
            dilation=(1, 1),
            groups=1,
            bias=values(0, 0.1, 3),
        ),
        "if": node("IF", r=np.ones((3, 3, 3)), v_threshold=np.full((3, 3, 3), 6.0)),
        "sum": node("SumPool2d", kernel_size=np.array([2, 3]), stride=np.array([1, 1]), padding=np.array([1, 0])),
        "flatten": node("Flatten", input_type={"input": np.array([3, 4, 1])}, start_dim=0, end_dim=-1),
        "linear": node("Linear", weight=values(-0.2, 0.4, 5, 12)),
        "threshold": node("Threshold", threshold=np.array([0.2, 0.4, 0.6, 0.8, 1.0])),
        "output": node("Output", output_type={"output": np.array([5])}),
    }


def lines() -> dict[str, tuple[str, dict[str, Any]]]:
    """Conv1d, whose sizes are numbers."""
    return {
        "input": node("Input", input_type={"input": np.array([2, 10])}),
        "conv": node(
            "Conv1d",
            input_shape=10,
            weight=values(-0.4, 0.9, 4, 1, 3),
            stride=2,
            padding=1,
            dilation=1,
            groups=2,
            bias=values(0, 0.1, 4),
        ),
        "flatten": node("Flatten", input_type={"input": np.array([4, 5])}, start_dim=0, end_dim=-1),
        "lif": drawn_lif(20),
        "output": node("Output", output_type={"output": np.array([20])}),
    }


def built(nodes: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, nir.NIRNode]:
    def whole(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        missing = NEEDS_V_RESET and kind in ("IF", "LIF", "CubaLIF") and "v_reset" not in fields
        return fields | ({"v_reset": np.zeros_like(fields["v_threshold"])} if missing else {})

    return {name: getattr(nir, kind)(**whole(kind, fields)) for name, (kind, fields) in nodes.items()}


def graph(nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]], **options: Any) -> nir.NIRGraph:
    return nir.NIRGraph(nodes, edges, **({"type_check": False} if NEW else {}), **options)


def main() -> None:
    folder = Path(__file__).parent / nir.version
    folder.mkdir(exist_ok=True)
    networks: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
        "feed_forward": feed_forward(),
        "images": images(),
        "lines": lines(),
    }
    graphs = {
        name: graph(built(nodes), list(pairwise(nodes)), metadata=dict(METADATA)) for name, nodes in networks.items()
    }

    # A loop inside a nested graph, as snnTorch's recurrent layers; dt and reset stand at a neuron, not at the graph.
    inner = {
        "input": node("Input", input_type={"input": np.array([5])}),
        "lif": drawn_lif(5),
        "w_rec": node("Affine", weight=values(-0.5, 0.5, 5, 5), bias=values(-0.1, 0.1, 5)),
        "output": node("Output", output_type={"output": np.array([5])}),
    }
    outer = {
        "input": node("Input", input_type={"input": np.array([3])}),
        "affine": node("Affine", weight=values(0, 1, 5, 3), bias=values(0, 0.2, 5)),
        "layer": ("NIRGraph", {}),
        "output": node("Output", output_type={"output": np.array([5])}),
    }
    nested = built(inner)
    nested["lif"].metadata.update(METADATA)
    loop = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    nodes = built({name: own for name, own in outer.items() if name != "layer"}) | {"layer": graph(nested, loop)}
    graphs["nested"] = graph(nodes, list(pairwise(outer)))
    networks["nested"] = outer | {f"layer.{name}": own for name, own in inner.items()}
    del networks["nested"]["layer"]

    # Drawn in every version, so that those that have both draw the same numbers.
    if NEW:
        reset = {
            "input": node("Input", input_type={"input": np.array([4])}),
            "linear": node("Linear", weight=values(-0.2, 1, 4, 4)),
            "lif": ("LIF", drawn_lif(4)[1] | {"v_reset": values(-0.3, 0.1, 4)}),
            "if": node("IF", r=values(0.5, 1, 4), v_threshold=values(0.8, 1.2, 4), v_reset=values(-0.3, 0.1, 4)),
            "output": node("Output", output_type={"output": np.array([4])}),
        }
        cuba_li = {
            "input": node("Input", input_type={"input": np.array([4])}),
            "cuba_li": node(
                "CubaLI",
                tau_syn=values(0.002, 0.004, 4),
                tau_mem=values(0.002, 0.008, 4),
                r=values(1, 2, 4),
                v_leak=values(0, 0.1, 4),
                w_in=values(1, 2, 4),
            ),
            "threshold": node("Threshold", threshold=values(1.0, 3.0, 4)),
            "output": node("Output", output_type={"output": np.array([4])}),
        }
        for name, own in {"reset": reset, "cuba_li": cuba_li}.items():
            if name == "reset" and not V_RESET:
                continue
            graphs[name] = graph(built(own), list(pairwise(own)), metadata=dict(METADATA))
            networks[name] = own
        if V_RESET:
            graphs["reset"].nodes["linear"].metadata["comment"] = "text"

    for name, own in graphs.items():
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / f"{name}.nir"
            nir.write(str(path), own)
            if NEW and name == "images":
                with h5py.File(path, "r+") as file:
                    del file["node/nodes/conv_2/input_shape"], file["node/nodes/flatten/input_type"]
            (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        return np.asarray(value).tolist() if isinstance(value, np.ndarray | np.generic | tuple) else value

    typed = {name: {k: {"type": t, **f} for k, (t, f) in nodes.items()} for name, nodes in networks.items()}
    text = json.dumps(plain(typed))
    (folder / "parameters.json").write_text(text.replace('"type"', '\n"type"') + "\n")


def expect() -> None:
    """Inputs are whole sixteenths, and the same for every version's files."""
    from neuromorphic.execution.reference import simulate
    from neuromorphic.graph import flatten
    from neuromorphic.nir_file import read_nir

    random = np.random.default_rng(1)
    arrays: dict[str, np.ndarray] = {}
    for path in sorted(Path(__file__).parent.glob("*/*.nir.gz"), reverse=True):
        name = path.name.removesuffix(".nir.gz")
        if f"{name}/input" in arrays:
            continue
        with tempfile.NamedTemporaryFile(suffix=".nir") as file:
            file.write(gzip.decompress(path.read_bytes()))
            file.flush()
            flat = flatten(read_nir(Path(file.name)), None if name != "nested" else DT)
        x = random.integers(-8, 32, (2, 40, *flat.nodes["input"].shape)) / 16
        record = simulate(flat, {"input": x})
        arrays |= {f"{name}/input": x.astype(np.float32), f"{name}/output": record.outputs["output"]}
        arrays |= {f"{name}/{neurons}": spikes for neurons, spikes in record.spikes.items()}
    np.savez_compressed(Path(__file__).parent / "expected.npz", **arrays)


if __name__ == "__main__":
    expect() if sys.argv[1:] == ["expected"] else main()
