"""Two processes on halves of a batch give the losses and gradients of one process on the whole."""

from pathlib import Path

import torch
import torch.distributed as dist
from helpers import CAPTIONS, pair_batch, question_batch, tiny_model
from safetensors.torch import load_file, save_file
from torch.nn.parallel import DistributedDataParallel

from gshn.training.guard import Guard
from gshn.training.objective import Objective

BATCH = len(CAPTIONS)
IMAGES = [0, 1, 2, 3, 4, 1, 6, 7]
TEXTS = [0, 1, 2, 3, 4, 5, 0, 7]
"""An image and a caption stand twice, in different halves."""


def losses_and_gradients(objective: torch.nn.Module, rows: range) -> dict[str, torch.Tensor]:
    model = (objective.module if isinstance(objective, DistributedDataParallel) else objective).model
    model.train()
    pairs = pair_batch(model, IMAGES[rows.start : rows.stop], TEXTS[rows.start : rows.stop])
    losses = objective(pairs, question_batch(model, rows), "vqa")
    losses["loss"].backward()
    out = {f"loss.{name}": loss.detach() for name, loss in losses.items()}
    return out | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.set_num_threads(1)
    objective = DistributedDataParallel(Objective(tiny_model(), tiny_model().config.objectives))
    half = BATCH // 2
    rows = range(rank * half, (rank + 1) * half)
    result = losses_and_gradients(objective, rows)
    # One process's batch is poisoned: nobody makes the step.
    poisoned = pair_batch(objective.module.model, rows)
    if rank == 1:
        poisoned.graphs.x[0] = torch.nan
    objective.zero_grad()
    losses = objective(poisoned)
    losses["loss"].backward()
    norm = torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
    result["made"] = torch.tensor(Guard("pretrain").allows(norm, losses, 1))
    save_file({name: tensor.contiguous() for name, tensor in result.items()}, f"{folder}/{rank}.safetensors")
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    model = tiny_model()
    whole = losses_and_gradients(Objective(model, model.config.objectives), range(BATCH))
    # All losses take part, and the captions' lengths and the graphs' sizes differ between the halves.
    assert {"loss.itc", "loss.itm", "loss.mlm", "loss.spike_contrast", "loss.stl_contrast", "loss.vqa"} <= whole.keys()
    torch.multiprocessing.spawn(worker, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        part = load_file(tmp_path / f"{rank}.safetensors")
        assert not part.pop("made")
        assert part.keys() == whole.keys()
        for name, tensor in whole.items():
            torch.testing.assert_close(part[name], tensor, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
