"""A network that runs on and on: steps one at a time or many, with a state that can be saved and restored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_path, check_type, listed
from neuromorphic.backends import Backend, Precision, open_machine
from neuromorphic.errors import ArgumentError, SignalFileError
from neuromorphic.execution.machine import Arrays, Machine, check_state
from neuromorphic.execution.record import check_signals
from neuromorphic.execution.spikes import save_arrays
from neuromorphic.graph import Graph
from neuromorphic.hdf5 import reason
from neuromorphic.signals import Signals, as_signals

if TYPE_CHECKING:
    from neuromorphic.spiking_network import SpikingNetwork


@dataclass(frozen=True, eq=False)
class Steps:
    """What a network did in some steps, or in one: arrays by node, of shape (B, T, *shape of the node), without B where
    the session has no batch, and without T of :meth:`Session.step`.

    Attributes:
        outputs: What each Output node got: float64, in NIR's units; of a node that spikes, 0 and 1.
        spikes: Spikes of every spiking node, bool.
        potentials: Membrane potentials after each step, of I, LI and CubaLI nodes, and of those that were asked for.
    """

    outputs: Arrays
    spikes: Arrays
    potentials: Arrays

    @property
    def output(self) -> NDArray:
        """The array of the one Output node.

        Raises:
            ArgumentError: there are several.
        """
        if len(self.outputs) != 1:
            raise ArgumentError(f"the network has the outputs {listed(self.outputs)}; choose one of outputs")
        return next(iter(self.outputs.values()))


class Session:
    """A network that stays, made by :meth:`neuromorphic.SpikingNetwork.session`; use it in a ``with`` statement.

    >>> with net.session("lava") as s:
    ...     out = s.step(x[0]).output
    ...     rest = s.run(x[1:]).output
    ...     s.reset()

    In any split into calls, the steps are those of one ``net.run`` of all of them: in fixed point bit for bit, in float
    spike for spike.

    Attributes:
        source: The file that the network is from, or what it was made of.
        graph: What runs.
        backend: What runs it.
        precision: ``float`` or ``fixed``.
        batch: Samples B, or None: then inputs have no such axis.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        backend: Backend,
        precision: Precision,
        batch: int | None,
        x: Signals | None,
        potentials: Collection[str],
        **options: Any,
    ) -> None:
        self.source, self.graph = network.source, network.graph
        self.backend, self.precision, self.batch = backend, precision, batch
        self._potentials, self._options = potentials, options
        self._machine: Machine | None = self._open(self.graph, x)

    def _open(self, graph: Graph, x: Signals | None, running: Machine | None = None) -> Machine:
        inputs = None if x is None else x.inputs
        return open_machine(
            graph, self.backend, self.precision, self.batch or 1, self._potentials, inputs, running, **self._options
        )

    @property
    def _running(self) -> Machine:
        if self._machine is None:
            raise ArgumentError("the session is closed; open another with net.session(...)")
        return self._machine

    @property
    def steps(self) -> int:
        """Steps done since the start, or since the start of the run that a restored state is from."""
        return int(self._running.state()["step"])

    def run(self, x: object) -> Steps:
        """Do the next T steps.

        Args:
            x: Inputs, as of :meth:`neuromorphic.SpikingNetwork.run`: of shape (T, *shape), with a batch (B, T, *shape).

        Raises:
            ArgumentError: inputs of another shape, NaN, or a closed session.
            UnsupportedGraphError: a signal leaves float64's range, or in fixed point an input is larger than any that
                the session was opened with.
            LavaRunError: the network died; the message names its process. The session can only be closed then.
        """
        return self._run(as_signals(x, self.graph), "")

    def step(self, x: object) -> Steps:
        """Do one step.

        Args:
            x: Inputs of shape (*shape), with a batch (B, *shape): an array, or one by Input node.

        Raises:
            UserError: as of :meth:`run`.
        """
        axis = 0 if self.batch is None else 1
        arrays: Mapping[str, Any] = x if isinstance(x, Mapping) else dict.fromkeys(self.graph.inputs, x)
        if len(self.graph.inputs) != 1 and not isinstance(x, Mapping):
            raise ArgumentError(
                f"the network has the inputs {listed(self.graph.inputs)}; give an array for each, by name"
            )
        for name in self.graph.inputs:
            wanted = (*(() if self.batch is None else (self.batch,)), *self.graph.nodes[name].shape)
            if name in arrays and np.shape(arrays[name]) != wanted:
                raise ArgumentError(f"input '{name}' of a step must have shape {wanted}, got {np.shape(arrays[name])}")
        one = {name: np.expand_dims(np.asarray(values), axis) for name, values in arrays.items()}
        done = self._run(as_signals(one, self.graph), "of a step ")

        def only(values: Arrays) -> Arrays:
            return {name: np.take(array, 0, axis) for name, array in values.items()}

        return Steps(only(done.outputs), only(done.spikes), only(done.potentials))

    def _run(self, signals: Signals, what: str) -> Steps:
        batch = len(next(iter(signals.inputs.values())))
        if (batch if signals.batched else None) != self.batch:
            has = "no axis B" if not signals.batched else f"{batch} samples"
            raise ArgumentError(f"the inputs have {has}, the session was opened with batch={self.batch}; give as many")
        record = self._running.run(signals.inputs)
        check_signals(record)

        def unbatched(values: Mapping[str, NDArray]) -> Arrays:
            return {name: array if self.batch is not None else array[0] for name, array in values.items()}

        return Steps(unbatched(record.outputs), unbatched(record.spikes), unbatched(record.potentials))

    def reset(self) -> None:
        """Stand at the start again, before step 0."""
        self._running.restore(self._running.start)

    def state(self) -> Arrays:
        """Where the network stands, as arrays by name, which ``numpy.savez`` takes.

        ``step`` is how many steps were done; the others are named ``WHAT/NODE`` and have the axis B first. In float,
        ``numpy`` and ``torch`` go on from each other's states: ``v``, ``i`` (of CubaLI and CubaLIF), ``sent`` (the
        last output) and ``past`` (what a Delay got, the newest last). Those of ``lava`` and ``c``, and of ``numpy``
        in fixed point, are its populations': ``u``, ``v``, ``past`` (what was sent and is still to be read), and
        ``scale``, which says whose integers they are.
        """
        return dict(self._running.state())

    def save(self, path: str | Path) -> None:
        """Write the state to an ``.npz`` file.

        Raises:
            UserError: it cannot be written.
        """
        save_arrays(check_path("path", path), self.state())

    def restore(self, state: Mapping[str, NDArray] | str | Path) -> None:
        """Go on from a state of a session of this network with the same precision and batch.

        Args:
            state: What :meth:`state` returned, or the path of a file of it.

        Raises:
            ArgumentError: it is of another network, batch, precision or back end; the message names the array.
            SignalFileError: the file cannot be read.
        """
        if isinstance(state, str | Path):
            state = read_state(check_path("state", state))
        check_type("the state", state, Mapping, "give what a session's state() returned, or the path of a file of it")
        self._running.restore(check_state(state, self._running))

    def load(self, network: SpikingNetwork, x: object = None) -> None:
        """Run another network from here on, from rest, in place of this one: as data, on Lava no process is started.

        For graphs whose weights are kron(A, W), as those of scene graphs (:mod:`neuromorphic.compiler.linear`), A and W
        are handed over apart: so this is how a running network gets the adjacency A of the next graph.

        Args:
            network: With the same nodes, connections and delays. Sizes and numbers may differ; on Lava, nodes may have
                as many elements as the first network's, times ``room``.
            x: Fixed point: its inputs, typical and as large as they get; without, the ranges of signals that the first
                network's scales were chosen for, which is faster by a run in NumPy or two.

        Raises:
            ArgumentError: a network of another make, or one that is too large.
            UserError: see :meth:`neuromorphic.SpikingNetwork.session`.
        """
        from neuromorphic.spiking_network import SpikingNetwork

        check_type("the network", network, SpikingNetwork, "give what neuromorphic.load returned")
        signals = None if x is None else as_signals(x, network.graph)
        before = self._running
        self._machine = self._open(network.graph, signals, before)
        if self._machine is not before:
            before.close()
        self.source, self.graph = network.source, network.graph

    def close(self) -> None:
        """End it, and all of its processes."""
        machine, self._machine = self._machine, None
        if machine is not None:
            machine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "closed" if self._machine is None else "open"
        return f"<Session of {self.source} on {self.backend} ({self.precision}): {where}>"


def read_state(path: Path) -> Arrays:
    """Read the arrays of a state from an ``.npz`` file; nothing is unpickled.

    Raises:
        SignalFileError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # NumPy and zipfile raise nearly everything on broken files.
        raise SignalFileError(f"{path} is no state ({reason(error)}); write one with session.save(path)") from None
