"""Anybody's NIR file on a neuromorphic simulator, with NIR as the contract.

Data flow, which is also the order in which to read:

NIR graph -> ``graph`` (flat, shaped, checked) -> ``compiler`` (populations, projections, integers) -> ``execution``
(simulators that all else is held to) -> ``lava`` (runs on Lava) -> ``backends`` (one way to run on any) -> the commands
``run``, ``verify``, ``check``, ``export``, ``profile``, ``doctor``. Only one simulator needs PyTorch, only ``lava``
needs Lava. Nothing here knows of checkpoints: a package that does registers with ``plugins``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from neuromorphic.errors import UserError, UserNotice

if TYPE_CHECKING:
    from neuromorphic.batch_norm import fold_batch_norm
    from neuromorphic.results.conversion import Conversion
    from neuromorphic.results.profile import Profile
    from neuromorphic.results.run import Run
    from neuromorphic.results.verification import Verification
    from neuromorphic.session import Session, Steps
    from neuromorphic.spiking_network import SpikingNetwork, load

__all__ = [
    "Conversion",
    "Profile",
    "Run",
    "Session",
    "SpikingNetwork",
    "Steps",
    "UserError",
    "UserNotice",
    "Verification",
    "fold_batch_norm",
    "load",
]

HOMES = {
    "Conversion": "results.conversion",
    "Profile": "results.profile",
    "Run": "results.run",
    "Session": "session",
    "SpikingNetwork": "spiking_network",
    "Steps": "session",
    "Verification": "results.verification",
    "fold_batch_norm": "batch_norm",
    "load": "spiking_network",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use: SciPy and h5py take longer than all else, and errors need neither."""
    if name not in HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
