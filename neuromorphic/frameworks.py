"""Presets for files of other frameworks: the time step, reset rule and time constants that the files do not contain.

docs/peers.md has the measurements behind them. A file does not say which framework wrote it, so the user does:
``--from sinabs``, or ``load(..., framework="sinabs")``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import nir
import numpy as np

from neuromorphic.arguments import check_choice
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph import RESET_BY_SUBTRACTION, RESET_TO_V_RESET, time_step
from neuromorphic.graph.nested import check_nir_graph
from neuromorphic.graph.times import checked_time_step
from neuromorphic.graph.values import numbers

Change = Callable[[str, nir.NIRNode, float], None]
"""Called with name, node and time step (seconds); changes the node in place."""


@dataclass(frozen=True)
class Framework:
    """Preset for the files of one framework.

    Attributes:
        name: Name of the framework.
        dt: Time step in seconds that its exporter assumes. A time step in the file counts first.
        reset: Default reset rule of its neurons.
        about: Description of the changes.
        change: Changes each node; None for no change.
        late: Whether its neurons, by default, subtract the threshold one step after the spike.
    """

    name: str
    dt: float
    reset: str
    about: str
    change: Change | None = None
    late: bool = False


def read_from(
    graph: nir.NIRGraph, framework: str, dt: float | None = None, reset: str | None = None
) -> tuple[nir.NIRGraph, float, str]:
    """Convert a graph of a framework to NIR's semantics.

    Args:
        graph: The graph that the exporter wrote. It is not changed.
        framework: One of :data:`FRAMEWORKS`.
        dt: Time step in seconds. None: that of the file, or the one that the exporter assumes.
        reset: Reset rule. None: the framework's default.

    Returns:
        The graph, its time step and its reset rule.

    Raises:
        ArgumentError: the framework is unknown.
        UnsupportedGraphError: a parameter is not an array of numbers.
    """
    check_choice("framework", framework, FRAMEWORKS)
    own = FRAMEWORKS[framework]
    check_nir_graph(graph)
    graph = deepcopy(graph)
    dt = time_step(graph, own.dt) if dt is None else checked_time_step(dt)
    for part in graphs_of(graph):
        for name, node in part.nodes.items():
            if own.change is not None:
                own.change(name, node, dt)
        if own.late and reset is None:
            subtract_late(part, dt)
    return graph, dt, reset or own.reset


def graphs_of(graph: nir.NIRGraph) -> list[nir.NIRGraph]:
    """A graph and all graphs within it."""
    inner = [node for node in graph.nodes.values() if isinstance(node, nir.NIRGraph)]
    return [graph, *(own for node in inner for own in graphs_of(node))]


def free_name(graph: nir.NIRGraph, name: str) -> str:
    """A name that no node of a graph has: ``name``, with underscores added if it is taken."""
    while name in graph.nodes:
        name += "_"
    return name


def subtract_late(graph: nir.NIRGraph, dt: float) -> None:
    """Add self-loops that delay the reset by subtraction by one step, in place.

    The late reset is v(t + 1) = beta v(t) + x - s(t) theta, with beta = 1 - dt / tau. NIR's reset in the same step
    subtracts theta before the decay, which is beta theta after it. A self-loop subtracts the other (1 - beta) theta. A
    CubaLIF is split into an LI node for its current and a LIF node, so that the loop reaches the membrane directly. Its
    recurrent connections to the current then get a Delay of one step. Without it, current and membrane would be in one
    loop, and the membrane would read the current one step late.

    Raises:
        UnsupportedGraphError: r of a neuron is 0, so that a loop cannot reach its membrane.
    """
    for name, node in list(graph.nodes.items()):
        if not isinstance(node, nir.CubaLIF):
            continue
        zero = np.zeros_like(numbers(name, "tau_syn", node.tau_syn))
        current = free_name(graph, f"{name}_current")
        graph.nodes[current] = nir.LI(tau=node.tau_syn, r=node.w_in, v_leak=zero)
        graph.nodes[name] = nir.LIF(node.tau_mem, node.r, node.v_leak, node.v_threshold)
        back = {b for a, b in graph.edges if a == name and (b, name) in graph.edges}
        edges = [(a, current) if b == name else (a, b) for a, b in graph.edges]
        if back:
            before = free_name(graph, f"{name}_before")
            graph.nodes[before] = nir.Delay(np.full_like(zero, dt))
            edges = [(before, b) if a == name and b in back else (a, b) for a, b in edges]
            edges.append((name, before))
        graph.edges = [*edges, (current, name)]
    for name, node in list(graph.nodes.items()):
        if not isinstance(node, nir.LIF):
            continue
        tau, r, threshold = (numbers(name, key, getattr(node, key)) for key in ("tau", "r", "v_threshold"))
        if not r.all():
            raise UnsupportedGraphError(f"node '{name}': r is 0, so no loop can subtract late; give --reset")
        late = free_name(graph, f"{name}_late")
        # The membrane multiplies the loop's signal by r dt / tau; the result has to be -(dt / tau) theta.
        graph.nodes[late] = nir.Scale(np.broadcast_to(-threshold / r, np.broadcast_shapes(tau.shape, r.shape)).copy())
        graph.edges = [*graph.edges, (name, late), (late, name)]


def potentials_from_v_leak(node: nir.NIRNode) -> None:
    """Measure potentials from v_leak, so that neurons that start at v_leak start at v = 0."""
    node.v_threshold = node.v_threshold - node.v_leak
    node.v_reset = getattr(node, "v_reset", 0.0) - node.v_leak
    node.v_leak = np.zeros_like(node.v_leak)


def norse(name: str, node: nir.NIRNode, dt: float) -> None:
    """Norse writes tau times dt, and w_in as 1. Its neurons start at v_leak, and their currents jump by the input."""
    for key in ("tau", "tau_syn", "tau_mem"):
        if hasattr(node, key):
            setattr(node, key, numbers(name, key, getattr(node, key)) / dt)
    if isinstance(node, nir.CubaLIF):
        node.w_in = node.tau_syn / dt
    if isinstance(node, nir.LIF | nir.CubaLIF):
        potentials_from_v_leak(node)


def sinabs(name: str, node: nir.NIRNode, dt: float) -> None:
    """Sinabs writes tau in steps and decays by exp(-1 / tau). Forward Euler decays equally with another tau."""
    for key in ("tau", "tau_syn", "tau_mem"):
        if hasattr(node, key):
            setattr(node, key, dt / -np.expm1(-1 / numbers(name, key, getattr(node, key))))


def spikingjelly(name: str, node: nir.NIRNode, dt: float) -> None:
    """SpikingJelly writes r of IF as 1 / dt. LIF neurons start at v_reset, which is also written as v_leak."""
    if isinstance(node, nir.IF):
        node.r = numbers(name, "r", node.r) * dt
    if isinstance(node, nir.LIF):
        potentials_from_v_leak(node)


FRAMEWORKS: Mapping[str, Framework] = {
    "snntorch": Framework(
        "snnTorch",
        1e-4,
        RESET_BY_SUBTRACTION,
        "dt 1e-4; reset by subtraction one step late, its default (with --reset: that rule, at once)",
        late=True,
    ),
    "norse": Framework(
        "Norse", 1e-3, RESET_TO_V_RESET, "dt 1e-3; tau / dt, currents jump, potentials from v_leak", norse
    ),
    "sinabs": Framework("Sinabs", 1.0, RESET_BY_SUBTRACTION, "dt 1; reset subtract; decays of exp(-1 / tau)", sinabs),
    "spikingjelly": Framework(
        "SpikingJelly", 1e-4, RESET_TO_V_RESET, "dt 1e-4; r of IF times dt; LIF starts at v_reset", spikingjelly
    ),
}
