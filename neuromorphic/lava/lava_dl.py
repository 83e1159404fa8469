"""lava-dl's packages without what they import and do not use; for quantised training and for ``neuromorphic``."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from importlib.util import find_spec
from types import ModuleType

UNUSED = "lava.lib.dl.slayer.object_detection"
"""Imported by ``lava.lib.dl.slayer`` for its own users; needs OpenCV and torchvision."""


def has_lava_dl() -> bool:
    """Whether lava-dl is installed, found out without importing it."""
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
