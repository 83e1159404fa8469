"""Runs where detectron2 is: trains a tiny Panoptic FPN on drawn scenes, and measures it through our segmenter.

The scenes' things and stuff are given as detectron2 wants them; what comes back is taken as its models return it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances
from detectron2.utils.events import EventStorage

from gshn.data.shapescenes import CATEGORIES, ShapeScenes
from gshn.evaluation.panoptic import panoptic_quality
from gshn.segments.detectron2 import Detectron2Segmenter

THINGS = [category for category in CATEGORIES if category.isthing]
STUFF = [category for category in CATEGORIES if not category.isthing]
NAME = "drawn_scenes"
SIDE = 128
"""The network sees scenes this large, pixels."""


def configuration() -> Any:
    """A Panoptic FPN with a ResNet-18, as narrow as it goes."""
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 64
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[12], [24], [40], [64], [96]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 100
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 60
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 64
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(THINGS)
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 32
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.3
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 2
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 256
    cfg.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = 2
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 2
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 64
    cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
    cfg.MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO = 2
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNHead"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 1 + len(STUFF)
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 64
    cfg.MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT = 50
    cfg.DATASETS.TRAIN = (NAME,)
    cfg.INPUT.MIN_SIZE_TEST = SIDE
    cfg.INPUT.MAX_SIZE_TEST = SIDE
    return cfg


def register() -> None:
    """Names of things and of stuff, as detectron2's data sets for Panoptic FPN list them."""
    metadata = MetadataCatalog.get(NAME)
    metadata.thing_classes = [category.name for category in THINGS]
    metadata.stuff_classes = ["things", *(category.name for category in STUFF)]


def as_input(sample: Any) -> dict[str, Any]:
    """A scene as Panoptic FPN wants it: things as masks, stuff as a map of classes, in which things are 0."""
    scale = SIDE // sample.image.shape[0]
    large = np.repeat(np.repeat(sample.image, scale, axis=0), scale, axis=1)
    ids = np.repeat(np.repeat(sample.panoptic.segment_map, scale, axis=0), scale, axis=1)
    stuff = np.full(ids.shape, 255, dtype=np.int64)  # ignored
    masks, classes = [], []
    for segment in sample.panoptic.segments:
        category = next(c for c in CATEGORIES if c.id == segment.category_id)
        mask = ids == segment.id
        if category.isthing:
            masks.append(mask)
            classes.append(THINGS.index(category))
            stuff[mask] = 0
        else:
            stuff[mask] = 1 + STUFF.index(category)
    things = Instances(ids.shape)
    things.gt_masks = BitMasks(torch.from_numpy(np.array(masks, dtype=bool).reshape(-1, *ids.shape)))
    things.gt_boxes = things.gt_masks.get_bounding_boxes()
    things.gt_classes = torch.tensor(classes, dtype=torch.int64)
    bgr = np.ascontiguousarray(large[:, :, ::-1].transpose(2, 0, 1))
    return {"image": torch.from_numpy(bgr), "instances": things, "sem_seg": torch.from_numpy(stuff)}


def train(cfg: Any, steps: int, batch_size: int) -> torch.nn.Module:
    """Train on scenes that are drawn once each."""
    torch.manual_seed(0)
    model = build_model(cfg).train()
    scenes = ShapeScenes("train", steps * batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps, pct_start=0.1)
    begun = time.monotonic()
    for step in range(steps):
        with EventStorage():  # where it leaves its own counts
            losses = model([as_input(scenes[step * batch_size + i]) for i in range(batch_size)])
        optimizer.zero_grad()
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            parts = ", ".join(f"{name} {float(value):.2f}" for name, value in losses.items())
            print(f"step {step}, {time.monotonic() - begun:.0f} s: {parts}", file=sys.stderr)
    return model


def main() -> None:
    """Train, save, read through our segmenter, measure; print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--scenes", type=int, default=100, help="held-out scenes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    register()
    cfg = configuration()
    begun = time.process_time()
    model = train(cfg, arguments.steps, arguments.batch_size)
    seconds = time.process_time() - begun
    config, weights = arguments.out / "config.yaml", arguments.out / "model.pth"
    config.write_text(cfg.dump())
    torch.save({"model": model.state_dict()}, weights)
    segmenter = Detectron2Segmenter(f"{config}:{weights}")
    scenes = ShapeScenes("test", arguments.scenes)
    segments = segmenter(scenes[0].image)
    segments.validate()
    figures = panoptic_quality(segmenter, scenes)
    result = {name: figure.pq for name, figure in figures.items()}
    categories = [[category.name, category.isthing] for category in segmenter.categories]
    print(json.dumps({"pq": result, "categories": categories, "seconds": seconds}))


if __name__ == "__main__":
    main()
