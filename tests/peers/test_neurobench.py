"""The figures under NeuroBench's names are those that NeuroBench itself computes."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch

import neuromorphic as nm
from gshn.config import load_config
from gshn.export.images import held_out_images
from gshn.export.side_by_side import pytorch_spikes
from gshn.model import GSHN
from gshn.profiling.report import neurobench, profile
from neuromorphic.nir_file import graph_of

HERE = Path(__file__).parent
pytestmark = pytest.mark.peers


def ask(arrays: dict[str, np.ndarray], folder: Path) -> dict[str, Any]:
    """What NeuroBench computes of layers, in its own environment."""
    python = HERE.parent.parent / ".venv-peers" / "neurobench" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not there: make test-peers")
    np.savez(folder / "in.npz", **arrays)
    command = [python, HERE / "in_neurobench.py", folder / "in.npz", folder / "out.json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out.json").read_text())


def test_neurobench_counts_the_same_of_a_nir_file(tmp_path: Path) -> None:
    """Of a convolution, a layer behind pooling and one in a loop; pruned weights, steps of spikes and of numbers."""
    random = np.random.default_rng(0)
    weights = [random.normal(0.3, 1, s) * (random.random(s) < 0.6) for s in ((3, 2, 3, 3), (4, 12), (4, 4))]
    lif = [nir.LIF(3e-3 * np.ones(s), np.ones(s), np.zeros(s), 0.4 * np.ones(s)) for s in ((3, 5, 4), (4,))]
    nodes = {
        "input": nir.Input({"input": np.array([2, 5, 4])}),
        "conv": nir.Conv2d((5, 4), weights[0], 1, 1, 1, 1, np.full(3, 0.1)),
        "first": lif[0],
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flatten": nir.Flatten({"input": np.array([3, 2, 2])}, 0, -1),
        "fc": nir.Affine(weights[1], np.full(4, 0.1)),
        "last": lif[1],
        "output": nir.Output({"output": np.array([4])}),
    }
    edges = [*pairwise(nodes), ("last", "back"), ("back", "last")]
    net = nm.load(graph_of(nodes | {"back": nir.Linear(weights[2])}, edges, {"dt": 1e-3}))
    x = np.round(random.normal(0.3, 1, (2, 12, 2, 5, 4)) * (random.random((2, 12, 2, 5, 4)) < 0.7), 2)
    x[:, 4] = x[:, 4] > 0
    profile = net.profile(x)
    spikes = profile.run.spikes
    pooled = spikes["first"][..., :4, :].astype(float).reshape(2, 12, 3, 2, 2, 2, 2).sum(axis=(4, 6)).reshape(2, 12, 12)
    before = np.concatenate([np.zeros((2, 1, 4)), spikes["last"][:, :-1]], axis=1)
    arrays = {
        "padding_0": np.array([1, 1]),
        "bias_0": np.full(3, 0.1),
        "bias_1": np.full(4, 0.1),
        "samples": np.array(2),
    }
    for k, given in enumerate((x, pooled, before)):
        arrays |= {f"weight_{k}": weights[k].astype(np.float32), f"input_{k}": given.swapaxes(0, 1).astype(np.float32)}
    arrays |= {f"output_{k}": spikes[n].swapaxes(0, 1).astype(np.float32) for k, n in enumerate(("first", "last"))}
    theirs, ours = ask(arrays, tmp_path), profile.neurobench
    assert theirs["synaptic_operations"]["Effective_ACs"] > 0 and theirs["synaptic_operations"]["Effective_MACs"] > 0
    assert ours["synaptic_operations"] == pytest.approx(theirs["synaptic_operations"])
    assert ours["footprint"] == theirs["footprint"]
    assert ours["activation_sparsity"] == pytest.approx(theirs["activation_sparsity"], abs=1e-12)
    assert round(ours["connection_sparsity"], 4) == theirs["connection_sparsity"]


def test_neurobench_counts_the_same(finished: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "pruned"
    model = GSHN.from_pretrained(finished)
    with torch.no_grad():
        model.encoder.spiking.weights[1][:, :5] = 0.0
    model.save_pretrained(checkpoint)
    assert load_config(checkpoint / "config.yaml").model.spiking.steps == 8

    images = held_out_images(model, 5)
    encoder = model.encoder.spiking
    spikes = [pytorch_spikes(encoder, image) for image in images.values()]
    trains = [
        np.concatenate(
            [own[k].reshape(8, image.num_nodes, -1) for own, image in zip(spikes, images.values(), strict=True)], axis=1
        )
        for k in range(2)
    ]
    x = torch.cat([image.x for image in images.values()])[None]
    arrays = {"input_0": x.numpy(), "input_1": trains[0].astype(np.float32), "samples": np.array(len(images))}
    for k, linear in enumerate(encoder.linears):
        arrays |= {f"{name}_{k}": value.detach().numpy() for name, value in linear.named_parameters()}
        arrays[f"output_{k}"] = trains[k].astype(np.float32)
    theirs, ours = ask(arrays, tmp_path), neurobench(profile(checkpoint, 5))
    assert theirs["synaptic_operations"]["Effective_ACs"] > 0 and theirs["connection_sparsity"] > 0
    for key in ("footprint", "connection_sparsity", "activation_sparsity"):
        assert ours[key] == pytest.approx(theirs[key], abs=1e-12), key
    assert ours["synaptic_operations"] == pytest.approx(theirs["synaptic_operations"])
