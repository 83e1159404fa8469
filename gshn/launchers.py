"""How many processes a launcher started, read from its environment."""

from __future__ import annotations

from collections.abc import Mapping

from gshn.errors import ConfigError

LAUNCHERS = {
    "torchrun or accelerate": ("RANK", "WORLD_SIZE"),
    "Slurm": ("SLURM_PROCID", "SLURM_NTASKS"),
    "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    "MPICH": ("PMI_RANK", "PMI_SIZE"),
}
"""Where launchers tell a process its number and how many there are."""


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
