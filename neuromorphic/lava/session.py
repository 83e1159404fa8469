"""A network that stays up on the Lava simulator: windows of steps, one after the other, in one child process."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
import weakref
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_seconds
from neuromorphic.compiler.lower import connection
from neuromorphic.compiler.network import SUM, Network, grow, repeat
from neuromorphic.compiler.quantize import FixedNetwork, Ranges
from neuromorphic.compiler.schedule import schedule
from neuromorphic.errors import ArgumentError, LavaRunError
from neuromorphic.execution.folded import FoldedMachine
from neuromorphic.execution.machine import Arrays, of_kind
from neuromorphic.execution.populations import by_sample, flat_inputs, start
from neuromorphic.files import writing
from neuromorphic.graph import Graph
from neuromorphic.lava.compat import require_lava
from neuromorphic.lava.folder import save
from neuromorphic.lava.progress import describe
from neuromorphic.lava.run import MEND, LavaRun, failure, potentials_of, start_child, stop_child
from neuromorphic.lava.window import BASE, BEGIN, NETWORK, STATE, STEPS, control_file

WINDOW = 128
"""Largest number of steps of a window. A window also takes as many extra steps as the network's longest lag."""
LOOK_SECONDS = 0.5
"""Seconds between checks that the child lives, while waiting for it."""


class LavaNetwork:
    """A folded network that stays up on Lava's CPU simulator.

    Args:
        network: Float or fixed.
        batch: Number of samples B.
        potentials: Names of the spiking populations whose potentials are recorded.
        room: A network that replaces this one can have this many times its neurons.
        deadline: Seconds for the start, and for each window.

    Raises:
        LavaMissingError: Lava is not installed.
        LavaRunError: the network did not start; no process or file is left behind.
    """

    def __init__(
        self,
        network: Network,
        batch: int = 1,
        potentials: Collection[str] = (),
        room: float = 1.0,
        deadline: float = 600.0,
    ) -> None:
        self.network, self.batch, self.potentials = network, batch, potentials
        self.deadline = check_seconds("deadline", deadline)
        require_lava()
        names = (*network.inputs, *(p.name for p in network.populations))
        self.sizes = {name: int(np.ceil(room * network.size(name))) for name in names}
        self._layout = layout(network)
        self._past = of_kind(start(network, batch), "past")
        self._folder = tempfile.TemporaryDirectory(prefix="neuromorphic-lava-")
        folder = Path(self._folder.name)
        self._died = ""
        try:
            with writing(folder, MEND):
                self._prepare(folder)
            commands, self._commands = os.pipe()
            self._answers, answers = os.pipe()
            self._child = start_child(folder, commands, answers)
        except BaseException:
            self._folder.cleanup()
            raise
        os.close(commands)
        os.close(answers)
        # Also when nobody closes it, and it is collected or Python ends.
        pipes = self._commands, self._answers
        self._end = weakref.finalize(self, release, self._child, pipes, self._folder, os.getpid())
        self._wait()

    def _prepare(self, folder: Path) -> None:
        """Write the program, and map the files that are shared with its processes."""
        full = repeat(grow(self.network, self.sizes), self.batch)
        fixed = isinstance(full, FixedNetwork)
        number = np.dtype(np.int32 if fixed else np.float64)
        self._files: dict[str, dict[str, NDArray]] = {}
        keep: dict[str, dict[str, str]] = {}

        def file(name: str, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
            own = keep.setdefault(name, {})
            own[key] = f"{list(keep).index(name)}.{key}.npy"
            mapped = np.lib.format.open_memmap(folder / own[key], "w+", dtype, shape)
            self._files.setdefault(name, {})[key] = np.asarray(mapped)

        self.plan = schedule(full)
        for p in full.populations:
            file(p.name, "messages", (WINDOW, p.size), np.dtype(bool) if p.spikes else number)
            if p.name in self.potentials:
                file(p.name, "potentials", (WINDOW, p.size), number)
            if p.kind != SUM:
                file(p.name, "cell", (2, p.size), np.dtype(np.int64 if fixed else np.float64))
        for name in full.inputs:
            file(name, "rows", (WINDOW, full.size(name)), number)
        for name, rows in self._past.items():
            file(name, "past", (rows.shape[1], full.size(name)), number)
        self._control = control_file(folder, create=True)
        self._lava_steps = 0
        save(
            folder,
            {
                "network": full,
                "plan": self.plan,
                "messages": {name: np.zeros((1, full.size(name)), number) for name in full.inputs},
                "steps": 1,
                "keep": keep,
                "stock": False,
                "target": "simulator",
                "stays": True,
            },
        )

    def _wait(self) -> None:
        """Wait for an answer.

        Raises:
            LavaRunError: the child died, or did not answer in time; all processes are then stopped.
        """
        folder, until = Path(self._folder.name), time.monotonic() + self.deadline
        try:
            while True:
                ready, _, _ = select.select([self._answers], [], [], LOOK_SECONDS)
                if ready and os.read(self._answers, 1):
                    return
                if ready or self._child.poll() is not None:
                    raise failure(folder, self._child.wait())
                if time.monotonic() > until:
                    about = describe(folder, self._child.pid, self._lava_steps)
                    raise LavaRunError(f"Lava did not answer within {self.deadline:g} s and was stopped: {about}")
        except BaseException as error:
            self.close()
            self._died = str(error) if isinstance(error, LavaRunError) else "it was interrupted"
            raise

    def advance(self, flat: Mapping[str, NDArray[np.float64]]) -> tuple[Arrays, Arrays]:
        """See :class:`~neuromorphic.execution.folded.FoldedMachine`; in fixed point messages are integers.

        Raises:
            LavaRunError: the network died; the message names the process.
        """
        steps = next(iter(flat.values())).shape[1]
        parts = [
            self._window({name: x[:, first : first + WINDOW] for name, x in flat.items()})
            for first in range(0, steps, WINDOW)
        ]
        sent, potentials = ({name: np.concatenate([part[k][name] for part in parts], axis=1) for name in parts[0][k]}
                            for k in (0, 1))  # fmt: skip
        return sent, potentials

    def _window(self, flat: Mapping[str, NDArray[np.float64]]) -> tuple[Arrays, Arrays]:
        """At most :data:`WINDOW` steps."""
        self._check_up()
        network, control = self.network, self._control
        steps = next(iter(flat.values())).shape[1]
        messages = {
            name: network.messages(name, x) if isinstance(network, FixedNetwork) else x for name, x in flat.items()
        }
        for name, x in messages.items():
            self._put(name, "rows", x)
        control[BASE], control[STEPS] = self._lava_steps, steps
        self._lava_steps += steps + self.plan.longest
        with suppress(BrokenPipeError):  # The wait below finds it dead.
            os.write(self._commands, f"{steps + self.plan.longest}\n".encode())
        self._wait()
        control[BEGIN] += steps
        sent = {p.name: self._get(p.name, "messages", steps) for p in network.populations}
        traces = {
            p.name: potentials_of(p, self._get(p.name, "potentials", steps))
            for p in network.populations
            if p.name in self.potentials
        }
        for name, rows in self._past.items():
            new = (sent | messages)[name]
            self._past[name] = np.concatenate([rows, new], axis=1)[:, new.shape[1] :]
        return sent, traces

    def _put(self, name: str, key: str, rows: NDArray) -> None:
        """Write rows of B samples, shape (B, T, n), into a file."""
        batch, steps, size = rows.shape
        self._files[name][key].reshape(-1, batch, self.sizes[name])[:steps, :, :size] = rows.swapaxes(0, 1)

    def _get(self, name: str, key: str, steps: int) -> NDArray:
        """Rows of B samples from a file, shape (B, T, M)."""
        rows = by_sample(self._files[name][key][:steps], self.batch)
        return rows[..., : self.network.size(name)].copy()

    def state(self) -> Arrays:
        """The current state, as :func:`~neuromorphic.execution.populations.start` describes it."""
        self._check_up()
        out: Arrays = {"step": np.array(self._control[BEGIN])}
        for p in self.network.populations:
            if p.kind != SUM:
                u, v = self._get(p.name, "cell", 2).swapaxes(0, 1)
                out |= {f"u/{p.name}": u, f"v/{p.name}": v}
        return out | {f"past/{name}": rows for name, rows in self._past.items()}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """Set the state."""
        self._check_up()
        for p in self.network.populations:
            if p.kind != SUM:
                self._put(p.name, "cell", np.stack([state[f"u/{p.name}"], state[f"v/{p.name}"]], axis=1))
        self._past = of_kind(state, "past")
        for name, rows in self._past.items():
            self._put(name, "past", rows)
        self._control[BEGIN] = int(state["step"])
        self._control[STATE] += 1

    @property
    def is_up(self) -> bool:
        """Whether the network still runs."""
        return self._end.alive

    def _check_up(self) -> None:
        """Check that the network is up.

        Raises:
            LavaRunError: it is not.
        """
        if not self.is_up:
            raise LavaRunError(f"the session has ended ({self._died or 'it was closed'}); open another")

    def why_not(self, network: Network) -> str:
        """Why another network cannot replace this one; empty if it can."""
        if layout(network) != self._layout:
            return "the network's nodes, connections or delays are others than those that the session was opened with"
        for name, size in self.sizes.items():
            if network.size(name) > size:
                return f"'{name}' has {network.size(name):,} elements, the session has room for {size:,} (room=)"
        return ""

    def load(self, network: Network) -> None:
        """Replace the network by another of the same layout, at rest. Only numbers are passed on; no process starts.

        Args:
            network: With the same populations and connections, and not larger than the room. Float or fixed like the
                one before.

        Raises:
            ArgumentError: it has another layout, or is too large.
        """
        self._check_up()
        if reason := self.why_not(network):
            raise ArgumentError(f"{reason}; open another session")
        number, folder = self._control[NETWORK] + 1, Path(self._folder.name)
        full = repeat(grow(network, self.sizes), self.batch)
        with writing(folder, MEND):
            for old in folder.glob("*.*." + str(number - 1) + ".*"):
                old.unlink()
            for kind, parts in (("population", full.populations), ("projection", full.projections)):
                for k, part in enumerate(parts):
                    save(folder, part, f"{kind}.{k}.{number}")
        for files in self._files.values():
            for key in files.keys() & {"rows", "cell", "past"}:
                files[key][...] = 0
        self.network, self._control[NETWORK] = network, number
        self.restore(start(network, self.batch))

    def close(self) -> None:
        """End all processes of the network, and delete its folder."""
        self._end()


def release(
    child: subprocess.Popen[bytes], pipes: Iterable[int], folder: tempfile.TemporaryDirectory[str], owner: int
) -> None:
    """Stop a network's processes and delete its folder, unless this is a forked copy of the owner."""
    if os.getpid() != owner:
        return
    stop_child(child)
    for pipe in pipes:
        os.close(pipe)
    folder.cleanup()


class LavaMachine(FoldedMachine):
    """A session's machine on Lava's CPU simulator. Its state is that of the same network in NumPy.

    Args:
        graph, network, batch, potentials, ranges: See :class:`~neuromorphic.execution.folded.FoldedMachine`.
        options: Options of :class:`LavaNetwork`.
    """

    def __init__(
        self,
        graph: Graph,
        network: Network,
        batch: int,
        potentials: Collection[str] = (),
        ranges: Ranges | None = None,
        **options: float,
    ) -> None:
        super().__init__(graph, network, batch, potentials, ranges)
        self.up = LavaNetwork(network, batch, potentials, **options)

    def advance(self, flat: Mapping[str, NDArray[np.float64]]) -> tuple[Arrays, Arrays]:
        """See :class:`~neuromorphic.execution.folded.FoldedMachine`."""
        return self.up.advance(flat)

    def state(self) -> Arrays:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        return self.up.state() | self.scales

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        self.up.restore(state)

    def load(self, graph: Graph, network: Network, ranges: Ranges | None = None) -> None:
        """Replace the network, see :meth:`LavaNetwork.load`."""
        self.up.load(network)
        super().__init__(graph, network, self.batch, self.potentials, ranges)

    def close(self) -> None:
        """See :class:`~neuromorphic.execution.machine.Machine`."""
        self.up.close()


class KeptUp:
    """Run networks from rest, as :func:`neuromorphic.lava.run.run_network` does, but without a new start for each.

    A network stays up, and the next one takes its place if it fits. If not, the next one is started, with some room.

    Args:
        room: See :class:`LavaNetwork`.
    """

    def __init__(self, room: float = 1.25) -> None:
        self.room = room
        self.up: LavaNetwork | None = None

    def __call__(self, network: Network, inputs: Mapping[str, NDArray], deadline: float = 600.0) -> LavaRun:
        """Run inputs of shape (T, *shape), by name.

        Raises:
            LavaMissingError, LavaRunError: see :class:`LavaNetwork`.
        """
        begun = time.perf_counter()
        if self.up is not None and (not self.up.is_up or self.up.why_not(network)):
            self.close()
        if self.up is None:
            self.up = LavaNetwork(network, room=self.room, deadline=deadline)
        else:
            self.up.load(network)
        ready = time.perf_counter()
        _, flat = flat_inputs(inputs, batched=False)
        sent, _ = self.up.advance({name: x[None] for name, x in flat.items()})
        seconds = {"start": ready - begun, "run": time.perf_counter() - ready}
        return LavaRun({name: rows[0] for name, rows in sent.items()}, {}, seconds)

    def close(self) -> None:
        """End its processes."""
        up, self.up = self.up, None
        if up is not None:
            up.close()


def layout(network: Network) -> object:
    """Everything about a network but sizes and numbers. Networks with the same layout can replace each other."""
    return (
        type(network),
        tuple(network.inputs),
        [(p.name, p.kind, bool(p.bias.start)) for p in network.populations],
        [connection(q) for q in network.projections],
        [network.is_direct(q) for q in network.projections],
    )
