"""Compile C with the machine's compiler when it is first needed, and keep the result between runs."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

# Without contraction: a fused multiply-add rounds once where NumPy and PyTorch round twice, and spikes would differ.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fPIC")


def compiler() -> str | None:
    """Path of the machine's C compiler; None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def folder() -> Path:
    """Folder of the compiled libraries: ``neuromorphic`` in ``$XDG_CACHE_HOME``, or else in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neuromorphic"


@cache
def _machine() -> str:
    """The processor's features, on which ``-march=native`` depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()


def shared_library(name: str, source: str, flags: Sequence[str] = (), libraries: Sequence[str] = ()) -> ctypes.CDLL:
    """Compile a C source and load the library. If it was compiled before, load that one.

    Args:
        name: Start of the file's name. A digest of source, flags and processor follows.
        source: The C text.
        flags: Flags of the compiler in addition to :data:`FLAGS`.
        libraries: Files to link with, in addition to the mathematical library.

    Raises:
        OSError, RuntimeError: there is no compiler, the folder cannot be written to, or the library cannot be loaded.
        subprocess.CalledProcessError: the compiler refused the source.
    """
    settings = " ".join([*FLAGS, *flags, *libraries, platform.machine(), _machine()])
    key = hashlib.blake2b(source.encode() + settings.encode()).hexdigest()[:16]
    path = folder() / f"{name}-{key}.so"
    with suppress(OSError):  # not there yet, or broken
        return ctypes.CDLL(str(path))
    if (command := compiler()) is None:
        raise RuntimeError("there is no C compiler")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        text, compiled, made = (Path(scratch) / f"{name}{end}" for end in (".c", ".o", ".so"))
        text.write_text(source)
        for arguments in (
            [command, *FLAGS, *flags, "-c", str(text), "-o", str(compiled)],
            [command, "-shared", str(compiled), *libraries, "-lm", "-o", str(made)],
        ):
            subprocess.run(arguments, check=True, capture_output=True, text=True)
        made.replace(path)
    return ctypes.CDLL(str(path))
