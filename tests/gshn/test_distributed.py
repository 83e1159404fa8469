"""Several processes on parts of a batch give the losses and gradients of one process on the whole."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist
from helpers import pair_batch, question_batch, tiny_config, tiny_model
from safetensors.torch import load_file, save_file
from torch.nn.parallel import DistributedDataParallel

from gshn.distributed import joined_rand, shares
from gshn.errors import ConfigError
from gshn.launchers import share
from gshn.training.guard import Guard
from gshn.training.objective import Objective
from gshn.training.processes import start_processes

IMAGES = [0, 1, 2, 3, 1, 7, 4, 5, 6, 9, 10, 11]
TEXTS = [0, 1, 2, 0, 4, 6, 7, 3, 5, 1, 2, 6]
"""An image and some captions stand twice, in different parts; parts have different numbers of segments."""
MORE = [5, 3, 7, 2, 6, 1, 0, 4, 2, 7, 5, 3]
"""A second caption of each image."""
ASKED = [4, 0, 1, 0, 4, 0, 2, 1, 4, 3, 2, 5]
"""Image of each question: some are asked about in several parts, and one twice in a part."""
CONFIG = tiny_config("objectives.fusion_stride=5", "model.category_dropout=0.5")
"""Fusion looks at pairs 0, 5 and 10: of four processes one has none of them."""


def losses_and_gradients(objective: torch.nn.Module, rows: range, each: int) -> dict[str, torch.Tensor]:
    model = (objective.module if isinstance(objective, DistributedDataParallel) else objective).model
    model.train()
    torch.manual_seed(rows.start)
    captions = [text for row in rows for text in (TEXTS[row], MORE[row])[:each]]
    pairs = pair_batch(model, IMAGES[rows.start : rows.stop], captions)
    losses = objective(pairs, question_batch(model, rows, ASKED), "vqa")
    losses["loss"].backward()
    out = {f"loss.{name}": loss.detach() for name, loss in losses.items()}
    return out | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def worker(rank: int, processes: int, each: int, chunk: int | None, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=processes)
    torch.set_num_threads(1)
    objective = DistributedDataParallel(
        Objective(tiny_model(CONFIG), CONFIG.objectives, chunk), find_unused_parameters=True
    )
    part = len(IMAGES) // processes
    rows = range(rank * part, (rank + 1) * part)
    result = losses_and_gradients(objective, rows, each)
    # One process's batch is poisoned: nobody makes the step.
    poisoned = pair_batch(objective.module.model, rows, TEXTS[rows.start : rows.stop])
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


@pytest.mark.parametrize(("processes", "each", "chunk"), [(2, 1, None), (4, 2, 2)])
def test_several_processes_equal_one(tmp_path: Path, processes: int, each: int, chunk: int | None) -> None:
    model = tiny_model(CONFIG)
    whole = losses_and_gradients(Objective(model, CONFIG.objectives), range(len(IMAGES)), each)
    # All losses take part, and the captions' lengths and the graphs' sizes differ between the parts.
    assert {"loss.itc", "loss.itm", "loss.mlm", "loss.spike_contrast", "loss.stl_contrast", "loss.vqa"} <= whole.keys()
    assert whole["loss.firing_rate"] > 0 and whole["loss.vqa_firing_rate"] > 0
    torch.multiprocessing.spawn(worker, args=(processes, each, chunk, str(tmp_path)), nprocs=processes)
    for rank in range(processes):
        part = load_file(tmp_path / f"{rank}.safetensors")
        assert not part.pop("made")
        assert part.keys() == whole.keys()
        for name, tensor in whole.items():
            torch.testing.assert_close(part[name], tensor, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_what_stands_several_times_counts_once_and_draws_once() -> None:
    assert shares(torch.tensor([4, 2, 4, 4])).tolist() == [
        pytest.approx(1 / 3),
        1,
        pytest.approx(1 / 3),
        pytest.approx(1 / 3),
    ]
    torch.manual_seed(0)
    first, second = torch.rand(2).tolist()
    torch.manual_seed(0)
    assert joined_rand(4, torch.device("cpu"), torch.tensor([4, 2, 4, 4])).tolist() == [second, first, second, second]


JOIN = """
import os, sys, pathlib
from neuromorphic.cli import run_command
from gshn.training.processes import start_processes
def main():
    joined = start_processes(os.environ)
    pathlib.Path(sys.argv[1], str(joined.process_index)).write_text(str(joined.num_processes))
run_command(main)
"""


def launch(tmp_path: Path, *launcher: str) -> tuple[dict[str, str], str]:
    """What processes that a launcher started found of each other; and what they wrote to stderr."""
    (script := tmp_path / "join.py").write_text(JOIN)
    (out := tmp_path / "out").mkdir()
    command = [sys.executable, "-m", *launcher, str(script), str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return {path.name: path.read_text() for path in out.iterdir()}, ended.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="with GPUs processes find each other by NCCL")
class TestLaunchers:
    def test_torchrun_starts_processes_that_find_each_other(self, tmp_path: Path) -> None:
        found, err = launch(tmp_path, "torch.distributed.run", "--standalone", "--nproc_per_node", "3")
        assert found == {"0": "3", "1": "3", "2": "3"}, err

    def test_accelerate_starts_one_process_without_gpus_and_is_refused(self, tmp_path: Path) -> None:
        found, err = launch(tmp_path, "accelerate.commands.launch", "--cpu", "--num_processes", "3")
        assert not found
        assert "error: MASTER_ADDR is set, as for several processes, but this is the only one" in err

    def test_processes_of_this_machine_find_each_other(self, tmp_path: Path) -> None:
        found, ended = start_on_this_machine(tmp_path, JOIN, 3)
        assert found == {"0": "3", "1": "3", "2": "3"}, ended.stderr
        assert ended.returncode == 0

    @pytest.mark.parametrize(("culprits", "told"), [("0", "0"), ("1", "1"), ("01", "[01]")])
    def test_a_process_that_fails_tells_why_and_ends_the_others(self, tmp_path: Path, culprits: str, told: str) -> None:
        found, ended = start_on_this_machine(tmp_path, FAIL.format(culprits=culprits), 2)
        assert not found
        assert (ended.returncode, ended.stdout) == (2, "")
        assert re.fullmatch(rf"error: process {told} has no image\n", ended.stderr)

    def test_a_process_ends_with_the_one_that_started_it(self, tmp_path: Path) -> None:
        process = starting(tmp_path, FAIL.format(culprits=""), 2)
        pids = tmp_path / "out"
        while len(list(pids.iterdir())) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        children = [psutil.Process(int(path.name)) for path in pids.iterdir()]
        process.kill()
        process.communicate()
        psutil.wait_procs(children)
        assert not (pids / "slept").exists()


FAIL = """
import os, pathlib, sys, time
from gshn.errors import DataError
from gshn.launchers import join
from neuromorphic.cli import run_command
def work():
    rank = os.environ["RANK"]
    if rank in "{culprits}":
        raise DataError(f"process {{rank}} has no image")
    if not "{culprits}":
        pathlib.Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(120)
    pathlib.Path(sys.argv[1], "slept").touch()
run_command(lambda: join(work))
"""
"""Some processes fail; the others work on."""


def starting(tmp_path: Path, script: str, count: int) -> subprocess.Popen[str]:
    """Processes of a script, which :func:`gshn.launchers.start` starts."""
    (tmp_path / "join.py").write_text(script)
    (out := tmp_path / "out").mkdir()
    starter = f"from gshn.launchers import start; start('join', [{str(out)!r}], {count})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", starter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def start_on_this_machine(
    tmp_path: Path, script: str, count: int
) -> tuple[dict[str, str], subprocess.CompletedProcess[str]]:
    """What these processes found of each other; and how that ended."""
    process = starting(tmp_path, script, count)
    ended = subprocess.CompletedProcess(process.args, 0, *process.communicate())
    ended.returncode = process.returncode
    return {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}, ended


@pytest.mark.parametrize(("gpus", "on_cpus", "count"), [(0, 1, 1), (0, 4, 4), (1, 4, 1), (8, 4, 8)])
def test_a_process_for_each_gpu(monkeypatch: pytest.MonkeyPatch, gpus: int, on_cpus: int, count: int) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    started: list[int] = []
    monkeypatch.setattr("gshn.launchers.start", lambda module, arguments, count: started.append(count))
    done: list[bool] = []
    assert share("gshn.train", None, lambda: done.append(True), on_cpus) is (count > 1)
    assert (started, done) == (([count], []) if count > 1 else ([], [True]))


def test_another_number_than_the_launchers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for count, allowed in ((None, True), (1, True), (2, True), (3, False)):
        done: list[bool] = []
        if allowed:
            assert not share("gshn.train", count, lambda done=done: done.append(True))
        else:
            with pytest.raises(ConfigError, match="--processes is 3, but a launcher has started 2: leave it out"):
                share("gshn.train", count, lambda done=done: done.append(True))
        assert bool(done) is allowed


@pytest.mark.skipif(torch.cuda.is_available(), reason="of CPUs")
def test_each_run_of_a_python_process_has_its_own_precision() -> None:
    for precision, expected in (("bfloat16", "bf16"), ("float32", "no"), ("bfloat16", "bf16"), ("auto", "no")):
        assert start_processes({}, precision).mixed_precision == expected


def test_processes_that_do_not_find_each_other_are_refused() -> None:
    assert start_processes({}).num_processes == 1
    assert start_processes({"MASTER_ADDR": "localhost", "RANK": "0", "WORLD_SIZE": "1"}).num_processes == 1
    with pytest.raises(ConfigError, match="the launcher started 3 processes, of which 1 found each other"):
        start_processes({"SLURM_PROCID": "0", "SLURM_NTASKS": "3"})
    with pytest.raises(ConfigError, match="torchrun or accelerate says RANK=2 and WORLD_SIZE=2"):
        start_processes({"RANK": "2", "WORLD_SIZE": "2"})
    with pytest.raises(ConfigError, match="MASTER_ADDR is set"):
        start_processes({"MASTER_ADDR": "localhost"})
