"""Encoding a batch a chunk at a time, so that it may be larger than what the encoders compute on the way is.

Contrast needs all embeddings of a batch together, but not all that led to them. So, as in GradCache (Gao et al.,
arXiv:2101.06983): encoders run over a chunk after the other without keeping anything but their states; losses and their
gradients with respect to the states are computed from all of them; and with these each chunk is run again, and
backward. Here autograd does the second part: a chunk is a checkpoint (:func:`torch.utils.checkpoint.checkpoint`), whose
backward pass computes it anew, the same dropout among it. Losses and gradients are those of the batch as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from gshn.encoders.hybrid import EncodedGraphs, NodeInputs
from gshn.encoders.spiking import SpikeTrains
from gshn.encoders.text import EncodedTexts


def graphs_in_chunks(encode: Callable[[NodeInputs], EncodedGraphs], inputs: NodeInputs, size: int) -> EncodedGraphs:
    """``encode(inputs)``, so many scene graphs at a time.

    Args:
        encode: Treats every graph as if it were alone.
        inputs: B graphs.
        size: Graphs of a chunk.
    """
    if inputs.num_graphs <= size:
        return encode(inputs)
    parts = [_recomputed(_graphs(encode, own.num_graphs), *_tensors(own)) for own in split(inputs, size)]
    offsets = range(0, inputs.num_graphs, size)
    batch = torch.cat([part.batch + offset for part, offset in zip(parts, offsets, strict=True)])
    trains = [part.spikes for part in parts if part.spikes is not None]
    return EncodedGraphs(
        torch.cat([part.nodes for part in parts]),
        torch.cat([part.readout for part in parts]),
        batch,
        inputs.num_graphs,
        torch.cat([part.centroid for part in parts]),
        SpikeTrains(tuple(torch.cat(layers, dim=1) for layers in zip(*(own.layers for own in trains), strict=True)))
        if trains
        else None,
        *(_cat_some([getattr(part, name) for part in parts]) for name in ("whole", "continuous")),
    )


def texts_in_chunks(
    encode: Callable[..., EncodedTexts],
    input_ids: Tensor,
    attention_mask: Tensor,
    states: Tensor | None,
    tokens: bool,
    size: int,
) -> EncodedTexts:
    """``encode(input_ids, attention_mask, states, tokens)``, see :meth:`gshn.encoders.text.TextEncoder.forward`.

    Args:
        encode: Treats every text as if it were alone.
        input_ids, attention_mask, states, tokens: Its arguments.
        size: Texts of a chunk.
    """
    if len(input_ids) <= size:
        return encode(input_ids, attention_mask, states, tokens)
    columns = [input_ids, attention_mask, *([] if states is None else [states])]

    def some(*own: Tensor) -> EncodedTexts:
        return encode(own[0], own[1], own[2] if len(own) > 2 else None, tokens)

    return EncodedTexts.cat(
        [_recomputed(some, *rows) for rows in zip(*(column.split(size) for column in columns), strict=True)]
    )


def rows_in_chunks(encode: Callable[..., Tensor], size: int, *columns: Tensor) -> Tensor:
    """``encode(*columns)``, so many rows at a time.

    Args:
        encode: Treats every row as if it were alone; its result has a row for each.
        size: Rows of a chunk.
        columns: Its arguments, of as many rows each.
    """
    chunks = zip(*(column.split(size) for column in columns), strict=True)
    return torch.cat([_recomputed(encode, *rows) for rows in chunks])


def split(inputs: NodeInputs, size: int) -> Iterator[NodeInputs]:
    """Split scene graphs into groups of ``size``, in order; the last group may be smaller."""
    ends = inputs.batch.bincount(minlength=inputs.num_graphs).cumsum(0).tolist()
    graph = inputs.batch[inputs.edge_index[0]]
    for first in range(0, inputs.num_graphs, size):
        last = min(first + size, inputs.num_graphs)
        nodes = slice(ends[first - 1] if first else 0, ends[last - 1])
        edges = ((graph >= first) & (graph < last)).nonzero()[:, 0]
        yield NodeInputs(
            inputs.x[nodes],
            inputs.edge_index[:, edges] - nodes.start,
            inputs.edge_attr[edges],
            inputs.batch[nodes] - first,
            last - first,
            inputs.centroid[nodes],
            None if inputs.whole is None else inputs.whole[nodes],
        )


def _tensors(inputs: NodeInputs) -> list[Tensor]:
    """The tensors of node inputs: what a checkpoint is given one by one, it finds the devices of."""
    own = [inputs.x, inputs.edge_index, inputs.edge_attr, inputs.batch, inputs.centroid]
    return own if inputs.whole is None else [*own, inputs.whole]


def _graphs(encode: Callable[[NodeInputs], EncodedGraphs], num_graphs: int) -> Callable[..., EncodedGraphs]:
    def run(x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, *rest: Tensor) -> EncodedGraphs:
        return encode(NodeInputs(x, edge_index, edge_attr, batch, num_graphs, *rest))

    return run


def _recomputed(encode: Callable[..., Any], *inputs: Tensor) -> Any:
    from torch.utils.checkpoint import checkpoint  # takes seconds to import what it needs

    return checkpoint(encode, *inputs, use_reentrant=False)


def _cat_some(parts: list[Tensor | None]) -> Tensor | None:
    own = [part for part in parts if part is not None]
    return torch.cat(own) if own else None
