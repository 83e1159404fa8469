"""The progress of every process of a Lava run, in a file that the processes write and the parent reads.

So the parent can name the process that hangs.
"""

from __future__ import annotations

import json
import mmap
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

STARTING, WAITING, COMPUTING, RECEIVING = range(4)
"""States of a process: it is being built, waits for its next step, computes it, or waits for a message within it."""
PID, STATE, STEP = range(3)
"""Columns of the file."""
HANG_SECONDS = 10.0
"""Seconds without progress of any process, after the deadline, that count as hanging."""
LOOK_SECONDS = 0.05
"""Seconds between looks at the progress."""


class Progress:
    """The file of a run, with a row for each process.

    Args:
        folder: The program's folder.
        names: Names of the processes, to create the file. None: the file exists.
    """

    def __init__(self, folder: Path, names: Sequence[str] | None = None) -> None:
        path = folder / "progress.bin"
        if names is not None:
            path.write_bytes(bytes(8 * 3 * max(len(names), 1)))
            # Under another name first: the parent may read at any time.
            (folder / "names.json.new").write_text(json.dumps(names))
            (folder / "names.json.new").replace(folder / "names.json")
        self.names: list[str] = json.loads((folder / "names.json").read_text())
        with path.open("r+b") as file:
            self.rows = memoryview(mmap.mmap(file.fileno(), 0)).cast("q", (max(len(self.names), 1), 3))

    def watch(self, number: int, model: Any) -> None:
        """Note the steps of a process model, by wrapping its method for a step and its ports' for receiving."""
        rows, step = self.rows, model.run_spk

        def run_spk() -> None:
            rows[number, STEP] += 1
            rows[number, STATE] = COMPUTING
            step()
            rows[number, STATE] = WAITING

        def receiving(receive: Callable[[], Any]) -> Callable[[], Any]:
            def recv() -> Any:
                rows[number, STATE] = RECEIVING
                message = receive()
                rows[number, STATE] = COMPUTING
                return message

            return recv

        model.run_spk = run_spk
        for port in model.py_ports:
            if hasattr(port, "recv"):
                port.recv = receiving(port.recv)


def state_of(pid: int) -> str:
    """Linux's letter for a process's state: R, S, T (stopped), ...; empty if there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def describe(folder: Path, child: int, steps: int) -> str:
    """Describe what a run is doing, or which of its processes hold it up; for an error message.

    Args:
        folder: The program's.
        child: Process id of Lava's main process.
        steps: Lava's steps of the whole run.
    """
    if state_of(child) in ("T", "t"):
        return "its main process is stopped"
    try:
        progress = Progress(folder)
    except OSError:
        return "it was importing Lava and building the network"
    rows = before = np.array(progress.rows)
    until = time.monotonic() + HANG_SECONDS
    while (rows[:, STEP] == before[:, STEP]).all():
        held = [name for name, row in zip(progress.names, rows, strict=True) if state_of(row[PID]) in ("T", "t")]
        if held:
            return f"the process of {quoted(held)} is stopped"
        if time.monotonic() > until:
            break
        time.sleep(LOOK_SECONDS)
        rows = np.array(progress.rows)
    else:
        return f"it had got to step {rows[:, STEP].max()} of {steps}; allow more, or run less"
    for state, doing in ((STARTING, "has not started"), (COMPUTING, "hangs in step {step}")):
        stuck = [k for k in range(len(rows)) if rows[k, STATE] == state]
        if stuck:
            step = rows[stuck[0], STEP]
            return f"{quoted([progress.names[k] for k in stuck])} {doing.format(step=f'{step} of {steps}')}"
    return f"no process was at work in step {rows[:, STEP].max(initial=0)} of {steps}"


def quoted(names: Sequence[str]) -> str:
    """The first few names, quoted."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"'{name}'" for name in names[:3]) + more
