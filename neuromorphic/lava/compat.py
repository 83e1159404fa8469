"""What Lava needs that it does not say: Python 3.11, and psutil; and lava-dl without OpenCV and torchvision."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import multiprocessing
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

from neuromorphic.errors import LavaMissingError
from neuromorphic.lava.lava_dl import has_lava_dl, import_lava_dl
from neuromorphic.requirements import INSTALL_LAVA


def require_lava() -> None:
    """Check, without importing it, that Lava is installed.

    Raises:
        LavaMissingError: it is not; the message says what to install.
    """
    missing = [module for module in ("lava", "psutil") if find_spec(module) is None]
    if missing:
        raise LavaMissingError(f"Lava is not installed ({' and '.join(missing)} missing): {INSTALL_LAVA}")


def require_lava_dl() -> None:
    """Check, without importing them, that Lava and lava-dl are installed.

    Raises:
        LavaMissingError: one is not; the message says what to install.
    """
    require_lava()
    if not has_lava_dl():
        raise LavaMissingError(f"netx needs lava-dl, which is not installed: {INSTALL_LAVA}")


def mend_lava() -> None:
    """Import the one module of lava-nc 0.10 that Python >= 3.11 refuses, so that all others import as usual.

    ``lava.magma.compiler.var_model`` has dataclasses with a default that is an instance of a dataclass without a hash,
    which dataclasses take for mutable since Python 3.11. Imported while ``dataclass`` makes all classes hashable it
    passes; the change is undone right after. Another module chooses to fork processes, which multiprocessing refuses
    once a queue or process was made, even where they are forked anyway.
    """
    require_lava()
    original, context = dataclasses.dataclass, cast(Any, multiprocessing)
    choose = context.set_start_method
    dataclasses.dataclass = functools.partial(original, unsafe_hash=True)
    if multiprocessing.get_start_method(allow_none=True) == "fork":
        context.set_start_method = lambda *_: None
    try:
        importlib.import_module("lava.magma.compiler.var_model")
        importlib.import_module("lava.magma.runtime.message_infrastructure.multiprocessing")
    finally:
        dataclasses.dataclass = original
        context.set_start_method = choose


def import_netx() -> ModuleType:
    """Import ``lava.lib.dl.netx.hdf5``, with what lava-dl needs for it, see :mod:`neuromorphic.lava.lava_dl`."""
    require_lava_dl()
    return import_lava_dl("lava.lib.dl.netx.hdf5")
