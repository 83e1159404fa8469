"""Networks of timm, an optional package: https://huggingface.co/docs/timm."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gshn.backbones.base import (
    FrozenBackbone,
    choose_levels,
    fingerprint,
    resize_to_multiples,
)
from gshn.errors import ConfigError, DataError
from neuromorphic.errors import first_line

KINDS = {"timm:NAME": {"help": "a network of timm"}}

_ONLY_TENSORS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@contextmanager
def _only_tensors() -> Iterator[None]:
    """Within this context ``torch.load`` loads tensors only, whatever its caller asks for, so nothing is unpickled."""
    before = os.environ.get(_ONLY_TENSORS)
    os.environ[_ONLY_TENSORS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ONLY_TENSORS]
        else:
            os.environ[_ONLY_TENSORS] = before


class TimmBackbone(FrozenBackbone):
    """A network of timm with its pretrained weights, frozen; images are normalised as its configuration says.

    Images are scaled to the nearest multiples of the coarsest stride that is used, so that cells tile them evenly.

    Args:
        model: ``NAME`` or ``NAME.TAG`` of timm, with weights from the hub; ``local-dir:FOLDER`` and
            ``hf-hub:OWNER/NAME`` as timm knows them.
        levels: Strides of the maps, as timm lists them; None: the coarsest.

    Raises:
        ConfigError: timm is not installed, or there is no such stride.
        DataError: timm has no such network, or its weights cannot be loaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: str, levels: Sequence[int] | None = None) -> None:
        super().__init__()
        self.name = f"timm:{model}"
        try:
            import timm
        except ImportError as error:
            raise ConfigError(
                f"graph.backbone={self.name} needs a package: pip install timm torchvision ({first_line(error)})"
            ) from None
        network = self._network(timm, model)
        # The last of equal strides is the deepest.
        self._index = {int(stride): index for index, stride in enumerate(network.feature_info.reduction())}
        self.levels = choose_levels(self.name, levels, list(self._index), [max(self._index)])
        channels = network.feature_info.channels()
        self.dim = sum(channels[self._index[stride]] for stride in self.levels)
        found = timm.data.resolve_model_data_config(network)
        self.register_buffer("mean", 255 * torch.tensor(found["mean"]).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(found["std"]).view(3, 1, 1))
        self.network: Any = network
        self._channels_last = str(getattr(network, "output_fmt", None) or "").endswith("NHWC")
        taken = ",".join(map(str, self.levels))
        self.key = f"{self.name} {fingerprint(self)}:{taken} timm {timm.__version__} torch {torch.__version__}"
        self.freeze()

    def _network(self, timm: Any, model: str) -> Any:
        try:
            with _only_tensors():
                try:  # Vision transformers take other sizes than their own so.
                    return timm.create_model(model, pretrained=True, features_only=True, dynamic_img_size=True)
                except TypeError:
                    return timm.create_model(model, pretrained=True, features_only=True)
        except Exception as error:  # timm and the hub raise whatever suits them
            mend = "name a network of timm.list_models(pretrained=True), or local-dir:FOLDER"
            raise DataError(f"graph.backbone={self.name} cannot be used ({first_line(error)}); {mend}") from None

    def maps(self, images: Tensor) -> list[Tensor]:
        """See :class:`~gshn.backbones.base.FrozenBackbone`.

        Raises:
            DataError: the network does not accept this size.
        """
        x = resize_to_multiples(images, self.levels[-1])
        try:
            found = self.network((x.float() - self.mean) / self.std)
        except (AssertionError, ValueError) as error:  # networks of one size
            height, width = x.shape[-2:]
            raise DataError(f"{self.name} does not take images of {width}x{height} ({first_line(error)})") from None
        chosen = [found[self._index[stride]] for stride in self.levels]
        return [m.movedim(-1, 1) if self._channels_last else m for m in chosen]


def make(name: str, levels: Sequence[int] | None) -> TimmBackbone:
    """See :mod:`gshn.backbones`."""
    return TimmBackbone(name.partition(":")[2], levels)
