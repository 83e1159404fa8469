"""Read segmentation networks in the format of transformers, and identify them for the graph cache."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING,
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    AutoProcessor,
)

from gshn.errors import DataError
from gshn.hub import quiet_transformers
from neuromorphic.errors import counted, first_line

KINDS: dict[str, tuple[Any, Any]] = {
    "semantic": (AutoModelForSemanticSegmentation, MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING),
    "mask2former": (AutoModelForUniversalSegmentation, MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING),
}
"""For each of these segmenters the class that loads its network, and the families of networks, by configuration."""


def load_network(segmenter: str, weights: str) -> tuple[Any, Any]:
    """Load the image processor and the network of a segmenter, in evaluation mode.

    Args:
        segmenter: One of :data:`KINDS`.
        weights: A folder that ``save_pretrained`` wrote, or a name on the hub. Only safetensors are read.

    Raises:
        DataError: there is no such network, it is of another kind, or it is broken or not whole.
    """
    network, families = KINDS[segmenter]
    mend = "name a folder with config.json, preprocessor_config.json and model.safetensors, or a model on the hub"
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(weights)
            if type(config) not in families:
                raise DataError(_wrong_kind(segmenter, weights, config))
            processors = AutoProcessor if config.model_type == "oneformer" else AutoImageProcessor
            processor: Any = processors.from_pretrained(weights, backend="pil")
            model, told = network.from_pretrained(weights, use_safetensors=True, output_loading_info=True)
    except DataError:
        raise
    except Exception as error:  # transformers and the hub raise errors of many types
        raise DataError(f"segmenter weights {weights} cannot be used ({first_line(error)}); {mend}") from None
    # Auxiliary heads are of use in training only; any other part that is not there would be random.
    if segmenter == "semantic" and (missing := sorted(key for key in told["missing_keys"] if "auxiliary" not in key)):
        tensors = counted(len(missing), "tensor")
        raise DataError(
            f"segmenter weights {weights} lack {tensors} of {type(model).__name__}, e.g. {missing[0]}: "
            f"they are of {_architecture(config)}; name weights trained for semantic segmentation"
        )
    model.eval().requires_grad_(False)
    return processor, model.to("cuda" if torch.cuda.is_available() else "cpu")


def _wrong_kind(segmenter: str, weights: str, config: Any) -> str:
    expected = sorted({family.model_type for family in KINDS[segmenter][1]})
    fitting = [f"; segmenter {name} takes these" for name, (_, families) in KINDS.items() if type(config) in families]
    return (
        f"segmenter weights {weights} are of {_architecture(config)}; segmenter {segmenter} takes "
        f"{KINDS[segmenter][0].__name__.removeprefix('AutoModel')} of transformers ({', '.join(expected)})"
        + "".join(fitting)
    )


def _architecture(config: Any) -> str:
    return (getattr(config, "architectures", None) or [f"the model type {config.model_type}"])[0]


def version_of(weights: str, model: Any) -> str:
    """A string that identifies a network: a digest of the files in its folder, or its commit on the hub."""
    folder = Path(weights)
    if not folder.is_dir():
        return f"{weights}@{getattr(model.config, '_commit_hash', None)}"
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
