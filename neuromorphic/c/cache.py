"""Networks and libraries made from a graph, kept for its next run."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.c import library
from neuromorphic.c.library import Library
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.quantize import FixedNetwork, Ranges, quantize
from neuromorphic.execution.populations import PopulationRun
from neuromorphic.graph import Graph

LIBRARIES = 3
"""Libraries kept per graph: for floats, for floats with ``watch``, and for integers."""


class Cached:
    """The folded networks, fixed-point networks and libraries that were last made from a graph.

    Attributes:
        digest: Digest of the graph's numbers, see :func:`digest`.
    """

    def __init__(self, graph: Graph) -> None:
        self.digest = digest(graph)
        self._networks: dict[int | None, Network] = {}
        self._fixed: tuple[Network, Ranges, FixedNetwork] | None = None
        self._libraries: list[tuple[Network, Library]] = []

    def lower(self, graph: Graph, horizon: int | None) -> Network:
        """See :func:`neuromorphic.compiler.lower.lower`."""
        if horizon not in self._networks:
            self._networks = {horizon: lower(graph, horizon=horizon)}
        return self._networks[horizon]

    def quantize(self, network: Network, ranges: Ranges) -> FixedNetwork:
        """See :func:`neuromorphic.compiler.quantize.quantize`."""
        if self._fixed is None or self._fixed[0] is not network or self._fixed[1] != ranges:
            self._fixed = network, ranges, quantize(network, ranges)
        return self._fixed[2]

    def run(
        self,
        network: Network,
        inputs: Mapping[str, NDArray],
        potentials: Collection[str] = (),
        batched: bool = False,
        watch: bool = False,
    ) -> PopulationRun:
        """See :func:`neuromorphic.c.library.run`."""
        return library.run(network, inputs, potentials, batched, watch, find=self._library)

    def _library(self, network: Network, limits: Mapping[str, int] | None, watch: bool) -> Library:
        """A library that was made before for messages up to these limits; else a new one."""
        for k, (other, own) in enumerate(self._libraries):
            if other is network and own.watch == watch and own.limits == (limits or {}):
                self._libraries.append(self._libraries.pop(k))
                return own
        own = Library.of(network, limits, watch)
        self._libraries = [*self._libraries[1 - LIBRARIES :], (network, own)]
        return own


_cached: dict[int, tuple[weakref.ref[Graph], Cached]] = {}


def cached(graph: Graph) -> Cached:
    """The cache of a graph. It lives as long as the graph, and is emptied when a number of the graph has changed."""
    key = id(graph)
    if key in _cached and _cached[key][0]() is graph and _cached[key][1].digest == digest(graph):
        return _cached[key][1]
    found = Cached(graph)
    _cached[key] = weakref.ref(graph, lambda _: _cached.pop(key, None)), found
    return found


def digest(graph: Graph) -> tuple[Any, ...]:
    """Digest of a whole graph. Its arrays may be those of the NIR graph, which the user can change between runs."""

    def of(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.shape, value.dtype.str, zlib.crc32(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        return repr(value)

    nodes = [
        (name, node.kind, node.shape, node.reset, *((key, of(value)) for key, value in sorted(own.items())))
        for name, node in graph.nodes.items()
        for own in ({**node.parameters, **{f"metadata {k}": v for k, v in (node.metadata or {}).items()}},)
    ]
    return graph.dt, *nodes, repr(graph.sources)
