"""Vision models in the format of transformers: ViT, DINOv2, ConvNeXt, Swin, ResNet, CLIP's vision tower ..."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

from gshn.backbones.base import (
    FrozenBackbone,
    choose_levels,
    fingerprint,
    resize_to_multiples,
)
from gshn.errors import DataError
from gshn.hub import quiet_transformers
from neuromorphic.errors import counted, first_line

KINDS = {"transformers:NAME_OR_FOLDER": {"help": "an image encoder of transformers"}}


class TransformersBackbone(FrozenBackbone):
    """A vision model of transformers, frozen; images are normalised as its image processor's configuration says.

    Of a model with an image tower and a text tower, the image tower is used. A vision transformer has one map, that of
    its patches; class and register tokens are left out. A network with several stages has a map for each stride. The
    coarsest is the model's ``last_hidden_state``. Images are scaled to the nearest multiples of the coarsest stride in
    use, so that cells tile them evenly. They are not cropped, and not scaled to the size in the processor's
    configuration.

    Args:
        weights: A folder that ``save_pretrained`` wrote, or a name on the hub. Only safetensors are read.
        levels: Strides of the maps; None: the coarsest.

    Raises:
        ConfigError: there is no such stride.
        DataError: there is no such model, it is of another kind, or it is broken.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str, levels: Sequence[int] | None = None) -> None:
        super().__init__()
        self.name = f"transformers:{weights}"
        self.network: Any = self._tower(weights)
        self._positions = "interpolate_pos_encoding" in inspect.signature(self.network.forward).parameters
        self._normalise_as(weights)
        channels = self._find_maps()
        self.levels = choose_levels(self.name, levels, list(channels), [max(channels)])
        self.dim = sum(channels[stride] for stride in self.levels)
        taken = ",".join(map(str, self.levels))
        structure = blake2b(self.network.config.to_json_string().encode(), digest_size=8).hexdigest()
        versions = f"transformers {transformers.__version__} torch {torch.__version__}"
        self.key = f"transformers {structure} {fingerprint(self)}:{taken} {versions}"
        self.freeze()

    def _refused(self, reason: str, mend: str) -> DataError:
        return DataError(f"graph.backbone={self.name} cannot be used ({reason}); {mend}")

    def _tower(self, weights: str) -> Any:
        """The model, or its vision tower, with all of its weights."""
        try:
            with quiet_transformers():
                model, found = AutoModel.from_pretrained(
                    weights, use_safetensors=True, output_loading_info=True, dtype=torch.float32
                )
        except Exception as error:  # transformers and the hub raise whatever suits them
            mend = (
                "name a folder with config.json, preprocessor_config.json and model.safetensors, or a model on the hub"
            )
            raise self._refused(first_line(error), mend) from None
        tower = getattr(model, "vision_model", model)
        if tower.main_input_name != "pixel_values":
            kind = model.config.model_type
            raise self._refused(
                f"{kind} is not a vision model: its input is {model.main_input_name}", "name a vision model"
            )
        prefix = "" if tower is model else "vision_model."
        # Poolers come after the maps.
        missing = sorted(n for n in found["missing_keys"] if n.startswith(prefix) and "pooler" not in n)
        if missing:
            mend = "name weights that fit their config.json"
            raise self._refused(f"its weights lack {counted(len(missing), 'tensor')}, such as {missing[0]}", mend)
        return tower.eval()

    def _normalise_as(self, weights: str) -> None:
        """Set mean and standard deviation of the normalisation from the model's image processor."""
        try:
            with quiet_transformers():
                processor: Any = AutoImageProcessor.from_pretrained(weights, backend="pil")
        except Exception as error:
            mend = "it needs preprocessor_config.json, which says how images are normalised"
            raise self._refused(first_line(error), mend) from None
        factor = float(processor.rescale_factor) if getattr(processor, "do_rescale", True) else 1.0
        mean, std = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
        if getattr(processor, "do_normalize", True):
            mean, std = list(processor.image_mean), list(processor.image_std)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) / factor)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) / factor)

    @torch.no_grad()
    def _find_maps(self) -> dict[int, int]:
        """Channels of the model's maps by stride, found by running the model; also sets the index of each map."""
        patch = getattr(self.network.config, "patch_size", None)
        self._patch = patch if isinstance(patch, int) else None
        side = 8 * (self._patch or 8)
        try:
            found = self._all_maps(torch.zeros(1, 3, side, side, device=self.device))
        except Exception as error:  # what is not an image encoder fails in its own way
            raise self._refused(first_line(error), "name a model that encodes images") from None
        # The last of equal strides is the deepest.
        self._index = {side // m.shape[-1]: i for i, m in enumerate(found) if m.shape[-1] == m.shape[-2] <= side}
        if not self._index:
            raise self._refused("its states are not maps of the image", "name a model that encodes images")
        return {stride: found[i].shape[1] for stride, i in self._index.items()}

    def _all_maps(self, pixels: Tensor) -> list[Tensor]:
        """All maps in the model's output for normalised images (B, 3, H, W), in the model's order."""
        settings = {"interpolate_pos_encoding": True} if self._positions else {}
        out = self.network(pixel_values=pixels, output_hidden_states=True, return_dict=True, **settings)
        states = [*(out.get("reshaped_hidden_states") or out.get("hidden_states") or ()), out["last_hidden_state"]]
        grids = [tuple(state.shape[-2:]) for state in states if state.ndim == 4]
        if grids:
            grid = grids[-1]
        elif self._patch is not None:
            grid = (pixels.shape[-2] // self._patch, pixels.shape[-1] // self._patch)
        else:
            return []
        found = [state if state.ndim == 4 else self._unrolled(state, grid) for state in states]
        return [state for state in found if state is not None]

    def _unrolled(self, tokens: Tensor, grid: tuple[int, ...]) -> Tensor | None:
        """Tokens (B, S, C) as a map (B, C, rows, columns); None if they are not patches."""
        rows, columns = grid
        # In front of the patches stand a class token, DeiT's second one, or DINOv2's registers.
        extra = tokens.shape[1] - rows * columns
        if extra not in (0, 1, 2, 1 + getattr(self.network.config, "num_register_tokens", 0)):
            return None
        return tokens[:, extra:].transpose(1, 2).unflatten(2, (rows, columns))

    def maps(self, images: Tensor) -> list[Tensor]:
        """See :class:`~gshn.backbones.base.FrozenBackbone`.

        Raises:
            DataError: the model does not accept this size.
        """
        x = resize_to_multiples(images, self.levels[-1])
        try:
            found = self._all_maps((x.float() - self.mean) / self.std)
        except ValueError as error:  # models of one size
            height, width = x.shape[-2:]
            raise DataError(f"{self.name} does not take images of {width}x{height} ({first_line(error)})") from None
        return [found[self._index[stride]] for stride in self.levels]


def make(name: str, levels: Sequence[int] | None) -> TransformersBackbone:
    """See :mod:`gshn.backbones`."""
    return TransformersBackbone(name.partition(":")[2], levels)
