"""C compiled by the machine's compiler when it is first needed, and kept between runs."""

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
    """Where what was compiled is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neuromorphic"


@cache
def _machine() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()


def shared_library(name: str, source: str, flags: Sequence[str] = (), libraries: Sequence[str] = ()) -> ctypes.CDLL:
    """Compile a C source, or take what was compiled of it before, and load it.

    Args:
        name: What its file is called, before a digest of source, compiler's flags and machine.
        source: The text.
        flags: Beside :data:`FLAGS`.
        libraries: Files that it is linked with, beside the mathematical library.

    Raises:
        OSError, RuntimeError: there is no compiler or no folder to write to, or what it makes cannot be loaded.
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
