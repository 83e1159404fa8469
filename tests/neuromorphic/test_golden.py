"""Files that nir 1.0.4, 1.0.5, 1.0.6 and 1.0.8 wrote are read by whichever nir is installed, and run.

``make test-peers`` runs this with each nir from 1.0.4 to 1.0.8; it needs neither PyTorch nor Lava. nir 1.0.7 writes
what 1.0.6 writes.
"""

from __future__ import annotations

import gzip
import inspect
import json
from pathlib import Path

import nir
import numpy as np
import pytest

from neuromorphic.errors import NIRFileError
from neuromorphic.execution.reference import simulate
from neuromorphic.graph import flatten
from neuromorphic.graph.nested import walk
from neuromorphic.nir_file import read_nir

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*/*.nir.gz"))
DT = 1e-3
# The installed nir has no class for it.
UNKNOWN = ["cuba_li"] if not hasattr(nir, "CubaLI") else []


def name_of(path: Path) -> str:
    return path.name.removesuffix(".nir.gz")


def read(path: Path, folder: Path) -> nir.NIRGraph:
    file = folder / path.stem
    file.write_bytes(gzip.decompress(path.read_bytes()))
    return read_nir(file)


@pytest.fixture(
    params=[path for path in FILES if name_of(path) not in UNKNOWN], ids=lambda p: f"{p.parent.name}/{name_of(p)}"
)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_primitive_is_in_the_files_of_its_version() -> None:
    primitives = {"Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Delay"}
    primitives |= {"Threshold", "I", "LI", "IF", "LIF", "CubaLIF", "Input", "Output"}
    later = primitives | {"CubaLI"}
    for version, own in {"1.0.4": primitives, "1.0.5": later, "1.0.6": later, "1.0.8": later}.items():
        networks = json.loads((GOLDEN / version / "parameters.json").read_text())
        assert {node["type"] for nodes in networks.values() for node in nodes.values()} == own
        assert sorted(networks) == sorted(name_of(path) for path in FILES if path.parent.name == version)


def test_parameters_are_those_that_were_written(path: Path, tmp_path: Path) -> None:
    written = json.loads((path.parent / "parameters.json").read_text())[name_of(path)]
    nodes = {name: node for name, node in walk(read(path, tmp_path)) if not isinstance(node, nir.NIRGraph)}
    assert set(nodes) == set(written)
    compared = 0
    for name, fields in written.items():
        node = nodes[name]
        assert type(node).__name__ == fields.pop("type")
        for key, value in fields.items():
            read_back = getattr(node, key)
            if key in ("input_type", "output_type"):
                (read_back,), (value,) = read_back.values(), value.values()
            if read_back is None:
                assert path.parent.name != "1.0.4" and name in ("conv_2", "flatten")  # removed from the file
            elif isinstance(value, str):
                assert read_back == value
            else:
                # nir makes a pair of a number.
                np.testing.assert_array_equal(*np.broadcast_arrays(read_back, value))
                compared += 1
    assert compared >= 4


def test_spikes_are_the_same_from_every_version(path: Path, tmp_path: Path) -> None:
    name = name_of(path)
    with np.load(GOLDEN / "expected.npz") as file:
        expected = {key.removeprefix(f"{name}/"): array for key, array in file.items() if key.startswith(f"{name}/")}
    graph = flatten(read(path, tmp_path))
    assert graph.dt == DT
    record = simulate(graph, {"input": expected.pop("input")})
    np.testing.assert_allclose(record.outputs["output"], expected.pop("output"), rtol=1e-12, atol=1e-12)
    assert set(record.spikes) == set(expected)
    for neurons, spikes in expected.items():
        assert 0.02 < spikes.mean() < 0.98, "the golden input brings out nothing"
        np.testing.assert_array_equal(record.spikes[neurons], spikes)


def test_metadata_are_read_from_graphs_and_nodes(tmp_path: Path) -> None:
    for version in ("1.0.4", "1.0.5", "1.0.6", "1.0.8"):
        graph = read(GOLDEN / version / "feed_forward.nir.gz", tmp_path)
        assert graph.metadata["dt"] == DT and graph.metadata["reset"] == "zero"
        assert graph.nodes["affine"].metadata == {}
        graph = read(GOLDEN / version / "nested.nir.gz", tmp_path)
        assert graph.metadata == {} and graph.nodes["layer"].metadata == {}
        assert graph.nodes["layer"].nodes["lif"].metadata["dt"] == DT
    assert read(GOLDEN / "1.0.8" / "reset.nir.gz", tmp_path).nodes["linear"].metadata["comment"] == "text"


def test_a_reset_potential_is_not_lost_on_the_way(tmp_path: Path) -> None:
    """nir 1.0.4 and 1.0.5 have no field for it."""
    for version in ("1.0.6", "1.0.8"):
        graph = flatten(read(GOLDEN / version / "reset.nir.gz", tmp_path))
        for neurons in graph.neurons:
            assert (graph.nodes[neurons].parameters["v_reset"] != 0).any()


def test_a_missing_reset_potential_is_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nir 1.0.6 has a field for it and no default: the class is given zeros."""
    if "v_reset" in inspect.signature(nir.LIF).parameters:
        from neuromorphic import nir_file

        class LIF(nir.LIF):
            def __init__(self, *, v_reset: np.ndarray, **own: object) -> None:
                super().__init__(v_reset=v_reset, **own)

        monkeypatch.setattr(nir_file, "NODE_TYPES", {**nir_file.NODE_TYPES, "LIF": LIF})
    nodes = read(GOLDEN / "1.0.4" / "feed_forward.nir.gz", tmp_path).nodes
    assert not np.any(getattr(nodes["lif"], "v_reset", 0)) and not np.any(getattr(nodes["cuba"], "v_reset", 0))


def test_a_node_that_the_installed_nir_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not UNKNOWN:
        from neuromorphic import nir_file

        monkeypatch.setattr(nir_file, "NODE_TYPES", {k: v for k, v in nir_file.NODE_TYPES.items() if k != "CubaLI"})
    with pytest.raises(NIRFileError, match=r"nir .* has no node type 'CubaLI'"):
        read(GOLDEN / "1.0.8" / "cuba_li.nir.gz", tmp_path)
