"""Several processes of one run: how many a launcher started, and a launcher for those of one machine."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gshn.errors import ConfigError
from neuromorphic.cli import whole_number
from neuromorphic.processes import end_with_parent

LAUNCHERS = {
    "torchrun or accelerate": ("RANK", "WORLD_SIZE"),
    "Slurm": ("SLURM_PROCID", "SLURM_NTASKS"),
    "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    "MPICH": ("PMI_RANK", "PMI_SIZE"),
}
"""Where launchers tell a process its number and how many there are."""


PARENT = "GSHN_PARENT"
"""Variable by which :func:`start` tells its processes who started them."""


def process(environment: Mapping[str, str]) -> tuple[int, int]:
    """This process's rank and the number of processes, from the launcher's environment; (0, 1) without one.

    Raises:
        ConfigError: the launcher's numbers make no sense.
    """
    for launcher, (rank_name, size_name) in LAUNCHERS.items():
        if rank_name in environment and size_name in environment:
            try:
                number, size = int(environment[rank_name]), int(environment[size_name])
            except ValueError:
                number, size = -1, 0
            if not 0 <= number < size:
                raise ConfigError(
                    f"{launcher} says {rank_name}={environment[rank_name]} and {size_name}={environment[size_name]}: "
                    f"needs 0 <= {rank_name} < {size_name}"
                )
            return number, size
    return 0, 1


def is_started() -> bool:
    """Whether :func:`start` has started this process."""
    return PARENT in os.environ and process(os.environ)[1] > 1


def start(module: str, arguments: Sequence[str], count: int) -> None:
    """Run ``python -m MODULE ARGUMENTS`` in several processes of this machine, as torchrun does, and wait for them.

    What the first process prints is shown. If another one fails first, what that one printed is shown. Processes that
    call :func:`join` end with this one, however it ends.

    Args:
        module: Name of the module.
        arguments: Arguments of each process.
        count: Number of processes. Each has one thread, unless ``OMP_NUM_THREADS`` says otherwise.

    Raises:
        SystemExit: a process failed; the status is its own.
    """
    # Late: PyTorch takes seconds to import.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    own = dict(os.environ)
    os.environ |= {"OMP_NUM_THREADS": own.get("OMP_NUM_THREADS", "1"), PARENT: str(os.getpid())}
    # A process that fails says why itself, in one line.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=str(os.getpid()),
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(folder, redirects=dict.fromkeys(range(1, count), Std.ALL)),
        )
        try:
            elastic_launch(config, sys.executable)("-m", module, *arguments)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if rank != 0 and not any(Path(folder).glob("**/0/error.json")):  # The first one has told what it met.
                for log in sorted(Path(folder).glob(f"**/{rank}/stderr.log")):
                    sys.stderr.write(log.read_text(errors="replace"))
            raise SystemExit(failure.exitcode if failure.exitcode > 0 else 1) from None
        except SignalException:
            raise SystemExit(130) from None
        finally:
            os.environ.clear()
            os.environ |= own


def processes(text: str) -> int | None:
    """The argument ``--processes``: a number, or None for ``auto``."""
    return None if text == "auto" else whole_number(1, 1024)(text)


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_that_pay(on_cpus: int) -> int:
    """One process for each GPU; ``on_cpus`` where there is none."""
    import torch  # Late: it takes seconds.

    return torch.cuda.device_count() or on_cpus


def share(module: str, count: int | None, work: Callable[[], None], on_cpus: int = 1) -> bool:
    """Do ``work`` in this process, or in several that run this command, as ``--processes`` asks.

    Args:
        module: Name of the module that is run.
        count: Number of processes, ``--processes``. None (``auto``): those that a launcher has started, else one for
            each GPU.
        work: A process's share. It finds its number by :func:`process`.
        on_cpus: Number of processes with ``auto`` where there is no GPU.

    Returns:
        Whether this process has started the others, which have done the work.

    Raises:
        ConfigError: another launcher has started a different number of processes.
        SystemExit: see :func:`start`.
    """
    _, launched = process(os.environ)
    count = count or (launched if launched > 1 else processes_that_pay(on_cpus))
    if count > 1 and launched == 1:
        start(module, sys.argv[1:], count)
        return True
    if count not in (1, launched):
        raise ConfigError(f"--processes is {count}, but a launcher has started {launched}: leave it out")
    if launched > 1:
        join(work)
    else:
        work()
    return False


def join(work: Callable[[], None]) -> None:
    """Do this process's share of a job of several processes. An error is reported to the launcher, too.

    Args:
        work: What to do.
    """
    from torch.distributed.elastic.multiprocessing.errors import record  # Late: PyTorch takes seconds to import.

    if PARENT in os.environ:
        end_with_parent(int(os.environ[PARENT]))
    record(work)()
