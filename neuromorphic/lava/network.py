"""A folded network as Lava processes. Import :mod:`neuromorphic.lava.compat` and call ``mend_lava`` first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg, RunConfig
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode
from scipy import sparse

from neuromorphic.compiler import network as kinds
from neuromorphic.compiler.network import Network, Population, Projection
from neuromorphic.compiler.operators import Operator, expanded
from neuromorphic.compiler.quantize import FixedNetwork, FixedPopulation, FixedProjection, synapse_groups
from neuromorphic.compiler.schedule import Schedule
from neuromorphic.lava.processes.models import FIXED, FLOAT, MODELS
from neuromorphic.lava.processes.process import Bias, Graded, Recorder, Source, Subtract, Sum, Synapses, Tie

GRADED_BITS = 24
"""Bits of a graded message. To ``Sparse`` 0 means spikes; all other values have the same effect. Spikes are sent as
graded messages, too: multiplying by all weights is faster than by the columns of those that spiked, which ``Sparse``
would copy from a row-major matrix in every step."""


@dataclass
class Parts:
    """The processes of a network, connected.

    Attributes:
        processes: All of them.
        inputs: For each input of the network, the ports that receive its messages.
        outputs: For each output, the port that sends it.
        sent: For each population and each input with a source, the port that sends its messages.
    """

    processes: list[AbstractProcess] = field(default_factory=list)
    inputs: dict[str, list[InPort]] = field(default_factory=dict)
    outputs: dict[str, OutPort] = field(default_factory=dict)
    sent: dict[str, OutPort] = field(default_factory=dict)


def build(
    network: Network,
    plan: Schedule,
    keep: Mapping[str, Mapping[str, Path]] | None = None,
    stock: bool = False,
    stays: Path | None = None,
) -> Parts:
    """Build and connect the processes of a network.

    Args:
        network: Float or fixed.
        plan: Its schedule.
        keep: Files to write, by purpose and name of the population: ``messages`` and ``potentials``; for a network that
            stays up also ``cell`` (u and v), and ``past`` if there are delays.
        stock: Use Lava's own processes for synapses (``Sparse``, ``DelaySparse``) and for recording, as hardware has.
        stays: Folder of a network that stays up, see :mod:`neuromorphic.lava.window`.
    """
    keep = keep or {}
    parts = Parts(inputs={name: [] for name in network.inputs})
    a_in: dict[str, InPort] = {}
    s_out = parts.sent

    def part_of(number: int, kind: str, *processes: AbstractProcess) -> None:
        """Tell processes which population or projection they are, so that another network can take its place."""
        for process in processes if stays is not None else ():
            process.proc_params.overwrite("part", f"{kind}.{number}")

    for number, p in enumerate(network.populations):
        if p.kind == kinds.SUM and any((q.source, p.name) in plan.direct for q in network.into(p.name)):
            continue
        process = process_for(p)
        for key, path in keep.get(p.name, {}).items():
            if key == "past":
                continue
            if stock and key == "messages":
                # Neurons on a chip record nothing: a process on the host records their messages.
                recorder = Recorder(rows=path, size=p.size, lag=plan.lags[p.name], name=f"record of {p.name}")
                process.s_out.connect(recorder.s_in)
                parts.processes.append(recorder)
                continue
            process.proc_params.overwrite(key, str(path))
        process.proc_params.overwrite("lag", plan.lags[p.name])
        parts.processes.append(process)
        a_in[p.name], s_out[p.name] = process.a_in, process.s_out
        if p.bias.start:
            bias = Bias(levels=p.bias, lag=plan.lags[p.name], name=f"bias of {p.name}")
            bias.a_out.connect(process.a_in)
            parts.processes.append(bias)
        part_of(number, "population", *parts.processes[-2 if p.bias.start else -1 :])
    for number, projection in enumerate(network.projections):
        ends = projection.source, projection.target
        if ends in plan.direct:
            link_output(network, plan, parts, projection, s_out, keep)
            continue
        # Populations on the host have 16-bit weights, which stock synapses cannot hold.
        chip = network.population(projection.target).spikes
        for process in synapses(projection, plan, stock and chip):
            part_of(number, "projection", process)
            if (past := keep.get(projection.source, {}).get("past")) is not None:
                process.proc_params.overwrite("past", str(past))
            parts.processes.append(process)
            process.a_out.connect(a_in[projection.target])
            if projection.source in network.inputs:
                parts.inputs[projection.source].append(process.s_in)
            else:
                s_out[projection.source].connect(process.s_in)
    for p in network.populations:
        if p.kind == kinds.SUM and p.name in s_out:
            parts.outputs[p.name] = s_out[p.name]
    if stays is not None:
        for process in parts.processes:
            process.proc_params.overwrite("stays", str(stays))
    return parts


def link_output(
    network: Network,
    plan: Schedule,
    parts: Parts,
    projection: Projection,
    s_out: Mapping[str, OutPort],
    keep: Mapping[str, Mapping[str, Path]],
) -> None:
    """Connect an output that copies one population or input."""
    size = network.size(projection.target)
    if (path := keep.get(projection.target, {}).get("messages")) is None:
        if projection.source not in network.inputs:
            parts.outputs[projection.target] = s_out[projection.source]
            return
        end = Sum(size=size, name=projection.target)
        parts.processes.append(end)
        parts.inputs[projection.source].append(end.a_in)
        parts.outputs[projection.target] = parts.sent[projection.target] = end.s_out
        return
    recorder = Recorder(rows=path, size=size, lag=plan.lags[projection.target], name=projection.target)
    parts.processes.append(recorder)
    if projection.source in network.inputs:
        parts.inputs[projection.source].append(recorder.s_in)
    else:
        s_out[projection.source].connect(recorder.s_in)
        parts.outputs[projection.target] = s_out[projection.source]


def process_for(p: Population) -> AbstractProcess:
    """A population's process."""
    if p.kind == kinds.SUM:
        return Sum(size=p.size, name=p.name)
    du, dv = (np.array(values) for values in (p.du, p.dv))
    fixed = isinstance(p, FixedPopulation)
    if p.kind == kinds.GRADED:
        shift = p.message_shift if isinstance(p, FixedPopulation) else 0
        return Graded(du=du, dv=dv, message_shift=shift, name=p.name)
    if fixed:
        du = du - 1  # Lava takes the register plus one.
    threshold = np.array(p.threshold)
    if p.kind == kinds.SUBTRACT:
        return Subtract(du=du, dv=dv, threshold=threshold, name=p.name)
    return LIF(shape=(p.size,), du=du, dv=dv, vth=threshold, name=p.name)


def synapses(projection: Projection, plan: Schedule, stock: bool) -> list[AbstractProcess]:
    """The processes of a projection.

    Args:
        projection: The projection.
        plan: The network's schedule.
        stock: See :func:`build`. Stock synapses have one exponent and one delay each.
    """
    name = f"{projection.source} to {projection.target}"
    ends = projection.source, projection.target
    waits, instant = plan.waits[ends], ends in plan.instant
    if not stock or instant:
        lags = plan.lags[projection.source], plan.lags[projection.target]
        scaled = projection.scaled if isinstance(projection, FixedProjection) else None
        return [Synapses(taps=projection.taps, lags=lags, latency=0 if instant else 1, scaled=scaled, name=name)]
    groups: list[tuple[int, Mapping[int, Operator]]] = [(0, projection.taps)]
    # If all weights are 0, some process must send zeros.
    if isinstance(projection, FixedProjection) and (by_exponent := synapse_groups(projection)):
        groups = list(by_exponent.items())
    out: list[AbstractProcess] = []
    for exponent, own in groups:
        common: dict[str, Any] = {
            "weight_exp": exponent, "sign_mode": SignMode.MIXED, "num_message_bits": GRADED_BITS, "name": name
        }  # fmt: skip
        for delay, operator in own.items():
            # Lava sorts unsorted matrices in place, which fails for arrays that are mapped from a file.
            weights = expanded(operator, 0).sorted_indices()
            if (wait := waits[delay]) == 0:
                out.append(Sparse(weights=weights, **common))
            else:
                delays = sparse.csr_matrix(
                    (np.full(weights.nnz, wait), weights.indices, weights.indptr), shape=weights.shape
                )
                out.append(DelaySparse(weights=weights, delays=delays, max_delay=wait, **common))
    return out


def feed(parts: Parts, messages: Mapping[str, np.ndarray], files: Mapping[str, Path] | None = None) -> None:
    """Connect sources that send the inputs, shape (T, n), one row in each step and then zeros. A network that stays up
    reads its inputs from files in its folder, window by window."""
    for name, ports in parts.inputs.items():
        source = Source(rows=messages[name], name=f"input {name}")
        if files is not None:
            source.proc_params.overwrite("file", str(files[name]))
            source.proc_params.overwrite("stays", str(files[name].parent))
        parts.processes.append(source)
        parts.sent[name] = source.s_out
        for port in ports:
            source.s_out.connect(port)


def tie(parts: Parts, network: Network) -> None:
    """Connect the separate parts of a network, as Lava runs only the processes that it finds along connections."""
    first: dict[int, OutPort] = {}
    groups = network.components()
    for name, port in parts.sent.items():
        first.setdefault(groups[name], port)
    ports = list(first.values())
    for a, b in pairwise(ports):
        knot = Tie(sizes=(a.shape[0], b.shape[0]))
        a.connect(knot.a)
        b.connect(knot.b)
        knot.name = "tie"
        parts.processes.append(knot)


def run_config(network: Network, parts: Parts, target: str = "simulator") -> RunConfig:
    """The run configuration of Lava's CPU simulator for a float or a fixed-point network, or that of Loihi 2.

    Models are named process by process: Lava would otherwise execute every file beside a process's own to find some,
    for each process again, which takes longer than most runs.
    """
    tag = FIXED if isinstance(network, FixedNetwork) else FLOAT
    models = {process: MODELS[tag][type(process)] for process in parts.processes}
    if target == "loihi2":
        # Lava picks the models of its own processes on the chip; ours run on the host.
        ours = {process: model for process, model in models.items() if type(process).__module__.startswith(__package__)}
        return Loihi2HwCfg(select_tag=tag, exception_proc_model_map=ours)
    return Loihi2SimCfg(select_tag=tag, exception_proc_model_map=models)
