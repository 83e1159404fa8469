"""A small Mask2Former, trained on ShapeScenes: the learned-segmentation path without a download."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
    ResNetConfig,
)
from transformers.utils import logging as transformers_logging

from gshn.config import SegmenterFit
from gshn.data.images import ImageCollection
from gshn.data.shapescenes import CATEGORIES, ShapeScenes
from gshn.errors import ConfigError, TrainingError
from gshn.files import make_folder
from gshn.segments.panoptic import PanopticSegments
from gshn.training.batches import generator
from gshn.training.checkpoint import FILE, Progress, read_state, restore_model, restore_optimizer, save_state

MAGNIFICATION = 2
"""The network sees images this much larger: its masks, a quarter of its input in size, are half of the image then."""

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
    config = Mask2FormerConfig(  # type: ignore[call-arg]
        backbone_config=backbone,
        feature_size=width,
        mask_feature_size=width,
        hidden_dim=width,
        encoder_feedforward_dim=2 * width,
        dim_feedforward=2 * width,
        encoder_layers=2,
        decoder_layers=3,
        num_attention_heads=4,
        num_queries=40,
        train_num_points=1024,
        id2label=names,
        label2id={name: label for label, name in names.items()},
        thing_labels=[label for label, category in enumerate(CATEGORIES) if category.isthing],
    )
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it warns that backbones other than Swin are not tried
    try:
        return Mask2FormerForUniversalSegmentation(config)
    finally:
        transformers_logging.set_verbosity(verbosity)


class Segmentation(nn.Module):
    """A Mask2Former with linear heads on its feature maps, which tell every pixel's category.

    The heads are for training only. Without them, what tells a star from a circle is learned from the few queries that
    found one: with them, from every pixel, from the first step on.
    """

    def __init__(self, network: Mask2FormerForUniversalSegmentation) -> None:
        super().__init__()
        self.network = network
        config: Any = network.config
        channels = [*config.backbone_config.hidden_sizes[1:], config.mask_feature_size, *3 * [config.feature_size]]
        self.heads = nn.ModuleList(nn.Conv2d(c, config.num_labels, 1) for c in channels)

    def forward(self, pixels: Tensor, masks: list[Tensor], labels: list[Tensor]) -> dict[str, Tensor]:
        """Losses: ``mask2former``, its own, and ``pixels``, the heads' mean cross-entropy.

        Args:
            pixels: Normalised images, shape (B, 3, H, W).
            masks: Of each image's segments, shapes (S, h, w), float32.
            labels: Of each image's segments, shapes (S,).
        """
        out = self.network(pixel_values=pixels, mask_labels=masks, class_labels=labels, output_hidden_states=True)
        maps = [*out.encoder_hidden_states[1:], out.pixel_decoder_last_hidden_state, *out.pixel_decoder_hidden_states]
        category = torch.stack([_category_map(m, c) for m, c in zip(masks, labels, strict=True)])
        losses = []
        for head, features in zip(self.heads, maps, strict=True):
            logits = head(features)
            target = F.interpolate(category[:, None].float(), logits.shape[-2:], mode="nearest-exact")[:, 0].long()
            losses.append(F.cross_entropy(logits, target, ignore_index=VOID))
        return {"mask2former": out.loss, "pixels": torch.stack(losses).mean()}


def _category_map(masks: Tensor, labels: Tensor) -> Tensor:
    """Label of every pixel of an image, VOID where no segment is, shape (h, w)."""
    category = (masks * (labels[:, None, None] + 1)).amax(dim=0).long() - 1
    return category.masked_fill(category < 0, VOID)


def fit_segmenter(settings: SegmenterFit, out: Path, resume: bool) -> None:
    """Train a small Mask2Former on ShapeScenes, and write it in the format of transformers.

    Args:
        settings: See :class:`SegmenterFit`.
        out: Folder of the weights, and of the training state while it runs.
        resume: Whether to go on from the folder's training state, if there is one.

    Raises:
        GSHNError: the folder cannot be written, or holds a segmenter already; a loss is not finite.
    """
    begun = time.monotonic()
    make_folder(out)
    state = read_state(out) if resume else None
    if state is None and ((out / FILE).is_file() or (out / "model.safetensors").is_file()):
        raise ConfigError(f"{out} holds a segmenter already; add --resume to go on with it, or choose another --out")
    torch.manual_seed(settings.seed)
    processor = Mask2FormerImageProcessorPil(
        size={"height": settings.image_size * MAGNIFICATION, "width": settings.image_size * MAGNIFICATION},
        ignore_index=255,
    )
    model = Segmentation(small_mask2former())
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=0.05)
    first = 0
    if state is not None:
        restore_model(model, state[1], out)
        restore_optimizer(optimizer, state[1])
        first, begun = state[0].step, begun - state[0].seconds
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    scenes = ShapeScenes("train", settings.scenes, image_size=settings.image_size)
    total = settings.steps * settings.batch_size
    with tqdm(total=total, initial=first * settings.batch_size, desc="segmenter", unit=" images") as bar:
        for step in range(first, settings.steps):
            pixels, masks, labels = training_batch(scenes, processor, settings, step)
            torch.manual_seed(int(generator(settings.seed, 3, step).integers(2**62)))
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(settings, step)
            losses = model(pixels.to(device), [m.to(device) for m in masks], [c.to(device) for c in labels])
            loss = losses["mask2former"] + settings.pixel_weight * losses["pixels"]
            if not torch.isfinite(loss):
                raise TrainingError(f"the loss became {float(loss)} at step {step}; lower segmenter.lr")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            bar.update(settings.batch_size)
            bar.set_postfix({name: f"{float(value):.2f}" for name, value in losses.items()}, refresh=False)
            done = step + 1
            if done % settings.checkpoint_every == 0 or done == settings.steps:
                save_state(out, model, optimizer, Progress("segmenter", done, time.monotonic() - begun))
    model.network.save_pretrained(out)
    processor.save_pretrained(out)


def _learning_rate(settings: SegmenterFit, step: int) -> float:
    """Linear warm-up, constant, and a linear decay to 0 over the last third."""
    last = settings.steps / 3
    return settings.lr * min(1.0, (step + 1) / settings.warmup, (settings.steps - step) / last)


def training_batch(
    scenes: ImageCollection, processor: Mask2FormerImageProcessorPil, settings: SegmenterFit, step: int
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The batch of a step: random scenes, half of them mirrored; a function of the seed and the step.

    Returns:
        Normalised images (B, 3, H, W); masks of each image's segments (S, h, w), float32; their labels (S,).
    """
    random = generator(settings.seed, 2, step)
    images, masks, labels = [], [], []
    for index in random.integers(len(scenes), size=settings.batch_size).tolist():
        sample = scenes[index]
        assert sample.panoptic is not None
        mirror = slice(None, None, -1 if random.integers(2) else None)
        images.append(np.ascontiguousarray(sample.image[:, mirror]))
        masks.append(torch.from_numpy(_masks(sample.panoptic)[:, :, mirror].copy()))
        labels.append(torch.tensor([s.category_id - 1 for s in sample.panoptic.segments]))
    return processor(images=images, return_tensors="pt")["pixel_values"], masks, labels


def _masks(segments: PanopticSegments) -> NDArray[np.float32]:
    """One mask per segment, shape (S, H, W)."""
    ids = np.array([segment.id for segment in segments.segments])
    return (segments.segment_map == ids[:, None, None]).astype(np.float32)
