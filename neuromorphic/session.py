"""Sessions: a network that keeps its state from call to call. The state can be saved and restored."""

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
    """The result of :meth:`Session.run` or :meth:`Session.step`: arrays by the name of the node.

    Their shape is (B, T, *shape of the node). A session without a batch has no axis B, and :meth:`Session.step` has no
    axis T.

    Attributes:
        outputs: The input of each Output node, float64, in NIR's units. Spikes are 0 and 1.
        spikes: Spikes of every spiking node, bool.
        potentials: Membrane potentials after each step (after the reset), float64, in NIR's units: of I, LI and CubaLI
            nodes, and of the nodes that ``potentials`` named when the session was opened.
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
    """A running network, opened by :meth:`neuromorphic.SpikingNetwork.session`. Use it in a ``with`` statement.

    >>> with net.session("lava") as s:
    ...     out = s.step(x[0]).output
    ...     rest = s.run(x[1:]).output
    ...     s.reset()

    However the steps are split into calls, the result equals that of one ``net.run`` over all of them: in fixed point
    bit for bit, in float spike for spike.

    Attributes:
        source: The file that the network was read from, or ``NIR graph``.
        graph: The graph that runs.
        backend: The back end that runs it.
        precision: ``float`` or ``fixed``.
        batch: Number B of samples, or None. With None, arrays have no axis B.
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
        """Number of steps done since the start. A restored state brings its own number."""
        return int(self._running.state()["step"])

    def run(self, x: object) -> Steps:
        """Run the next T steps.

        Args:
            x: Inputs, as for :meth:`neuromorphic.SpikingNetwork.run`. Their shape is (T, *shape), or with a batch
                (B, T, *shape).

        Returns:
            Outputs, spikes and potentials of these T steps.

        Raises:
            ArgumentError: the inputs have another shape or are not finite, or the session is closed.
            UnsupportedGraphError: a signal leaves float64's range. In fixed point: an input is larger than all inputs
                that the session was opened with.
            LavaRunError: a process of Lava ended; the message names it. The session can then only be closed.
        """
        return self._run(as_signals(x, self.graph), "")

    def step(self, x: object) -> Steps:
        """Run one step.

        Args:
            x: An array for the one Input node, or ``{name: array}`` for several. Their shape is (*shape), or
                (B, *shape) with a batch.

        Returns:
            Outputs, spikes and potentials, without the axis T.

        Raises:
            UserError: see :meth:`run`.
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
        """Return to the state before step 0."""
        self._running.restore(self._running.start)

    def state(self) -> Arrays:
        """The state of the network as arrays by name, which ``numpy.savez`` takes.

        ``step`` is the number of steps done. The other arrays are named ``VARIABLE/NODE``; their first axis is B. In
        float, ``numpy`` and ``torch`` have the same variables, and each continues from the other's state: ``v``
        (membrane potential), ``i`` (synaptic current of CubaLI and CubaLIF), ``sent`` (the last output) and ``past``
        (earlier inputs of a Delay, the newest last). ``lava`` and ``c``, and ``numpy`` in fixed point, have those
        of the compiled populations: ``u`` (current), ``v``, ``past`` (messages that are still to be read) and
        ``scale`` (the units of the integers).
        """
        return dict(self._running.state())

    def save(self, path: str | Path) -> None:
        """Write the state to an ``.npz`` file.

        Raises:
            UserError: the file cannot be written.
        """
        save_arrays(check_path("path", path), self.state())

    def restore(self, state: Mapping[str, NDArray] | str | Path) -> None:
        """Continue from a saved state.

        Args:
            state: What :meth:`state` returned, or the path of a file that :meth:`save` wrote, from a session of this
                network with the same precision and batch.

        Raises:
            ArgumentError: the state is that of another network, batch, precision or back end; the message names the
                array.
            SignalFileError: the file cannot be read.
        """
        if isinstance(state, str | Path):
            state = read_state(check_path("state", state))
        check_type("the state", state, Mapping, "give what a session's state() returned, or the path of a file of it")
        self._running.restore(check_state(state, self._running))

    def load(self, network: SpikingNetwork, x: object = None) -> None:
        """Replace the network by another one, which starts from rest.

        On Lava no process is started; the running ones get the new parameters.

        Scene graphs have weights kron(A, W) (:mod:`neuromorphic.compiler.linear`). A and W are sent separately, so a
        running network can take the adjacency matrix A of the next graph.

        Args:
            network: A network with the same nodes, connections and delays. Sizes and parameters may differ. On Lava a
                node may have as many elements as in the first network, times ``room``.
            x: For fixed point: typical inputs, as large as they get. Scales are chosen for them. By default they are
                chosen for the signal ranges of the first network, which saves one or two runs in NumPy.

        Raises:
            ArgumentError: the network has other nodes, connections or delays, or is too large.
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
        """Close the session, and end its processes."""
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
    """Read a state from an ``.npz`` file. Nothing is unpickled.

    Raises:
        SignalFileError: the file cannot be read.
    """
    if not path.is_file():
        raise SignalFileError(f"there is no file {path}; write one with session.save(path)")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # NumPy and zipfile raise nearly everything on broken files.
        raise SignalFileError(f"{path} is not a state ({reason(error)}); write one with session.save(path)") from None
