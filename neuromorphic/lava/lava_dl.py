"""Import lava-dl without packages that it imports but does not use; for ``neuromorphic`` and for quantised training."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from importlib.util import find_spec
from types import ModuleType

UNUSED = "lava.lib.dl.slayer.object_detection"
"""A module that ``lava.lib.dl.slayer`` imports but does not use, and that needs OpenCV and torchvision."""


def has_lava_dl() -> bool:
    """Whether lava-dl is installed. It is not imported."""
    with suppress(ModuleNotFoundError):
        return find_spec("lava.lib.dl.slayer") is not None
    return False


def import_lava_dl(name: str) -> ModuleType:
    """Import a module of lava-dl, with an empty stand-in for :data:`UNUSED` that is gone afterwards.

    Raises:
        ModuleNotFoundError: lava-dl is not installed.
    """
    if UNUSED in sys.modules:
        return importlib.import_module(name)
    sys.modules[UNUSED] = ModuleType(UNUSED)
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[UNUSED]
