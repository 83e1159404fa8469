"""Shards -> training, a few at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gshn.graphs.scene_graph import SceneGraph
from gshn.graphs.shards.files import StoredGraph, to_dataset
from gshn.graphs.shards.index import Index


class ShardStream:
    """Graphs and texts of a folder of shards, a few shards in memory at a time.

    :meth:`order` visits the shards in groups of ``group``, so that each is read once an epoch, from its beginning to
    its end, and no more than two groups are held.
    """

    def __init__(self, index: Index, group: int = 4) -> None:
        self.index, self.group = index, group
        self._names = list(index.graphs)
        self._starts = np.cumsum([0, *index.graphs.values()])
        self._held: OrderedDict[int, list[StoredGraph]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[StoredGraph]:
        for name in self._names:
            yield from self.index.read(name)

    def __repr__(self) -> str:
        return f"ShardStream({self.index.folder}: {len(self)} graphs in {len(self._names)} shards)"

    def order(self, random: np.random.Generator) -> NDArray[np.int64]:
        """A permutation of all graphs, shape (graphs,): shards in random order, ``group`` of them shuffled together."""
        shards = random.permutation(len(self._names))
        parts = []
        for first in range(0, len(shards), self.group):
            ranges = [np.arange(self._starts[k], self._starts[k + 1]) for k in shards[first : first + self.group]]
            parts.append(random.permutation(np.concatenate(ranges)))
        return np.concatenate(parts)

    def order_of(self, graphs: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """A permutation of items, each of which needs a graph: shards in random order, as in :meth:`order`.

        Args:
            graphs: Index of each item's graph, shape (items,).
            random: Random generator.
        """
        group = np.empty(len(self._names), dtype=np.int64)
        group[random.permutation(len(self._names))] = np.arange(len(self._names)) // self.group
        items = random.permutation(len(graphs))
        shard = np.searchsorted(self._starts, graphs[items], side="right") - 1
        return items[np.argsort(group[shard], kind="stable")]

    def fetch(self, indices: Sequence[int]) -> list[StoredGraph]:
        """Graphs of some positions."""
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        return [self._shard(int(k))[i - self._starts[k]] for i, k in zip(indices, shards, strict=True)]

    def _shard(self, k: int) -> list[StoredGraph]:
        if k not in self._held:
            while len(self._held) >= 2 * self.group:
                self._held.popitem(last=False)
            self._held[k] = self.index.read_in_order(self._names[k])
        self._held.move_to_end(k)
        return self._held[k]


class StreamedGraphs:
    """Scene graphs read from shards as they are needed, in :class:`gshn.graphs.dataset.GraphDataset`'s place.

    Args:
        stream: The shards.
        positions: Place of each of their categories in a larger vocabulary.
    """

    def __init__(self, stream: ShardStream, positions: Tensor) -> None:
        self.stream, self.positions = stream, positions

    def __len__(self) -> int:
        return len(self.stream)

    def batch(self, indices: Sequence[int]) -> SceneGraph:
        """See :meth:`gshn.graphs.dataset.GraphDataset.batch`."""
        stored = self.stream.fetch(indices)
        return to_dataset(stored).with_categories(self.positions).batch(range(len(stored)))

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """See :attr:`gshn.graphs.dataset.GraphDataset.moments`."""
        return self.stream.index.moments
