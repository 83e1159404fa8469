"""Exporting scene graphs' spiking paths, and running them on Lava beside PyTorch."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from gshn.encoders.spiking import SpikingGraphEncoder
from gshn.export.to_nir import spiking_graph_to_nir
from gshn.inference import SpikingInput
from neuromorphic.backends import Precision, run_side_by_side
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Network
from neuromorphic.execution.spikes import Spikes, compare, save_arrays
from neuromorphic.files import write_atomically
from neuromorphic.graph import flatten
from neuromorphic.lava.session import KeptUp
from neuromorphic.nir_file import write_nir


def export_nir(encoder: SpikingGraphEncoder, image: SpikingInput, out: Path) -> None:
    """Write the spiking path of one image's scene graph, ``encoder.nir``, and its input.

    ``input.npz`` holds ``input``, shape (T, N * C): with the two, any NIR simulator can repeat the run.
    """
    write_nir(out / "encoder.nir", spiking_graph_to_nir(encoder, image.aggregation, image.num_nodes))
    save_arrays(out / "input.npz", {"input": constant_input(image.x, encoder.steps)})


@dataclass(frozen=True)
class EncoderRun:
    """Spikes of the encoder for several images.

    Attributes:
        names: The LIF layers.
        spikes: For each image the spikes of each layer by name, shape (T, N * C).
        steps: T.
        seconds, quantization, overflow: See :class:`~neuromorphic.backends.SideBySide`.
    """

    names: list[str]
    spikes: list[dict[str, Spikes]]
    steps: int
    seconds: dict[str, float]
    quantization: dict[str, dict[str, Any]]
    overflow: dict[str, dict[str, int]]


def network_of(encoder: SpikingGraphEncoder, image: SpikingInput, precision: Precision = "float") -> Network:
    """The spiking path of an image's scene graph, compiled from its NIR graph."""
    graph = flatten(spiking_graph_to_nir(encoder, image.aggregation, image.num_nodes))
    return lower(graph, horizon=encoder.steps if precision == "fixed" else None)


def networks_of(encoder: SpikingGraphEncoder, images: Sequence[SpikingInput], precision: Precision) -> list[Network]:
    """:func:`network_of` each image.

    The aggregation enters from the second layer on: with a single layer, images with the same number of nodes share
    one network, which is compiled once.
    """
    if len(encoder.linears) > 1:
        # One dense NIR graph at a time: kron(A, W) of all images would take gigabytes.
        bar = tqdm(images, "compile networks", unit=" images", leave=False, delay=2)
        return [network_of(encoder, image, precision) for image in bar]
    by_nodes = {image.num_nodes: image for image in images}
    made = {nodes: network_of(encoder, image, precision) for nodes, image in by_nodes.items()}
    return [made[image.num_nodes] for image in images]


def run_images(
    encoder: SpikingGraphEncoder,
    images: Sequence[SpikingInput],
    precision: Precision,
    backend: Literal["numpy", "lava", "c"] = "lava",
    kept: KeptUp | None = None,
) -> EncoderRun:
    """Run the spiking paths of images' scene graphs in one network, compiled from their NIR graphs; on Lava, in one
    that is kept up, where it is given.

    The input of neuron n * C + c is x[n, c] in every step, see :func:`spiking_graph_to_nir`.
    """
    networks = networks_of(encoder, images, precision)
    names = [population.name for population in networks[0].populations if population.spikes]
    inputs = [{"input": constant_input(image.x, encoder.steps)} for image in images]
    run = run_side_by_side(networks, inputs, backend, precision, kept=kept)
    spikes = [{name: own[name] for name in names} for own in run.sent]
    return EncoderRun(names, spikes, encoder.steps, run.seconds, run.quantization, run.overflow)


def constant_input(x: Tensor, steps: int) -> NDArray[np.float64]:
    """x at every step, shape (N, C) -> (T, N * C)."""
    row = x.detach().cpu().to(torch.float64).numpy().reshape(-1)
    return np.broadcast_to(row, (steps, len(row)))


def pytorch_spikes(encoder: SpikingGraphEncoder, image: SpikingInput) -> list[Spikes]:
    """Spikes of every layer by PyTorch, shape (T, N * C), as in evaluation."""
    assert not encoder.training
    with torch.inference_mode():
        layers = encoder(image.x, image.aggregation).layers
    return [layer.cpu().numpy().reshape(len(layer), -1) > 0 for layer in layers]


def export_lava(
    encoder: SpikingGraphEncoder, images: Mapping[str, SpikingInput], out: Path, precision: Precision
) -> dict[str, Any]:
    """Run images on Lava and by PyTorch; write ``spikes.npz`` (``image/layer``) and ``report.json``.

    Args:
        encoder: The trained spiking path, in eval mode.
        images: What it computes on, by the image's name.
        out: Folder that is written to.
        precision: Lava's arithmetic.

    Returns:
        The report: ``agreement`` is the fraction of the last layer's spikes' cells (neuron, step) that PyTorch gives
        too, ``spikes`` each layer's total.
    """
    begun = time.perf_counter()
    result = run_images(encoder, list(images.values()), precision)
    names = result.names
    expected = [pytorch_spikes(encoder, image) for image in images.values()]
    output = compare([own[names[-1]] for own in result.spikes], [layers[-1] for layers in expected])
    every = {
        name: compare([own[name] for own in result.spikes], [layers[k] for layers in expected])
        for k, name in enumerate(names)
    }
    difference = output.first_difference
    totals = {name: sum(int(own[name].sum()) for own in result.spikes) for name in names}
    neurons = {name: sum(own[name].shape[1] for own in result.spikes) for name in names}
    report: dict[str, Any] = {
        "agreement": output.fraction,
        "spikes": totals,
        "steps": result.steps,
        "images": len(images),
        "seconds": time.perf_counter() - begun,
        "precision": precision,
        "neurons": neurons,
        "firing_rate": {name: totals[name] / (neurons[name] * result.steps) for name in names},
        "layer_agreement": {name: every[name].fraction for name in names},
        "first_difference": difference and {**asdict(difference), "record": list(images)[difference.record]},
        "quantization": result.quantization,
        "overflow": result.overflow,
        "phases": result.seconds,
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in ("gshn", "nir", "lava-nc", "torch")},
    }
    records = {f"{image}/{name}": own[name] for image, own in zip(images, result.spikes, strict=True) for name in own}
    save_arrays(out / "spikes.npz", records)
    write_atomically(out / "report.json", json.dumps(report, indent=2) + "\n")
    return report
