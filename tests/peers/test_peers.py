"""Graphs that other frameworks export run here with their spikes, and they read ours; see cases.py for the exceptions.

Every framework runs in its own environment, ``.venv-peers/NAME``, which ``make test-peers`` sets up: they want versions
of nir that exclude each other. What is measured is left in ``.venv-peers/agreement.json``, from which table.py prints
docs/peers.md's tables.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from cases import CASES, EVERY_NIR, GOLDEN_FILES, PEERS, READERS, Case, Reader, Setting
from numpy.typing import NDArray

from neuromorphic.backends import simulate as run_backend
from neuromorphic.errors import UserError
from neuromorphic.execution.reference import simulate
from neuromorphic.graph import flatten
from neuromorphic.nir_file import read_nir, write_nir
from neuromorphic.spiking_network import load

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENTS = ROOT / ".venv-peers"
TRAINED = ROOT / "runs" / "default"
pytestmark = pytest.mark.peers


def environment(peer: str) -> Path:
    """The Python of a peer's environment."""
    python = ENVIRONMENTS / peer / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not there: make test-peers")
    return python


def run(peer: str, *arguments: object) -> None:
    """Run a command of a peer's script in its environment."""
    # Some exporters give edges in the order of a set.
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    command = [str(environment(peer)), str(Path(__file__).parent / f"in_{peer}.py"), *map(str, arguments)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the networks of every peer."""
    folders = {peer: tmp_path_factory.mktemp(peer) for peer in PEERS}
    for peer, folder in folders.items():
        run(peer, "make", folder)
    return folders


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[str, Any]]:
    """What the tests of this module measured."""
    rows: dict[str, Any] = {"made": {}, "read": {}}
    yield rows
    (ENVIRONMENTS / "agreement.json").write_text(json.dumps(rows, indent=1) + "\n")


def differing(
    case: Case, setting: Setting, folder: Path, lava: bool = False, samples: int | None = None
) -> tuple[int, int]:
    """Cells (sample, step, output neuron) in which our spikes differ from the peer's, and all."""
    path = folder / f"{case.network}.nir"
    # What we refuse to read has to be mended in what NIR reads.
    graph = nir.read(str(path), type_check=False) if case.refused and setting.mend else read_nir(path)
    if setting.mend is not None:
        setting.mend(graph, setting.dt)
    flat = load(graph, setting.dt, setting.reset, setting.framework).graph
    with np.load(folder / f"{case.network}.npz") as file:
        x, spikes = file["input"][:samples], file["spikes"][:samples]
    assert 0.02 < spikes.mean() < 0.9, "the network does next to nothing"
    inputs = {flat.inputs[0]: x}
    record = run_backend(flat, inputs, "lava").record if lava else simulate(flat, inputs)
    (output,) = record.outputs.values()
    return int((output.reshape(spikes.shape) != spikes).sum()), spikes.size


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.peer}-{case.network}")
def test_spikes_of_a_graph_that_a_peer_exported(case: Case, made: dict[str, Path], measured: dict[str, Any]) -> None:
    folder = made[case.peer]
    row = measured["made"].setdefault(f"{case.peer}/{case.network}", {})
    if case.error:
        row["error"] = (folder / f"{case.network}.error").read_text()
        assert row["error"].startswith(case.error)
        return
    if case.refused:
        with pytest.raises(UserError, match=case.refused) as refusal:
            differing(case, case.plain, folder)
        row["refused"] = str(refusal.value)
    else:
        wrong, row["cells"] = differing(case, case.plain, folder)
        row["plain"] = wrong
        # A difference that is gone is as much worth knowing as a new one.
        assert (wrong > 0) == bool(case.why)
    if case.best is not None:
        row["best"], row["cells"] = differing(case, case.best, folder)
        assert (row["best"] > 0) == case.inexact


@pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed: doctor --install lava")
@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.error], ids=lambda case: f"{case.peer}-{case.network}"
)
def test_spikes_of_a_graph_that_a_peer_exported_on_lava(
    case: Case, made: dict[str, Path], measured: dict[str, Any]
) -> None:
    """One sample; what is exact in our reference simulator is exact on Lava."""
    row = measured["made"].setdefault(f"{case.peer}/{case.network}", {})
    row["lava"], row["lava_cells"] = differing(case, case.best or case.plain, made[case.peer], lava=True, samples=1)
    assert (row["lava"] > 0) == (case.inexact or (bool(case.why) and case.best is None))


def test_all_networks_of_the_peers_are_compared(made: dict[str, Path]) -> None:
    for peer, folder in made.items():
        compared = {case.network for case in CASES if case.peer == peer}
        assert compared == {path.stem for path in folder.iterdir()}


def test_the_order_of_edges_is_nothing(made: dict[str, Path]) -> None:
    """snnTorch and Norse write edges in the order of a set, which differs from run to run."""
    graph = read_nir(made["snntorch"] / "recurrent.nir")
    with np.load(made["snntorch"] / "recurrent.npz") as file:
        x = file["input"]
    outputs = []
    for reverse in (False, True):
        graph.edges = sorted(graph.edges, reverse=reverse)
        outputs.append(simulate(flatten(graph, 1e-4), {"input": x}).outputs["output"])
    np.testing.assert_array_equal(*outputs)


@pytest.fixture(scope="module", params=["random", "trained"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a spiking graph encoder that we export, with its input: a small random one, or the trained one."""
    folder = tmp_path_factory.mktemp("encoder") / request.param
    if request.param == "trained":
        if not (TRAINED / "model.safetensors").exists():
            pytest.skip("runs/default is not there: make train")
        command = [sys.executable, "-m", "neuromorphic.export", "--to", "nir", "--checkpoint", str(TRAINED)]
        subprocess.run([*command, "--out", str(folder)], cwd=ROOT, check=True)
        return folder

    import torch

    from gshn.encoders.aggregation import degree_normalized
    from gshn.encoders.spiking import SpikingGraphEncoder
    from gshn.export.side_by_side import export_nir
    from gshn.inference import SpikingInput
    from gshn.neurons.kinds.lif import LIF
    from gshn.neurons.lif import LIFParameters, spike_function

    torch.manual_seed(1)
    spiking = SpikingGraphEncoder(8, 12, 3, 32, LIF(LIFParameters(), spike_function("atan", 2.0))).eval()
    for linear in spiking.linears:
        torch.nn.init.normal_(linear.bias, 0.7, 0.5)
    edges = torch.tensor([[0, 1, 1, 2, 3], [1, 2, 3, 4, 4]])
    export_nir(spiking, SpikingInput(2 * torch.randn(5, 8), degree_normalized(edges, 5, 0.3)), folder)
    return folder


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.peer)
def test_spikes_of_our_encoder_in_a_peer(
    reader: Reader, encoder: Path, tmp_path: Path, measured: dict[str, Any]
) -> None:
    graph = read_nir(encoder / "encoder.nir")
    flat = flatten(graph)
    with np.load(encoder / "input.npz") as arrays:
        x = arrays["input"][None]
    np.savez(tmp_path / "batch.npz", input=x)
    (ours,) = simulate(flat, {flat.inputs[0]: x}).outputs.values()
    assert 0.001 < ours.mean() < 0.5
    row = measured["read"].setdefault(f"{reader.peer}/{encoder.name}", {"cells": ours.size})

    def theirs(file: Path, *options: str) -> NDArray:
        run(reader.peer, "read", file, tmp_path / "batch.npz", tmp_path / "spikes.npz", "--dt", flat.dt, *options)
        with np.load(tmp_path / "spikes.npz") as spikes:
            return spikes["spikes"]

    if reader.error:
        with pytest.raises(AssertionError, match=reader.error):
            theirs(encoder / "encoder.nir")
        row["error"] = reader.error
    else:
        row["plain"] = int((theirs(encoder / "encoder.nir") != ours).sum())
        assert row["plain"] == 0
    if reader.mend is not None:
        reader.mend(graph, flat.dt)
        write_nir(tmp_path / "mended.nir", graph)
        with h5py.File(tmp_path / "mended.nir", "r+") as file:
            for node in file["node/nodes"].values():
                node.pop("v_reset", None)
        row["best"] = int((theirs(tmp_path / "mended.nir", "--mended") != ours).sum())
        assert row["best"] == 0


@pytest.mark.parametrize(("peer", "version"), [("sinabs", "1.0.4"), ("spikingjelly", "1.0.8")])
def test_golden_files_with_the_oldest_and_newest_nir(peer: str, version: str) -> None:
    """In environments that have little else."""
    pytest_with(environment(peer), version, GOLDEN_FILES)


@pytest.mark.parametrize("version", ["1.0.4", "1.0.5", "1.0.6", "1.0.7", "1.0.8"])
def test_reading_writing_and_exporting_with_every_nir(version: str) -> None:
    folder = ENVIRONMENTS / f"nir-{version}"
    if not folder.exists():
        pytest.skip(f"{folder} is not there: make test-peers")
    pytest_with(Path(sys.executable), version, *EVERY_NIR, path=folder)


def pytest_with(python: Path, version: str, *tests: str, path: Path | None = None) -> None:
    """Run tests of ours with a Python that has this version of nir."""
    code = (
        f"import nir, pytest, sys; assert nir.version == {version!r}; sys.exit(pytest.main(['-q', *{list(tests)!r}]))"
    )
    variables = {**os.environ, "OMP_NUM_THREADS": "1"} | ({} if path is None else {"PYTHONPATH": str(path)})
    done = subprocess.run([str(python), "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
