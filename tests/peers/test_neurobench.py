"""The figures under NeuroBench's names are those that NeuroBench itself computes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from gshn.config import load_config
from gshn.export.images import held_out_images
from gshn.export.side_by_side import pytorch_spikes
from gshn.model import GSHN
from gshn.profiling.report import neurobench, profile

HERE = Path(__file__).parent
pytestmark = pytest.mark.peers


def test_neurobench_counts_the_same(finished: Path, tmp_path: Path) -> None:
    python = HERE.parent.parent / ".venv-peers" / "neurobench" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not there: make test-peers")
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
    np.savez(tmp_path / "in.npz", **arrays)
    command = [python, HERE / "in_neurobench.py", tmp_path / "in.npz", tmp_path / "out.json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs, ours = json.loads((tmp_path / "out.json").read_text()), neurobench(profile(checkpoint, 5))
    assert theirs["synaptic_operations"]["Effective_ACs"] > 0 and theirs["connection_sparsity"] > 0
    for key in ("footprint", "connection_sparsity", "activation_sparsity"):
        assert ours[key] == pytest.approx(theirs[key], abs=1e-12), key
    assert ours["synaptic_operations"] == pytest.approx(theirs["synaptic_operations"])
