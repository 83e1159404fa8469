"""Scene graphs in memory, and the interface that they share with a folder of shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch

from gshn.graphs.scene_graph import SceneGraph

NODE_TENSORS = ("x", "category", "geometry", "whole", "cells")
EDGE_TENSORS = ("edge_index", "edge_attr")
IMAGE_TENSORS = ("image", "segment_map", "maps", "extent")

CHANNELS = 64
"""Number of channels whose moments are computed together."""


class GraphDataset(Dataset[SceneGraph]):
    """Scene graphs, held as one tensor per attribute.

    Args:
        tensors: The graphs' attributes, concatenated along their first axis (``edge_index`` as (E, 2)), and ``nodes``
            and ``edges``: the numbers of each graph's nodes and edges. There is either ``x``, or ``image`` with
            ``segment_map``.
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
        """Visual features of all nodes of all graphs, shape (N, F), float32; None if the backbone is trainable."""
        return self._tensors["x"].float() if "x" in self._tensors else None

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """Means of the nodes' visual features and of their squares, shape (F,) each; None if there is no ``x``.

        They are taken over all nodes, or over the nodes of whole images where graphs have them. Features of whole
        images vary less than those of segments; standardised by their own moments, they have the scale that noise and
        learning rates are set for.
        """
        if "x" not in self._tensors:
            return None
        x, whole = self._tensors["x"], self._tensors.get("whole", slice(None))
        # A few channels at a time: all of them in float32, and squared, would be four times what is held.
        parts = [part[whole].float() for part in x.split(CHANNELS, dim=1)]
        return torch.cat([part.mean(dim=0) for part in parts]), torch.cat([part.square().mean(dim=0) for part in parts])

    @cached_property
    def digests(self) -> Tensor:
        """A digest of each graph, shape (graphs,), int64. Graphs with the same bytes have the same digest."""
        hashes = [blake2b(digest_size=8) for _ in range(len(self))]
        ends = dict.fromkeys(NODE_TENSORS, self._node_ptr) | dict.fromkeys(EDGE_TENSORS, self._edge_ptr)
        images = torch.arange(len(self) + 1)
        for name in (*NODE_TENSORS, *EDGE_TENSORS, *IMAGE_TENSORS):
            if name in self._tensors and name != "maps":  # much to read, and x is made of them
                rows = self._tensors[name].contiguous().numpy()
                for own, (start, end) in zip(hashes, pairwise(ends.get(name, images).tolist()), strict=True):
                    own.update(rows[start:end].data)
        return torch.tensor([int.from_bytes(own.digest(), "little", signed=True) for own in hashes], dtype=torch.long)

    def with_categories(self, positions: Tensor) -> GraphDataset:
        """The same graphs with category c renumbered to ``positions[c]``, shape (categories,), of a larger
        vocabulary."""
        return GraphDataset({**self._tensors, "category": positions[self._tensors["category"]]})

    @classmethod
    def join(cls, parts: Sequence[GraphDataset]) -> GraphDataset:
        """Concatenate data sets."""
        names = parts[0]._tensors
        return cls({name: torch.cat([part._tensors[name] for part in parts]) for name in names})

    def repeating(self, index: int, count: int) -> GraphDataset:
        """A data set that repeats graph ``index``."""
        graphs = torch.full((count,), index)
        nodes, edges = self._tensors["nodes"][graphs], self._tensors["edges"][graphs]
        rows = dict.fromkeys(NODE_TENSORS, _ranges(self._node_ptr[graphs], nodes))
        rows |= dict.fromkeys(EDGE_TENSORS, _ranges(self._edge_ptr[graphs], edges))
        return GraphDataset({name: tensor[rows.get(name, graphs)] for name, tensor in self._tensors.items()})

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
        """Join graphs ``indices`` to one disconnected graph, as ``Batch.from_data_list`` does, but with few gathers.

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


def _offsets(counts: Tensor) -> Tensor:
    """[0, counts[0], counts[0] + counts[1], ...], shape (len(counts) + 1,)."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _ranges(starts: Tensor, counts: Tensor) -> Tensor:
    """starts[0], ..., starts[0] + counts[0] - 1, starts[1], ...: shape (sum of counts,)."""
    offsets = _offsets(counts)
    return (starts - offsets[:-1]).repeat_interleave(counts) + torch.arange(int(offsets[-1]))
