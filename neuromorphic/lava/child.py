"""The child process that runs Lava: ``python -m neuromorphic.lava.child FOLDER``; see :mod:`neuromorphic.lava.run`.

Lava hangs when a process model raises or dies, in the run or in the stop after it. So the run is not waited for but
watched; when anything goes wrong, Lava's processes are killed and its shared memory is freed. The child stops in the
same way when its standard input ends, that is, when the parent says so or is no more.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from neuromorphic.lava.compat import mend_lava
from neuromorphic.lava.netx import RUN_FILE, build_netx
from neuromorphic.lava.program import load_program

POLL_SECONDS = 1e-3


def stop_when_input_ends() -> None:
    """Raise ``SystemExit`` in the main thread as soon as standard input ends."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    def stop(*_: object) -> None:
        raise SystemExit("the parent process stopped the run")

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=watch, daemon=True).start()


def watch_run(runtime: Any) -> None:
    """Wait until Lava has run all steps.

    Raises:
        RuntimeError: one of Lava's processes raised or died.
    """
    while not all(port.probe() for port in runtime.service_to_runtime):
        for actor in runtime._messaging_infrastructure.actors:
            if actor.exception is not None:
                _, report = actor.exception
                error = RuntimeError(f"{actor.name} raised {report.strip().splitlines()[-1]}")
                error.add_note(report)
                raise error
            if actor.exitcode is not None:
                raise RuntimeError(f"the process of {actor.name} died (exit code {actor.exitcode})")
        time.sleep(POLL_SECONDS)


def destroy(runtime: Any) -> None:
    """Kill Lava's processes and free its shared memory."""
    infrastructure = runtime._messaging_infrastructure
    if infrastructure is None:
        return
    for actor in infrastructure.actors:
        with suppress(ValueError):  # It has ended and was closed already.
            actor.kill()
    infrastructure.stop()


def prepare(folder: Path) -> tuple[Any, str, int]:
    """Build what is in ``folder``, a program or a network of netx: process, tag of its models, steps to run."""
    if (folder / RUN_FILE).exists():
        return build_netx(folder)
    from neuromorphic.lava.network import build

    program = load_program(folder)
    return build(program, folder), program.tag, program.lava_steps


def run(folder: Path) -> None:
    """Run the program in ``folder`` and leave spikes and timings there."""
    started = time.perf_counter()
    mend_lava()
    from lava.magma.compiler.compiler import Compiler
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.magma.runtime.message_infrastructure.factory import ActorType
    from lava.magma.runtime.runtime import Runtime

    process, tag, steps = prepare(folder)
    imported = time.perf_counter()
    executable = Compiler().compile(process, Loihi2SimCfg(select_tag=tag))
    runtime = Runtime(executable, ActorType.MultiProcessing)
    executable.assign_runtime_to_all_processes(runtime)
    try:
        runtime.initialize()
        begun = time.perf_counter()
        runtime.start(RunSteps(steps, blocking=False))
        watch_run(runtime)
        runtime.wait()
        ended = time.perf_counter()
        runtime.stop()
    except BaseException:
        destroy(runtime)
        raise
    timings = {
        "build": imported - started,
        "start": begun - imported,
        "run": ended - begun,
        "stop": time.perf_counter() - ended,
    }
    (folder / "timings.json").write_text(json.dumps(timings))


def main() -> None:
    """Run; on failure leave the reason in ``FOLDER/error.txt`` and exit with status 1."""
    folder = Path(sys.argv[1])
    status = 0
    stop_when_input_ends()
    try:
        run(folder)
    except SystemExit:
        shutil.rmtree(folder, ignore_errors=True)  # The parent may be no more.
        status = 1
    except BaseException as error:
        (folder / "error.txt").write_text(f"{error}\n{traceback.format_exc()}")
        status = 1
    # Lava's runtime would wait in its finalizer for processes that are gone.
    os._exit(status)


if __name__ == "__main__":
    main()
