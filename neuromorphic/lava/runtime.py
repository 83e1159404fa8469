"""Lava's runtime, made safe to kill. Import :mod:`neuromorphic.lava.compat` and call ``mend_lava`` first.

Lava hangs when a process model raises or dies, in the run or in the stop after it; its shared memory has names, in
/dev/shm, which remain when it is killed. Here processes are watched and killed, each ends when its parent does, and
shared memory has no name, so the kernel frees it with the last process. This is also faster: Lava has a process that
manages the memory, which is asked over a socket for every channel, and two threads for each channel.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from lava.magma.compiler.channels.interfaces import Channel, ChannelType
from lava.magma.compiler.executable import Executable
from lava.magma.core.process.message_interface_enum import ActorType
from lava.magma.core.run_conditions import RunSteps
from lava.magma.runtime.message_infrastructure.multiprocessing import MultiProcessing, SystemProcess
from lava.magma.runtime.mgmt_token_enums import MGMT_RESPONSE, enum_equal
from lava.magma.runtime.runtime import Runtime

from neuromorphic.lava.channels import LeanChannel, Memories, keep_memory
from neuromorphic.lava.progress import PID, STATE, WAITING, Progress
from neuromorphic.processes import end_with_parent

SERVICE = "Lava's runtime service"
LOOK_SECONDS = 0.05
"""Seconds between checks of the processes while steps are run."""
LAST_WORDS_SECONDS = 60.0
"""Seconds to wait for the text of an exception that a process announced."""


def run_process(builder: Any, number: int, progress: Progress, parent: int) -> None:
    """Build a process model or service, and run it; called in its own process.

    Raises:
        RuntimeError: it failed; the message says where.
    """
    end_with_parent(parent)
    progress.rows[number, PID] = os.getpid()
    keep_memory()
    try:
        actor = builder.build()
        if hasattr(actor, "run_spk"):
            progress.watch(number, actor)
        progress.rows[number, STATE] = WAITING
        actor.start()
    except Exception as error:
        # Not every exception can be sent to another process.
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


class Infrastructure(MultiProcessing):
    """Lava's processes, and their channels and shared memory."""

    def start(self) -> None:
        """Have shared memory."""
        self._smm = Memories()

    def channel_class(self, channel_type: ChannelType) -> type[Channel]:
        """The class of channels of a type."""
        return LeanChannel if channel_type == ChannelType.PyPy else super().channel_class(channel_type)

    def launch(self, name: str, target: Callable[..., None], *args: Any) -> None:
        """Start a process."""
        actor = SystemProcess(target=target, args=args, name=name)
        actor.start()
        self._actors.append(actor)


class WatchedRuntime(Runtime):
    """Lava's runtime for one run, see the module.

    Args:
        executable: The result of Lava's compiler.
        folder: The program's folder, in which progress is recorded.
    """

    def __init__(self, executable: Executable, folder: Path) -> None:
        super().__init__(executable, ActorType.MultiProcessing)
        self.folder = folder
        executable.assign_runtime_to_all_processes(self)

    def _build_message_infrastructure(self) -> None:
        self._messaging_infrastructure = Infrastructure()
        self._messaging_infrastructure.start()

    def _build_channels(self) -> None:
        """In the order in which processes were made: a port adds up what it gets in that of its channels.

        Lava's is that of a set, another in every run, and sums of floats would differ in their last bit.
        """
        self._executable.channel_builders.sort(
            key=lambda channel: (channel.src_process.id, channel.dst_process.id, channel.dst_port_initializer.name)
        )
        super()._build_channels()

    def _build_processes(self) -> None:
        """Start the processes. Lava waits for each with a queue of its own; here :meth:`watch` finds failures."""
        models, services = self._executable.proc_builders, self._executable.runtime_service_builders
        # The service first: it is the last that Lava's would start, and no process gets on without it.
        jobs = [(SERVICE, builder) for builder in services.values()]
        jobs += [(process.name, builder) for process, builder in models.items()]
        progress = Progress(self.folder, [name for name, _ in jobs])
        # So that no forked process collects, and thereby copies, the objects that all have in common.
        gc.collect()
        gc.freeze()
        for number, (name, builder) in enumerate(jobs):
            self._messaging_infrastructure.launch(name, run_process, builder, number, progress, os.getpid())

    def _build_runtime_services(self) -> None:
        """They have been started."""

    @property
    def actors(self) -> list[SystemProcess]:
        """The processes started so far."""
        return [] if self._messaging_infrastructure is None else self._messaging_infrastructure.actors

    def run(self, steps: int) -> None:
        """Run so many of Lava's steps.

        Raises:
            RuntimeError: one of Lava's processes raised or died; the message names it.
        """
        self.start(RunSteps(steps, blocking=False))
        ends = [end for actor in self.actors for end in (actor.sentinel, actor._pconn)]
        while not all(port.wait(LOOK_SECONDS) for port in self.service_to_runtime):
            if wait(ends, 0):
                self.check()
        for port in self.service_to_runtime:
            if not enum_equal(answer := port.recv(), MGMT_RESPONSE.DONE):
                wait([actor._pconn for actor in self.actors], LAST_WORDS_SECONDS)
                self.check()
                raise RuntimeError(f"{SERVICE} answered {answer}")

    def check(self) -> None:
        """Check that all processes run.

        Raises:
            RuntimeError: one is not.
        """
        for actor in self.actors:
            code = actor.exitcode  # Before the exception, which may arrive in between.
            if actor.exception is not None:
                failure, report = actor.exception
                error = RuntimeError(f"'{actor.name}' raised {failure}")
                error.add_note(report)
                raise error
            if code is not None:
                by = f"by signal {-code}" if code < 0 else f"with exit code {code}"
                raise RuntimeError(f"the process of '{actor.name}' died {by}")

    def kill(self) -> None:
        """Kill Lava's processes and wait until they are gone."""
        for actor in self.actors:
            with suppress(ProcessLookupError):
                os.kill(actor.pid, signal.SIGKILL)
        for actor in self.actors:
            with suppress(ChildProcessError):  # It was waited for already.
                os.waitpid(actor.pid, 0)
