"""What is compared, how a network that a peer exported must be read to give that peer's spikes, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import nir
import numpy as np

Mend = Callable[[nir.NIRGraph, float], None]
"""Changes a graph in place; the second argument is the time step."""


@dataclass(frozen=True)
class Setting:
    """How a file is read.

    Attributes:
        dt: Time step, seconds.
        reset: As ``--reset``.
        mend: Change of the graph that no option says.
        words: For the table.
    """

    dt: float
    reset: str | None = None
    mend: Mend | None = None
    words: str = ""


@dataclass(frozen=True)
class Case:
    """A network in a peer.

    Attributes:
        peer: Name of the peer and of its environment.
        network: Name in the peer's script.
        plain: The file as it is, at the time step that the peer ran with.
        best: The setting that gives the peer's spikes where ``plain`` does not.
        why: Where the difference comes from.
        error: What the peer's own exporter says, where it makes no file.
        refused: What we say to the file as it is.
        inexact: Nothing gives quite the peer's spikes.
    """

    peer: str
    network: str
    plain: Setting
    best: Setting | None = None
    why: str = ""
    error: str = ""
    refused: str = ""
    inexact: bool = False


def each(kind: type, change: Callable[[nir.NIRNode, float], nir.NIRNode | None]) -> Mend:
    """A mend of every node of a type; ``change`` may return another node in its place."""

    def mend(graph: nir.NIRGraph, dt: float) -> None:
        for name, node in list(graph.nodes.items()):
            if isinstance(node, kind):
                graph.nodes[name] = change(node, dt) or node

    return mend


def self_loop(graph: nir.NIRGraph, dt: float) -> None:
    """A reset by subtraction one step late, v(t + 1) = beta v(t) + x - s(t) theta.

    Reset at once, v loses theta before it decays, so beta theta; the self-loop takes the other (1 - beta) theta.
    """
    for name, node in list(graph.nodes.items()):
        if isinstance(node, nir.LIF):
            weight = np.diag(-(dt / node.tau) * node.v_threshold / (node.r * dt / node.tau))
            graph.nodes[f"{name}_late"] = nir.Linear(weight=weight)
            graph.edges += [(name, f"{name}_late"), (f"{name}_late", name)]


def current_apart(graph: nir.NIRGraph, dt: float) -> None:
    """CubaLIF as LI, the current, and LIF, so that a self-loop can reach the membrane past the current.

    What comes back from the spikes to the current takes a step, by a Delay: without one the current would be read a
    step late as well, as neurons of a loop read each other so.
    """
    for name, node in list(graph.nodes.items()):
        if isinstance(node, nir.CubaLIF):
            zero = np.zeros_like(node.tau_syn)
            graph.nodes[f"{name}_current"] = nir.LI(tau=node.tau_syn, r=node.w_in, v_leak=zero)
            graph.nodes[name] = nir.LIF(node.tau_mem, node.r, node.v_leak, node.v_threshold)
            back = {b for a, b in graph.edges if a == name and (b, name) in graph.edges}
            edges = [(a, f"{name}_current") if b == name else (a, b) for a, b in graph.edges]
            if back:
                graph.nodes[f"{name}_before"] = nir.Delay(np.full_like(zero, dt))
                edges = [(f"{name}_before", b) if a == name and b in back else (a, b) for a, b in edges]
                edges.append((name, f"{name}_before"))
            graph.edges[:] = [*edges, (f"{name}_current", name)]
    self_loop(graph, dt)


def from_rest(node: nir.NIRNode, dt: float) -> None:
    """Potentials counted from v_leak, where the peer starts; v = 0 is then that."""
    node.v_threshold, node.v_reset = node.v_threshold - node.v_leak, node.v_reset - node.v_leak
    node.v_leak = np.zeros_like(node.v_leak)


def norse_reset(node: nir.NIRNode, dt: float) -> None:
    node.v_reset = np.full_like(node.v_leak, -0.3)
    from_rest(node, dt)


def norse_jump(node: nir.NIRNode, dt: float) -> None:
    """The current jumps by the input: (dt / tau_syn) w_in = 1."""
    node.w_in = node.tau_syn / dt


def exponential(node: nir.NIRNode, dt: float) -> None:
    """tau with which forward Euler decays by exp(-1 / tau)."""
    node.tau = dt / (1 - np.exp(-1 / node.tau))


def exponential_whole_input(node: nir.NIRNode, dt: float) -> None:
    exponential(node, dt)
    node.r = node.tau / dt


def exponential_synapse(node: nir.NIRNode, dt: float) -> nir.NIRNode:
    """i' = alpha (i + x) with alpha = exp(-1 / 3), which the file does not hold."""
    exponential(node, dt)
    alpha = np.full_like(node.tau, np.exp(-1 / 3.0))
    return nir.CubaLIF(
        tau_syn=dt / (1 - alpha),
        tau_mem=node.tau,
        r=node.r,
        v_leak=node.v_leak,
        v_threshold=node.v_threshold,
        w_in=alpha / (1 - alpha),
    )


def integrate(node: nir.NIRNode, dt: float) -> nir.NIRNode:
    return nir.IF(r=np.ones_like(node.v_threshold), v_threshold=node.v_threshold)


def r_per_step(node: nir.NIRNode, dt: float) -> None:
    node.r = node.r * dt


SNNTORCH = Setting(1e-4)
SUBTRACT = Setting(1e-4, "subtract", words="`--reset subtract`")
DROPS = "reset one step late, and the input of that step is dropped with it; not so in Leaky"
NORSE = Setting(1e-3)
NORSE_DT = Setting(1e-6, words="`--dt 1e-6`")
NORSE_TAU = "`to_nir` multiplies tau by dt, 1e-3"
SINABS = Setting(1.0)
SINABS_SUBTRACT = Setting(1.0, "subtract", words="`--reset subtract`")
TAU = "tau = 1 / (1 - exp(-1 / tau))"
DECAY = "decay is exp(-1 / tau)"
MANY = "a neuron may fire several spikes a step, NIR's fires one"
SPIKINGJELLY = Setting(1e-4)

CASES = [
    Case("snntorch", "lif", SNNTORCH),
    Case("snntorch", "lif_delayed_zero", SNNTORCH),
    Case("snntorch", "lif_subtract_weak", SNNTORCH, SUBTRACT, "reset by subtraction; the file does not say which"),
    Case(
        "snntorch",
        "lif_subtract",
        SNNTORCH,
        SUBTRACT,
        "as above, and where the rest is still above threshold, the next step subtracts before it compares",
        inexact=True,
    ),
    Case(
        "snntorch",
        "lif_default",
        SNNTORCH,
        Setting(1e-4, "subtract", self_loop, "`--reset subtract` and a self-loop of -(1 - beta) threshold"),
        "reset by subtraction, one step late: `reset_delay=True`",
    ),
    Case(
        "snntorch",
        "if",
        SNNTORCH,
        Setting(1e-4, mend=each(nir.LIF, integrate), words="IF in place of LIF"),
        "beta = 1 becomes tau = inf",
        refused="is inf",
    ),
    Case("snntorch", "cuba", SNNTORCH),
    Case("snntorch", "cuba_delayed_zero", SNNTORCH, why=DROPS),
    Case("snntorch", "recurrent", SNNTORCH),
    Case("snntorch", "recurrent_delayed_zero", SNNTORCH, why=DROPS),
    Case("snntorch", "recurrent_one_to_one", SNNTORCH),
    Case(
        "snntorch",
        "recurrent_cuba",
        SNNTORCH,
        Setting(
            1e-4,
            "subtract",
            current_apart,
            "as `lif_default`, with CubaLIF as LI and LIF, and a Delay of a step on the way back",
        ),
        "as `lif_default`",
    ),
    Case(
        "snntorch",
        "recurrent_cuba_at_once",
        SNNTORCH,
        why="RSynaptic fails with `reset_delay=False`, before any export",
        error="TypeError: unsupported operand",
    ),
    Case("snntorch", "conv", SNNTORCH),
    Case(
        "snntorch",
        "lif_scalar",
        SNNTORCH,
        why="with beta as a number it writes LIF without a shape; give beta and threshold as tensors",
        error="ValueError: Type inference error: type mismatch",
    ),
    Case("norse", "lif", NORSE, NORSE_DT, NORSE_TAU),
    Case("norse", "lif_dt_1", NORSE),
    Case(
        "norse",
        "lif_leak_reset",
        NORSE,
        Setting(1e-6, mend=each(nir.LIF, norse_reset), words="`--dt 1e-6`, v_reset set, potentials from v_leak"),
        NORSE_TAU + "; v_reset is not exported; it starts at v_leak, not at 0",
    ),
    Case(
        "norse",
        "cuba",
        NORSE,
        Setting(1e-6, mend=each(nir.CubaLIF, norse_jump), words="`--dt 1e-6`, w_in = tau_syn / dt"),
        NORSE_TAU + "; the current jumps by the input, but w_in is exported as 1",
    ),
    Case("norse", "if", NORSE),
    Case("norse", "conv", NORSE, NORSE_DT, NORSE_TAU),
    Case(
        "norse",
        "conv_untyped",
        NORSE,
        why="Conv2d without input_shape; call `graph.infer_types()` before `nir.write`",
        error="TypeError: One of data, shape or dtype must be specified",
    ),
    Case(
        "norse",
        "lif_scalar",
        NORSE,
        why="nir 1.0.8 writes no scalars; give parameters as tensors of the layer's shape",
        error="TypeError: Scalar datasets",
    ),
    Case("norse", "recurrent", NORSE, why="not among the modules that it exports", error="AttributeError"),
    Case("sinabs", "if", SINABS, SINABS_SUBTRACT, "reset by subtraction"),
    Case("sinabs", "if_to_zero", SINABS),
    Case("sinabs", "if_default_weak", SINABS, SINABS_SUBTRACT, "reset by subtraction; no neuron fires twice a step"),
    Case("sinabs", "if_default", SINABS, SINABS_SUBTRACT, MANY, inexact=True),
    Case(
        "sinabs",
        "lif",
        SINABS,
        Setting(1.0, "subtract", each(nir.LIF, exponential), f"`--reset subtract`, {TAU}"),
        f"reset by subtraction; {DECAY}",
    ),
    Case("sinabs", "lif_to_zero", SINABS, Setting(1.0, None, each(nir.LIF, exponential), TAU), DECAY),
    Case(
        "sinabs",
        "lif_default",
        SINABS,
        Setting(1.0, "subtract", each(nir.LIF, exponential), f"`--reset subtract`, {TAU}"),
        f"as `lif`; {MANY}",
        inexact=True,
    ),
    Case(
        "sinabs",
        "lif_not_normed",
        SINABS,
        Setting(1.0, "subtract", each(nir.LIF, exponential_whole_input), f"`--reset subtract`, {TAU}, r = tau / dt"),
        "as `lif`; `norm_input=False` is not exported",
    ),
    Case(
        "sinabs",
        "lif_synapse",
        SINABS,
        Setting(1.0, "subtract", each(nir.LIF, exponential_synapse), f"`--reset subtract`, {TAU}, CubaLIF"),
        "as `lif`; tau_syn is not exported",
    ),
    Case(
        "sinabs",
        "lif_scalar",
        SINABS,
        Setting(1.0, "subtract", each(nir.LIF, exponential), f"`--reset subtract`, {TAU}"),
        f"reset by subtraction; {DECAY}",
    ),
    Case("sinabs", "conv", SINABS, SINABS_SUBTRACT, "reset by subtraction"),
    Case(
        "sinabs",
        "conv_untyped",
        SINABS,
        why="Conv2d and Flatten without shapes; set them before `nir.write`",
        error="TypeError: One of data, shape or dtype must be specified",
    ),
    Case("sinabs", "recurrent", SINABS, why="not among the modules that it exports", error="NotImplementedError"),
    Case(
        "spikingjelly",
        "if",
        SPIKINGJELLY,
        Setting(1e-4, mend=each(nir.IF, r_per_step), words="r times dt"),
        "r is exported as 1 / dt, for dv/dt = r I taken literally; the other platforms add r I a step",
    ),
    Case("spikingjelly", "lif", SPIKINGJELLY),
    Case("spikingjelly", "lif_input_not_decayed", SPIKINGJELLY),
    Case(
        "spikingjelly",
        "lif_reset",
        SPIKINGJELLY,
        Setting(1e-4, mend=each(nir.LIF, from_rest), words="potentials from v_leak"),
        "it starts at v_reset, not at 0",
    ),
    Case("spikingjelly", "plif", SPIKINGJELLY),
    Case("spikingjelly", "cuba", SPIKINGJELLY),
    Case("spikingjelly", "conv", SPIKINGJELLY),
    Case(
        "spikingjelly",
        "lif_soft_reset",
        SPIKINGJELLY,
        why="`v_reset=None` is not exported",
        error="NotImplementedError: NIR does not distinguish soft reset",
    ),
    Case(
        "spikingjelly", "recurrent", SPIKINGJELLY, why="its recurrent containers cannot be traced", error="TraceError"
    ),
]


@dataclass(frozen=True)
class Reader:
    """A peer's importer.

    Attributes:
        peer: Its name.
        error: What it says to our file as it is, if it refuses it.
        mend: What must be changed in the file first.
        words: That, for the table.
        why: Why it refuses the file or gives other spikes.
    """

    peer: str
    error: str = ""
    mend: Mend | None = None
    words: str = ""
    why: str = ""


def for_sinabs(graph: nir.NIRGraph, dt: float) -> None:
    """tau in steps, so that exp(-1 / tau) is NIR's decay, and r dt / tau in the weights, for r is ignored."""
    for source, target in graph.edges:
        node, neurons = graph.nodes[source], graph.nodes[target]
        if isinstance(neurons, nir.LIF):
            gain = neurons.r * dt / neurons.tau
            node.weight, node.bias = gain[:, None] * node.weight, gain * node.bias
    for node in graph.nodes.values():
        if isinstance(node, nir.LIF):
            node.tau, node.r = -1 / np.log1p(-dt / node.tau), np.ones_like(node.tau)


PEERS = ("snntorch", "norse", "sinabs", "spikingjelly")
READERS = [
    Reader("snntorch"),
    Reader("norse"),
    Reader("spikingjelly"),
    Reader(
        "sinabs",
        error="unexpected keyword argument 'v_reset'",
        mend=for_sinabs,
        words="v_reset removed, tau = -1 / log(1 - dt / tau), r dt / tau in the weights; then `SingleSpike` and "
        "`MembraneReset` set in its layers",
        why="needs nir 1.0.4, which knows no v_reset; tau is in steps, decay is exp(-1 / tau), r is ignored, reset by "
        "subtraction",
    ),
]
"""Norse and snnTorch round weights to float32 where we compute in float64."""
