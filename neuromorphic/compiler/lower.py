"""NIR graphs as chains of LIF layers whose parameters are folded into what neuromorphic chips have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nir
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph import RESET_TO_V_RESET, time_step

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LIFLayer:
    """M LIF neurons and the synapses into them, with the potential measured from v_reset: v = v_nir - v_reset.

    w = (1 - decay) v + weight m + bias (+ onset at step 0);  s = 1 if w > threshold else 0;  v' = 0 if s else w

    from v = 0, with m the messages (spikes, or graded input) of this step. It is forward Euler of ``nir.LIF``:

    decay = dt / tau;  weight = decay r W;  bias = decay (r b + v_leak - v_reset);  threshold = v_threshold - v_reset

    NIR starts at v_nir = 0, that is v = -v_reset. Lava's neurons have to start at v = 0, where they can wait for their
    first input without leaking, so step 0 gets what is left of the start: onset = -(1 - decay) v_reset.

    Attributes:
        name: Name of the LIF node.
        weight: Shape (M, K).
        bias: Shape (M,).
        onset: Shape (M,).
        decay: In (0, 1], shape (M,).
        threshold: Above 0, shape (M,).
    """

    name: str
    weight: sparse.csr_matrix
    bias: Floats
    onset: Floats
    decay: Floats
    threshold: Floats


@dataclass(frozen=True)
class LIFChain:
    """LIF layers, each driven by the one before, the first by the input."""

    layers: tuple[LIFLayer, ...]

    @property
    def sizes(self) -> list[int]:
        """Input size, then the neurons of every layer."""
        return [self.layers[0].weight.shape[1]] + [layer.weight.shape[0] for layer in self.layers]


def lower(graph: nir.NIRGraph) -> LIFChain:
    """Fold a chain Input -> (Affine or Linear -> LIF) x L -> Output.

    Raises:
        UnsupportedGraphError: another topology or node, parameters out of range, or another reset rule.
    """
    dt = time_step(graph)
    names = chain_of_nodes(graph)
    if len(names) < 2 or len(names) % 2:
        raise UnsupportedGraphError(f"a chain of Affine or Linear, LIF pairs is needed, got nodes {', '.join(names)}")
    return LIFChain(
        tuple(lower_layer(graph, a, b, dt) for a, b in zip(names[::2], names[1::2], strict=True)),
    )


def chain_of_nodes(graph: nir.NIRGraph) -> list[str]:
    """Names between Input and Output of a graph that is one chain."""
    following: dict[str, str] = {}
    for source, target in graph.edges:
        if source in following:
            raise UnsupportedGraphError(f"node '{source}' has several outgoing edges; only chains are supported")
        following[source] = target
    inputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    if len(inputs) != 1:
        raise UnsupportedGraphError(f"one Input node is needed, got {len(inputs)}")
    names = inputs
    while names[-1] in following:
        if following[names[-1]] in names:
            raise UnsupportedGraphError(f"node '{following[names[-1]]}' is part of a loop; only chains are supported")
        names.append(following[names[-1]])
    if not isinstance(graph.nodes[names[-1]], nir.Output):
        raise UnsupportedGraphError(f"node '{names[-1]}' leads nowhere; the chain must end in an Output node")
    if left_out := sorted(set(graph.nodes) - set(names)):
        raise UnsupportedGraphError(f"node '{left_out[0]}' is not on the chain from Input to Output")
    return names[1:-1]


def lower_layer(graph: nir.NIRGraph, linear: str, neurons: str, dt: float) -> LIFLayer:
    """Fold one Affine or Linear node and the LIF node after it."""
    synapses, lif = graph.nodes[linear], graph.nodes[neurons]
    if not isinstance(synapses, nir.Affine | nir.Linear):
        raise UnsupportedGraphError(f"node '{linear}' is a {type(synapses).__name__}; Affine or Linear is needed there")
    if not isinstance(lif, nir.LIF):
        raise UnsupportedGraphError(f"node '{neurons}' is a {type(lif).__name__}; LIF is needed there")
    reset = lif.metadata.get("reset", RESET_TO_V_RESET)
    if reset != RESET_TO_V_RESET:
        raise UnsupportedGraphError(f"node '{neurons}': reset rule '{reset}' is not supported")

    size = synapses.weight.shape[0]
    b = synapses.bias if isinstance(synapses, nir.Affine) else 0.0
    try:
        tau, r, v_leak, v_threshold, v_reset, b = (
            np.broadcast_to(np.asarray(value, np.float64), size)
            for value in (lif.tau, lif.r, lif.v_leak, lif.v_threshold, lif.v_reset, b)
        )
    except ValueError:
        raise UnsupportedGraphError(f"nodes '{linear}' and '{neurons}' differ in size ({size} outputs)") from None
    for key, values in (("weight", synapses.weight), ("bias", b), ("r", r), ("v_leak", v_leak), ("v_reset", v_reset)):
        if not np.isfinite(values).all():
            raise UnsupportedGraphError(f"nodes '{linear}' and '{neurons}': {key} has values that are not finite")
    if not (tau >= dt).all():
        raise UnsupportedGraphError(f"node '{neurons}': tau must be at least dt = {dt}, got {tau.min()}")
    if not (v_threshold > v_reset).all():
        raise UnsupportedGraphError(f"node '{neurons}': v_threshold must be above v_reset")
    decay = dt / tau
    weight = sparse.csr_matrix(synapses.weight, dtype=np.float64)
    weight.data *= np.repeat(decay * r, np.diff(weight.indptr))
    return LIFLayer(
        name=neurons,
        weight=weight,
        bias=decay * (r * b + v_leak - v_reset),
        onset=-(1 - decay) * v_reset,
        decay=decay,
        threshold=v_threshold - v_reset,
    )


def pack(chains: Sequence[LIFChain]) -> LIFChain:
    """Put chains side by side, as one chain with block-diagonal weights: one network, one run.

    Raises:
        UnsupportedGraphError: the chains differ in their layers' names.
    """
    names = {tuple(layer.name for layer in chain.layers) for chain in chains}
    if len(names) != 1:
        raise UnsupportedGraphError(f"graphs packed into one run need the same layers, got {len(names)} kinds of chain")
    packed = []
    for parts in zip(*(chain.layers for chain in chains), strict=True):
        packed.append(
            LIFLayer(
                name=parts[0].name,
                weight=block_diagonal([part.weight for part in parts]),
                bias=np.concatenate([part.bias for part in parts]),
                onset=np.concatenate([part.onset for part in parts]),
                decay=np.concatenate([part.decay for part in parts]),
                threshold=np.concatenate([part.threshold for part in parts]),
            )
        )
    return LIFChain(tuple(packed))


def block_diagonal(blocks: Sequence[sparse.csr_matrix]) -> sparse.csr_matrix:
    """``scipy.sparse.block_diag`` for CSR blocks, without its detour over the several times larger COO format."""
    rows, columns = (sum(block.shape[axis] for block in blocks) for axis in (0, 1))
    entries = sum(block.nnz for block in blocks)
    index = np.int32 if max(entries, columns) < 2**31 else np.int64
    data, indices = np.empty(entries), np.empty(entries, index)
    indptr = np.zeros(rows + 1, index)
    row = column = entry = 0
    for block in blocks:
        stop = entry + block.nnz
        data[entry:stop] = block.data
        np.add(block.indices, column, out=indices[entry:stop], casting="same_kind")
        indptr[row + 1 : row + 1 + block.shape[0]] = block.indptr[1:].astype(index) + entry
        row, column, entry = row + block.shape[0], column + block.shape[1], stop
    return sparse.csr_matrix((data, indices, indptr), shape=(rows, columns))
