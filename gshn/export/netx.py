"""Exporting one scene graph's spiking path as a lava-dl network, and running it by netx."""

from __future__ import annotations

import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gshn.encoders.spiking import SpikingGraphEncoder
from gshn.export.side_by_side import constant_input, pytorch_spikes
from gshn.export.to_nir import spiking_graph_to_nir
from gshn.inference import SpikingInput
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.quantize import quantize
from neuromorphic.execution import populations
from neuromorphic.execution.spikes import Agreement, compare
from neuromorphic.files import write_atomically
from neuromorphic.graph import flatten
from neuromorphic.lava.netx import NET_FILE, run_netx
from neuromorphic.lava.netx_file import fixed_network, netx_file, netx_network

NOTES = {
    "input": "graded integers round(message_scale x), one row a step; netx has to be told input_message_bits",
    "bias": "acts from Lava's step 1 on; reset_interval and reset_offset undo what it does before a layer's step 0",
    "latency": "step t of the last of L layers takes place in Lava's step t + L + 1",
    "pytorch": "differs by rounding alone: 8-bit weights, and without an exponent input messages of only a few units",
}
"""What the file does not say by itself."""


def export_netx(encoder: SpikingGraphEncoder, name: str, image: SpikingInput, out: Path) -> dict[str, Any]:
    """Write ``encoder.net``, have netx run it on the image's input, and write ``report.json``.

    Args:
        encoder: The trained spiking path, in eval mode.
        name: The image's name.
        image: What it computes on.
        out: Folder that is written to.

    Returns:
        The report: ``simulator_agreement`` and ``agreement`` are the fractions of the last layer's cells (neuron, step)
        in which netx gives what :mod:`neuromorphic.execution.populations` gives, and PyTorch.
    """
    begun = time.perf_counter()
    graph = flatten(spiking_graph_to_nir(encoder, image.aggregation, image.num_nodes))
    network, x = lower(graph, horizon=encoder.steps), {"input": constant_input(image.x, encoder.steps)}
    exact = quantize(network, populations.run(network, x).ranges, groups=1)
    netx = netx_network(exact, encoder.steps)
    write_atomically(out / NET_FILE, netx_file(netx))
    integers = fixed_network(netx, exact)
    sent = populations.run(integers, x).sent
    simulated = {layer.name: sent[layer.name].astype(bool) for layer in netx.layers}
    expected = dict(zip(simulated, pytorch_spikes(encoder, image), strict=True))
    last = list(simulated)[-1]
    output, seconds = run_netx(netx, integers.messages("input", x["input"]))
    simulator, pytorch = compare([output], [simulated[last]]), compare([output], [expected[last]])
    report: dict[str, Any] = {
        "image": name,
        "agreement": pytorch.fraction,
        "first_difference": difference(pytorch),
        "simulator_agreement": simulator.fraction,
        "simulator_first_difference": difference(simulator),
        "spikes": int(output.sum()),
        "cells": pytorch.cells,
        "steps": encoder.steps,
        "layers": {
            layer.name: {
                "neurons": len(layer.vth),
                "spikes": int(simulated[layer.name].sum()),
                "pytorch_spikes": int(expected[layer.name].sum()),
                "simulator_equal_to_pytorch": compare([simulated[layer.name]], [expected[layer.name]]).fraction,
                "scale": layer.scale,
                "weight_error": exact.report()[layer.name]["weight_error"] + layer.weight_error,
                "largest_bias": int(abs(layer.bias).max(initial=0)),
                "vThMant": int(layer.vth.max(initial=0)),
            }
            for layer in netx.layers
        },
        "message_scale": netx.message_scale,
        "loading": netx.loading(),
        "notes": NOTES,
        "seconds": time.perf_counter() - begun,
        "phases": seconds,
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in ("gshn", "nir", "lava-nc", "lava-dl", "torch")},
    }
    write_atomically(out / "report.json", json.dumps(report, indent=2) + "\n")
    return report


def difference(agreement: Agreement) -> dict[str, int] | None:
    """Step and neuron of the first difference."""
    first = agreement.first_difference
    return None if first is None else {"step": first.step, "neuron": first.neuron}
