"""Channels between Lava's processes, leaner than Lava's. Call ``compat.mend_lava`` before importing this.

Lava's channels have a thread at either end: a message wakes the receiver's thread, which waits for the interpreter's
lock, fills a queue and wakes the thread that asked for the message, and the acknowledgement goes back in the same way.
In networks like ours that takes longer than the computation of neurons and synapses. The channels here are two
semaphores and a ring in shared memory, without threads. Processes, models and the protocol between them are Lava's. The
memory has no name, so it cannot be left behind.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Semaphore
from typing import Any

import numpy as np
from lava.magma.compiler.channels.pypychannel import CspRecvPort, CspSendPort, Proto, PyPyChannel
from lava.magma.compiler.channels.watchdog import NoOPWatchdog
from numpy.typing import NDArray

SLOTS = 2
"""Messages that a channel holds; pass it to Lava's compiler as ``pypy_channel_size``. Lava's 64 would spread messages
over as many pieces of fresh memory, each of which costs page faults and cache misses. No more than one message waits
in a channel, since all processes end a step before any begins the next, and one may still be read."""

SMALL = 4096
"""Bytes of a message up to which it is copied."""
MADV_POPULATE_WRITE = 23
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
HEAP = 4 * 2**20
"""Bytes that each process model begins with: the smallest array for which NumPy asks for huge pages."""


def ring(memory: Memory, shape: tuple[int, ...], dtype: Any, nbytes: int, size: int) -> list[NDArray]:
    """Arrays that share a channel's memory, one for each slot."""
    memory.populate()
    return [np.ndarray(shape, dtype, memory.buf[nbytes * i : nbytes * (i + 1)]) for i in range(size)]


class SendPort(CspSendPort):
    """The sending end of a channel. ``_ack`` counts free slots, ``_req`` messages."""

    _idx: int
    _shm: Memory

    def start(self) -> None:
        """Map the shared memory."""
        self._array = ring(self._shm, self._shape, self._dtype, self._nbytes, self._size)

    def probe(self) -> bool:
        """Whether ``send`` would not block."""
        return available(self._ack)

    def send(self, data: NDArray) -> None:
        """Send an array of the port's shape; waits for a free slot.

        Raises:
            AssertionError: the array has another shape.
        """
        if data.shape != self._shape:
            raise AssertionError(f"{self._name} sends arrays of shape {self._shape}, got {data.shape}")
        self._ack.acquire()
        self._array[self._idx][...] = data
        self._idx = (self._idx + 1) % self._size
        self._req.release()

    def join(self) -> None:
        """There is no thread to end."""


class ReceivePort(CspRecvPort):
    """The receiving end of a channel.

    A large message stays in shared memory and is valid until the next one is received. Lava's input ports add messages
    up, which makes the only copy that is needed. Small messages are copied; Lava keeps some, its commands.
    """

    _idx: int
    _shm: Memory
    _reading = False

    def start(self) -> None:
        """Map the shared memory."""
        self._array = ring(self._shm, self._shape, self._dtype, self._nbytes, self._size)
        for slot in self._array:
            slot.flags.writeable = False

    def probe(self) -> bool:
        """Whether ``recv`` would not block."""
        return available(self._req)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a message for a limited time, and return whether there is one."""
        if not self._req.acquire(timeout=seconds):
            return False
        self._req.release()
        return True

    def peek(self) -> NDArray:
        """The next message, of the port's shape, without removing it."""
        self.wait()
        return self._array[self._idx]

    def recv(self) -> NDArray:
        """Receive a message, of the port's shape; waits for one."""
        if self._reading:
            self._ack.release()
        self._req.acquire()
        message = self._array[self._idx]
        self._idx = (self._idx + 1) % self._size
        self._reading = self._nbytes > SMALL
        if not self._reading:
            message = message.copy()
            self._ack.release()
        return message

    def join(self) -> None:
        """There is no thread to end."""

    @property
    def observer(self) -> None:
        """The callback for a new message. Lava's selectors set it before they sleep; after it they need not sleep.

        So a selector must not wait for several ports at once, as Lava's do for processes with RefPorts or VarPorts.
        """

    @observer.setter
    def observer(self, observer: Callable[[], Any] | None) -> None:
        if observer is not None:
            self.wait()


def available(semaphore: Any) -> bool:
    """Whether a semaphore can be acquired now. Only its one user may call this."""
    if semaphore.acquire(block=False):
        semaphore.release()
        return True
    return False


class LeanChannel(PyPyChannel):
    """A channel between two processes."""

    def __init__(
        self,
        message_infrastructure: Any,
        src_name: str,
        dst_name: str,
        shape: tuple[int, ...],
        dtype: Any,
        size: int,
        *_: Any,
    ) -> None:
        if size < SLOTS:
            raise ValueError(f"a channel needs {SLOTS} slots: one that is read, one that is written")
        nbytes = int(self.nbytes(shape, dtype))
        memory = message_infrastructure.smm.create_shared_memory(nbytes * size)
        messages, free = Semaphore(0), Semaphore(size)
        rest = (memory, Proto(shape, dtype, nbytes), size, messages, free, NoOPWatchdog(None), NoOPWatchdog(None))
        self._src_port, self._dst_port = SendPort(src_name, *rest), ReceivePort(dst_name, *rest)


class Memory:
    """Memory that processes share once they are forked, as Lava starts them."""

    def __init__(self, size: int) -> None:
        self._map = mmap.mmap(-1, max(size, 1))
        self.buf = memoryview(self._map)

    def populate(self) -> None:
        """Map all of the memory in this process, if the system can: a page fault during the run costs microseconds."""
        if len(self.buf) > SMALL:
            with suppress(OSError, ValueError):  # Linux before 5.14, or another system.
                self._map.madvise(MADV_POPULATE_WRITE)


class Memories:
    """Replaces Lava's manager of shared memory, which is a separate process and gives memory names."""

    def create_shared_memory(self, size: int) -> Memory:
        """Create shared memory, filled with zeros."""
        return Memory(size)

    def shutdown(self) -> None:
        """Nothing to do: memory without a name is freed with the last process that has it."""


def keep_memory() -> None:
    """Let this process's allocator keep freed memory, and give it enough to begin with.

    Models allocate arrays of the same sizes in every step. glibc would return them to the system at first, and each
    page that is taken again costs a page fault. With another C library this has no effect.
    """
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**30)
    np.ones(HEAP, np.uint8)
