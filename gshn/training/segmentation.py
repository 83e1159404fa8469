"""A small Mask2Former, trained on ShapeScenes: the learned-segmentation path without a download."""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
    ResNetConfig,
)

from gshn.config import SegmenterFit
from gshn.data.images import ImageCollection
from gshn.data.shapescenes import CATEGORIES, ShapeScenes
from gshn.errors import CheckpointError, ConfigError
from gshn.hub import quiet_transformers
from gshn.segments.panoptic import PanopticSegments
from gshn.training.batches import generator
from gshn.training.checkpoint import FILE, Progress, read_state, restore_model, restore_optimizer, save_state
from gshn.training.guard import Guard
from neuromorphic.errors import UserNotice
from neuromorphic.files import Lock, make_folder, write_atomically, writing

MAGNIFICATION = 2
"""The network sees images this much larger: its masks, a quarter of its input in size, are half of the image then."""

MAX_GRAD_NORM = 1.0

VOID = -100
"""Label of pixels without a category: PyTorch's ``ignore_index``."""


def small_mask2former(width: int = 64) -> Mask2FormerForUniversalSegmentation:
    """A Mask2Former of about 1.5 M parameters (Cheng et al., arXiv:2112.01527) with a ResNet backbone, untrained."""
    backbone = ResNetConfig(  # type: ignore[call-arg]
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 192],
        depths=[1, 2, 2, 1],
        layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    names = {label: category.name for label, category in enumerate(CATEGORIES)}
    with quiet_transformers():
        config = Mask2FormerConfig(  # type: ignore[call-arg]
            backbone_config=backbone,
            feature_size=width,
            mask_feature_size=width,
            hidden_dim=width,
            encoder_feedforward_dim=2 * width,
            dim_feedforward=2 * width,
            encoder_layers=1,
            decoder_layers=3,
            num_attention_heads=4,
            num_queries=40,
            train_num_points=1024,
            id2label=names,
            label2id={name: label for label, name in names.items()},
            thing_labels=[label for label, category in enumerate(CATEGORIES) if category.isthing],
        )
        return Mask2FormerForUniversalSegmentation(config)


class Segmentation(nn.Module):
    """A Mask2Former with linear heads on its feature maps, which classify every pixel.

    The heads are for training only. Without them, shapes are learned from the few queries that have found a thing,
    which took ten times as many images. With them, shapes are learned from every pixel.
    """

    weights: Tensor

    def __init__(self, network: Mask2FormerForUniversalSegmentation, thing_weight: float) -> None:
        super().__init__()
        self.network = network
        config: Any = network.config
        channels = [*config.backbone_config.hidden_sizes[1:], config.mask_feature_size, *3 * [config.feature_size]]
        self.heads = nn.ModuleList(nn.Conv2d(c, config.num_labels, 1) for c in channels)
        things = set(config.thing_labels)
        weights = [thing_weight if label in things else 1.0 for label in range(config.num_labels)]
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, batch: SceneBatch, segments: bool) -> dict[str, Tensor]:
        """Losses, scalars: ``pixels``, mean cross-entropy of the heads; with ``segments`` also ``mask2former``, its
        own."""
        losses = {}
        if segments:
            out: Any = self.network(
                pixel_values=batch.pixels, mask_labels=batch.masks, class_labels=batch.labels, output_hidden_states=True
            )
            maps = [
                *out.encoder_hidden_states[1:],
                out.pixel_decoder_last_hidden_state,
                *out.pixel_decoder_hidden_states,
            ]
            losses["mask2former"] = out.loss
        else:
            out = self.network.model.pixel_level_module(batch.pixels, output_hidden_states=True)
            maps = [*out.encoder_hidden_states[1:], out.decoder_last_hidden_state, *out.decoder_hidden_states]
        category = torch.stack([_category_map(m, c) for m, c in zip(batch.masks, batch.labels, strict=True)])
        each = []
        for head, features in zip(self.heads, maps, strict=True):
            logits = head(features)
            target = F.interpolate(category[:, None].float(), logits.shape[-2:], mode="nearest-exact")[:, 0].long()
            each.append(F.cross_entropy(logits, target, self.weights, ignore_index=VOID))
        return {**losses, "pixels": torch.stack(each).mean()}


def _category_map(masks: Tensor, labels: Tensor) -> Tensor:
    """Label of every pixel of an image, VOID where no segment is, shape (h, w)."""
    category = (masks * (labels[:, None, None] + 1)).amax(dim=0).long() - 1
    return category.masked_fill(category < 0, VOID)


@dataclass(frozen=True)
class Phase:
    """A phase of training.

    Attributes:
        first: First step.
        last: Step after the last one.
        image_size: Width and height of the images, pixels.
        segments: Whether segments are learned; else only categories of pixels.
    """

    first: int
    last: int
    image_size: int
    segments: bool


def phases(settings: SegmenterFit) -> list[Phase]:
    """The three phases, see :class:`SegmenterFit`."""
    ends = [round(settings.steps * share) for share in np.cumsum(settings.shares)]
    sizes = [settings.small_size, settings.small_size, settings.image_size]
    return [
        Phase(first, last, size, number > 0)
        for number, (first, last, size) in enumerate(zip([0, *ends[:-1]], ends, sizes, strict=True))
    ]


def learning_rate(settings: SegmenterFit, phase: Phase, step: int) -> float:
    """Linear warm-up in each phase, constant, and a linear decay to 0 over the last third of all steps."""
    peak = settings.lr / 2 if phase.segments else settings.lr
    warmup = (step - phase.first + 1) / settings.warmup
    return peak * min(1.0, warmup, 3 * (settings.steps - step) / settings.steps)


def fit_segmenter(settings: SegmenterFit, out: Path, resume: bool) -> None:
    """Train a small Mask2Former on ShapeScenes, and write it in the format of transformers.

    Args:
        settings: See :class:`SegmenterFit`.
        out: Folder of the weights, and of the training state while it runs.
        resume: Whether to go on from the folder's training state, if there is one.

    Raises:
        UserError: the folder cannot be written, is another process's, or holds a segmenter already; a loss is not
            finite.
    """
    make_folder(out)
    with Lock(out / ".lock", str(out), "wait for it to end, or choose another --out"):
        _fit(settings, out, resume)


def _fit(settings: SegmenterFit, out: Path, resume: bool) -> None:
    begun = time.monotonic()
    finished = (out / "model.safetensors").is_file()
    if not resume and (finished or (out / FILE).is_file()):
        raise ConfigError(f"{out} holds a segmenter already; add --resume to go on with it, or choose another --out")
    _check_settings(settings, out)
    if finished:
        return
    state = read_state(out)
    torch.manual_seed(settings.seed)
    model = Segmentation(small_mask2former(), settings.thing_weight)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=0.05)
    first = 0
    if state is not None:
        restore_model(model, state[1], out)
        restore_optimizer(optimizer, state[1])
        first, begun = state[0].step, begun - state[0].seconds
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    guard = Guard("segmenter")
    with tqdm(
        total=settings.steps * settings.batch_size,
        initial=first * settings.batch_size,
        desc="train the segmenter",
        unit=" images",
        dynamic_ncols=True,
    ) as bar:
        for phase in phases(settings):
            scenes = ShapeScenes("train", settings.scenes, image_size=phase.image_size)
            for step in range(max(first, phase.first), phase.last):
                batch = training_batch(scenes, settings, step).to(device)
                torch.manual_seed(int(generator(settings.seed, 3, step).integers(2**62)))
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(settings, phase, step)
                losses = model(batch, phase.segments)
                optimizer.zero_grad()
                torch.stack(list(losses.values())).sum().backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
                if guard.allows(norm, losses, step + 1):
                    optimizer.step()
                bar.update(settings.batch_size)
                bar.set_postfix({name: f"{float(value.detach()):.2f}" for name, value in losses.items()}, refresh=False)
                done = step + 1
                if done == settings.steps or (done % settings.checkpoint_every == 0 and not guard.streak):
                    save_state(out, model, optimizer, Progress("segmenter", done, time.monotonic() - begun))
    if report := guard.report():
        warnings.warn(report, UserNotice, stacklevel=1)
    _save(model.network, settings, out)
    (out / FILE).unlink()


def _check_settings(settings: SegmenterFit, out: Path) -> None:
    """Refuse to resume a run that was started with other settings, which are in ``fit.json`` beside the weights.

    Raises:
        CheckpointError: the settings differ.
    """
    path = out / "fit.json"
    own = json.loads(json.dumps(asdict(settings)))
    write_atomically(path, json.dumps(own, indent=2) + "\n", keep=True)
    try:
        begun = json.loads(path.read_text())
        changed = [
            f"{name} ({begun.get(name)!r} and {value!r})" for name, value in own.items() if begun.get(name) != value
        ]
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is broken ({error}); choose another --out") from None
    if changed:
        raise CheckpointError(
            f"{out} was begun with other settings: {', '.join(changed)}; resume with the same, or choose another --out"
        )


def _save(network: Mask2FormerForUniversalSegmentation, settings: SegmenterFit, out: Path) -> None:
    """Write a network with its image processor. ``model.safetensors`` is last, and shows that the folder is
    complete."""
    with writing(out, "make room and go on with --resume"), tempfile.TemporaryDirectory(dir=out) as folder:
        image_processor(settings.image_size).save_pretrained(folder)
        try:
            network.save_pretrained(folder)
        except SafetensorError as error:  # what a full disk is for safetensors
            raise OSError(None, str(error)) from None
        for path in sorted(Path(folder).iterdir(), key=lambda path: path.suffix == ".safetensors"):
            path.replace(out / path.name)


def image_processor(image_size: int) -> Mask2FormerImageProcessorPil:
    """The image processor, which converts images to the network's input."""
    side = image_size * MAGNIFICATION
    return Mask2FormerImageProcessorPil(size={"height": side, "width": side}, ignore_index=255)


@dataclass(frozen=True)
class SceneBatch:
    """B scenes with their segments.

    Attributes:
        pixels: Normalised images, shape (B, 3, H, W).
        masks: Masks of each image's segments, shapes (S, h, w), float32.
        labels: Labels of each image's segments, shapes (S,).
    """

    pixels: Tensor
    masks: list[Tensor]
    labels: list[Tensor]

    def to(self, device: torch.device) -> SceneBatch:
        """Copy with every tensor on ``device``."""
        masks, labels = ([tensor.to(device) for tensor in part] for part in (self.masks, self.labels))
        return SceneBatch(self.pixels.to(device), masks, labels)


def training_batch(scenes: ImageCollection, settings: SegmenterFit, step: int) -> SceneBatch:
    """The batch of a step: random scenes, half of them mirrored; a function of the seed and the step."""
    random = generator(settings.seed, 2, step)
    images, masks, labels = [], [], []
    for index in random.integers(len(scenes), size=settings.batch_size).tolist():
        sample = scenes[index]
        assert sample.panoptic is not None
        mirror = slice(None, None, -1 if random.integers(2) else None)
        images.append(np.ascontiguousarray(sample.image[:, mirror]))
        masks.append(torch.from_numpy(_masks(sample.panoptic)[:, :, mirror].copy()))
        labels.append(torch.tensor([s.category_id - 1 for s in sample.panoptic.segments]))
    pixels = image_processor(images[0].shape[0])(images=images, return_tensors="pt")["pixel_values"]
    return SceneBatch(pixels, masks, labels)


def _masks(segments: PanopticSegments) -> NDArray[np.float32]:
    """One mask per segment, shape (S, H, W)."""
    ids = np.array([segment.id for segment in segments.segments])
    return (segments.segment_map == ids[:, None, None]).astype(np.float32)
