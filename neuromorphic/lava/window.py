"""The steps of the processes of a network that stays up.

The parent opens windows. In a window every process does the same steps of the graph, each after its lag. Between
windows all processes wait.

The parent writes ``control.bin`` while the network is idle, and the processes read it.
"""

from __future__ import annotations

import mmap
from pathlib import Path

BASE, BEGIN, STEPS, STATE, NETWORK = range(5)
"""Numbers in the file: Lava's step in which the window opens, counted from 0; the graph's first step in it; its number
of steps; how often the parent has set a state; how often it has replaced the network."""
FIELDS = 5


def control_file(folder: Path, create: bool = False) -> memoryview:
    """The numbers of the window, shared by all processes that map the file."""
    path = folder / "control.bin"
    if create:
        path.write_bytes(bytes(8 * FIELDS))
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("q")


class Window:
    """The steps of one process.

    Args:
        folder: Folder of a network that stays up. None: there is one window, which never closes.
        lag: Number of Lava's steps from the opening of a window to the process's first step in it.
    """

    def __init__(self, folder: str | None, lag: int) -> None:
        self.control = None if folder is None else control_file(Path(folder))
        self.lag = lag
        self.seen = (0, 0)

    def row(self, time_step: int) -> int | None:
        """The process's step within the window, from 0, in Lava's step ``time_step``, counted from 1; None outside."""
        control = self.control
        row = time_step - 1 - self.lag
        if control is None:
            return row if row >= 0 else None
        row -= control[BASE]
        return row if 0 <= row < control[STEPS] else None

    def step(self, time_step: int) -> int | None:
        """The graph's step in Lava's step ``time_step``; None outside of a window."""
        row = self.row(time_step)
        return row if row is None or self.control is None else row + self.control[BEGIN]

    def is_last(self, row: int) -> bool:
        """Whether that is the last row of the window."""
        return self.control is not None and row == self.control[STEPS] - 1

    def changed(self) -> tuple[int | None, int | None]:
        """The network's number and the step of a new state, if the parent has changed them since the last call."""
        if self.control is None or self.seen == (now := (self.control[NETWORK], self.control[STATE])):
            return None, None
        before, self.seen = self.seen, now
        return now[0] if now[0] != before[0] else None, self.control[BEGIN]
