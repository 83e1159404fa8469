"""A NIR graph as an object that runs, verifies, checks, profiles, plots and exports itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import nir
import numpy as np

from neuromorphic.arguments import (
    check_choice,
    check_count,
    check_names,
    check_path,
    check_seconds,
    check_type,
    printed,
)
from neuromorphic.backends import PRECISIONS, Backend, Precision, check_backend, simulate
from neuromorphic.errors import ArgumentError, UnsupportedGraphError, UserError
from neuromorphic.execution.record import check_memory
from neuromorphic.frameworks import read_from
from neuromorphic.graph import Graph, flatten
from neuromorphic.graph.nested import walk
from neuromorphic.graph.values import metadata_of
from neuromorphic.int8 import Rounding, with_int8_weights
from neuromorphic.lava.target import choose_target
from neuromorphic.nir_file import read_nir, write_nir
from neuromorphic.results.conversion import Conversion
from neuromorphic.results.plot import plot
from neuromorphic.results.profile import Profile
from neuromorphic.results.run import Run
from neuromorphic.results.tables import Table
from neuromorphic.results.verification import Verification, random_inputs
from neuromorphic.signals import Signals, as_signals, with_membrane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuromorphic.c.export import CProgram
    from neuromorphic.lava.compiled.process import Compiled
    from neuromorphic.session import Session

RANDOM_STEPS = 32
"""Steps of random input, where no number is given."""


def load(
    source: str | Path | nir.NIRGraph, dt: float | None = None, reset: str | None = None, framework: str | None = None
) -> SpikingNetwork:
    """Load a network from a NIR file, or from a NIR graph in memory.

    >>> net = neuromorphic.load("model.nir")
    >>> net
    <SpikingNetwork model.nir: input (4,) -> output (3,), 3 neurons in 1 node, dt 0.001 s>

    Args:
        source: Path of a NIR file of any framework, or a ``nir.NIRGraph``. Nothing in a file is trusted or executed.
        dt: Time step in seconds. By default it is read from the metadata. A graph without time constants needs none.
        reset: What a spike does to the membrane potential: ``zero`` sets it to v_reset, ``subtract`` subtracts
            v_threshold. By default it is read from the metadata; else it is ``zero``, as in NIR's equations.
        framework: The framework that wrote the graph, one of :data:`neuromorphic.frameworks.FRAMEWORKS`, whose files do
            not say how they are to be read. ``dt`` and ``reset`` override its defaults.

    Returns:
        The network, which has no state: each run starts from rest.

    Raises:
        ArgumentError: an argument has the wrong type, or the framework is unknown.
        NIRFileError: the file is missing, or is not a NIR graph.
        UnsupportedGraphError: the graph needs a dt and has none, or it has something that cannot be computed exactly;
            the message names the node.
    """
    name = str(source) if isinstance(source, str | Path) else "NIR graph"
    nir_graph = read_nir(Path(source)) if isinstance(source, str | Path) else source
    with naming(name) if isinstance(source, str | Path) else nullcontext():
        if framework is not None:
            nir_graph, dt, reset = read_from(nir_graph, framework, dt, reset)
        return SpikingNetwork(name, nir_graph, flatten(nir_graph, dt, reset))


@contextmanager
def naming(source: str, kinds: tuple[type[UserError], ...] = (UnsupportedGraphError,)) -> Iterator[None]:
    """Add the name of the file to errors of ``kinds``.

    Raises:
        UserError: the error, of the same class, with the file's name before its message.
    """
    try:
        yield
    except kinds as error:
        raise type(error)(f"{source}: {error}") from None


class SpikingNetwork:
    """A network that was loaded from NIR by :func:`load`. It has no state: each run starts from rest.

    Inputs ``x`` are an array for the one Input node, or ``{name: array}`` for several. Their shape is (T, *shape), or
    (B, T, *shape) for B samples of T steps, in NIR's units. The path of a file does as well (``docs/api.md``).

    Attributes:
        source: The file that it was read from, or ``NIR graph``.
        nir_graph: The graph as it was read, or as its framework means it.
        graph: The same graph, flat, with shapes, and checked.
    """

    def __init__(self, source: str, nir_graph: nir.NIRGraph, graph: Graph) -> None:
        self.source, self.nir_graph, self.graph = source, nir_graph, graph

    @property
    def dt(self) -> float:
        """Time step, seconds."""
        return self.graph.dt

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of each Input node, without the axes of samples and steps."""
        return {name: self.graph.nodes[name].shape for name in self.graph.inputs}

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of each Output node, without the axes of samples and steps."""
        return {name: self.graph.nodes[name].shape for name in self.graph.outputs}

    @property
    def neurons(self) -> dict[str, tuple[int, ...]]:
        """Shape of each neuron node, in the order of their updates."""
        return {name: self.graph.nodes[name].shape for name in self.graph.neurons}

    def run(
        self,
        x: object,
        backend: Backend = "numpy",
        precision: Precision = "float",
        *,
        potentials: bool | Collection[str] = False,
        steps: int | None = None,
        target: Literal["simulator", "loihi2", "auto"] = "simulator",
        deadline: float = 600.0,
    ) -> Run:
        """Run inputs from rest.

        Args:
            x: Inputs, see the class.
            backend: ``numpy``: NIR's semantics in NumPy; ``torch``: the same in PyTorch, faster, float only;
                ``lava``: Intel's Lava, all samples side by side in one network; ``c``: C that the machine's compiler
                compiles for the network, the fastest.
            precision: ``float`` computes in float64, ``fixed`` in Loihi's integers: 8-bit weights, 24-bit states.
            potentials: Names of spiking nodes whose membrane potentials are recorded, or True for all. Those of I, LI
                and CubaLI are always recorded. Recording takes memory, and slows torch and lava down.
            steps: Run this many steps: longer inputs are cut, shorter ones go on with zeros.
            target: With Lava: its CPU simulator, ``loihi2``, or ``auto``, Loihi 2 where there is one.
            deadline: Seconds after which a run on Lava is stopped.

        Returns:
            Outputs, spikes, potentials and counts, with the same leading axes as the inputs.

        Raises:
            ArgumentError: inputs have another shape or are not finite, or a word or node is unknown.
            SignalFileError: a file of inputs cannot be used.
            UnsupportedGraphError: the back end cannot run the graph exactly, or a signal leaves float64's range.
            LavaMissingError, LavaRunError: Lava is not installed, or failed; the message names its process.
        """
        backend = check_backend(backend)
        check_choice("precision", precision, PRECISIONS)
        return self._run(
            as_signals(x, self.graph, steps), backend, precision, potentials, choose_target(target), deadline
        )

    def _run(
        self,
        signals: Signals,
        backend: Backend,
        precision: Precision,
        potentials: bool | Collection[str],
        target: Literal["simulator", "loihi2"] = "simulator",
        deadline: float = 600.0,
    ) -> Run:
        names: Collection[str] = with_membrane(self.graph, self.graph.neurons)
        if potentials is not True:
            names = potentials or ()
        simulation = simulate(self.graph, signals.inputs, backend, precision, names, deadline, target=target)
        return Run(self.source, self.graph, signals, backend, precision, simulation)

    def session(
        self,
        backend: Backend = "numpy",
        precision: Precision = "float",
        *,
        batch: int | None = None,
        x: object = None,
        potentials: bool | Collection[str] = False,
        room: float = 1.0,
        deadline: float = 600.0,
    ) -> Session:
        """Open a session: the network keeps its state from call to call. On Lava, its processes stay up.

        Args:
            backend: As in :meth:`run`.
            precision: As in :meth:`run`.
            potentials: As in :meth:`run`.
            batch: Number B of samples that run side by side. By default one, whose arrays have no such axis.
            x: For fixed point: typical inputs, as large as they get. The scales are chosen for them.
            room: On Lava: networks that are loaded later may have this many times as many elements in a node.
            deadline: Seconds within which Lava has to start, and to run each 128 steps.

        Returns:
            The session. Use it in a ``with`` statement, or close it.

        Raises:
            UserError: see :meth:`run`; in fixed point also where ``x`` is missing.
        """
        from neuromorphic.session import Session

        backend = check_backend(backend)
        check_choice("precision", precision, PRECISIONS)
        if batch is not None:
            batch = check_count("batch", batch)
        if not isinstance(room, int | float) or not 1 <= room < float("inf"):
            raise ArgumentError(f"room is {printed(room)}; give a number of at least 1")
        names = with_membrane(self.graph, self.graph.neurons) if potentials is True else potentials or ()
        return Session(
            self,
            backend,
            precision,
            batch,
            None if x is None else as_signals(x, self.graph),
            check_names("potentials", names, self.graph.neurons),
            room=room,
            deadline=check_seconds("deadline", deadline),
        )

    def verify(
        self,
        x: object = None,
        against: Backend = "lava",
        precision: Precision = "float",
        *,
        backend: Backend = "numpy",
        backend_precision: Precision = "float",
        steps: int | None = None,
        seed: int = 0,
        deadline: float = 600.0,
    ) -> Verification:
        """Run the same input on two back ends, and say where their spikes differ and why.

        Args:
            x: Inputs, see the class. By default one sample of normally distributed numbers of mean 0.5.
            against: The back end that is verified.
            precision: Its arithmetic, ``float`` or ``fixed``.
            backend: The back end that it is compared with.
            backend_precision: That one's arithmetic.
            steps: As in :meth:`run`; 32 by default for random input.
            seed: Seed of the random input.
            deadline: Seconds after which a run on Lava is stopped.

        Returns:
            The comparison. It is true where all spikes are equal.

        Raises:
            UserError: see :meth:`run`.
        """
        against, backend = check_backend(against), check_backend(backend)
        for word in (precision, backend_precision):
            check_choice("precision", word, PRECISIONS)
        if x is None:
            steps = RANDOM_STEPS if steps is None else check_count("steps", steps)
            check_memory(self.graph, 1, steps)
            signals = Signals(random_inputs(self.graph, 1, steps, check_count("seed", seed, 0)), batched=False)
        else:
            signals = as_signals(x, self.graph, steps)
        theirs = self._run(signals, backend, backend_precision, True, deadline=deadline)
        ours = self._run(signals, against, precision, True, deadline=deadline)
        return Verification(ours, theirs)

    def check(self, target: str = "loihi2", x: object = None) -> Conversion:
        """Convert the network for a chip: every parameter before and after, cores, and what breaks a limit.

        Args:
            target: ``loihi1`` or ``loihi2``.
            x: Typical inputs, as large as they get. By default 1 in every element.

        Returns:
            The conversion. It is true where the network fits.

        Raises:
            ArgumentError: the target is unknown, or the inputs do not fit.
            UnsupportedGraphError: the graph cannot be quantised.
        """
        from neuromorphic.conversion.report import conversion_report

        inputs = None if x is None else as_signals(x, self.graph).inputs
        with naming(self.source):
            return Conversion(self.source, conversion_report(self.graph, target, inputs))

    def profile(
        self,
        x: object,
        backend: Backend = "numpy",
        precision: Precision = "float",
        *,
        energy_models: str | Path | None = None,
        compare: Sequence[SpikingNetwork] = (),
    ) -> Profile:
        """Count what a run computes, by layer, and model its energy.

        Args:
            x: Inputs, see the class; or a :class:`Run` of this network, which is counted as it is.
            backend: As in :meth:`run`.
            precision: As in :meth:`run`.
            energy_models: A file of energy models, in place of the package's own (``docs/energy.md``).
            compare: Other networks, which are run on the same inputs.

        Returns:
            Spikes, operations and joules of one sample, by layer.

        Raises:
            ArgumentError: the inputs do not fit another network, or ``compare`` has something else in it.
            EnergyModelError: the file cannot be used.
            UserError: see :meth:`run`.
        """
        from neuromorphic.profiling.energy import load_models

        models = load_models(None if energy_models is None else Path(energy_models))
        run = x if isinstance(x, Run) else self.run(x, backend, precision)
        others = []
        for other in compare:
            check_type("compare", other, SpikingNetwork, "give networks that neuromorphic.load returned")
            inputs = dict(zip(other.graph.inputs, run.signals.inputs.values(), strict=False))
            if set(other.inputs) == set(self.inputs):
                inputs = run.signals.inputs
            with naming(other.source, (ArgumentError, UnsupportedGraphError)):
                others.append(Profile(other.run(inputs, run.backend, run.precision), models))
        return Profile(run, models, tuple(others))

    def plot(self, run: Run, nodes: Collection[str] | None = None, sample: int = 0) -> Figure:
        """Draw a run: rasters of spikes, curves of potentials and outputs; see :func:`neuromorphic.results.plot.plot`.

        Args:
            run: What :meth:`run` returned.
            nodes: Neuron and Output nodes that are drawn. By default all.
            sample: Index of the sample in the batch.

        Returns:
            A ``matplotlib.figure.Figure``; ``figure.savefig("run.png")`` writes it.

        Raises:
            ArgumentError: ``run`` is not a run, or a node or sample is unknown.
            PackagesMissingError: matplotlib is not installed.
        """
        return plot(run, nodes, sample)

    def draw(self) -> Figure:
        """Draw the graph: a box for each node, arrows for what it reads, dashed where they close a loop.

        Returns:
            A ``matplotlib.figure.Figure``; ``figure.savefig("graph.png")`` writes it.

        Raises:
            PackagesMissingError: matplotlib is not installed.
        """
        from neuromorphic.results.drawing import draw

        return draw(self.graph)

    def compile(self, precision: Precision = "float", x: object = None, *, stock: bool = False) -> Compiled:
        """Make a Lava process of the network: an InPort per Input node, an OutPort per Output node.

        Args:
            precision: ``float``, or ``fixed`` for Loihi's integers.
            x: For fixed point: typical inputs, as large as they get. The scales are chosen for them.
            stock: Use Lava's own synapse processes, which hardware has, instead of ours.

        Returns:
            The process; its ``ports`` and ``lags`` are by the names of the nodes.

        Raises:
            LavaMissingError: Lava is not installed.
            UnsupportedGraphError: the graph cannot be run exactly, or fixed point has no ``x``.
        """
        from neuromorphic.lava import compile

        calibration = None if x is None else as_signals(x, self.graph).inputs
        return compile(self.graph, precision, calibration=calibration, stock=stock)

    @overload
    def export(
        self, out: str | Path, x: object, precision: Precision = "float", *, to: Literal["lava"] = "lava"
    ) -> Run: ...

    @overload
    def export(
        self, out: str | Path, x: object = None, precision: Precision = "float", *, to: Literal["c"]
    ) -> CProgram: ...

    def export(
        self,
        out: str | Path,
        x: object = None,
        precision: Precision = "float",
        *,
        to: Literal["lava", "c"] = "lava",
    ) -> Run | CProgram:
        """Write the network into a folder: compiled for Lava and run there, or as C for any device.

        For Lava the folder has the graph, its input, the compiled network, the spikes and a report
        (:func:`neuromorphic.lava.export.export`); as C the source, a test program and a report
        (:func:`neuromorphic.c.export.export`).

        Args:
            out: The folder. Files in it are replaced.
            x: Inputs, see the class. As C in fixed point the scales are chosen for them; by default random numbers.
            precision: The arithmetic, ``float`` or ``fixed``.
            to: ``lava`` or ``c``.

        Returns:
            The run on Lava, or what was written.

        Raises:
            UserError: see :meth:`run`; or the folder cannot be written to.
        """
        check_choice("export", to, ("lava", "c"))
        check_choice("precision", precision, PRECISIONS)
        if to == "c":
            from neuromorphic.c.export import export as export_c

            with naming(self.source):
                return export_c(self, Path(out), None if x is None else as_signals(x, self.graph), precision)
        from neuromorphic.lava.export import export

        return export(self, Path(out), as_signals(x, self.graph), precision)

    def save(self, path: str | Path, weights: Literal["float", "int8"] = "float") -> list[Rounding]:
        """Write the network as a NIR file whose metadata say its time step and reset rules.

        Args:
            path: The file.
            weights: ``float`` writes them as they are. ``int8`` rounds them to 8 bits, with a scale for each output
                channel in the metadata, which this package reads back (:mod:`neuromorphic.int8`); other readers take
                the integers for the weights.

        Returns:
            What rounding did to each node's weights. Empty for ``float``.

        Raises:
            ArgumentError: an argument has the wrong type, or a word is unknown.
            UserError: the file cannot be written.
        """
        check_choice("weights", weights, ("float", "int8"))
        graph, rounding = with_int8_weights(self.nir_graph) if weights == "int8" else (deepcopy(self.nir_graph), [])
        graph.metadata["dt"] = self.dt
        for name, node in walk(graph):
            if name in self.graph.nodes and self.graph.nodes[name].reset is not None:
                node.metadata = dict(metadata_of(node)) | {"reset": self.graph.nodes[name].reset}
        write_nir(check_path("path", path), graph)
        return rounding

    def table(self) -> Table:
        """A table with a row for each node."""
        rows = []
        for name, node in self.graph.nodes.items():
            numbers = sum(np.size(value) for value in node.parameters.values() if isinstance(value, np.ndarray))
            shape = " x ".join(map(str, node.shape)) or "1"
            rows.append((name, node.kind, shape, f"{numbers:,}", node.reset or "", ", ".join(self.graph.sources[name])))
        return Table(repr(self)[1:-1], ("node", "kind", "shape", "parameters", "reset", "reads"), rows)

    def __repr__(self) -> str:
        ends = (", ".join(f"{name} {shape}" for name, shape in own.items()) for own in (self.inputs, self.outputs))
        nodes = len(self.graph.neurons)
        size = sum(self.graph.nodes[name].size for name in self.graph.neurons)
        counted = f"{size:,} neuron{'s' * (size != 1)} in {nodes} node{'s' * (nodes != 1)}"
        return f"<SpikingNetwork {self.source}: {' -> '.join(ends)}, {counted}, dt {self.dt:g} s>"

    def _repr_html_(self) -> str:
        return self.table().html()
