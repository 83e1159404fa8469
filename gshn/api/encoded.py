"""Encoded images and texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.segmentation import mark_boundaries

from gshn.api.html import picture, png
from gshn.data.images import ImageSample
from gshn.encoders.alignment import Embeddings
from gshn.errors import DataError
from gshn.graphs.draw import draw_graph
from gshn.graphs.scene_graph import GraphParameters, SceneGraph, node_map
from gshn.inference import SpikeCount
from gshn.model import NodeTokens

SHOWN = 8
"""Number of images that a notebook shows."""


@dataclass(frozen=True, eq=False, repr=False)
class Details:
    """Intermediate results of encoded images.

    Attributes:
        samples: Images in the size that the model saw, with their segments.
        graphs: Scene graphs.
        tokens: Node states, from which questions are answered.
        parameters: Settings that the graphs were built with.
        categories: Names of the categories; a node's ``category`` is an index in them.
    """

    samples: tuple[ImageSample, ...]
    graphs: tuple[SceneGraph, ...]
    tokens: NodeTokens
    parameters: GraphParameters
    categories: tuple[str, ...]

    def __getitem__(self, rows: NDArray[np.int64]) -> Details:
        """The intermediate results of some of the images."""
        samples, graphs = (tuple(kept[row] for row in rows) for kept in (self.samples, self.graphs))
        tokens = self.tokens[torch.from_numpy(rows)]
        return Details(samples, graphs, tokens, self.parameters, self.categories)


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """I encoded images, in the order in which they were given: the result of ``Model.encode_images``.

    ``images[3]``, ``images[2:5]``, ``images[[0, 7]]`` and the items of a loop are encoded images, too.

    Attributes:
        names: Names of the files; "image 3" for an image without a name.
        encoded: The embeddings that retrieval compares, as tensors.
        count: Spikes of all images that were encoded together.
        task: The task whose settings shaped the graphs: ``retrieval``, ``vqa``, ``entailment`` or ``nlvr2``.
        kept: Pixels, segments and graphs; None with ``keep=False``.
    """

    names: tuple[str, ...]
    encoded: Embeddings
    count: SpikeCount
    task: str
    kept: Details | None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int | slice | list[int] | NDArray[np.int64]) -> Images:
        rows = np.atleast_1d(np.arange(len(self))[index])
        encoded = self.encoded[torch.from_numpy(rows).to(self.encoded.whole.device)]
        names = tuple(self.names[row] for row in rows)
        return Images(names, encoded, self.count, self.task, self.kept and self.kept[rows])

    def __iter__(self) -> Iterator[Images]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        shown = ", ".join(self.names[:3]) + (", ..." if len(self) > 3 else "")
        nodes = "" if self.kept is None else f", {sum(graph.num_nodes for graph in self.kept.graphs)} segments"
        return f"Images({len(self)}: {shown}{nodes}, embeddings {'x'.join(map(str, self.embeddings.shape))})"

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """One unit vector for each whole image, shape (I, E), float32.

        Their products with texts' embeddings are only a part of ``Model.similarity``, which also compares segments with
        words and spikes with spikes, as far as the model was trained to.
        """
        out: NDArray[np.float32] = self.encoded.whole.float().cpu().numpy()
        return out

    @property
    def details(self) -> Details:
        """Pixels, segments and graphs.

        Raises:
            DataError: they were not kept (``keep=False``).
        """
        if self.kept is None:
            raise DataError("only embeddings of these images were kept; encode_images(..., keep=True) keeps the rest")
        return self.kept

    @property
    def pixels(self) -> list[NDArray[np.uint8]]:
        """RGB of each image as the model saw it, scaled and upright, shape (H, W, 3), uint8."""
        return [sample.image for sample in self.details.samples]

    @property
    def segments(self) -> list[NDArray[np.int32]]:
        """Index of each pixel's node, -1 for none, for each image: shape (H, W), int32."""
        return [
            node_map(sample.panoptic, self.details.parameters) for sample in self.details.samples if sample.panoptic
        ]

    @property
    def graphs(self) -> tuple[SceneGraph, ...]:
        """Scene graph of each image: :class:`gshn.graphs.scene_graph.SceneGraph`, a graph of PyTorch Geometric."""
        return self.details.graphs

    @property
    def features(self) -> list[NDArray[np.float32]] | None:
        """Visual features of each image's nodes, shape (N, F); None where the backbone is a part of the model."""
        graphs = self.details.graphs
        return [graph.x.numpy() for graph in graphs] if all("x" in graph for graph in graphs) else None

    @property
    def nodes(self) -> list[NDArray[np.float32]]:
        """V' = r E_SNN + F_GAT of each image's nodes, shape (N, C), float32."""
        tokens = self.details.tokens
        rows = zip(tokens.nodes, self.details.graphs, strict=True)
        return [own[: graph.num_nodes].float().numpy() for own, graph in rows]

    @property
    def firing_rate(self) -> float:
        """Spikes per neuron and step of all images that were encoded together; 0 without a spiking path."""
        return self.count.firing_rate

    def draw(self, index: int = 0) -> bytes:
        """Segments and scene graph over one of the images, as PNG."""
        kept = self[index].details
        (sample,), (graph,) = kept.samples, kept.graphs
        assert sample.panoptic is not None  # what was encoded has segments
        boxes = kept.parameters.regions == "boxes"
        return draw_graph(sample.image, sample.panoptic, graph, kept.categories, beside=False, boxes=boxes)

    def _repr_html_(self) -> str:
        if self.kept is None:
            return f"<pre>{self!r}</pre>"
        shown = self[:SHOWN]
        cells = []
        for name, pixels, segments in zip(shown.names, shown.pixels, shown.segments, strict=True):
            outlined = (255 * mark_boundaries(pixels, segments, color=(1, 1, 1))).astype(np.uint8)
            cells.append(picture(png(outlined), f"{name}: {segments.max() + 1} nodes", 160))
        more = f"<p>and {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        return f"<div>{' '.join(cells)}</div>{more}"


@dataclass(frozen=True, eq=False, repr=False)
class Texts:
    """T encoded texts: the result of ``Model.encode_texts``.

    Attributes:
        texts: The texts.
        encoded: The embeddings that retrieval compares, as tensors.
    """

    texts: tuple[str, ...]
    encoded: Embeddings

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int | slice | list[int] | NDArray[np.int64]) -> Texts:
        rows = np.atleast_1d(np.arange(len(self))[index])
        encoded = self.encoded[torch.from_numpy(rows).to(self.encoded.whole.device)]
        return Texts(tuple(self.texts[row] for row in rows), encoded)

    def __iter__(self) -> Iterator[Texts]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.texts[:2])) + (", ..." if len(self) > 2 else "")
        return f"Texts({len(self)}: {shown}, embeddings {'x'.join(map(str, self.embeddings.shape))})"

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """One unit vector for each whole text, shape (T, E), float32; see :attr:`Images.embeddings`."""
        out: NDArray[np.float32] = self.encoded.whole.float().cpu().numpy()
        return out
