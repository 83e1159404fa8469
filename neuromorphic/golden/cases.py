"""Golden graphs and their inputs: small networks, each for one thing that simulators do differently.

Numbers are short in binary, so they are the same in float32 and float64. Most time constants are dt times a power of 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.golden.exact import ExactRun, simulate_exactly
from neuromorphic.nir_file import build, graph_of

DT = 1e-4
"""Seconds per step. snnTorch's importer knows no other."""
STEPS = 24
SIZE = 3
"""Neurons of most populations."""
IMAGE = (2, 5, 4)
MARGIN = 1 / 2048
"""Least distance of a potential from its threshold, unless they are equal. So rounding in float32 changes no spike."""
OFF = 2.0**-10
"""Distance of thresholds from the sums of short numbers."""
SEEDS = 64
"""Number of inputs that are tried until one keeps the margin and makes neurons fire."""

FAMILIES = {
    "primitives": "each primitive alone",
    "parameters": "each parameter of neurons by itself",
    "resets": "to v_reset, by subtraction, with little drive and with much",
    "ties": "potentials that are the threshold exactly, or just above",
    "delays": "none, one step, several, longer than the run, beside a way without",
    "loops": "neurons that read themselves and each other, with and without a Delay",
    "pairs": "every neuron before every other, every linear node before and behind LIF",
    "networks": "layers, branches, several inputs and outputs, batches",
    "shapes": "one neuron, one step, many steps, several axes, pixels and lines",
    "time": "other time steps, and where a file says them",
}

Fields = dict[str, Any]
Nodes = Mapping[str, nir.NIRNode]


@dataclass(frozen=True)
class Case:
    """A golden graph.

    Attributes:
        family: One of :data:`FAMILIES`.
        name: Unique.
        about: What it shows, in a few words.
        graph: The graph. Its one or two Input nodes come first.
        steps: T.
        batch: B.
        values: A fixed input by Input node, shape (B, T, *shape). None: an input is searched.
        ties: Whether some potentials must equal their thresholds.
        dt: Seconds per step, as in the metadata of the graph or of a node.
    """

    family: str
    name: str
    about: str
    graph: nir.NIRGraph
    steps: int = STEPS
    batch: int = 1
    values: Mapping[str, NDArray[np.float64]] | None = None
    ties: bool = False
    dt: float = DT

    @cached_property
    def solved(self) -> tuple[dict[str, NDArray[np.float64]], ExactRun]:
        """The input by Input node, shape (B, T, *shape), and the exact run on it.

        Raises:
            AssertionError: no input that was tried keeps the margin and makes every spiking node fire and rest.
        """
        shapes = {
            n: tuple(int(k) for k in node.input_type["input"])
            for n, node in self.graph.nodes.items()
            if isinstance(node, nir.Input)
        }
        for seed in range(SEEDS if self.values is None else 1):
            x = {
                n: drive((self.batch, self.steps, *shape), seed + 5 * k) for k, (n, shape) in enumerate(shapes.items())
            }
            run = simulate_exactly(self.graph, self.values or x, self.dt)
            active = all(spikes.any() and not spikes.all() for spikes in run.spikes.values()) or self.steps == 1
            if run.margin >= MARGIN and bool(run.ties) == self.ties and (active or self.values is not None):
                return dict(self.values or x), run
        raise AssertionError(f"{self.name}: no input is clear of thresholds and makes all neurons fire and rest")


def drive(shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """Numbers from -0.5 to 1.5, in whole eighths, that look random. A random generator's stream could change."""
    k = np.arange(int(np.prod(shape)), dtype=np.int64) + 1009 * (seed + 1)
    mixed = (k * k % 8191 * 17 + k * 31) % 257
    return (mixed % 17 - 4).reshape(shape) / 8.0


def weights(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    """Weights of both signs, in whole eighths, more above zero than below."""
    return drive(shape, 100 + seed) - 0.125


def full(value: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """An array of one value."""
    return np.full(shape, float(value))


def neuron(kind: str, *shape: int, reset: str | None = None, ease: float = 1.0, **own: Any) -> nir.NIRNode:
    """Neurons of a kind. Parameters that are not given have no effect where that is possible, and let neurons fire.

    ``ease`` divides the threshold. It sets how easily neurons fire without r, which some simulators ignore.
    """
    shape = shape or (SIZE,)
    spiking = 0.53125 / ease + OFF
    given: dict[str, Fields] = {
        "I": {"r": 1.0},
        "LI": {"tau": 4 * DT, "r": 1.0, "v_leak": 0.0},
        "CubaLI": {"tau_syn": 2 * DT, "tau_mem": 4 * DT, "r": 1.0, "v_leak": 0.0, "w_in": 1.0},
        "IF": {"r": 1.0, "v_threshold": 1.03125 / ease + OFF, "v_reset": 0.0},
        "LIF": {"tau": 4 * DT, "r": 1.0, "v_leak": 0.0, "v_threshold": spiking, "v_reset": 0.0},
        "CubaLIF": {
            "tau_syn": 2 * DT,
            "tau_mem": 4 * DT,
            "r": 1.0,
            "v_leak": 0.0,
            "v_threshold": spiking,
            "v_reset": 0.0,
            "w_in": 1.0,
        },
        "Threshold": {"threshold": spiking},
    }
    fields = {
        key: np.broadcast_to(np.asarray(value, float), shape).copy() for key, value in (given[kind] | own).items()
    }
    metadata = {"metadata": {"reset": reset}} if reset else {}
    return build({"type": kind, **fields, **metadata})


def linear(kind: str, **own: Any) -> nir.NIRNode:
    """A linear node of a kind; those that slide take images of :data:`IMAGE`, Conv1d lines of (2, 5)."""
    window = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2]), "padding": np.array([0, 0])}
    sliding = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    given: dict[str, Fields] = {
        "Affine": {"weight": weights(SIZE, SIZE), "bias": np.array([0.25, -0.125, 0.5])},
        "Linear": {"weight": weights(SIZE, SIZE)},
        "Scale": {"scale": np.array([1.5, -0.75, 2.0])},
        "Conv1d": {"input_shape": 5, "weight": weights(3, 2, 2), "bias": np.array([0.125, 0.0, -0.25]), **sliding},
        "Conv2d": {
            "input_shape": IMAGE[1:],
            "weight": weights(3, 2, 2, 2),
            "bias": np.array([0.125, 0.0, -0.25]),
            **sliding,
        },
        "SumPool2d": window,
        "AvgPool2d": window,
        "Flatten": {"input_type": np.array(IMAGE), "start_dim": 0, "end_dim": -1},
        "Delay": {"delay": DT * np.array([1.0, 2.0, 3.0])},
    }
    fields = given[kind] | own
    shape = fields.pop("input_shape", None)
    node = build({"type": kind, **fields} | ({"input_shape": None} if shape is not None else {}))
    if shape is not None:
        node.input_shape = shape  # Given to nir's classes some versions would infer more from it, and err on words.
    return node


LINEAR_IN = {"Conv1d": (2, 5), "Conv2d": IMAGE, "SumPool2d": IMAGE, "AvgPool2d": IMAGE, "Flatten": IMAGE}
LINEAR_OUT = {"Conv1d": (3, 4), "Conv2d": (3, 4, 3), "SumPool2d": (2, 2, 2), "AvgPool2d": (2, 2, 2), "Flatten": (40,)}
"""Shapes of inputs and outputs of :func:`linear` nodes, else (SIZE,)."""
LINEAR = ("Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Delay")
NEURONS = ("I", "LI", "CubaLI", "IF", "LIF", "CubaLIF", "Threshold")
RESETTING = ("IF", "LIF", "CubaLIF")


def source(*shape: int) -> nir.NIRNode:
    """An Input node of this shape; without a shape, of :data:`SIZE` elements."""
    return nir.Input({"input": np.array(shape or (SIZE,))})


def sink(*shape: int) -> nir.NIRNode:
    """An Output node, as :func:`source`."""
    return nir.Output({"output": np.array(shape or (SIZE,))})


def network(nodes: Nodes, edges: list[tuple[str, str]] | None = None, **metadata: Any) -> nir.NIRGraph:
    """A graph. Without ``edges`` its nodes are a chain."""
    return graph_of(dict(nodes), edges or list(pairwise(nodes)), {"dt": DT} | metadata)


def chain(
    shape_in: tuple[int, ...], shape_out: tuple[int, ...], metadata: Fields | None = None, /, **nodes: nir.NIRNode
) -> nir.NIRGraph:
    """input -> nodes -> output."""
    return network({"input": source(*shape_in), **nodes, "output": sink(*shape_out)}, **(metadata or {}))


def alone(
    node: nir.NIRNode, shape_in: tuple[int, ...] = (SIZE,), shape_out: tuple[int, ...] | None = None, **metadata: Any
) -> nir.NIRGraph:
    """A graph with one node between Input and Output."""
    return chain(shape_in, shape_out or shape_in, metadata, node=node)


def cases() -> list[Case]:
    """All golden graphs, in the order of :data:`FAMILIES`, but those that the installed nir has no node for."""
    made = (primitives, parameters, resets, ties, delays, loops, pairs, networks, shapes, times)
    return [case for family in made for case in family()]


def primitives() -> Iterator[Case]:
    """Every primitive alone, and the options of those that have some."""

    def case(name: str, about: str, *graph: Any) -> Case:
        return Case("primitives", name, about, alone(*graph))

    for kind in ("Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten"):
        yield case(
            kind.lower(), f"{kind} alone", linear(kind), LINEAR_IN.get(kind, (SIZE,)), LINEAR_OUT.get(kind, (SIZE,))
        )
    options: tuple[tuple[str, Fields, tuple[int, ...]], ...] = (
        ("stride", {"stride": 2}, (3, 2)),
        ("padding", {"padding": 1}, (3, 6)),
        ("dilation", {"dilation": 2}, (3, 3)),
        ("groups", {"groups": 2, "weight": weights(4, 1, 2), "bias": np.array([0.0, 0.25, -0.25, 0.5])}, (4, 4)),
        ("same", {"padding": "same"}, (3, 5)),
        ("valid", {"padding": "valid"}, (3, 4)),
    )
    for name, own, shape in options:
        yield case(f"conv1d_{name}", f"Conv1d, {name}", linear("Conv1d", **own), (2, 5), shape)
    options = (
        ("stride", {"stride": (2, 1)}, (3, 2, 3)),
        ("padding", {"padding": (1, 2)}, (3, 6, 7)),
        ("dilation", {"dilation": (1, 2)}, (3, 4, 2)),
        ("groups", {"groups": 2, "weight": weights(4, 1, 2, 2), "bias": np.array([0.0, 0.25, -0.25, 0.5])}, (4, 4, 3)),
        ("same", {"padding": "same"}, (3, 5, 4)),
        ("kernel", {"weight": weights(3, 2, 3, 1)}, (3, 3, 4)),
    )
    for name, own, shape in options:
        yield case(f"conv2d_{name}", f"Conv2d, {name}", linear("Conv2d", **own), IMAGE, shape)
    for kind in ("SumPool2d", "AvgPool2d"):
        yield case(
            f"{kind.lower()}_overlap",
            f"{kind}, windows that overlap",
            linear(kind, stride=np.array([1, 1])),
            IMAGE,
            (2, 4, 3),
        )
        own = {"kernel_size": np.array([3, 2]), "padding": np.array([1, 1])}
        yield case(f"{kind.lower()}_padding", f"{kind}, padding counts as zeros", linear(kind, **own), IMAGE, (2, 3, 3))
    yield case(
        "flatten_inner", "Flatten of the last two axes", linear("Flatten", start_dim=1, end_dim=2), IMAGE, (2, 20)
    )
    yield case("delay", "Delay of 1, 2 and 3 steps", linear("Delay"))
    for kind in NEURONS:
        if kind != "CubaLI" or hasattr(nir, "CubaLI"):
            yield case(kind.lower(), f"{kind} alone", neuron(kind))
    yield Case("primitives", "input_output", "Input and Output alone", network({"input": source(), "output": sink()}))
    inner = network({"input": source(), "lif": neuron("LIF"), "output": sink()})
    yield Case("primitives", "nirgraph", "a graph within the graph", alone(inner))


def parameters() -> Iterator[Case]:
    """Each parameter of the neurons with values that have an effect."""
    each = np.array([1.0, 2.0, 8.0]) * DT
    steps = ("tau", "tau_syn", "tau_mem")
    tried: dict[str, dict[str, tuple[Fields, str]]] = {}
    leak = {
        "v_leak": (np.array([0.5, -0.25, 0.25]), "v_leak by neuron"),
        "r": (np.array([2.0, 0.5, 1.5]), "r by neuron"),
    }
    threshold = {
        "v_threshold": (np.array([0.28125, 0.53125, 0.78125]) + OFF, "thresholds by neuron"),
        "v_reset": (np.array([-0.5, 0.25, -0.125]), "v_reset other than 0"),
    }
    for kind in NEURONS[:-1]:
        tried[kind] = {"r": ({"r": leak["r"][0] / (4 if kind == "I" else 1)}, "r by neuron")}
        if kind not in ("I", "IF"):
            tried[kind]["v_leak"] = ({"v_leak": leak["v_leak"][0]}, "v_leak by neuron")
            for key in steps:
                if (key == "tau") == (not kind.startswith("Cuba")):
                    tried[kind][key] = ({key: each}, f"{key} by neuron, one of them dt")
        if kind.startswith("Cuba"):
            tried[kind]["w_in"] = ({"w_in": np.array([2.0, 0.5, 1.5])}, "w_in by neuron")
        if kind in RESETTING:
            tried[kind] |= {key: ({key: value}, about) for key, (value, about) in threshold.items()}
    for kind, own in tried.items():
        if kind == "CubaLI" and not hasattr(nir, "CubaLI"):
            continue
        for key, (fields, about) in own.items():
            yield Case("parameters", f"{kind.lower()}_{key}", f"{kind}, {about}", alone(neuron(kind, **fields)))
    yield Case(
        "parameters",
        "threshold_levels",
        "Threshold, one of them below 0",
        alone(neuron("Threshold", threshold=np.array([0.28125, -0.28125, 0.78125]) + OFF)),
    )
    yield Case(
        "parameters",
        "lif_all",
        "LIF, all parameters at once",
        alone(
            neuron(
                "LIF",
                tau=each[::-1],
                r=[2.0, 1.5, 3.0],
                v_leak=[0.25, -0.125, 0.125],
                v_threshold=np.array([0.78125, 0.53125, 0.40625]) + OFF,
                v_reset=[-0.25, 0.125, 0.0],
            )
        ),
    )
    yield Case(
        "parameters",
        "lif_fires_by_itself",
        "LIF, v_leak above the threshold",
        alone(neuron("LIF", v_leak=[1.0, 2.0, 0.0])),
    )


def resets() -> Iterator[Case]:
    """Both reset rules."""
    for kind, rule in product(RESETTING, ("zero", "subtract")):
        much = {"IF": 2.0, "LIF": 6.0, "CubaLIF": 6.0}[kind]
        yield Case("resets", f"{kind.lower()}_{rule}", f"{kind}, reset {rule}", alone(neuron(kind), reset=rule))
        yield Case(
            "resets",
            f"{kind.lower()}_{rule}_strong",
            f"{kind}, reset {rule}, driven far above the threshold",
            alone(neuron(kind, ease=much), reset=rule),
        )
    yield Case(
        "resets",
        "subtract_at_a_node",
        "the rule in the metadata of one node of two",
        chain(
            (SIZE,),
            (SIZE,),
            None,
            first=neuron("IF", ease=1.5, reset="subtract"),
            fc=linear("Affine"),
            second=neuron("IF", ease=2.0),
        ),
    )
    yield Case(
        "resets",
        "subtract_v_reset",
        "by subtraction v_reset does nothing",
        alone(neuron("LIF", ease=4.0, v_reset=-0.5), reset="subtract"),
    )


def ties() -> Iterator[Case]:
    """Potentials that equal the threshold exactly, which is no spike, or are just above it."""

    def given(*rows: Any) -> dict[str, NDArray[np.float64]]:
        return {"input": np.array([rows], float)}

    above, below = 1 + 2.0**-8, 1 - 2.0**-8
    three = [[1, above, below]] + [[0, 0, 0]] * 7
    yield Case(
        "ties",
        "threshold_tie",
        "input at the threshold is no spike",
        alone(neuron("Threshold", threshold=1)),
        8,
        values=given(*three),
        ties=True,
    )
    yield Case(
        "ties",
        "if_tie",
        "a potential at the threshold is no spike",
        alone(neuron("IF", v_threshold=1)),
        8,
        values=given(*three),
        ties=True,
    )
    halves = [[0.25, 0.5, 0.125]] * 8
    yield Case(
        "ties",
        "if_tie_in_steps",
        "0.25, 0.5 and 0.125 a step, up to 1 exactly",
        alone(neuron("IF", v_threshold=1)),
        8,
        values=given(*halves),
        ties=True,
    )
    yield Case(
        "ties",
        "if_tie_subtract",
        "back at the threshold after a subtraction",
        alone(neuron("IF", v_threshold=1), reset="subtract"),
        8,
        values=given(*[[2, 3, 2.5]] + [[0] * 3] * 7),
        ties=True,
    )
    yield Case(
        "ties",
        "lif_tie",
        "half of 2 is 1",
        alone(neuron("LIF", tau=2 * DT, v_threshold=1)),
        8,
        values=given(*(2 * np.array(three))),
        ties=True,
    )
    yield Case(
        "ties",
        "lif_tie_later",
        "1, 1.5 and 1.75 on their way to 2",
        alone(neuron("LIF", tau=2 * DT, v_threshold=[1, 1.5, 1.75])),
        8,
        values=given(*[[2] * SIZE] * 8),
        ties=True,
    )
    yield Case(
        "ties",
        "cubalif_tie",
        "half of half of 4 is 1",
        alone(neuron("CubaLIF", tau_mem=2 * DT, v_threshold=1)),
        8,
        values=given(*(4 * np.array(three))),
        ties=True,
    )
    yield Case(
        "ties",
        "lif_tie_at_zero",
        "silence at a threshold of 0 is no spike",
        alone(neuron("LIF", v_threshold=0)),
        8,
        values=given(*[[0, 1, -1]] + [[0] * 3] * 7),
        ties=True,
    )
    two = {"a": source(), "b": source(), "lif": neuron("IF", v_threshold=1), "output": sink()}
    pieces = {"a": given(*[[0.75, 0.5, 1.5]] * 8)["input"], "b": given(*[[0.25, 0.5, -0.5]] * 8)["input"]}
    yield Case(
        "ties",
        "sum_tie",
        "two inputs add up to the threshold",
        network(two, [("a", "lif"), ("b", "lif"), ("lif", "output")]),
        8,
        values=pieces,
        ties=True,
    )


def delays() -> Iterator[Case]:
    """Delay nodes, with delays of zero, one and several steps."""
    for steps, about in (
        ([0, 0, 0], "none"),
        ([1, 1, 1], "one step"),
        ([0, 2, 5], "by neuron, one of them none"),
        ([30, 30, 30], "longer than the run"),
    ):
        graph = chain((SIZE,), (SIZE,), None, delay=linear("Delay", delay=DT * np.array(steps, float)))
        yield Case("delays", f"delay_{'_'.join(map(str, steps))}", f"Delay, {about}", graph)
    yield Case(
        "delays",
        "late_input",
        "inputs that reach LIF late",
        chain((SIZE,), (SIZE,), None, delay=linear("Delay"), lif=neuron("LIF", ease=2.0)),
    )
    yield Case(
        "delays",
        "late_spikes",
        "spikes that reach LIF late",
        chain(
            (SIZE,),
            (SIZE,),
            None,
            first=neuron("LIF", ease=2.0),
            delay=linear("Delay"),
            fc=linear("Affine"),
            second=neuron("LIF", ease=4.0),
        ),
    )
    yield Case(
        "delays",
        "delays_in_a_row",
        "two Delays add up",
        chain((SIZE,), (SIZE,), None, one=linear("Delay"), two=linear("Delay"), lif=neuron("LIF", ease=2.0)),
    )
    nodes = {"input": source(), "delay": linear("Delay"), "lif": neuron("LIF", ease=1.5), "output": sink()}
    yield Case(
        "delays",
        "delay_beside_none",
        "the same input at once and late",
        network(nodes, [("input", "lif"), ("input", "delay"), ("delay", "lif"), ("lif", "output")]),
    )
    yield Case(
        "delays",
        "delay_bias",
        "a bias that comes late, too",
        chain((SIZE,), (SIZE,), None, fc=linear("Affine"), delay=linear("Delay"), lif=neuron("LIF", ease=2.0)),
    )
    image = {"delay": linear("Delay", delay=DT * np.arange(40.0).reshape(IMAGE) % (4 * DT))}
    image["delay"].delay = DT * (np.arange(40.0).reshape(IMAGE) % 4)
    yield Case("delays", "delay_image", "Delay by pixel", chain(IMAGE, IMAGE, None, **image))


def loop(name: str, about: str, nodes: Nodes, edges: str, **metadata: Any) -> Case:
    """A loop; edges as ``a-b b-a``, the input goes to the first node and the last edge to the output."""
    all_nodes = {"input": source(), **nodes, "output": sink()}
    return Case(
        "loops",
        name,
        about,
        network(all_nodes, [(e.split("-")[0], e.split("-")[1]) for e in edges.split()], **metadata),
    )


def loops() -> Iterator[Case]:
    """Recurrent graphs, with and without delays: see :class:`neuromorphic.graph.Graph`."""
    lif, weak = neuron("LIF", ease=2.0), nir.Linear(weights(SIZE, SIZE, seed=3) / 2)
    one = "input-lif lif-back back-lif lif-output"
    yield loop("lif_itself", "LIF that reads itself, one step late", {"lif": lif}, "input-lif lif-lif lif-output")
    yield loop("linear_back", "all to all, over Linear", {"lif": lif, "back": weak}, one)
    yield loop(
        "inhibition",
        "spikes that hold their neighbours down",
        {"lif": lif, "back": nir.Linear(0.5 * np.eye(SIZE) - 0.75)},
        one,
    )
    yield loop(
        "affine_back",
        "a bias on the way back counts from step 0",
        {"lif": lif, "back": nir.Affine(weights(SIZE, SIZE, seed=3) / 2, np.array([0.25, 0.5, -0.25]))},
        one,
    )
    yield loop("scale_back", "one to one, over Scale", {"lif": lif, "back": nir.Scale(np.array([0.5, -1.0, 1.5]))}, one)
    yield loop("cubalif_back", "CubaLIF, all to all", {"lif": neuron("CubaLIF", ease=2.0), "back": weak}, one)
    yield loop(
        "if_back",
        "IF, all to all",
        {"lif": neuron("IF", ease=0.5), "back": nir.Linear(weights(SIZE, SIZE, seed=5) / 4)},
        one,
    )
    yield loop(
        "if_back_subtract",
        "IF, all to all, reset by subtraction",
        {"lif": neuron("IF", ease=0.5), "back": nir.Linear(weights(SIZE, SIZE, seed=5) / 4)},
        one,
        reset="subtract",
    )
    graded = {"input": source(), "li": neuron("LI"), "back": nir.Scale(np.full(SIZE, 0.25)), "output": sink()}
    yield Case(
        "loops",
        "li_back",
        "LI that reads its potential, one step late",
        network(graded, [("input", "li"), ("li", "back"), ("back", "li"), ("li", "output")]),
    )
    two = {
        "a": lif,
        "there": nir.Linear(weights(SIZE, SIZE, seed=1)),
        "b": neuron("LIF", ease=4.0),
        "back": nir.Linear(weights(SIZE, SIZE, seed=2) / 2),
    }
    both = "input-a a-there there-b b-back back-a b-output"
    yield loop("two_populations", "they read each other as they were a step before", two, both)
    for steps in (1, 2):
        back = "input-a a-there there-b b-delay delay-back back-a b-output"
        delay = linear("Delay", delay=DT * np.full(SIZE, float(steps)))
        yield loop(
            f"two_populations_delay_{steps}",
            f"a Delay of {steps} on the way back takes the loop apart",
            two | {"delay": delay},
            back,
        )
    three = two | {"c": neuron("LIF", ease=4.0), "on": nir.Linear(weights(SIZE, SIZE, seed=4))}
    yield loop(
        "three_populations", "a ring of three", three, "input-a a-there there-b b-on on-c c-back back-a c-output"
    )
    for steps in (1, 3):
        delay = linear("Delay", delay=DT * np.full(SIZE, float(steps)))
        yield loop(
            f"self_delay_{steps}",
            f"a loop of {steps} by a Delay",
            {"lif": lif, "delay": delay, "back": weak},
            "input-lif lif-delay delay-back back-lif lif-output",
        )
    inner = network(
        {"input": source(), "lif": lif, "back": weak, "output": sink()},
        [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")],
    )
    yield Case(
        "loops",
        "nested_loop",
        "as snnTorch writes recurrent layers",
        chain((SIZE,), (SIZE,), None, fc=linear("Affine"), layer=inner),
    )


def pairs() -> Iterator[Case]:
    """All pairs of neuron kinds. The weights between them balance the sizes of spikes and potentials."""
    known = [kind for kind in NEURONS if kind != "CubaLI" or hasattr(nir, "CubaLI")]
    for first, second in product(known, known):
        middle = nir.Linear(np.array([[1.0, 0.5, -0.25], [0.75, 1.25, 0.5], [-0.5, 0.25, 1.5]]))
        strong: dict[str, Fields] = {"LIF": {"ease": 2.0}, "CubaLIF": {"ease": 2.0}}
        nodes = {
            "first": neuron(first, **strong.get(first, {})),
            "fc": middle,
            "second": neuron(second, **strong.get(second, {})),
        }
        yield Case(
            "pairs",
            f"{first.lower()}_{second.lower()}",
            f"{first}, Linear, {second}",
            chain((SIZE,), (SIZE,), None, **nodes),
        )
    for kind in LINEAR:
        shape_in, shape_out = LINEAR_IN.get(kind, (SIZE,)), LINEAR_OUT.get(kind, (SIZE,))
        yield Case(
            "pairs",
            f"{kind.lower()}_lif",
            f"{kind}, LIF",
            chain(shape_in, shape_out, None, map=linear(kind), lif=neuron("LIF", *shape_out, ease=2.0)),
        )
        yield Case(
            "pairs",
            f"lif_{kind.lower()}",
            f"LIF, {kind}",
            chain(shape_in, shape_out, None, lif=neuron("LIF", *shape_in, ease=2.0), map=linear(kind)),
        )


def networks() -> Iterator[Case]:
    """Layers, branches, nested graphs, several inputs and outputs, and batches."""

    def layers(count: int) -> dict[str, nir.NIRNode]:
        return {
            k: v
            for n in range(count)
            for k, v in (
                (f"fc_{n}", nir.Affine(weights(4, 4, seed=n) + 0.125, np.array([0.25, 0.0, 0.125, 0.5]))),
                (f"lif_{n}", neuron("LIF", 4, ease=2.0)),
            )
        }

    yield Case(
        "networks", "two_layers", "what the second reads is of the same step", chain((4,), (4,), None, **layers(2))
    )
    yield Case("networks", "five_layers", "five layers in one step", chain((4,), (4,), None, **layers(5)))
    yield Case("networks", "batch", "samples do not see each other", chain((4,), (4,), None, **layers(2)), batch=3)
    conv = {
        "conv": linear("Conv2d", padding="same"),
        "lif_0": neuron("LIF", 3, 5, 4, ease=2.0),
        "pool": linear("SumPool2d"),
        "flatten": linear("Flatten", input_type=np.array([3, 2, 2])),
        "fc": nir.Linear(weights(4, 12, seed=1) / 2),
        "lif_1": neuron("LIF", 4, ease=2.0),
    }
    yield Case(
        "networks", "convolutional", "Conv2d, LIF, SumPool2d, Flatten, Linear, LIF", chain(IMAGE, (4,), None, **conv)
    )
    if hasattr(nir, "CubaLI"):
        yield Case(
            "networks",
            "readout",
            "CubaLIF into CubaLI",
            chain(
                (SIZE,),
                (SIZE,),
                None,
                fc=linear("Affine"),
                lif=neuron("CubaLIF", ease=2.0),
                out=linear("Linear"),
                li=neuron("CubaLI"),
            ),
        )
    yield Case(
        "networks",
        "readout_li",
        "LIF into LI",
        chain(
            (SIZE,),
            (SIZE,),
            None,
            fc=linear("Affine"),
            lif=neuron("LIF", ease=2.0),
            out=linear("Linear"),
            li=neuron("LI"),
        ),
    )
    skip = {
        "input": source(),
        "first": neuron("LIF", ease=2.0),
        "fc": linear("Affine"),
        "second": neuron("LIF", ease=2.0),
        "output": sink(),
    }
    yield Case(
        "networks",
        "skip",
        "a way past a layer",
        network(
            skip, [("input", "first"), ("first", "fc"), ("fc", "second"), ("first", "second"), ("second", "output")]
        ),
    )
    branch = {
        "input": source(),
        "left": linear("Affine"),
        "right": linear("Scale"),
        "lif": neuron("LIF", ease=1.5),
        "output": sink(),
    }
    yield Case(
        "networks",
        "branches",
        "two ways that are summed",
        network(branch, [("input", "left"), ("input", "right"), ("left", "lif"), ("right", "lif"), ("lif", "output")]),
    )
    mixed = {
        "a": source(),
        "b": source(4),
        "fa": linear("Affine"),
        "fb": nir.Linear(weights(SIZE, 4, seed=2)),
        "lif": neuron("LIF", ease=1.5),
        "output": sink(),
    }
    yield Case(
        "networks",
        "two_inputs",
        "two inputs of different sizes",
        network(mixed, [("a", "fa"), ("b", "fb"), ("fa", "lif"), ("fb", "lif"), ("lif", "output")]),
    )
    several = {
        "input": source(),
        "lif": neuron("LIF", ease=2.0),
        "fc": linear("Affine"),
        "spikes": sink(),
        "currents": sink(),
    }
    yield Case(
        "networks",
        "two_outputs",
        "spikes, and what comes of them",
        network(several, [("input", "lif"), ("lif", "fc"), ("lif", "spikes"), ("fc", "currents")]),
    )
    into = {"input": source(), "lif": neuron("LIF", ease=2.0), "if": neuron("IF"), "output": sink()}
    yield Case(
        "networks",
        "two_into_an_output",
        "an Output that sums two populations",
        network(into, [("input", "lif"), ("input", "if"), ("lif", "output"), ("if", "output")]),
    )


def shapes() -> Iterator[Case]:
    """Inputs and neurons of several axes."""

    def lif(*shape: int) -> nir.NIRNode:
        return neuron("LIF", *shape, ease=2.0)

    yield Case(
        "shapes",
        "one_neuron",
        "a population of one",
        chain((1,), (1,), None, fc=nir.Affine(np.array([[1.5]]), np.array([0.25])), lif=lif(1)),
    )
    yield Case("shapes", "one_step", "T = 1", alone(neuron("LIF", ease=6.0)), steps=1)
    yield Case("shapes", "many_steps", "T = 200", alone(neuron("LIF", tau=2 * DT, ease=1.5)), steps=200)
    yield Case("shapes", "two_axes", "a population of 2 x 3", alone(lif(2, 3), (2, 3)))
    yield Case("shapes", "three_axes", "a population of 2 x 5 x 4", alone(lif(*IMAGE), IMAGE))
    yield Case(
        "shapes",
        "many_inputs",
        "65 inputs, one neuron",
        chain((65,), (1,), None, fc=nir.Linear(weights(1, 65) / 8), lif=lif(1)),
    )
    yield Case(
        "shapes",
        "many_neurons",
        "one input, 65 neurons",
        chain((1,), (65,), None, fc=nir.Linear(weights(65, 1)), lif=neuron("LIF", 65, ease=4.0)),
        steps=12,
    )
    pixel = nir.Conv2d((5, 4), weights(3, 2, 1, 1), 1, 0, 1, 1, np.array([0.125, 0.0, 0.25]))
    yield Case(
        "shapes", "conv_of_a_pixel", "a kernel of 1 x 1", chain(IMAGE, (3, 5, 4), None, conv=pixel, lif=lif(3, 5, 4))
    )
    whole = nir.Conv2d((5, 4), weights(3, 2, 5, 4) / 4, 1, 0, 1, 1, np.array([0.125, 0.0, 0.25]))
    yield Case(
        "shapes",
        "conv_of_all",
        "a kernel as large as the image",
        chain(IMAGE, (3, 1, 1), None, conv=whole, lif=lif(3, 1, 1)),
    )
    row = nir.Conv2d((1, 7), weights(2, 1, 1, 3), (1, 2), (0, 1), 1, 1, np.zeros(2))
    yield Case(
        "shapes", "conv_of_a_row", "an image of one row", chain((1, 1, 7), (2, 1, 4), None, conv=row, lif=lif(2, 1, 4))
    )
    yield Case(
        "shapes",
        "pool_leaves_a_rest",
        "a window that does not divide the image",
        alone(linear("SumPool2d", kernel_size=np.array([2, 3]), stride=np.array([2, 3])), IMAGE, (2, 2, 1)),
    )


def times() -> Iterator[Case]:
    """Other time steps, with time constants that scale with them."""
    for dt in (1e-3, 0.25):
        scaled = neuron("LIF", tau=np.array([2.0, 4.0, 8.0]) * dt, ease=2.0)
        yield Case("time", f"dt_{dt:g}", f"a time step of {dt:g} s", alone(scaled, dt=dt), dt=dt)
    yield Case(
        "time", "dt_twice", "dt of 0.2 ms: twice the decay", alone(neuron("LIF", ease=2.0), dt=2 * DT), dt=2 * DT
    )
    odd = neuron("LIF", tau=np.array([3.7, 11.0, 1.3]) * DT, ease=2.0)
    yield Case("time", "odd_taus", "time constants that are no whole steps", alone(odd))
    lif = neuron("LIF", ease=2.0)
    lif.metadata["dt"] = DT
    graph = graph_of({"input": source(), "lif": lif, "output": sink()}, [("input", "lif"), ("lif", "output")], {})
    yield Case("time", "dt_at_a_node", "dt in the metadata of the neurons", graph)
