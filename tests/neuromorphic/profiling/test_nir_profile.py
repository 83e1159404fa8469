"""Profiles of NIR files: by layer, under NeuroBench's names, side by side; in Python and by the command."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from random_graphs import loop_graph, random_graph

import neuromorphic as nm
from neuromorphic import export, profile
from neuromorphic.errors import ArgumentError
from neuromorphic.graph import flatten
from neuromorphic.nir_file import graph_of, write_nir
from neuromorphic.profiling.neurobench import neurobench
from neuromorphic.results.profile import path_ends

RANDOM = np.random.default_rng(2)


def convolutional(pruned: float) -> nir.NIRGraph:
    """Conv2d, LIF, SumPool2d, Flatten, Affine, LIF, Linear back to it; a share of the weights is 0."""

    def weights(*shape: int) -> np.ndarray:
        random = np.random.default_rng(5)
        return random.normal(0.3, 1, shape) * (random.random(shape) >= pruned)

    lif = [nir.LIF(3e-3 * np.ones(s), np.ones(s), np.zeros(s), 0.4 * np.ones(s)) for s in ((3, 5, 4), (4,))]
    nodes = {
        "input": nir.Input({"input": np.array([2, 5, 4])}),
        "conv": nir.Conv2d((5, 4), weights(3, 2, 3, 3), 1, 1, 1, 1, np.full(3, 0.1)),
        "first": lif[0],
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flatten": nir.Flatten({"input": np.array([3, 2, 2])}, 0, -1),
        "fc": nir.Affine(weights(4, 12), np.full(4, 0.1)),
        "last": lif[1],
        "output": nir.Output({"output": np.array([4])}),
    }
    edges = [*pairwise(nodes), ("last", "back"), ("back", "last")]
    return graph_of(nodes | {"back": nir.Linear(weights(4, 4))}, edges, {"dt": 1e-3})


def by_hand(graph: nir.NIRGraph, x: np.ndarray, spikes: dict[str, np.ndarray]) -> dict[str, float]:
    """Every product of a weight and an input, one by one, of the first sample."""
    conv, fc, back = (graph.nodes[name].weight for name in ("conv", "fc", "back"))
    counts = {"Effective_MACs": 0, "Effective_ACs": 0, "Dense": 0}

    def add(step: np.ndarray, pairs: list[tuple[float, float]]) -> None:
        kind = "Effective_ACs" if set(np.unique(step)) <= {-1, 0, 1} else "Effective_MACs"
        counts["Dense"] += len(pairs)
        counts[kind] += sum(w != 0 and value != 0 for w, value in pairs)

    for t in range(len(x)):
        pairs = []
        for o, c, ky, kx, y, z in np.ndindex(3, 2, 3, 3, 5, 4):
            if 0 <= y + ky - 1 < 5 and 0 <= z + kx - 1 < 4:
                pairs.append((conv[o, c, ky, kx], x[t, c, y + ky - 1, z + kx - 1]))
        add(x[t], pairs)
        pooled = (
            spikes["first"][t].reshape(3, 5, 4)[:, :4].astype(float).reshape(3, 2, 2, 2, 2).sum(axis=(2, 4)).reshape(-1)
        )
        add(pooled, [(fc[o, k], pooled[k]) for o, k in np.ndindex(4, 12)])
        before = spikes["last"][t - 1] if t else np.zeros(4)
        add(before, [(back[o, k], before[k]) for o, k in np.ndindex(4, 4)])
    return {key: float(value) for key, value in counts.items()}


def test_neurobench_counts_layer_by_layer() -> None:
    graph = convolutional(0.3)
    x = np.round(RANDOM.normal(0.3, 1, (9, 2, 5, 4)) * (RANDOM.random((9, 2, 5, 4)) < 0.7), 2)
    x[4] = x[4] > 0  # One step of spikes: accumulates.
    run = nm.load(graph).run(x)
    figures = neurobench(run.graph, run.signals.inputs, run.simulation.record)
    assert figures["synaptic_operations"] == by_hand(graph, x, run.spikes)
    assert all(figures["synaptic_operations"].values())
    weights = [graph.nodes[name].weight for name in ("conv", "fc", "back")]
    zeros, size = sum((w == 0).sum() for w in weights), sum(w.size for w in weights)
    assert figures["connection_sparsity"] == zeros / size > 0.2
    assert figures["parameter_count"] == size + 3 + 4 and figures["footprint"] == 4 * (size + 7)
    cells = np.concatenate([spikes.reshape(-1) for spikes in run.spikes.values()])
    assert figures["activation_sparsity"] == pytest.approx(1 - cells.mean())
    assert figures["activation_sparsity_by_layer"]["first"] == pytest.approx(1 - run.spikes["first"].mean())
    # Three equal samples: the same figures of one.
    batch = nm.load(graph).run(np.stack([x] * 3))
    again = neurobench(batch.graph, batch.signals.inputs, batch.simulation.record)
    for key, value in figures.items():
        assert again[key] == pytest.approx(value), key


@pytest.mark.parametrize("make", [random_graph, loop_graph])
def test_neurobench_of_any_graph(make) -> None:
    for seed in range(12):
        graph, x = make(seed)
        run = nm.load(graph).run(x)
        operations = neurobench(flatten(graph), x, run.simulation.record)["synaptic_operations"]
        assert operations["Effective_MACs"] + operations["Effective_ACs"] <= operations["Dense"]


def test_the_command_is_net_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, pruned in (("full", 0.0), ("pruned", 0.8)):
        write_nir(tmp_path / f"{name}.nir", convolutional(pruned))
    np.savez(tmp_path / "in.npz", input=RANDOM.normal(0.3, 1, (2, 20, 2, 5, 4)))
    monkeypatch.chdir(tmp_path)
    arguments = ["--nir", "full.nir", "--input", "in.npz", "--out", "p", "--compare", "pruned.nir", "full.nir"]
    arguments += ["--reset", "zero"]
    monkeypatch.setattr("sys.argv", ["profile", *arguments])
    profile.main()
    report = json.loads(Path("p/report.json").read_text())
    full, pruned = nm.load("full.nir"), nm.load("pruned.nir")
    ours = full.profile("in.npz", compare=[pruned, full])
    assert report == json.loads(json.dumps(ours.report()))
    assert [row["nir"] for row in report["compared"]] == ["full.nir", "pruned.nir", "full.nir"]
    first, second, third = report["compared"]
    assert first == third and second["synapses"] < first["synapses"]
    assert second == nm.load("pruned.nir").profile("in.npz").summary() | {"nir": "pruned.nir"}
    assert first["synaptic_operations"] == report["totals"]["synaptic_operations"] / 2
    assert first["joules_per_sample"] == report["totals"]["joules_per_sample"]
    assert {row["name"] for row in report["layers"]} == {"first", "last", "output"}
    printed, page = capsys.readouterr().out, Path("p/report.html").read_text()
    assert printed.splitlines()[-2:] == [
        "p/report.html: tables, for the browser; report.json: every count",
        "next:       python -m neuromorphic.export --to c --nir full.nir --input in.npz --precision float "
        "--reset zero --out p/c",
    ]
    words = printed.splitlines()[-1].split()[4:]
    monkeypatch.setattr("sys.argv", ["export", *words])
    export.main()
    assert Path("p/c/full.c").is_file()
    for text in (printed, page):
        assert "the same input on each, of one sample" in text and "pruned.nir" in text
    assert full.profile("in.npz").report()["compared"] == []


def test_networks_that_are_compared_have_names_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In 80 columns, where a path would be cut to its beginning, which all have in common."""
    files = [tmp_path / "a long way from here" / folder / "network.nir" for folder in ("before", "after")]
    for file, pruned in zip(files, (0.0, 0.8), strict=True):
        file.parent.mkdir(parents=True)
        write_nir(file, convolutional(pruned))
    full, small = (nm.load(file) for file in files)
    compared = full.profile(RANDOM.normal(0.3, 1, (20, 2, 5, 4)), compare=[small])
    table = compared.comparison()
    assert table.columns == ("", "before/network.nir", "after/network.nir")
    assert {row[0]: row[1:] for row in table.rows}["synapses"] == tuple(
        f"{row['synapses']:,}" for row in compared.report()["compared"]
    )
    compared.print()
    printed = capsys.readouterr().out
    assert "before/network.nir" in printed and "after/network.nir" in printed and "…" not in printed
    assert path_ends(["a/x.nir", "b/y.nir", "a/x.nir"]) == ["x.nir", "y.nir", "x.nir"]
    assert path_ends(["x.nir", "a/x.nir"]) == ["x.nir", "a/x.nir"]


def test_without_a_folder_the_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_nir(tmp_path / "net.nir", convolutional(0.0))
    np.savez(tmp_path / "in.npz", input=RANDOM.normal(0.3, 1, (20, 2, 5, 4)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["profile", "--nir", "net.nir", "--input", "in.npz"])
    profile.main()
    assert "first" in capsys.readouterr().out and {path.name for path in tmp_path.iterdir()} == {"net.nir", "in.npz"}
    monkeypatch.setattr("sys.argv", ["profile", "--checkpoint", "runs"])
    with pytest.raises(ArgumentError, match="--checkpoint needs --out"):
        profile.main()


def test_networks_that_cannot_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = nm.load(convolutional(0.0))
    x = RANDOM.normal(0, 1, (3, 2, 5, 4))
    with pytest.raises(nm.UserError, match=r"compare is the text 'other.nir'; give networks that neuromorphic.load"):
        one.profile(x, compare=["other.nir"])  # type: ignore[list-item]
    small = graph_of(
        {"in": nir.Input({"input": np.array([2])}), "out": nir.Output({"output": np.array([2])})}, [("in", "out")], {}
    )
    with pytest.raises(nm.UserError, match=r"NIR graph: .*'in' must have shape"):
        one.profile(x, compare=[nm.load(small)])
    write_nir(tmp_path / "a.nir", convolutional(0.0))
    np.save(tmp_path / "x.npy", x)
    monkeypatch.chdir(tmp_path)
    for wrong, message in (
        (["--compare", "none.nir"], "none.nir does not exist"),
        (["--compare", "p/report.json"], "report.json would be overwritten"),
    ):
        monkeypatch.setattr("sys.argv", ["profile", "--nir", "a.nir", "--input", "x.npy", "--out", "p", *wrong])
        with pytest.raises(nm.UserError, match=message):
            profile.main()
    assert not list(Path("p").glob("report.*"))
