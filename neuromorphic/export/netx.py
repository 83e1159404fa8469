"""Exporting one scene graph's spiking path as a lava-dl network, and running it by netx."""

from __future__ import annotations

import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gshn.encoders.spiking import SpikingGraphEncoder
from gshn.files import write_atomically
from gshn.inference import SpikingInput
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.netx import fixed_chain, netx_file, netx_network
from neuromorphic.compiler.quantize import quantize
from neuromorphic.execution.fixed_point import simulate_fixed
from neuromorphic.execution.spikes import Agreement, compare
from neuromorphic.export.report import constant_input, pytorch_spikes
from neuromorphic.export.to_nir import spiking_graph_to_nir
from neuromorphic.lava.netx import NET_FILE, run_netx

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
        in which netx gives what :mod:`neuromorphic.execution.fixed_point` gives, and PyTorch.
    """
    begun = time.perf_counter()
    chain = lower(spiking_graph_to_nir(encoder, image.aggregation, image.num_nodes))
    x = constant_input(image.x, encoder.steps)
    exact = quantize(chain, input_limit=float(np.abs(x).max(initial=0.0)))
    network = netx_network(exact, encoder.steps)
    write_atomically(out / NET_FILE, netx_file(network))
    integers = fixed_chain(network, exact)
    simulated = simulate_fixed(integers, x)
    expected = dict(zip(simulated, pytorch_spikes(encoder, image), strict=True))
    last = list(simulated)[-1]
    output, seconds = run_netx(network, integers.messages(x))
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
                "weight_error": fixed.weight_error + layer.weight_error,
                "largest_bias": int(np.abs(layer.bias).max(initial=0)),
                "vThMant": int(layer.vth.max(initial=0)),
            }
            for layer, fixed in zip(network.layers, exact.layers, strict=True)
        },
        "message_scale": network.message_scale,
        "loading": network.loading(),
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
