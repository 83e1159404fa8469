"""One answer to how many processes train together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import DataLoaderConfiguration, DistributedDataParallelKwargs, LoggerType

from gshn.distributed import world_size
from gshn.errors import ConfigError
from gshn.launchers import process


def start_processes(
    environment: Mapping[str, str], precision: str = "auto", log_with: Sequence[str] = (), folder: Path | None = None
) -> Accelerator:
    """Join the processes that a launcher started.

    Args:
        environment: Variables of the environment.
        precision: As in the configuration.
        log_with: As in the configuration.
        folder: Where trackers that write files write them.

    Raises:
        ConfigError: there are not as many processes as the launcher was asked for, so that each would train alone in
            the same folder; or a tracker is unknown, or its library is not installed.
    """
    check_trackers(log_with)
    _, launched = process(environment)
    if "MASTER_ADDR" in environment and "WORLD_SIZE" not in environment and launched == 1:
        raise ConfigError(
            "MASTER_ADDR is set, as for several processes, but this is the only one: accelerate launch starts no more "
            "without GPUs; use torchrun --nproc_per_node N -m gshn.train ..., or unset MASTER_ADDR"
        )
    gpu = torch.cuda.is_available()
    AcceleratorState._reset_state()  # An earlier run of this Python process may have had another precision.
    accelerator = Accelerator(
        cpu=launched > 1 and not gpu,  # Accelerate takes no notice of a launcher on CPUs unless it is told
        mixed_precision="bf16" if precision == "bfloat16" or (gpu and precision == "auto") else "no",
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        log_with=list(log_with) or None,
        project_dir=folder,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if not launched == accelerator.num_processes == world_size():
        raise ConfigError(
            f"the launcher started {launched} processes, of which {accelerator.num_processes} found each other: use "
            "torchrun or accelerate launch, or start one process alone"
        )
    return accelerator


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that Accelerate does not know, or would silently leave out.

    Raises:
        ConfigError: a tracker is unknown, or its library is not installed.
    """
    installed = {str(name) for name in get_available_trackers()}
    registered = LOGGER_TYPE_TO_CLASS.keys() - set(LoggerType.list())  # by a caller, with a class of its own
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ConfigError(f"config key 'log_with' names {name!r}: choose of {', '.join(LOGGER_TYPE_TO_CLASS)}")
        if name not in installed | registered:
            raise ConfigError(
                f"config key 'log_with' names {name}, whose library is not installed: pip install {name}, or "
                "leave it out"
            )
