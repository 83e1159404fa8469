"""Find pictures that are both in the training data and in the test data."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gshn.errors import DataError, tell
from neuromorphic.errors import counted
from neuromorphic.files import file_digest

SAMPLE = 4096
"""Number of bytes from the middle of two files that are compared first. If they are equal, the files are compared."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of one source.

    Attributes:
        label: Name of the source, for messages.
        names: Path of each picture's file; if the file is gone, its path when the graphs were made.
    """

    label: str
    names: Sequence[str]


def shared_pictures(train: Iterable[str], test: Iterable[str]) -> dict[str, str]:
    """Find pictures that are in both of two lists.

    Two pictures are the same if they are the same file (also by links), or files with the same bytes. If a file is
    gone, file names are compared. A picture that was saved again or scaled is not found.

    First the lengths of all files are compared, then 4 KiB of those with equal lengths, then the whole content. With
    100,000 and 5,000 photographs that have nothing in common, some thousands of files are opened.

    Args:
        train: Paths.
        test: Paths.

    Returns:
        Path in ``test`` -> path in ``train``.
    """
    ours, theirs = list(dict.fromkeys(train)), list(dict.fromkeys(test))
    status = {name: _status(name) for name in (*ours, *theirs)}
    there = [[name for name in names if status[name]] for names in (ours, theirs)]
    gone = [[name for name in names if not status[name]] for names in (ours, theirs)]
    found = _alike(ours, gone[1], os.path.basename) | _alike(gone[0], theirs, os.path.basename)
    ours, theirs = there
    found |= _alike(ours, theirs, lambda name: status[name][:2])
    theirs = [name for name in theirs if name not in found]
    for key in (lambda name: status[name][2], _sample, _digest):
        keys = {name: key(name) for name in {*ours, *theirs}}
        common = {keys[name] for name in ours} & {keys[name] for name in theirs}
        ours, theirs = ([name for name in names if keys[name] in common] for names in (ours, theirs))
    return found | _alike(ours, theirs, keys.__getitem__)


def _alike(train: Iterable[str], test: Iterable[str], key: Callable[[str], Hashable]) -> dict[str, str]:
    ours: dict[Hashable, str] = {}
    for name in train:
        ours.setdefault(key(name), name)
    return {name: ours[key(name)] for name in test if key(name) in ours}


def _status(name: str) -> tuple[int, ...]:
    """Device, number and length of a file; nothing where there is none."""
    try:
        status = Path(name).stat()
    except (OSError, ValueError):
        return ()
    return status.st_dev, status.st_ino, status.st_size


def _sample(name: str) -> bytes | str:
    try:
        with Path(name).open("rb") as file:
            file.seek(max(0, (os.fstat(file.fileno()).st_size - SAMPLE) // 2))
            return file.read(SAMPLE)
    except OSError:
        return name  # like no other


def _digest(name: str) -> str:
    try:
        return file_digest(Path(name))
    except OSError:
        return name


def check_overlap(train: Sequence[Pictures], test: Sequence[Pictures], allowed: bool) -> None:
    """Refuse test pictures that are in the training data.

    Args:
        train: Training sources.
        test: Test sources.
        allowed: Whether they are allowed (``data.allow_overlap``). Then there is only a notice.

    Raises:
        DataError: a picture is in both, and this is not allowed.
    """
    lines = []
    for tested in test:
        for trained in train:
            if shared := shared_pictures(trained.names, tested.names):
                theirs, ours = next(iter(shared.items()))
                which = theirs if ours == theirs else f"{theirs} as {ours}"
                of = f"of the {len(tested.names)} pictures of {tested.label}"
                lines.append(f"{counted(len(shared), f'{of} is', f'{of} are')} in {trained.label} too, e.g. {which}")
    if lines and not allowed:
        raise DataError(
            f"test pictures are trained on: {'; '.join(lines)}; figures on them say little: leave them out of "
            "training (data.pairs.leave_out), or set data.allow_overlap=true"
        )
    for line in lines:
        tell(f"test pictures are trained on: {line}")
