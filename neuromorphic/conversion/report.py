"""The conversion report: every parameter of a graph before and after its conversion for a chip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_choice
from neuromorphic.compiler.hardware import Part, Parts, for_hardware, join, parts_of
from neuromorphic.compiler.lower import fold, lower
from neuromorphic.compiler.network import GRADED, SUBTRACT, SUM, Network, Population
from neuromorphic.compiler.operators import Floats, Kron, expanded
from neuromorphic.compiler.quantize import (
    ACCUMULATOR_LIMIT,
    BIAS_FRACTION,
    DECAY_UNITY,
    STATE_LIMIT,
    FixedNetwork,
    FixedPopulation,
    FixedProjection,
    Ranges,
    decay_registers,
    group_of,
)
from neuromorphic.compiler.schedule import Schedule, schedule
from neuromorphic.conversion.bounds import Bounds, bounds
from neuromorphic.conversion.chips import CHIPS, WITHOUT, Chip, place
from neuromorphic.execution import populations
from neuromorphic.execution.calibration import calibrate
from neuromorphic.execution.record import check_graph, check_inputs
from neuromorphic.graph import Graph, Node
from neuromorphic.graph.units import signatures

LOW_AGREEMENT, FAIR_AGREEMENT = 0.9, 0.99
"""Shares of a node's cells (sample, step, neuron) that equal those of float. Below the first, the report says that the
conversion breaks; below the second, there is a note."""
LARGEST_GRADED_ERROR = 0.02
"""Largest error of a potential that is sent, as a share of its range. Above it, the report says that it breaks."""
LARGEST_DECAY_ERROR = 0.1
"""Largest relative error of a time constant. Above it, the report says that it breaks."""
UNIT_STEPS = 64
"""Number of steps of :func:`unit_input`."""
FOLDED = {
    "r": "r into weights",
    "w_in": "w_in into weights",
    "v_leak": "v_leak into the bias",
    "v_reset": "v_reset: potentials are measured from it",
    "bias": "biases of linear nodes into the bias",
}


@dataclass(frozen=True)
class Converted:
    """A graph as ``--target`` compiles it.

    Attributes:
        network: The float network, with one population for each node.
        parts: The parts of its populations.
        hardware: The float network, split into these parts.
        fixed: The split network in integers.
        plan: The lags of its populations.
        exact: Messages of the float network by node, shape (B, T, M).
        ours: Messages of the integer network by node, shape (B, T, M), in NIR's units.
        observed: Ranges of the integer run over all samples.
        overflow: Overflows by node and kind.
        steps: Number of steps T of the inputs.
    """

    network: Network
    parts: Parts
    hardware: Network
    fixed: FixedNetwork
    plan: Schedule
    exact: dict[str, NDArray]
    ours: dict[str, NDArray]
    observed: Ranges
    overflow: dict[str, dict[str, int]]
    steps: int


def unit_input(graph: Graph) -> dict[str, NDArray]:
    """1 in every element of every input, for :data:`UNIT_STEPS` steps, shape (1, T, *shape)."""
    return {name: np.ones((1, UNIT_STEPS, *graph.nodes[name].shape)) for name in graph.inputs}


def convert(graph: Graph, inputs: Mapping[str, NDArray], signed: bool = False) -> Converted:
    """Lower, split and quantise a graph for given inputs, and run these in float and in fixed point.

    Args:
        graph: The graph.
        inputs: By Input node, shape (B, T, *shape).
        signed: Leave room for negative inputs even if the given ones have none.

    Raises:
        ArgumentError, UnsupportedGraphError: the inputs do not fit, see
            :func:`~neuromorphic.execution.record.check_inputs`, or the graph cannot be lowered or quantised.
    """
    _, steps = check_inputs(graph, inputs)
    network, rounded = lower(graph), lower(graph, horizon=steps)
    parts, hardware = parts_of(rounded, registers=True), for_hardware(rounded, registers=True)
    exact = populations.run(network, inputs, batched=True).sent
    calibration = calibrate(hardware, inputs, signed=signed, batched=True)
    fixed, ours = calibration.network, calibration.run
    overflow = {
        name: {
            key: sum(getattr(ours.overflow[part.name], key) for part in own)
            for key in ("accumulated", "wrapped", "saturated")
        }
        for name, own in parts.items()
    }
    values = join(parts, {name: fixed.values(name, messages) for name, messages in ours.sent.items()})
    return Converted(network, parts, hardware, fixed, schedule(hardware), exact, values, ours.ranges, overflow, steps)


def conversion_report(graph: Graph, target: str, inputs: Mapping[str, NDArray] | None = None) -> dict[str, Any]:
    """The conversion report of a graph, as plain JSON types.

    Keys of the report; a range is [least, largest]:

    - ``target``, ``chip`` (each limit with ``value`` and ``source``), ``dt``;
    - ``nodes``: input and output of every node, see :class:`~neuromorphic.graph.units.Signature`;
    - ``input``: ``given`` (false for the unit input), ``samples``, ``steps``, ``range`` by Input node: worst cases are
      those of inputs within this range, which is [-1, 1] for the unit input;
    - ``layers``, by neuron node: ``kind``, ``reset``, ``neurons``, ``parts`` (``name``, ``neurons``, ``du``, ``dv``,
      ``threshold``, ``scale``, ``offset``), ``folded``, ``decays_clipped``, and
      - ``parameters``, by name: ``before`` and ``after`` in NIR's units, ``integers``, ``largest_error``,
        ``mean_error``, ``largest_relative_error``; of weights also ``weight_exp``, ``synapses`` and ``zeroed``, those
        that became 0;
      - ``worst_case`` and ``observed``: shares of the registers' ranges that ``current`` and ``potential`` take, and in
        the worst case ``accumulator``; None if there is no bound. ``observed`` also has ``overflow``, which
        counts neurons and steps;
      - ``spikes``: ``float``, ``fixed``, ``agreement`` (share of cells that are equal), of spiking nodes;
      - ``values``: ``range`` of the float run and ``largest_error``, of nodes that send their potential;
      - ``never_fire``, ``always_fire``: neurons in C order, ``float`` and ``fixed``;
    - ``cores``: by node a :class:`~neuromorphic.conversion.chips.Placement` for all its parts; ``total_cores``;
    - ``breaks``, ``notes``: ``node``, ``what``, ``mend``; ``fits``: whether nothing breaks.

    Args:
        graph: The graph.
        target: One of :data:`~neuromorphic.conversion.chips.CHIPS`.
        inputs: By Input node, shape (B, T, *shape); by default :func:`unit_input`.

    Raises:
        ArgumentError: an argument of the wrong type, or an unknown target.
        UnsupportedGraphError: see :func:`convert`.
    """
    check_choice("target", target, CHIPS)
    check_graph(graph)
    given = inputs is not None
    inputs = unit_input(graph) if inputs is None else inputs
    chip = CHIPS[target]
    compiled = convert(graph, inputs, signed=not given)
    spans = {
        name: [float(x.min(initial=0.0)), float(x.max(initial=0.0))] if given else [-1.0, 1.0]
        for name, x in inputs.items()
    }
    ends = {
        name: (np.full(compiled.network.size(name), low), np.full(compiled.network.size(name), high))
        for name, (low, high) in spans.items()
    }
    exact, integers = bounds(compiled.network, ends), bounds(compiled.fixed, ends)
    layers = {
        name: layer_report(name, graph.nodes[name], graph.dt, compiled, exact[name], integers) for name in graph.neurons
    }
    cores = placements(compiled, chip)
    breaks, notes = findings(graph, compiled, chip, layers, cores)
    batch, steps = next(iter(inputs.values())).shape[:2]
    return {
        "target": target,
        "chip": {name: asdict(limit) for name, limit in chip.limits().items()},
        "dt": graph.dt,
        "nodes": [asdict(own) for own in signatures(graph)],
        "input": {"given": given, "samples": batch, "steps": steps, "range": spans},
        "layers": layers,
        "cores": cores,
        "total_cores": sum(own["cores"] for own in cores.values()),
        "breaks": breaks,
        "notes": notes,
        "fits": not breaks,
    }


def layer_report(
    name: str, node: Node, dt: float, compiled: Converted, exact: Bounds, integers: Mapping[str, Bounds]
) -> dict[str, Any]:
    """The part of the report about one neuron node."""
    parts = compiled.parts[name]
    fixed = {part.name: fixed_population(compiled.fixed, part) for part in parts}
    p = compiled.network.population(name)
    registers = decay_registers(p.du, p.dv)
    clipped = sum(
        int((np.round(DECAY_UNITY * exactly) != register).sum())
        for exactly, register in zip((p.du, p.dv), registers, strict=True)
    )
    out: dict[str, Any] = {
        "kind": node.kind,
        "reset": node.reset,
        "neurons": node.size,
        "parts": [
            {
                "name": part.name,
                "neurons": len(part.neurons),
                "du": int(own.du[0]),
                "dv": int(own.dv[0]),
                "threshold": int(own.threshold[0]) if p.spikes else None,
                "scale": span_of(own.scale * part.gain),
                "offset": span_of(own.offset / part.gain),
            }
            for part, own in zip(parts, fixed.values(), strict=True)
            if len(part.neurons)
        ],
        "folded": folded(node, p),
        "decays_clipped": clipped,
        "parameters": parameters(name, node, dt, compiled, fixed),
        "worst_case": worst_case([integers[part.name] for part in parts]),
        "observed": observed(compiled, name),
    }
    if p.kind == GRADED:
        error = np.abs(compiled.ours[name] - compiled.exact[name])
        out["values"] = {"range": span_of(compiled.exact[name]), "largest_error": float(error.max(initial=0.0))}
    if p.spikes:
        a, b = compiled.exact[name] > 0, compiled.ours[name] > 0
        out["spikes"] = {
            "float": int(a.sum()),
            "fixed": int(b.sum()),
            "agreement": float((a == b).mean()) if a.size else 1.0,
        }
        for key, field in (("never_fire", "never"), ("always_fire", "always")):
            rows = {part.name: getattr(integers[part.name], field) for part in parts}
            out[key] = {
                "float": np.flatnonzero(getattr(exact, field)).tolist(),
                "fixed": np.flatnonzero(join({name: parts}, rows)[name]).tolist(),
            }
    return out


def fixed_population(fixed: FixedNetwork, part: Part) -> FixedPopulation:
    """The population of a part in the integer network."""
    population = fixed.population(part.name)
    assert isinstance(population, FixedPopulation)
    return population


def folded(node: Node, p: Population) -> list[str]:
    """Parameters that were folded into others, and into which."""
    out = []
    for key, what in FOLDED.items():
        neutral = 1.0 if key in ("r", "w_in") else 0.0
        if (
            key in node.parameters
            and (key != "v_reset" or p.kind != SUBTRACT)
            and (node.parameters[key] != neutral).any()
        ):
            out.append(what)
    if p.bias.start and "v_leak into the bias" not in out:
        out.append(FOLDED["bias"])
    if len(np.unique(p.threshold)) > 1 and p.spikes:
        out.append("thresholds into weights and bias: one threshold a part")
    return out


def parameters(
    name: str, node: Node, dt: float, compiled: Converted, fixed: Mapping[str, FixedPopulation]
) -> dict[str, dict[str, Any]]:
    """Parameters of a node before and after the conversion.

    Integers are converted back to NIR's units, with a neuron's scale and gain: tau = 4096 dt / dv, tau_syn =
    4096 dt / du; threshold: (threshold / scale + offset) / gain; bias per step: bias / (scale gain); weight:
    weight 2^weight_exp / (scale unit gain fold), with the unit of messages and the factor that :func:`~.lower.fold`
    folded. Integer weights are given as the chip holds them, in +-254, together with their exponents.
    """
    parts = compiled.parts[name]
    p = compiled.network.population(name)
    _, gain = fold(name, node, {}, dt)

    def of(values: Mapping[str, Any]) -> NDArray:
        return join({name: parts}, {key: np.asarray(own) for key, own in values.items()})[name]

    def after(key: str) -> NDArray:
        return of({part.name: getattr(fixed[part.name], key) for part in parts})

    scale = of({part.name: fixed[part.name].scale * part.gain for part in parts})
    _, rounded_gain = fold(name, node, {}, dt, compiled.steps)
    out: dict[str, dict[str, Any]] = {}
    for key, register in (("tau", "dv"), ("tau_mem", "dv"), ("tau_syn", "du")):
        if key in node.parameters:
            integers = after(register)
            out[key] = compared(node.parameters[key].reshape(-1), integers, dt * DECAY_UNITY / integers) | {
                "register": register
            }
    if p.spikes:
        key = "threshold" if node.kind == "Threshold" else "v_threshold"
        integers = after("threshold")
        back = integers / scale + p.offset
        out[key] = compared(node.parameters[key].reshape(-1), integers, back)
    if p.bias.start:
        rows = {}
        for part in parts:
            last = fixed[part.name].bias
            rows[part.name] = last.values[-1] if last.start else np.zeros(len(part.neurons), np.int32)
        integers = of(rows)
        out["bias"] = compared(p.bias.values[-1], integers, integers / 2.0**BIAS_FRACTION / scale)
    for projection in compiled.network.into(name):
        out[f"weights from {projection.source}"] = weights(projection.source, name, (gain, rounded_gain), compiled)
    return out


def compared(before: NDArray, integers: NDArray, after: NDArray) -> dict[str, Any]:
    """Ranges of a parameter before and after the conversion, and its errors."""
    error = np.abs(after - before)
    there = before != 0
    return {
        "before": span_of(before),
        "integers": [int(value) for value in span_of(integers)],
        "after": span_of(after),
        "largest_error": float(error.max(initial=0.0)),
        "mean_error": float(error.mean()) if error.size else 0.0,
        "largest_relative_error": float((error[there] / np.abs(before[there])).max(initial=0.0)),
    }


def span_of(values: NDArray) -> list[float]:
    """Least and largest value; zeros if there are none."""
    return [float(values.min()), float(values.max())] if values.size else [0.0, 0.0]


def weights(source: str, target: str, gains: tuple[Floats, Floats], compiled: Converted) -> dict[str, Any]:
    """Weights of all synapses from one node to another before and after the conversion, in units of the NIR graph.

    Args:
        source, target: The nodes.
        gains: Factors that were folded into the target's weights, in float and in integers, shape (M,) each.
        compiled: The converted graph.
    """
    exact = next(q for q in compiled.network.projections if (q.source, q.target) == (source, target))
    size = compiled.network.size(source)
    sources = compiled.parts.get(source, (Part(source, np.arange(size), np.ones(size), 1.0, 1.0, 0.0),))
    pairs = {(q.source, q.target): q for q in compiled.fixed.projections}
    by_row, by_row_after = (np.divide(1.0, gain, out=np.zeros(len(gain)), where=gain != 0) for gain in gains)
    before, integers, after, exponents = [], [], [], []
    for delay, operator in exact.taps.items():
        matrix = expanded(operator, size).tocsr()
        for part in compiled.parts[target]:
            for own in sources:
                block = matrix[part.neurons][:, own.neurons].tocoo()
                q = pairs.get((own.name, part.name))
                if q is None or delay not in q.taps:
                    continue
                assert isinstance(q, FixedProjection)
                quantized = expanded(q.taps[delay], len(own.neurons)).tocsr()
                row, column = block.row, block.col
                number = np.asarray(quantized[row, column]).reshape(-1) if len(row) else np.zeros(0, np.int32)
                population = fixed_population(compiled.fixed, part)
                unit = np.broadcast_to(message_unit(compiled.fixed, own.name), len(own.neurons))[column]
                per_row = population.scale[row] * part.gain[row]
                exponent = q.weight_exp[row] if q.host else group_of(number, q.weight_exp[row])
                exponents.append(exponent[number != 0])
                before.append(block.data * by_row[part.neurons][row])
                integers.append(number >> (exponent - q.weight_exp[row]))
                value = number * 2.0 ** q.weight_exp[row] / (per_row * unit)
                after.append(value * by_row_after[part.neurons][row])
    none = [np.zeros(0)]
    out = compared(np.concatenate(before or none), np.concatenate(integers or none), np.concatenate(after or none))
    return out | {
        "weight_exp": np.unique(np.concatenate(exponents or none)).astype(int).tolist(),
        "synapses": int(sum(np.count_nonzero(rows) for rows in integers)),
        "zeroed": int(sum(np.count_nonzero((b != 0) & (i == 0)) for b, i in zip(before, integers, strict=True))),
    }


def message_unit(fixed: FixedNetwork, source: str) -> Floats:
    """NIR's unit per unit of a source's messages."""
    if source in fixed.inputs:
        return np.array(1 / fixed.message_scale[source])
    population = fixed.population(source)
    return np.array(1.0) if population.spikes else fixed.message_unit(population)


def worst_case(found: list[Bounds]) -> dict[str, Any]:
    """Largest shares of the registers' ranges that a node can take, for all inputs within their range."""

    def share(key: str, limit: float) -> float | None:
        value = max((float(getattr(own, key).max(initial=0.0)) for own in found), default=0.0) / limit
        return value if np.isfinite(value) else None

    return {
        "current": share("current", STATE_LIMIT),
        "potential": share("potential", STATE_LIMIT),
        "accumulator": share("accumulated", ACCUMULATOR_LIMIT),
    }


def observed(compiled: Converted, name: str) -> dict[str, Any]:
    """Shares of the registers' ranges that u and v took in the integer run, and its overflows."""
    own = compiled.observed
    names = [part.name for part in compiled.parts[name]]
    return {
        "current": max((own.current[key] for key in names), default=0.0) / STATE_LIMIT,
        "potential": max((own.potential[key] for key in names), default=0.0) / STATE_LIMIT,
        "overflow": compiled.overflow[name],
    }


def placements(compiled: Converted, chip: Chip) -> dict[str, dict[str, Any]]:
    """Cores, memory and so on of each neuron node, summed over its parts."""
    found = place(compiled.fixed, compiled.plan, chip)
    out: dict[str, dict[str, Any]] = {}
    for p in compiled.network.populations:
        if p.kind == SUM:
            continue
        own = [found[part.name] for part in compiled.parts[p.name]]
        out[p.name] = {key: sum(getattr(q, key) for q in own) for key in ("neurons", "synapses", "memory", "cores")} | {
            key: max((getattr(q, key) for q in own), default=0) for key in ("axons", "largest_fan_in", "largest_neuron")
        }
        out[p.name]["because"] = " and ".join(dict.fromkeys(q.because for q in own if q.because))
    return out


def findings(
    graph: Graph,
    compiled: Converted,
    chip: Chip,
    layers: Mapping[str, Mapping[str, Any]],
    cores: Mapping[str, Mapping[str, Any]],
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Find what breaks a limit of the chip, and other notes: ``node``, ``what`` and ``mend`` of each."""
    breaks: list[dict[str, str]] = []
    notes: list[dict[str, str]] = []

    def add(to: list[dict[str, str]], node: str, what: str, mend: str) -> None:
        finding = {"node": node, "what": what, "mend": mend}
        if finding not in to:
            to.append(finding)

    node_of = {part.name: name for name, own in compiled.parts.items() for part in own}
    for source, target in sorted(compiled.plan.instant):
        add(
            breaks,
            node_of[target],
            f"hears '{node_of.get(source, source)}' within a step, in a loop whose Delay leaves no time for a synapse",
            "make the Delay as many steps as the loop has synapses, or remove it",
        )
    for (source, target), waits in compiled.plan.waits.items():
        if (longest := max(waits.values(), default=0)) > chip.delay.value:
            add(
                breaks,
                node_of[target],
                f"'{node_of.get(source, source)}' reaches it after {longest + 1:,} steps, a synapse takes up to "
                f"{chip.delay.value + 1}",
                f"relay it {longest // (chip.delay.value + 1)} times, or shorten Delay nodes",
            )
    for name, own in cores.items():
        p = compiled.network.population(name)
        if p.kind == GRADED:
            add(breaks, name, f"{graph.nodes[name].kind} sends its potential, {WITHOUT[GRADED]}", "read it on the host")
        if own["largest_fan_in"] > chip.axons.value:
            add(
                breaks,
                name,
                f"a neuron hears {own['largest_fan_in']:,} sources, a core {chip.axons.value:,}",
                f"sum them over {-(-own['largest_fan_in'] // chip.axons.value)} layers' parts, or prune its weights",
            )
        if own["largest_neuron"] > chip.memory.value:
            add(
                breaks,
                name,
                f"the synapses of one neuron take {own['largest_neuron']:,} bytes, a core has {chip.memory.value:,}",
                "prune its weights",
            )
        if own["because"]:
            add(notes, name, f"one core is too small for its {own['because']}", f"it takes {own['cores']:,} cores")
    total = sum(own["cores"] for own in cores.values())
    if total > chip.cores.value:
        largest = max(cores, key=lambda name: cores[name]["cores"])
        add(
            breaks,
            largest,
            f"the network takes {total:,} cores, {chip.title} has {chip.cores.value}; '{largest}' most, "
            f"{cores[largest]['cores']:,}",
            f"{-(-total // chip.cores.value)} chips",
        )
    if not chip.payload.value:
        for name in compiled.network.inputs:
            if any(q.source == name for q in compiled.network.projections) and not binary(compiled, name):
                add(breaks, name, f"its values are graded, spikes of {chip.title} carry none", "encode it as spikes")
    for q in compiled.network.projections:
        for operator in q.taps.values():
            if isinstance(operator, Kron) and not operator.is_identity:
                add(notes, q.target, *adjacency(operator, q.source, chip))
    for name in graph.neurons:
        p = compiled.network.population(name)
        parts = compiled.parts[name]
        if len(parts) > 1:
            add(
                notes,
                name,
                "its neurons differ in du, dv or the size of their threshold",
                f"{len(parts)} populations",
            )
        if layers[name]["decays_clipped"]:
            add(
                notes,
                name,
                f"{layers[name]['decays_clipped']:,} decays are clipped to registers of 12 bits",
                "see the error of its time constants; tau = dt keeps 1 / 4096 of the potential a step",
            )
        for key, own in layers[name]["parameters"].items():
            if own.get("zeroed"):
                add(
                    notes,
                    name,
                    f"{own['zeroed']:,} {key} are rounded to 0, of {own['zeroed'] + own['synapses']:,}",
                    "prune or scale them; the least exponent is that of a unit, or -8",
                )
        if p.kind == SUBTRACT:
            add(breaks, name, f"resets by subtraction, {WITHOUT[SUBTRACT]}", "train it with a reset to v_reset")
        for what, mend in inaccuracies(layers[name]):
            add(breaks, name, what, mend)
        if LOW_AGREEMENT <= layers[name].get("spikes", {}).get("agreement", 1.0) < FAIR_AGREEMENT:
            share = 100 * layers[name]["spikes"]["agreement"]
            what = f"{share:.1f} % of its cells (neuron, step) are as in float"
            add(notes, name, what, "see the errors of its parameters")
        late = [part.name for part in parts if needs_source(compiled, part.name)]
        if late:
            why = "its bias starts late, changes, or passes a synaptic current"
            add(notes, name, why, "a source on the host sends it")
        counts = layers[name].get("never_fire", {}), layers[name].get("always_fire", {})
        for found, what in zip(counts, ("can never fire", "fire in every step"), strict=True):
            if found and (found["fixed"] or found["float"]):
                before, after = len(found["float"]), len(found["fixed"])
                add(
                    notes,
                    name,
                    f"{after:,} of {p.size:,} neurons {what} ({before:,} before the conversion)",
                    "see its weights, bias and threshold; whatever comes within the inputs' range",
                )
    return breaks, notes


def adjacency(kron: Kron, source: str, chip: Chip) -> tuple[str, str]:
    """For weights kron(A, W): what another graph, so another A, takes on a chip; ``what`` and ``mend`` of a note."""
    targets, sources = kron.left.shape
    every = targets * sources * int(np.count_nonzero(kron.right))
    cores = -(-every * chip.weight_bits.value // (8 * chip.memory.value))
    return (
        f"its weights from '{source}' are kron(A, W), which is {kron.nnz:,} synapses of this graph; a session on the "
        "simulator takes another A as data, a chip holds its synapses",
        f"another graph is compiled and loaded anew; or all {targets:,} x {sources:,} pairs of nodes have synapses, "
        f"{every:,} of them on {cores:,} cores at least, whose weights are written for each graph",
    )


def inaccuracies(layer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Reasons why a node in fixed point differs too much from float: ``what`` and ``mend`` of each."""
    overflow, worst = layer["observed"]["overflow"], layer["worst_case"]
    registers = (("current", "wrapped"), ("potential", "saturated"), ("accumulator", "accumulated"))
    less = "smaller inputs or weights, a faster leak, or neurons whose thresholds are of one size"
    for register, count in registers:
        if overflow[count]:
            yield f"its {register} left its register, in {overflow[count]:,} neurons x steps of the run", less
        elif worst[register] is None:
            yield f"its {register} has no bound, whatever room is left: inputs in range can take it anywhere", less
        elif worst[register] > 1:
            yield f"inputs in range can take its {register} to {worst[register]:,.1f} times its register's range", less
    if (agreement := layer.get("spikes", {}).get("agreement", 1.0)) < LOW_AGREEMENT:
        yield (
            f"only {100 * agreement:.1f} % of its cells (neuron, step) are as in float",
            "see the errors of its parameters; weights of one size, or training with quantised ones, lose less",
        )
    if "values" in layer:
        low, high = layer["values"]["range"]
        if (error := layer["values"]["largest_error"]) > LARGEST_GRADED_ERROR * (high - low) and error > 1e-12:
            yield f"its potential is off by {error:.2g}, of a range of {high - low:.2g}", less
    for key in ("tau", "tau_mem", "tau_syn"):
        if key in layer["parameters"]:
            own = layer["parameters"][key]
            if (off := own["largest_relative_error"]) > LARGEST_DECAY_ERROR:
                yield (
                    f"its {key} becomes {100 * off:.0f} % another: decays have 12 bits",
                    "a larger dt, or a shorter time",
                )


def binary(compiled: Converted, name: str) -> bool:
    """Whether all messages of an input were 0 or 1, as spikes are."""
    return compiled.observed.messages[name] in (0.0, 1.0) and name in compiled.observed.unsigned


def needs_source(compiled: Converted, part: str) -> bool:
    """Whether the host must send a bias. A neuron's own bias acts from the chip's first step on, and directly on v."""
    p = compiled.fixed.population(part)
    if not p.bias.start:
        return False
    by_itself = p.bias.start == (0,) and compiled.plan.lags[part] == 0 and bool((p.du == DECAY_UNITY).all())
    return not by_itself
