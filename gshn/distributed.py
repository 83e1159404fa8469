"""Losses over the joined batch of all processes: every process returns the same loss, with the right gradients.

Rows are the items of this process, columns those of all processes. With W processes, the gradient of a process's
parameters is W times its share of the total. DistributedDataParallel takes the mean over processes, which gives the
gradient of one process on the joined batch. With one process all functions here are the identity.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import _functional_collectives as collectives


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Index of this process."""
    return dist.get_rank() if world_size() > 1 else 0


def everybody() -> dist.ProcessGroup:
    """The group of all processes."""
    group = dist.group.WORLD
    assert group is not None
    return group


def row_offset(rows: int) -> int:
    """Index in the joined batch of this process's first row, where every process has the same number of rows."""
    return rank() * rows


def row_counts(rows: int, device: torch.device) -> list[int]:
    """Number of rows of every process."""
    if world_size() == 1:
        return [rows]
    counts = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([rows], device=device))
    return [int(count) for count in counts]


def gather(x: Tensor) -> Tensor:
    """Concatenate ``x`` of all processes along dim 0, with gradients.

    Args:
        x: Shape (R, ...), or (R, S, ...) with three or more dims. R may differ between processes. So may S, which is
            padded with zeros to the largest S.

    Returns:
        Shape (sum of R, ...).
    """
    if world_size() == 1:
        return x
    counts = row_counts(x.shape[0], x.device)
    if x.dim() >= 3:
        width = max(row_counts(x.shape[1], x.device))
        x = torch.cat([x, x.new_zeros(x.shape[0], width - x.shape[1], *x.shape[2:])], dim=1)
    x = torch.cat([x, x.new_zeros(max(counts) - x.shape[0], *x.shape[1:])])
    parts = collectives.all_gather_single(x.contiguous(), gather_dim=0, group=everybody()).split(max(counts))
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def joined_rand(rows: int, device: torch.device, identity: Tensor | None = None) -> Tensor:
    """Uniform numbers for this process's rows of the joined batch, shape (rows,): the first process draws for all.

    Args:
        rows: Number of this process's rows.
        device: Where the numbers are.
        identity: Identity of each row, shape (rows,), int64: rows with the same get the same number, and the k-th
            smallest identity gets the k-th number. None: each row gets a number of its own, in the batch's order.
    """
    if identity is None:
        counts = row_counts(rows, device)
        return _same_rand(sum(counts), device).split(counts)[rank()]
    everybody_has = gather(identity).unique()
    return _same_rand(len(everybody_has), device)[torch.searchsorted(everybody_has, identity)]


def _same_rand(count: int, device: torch.device) -> Tensor:
    """The same uniform numbers in every process, shape (count,)."""
    noise = torch.rand(count, device=device)
    if world_size() > 1:
        dist.broadcast(noise, 0)
    return noise


def shares(identity: Tensor) -> Tensor:
    """Weights with which what stands several times in the joined batch counts once, shape (R,), float32.

    share[r] = 1 / number of everybody's rows with the identity of r.

    Args:
        identity: Identity of each of this process's rows, shape (R,), int64.
    """
    have, counts = gather(identity).unique(return_counts=True)
    return 1 / counts[torch.searchsorted(have, identity)].float()


def global_sum(values: Tensor) -> Tensor:
    """Sum over all elements of ``values`` of all processes, a scalar. Their shapes may differ."""
    total = values.sum()
    return total if world_size() == 1 else collectives.all_reduce(total, "sum", everybody())


def global_mean(values: Tensor) -> Tensor:
    """Mean over all elements of ``values`` of all processes, a scalar; 0 if there are none. Their shapes may differ."""
    return global_sum(values) / global_sum(torch.tensor(float(values.numel()), device=values.device)).clamp(min=1)
