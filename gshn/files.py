"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from gshn.errors import GSHNError


def make_folder(path: Path) -> Path:
    """Create a folder, and its parents, unless it is there.

    Raises:
        GSHNError: it cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise GSHNError(f"folder {path} cannot be written to ({error.strerror}); choose another one") from None


def check_destination(path: Path, sources: Iterable[Path | None] = ()) -> None:
    """Check that a file can be written, without writing anything: before the work, not after it.

    Args:
        path: The file.
        sources: Files that are read, and must not be overwritten.

    Raises:
        GSHNError: it is a folder or one of ``sources``, or its folder cannot be written to.
    """
    try:
        if path.is_dir():
            raise GSHNError(f"{path} is a folder; name a file in it")
        if any(source is not None and path.resolve() == source.resolve() for source in sources):
            raise GSHNError(f"{path} would be overwritten, and is read; name another file")
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):  # As root every folder seems writable.
            return
    except OSError as error:
        raise GSHNError(f"{path} cannot be written ({error.strerror}); choose another place") from None


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file under a temporary name, then rename it: readers see the old content or the new, never a part.

    Raises:
        GSHNError: the folder cannot be written to, or the disk is full.
    """
    payload = data.encode() if isinstance(data, str) else data
    make_folder(path.parent)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise GSHNError(
                f"{path} cannot be written ({error.strerror}); make room, or choose another place"
            ) from None
        raise
