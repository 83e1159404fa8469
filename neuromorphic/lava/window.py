"""When the processes of a network that stays up do their steps: the parent opens windows, in each of which every
process does the same steps of the graph, each after its lag; between them all of them wait.

The parent writes ``control.bin`` while the network is idle, and the processes read it.
"""

from __future__ import annotations

import mmap
from pathlib import Path

BASE, BEGIN, STEPS, STATE, NETWORK = range(5)
"""Of the window: Lava's step in which it opens, counted from 0; the graph's first step in it; how many steps it has;
how often the parent has set a state so far; how often it has put another network in the place of the first."""
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
        folder: That of a network that stays up; without one there is one window that never closes.
        lag: Lava's steps from the opening of a window to the process's first step in it.
    """

    def __init__(self, folder: str | None, lag: int) -> None:
        self.control = None if folder is None else control_file(Path(folder))
        self.lag = lag
        self.seen = (0, 0)

    def row(self, time_step: int) -> int | None:
        """The process's step in Lava's step ``time_step``, counted from 1: from 0 in each window; None outside."""
        control = self.control
        row = time_step - 1 - self.lag
        if control is None:
            return row if row >= 0 else None
        row -= control[BASE]
        return row if 0 <= row < control[STEPS] else None

    def step(self, time_step: int) -> int | None:
        """The same as a step of the graph."""
        row = self.row(time_step)
        return row if row is None or self.control is None else row + self.control[BEGIN]

    def is_last(self, row: int) -> bool:
        """Whether that is the last row of the window."""
        return self.control is not None and row == self.control[STEPS] - 1

    def changed(self) -> tuple[int | None, int | None]:
        """The number of the network, and the step at which a state was set, where they were since the last call."""
        if self.control is None or self.seen == (now := (self.control[NETWORK], self.control[STATE])):
            return None, None
        before, self.seen = self.seen, now
        return now[0] if now[0] != before[0] else None, self.control[BEGIN]
