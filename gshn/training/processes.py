"""One answer to how many processes train together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, DistributedDataParallelKwargs

from gshn.distributed import world_size
from gshn.errors import ConfigError
from gshn.launchers import process


def start_processes(environment: Mapping[str, str], precision: str = "auto") -> Accelerator:
    """Join the processes that a launcher started.

    Args:
        environment: Variables of the environment.
        precision: As in the configuration.

    Raises:
        ConfigError: there are others than the launcher was asked for: each would train alone, into the same folder.
    """
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
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if not launched == accelerator.num_processes == world_size():
        raise ConfigError(
            f"the launcher started {launched} processes, of which {accelerator.num_processes} found each other: use "
            "torchrun or accelerate launch, or start one process alone"
        )
    return accelerator
