import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from disk import full_disk
from safetensors.torch import load_file

from gshn.config import SegmenterFit
from gshn.data.shapescenes import CATEGORIES, ShapeScenes
from gshn.errors import CheckpointError, ConfigError
from gshn.segments.universal import UniversalSegmenter
from gshn.training.checkpoint import FILE
from gshn.training.segmentation import (
    VOID,
    Segmentation,
    _category_map,
    _save,
    fit_segmenter,
    learning_rate,
    phases,
    small_mask2former,
    training_batch,
)
from neuromorphic.errors import UserError
from neuromorphic.files import Lock

TINY = SegmenterFit(scenes=8, steps=6, batch_size=2, small_size=48, image_size=48, checkpoint_every=2, warmup=2)


def test_a_full_disk_at_the_end_costs_nothing(tmp_path):
    """The training state stays; the weights come whole once there is room."""
    network = small_mask2former(width=32)
    (tmp_path / FILE).write_text("state")
    with (
        full_disk(100_000),
        pytest.raises(UserError, match=r"cannot be written \(.*; make room and go on with --resume"),
    ):
        _save(network, TINY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    _save(network, TINY, tmp_path)
    assert UniversalSegmenter(str(tmp_path)).categories == CATEGORIES


def test_other_settings_do_not_go_on_with_a_training(tmp_path):
    (tmp_path / "model.safetensors").write_text("of TINY")  # as if it were done
    fit_segmenter(TINY, tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=r"was begun with other settings: seed \(0 and 3\), steps \(6 and 9\)"):
        fit_segmenter(replace(TINY, seed=3, steps=9), tmp_path, resume=True)


def test_two_cannot_train_into_one_folder(tmp_path):
    with (
        Lock(tmp_path / ".lock", "it", "wait"),
        pytest.raises(UserError, match=r"is being written by process .* choose another --out"),
    ):
        fit_segmenter(TINY, tmp_path, resume=True)


def test_phases_follow_each_other():
    settings = SegmenterFit()
    parts = phases(settings)
    assert parts[0].first == 0 and parts[-1].last == settings.steps
    assert all(a.last == b.first for a, b in pairwise(parts))
    assert [(p.image_size, p.segments) for p in parts] == [(64, False), (64, True), (96, True)]
    rates = [learning_rate(settings, part, step) for part in parts for step in range(part.first, part.last)]
    assert max(rates) == settings.lr and 0 < min(rates) < settings.lr / 40
    assert rates[parts[1].first] < rates[parts[1].first + settings.warmup] == settings.lr / 2


def test_a_batch_is_a_function_of_the_step():
    scenes = ShapeScenes("train", 8, image_size=48)
    first, again, other = (training_batch(scenes, TINY, step) for step in (3, 3, 4))
    assert torch.equal(first.pixels, again.pixels) and not torch.equal(first.pixels, other.pixels)
    assert first.pixels.shape == (2, 3, 96, 96), "magnified"
    for masks, labels in zip(first.masks, first.labels, strict=True):
        assert masks.shape == (len(labels), 48, 48) and (masks.sum(dim=0) == 1).all(), "every pixel is in one segment"
        assert labels.max() < len(CATEGORIES)


def test_masks_are_mirrored_with_their_images():
    scenes = ShapeScenes("train", 1, image_size=48)
    plain = scenes[0]
    batches = [training_batch(scenes, TINY, step) for step in range(8)]
    left = [masks[0].argmax(dim=1).tolist() for batch in batches for masks in batch.masks]
    assert len({str(row) for row in left}) == 2, "as drawn, and mirrored"
    masks = batches[0].masks[0].numpy()
    ids = [s.id for s in plain.panoptic.segments]
    drawn = (plain.panoptic.segment_map == np.array(ids)[:, None, None]).astype(np.float32)
    assert (masks == drawn).all() or (masks == drawn[:, :, ::-1]).all()


def test_category_map():
    masks = torch.zeros(2, 2, 3)
    masks[0, 0], masks[1, 1, :2] = 1, 1
    assert _category_map(masks, torch.tensor([4, 0])).tolist() == [[4, 4, 4], [0, 0, VOID]]


def test_both_losses_fall_on_one_batch():
    torch.manual_seed(0)
    model = Segmentation(small_mask2former(32), 5.0)
    batch = training_batch(ShapeScenes("train", 2, image_size=48), TINY, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(25):
        losses = model(batch, segments=True)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
    assert history[-1]["pixels"] < 0.5 * history[0]["pixels"]
    assert history[-1]["mask2former"] < 0.75 * history[0]["mask2former"]
    assert set(model(batch, segments=False)) == {"pixels"}


def test_a_killed_fit_goes_on_to_the_same_weights(tmp_path):
    fit_segmenter(TINY, tmp_path / "whole", resume=False)
    script = f"""
import os, signal, sys
from pathlib import Path
import gshn.training.segmentation as s
from gshn.config import SegmenterFit
make = s.training_batch
def deadly(scenes, settings, step):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(scenes, settings, step)
s.training_batch = deadly
import torch
torch.set_num_threads({torch.get_num_threads()})
s.fit_segmenter({TINY!r}, Path({str(tmp_path / "killed")!r}), False)
"""
    run = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    with pytest.raises(ConfigError, match="holds a segmenter already; add --resume"):
        fit_segmenter(TINY, tmp_path / "killed", resume=False)
    fit_segmenter(TINY, tmp_path / "killed", resume=True)
    whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.allclose(whole[name], killed[name], atol=1e-6) for name in whole)
    segmenter = UniversalSegmenter(tmp_path / "killed")
    assert [c.name for c in segmenter.categories] == [c.name for c in CATEGORIES]
    assert [c.isthing for c in segmenter.categories] == [c.isthing for c in CATEGORIES]
    assert not (tmp_path / "killed" / "training_state.safetensors").exists()
