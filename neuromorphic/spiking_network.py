"""A NIR graph as an object that runs, and says what it does: what ``neuromorphic.load`` returns."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import nir
import numpy as np

from neuromorphic.arguments import check_choice, check_count
from neuromorphic.backends import BACKENDS, PRECISIONS, Backend, Precision, simulate
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.execution.record import check_memory
from neuromorphic.graph import Graph, flatten
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

    from neuromorphic.lava.compiled.process import Compiled

RANDOM_STEPS = 32
"""Steps of random input, where no number is given."""


def load(source: str | Path | nir.NIRGraph, dt: float | None = None, reset: str | None = None) -> SpikingNetwork:
    """Load a network from a NIR file, or from a NIR graph in memory.

    >>> net = neuromorphic.load("model.nir")
    >>> net
    <SpikingNetwork model.nir: input (4,) -> output (3,), 3 neurons in 1 node, dt 0.001 s>

    Args:
        source: Path of a NIR file, whoever wrote it, or a ``nir.NIRGraph``. Nothing in a file is trusted or executed.
        dt: Time step in seconds; by default what the metadata say. A graph without time constants needs none.
        reset: What a spike does to the membrane: ``zero`` sets it to v_reset, ``subtract`` takes v_threshold off; by
            default what the metadata say, else ``zero``, as NIR's equations have it.

    Raises:
        ArgumentError: an argument of the wrong type.
        NIRFileError: the file is missing, or no NIR graph.
        UnsupportedGraphError: the graph says no dt and needs one, or something that cannot be computed exactly; the
            message names the node.
    """
    if isinstance(source, str | Path):
        nir_graph, name = read_nir(Path(source)), str(source)
        with naming(name):
            return SpikingNetwork(name, nir_graph, flatten(nir_graph, dt, reset))
    return SpikingNetwork("NIR graph", source, flatten(source, dt, reset))


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Name the file in errors about a graph."""
    try:
        yield
    except UnsupportedGraphError as error:
        raise UnsupportedGraphError(f"{source}: {error}") from None


class SpikingNetwork:
    """A network that was loaded from NIR, made by :func:`load`. It has no state: each run starts from rest.

    Inputs ``x`` are an array for the one Input node, or ``{name: array}``, of shape (T, *shape) or, for B samples,
    (B, T, *shape), in NIR's units; or the path of an ``.npz`` or ``.npy`` file of them.

    Attributes:
        source: The file that it is from, or ``NIR graph``.
        nir_graph: As it was read.
        graph: The same made flat, shaped and checked.
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
        """Shape of each Output node, likewise."""
        return {name: self.graph.nodes[name].shape for name in self.graph.outputs}

    @property
    def neurons(self) -> dict[str, tuple[int, ...]]:
        """Shape of each neuron node, in the order of their updates."""
        return {name: self.graph.nodes[name].shape for name in self.graph.neurons}

    def run(
        self,
        x: object,
        backend: Backend = "reference",
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
            backend: ``reference``: NIR's semantics in NumPy; ``torch``: the same in PyTorch, faster, float only;
                ``lava``: Intel's Lava, all samples side by side in one network.
            precision: ``float`` computes in float64, ``fixed`` in Loihi's integers: 8-bit weights, 24-bit states.
            potentials: Nodes that spike whose membrane potentials are recorded, by name, or True for all; those of I,
                LI and CubaLI are in any case. Recording takes memory, and some of the speed of torch and lava.
            steps: Run so many steps: the inputs are cut, or go on with zeros.
            target: Of Lava: its CPU simulator, ``loihi2``, or ``auto``, Loihi 2 where there is one.
            deadline: Seconds after which a run on Lava is stopped.

        Raises:
            ArgumentError: inputs of another shape, NaN, or an unknown word or node.
            SignalFileError: a file of inputs cannot be used.
            UnsupportedGraphError: the back end cannot run the graph exactly, or a signal leaves float64's range.
            LavaMissingError, LavaRunError: Lava is not installed, or failed; the message names its process.
        """
        check_choice("back end", backend, BACKENDS)
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

    def verify(
        self,
        x: object = None,
        against: Backend = "lava",
        precision: Precision = "float",
        *,
        backend: Backend = "reference",
        backend_precision: Precision = "float",
        steps: int | None = None,
        seed: int = 0,
        deadline: float = 600.0,
    ) -> Verification:
        """Run the same input on two back ends, and say where they differ and why.

        Args:
            x: Inputs, see the class; by default one sample of normally distributed numbers of mean 0.5.
            against: Back end that is verified.
            precision: Its arithmetic.
            backend: What it is held to.
            backend_precision: That one's arithmetic.
            steps: As of :meth:`run`; of random input 32 by default.
            seed: Of random input.
            deadline: Seconds after which a run on Lava is stopped.

        Returns:
            The comparison, which is true where all spikes are equal.

        Raises:
            UserError: see :meth:`run`.
        """
        for what, word, known in (
            ("back end", against, BACKENDS), ("back end", backend, BACKENDS),
            ("precision", precision, PRECISIONS), ("precision", backend_precision, PRECISIONS),
        ):  # fmt: skip
            check_choice(what, word, known)
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
        """Convert for a chip, and say what it does to every parameter, what it takes, and what breaks a limit.

        Args:
            target: ``loihi1`` or ``loihi2``.
            x: Inputs that are typical and as large as they get; by default 1 in every element.

        Returns:
            The conversion, which is true where the network fits.

        Raises:
            ArgumentError: an unknown target, or inputs that do not fit.
            UnsupportedGraphError: the graph cannot be quantised.
        """
        from neuromorphic.conversion.report import conversion_report

        inputs = None if x is None else as_signals(x, self.graph).inputs
        with naming(self.source):
            return Conversion(self.source, conversion_report(self.graph, target, inputs))

    def profile(
        self,
        x: object,
        backend: Backend = "reference",
        precision: Precision = "float",
        *,
        energy_models: str | Path | None = None,
    ) -> Profile:
        """Count what a run computes, by layer, and price it with energy models.

        Args:
            x: Inputs, see the class, or a :class:`Run` of this network, which is counted as it is.
            backend, precision: As of :meth:`run`.
            energy_models: File of energy models, in place of the package's own (``docs/energy.md``).

        Raises:
            EnergyModelError: the file cannot be used.
            UserError: see :meth:`run`.
        """
        from neuromorphic.profiling.energy import load_models

        models = load_models(None if energy_models is None else Path(energy_models))
        return Profile(x if isinstance(x, Run) else self.run(x, backend, precision), models)

    def plot(self, run: Run, nodes: Collection[str] | None = None, sample: int = 0) -> Figure:
        """Draw a run: rasters of spikes, curves of potentials and outputs; see :func:`neuromorphic.results.plot.plot`.

        Args:
            run: What :meth:`run` returned.
            nodes: Neuron and Output nodes that are drawn; by default all.
            sample: Which one of the batch.

        Returns:
            A ``matplotlib.figure.Figure``; ``figure.savefig("run.png")`` writes it.

        Raises:
            ArgumentError: no run, or an unknown node or sample.
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
        """Make a Lava process of it: an InPort per Input node, an OutPort per Output node.

        Args:
            precision: ``float``, or ``fixed`` for Loihi's integers.
            x: Fixed point: inputs that are typical and as large as they get; the scales are chosen for them.
            stock: Synapses as Lava's own processes, which hardware has, instead of ours.

        Raises:
            LavaMissingError: Lava is not installed.
            UnsupportedGraphError: the graph cannot be run exactly, or fixed point has no ``x``.
        """
        from neuromorphic.lava import compile

        calibration = None if x is None else as_signals(x, self.graph).inputs
        return compile(self.graph, precision, calibration=calibration, stock=stock)

    def export(self, out: str | Path, x: object, precision: Precision = "float") -> Run:
        """Compile it, run it on Lava and write all of it into a folder; see :func:`neuromorphic.lava.export.export`.

        Args:
            out: The folder; files in it are replaced.
            x: Inputs, see the class.
            precision: Lava's arithmetic.

        Returns:
            The run.

        Raises:
            UserError: see :meth:`run`; or the folder cannot be written to.
        """
        from neuromorphic.lava.export import export

        return export(self, Path(out), as_signals(x, self.graph), precision)

    def save(self, path: str | Path) -> None:
        """Write the network as a NIR file, with its time step and reset in the metadata, so that no reader has to ask.

        Raises:
            UserError: the file cannot be written, or the graph has what a NIR file cannot hold.
        """
        graph = copy(self.nir_graph)
        graph.metadata = {**(graph.metadata or {}), "dt": self.dt}
        resets = {node.reset for node in self.graph.nodes.values() if node.reset}
        if len(resets) == 1:  # else each node's own metadata say it
            graph.metadata["reset"] = resets.pop()
        write_nir(Path(path), graph)

    def table(self) -> Table:
        """A row for each node."""
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
