"""Writing files so that nobody ever sees half of one, and by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from neuromorphic.errors import UserError, UserNotice


def make_folder(path: Path) -> Path:
    """Create a folder, and its parents, unless it is there.

    Raises:
        UserError: it cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise UserError(f"folder {path} cannot be written to ({error.strerror}); choose another one") from None


def file_digest(path: Path) -> str:
    """Digest of a file's content: BLAKE2b of 16 bytes, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def check_destination(path: Path, sources: Iterable[Path | None] = ()) -> None:
    """Check that a file can be written, without writing anything: before the work, not after it.

    Args:
        path: The file.
        sources: Files that are read, and must not be overwritten.

    Raises:
        UserError: it is a folder or one of ``sources``, or its folder cannot be written to.
    """
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; name a file in it")
        if any(source is not None and path.resolve() == source.resolve() for source in sources):
            raise UserError(f"{path} would be overwritten, and is read; name another file")
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):  # As root every folder seems writable.
            return
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place") from None


@contextlib.contextmanager
def writing(path: Path, mend: str = "make room, or choose another place") -> Iterator[None]:
    """Turn errors of the system while ``path`` is written (a full disk, for one) into one line.

    Raises:
        UserError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); {mend}") from None


def write_atomically(path: Path, data: bytes | str, keep: bool = False) -> None:
    """Write a file under a temporary name, then rename it: readers see the old content or the new, never a part.

    Args:
        path: The file.
        data: Its content.
        keep: Leave a file that is there already as it is, though another process wrote it just now.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    payload = data.encode() if isinstance(data, str) else data
    make_folder(path.parent)
    temporary = ""
    try:
        with writing(path):
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(descriptor, "wb") as file:
                file.write(payload)
            Path(temporary).chmod(0o644)
            if keep and _link(Path(temporary), path):
                Path(temporary).unlink()
            else:
                Path(temporary).replace(path)
    except BaseException:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise


def _link(old: Path, new: Path) -> bool:
    """Give a file a second name, unless that is taken; False where the file system has no second names."""
    try:
        new.hardlink_to(old)
    except FileExistsError:
        pass
    except OSError:
        return False
    return True


class Lock:
    """A file whose lock this process holds; the system lets go of it when the process ends, however that comes.

    The file says which process that is. It is there only while it is locked, or after a process was killed.
    """

    def __init__(self, path: Path, what: str, mend: str | None = None) -> None:
        """Lock.

        Args:
            path: The file; its folder must be there.
            what: What it stands for, for messages.
            mend: What to do about another process that holds it; where None, that one is waited for.

        Raises:
            UserError: another process holds it and there is a ``mend``, or the file cannot be written.
        """
        self.path = path
        self._descriptor: int | None = None
        while True:
            with writing(path):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._flock(descriptor, what, mend)
                # Who held it before may have removed the file: then the lock is of a file that nobody else will find.
                # It may do so at any moment: one call finds the file, or does not.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), path.stat()):
                        break
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        self._descriptor, self._owner = descriptor, os.getpid()
        with contextlib.suppress(OSError):  # On a full disk, who holds it is not told.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)

    @staticmethod
    def _flock(descriptor: int, what: str, mend: str | None) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 500, 0).decode(errors="replace") or "another process"
            if mend is not None:
                raise UserError(f"{what} is being written by {holder}; {mend}") from None
            warnings.warn(f"{what} is being written by {holder}; waiting for it", UserNotice, stacklevel=3)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            warnings.warn(
                f"{what} cannot be locked ({error.strerror}); see to it that no other process writes there",
                UserNotice,
                stacklevel=3,
            )

    def release(self) -> None:
        """Let go of it."""
        if self._descriptor is not None and self._owner == os.getpid():  # not in a process that was forked since
            self.path.unlink(missing_ok=True)  # First: who waits for it sees that the file is gone, and makes another.
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            self.release()
