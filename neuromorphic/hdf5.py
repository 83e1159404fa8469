"""Reading HDF5 files that nobody vouches for: every size is checked against the file and the memory before it is read.

HDF5 lets a small file claim anything: arrays without storage that read as fill values, arrays that lie in other files,
groups that contain themselves. Nothing of that is needed for parameters, so all of it is refused.
"""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from neuromorphic.errors import NIRFileError

try:
    import resource
except ImportError:  # Windows has no limits of this kind.
    resource = None  # type: ignore[assignment]

MEMORY_SHARE = 0.25
"""Share of the available memory that a file's arrays may take: what reads them makes copies in float64."""
COMPRESSORS = {h5py.h5z.FILTER_DEFLATE: 1032, h5py.h5z.FILTER_LZF: 1032, h5py.h5z.FILTER_SZIP: 2**16}
"""Filters that make data smaller, with the factor that none of them exceeds (gzip's best is 1032)."""
OTHER_FILTERS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
MAX_TEXT = 2**16
"""Longest single text, bytes."""

CPU_SECONDS, BYTES_PER_SECOND = 5, 20 * 2**20
"""Seconds in which a file is read, at least, and with what speed."""

Member: TypeAlias = h5py.Group | h5py.Dataset


def try_in_a_fork(path: Path, read: Callable[[], object]) -> None:
    """Read a file in a copy of this process first: damage can hang or crash HDF5's C library, and no signal helps.

    Errors that ``read`` raises are left to the next reading. Where processes cannot be copied nothing is tried.

    Raises:
        NIRFileError: the reading did not come to an end, or crashed.
    """
    if resource is None or not hasattr(os, "fork"):
        return
    with warnings.catch_warnings():
        # Python 3.12 warns of threads; the copy reads the file, and calls nothing that they could hold a lock of.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        faulthandler.disable()  # A crash of the copy does not concern the user.
        limit = CPU_SECONDS + path.stat().st_size // BYTES_PER_SECOND
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(BaseException):
            read()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise NIRFileError(
            f"{path} is damaged: HDF5 does not survive reading it ({signal.Signals(os.WTERMSIG(status)).name}); "
            "export it again"
        )


class CheckedFile:
    """A file whose members are read one by one, each after its checks.

    Args:
        path: Path of the file, for messages.
        file: The open file.
    """

    def __init__(self, path: Path, file: h5py.File):
        self.path, self.file = path, file
        self.file_size = path.stat().st_size
        self.left = self.budget = int(MEMORY_SHARE * available_memory())
        self.seen: dict[tuple[int, int], str] = {}

    def error(self, where: str, what: str) -> NIRFileError:
        """An error about a place in the file."""
        return NIRFileError(f"{self.path}: {where} {what}")

    def members(self, group: h5py.Group, where: str) -> dict[str, Member]:
        """A group's members by name, none of which has been met before.

        Raises:
            NIRFileError: a link that leads elsewhere, or an object that is met twice.
        """
        found: dict[str, Member] = {}
        for name in group:
            own = f"{where}: '{shown(name)}'"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise self.error(own, "is a link to another place; store the data itself")
            member = group[name]
            if not isinstance(member, h5py.Group | h5py.Dataset):
                raise self.error(own, "is neither a group nor an array; remove it")
            info = h5py.h5o.get_info(member.id)
            first = self.seen.setdefault((info.fileno, info.addr), own)
            if first != own:
                raise self.error(own, f"is the same object as {first}; store it twice, or not at all")
            found[name] = member
        return found

    def numbers(self, dataset: Member, where: str) -> NDArray:
        """An array of real numbers, as it is stored.

        Raises:
            NIRFileError: it is something else, or claims more than the file holds or memory allows.
        """
        dtype = self.check_stored(dataset, where)
        if dtype.kind not in "fiub" or dtype.itemsize > 8:
            raise self.error(where, f"holds {describe(dtype)}; real numbers of up to 64 bits are needed")
        return self.read(dataset, where)

    def is_text(self, member: Member) -> bool:
        """Whether a member is an array of texts."""
        return isinstance(member, h5py.Dataset) and member.id.get_type().get_class() == h5py.h5t.STRING

    def text(self, dataset: Member, where: str) -> str:
        """Read a single text.

        Raises:
            NIRFileError: it is something else.
        """
        if not self.is_text(dataset) or dataset.shape != ():
            raise self.error(where, "is not a text; one text is needed")
        self.check_stored(dataset, where)
        return self.decode(self.read(dataset, where), where)

    def texts(self, dataset: Member, where: str) -> Iterator[NDArray]:
        """Read an array of texts along its first axis, some rows at a time.

        All elements can refer to one text in the file, so together they can be far larger than the file. Only as many
        rows are read at a time as fit in memory. The caller counts what it keeps, see :meth:`take`.

        Yields:
            Blocks of rows, shape (R, ...), of str.

        Raises:
            NIRFileError: the array holds something else, or a text that is not UTF-8 or too long.
        """
        if not self.is_text(dataset):
            raise self.error(where, "holds no texts; texts are needed")
        self.check_stored(dataset, where)
        row = max(1, math.prod(dataset.shape[1:])) * min(self.file_size, 2**32)
        rows = max(1, min(4096, self.budget // row))
        for start in range(0, dataset.shape[0], rows):
            block = np.asarray(self.read(dataset, where, slice(start, start + rows)), object)
            for index, value in np.ndenumerate(block):
                block[index] = self.decode(value, where)
            yield block

    def decode(self, value: object, where: str) -> str:
        """Decode a text that h5py has read.

        Raises:
            NIRFileError: it is not UTF-8, or longer than :data:`MAX_TEXT` bytes.
        """
        if isinstance(value, bytes) and len(value) <= MAX_TEXT:
            try:
                return value.decode()
            except UnicodeDecodeError:
                pass
        raise self.error(where, f"is not a UTF-8 text of at most {MAX_TEXT} bytes")

    def read(self, dataset: h5py.Dataset, where: str, rows: slice | tuple[()] = ()) -> NDArray:
        """Read an array, or some of its rows, that :meth:`check_stored` has checked.

        Raises:
            NIRFileError: HDF5 cannot read it, for example because compressed data are damaged.
        """
        try:
            return dataset[rows]
        except (OSError, RuntimeError, ValueError, TypeError) as error:  # Compressed data that are damaged, say.
            raise self.error(where, f"cannot be read ({reason(error)}); export the file again") from error

    def take(self, size: int, where: str) -> None:
        """Count bytes that will be kept.

        Raises:
            NIRFileError: they are more than is left of the file's share of the memory.
        """
        if size > self.left:
            raise self.error(
                where,
                f"claims {size_text(size)}; {size_text(self.left)} are left of the {size_text(self.budget)} that a file"
                f" may take here ({MEMORY_SHARE:.0%} of the available memory)",
            )
        self.left -= size

    def check_stored(self, dataset: Member, where: str) -> np.dtype:
        """Check that the whole array is in this file, and fits in memory.

        Returns:
            The array's type.

        Raises:
            NIRFileError: a part of it is missing or in another file, or it takes too much memory.
        """
        if not isinstance(dataset, h5py.Dataset):
            raise self.error(where, "is a group; an array is needed")
        plan, stored_type = dataset.id.get_create_plist(), dataset.id.get_type()
        layout = plan.get_layout()
        if layout == h5py.h5d.VIRTUAL or plan.get_external_count():
            raise self.error(where, "is stored in another file; store the data itself")
        if dataset.shape is None:
            raise self.error(where, "is empty; store a value")
        try:
            dtype = dataset.dtype
        except (TypeError, ValueError):
            raise self.error(where, "has a type that NumPy does not know; store numbers or texts") from None
        item, size = stored_type.get_size(), math.prod(dataset.shape)
        storage, ratio = dataset.id.get_storage_size(), 1
        claim = f"claims {describe(dtype)} of shape {dataset.shape}"
        if layout == h5py.h5d.CHUNKED:
            ratio = self.compression(plan, where)
            chunk = plan.get_chunk()
            chunks = math.prod(-(-n // c) for n, c in zip(dataset.shape, chunk, strict=True))
            if size and dataset.id.get_num_chunks() < chunks:
                raise self.error(where, f"{claim}, of which the file holds only a part; export it again")
            size = max(size, chunks * math.prod(chunk) if size else 0)
        if size * item > ratio * storage or storage > self.file_size:
            raise self.error(where, f"{claim}, of which the file holds only {size_text(storage)}; export it again")
        self.take(size * max(item, dtype.itemsize), where)
        return dtype

    def compression(self, plan: h5py.h5p.PropDCID, where: str) -> int:
        """Largest factor by which the filters of an array can compress it.

        Raises:
            NIRFileError: an unknown filter, or more than one compressor.
        """
        filters = [plan.get_filter(k)[0] for k in range(plan.get_nfilters())]
        compressors = [code for code in filters if code in COMPRESSORS]
        if len(compressors) > 1 or set(filters) - set(COMPRESSORS) - set(OTHER_FILTERS):
            raise self.error(where, f"is stored through the HDF5 filters {filters}; compress it by gzip or not at all")
        return max((COMPRESSORS[code] for code in compressors), default=1)


def shown(name: str) -> str:
    """A name as it can be printed in one line, whatever it holds."""
    text = name.encode(errors="backslashreplace").decode()
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 80 else f"{text[:80]}..."


def reason(error: BaseException) -> str:
    """What an error of h5py or NIR says, in one line."""
    words = shown(" ".join(str(error).split()))
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def describe(dtype: np.dtype) -> str:
    """A type in words."""
    words = {"O": "texts or references", "S": "texts", "V": "records", "c": "complex numbers"}
    return words.get(dtype.kind, str(dtype))


def size_text(size: float) -> str:
    """Bytes, in the unit that suits them."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1000 if size < 1e300 else 1e300
    return f"{size:.3g} TB"


def available_memory() -> int:
    """Bytes that this process can still get: the machine's, its control group's, or its own limit's, at least 0."""
    limits = []
    for line in read_lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            limits.append(int(line.split()[1]) * 1024)
    group = [read_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current")]
    if all(lines and lines[0].isdigit() for lines in group):
        limits.append(int(group[0][0]) - int(group[1][0]))
    if resource is not None and (soft := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        pages = [int(line.split()[0]) for line in read_lines("/proc/self/statm")]
        limits.append(soft - sum(pages) * resource.getpagesize())
    return max(0, min(limits, default=2**32))


def read_lines(path: str) -> list[str]:
    """Lines of a file of the system; none where there is no such file."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
