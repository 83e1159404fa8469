"""``python -m neuromorphic.export`` and ``python -m gshn.evaluate --encoder lava`` on a trained checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scenarios import reference_spikes

from gshn import evaluate
from gshn.errors import CheckpointError, ConfigError
from gshn.export.backend import LavaBackend
from gshn.export.images import held_out_images
from gshn.export.side_by_side import pytorch_spikes, run_images
from gshn.model import GSHN
from neuromorphic import export
from neuromorphic.errors import ArgumentError, LavaMissingError, UserError
from neuromorphic.lava import compat
from neuromorphic.nir_file import read_nir


def run(monkeypatch: pytest.MonkeyPatch, command, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", [command.__name__, *map(str, arguments)])
    command.main()


def test_nir_export_holds_all_that_a_simulator_needs(
    monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path
) -> None:
    run(monkeypatch, export, "--to", "nir", "--checkpoint", finished, "--out", tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["encoder.nir", "input.npz"]
    with np.load(tmp_path / "new" / "input.npz") as file:
        spikes = reference_spikes(read_nir(tmp_path / "new" / "encoder.nir"), file["input"])
    model = GSHN.from_pretrained(finished)
    (image,) = held_out_images(model, 1).values()
    for ours, theirs in zip(spikes.values(), pytorch_spikes(model.encoder.spiking, image), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.lava
def test_lava_export_writes_spikes_and_report(
    monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, export, "--to", "lava", "--checkpoint", finished, "--out", tmp_path, "--images", 5)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["agreement"] == 1.0 and report["first_difference"] is None
    assert (report["images"], report["steps"]) == (5, 8)
    assert report["seconds"] > 0
    printed = capsys.readouterr().out
    assert "100.0000 %" in printed and "next:       python -m neuromorphic.check --nir" in printed
    with np.load(tmp_path / "spikes.npz") as file:
        records = dict(file)
    assert len(records) == 10
    for layer in ("lif_0", "lif_1"):
        total = sum(int(record.sum()) for name, record in records.items() if name.endswith(layer))
        assert report["spikes"][layer] == total > 0
    for name, image in held_out_images(GSHN.from_pretrained(finished), 5).items():
        assert records[f"{name}/lif_1"].shape == (8, image.num_nodes * 32)


@pytest.mark.lava
@pytest.mark.parametrize("task", ["retrieval", "vqa"])
def test_evaluation_on_lava_gives_the_same_figures(
    monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path, task: str
) -> None:
    figures = {}
    for encoder in ("torch", "lava"):
        path = tmp_path / f"{encoder}.json"
        run(monkeypatch, evaluate, "--checkpoint", finished, "--task", task, "--encoder", encoder, "--json", path)
        figures[encoder] = json.loads(path.read_text())
        assert figures[encoder].pop("encoder") == encoder
        assert figures[encoder].pop("seconds") > 0
    assert figures["torch"] == figures["lava"]
    assert "vqa.accuracy" in figures["lava"] or "retrieval.i2t_r1" in figures["lava"]


@pytest.mark.lava
@pytest.mark.parametrize("precision", ["float", "fixed"])
def test_backend_puts_the_nodes_in_the_graphs_order_and_keeps_its_network(finished: Path, precision: str) -> None:
    model = GSHN.from_pretrained(finished)
    images = list(held_out_images(model, 9).values())[::-1]
    images.sort(key=lambda image: image.num_nodes)
    networks = []
    with LavaBackend(model.encoder.spiking, precision) as backend:  # type: ignore[arg-type]
        for batch in (images[3:6], images[:3], images[6:9] * 2):
            layers = backend(batch).layers
            expected = run_images(model.encoder.spiking, batch, precision, "numpy")  # type: ignore[arg-type]
            for name, layer in zip(expected.names, layers, strict=True):
                own = [spikes[name].reshape(expected.steps, -1, layer.shape[2]) for spikes in expected.spikes]
                assert torch.equal(layer > 0, torch.from_numpy(np.concatenate(own, axis=1)))
            if precision == "float":
                with torch.inference_mode():
                    theirs = [model.encoder.spiking(image.x, image.aggregation) for image in batch]
                for k, layer in enumerate(layers):
                    assert torch.equal(layer, torch.cat([own.layers[k] for own in theirs], dim=1))
            networks.append(backend.kept.up)
    assert networks[0] is networks[1]  # It had room for the second batch, not for the third.
    assert networks[1] is not networks[2]
    assert not any(network.is_up for network in networks)


def test_images_are_those_of_the_batch_they_are_taken_from(finished: Path) -> None:
    model = GSHN.from_pretrained(finished)
    images = list(held_out_images(model, 4).values())
    assert len({image.num_nodes for image in images}) > 1
    for image in images:
        assert image.x.shape == (image.num_nodes, 32)
        assert image.aggregation.edge_index.max() < image.num_nodes
        # Rows of A sum to 1: nothing was cut off when the batch was split.
        torch.testing.assert_close(image.aggregation.dense(image.num_nodes).sum(dim=1), torch.ones(image.num_nodes))


def test_what_cannot_be_exported_is_refused(monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path) -> None:
    arguments = ["--checkpoint", finished, "--out", tmp_path / "out"]
    with pytest.raises(ConfigError, match="--images 99 is more than the checkpoint has: 64 held-out images"):
        run(monkeypatch, export, "--to", "lava", *arguments, "--images", 99)
    with pytest.raises(ArgumentError, match="at least 1"):
        run(monkeypatch, export, "--to", "lava", *arguments, "--images", 0)
    with pytest.raises(CheckpointError, match="nowhere is not a folder"):
        run(monkeypatch, export, "--to", "nir", "--checkpoint", tmp_path / "nowhere", "--out", tmp_path / "out")
    with pytest.raises(UserError, match="cannot be written"):
        run(monkeypatch, export, "--to", "nir", "--checkpoint", finished, "--out", "/proc/none")
    monkeypatch.setattr(compat, "find_spec", lambda name: None)
    with pytest.raises(LavaMissingError, match="doctor --install lava"):
        run(monkeypatch, export, "--to", "lava", *arguments)
    with pytest.raises(LavaMissingError, match="doctor --install lava"):
        run(monkeypatch, evaluate, "--checkpoint", finished, "--task", "vqa", "--encoder", "lava")
    run(monkeypatch, export, "--to", "nir", *arguments)  # NIR files need no Lava.
