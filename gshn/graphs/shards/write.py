"""Images -> shards."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from gshn.data.images import ImageCollection, ImageSample
from gshn.errors import DataError
from gshn.files import make_folder, write_atomically
from gshn.graphs.backbones import Backbone
from gshn.graphs.build import try_to_build_graphs
from gshn.graphs.scene_graph import EDGE_GEOMETRY, GEOMETRY, GraphParameters, SceneGraph
from gshn.graphs.shards.files import Appender, digest, read_json_file, read_shard
from gshn.segments.panoptic import Segmenter

logger = logging.getLogger(__name__)

SHARD = 256
"""Images per shard where nobody says otherwise."""

IMAGES_PER_BATCH = 64
"""Images that segmenter and backbone may take together."""

VERSION = 3
"""Raise when the code of ``gshn.graphs`` or ``gshn.segments`` starts to give other graphs from the same key."""


@dataclass(frozen=True)
class Recipe:
    """Images -> scene graphs: all that shapes what is in the shards.

    Attributes:
        collection: The images.
        segmenter: Gives the nodes.
        backbone: See :func:`~gshn.graphs.build.build_graphs`.
        parameters: See :class:`GraphParameters`.
    """

    collection: ImageCollection
    segmenter: Segmenter
    backbone: Backbone
    parameters: GraphParameters

    @property
    def key(self) -> dict[str, Any]:
        """Everything that shapes the graphs, JSON-able."""
        return {
            "version": VERSION,
            "collection": self.collection.key,
            "images": len(self.collection),
            "segmenter": self.segmenter.key,
            "categories": [[c.id, c.name, c.isthing] for c in self.segmenter.categories],
            # A trainable backbone gets the pixels, whatever it makes of them.
            "features": "pixels" if self.backbone.trainable else self.backbone.key,
            "parameters": asdict(self.parameters),
            "geometry": [list(GEOMETRY), list(EDGE_GEOMETRY)],
        }


Annotate = Callable[[int], Mapping[str, Any]]
"""Index of an image -> what is stored of its texts, JSON-able."""


def write_shards(
    recipe: Recipe,
    folder: Path,
    label: str,
    shard_size: int = SHARD,
    rank: int = 0,
    world_size: int = 1,
    strict: bool = False,
    annotate: Annotate | None = None,
) -> None:
    """Write the shards that are this process's and not there yet.

    Args:
        recipe: What to write.
        folder: Where to; made if missing.
        label: Names the collection in the progress bar (stderr).
        shard_size: Images per shard.
        rank: This process among those that write.
        world_size: Their number.
        strict: Stop at an image that cannot be used, instead of listing it and going on.
        annotate: Texts to store with each image.

    Raises:
        DataError: the folder holds something else, the collection is empty, images differ in size and the backbone is
            trainable; an image cannot be used, if ``strict``.
        GSHNError: the folder cannot be written, the disk is full, or another process writes the same shard.
    """
    collection = recipe.collection
    if not len(collection):
        raise DataError(f"{label}: there are no images")
    _write_manifest(make_folder(folder), {**recipe.key, "shard_size": shard_size})
    shards = shard_ranges(len(collection), shard_size)
    own = {folder / name: shards[name] for name in list(shards)[rank::world_size]}
    missing = {path: images for path, images in own.items() if not is_complete(path)}
    if not missing:
        return
    total, left = (sum(map(len, part.values())) for part in (own, missing))
    with tqdm(total=total, initial=total - left, desc=label, unit="image") as bar:
        for path, images in missing.items():
            _write_shard(recipe, path, images, strict, annotate, bar)


def shard_ranges(images: int, shard_size: int) -> dict[str, range]:
    """File name of every shard, and the images that it holds."""
    starts = range(0, images, shard_size)
    return {f"{k:05d}.tar": range(start, min(start + shard_size, images)) for k, start in enumerate(starts)}


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    path = folder / "manifest.json"
    if path.is_file():
        found = read_json_file(path)
        if changed := [name for name in manifest if found.get(name) != json.loads(json.dumps(manifest[name]))]:
            raise DataError(f"{folder} holds shards that differ in {', '.join(changed)}; choose another folder")
    else:
        write_atomically(path, json.dumps(manifest, indent=2))


def is_complete(path: Path) -> bool:
    return path.is_file() and path.with_suffix(".json").is_file()


def _write_shard(recipe: Recipe, path: Path, images: range, strict: bool, annotate: Annotate | None, bar: tqdm) -> None:
    """Write the images of a shard that its ``.partial`` does not hold yet, then give it its name."""
    partial = path.with_suffix(".tar.partial")
    broken: list[dict[str, Any]] = []
    with Appender(partial) as appender:
        todo = [index for index in images if index not in appender.written]
        bar.update(len(images) - len(todo))
        for start in range(0, len(todo), IMAGES_PER_BATCH):
            indices = todo[start : start + IMAGES_PER_BATCH]
            for index, name, result in _build(recipe, indices):
                if isinstance(result, DataError):
                    if strict:
                        raise result
                    logger.warning("%s; it is left out", result)
                    broken.append({"index": index, "name": name, "reason": str(result)})
                else:
                    appender.write(
                        index, {"index": index, "name": name, **(annotate(index) if annotate else {})}, result
                    )
            bar.update(len(indices))
    write_atomically(path.with_suffix(".json"), json.dumps({**_summary(partial), "broken": broken}))
    partial.replace(path)  # last: a shard is complete when both are there


def _summary(path: Path) -> dict[str, Any]:
    """What a shard holds, read back from it: numbers of graphs and nodes, sums over the nodes' features, a digest."""
    graphs = nodes = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0
    for stored in read_shard(path):
        graphs += 1
        nodes += len(stored.tensors["category"])
        if "x" in stored.tensors:
            x = stored.tensors["x"].double()
            total, squares = total + x.sum(dim=0), squares + x.square().sum(dim=0)
    moments = [total.tolist(), squares.tolist()] if isinstance(total, Tensor) and isinstance(squares, Tensor) else []
    return {"graphs": graphs, "nodes": nodes, "moments": moments, "digest": digest(path)}


def _build(recipe: Recipe, indices: Sequence[int]) -> Iterator[tuple[int, str, SceneGraph | DataError]]:
    """Graph, or the reason why there is none, of some images."""
    samples: dict[int, ImageSample] = {}
    errors: dict[int, DataError] = {}
    for index in indices:
        try:
            samples[index] = recipe.collection[index]
        except DataError as error:
            errors[index] = error
    if recipe.backbone.trainable and samples:
        _check_sizes(list(samples.values()), _first(recipe.collection))
    built = try_to_build_graphs(list(samples.values()), recipe.segmenter, recipe.backbone, recipe.parameters)
    results = dict(zip(samples, built, strict=True))
    for index in indices:
        if index in errors:
            yield index, "", errors[index]
        else:
            yield index, samples[index].name, results[index]


def _first(collection: ImageCollection) -> ImageSample:
    """The first image that can be read; some image can."""
    for index in range(len(collection)):
        with contextlib.suppress(DataError):
            return collection[index]
    raise DataError("no image can be read")


def _check_sizes(samples: Sequence[ImageSample], first: ImageSample) -> None:
    for sample in samples:
        if sample.image.shape != first.image.shape:
            raise DataError(
                f"{sample.name}: a trainable backbone needs images of one size, not {sample.image.shape} as here and "
                f"{first.image.shape} as in {first.name}"
            )
