"""Run a graph on any back end, or many folded networks side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_choice, check_names, check_real, check_seconds, check_type, listed
from neuromorphic.c import library as c
from neuromorphic.c.cache import Cached, cached
from neuromorphic.c.machine import CMachine
from neuromorphic.compiler.hardware import for_hardware, join, parts_of
from neuromorphic.compiler.lower import lower, pack
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.quantize import FixedNetwork, Ranges, quantize
from neuromorphic.errors import ArgumentError, PackagesMissingError, UnsupportedGraphError
from neuromorphic.execution import populations, reference
from neuromorphic.execution.calibration import calibrate
from neuromorphic.execution.folded import FoldedMachine, PopulationsMachine
from neuromorphic.execution.machine import Machine
from neuromorphic.execution.operations import LayerCount, count_layers
from neuromorphic.execution.record import Record, check_inputs, check_signals, from_populations
from neuromorphic.graph import Graph
from neuromorphic.lava.run import run_network

if TYPE_CHECKING:
    from neuromorphic.lava.session import KeptUp

Backend = Literal["numpy", "torch", "lava", "c"]
Precision = Literal["float", "fixed"]
BACKENDS, PRECISIONS = get_args(Backend), get_args(Precision)
SIDE_BY_SIDE = ("numpy", "lava", "c")
"""Back ends that run networks side by side."""
OLDER_NAMES = {"reference": "numpy"}
"""Old names of back ends. The reference is what ``numpy`` computes in float."""
RUN_TARGETS = ("simulator", "loihi2")


@dataclass(frozen=True, kw_only=True)
class RunDetails:
    """Details of a run in addition to its signals.

    Attributes:
        seconds: Wall time of each phase.
        quantization: For each population how it was quantised; empty in float.
        overflow: Number of values that left a register's range, over all samples, for each population with any.
    """

    seconds: dict[str, float]
    quantization: dict[str, dict[str, Any]] = field(default_factory=dict)
    overflow: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SideBySide(RunDetails):
    """The result of a run of several networks as one.

    Attributes:
        sent: For each network the messages of each population by name, shape (T, M): spikes as bool, all else in NIR's
            units.
        potentials: Membrane potentials of the populations asked for, in the same form.
    """

    sent: list[dict[str, NDArray]]
    potentials: list[dict[str, NDArray[np.float64]]]


def run_side_by_side(
    networks: Sequence[Network],
    inputs: Sequence[Mapping[str, NDArray]],
    backend: Literal["numpy", "lava", "c"],
    precision: Precision = "float",
    potentials: Collection[str] = (),
    deadline: float = 600.0,
    ranges: Ranges | None = None,
    target: Literal["simulator", "loihi2"] = "simulator",
    kept: KeptUp | None = None,
) -> SideBySide:
    """Run folded networks from rest, packed into one.

    Args:
        networks: With the same populations and connections, of any sizes; for fixed point folded with the decays of
            registers (``lower(graph, horizon=T)``).
        inputs: For each network its inputs by name, shape (T, n). T is the same for all.
        backend: ``numpy`` computes in NumPy, ``c`` in C, ``lava`` on Lava.
        precision: ``float`` computes in float64; ``fixed`` in Loihi's integers, with scales chosen over all networks.
        potentials: Names of the populations whose potentials are recorded.
        deadline: Seconds after which a run on Lava is stopped.
        ranges: Ranges of signals for which fixed-point scales are chosen. By default they are measured on the inputs.
        target: Lava's target. For Loihi 2, populations are split until each has one du, dv and threshold.
        kept: A Lava network that stays up for the next run. It cannot record potentials.

    Raises:
        ArgumentError: an argument of the wrong type, or an unknown back end, precision, target or population.
        UnsupportedGraphError: the networks cannot be packed or quantised.
        PackagesMissingError: the back end c has no C compiler.
        LavaMissingError, LavaRunError: see :func:`neuromorphic.lava.run.run_network`.
    """
    backend = check_backend(backend, SIDE_BY_SIDE)
    check_options(precision, deadline, ranges, target)
    check_networks(networks, inputs, potentials)
    network = pack(networks) if len(networks) > 1 else networks[0]
    x = {name: np.concatenate([own[name] for own in inputs], axis=1) for name in network.inputs}
    run = run_folded(network, x, backend, precision, potentials, deadline, ranges, target, kept=kept)
    apart = {key: split(getattr(run, key), networks) for key in ("sent", "potentials")}
    return SideBySide(**vars(run) | apart)


@dataclass(frozen=True, kw_only=True)
class FoldedRun(RunDetails):
    """The result of a run of one network.

    Attributes:
        sent: Messages of each population by name, shape (T, M), of a batch (B, T, M): spikes as bool, all else in NIR's
            units.
        potentials: Membrane potentials of the populations asked for, in the same form.
    """

    sent: dict[str, NDArray]
    potentials: dict[str, NDArray[np.float64]]


def run_folded(
    network: Network,
    inputs: Mapping[str, NDArray],
    backend: Literal["numpy", "lava", "c"],
    precision: Precision = "float",
    potentials: Collection[str] = (),
    deadline: float = 600.0,
    ranges: Ranges | None = None,
    target: Literal["simulator", "loihi2"] = "simulator",
    batched: bool = False,
    kept: KeptUp | None = None,
    in_c: Cached | None = None,
) -> FoldedRun:
    """Run a folded network from rest; arguments and errors are those of :func:`run_side_by_side`.

    Args:
        network: Float.
        inputs: By name, shape (T, *shape), or (B, T, *shape) with ``batched``.
        in_c: For the back end c: what was kept of earlier runs of the graph.
    """
    begun = time.perf_counter()
    nodes, parts = network, parts_of(network, registers=True) if target == "loihi2" else None
    if parts is not None:
        network = for_hardware(network, registers=True)
    fixed: FixedNetwork | None = None
    overflow: dict[str, dict[str, int]] = {}
    compiled = time.perf_counter()
    seconds: dict[str, float] = {}
    simulator = c.run if backend == "c" else populations.run
    rounded: Callable[[Network, Ranges], FixedNetwork] = quantize
    if in_c is not None:
        simulator, rounded = in_c.run, in_c.quantize
    if precision == "fixed" or backend != "lava":
        if precision == "fixed":
            # Lava's models do not report overflows of registers; the same arithmetic in NumPy does.
            calibration = calibrate(
                network, inputs, ranges, potentials, batched=batched, simulator=simulator, rounded=rounded
            )
            fixed, own = calibration.network, calibration.run
            overflow = {name: vars(count) for name, count in own.overflow.items() if count.any}
        else:
            own = simulator(network, inputs, potentials, batched)
        sent, traces = own.sent, own.potentials
        seconds["c" if backend == "c" else "numpy"] = time.perf_counter() - compiled
    if backend == "lava":
        if kept is not None and target == "simulator" and not potentials and not batched:
            run = kept(fixed or network, inputs, deadline)
        else:
            run = run_network(fixed or network, inputs, potentials, deadline=deadline, target=target, batched=batched)
        sent, traces = run.sent, run.potentials
        seconds |= run.seconds
    if fixed is not None:
        sent = {name: fixed.values(name, messages) for name, messages in sent.items()}
    if parts is not None:
        sent, traces = join(parts, sent), join(parts, traces, potentials=True)
    sent = {p.name: sent[p.name].astype(bool) if p.spikes else sent[p.name] for p in nodes.populations}
    return FoldedRun(
        sent=sent,
        potentials=traces,
        seconds={"compile": compiled - begun, **seconds},
        quantization=fixed.report() if fixed else {},
        overflow=overflow,
    )


def renamed(backend: str) -> str:
    """The present name of a back end; any other word is returned unchanged."""
    return OLDER_NAMES.get(backend, backend)


def check_backend(backend: str, known: Collection[str] = BACKENDS) -> Any:
    """Check the name of a back end.

    Returns:
        Its present name.

    Raises:
        ArgumentError: there is no such back end.
    """
    if isinstance(backend, str):
        backend = renamed(backend)
    check_choice("back end", backend, known)
    return backend


def check_options(precision: object, deadline: object, ranges: object, target: object) -> None:
    """Check the options of a run.

    Raises:
        ArgumentError: a precision or target is unknown, or another option has the wrong type.
    """
    check_choice("precision", precision, PRECISIONS)
    check_choice("target", target, RUN_TARGETS)
    check_seconds("deadline", deadline)
    if ranges is not None:
        check_type("ranges", ranges, Ranges, "give the ranges of populations.run(...), or none")


def check_networks(
    networks: Sequence[Network], inputs: Sequence[Mapping[str, NDArray]], potentials: Collection[str]
) -> None:
    """Check networks that are to run side by side, and their inputs.

    Raises:
        ArgumentError: they have the wrong type, there are none, or networks and inputs do not fit each other.
    """
    for what, values, kind in (("networks", networks, Network), ("inputs", inputs, Mapping)):
        mend = f"give a list of {kind.__name__}s, one a network"
        check_type(what, values, Sequence, mend)
        for k, value in enumerate(values):
            check_type(f"{what}[{k}]", value, kind, mend)
    if not networks or len(networks) != len(inputs):
        raise ArgumentError(f"there are {len(networks)} networks and inputs for {len(inputs)}; give one for each")
    check_names("potentials", potentials, [p.name for p in networks[0].populations])
    steps = set()
    for network, own in zip(networks, inputs, strict=True):
        if own.keys() != network.inputs.keys():
            raise ArgumentError(f"inputs {listed(own)} are given; the network's are {listed(network.inputs)}")
        for name, x in own.items():
            check_real(f"input '{name}'", x)
            if x.ndim != 2 or x.shape[1] != network.size(name) or not len(x):
                raise ArgumentError(f"input '{name}' must have shape (T, {network.size(name)}), got {x.shape}")
            steps.add(len(x))
    if len(steps) != 1:
        raise ArgumentError(f"inputs have {' and '.join(map(str, sorted(steps)))} steps; give all of them the same")


def split(packed: Mapping[str, NDArray], networks: Sequence[Network]) -> list[dict[str, NDArray]]:
    """Split records of packed networks along their last axis."""
    out: list[dict[str, NDArray]] = [{} for _ in networks]
    for name, values in packed.items():
        ends = np.cumsum([network.size(name) for network in networks])
        for own, part in zip(out, np.split(values, ends[:-1], axis=-1), strict=True):
            own[name] = part
    return out


@dataclass(frozen=True, kw_only=True)
class Simulation(RunDetails):
    """The result of a run of a graph. ``seconds`` also has the key ``all``, the whole time.

    Attributes:
        record: Its signals.
        counts: Numbers of spikes, operations and updates, by neuron node and Output node.
    """

    record: Record
    counts: dict[str, LayerCount]


def simulate(
    graph: Graph,
    inputs: Mapping[str, NDArray],
    backend: Backend = "numpy",
    precision: Precision = "float",
    potentials: Collection[str] = (),
    deadline: float = 600.0,
    ranges: Ranges | None = None,
    target: Literal["simulator", "loihi2"] = "simulator",
) -> Simulation:
    """Run a graph from rest.

    Args:
        graph: The graph.
        inputs: By Input node, shape (B, T, *shape).
        backend: ``numpy`` is the reference, NIR's semantics in NumPy, and in fixed point the integer simulator, Loihi's
            arithmetic. ``torch`` is the reference in PyTorch, faster, in float only. ``lava`` is Lava's CPU simulator,
            with the B samples side by side in one network. ``c`` is the folded network in C, compiled by the machine's
            compiler, and the fastest.
        precision: float64, or Loihi's integers.
        potentials: Names of the neuron nodes whose membrane potentials are recorded. Those of I, LI and CubaLI always
            are; a Threshold has none.
        deadline: Seconds after which a run on Lava is stopped.
        ranges: See :func:`run_side_by_side`.
        target: Target of Lava, or of the integer simulator.

    Raises:
        ArgumentError: an argument of the wrong type, or an unknown back end, precision, target or neuron.
        UnsupportedGraphError: the inputs do not fit, the back end cannot run the graph exactly, or a signal leaves
            float64's range.
        PackagesMissingError: PyTorch is not installed, or there is no C compiler.
        LavaMissingError, LavaRunError: see :func:`neuromorphic.lava.run.run_network`.
    """
    backend = check_backend(backend)
    check_options(precision, deadline, ranges, target)
    if target != "simulator" and backend != "lava" and precision != "fixed":
        raise ArgumentError(f"target '{target}' needs the back end lava")
    _, steps = check_inputs(graph, inputs, potentials)
    # Of graded neurons they are the output, and recorded in any case; a Threshold has none.
    potentials = [n for n in potentials if graph.nodes[n].is_spiking and graph.nodes[n].has_membrane]
    begun = time.perf_counter()
    if backend == "torch":
        record = torch_simulator(precision).simulate_torch(graph, inputs, potentials)
    elif backend == "numpy" and precision == "float":
        with np.errstate(over="ignore", invalid="ignore"):  # What they say is said of a node below.
            record = reference.simulate(graph, inputs, potentials)
    else:
        horizon = (ranges.steps if ranges else steps) if precision == "fixed" else None
        in_c = cached(graph) if backend == "c" else None
        network = lower(graph, horizon=horizon) if in_c is None else in_c.lower(graph, horizon)
        run = run_folded(
            network, inputs, backend, precision, potentials, deadline, ranges, target, batched=True, in_c=in_c
        )
        seconds = {"all": time.perf_counter() - begun, **run.seconds}
        record = as_record(graph, run)
        check_signals(record)
        return Simulation(
            record=record,
            counts=counts(network, inputs, record),
            seconds=seconds,
            quantization=run.quantization,
            overflow=run.overflow,
        )
    seconds = {"all": time.perf_counter() - begun}
    check_signals(record)
    return Simulation(record=record, counts=counts(lower(graph, check=False), inputs, record), seconds=seconds)


def open_machine(
    graph: Graph,
    backend: Backend,
    precision: Precision = "float",
    batch: int = 1,
    potentials: Collection[str] = (),
    inputs: Mapping[str, NDArray] | None = None,
    running: Machine | None = None,
    room: float = 1.0,
    deadline: float = 600.0,
) -> Machine:
    """Prepare a graph on a back end, in the state before step 0, for :mod:`neuromorphic.session`.

    Args:
        graph, backend, precision, potentials: As in :func:`simulate`.
        batch: Number of samples B.
        inputs: For fixed point: inputs by Input node, shape (B, T, *shape), for which scales are chosen. Without them,
            the scales are chosen for the ranges of ``running``.
        running: A machine of the same back end, whose place this one can take.
        room, deadline: See :class:`neuromorphic.lava.session.LavaMachine`.

    Raises:
        ArgumentError: an argument of the wrong type, no inputs for fixed point, or no room in ``running``.
        UnsupportedGraphError, PackagesMissingError, LavaMissingError, LavaRunError: see :func:`simulate`.
    """
    there = [n for n in potentials if n in graph.nodes]  # The graph may be another one than the session began with.
    potentials = [n for n in there if graph.nodes[n].is_spiking and graph.nodes[n].has_membrane]
    if precision == "float" and backend == "numpy":
        return reference.ReferenceMachine(graph, batch, potentials)
    if backend == "torch":
        return torch_simulator(precision).TorchMachine(graph, batch, potentials)
    network: Network
    ranges = None
    if precision == "float":
        network = lower(graph)
    elif inputs is None:
        ranges = running.ranges if isinstance(running, FoldedMachine) else None
        if ranges is None:
            raise ArgumentError(
                "fixed point chooses scales for inputs that are typical, and as large as they get: give the session x="
            )
        network = quantize(lower(graph, horizon=ranges.steps), ranges)
    else:
        _, steps = check_inputs(graph, inputs)
        simulator = c.run if backend == "c" else populations.run
        calibration = calibrate(lower(graph, horizon=steps), inputs, batched=True, simulator=simulator)
        network, ranges = calibration.network, calibration.ranges
    if backend == "numpy":
        return PopulationsMachine(graph, network, batch, potentials, ranges)
    if backend == "c":
        return CMachine(graph, network, batch, potentials, ranges)
    from neuromorphic.lava.session import LavaMachine

    if isinstance(running, LavaMachine):
        running.load(graph, network, ranges)
        return running
    return LavaMachine(graph, network, batch, potentials, ranges, room=room, deadline=deadline)


def torch_simulator(precision: Precision) -> Any:
    """The module that runs graphs in PyTorch.

    Raises:
        UnsupportedGraphError: the precision is fixed.
        PackagesMissingError: PyTorch is not installed.
    """
    if precision == "fixed":
        raise UnsupportedGraphError("the torch back end has no fixed point; use --backend numpy, lava or c")
    try:
        from neuromorphic.execution import torch_simulator
    except ImportError as error:
        raise PackagesMissingError(f"the torch back end needs PyTorch ({error}): pip install torch") from None
    return torch_simulator


def as_record(graph: Graph, run: FoldedRun) -> Record:
    """The record of a batched run."""
    return from_populations(graph, run.sent, run.potentials)


def counts(network: Network, inputs: Mapping[str, NDArray], record: Record) -> dict[str, LayerCount]:
    """Numbers of spikes, operations and updates in a run."""
    sent = {**inputs, **record.outputs, **record.potentials, **record.spikes}
    return count_layers(network, {name: x.reshape(*x.shape[:2], -1) for name, x in sent.items()})
