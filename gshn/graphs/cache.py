"""Scene graphs of a whole image collection, built once and kept on disk.

A cache is a folder named by the digest of everything that shapes the graphs. It holds ``manifest.json``, which says
that key in words, and chunks of :data:`CHUNK` graphs as safetensors files. A chunk appears by one atomic rename, so a
killed build goes on at the first missing chunk; each carries a digest of its tensors, and a broken one is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch
from tqdm import tqdm

from gshn.data.images import ImageCollection, ImageSample
from gshn.errors import DataError
from gshn.files import write_atomically
from gshn.graphs.backbones import Backbone
from gshn.graphs.build import build_graphs
from gshn.graphs.scene_graph import EDGE_GEOMETRY, GEOMETRY, GraphParameters, SceneGraph
from gshn.segments.panoptic import Segmenter

logger = logging.getLogger(__name__)

CHUNK = 256
"""Graphs per file."""

IMAGES_PER_BATCH = 64
"""Images that the backbone takes at a time."""

VERSION = 2
"""Raise when the code of ``gshn.graphs`` or ``gshn.segments`` starts to give other graphs from the same key."""

NODE_TENSORS = ("x", "category", "geometry")
EDGE_TENSORS = ("edge_index", "edge_attr")
IMAGE_TENSORS = ("image", "segment_map")


class GraphDataset(Dataset[SceneGraph]):
    """Scene graphs, held as one tensor per attribute.

    Args:
        tensors: The graphs' attributes, concatenated along their first axis (``edge_index`` as (E, 2)), and ``nodes``
            and ``edges``: the numbers of each graph's nodes and edges. Of ``x`` and of ``image`` with ``segment_map``,
            one is there.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._node_ptr = _offsets(tensors["nodes"])
        self._edge_ptr = _offsets(tensors["edges"])

    def __len__(self) -> int:
        return len(self._tensors["nodes"])

    def __repr__(self) -> str:
        return f"GraphDataset({len(self)} graphs, {self._node_ptr[-1]} nodes, {self._edge_ptr[-1]} edges)"

    @property
    def x(self) -> Tensor | None:
        """Visual features of all nodes of all graphs, float32; None where the backbone is trained."""
        return self._tensors["x"].float() if "x" in self._tensors else None

    def with_categories(self, positions: Tensor) -> GraphDataset:
        """The same graphs with category c renumbered to ``positions[c]``: their place in a larger vocabulary."""
        return GraphDataset({**self._tensors, "category": positions[self._tensors["category"]]})

    def __getitem__(self, index: int) -> SceneGraph:
        """Graph ``index``.

        Raises:
            IndexError: there is no such graph.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"graph {index} of {len(self)}")
        index %= len(self)
        nodes = torch.arange(int(self._node_ptr[index]), int(self._node_ptr[index + 1]))
        edges = torch.arange(int(self._edge_ptr[index]), int(self._edge_ptr[index + 1]))
        return SceneGraph(**self._rows(nodes, edges, torch.tensor([index])), num_nodes=len(nodes))

    def batch(self, indices: Sequence[int]) -> SceneGraph:
        """Graphs ``indices`` as one disconnected graph: ``Batch.from_data_list``, but with a few gathers in all.

        Returns:
            A :class:`torch_geometric.data.Batch` of scene graphs, with ``batch`` (N,), ``ptr`` (B + 1,) and
            ``num_graphs``; it cannot be split again.
        """
        graphs = torch.as_tensor(indices)
        nodes, edges = self._tensors["nodes"][graphs], self._tensors["edges"][graphs]
        ptr = _offsets(nodes)
        parts = self._rows(_ranges(self._node_ptr[graphs], nodes), _ranges(self._edge_ptr[graphs], edges), graphs)
        parts["edge_index"] = parts["edge_index"] + ptr[:-1].repeat_interleave(edges)
        batch = torch.arange(len(graphs)).repeat_interleave(nodes)
        return Batch(_base_cls=SceneGraph, **parts, num_nodes=len(batch), batch=batch, ptr=ptr)

    def _rows(self, nodes: Tensor, edges: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Attributes of some nodes, edges and images."""
        rows = dict.fromkeys(NODE_TENSORS, nodes) | dict.fromkeys(EDGE_TENSORS, edges)
        rows |= dict.fromkeys(IMAGE_TENSORS, images)
        parts = {name: self._tensors[name].index_select(0, row) for name, row in rows.items() if name in self._tensors}
        parts["edge_index"] = parts["edge_index"].T
        if "x" in parts:
            parts["x"] = parts["x"].float()
        return parts


def load_or_build(
    collection: ImageCollection,
    segmenter: Segmenter,
    backbone: Backbone,
    parameters: GraphParameters,
    cache_dir: Path,
    label: str,
) -> GraphDataset:
    """Load a collection's scene graphs from the cache, after building those that are not in it.

    Args:
        collection: The images.
        segmenter: Gives the nodes.
        backbone: See :func:`~gshn.graphs.build.build_graphs`.
        parameters: See :class:`GraphParameters`.
        cache_dir: Folder of all caches; made if missing.
        label: Names the collection in the progress bar (stderr).

    Raises:
        DataError: an image cannot be used (it is named), images differ in size and the backbone is trainable, or the
            collection is empty.
        GSHNError: the cache cannot be written.
    """
    if not len(collection):
        raise DataError(f"{label}: there are no images")
    key = cache_key(collection, segmenter, backbone, parameters)
    text = json.dumps(key, sort_keys=True)
    folder = cache_dir / hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    starts = range(0, len(collection), CHUNK)
    paths = [folder / f"{start:08d}.safetensors" for start in starts]
    chunks = {path: chunk for path in paths if (chunk := _read_chunk(path)) is not None}
    if len(chunks) < len(paths):
        write_atomically(folder / "manifest.json", json.dumps(key, indent=2, sort_keys=True))
        done = sum(len(chunk["nodes"]) for chunk in chunks.values())
        with tqdm(total=len(collection), initial=done, desc=label, unit="image") as progress:
            for start, path in zip(starts, paths, strict=True):
                if path not in chunks:
                    indices = range(start, min(start + CHUNK, len(collection)))
                    chunks[path] = _build_chunk(collection, indices, segmenter, backbone, parameters, progress)
                    _write_chunk(path, chunks[path])
    names = chunks[paths[0]].keys()
    return GraphDataset({name: torch.cat([chunks[path][name] for path in paths]) for name in names})


def cache_key(
    collection: ImageCollection, segmenter: Segmenter, backbone: Backbone, parameters: GraphParameters
) -> dict[str, object]:
    """Everything that shapes the graphs."""
    return {
        "version": VERSION,
        "collection": collection.key,
        "images": len(collection),
        "segmenter": segmenter.key,
        # A trainable backbone gets the pixels, whatever it makes of them.
        "features": "pixels" if backbone.trainable else backbone.key,
        "parameters": asdict(parameters),
        "geometry": [GEOMETRY, EDGE_GEOMETRY],
    }


def _build_chunk(
    collection: ImageCollection,
    indices: range,
    segmenter: Segmenter,
    backbone: Backbone,
    parameters: GraphParameters,
    progress: tqdm,
) -> dict[str, Tensor]:
    """Tensors of the graphs of some images, as :class:`GraphDataset` takes them."""
    graphs = []
    for start in range(0, len(indices), IMAGES_PER_BATCH):
        samples = [collection[i] for i in indices[start : start + IMAGES_PER_BATCH]]
        if backbone.trainable:
            _check_sizes(samples, collection[0])
        graphs += build_graphs(samples, segmenter, backbone, parameters)
        progress.update(len(samples))
    names = [name for name in (*NODE_TENSORS, "edge_attr", *IMAGE_TENSORS) if name in graphs[0]]
    tensors = {name: torch.cat([graph[name] for graph in graphs]) for name in names}
    tensors["edge_index"] = torch.cat([graph.edge_index for graph in graphs], dim=1).T.contiguous()
    tensors["nodes"] = torch.tensor([graph.num_nodes for graph in graphs])
    tensors["edges"] = torch.tensor([graph.num_edges for graph in graphs])
    if "x" in tensors:
        # Features are of magnitude < 100: float16 keeps three digits, and the cache half as large.
        tensors["x"] = tensors["x"].half()
    return tensors


def _check_sizes(samples: Sequence[ImageSample], first: ImageSample) -> None:
    for sample in samples:
        if sample.image.shape != first.image.shape:
            raise DataError(
                f"{sample.name}: a trainable backbone needs images of one size, not {sample.image.shape} as here and "
                f"{first.image.shape} as in {first.name}"
            )


def _offsets(counts: Tensor) -> Tensor:
    """[0, counts[0], counts[0] + counts[1], ...], shape (len(counts) + 1,)."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _ranges(starts: Tensor, counts: Tensor) -> Tensor:
    """starts[0], ..., starts[0] + counts[0] - 1, starts[1], ...: shape (sum of counts,)."""
    offsets = _offsets(counts)
    return (starts - offsets[:-1]).repeat_interleave(counts) + torch.arange(int(offsets[-1]))


def _write_chunk(path: Path, tensors: Mapping[str, Tensor]) -> None:
    write_atomically(path, save(dict(tensors), metadata={"digest": _digest(tensors)}))


def _read_chunk(path: Path) -> dict[str, Tensor] | None:
    """Tensors of a chunk, None if it is missing or broken."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            digest = (file.metadata() or {}).get("digest")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except (SafetensorError, OSError) as error:
        logger.warning("%s is broken and will be rebuilt (%s)", path, error)
        return None
    if digest != _digest(tensors):
        logger.warning("%s is broken and will be rebuilt (its digest does not match)", path)
        return None
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}{tensors[name].dtype}".encode())
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()
