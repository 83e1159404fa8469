"""Batches of sequences of different lengths: padding, and encoding with little of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.utils import to_dense_batch

from gshn.distributed import gather

ROWS_PER_GROUP = 32
"""Texts that a CPU encodes together. Smaller groups save padding, but cost more in calls. A GPU encodes all at once."""


@dataclass(frozen=True)
class Padded:
    """B padded sequences: each field is a tensor of shape (B, S, ...), zeros where padded, or None.

    Attributes:
        mask: True where not padded, shape (B, S).
    """

    mask: Tensor

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: None if x is None else change(x) for name, x in own.items()}
        return type(self)(**changed)

    def __getitem__(self, rows: Tensor) -> Self:
        """Some of the sequences."""
        return self._each(lambda x: x[rows])

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        return self._each(lambda x: x.to(device))

    def gathered(self) -> Self:
        """The sequences of all processes, see :func:`gshn.distributed.gather`."""
        # Which takes three dims, and no bools.
        return self._each(lambda x: gather(x[..., None].float())[..., 0] > 0 if x.dtype == torch.bool else gather(x))

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Several batches as one, padded to the longest sequence of all."""
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)}
        joined: dict[str, Any] = {name: None if xs[0] is None else cat_padded(xs) for name, xs in columns.items()}
        return cls(**joined)


def cat_padded(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate batches of shape (B, S, ...), each padded with zeros to the largest S."""
    width = max(x.shape[1] for x in parts)
    return torch.cat([torch.cat([x, x.new_zeros(x.shape[0], width - x.shape[1], *x.shape[2:])], dim=1) for x in parts])


def node_mask_of(batch: Tensor, num_graphs: int) -> Tensor:
    """Mask of the nodes of B graphs after padding.

    Args:
        batch: Graph of each node, ascending, shape (N,).
        num_graphs: B.

    Returns:
        True at nodes, shape (B, S), S at least 1.
    """
    most = max(1, int(torch.bincount(batch, minlength=num_graphs).max()))
    mask: Tensor = to_dense_batch(batch, batch, max_num_nodes=most, batch_size=num_graphs)[1]
    return mask


def pad_nodes(x: Tensor, mask: Tensor) -> Tensor:
    """Pad nodes with zeros: shape (N, ...) -> (B, S, ...). ``mask`` is that of :func:`node_mask_of`."""
    out = x.new_zeros(*mask.shape, *x.shape[1:])
    out[mask] = x
    return out


def non_empty(mask: Tensor) -> Tensor:
    """A mask for attention: an image without nodes gets one node, which is zero.

    Softmax and maximum need at least one element.

    Args:
        mask: From :func:`node_mask_of`, shape (B, S).
    """
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return mask | (~mask.any(dim=1, keepdim=True) & first)


def rows_per_group(device: torch.device, rows: int, on_cpu: int | None = None) -> int:
    """Number of rows in a group; for ``on_cpu`` see :func:`in_groups_of_like_length`."""
    return (on_cpu or ROWS_PER_GROUP) if device.type == "cpu" else max(rows, 1)


def in_groups_of_like_length(
    encode: Callable[[Tensor, int], Tensor], mask: Tensor, on_cpu: int | None = None
) -> Tensor:
    """Encode texts in groups of similar length. Each group is padded to its own longest text only.

    The lengths of captions differ by a factor of several, so half of a whole batch would be padding.

    Args:
        encode: Takes the rows of a group, shape (R,), and its length l; returns their states, shape (R, l, C).
        mask: True at tokens, shape (B, L); padding comes last.
        on_cpu: Rows of a group on a CPU, :data:`ROWS_PER_GROUP` by default. On a GPU there is one group.

    Returns:
        States of all texts, shape (B, L, C); zeros where padded beyond the group.
    """
    lengths = mask.sum(dim=1)
    order = lengths.argsort(stable=True)
    parts = []
    for rows in order.split(rows_per_group(mask.device, len(order), on_cpu)):
        length = int(lengths[rows[-1]])
        parts.append(F.pad(encode(rows, length), (0, 0, 0, mask.shape[1] - length)))
    return torch.cat(parts)[order.argsort()]
