"""Section ``vision``: feature extraction and segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

from benchmarks.gpu.measuring import Bench
from gshn.backbones.efficientnet_lite import EfficientNetLite
from gshn.data.shapescenes import ShapeScenes
from gshn.graphs.build import build_graphs
from gshn.graphs.scene_graph import GraphParameters
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.pretrained import quiet_transformers
from gshn.segments.universal import UniversalSegmenter
from gshn.training.segmentation import image_processor, small_mask2former


def run(bench: Bench) -> None:
    """EfficientNet-Lite0, alone and as preprocessing uses it; Mask2Former, the project's and one of full size."""
    backbone = EfficientNetLite().to(bench.device)
    for size, batch in ((96, 8),) if bench.quick else ((96, 64), (96, 512), (224, 64), (224, 256)):
        key: dict[str, Any] = {"image_size": size, "batch": batch}
        bench.attempt(lambda s=size, b=batch: features(bench, backbone, s, b), what="EfficientNet-Lite0", **key)
    bench.attempt(lambda: graphs(bench, backbone), what="scene graphs of ShapeScenes, segments given", image_size=96)
    images = [ShapeScenes("train", 64)[index].image for index in range(8 if bench.quick else 64)]
    for batch in (8,) if bench.quick else (16, 64):
        bench.attempt(
            lambda b=batch: segmenter(bench, images[:b]),
            what="Mask2Former, 1.5 M, segmenting",
            image_size=96,
            batch=batch,
        )
    for precision, batch in (("bf16", 1),) if bench.quick else (("fp32", 1), ("fp32", 16), ("bf16", 16)):
        size = 96 if bench.quick else 384
        bench.attempt(
            lambda s=size, b=batch, p=precision: mask2former(bench, s, b, p),
            what=f"Mask2Former with Swin, network alone, {precision}", image_size=size, batch=batch,
        )  # fmt: skip


def features(bench: Bench, backbone: EfficientNetLite, size: int, batch: int) -> dict[str, Any]:
    """The network's maps."""
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=bench.device)
    with torch.inference_mode():
        return bench.throughput(lambda: backbone(images), batch, 1.5)


def graphs(bench: Bench, backbone: EfficientNetLite) -> dict[str, Any]:
    """From drawn scenes with their segments to graphs with features, as gshn.preprocess does it in one process."""
    count = 8 if bench.quick else 64
    scenes = ShapeScenes("train", count)
    samples = [scenes[index] for index in range(count)]
    given = GroundTruthSegmenter(scenes.categories)
    call = lambda: build_graphs(samples, given, backbone, GraphParameters())  # noqa: E731
    return bench.throughput(call, count, 1.5)


def segmenter(bench: Bench, images: list[np.ndarray]) -> dict[str, Any]:
    """The project's small Mask2Former, untrained, from pixels to segments, resizing and post-processing included."""
    folder = bench.work / "mask2former"
    if not folder.is_dir():
        small_mask2former().save_pretrained(folder)
        image_processor(96).save_pretrained(folder)
    network = UniversalSegmenter(folder)
    return bench.throughput(lambda: network.batch(images, [None] * len(images)), len(images), 1.5)


def mask2former(bench: Bench, size: int, batch: int, precision: str) -> dict[str, Any]:
    """transformers' default Mask2Former with random weights, without resizing and post-processing."""
    torch.manual_seed(0)
    with quiet_transformers():
        network = Mask2FormerForUniversalSegmentation(Mask2FormerConfig()).eval().to(bench.device)
    pixels = torch.randn(batch, 3, size, size, device=bench.device)
    parameters = sum(p.numel() for p in network.parameters())
    with torch.inference_mode(), torch.autocast(bench.device, torch.bfloat16, enabled=precision == "bf16"):
        return bench.throughput(lambda: network(pixel_values=pixels), batch, 2.0) | {"parameters": parameters}
