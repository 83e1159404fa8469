"""The target of a run: Lava's CPU simulator, or Loihi 2 if there is one."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec
from typing import Literal, get_args

from neuromorphic.errors import LavaMissingError

Target = Literal["simulator", "loihi2", "auto"]
TARGETS = get_args(Target)
COMPILER = "lava.magma.compiler.subcompilers.nc"
"""Module of Lava's compiler for neuro cores: part of Lava-Loihi, which Intel gives to members of its research
community; lava-nc itself looks for the profiler beside it."""
BOARD_VARIABLES = ("NXSDKHOST", "BOARD", "PARTITION", "SLURM")
"""Environment variables that tell Lava about a board: its address, or a partition of a SLURM cluster."""


def missing_for_loihi2() -> str | None:
    """What is missing for Loihi 2, in one line; None if nothing is."""
    for module in ("lava", "lava.utils.loihi2_profiler", COMPILER):
        found = False
        with suppress(ModuleNotFoundError):
            found = find_spec(module) is not None
        if not found:
            what = "lava-nc" if module == "lava" else "the Lava-Loihi extension (Intel's research community has it)"
            return f"{what} is not installed (no module {module})"
    if not any(os.environ.get(name) for name in BOARD_VARIABLES):
        return f"no board is named: set NXSDKHOST to its host, or {' or '.join(BOARD_VARIABLES[1:3])} for SLURM"
    return None


def choose_target(target: Target) -> Literal["simulator", "loihi2"]:
    """Resolve a target: ``auto`` is Loihi 2 if hardware and compiler are present, else the simulator.

    Raises:
        LavaMissingError: ``loihi2`` is asked for and something is missing; the message says what.
    """
    if target == "simulator":
        return "simulator"
    missing = missing_for_loihi2()
    if missing is None:
        return "loihi2"
    if target == "loihi2":
        raise LavaMissingError(f"Loihi 2 cannot be used here: {missing}; --target simulator runs the same on the CPU")
    return "simulator"
