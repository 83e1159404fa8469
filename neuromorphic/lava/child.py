"""The child process that runs Lava; see :mod:`neuromorphic.lava.run`, which starts it.

It stops, with all processes that it started, when its standard input ends or its parent process ends.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from neuromorphic.lava.compat import mend_lava
from neuromorphic.lava.folder import load
from neuromorphic.lava.netx import RUN_FILE, build_netx

LOOK_SECONDS = 1.0
"""Seconds between checks that the parent lives. Another process may hold the pipe of standard input open."""


class Run:
    """A run of the program in a folder.

    Args:
        folder: See :func:`neuromorphic.lava.run.run_network`. ``timings.json`` or ``error.txt`` is written there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime: Any = None
        self.alone = threading.Event()

    def run(self, commands: int | None = None, answers: int | None = None) -> None:
        """Run all steps. Given file descriptors, stay up instead: run as many steps as each line of commands says, and
        answer with a line once the network is up and after each command."""
        started = time.perf_counter()
        mend_lava()
        from lava.magma.compiler.compiler import Compiler

        from neuromorphic.lava.channels import SLOTS
        from neuromorphic.lava.runtime import WatchedRuntime

        imported = time.perf_counter()
        process, config, steps = prepare(self.folder)
        executable = Compiler({"pypy_channel_size": SLOTS}).compile(process, config)
        built = time.perf_counter()
        self.runtime = WatchedRuntime(executable, self.folder)
        self.runtime.initialize()
        begun = time.perf_counter()
        if commands is not None and answers is not None:
            os.write(answers, b"\n")
            with os.fdopen(commands) as lines:
                for line in lines:
                    self.runtime.run(int(line))
                    os.write(answers, b"\n")
            return
        self.runtime.run(steps)
        ended = time.perf_counter()
        self.stop()
        timings = {
            "import": imported - started,
            "build": built - imported,
            "start": begun - built,
            "run": ended - begun,
            "stop": time.perf_counter() - ended,
        }
        (self.folder / "timings.json").write_text(json.dumps(timings))

    def stop(self) -> None:
        """Kill Lava's processes. Nothing is lost: their records are in files that they have mapped."""
        if self.runtime is not None:
            self.runtime.kill()

    def stop_when_alone(self, parent: int) -> None:
        """Stop everything as soon as standard input or the parent ends, whatever the main thread does."""
        while os.getppid() == parent:
            readable, _, _ = select.select([0], [], [], LOOK_SECONDS)
            if readable and not os.read(0, 1):
                break
        self.alone.set()  # Before its processes are killed, which the main thread would report as a failure.
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(1)


def prepare(folder: Path) -> tuple[Any, Any, int]:
    """Build the program or netx network in the folder. Returns a process of it, its run configuration, its steps."""
    if (folder / RUN_FILE).exists():
        return build_netx(folder)
    from neuromorphic.lava.network import build, feed, run_config, tie

    program = load(folder)
    network, plan, stays = program["network"], program["plan"], program["stays"]
    keep = {name: {key: folder / file for key, file in files.items()} for name, files in program["keep"].items()}
    parts = build(network, plan, keep, program["stock"], folder if stays else None)
    steps = program["steps"] + plan.longest
    feed(parts, program["messages"], {name: files["rows"] for name, files in keep.items() if "rows" in files} or None)
    tie(parts, network)
    return parts.processes[0], run_config(network, parts, program["target"]), steps


def main() -> None:
    """Run the program in the folder that is the first argument, for the parent process that is the second; a network
    that stays up gets two file descriptors more.

    On failure leave the reason in ``FOLDER/error.txt``, on its first line, and exit with status 1.
    """
    run = Run(Path(sys.argv[1]))
    threading.Thread(target=run.stop_when_alone, args=(int(sys.argv[2]),), daemon=True).start()
    status = 0
    try:
        run.run(*map(int, sys.argv[3:]))
    except BaseException as error:
        if run.alone.is_set():
            threading.Event().wait()  # The other thread cleans up and exits.
        kind = "" if type(error) is RuntimeError else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        (run.folder / "error.txt").write_text(f"{reason}\n{traceback.format_exc()}")
        run.stop()
        status = 1
    if os.getppid() != int(sys.argv[2]):
        shutil.rmtree(run.folder, ignore_errors=True)
    # Lava's runtime would wait in its finalizer for processes that are gone.
    os._exit(status)
