"""The backbones by name."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gshn.backbone_names import BackboneName, parse_backbone
from gshn.backbones.base import FrozenBackbone
from gshn.backbones.several import MirroredBackbone, ScaledBackbone, SideBySide
from gshn.backbones.small_conv import SmallConvNet
from gshn.errors import ConfigError
from gshn.registry import BACKBONES


def make_backbone(
    text: str,
    levels: Sequence[int] | None = None,
    precision: str = "float32",
    mirror: bool = False,
    tuned: int = 0,
) -> FrozenBackbone | SmallConvNet:
    """Make the backbone of ``graph.backbone``, ``graph.levels``, ``graph.precision`` and ``graph.mirror``, on the CPU.

    Args:
        text: NAME[@SIZE][+NAME[@SIZE]...], see :func:`gshn.backbone_names.parse_backbone`.
        levels: Strides of the maps of each backbone; None for their defaults.
        precision: float32 or bfloat16, see :meth:`FrozenBackbone.compute_in`. A trained backbone has the run's.
        mirror: Whether it also computes mirror images, see :class:`MirroredBackbone`.
        tuned: Number of last blocks that the model trains, see :meth:`FrozenBackbone.cut`.

    Raises:
        ConfigError: the backbone is unknown, lacks a stride, or its package is not installed; a trained one is to be
            mirrored; or the last blocks cannot be trained.
        DataError: its weights cannot be used.
    """
    made = []
    for part in parse_backbone(text):
        backbone = BACKBONES.function(part.name)(part.name, levels)
        if isinstance(backbone, FrozenBackbone):
            backbone.compute_in(getattr(torch, precision))
        if tuned:
            _cut(backbone, part, tuned)
        made.append(backbone if part.size is None else ScaledBackbone(backbone, part.size))
    only: FrozenBackbone | SmallConvNet = made[0] if len(made) == 1 else SideBySide(made)
    if not mirror:
        return only
    if not isinstance(only, FrozenBackbone):
        raise ConfigError(f"config key 'graph.mirror' is true: {text} is trained with the model; name a pretrained one")
    return MirroredBackbone(only)


def _cut(backbone: FrozenBackbone | SmallConvNet, part: BackboneName, tuned: int) -> None:
    """Separate the last blocks of a backbone whose images are scaled to ``part.size``."""
    said = f"config key 'graph.tune' is last:{tuned}"
    if not isinstance(backbone, FrozenBackbone):
        raise ConfigError(f"{said}: {part.name} is trained as a whole; say none")
    backbone.cut(tuned)
    if part.size is None:
        raise ConfigError(f"{said}: it needs images of a known size; write {part.name}@224 in graph.backbone")
