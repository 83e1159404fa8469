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
        dt: Time step, seconds; None leaves it to ``framework``.
        reset: As ``--reset``.
        mend: Change of the file that no option says, before it is read.
        words: For the table.
        framework: As ``--from``.
    """

    dt: float | None = None
    reset: str | None = None
    mend: Mend | None = None
    words: str = ""
    framework: str | None = None


def preset(framework: str, reset: str | None = None, mend: Mend | None = None, words: str = "") -> Setting:
    """``--from``, with what has to be said beside it."""
    said = f"`--from {framework}{f' --reset {reset}' if reset else ''}`"
    return Setting(None, reset, mend, f"{said}, {words}" if words else said, framework)


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


def norse_reset(node: nir.NIRNode, dt: float) -> None:
    node.v_reset = np.full_like(node.v_leak, -0.3)


def whole_input(node: nir.NIRNode, dt: float) -> None:
    """r with which all of the input is added, tau being a number of steps still."""
    node.r = -1 / np.expm1(-1 / node.tau)


def synapse(node: nir.NIRNode, dt: float) -> nir.NIRNode:
    """i' = alpha (i + x) with alpha = exp(-1 / 3), which the file does not hold; tau_syn is 3 steps."""
    alpha = np.full_like(node.tau, np.exp(-1 / 3.0))
    return nir.CubaLIF(
        tau_syn=np.full_like(node.tau, 3.0),
        tau_mem=node.tau,
        r=node.r,
        v_leak=node.v_leak,
        v_threshold=node.v_threshold,
        w_in=alpha / (1 - alpha),
    )


def integrate(node: nir.NIRNode, dt: float) -> nir.NIRNode:
    return nir.IF(r=np.ones_like(node.v_threshold), v_threshold=node.v_threshold)


SNNTORCH = Setting(1e-4)
SUBTRACT = preset("snntorch", "subtract")
DROPS = "reset one step late, and the input of that step is dropped with it; not so in Leaky"
NORSE = Setting(1e-3)
NORSE_PRESET = preset("norse")
NORSE_TAU = "`to_nir` multiplies tau by dt, 1e-3"
SINABS = Setting(1.0)
SINABS_PRESET = preset("sinabs")
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
        preset("snntorch"),
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
        preset("snntorch"),
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
    Case("norse", "lif", NORSE, NORSE_PRESET, NORSE_TAU),
    Case("norse", "lif_dt_1", NORSE),
    Case(
        "norse",
        "lif_leak_reset",
        NORSE,
        preset("norse", mend=each(nir.LIF, norse_reset), words="v_reset set"),
        NORSE_TAU + "; v_reset is not exported; it starts at v_leak, not at 0",
    ),
    Case(
        "norse",
        "cuba",
        NORSE,
        NORSE_PRESET,
        NORSE_TAU + "; the current jumps by the input, but w_in is exported as 1",
    ),
    Case("norse", "if", NORSE),
    Case("norse", "conv", NORSE, NORSE_PRESET, NORSE_TAU),
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
    Case("sinabs", "if", SINABS, SINABS_PRESET, "reset by subtraction"),
    Case("sinabs", "if_to_zero", SINABS),
    Case("sinabs", "if_default_weak", SINABS, SINABS_PRESET, "reset by subtraction; no neuron fires twice a step"),
    Case("sinabs", "if_default", SINABS, SINABS_PRESET, MANY, inexact=True),
    Case(
        "sinabs",
        "lif",
        SINABS,
        SINABS_PRESET,
        f"reset by subtraction; {DECAY}",
    ),
    Case("sinabs", "lif_to_zero", SINABS, preset("sinabs", "zero"), DECAY),
    Case(
        "sinabs",
        "lif_default",
        SINABS,
        SINABS_PRESET,
        f"as `lif`; {MANY}",
        inexact=True,
    ),
    Case(
        "sinabs",
        "lif_not_normed",
        SINABS,
        preset("sinabs", mend=each(nir.LIF, whole_input), words="r = 1 / (1 - exp(-1 / tau))"),
        "as `lif`; `norm_input=False` is not exported",
    ),
    Case(
        "sinabs",
        "lif_synapse",
        SINABS,
        preset("sinabs", mend=each(nir.LIF, synapse), words="CubaLIF"),
        "as `lif`; tau_syn is not exported",
    ),
    Case(
        "sinabs",
        "lif_scalar",
        SINABS,
        SINABS_PRESET,
        f"reset by subtraction; {DECAY}",
    ),
    Case("sinabs", "conv", SINABS, SINABS_PRESET, "reset by subtraction"),
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
        preset("spikingjelly"),
        "r is exported as 1 / dt, for dv/dt = r I taken literally; the other platforms add r I a step",
    ),
    Case("spikingjelly", "lif", SPIKINGJELLY),
    Case("spikingjelly", "lif_input_not_decayed", SPIKINGJELLY),
    Case(
        "spikingjelly",
        "lif_reset",
        SPIKINGJELLY,
        preset("spikingjelly"),
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
GOLDEN_FILES = "tests/neuromorphic/test_golden.py"
"""Runs where there is little but a peer, with the oldest and the newest nir."""
EVERY_NIR = (
    GOLDEN_FILES,
    "tests/neuromorphic/test_nir_file.py",
    "tests/neuromorphic/test_shapes.py",
    "tests/neuromorphic/test_support.py::test_without_lava_nothing_is_claimed_of_it",
    "tests/gshn/export/test_to_nir.py",
)
"""Run with every nir that we take."""
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
