"""``report.json``: everything that a profile says, in one dictionary. ``report.schema.json`` describes it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gshn.encoders.hybrid import HybridEncoder
from gshn.encoders.spiking import SpikingGraphEncoder
from gshn.errors import CheckpointError
from gshn.export.images import graph_inputs
from gshn.model import GSHN
from gshn.neurons.kinds.relu import ReLU
from gshn.profiling.counts import ImageCount, Parts, Source, check_source, count_images, count_parts, totals
from gshn.profiling.dense import count_operations
from gshn.profiling.meters import Measurement
from neuromorphic.arguments import check_count, check_path
from neuromorphic.backends import Precision
from neuromorphic.execution.operations import NOT_COUNTED, LayerCount
from neuromorphic.profiling.energy import EnergyModel, Operations, Workload, energy_rows, joules, total_of
from neuromorphic.profiling.layers import layer_row

SCHEMA = 1
"""Raised whenever a key changes its meaning or goes."""

SPIKING, TWIN, SIMULATED = "spiking", "relu_twin", "spiking_simulated"
"""Parts: the spiking path; the same path with ReLU in place of LIF; the spiking path as PyTorch computes it, zeros and
all. The last two are for comparison and in no total."""
ALTERNATIVES = (TWIN, SIMULATED)


@dataclass(frozen=True)
class Profile:
    """What was counted of one checkpoint.

    Attributes:
        checkpoint: Its folder.
        model: The model.
        images: Counts of each image; empty for a model whose discrete path does not spike.
        parts: Counts of everything around the spiking path.
        twin: Operations of the ReLU twin of the discrete path, for one image.
        figures: What the run's ``metrics.json`` says.
    """

    checkpoint: Path
    model: GSHN
    images: list[ImageCount]
    parts: Parts
    twin: Operations
    figures: dict[str, Any]

    @property
    def encoder(self) -> SpikingGraphEncoder:
        """The discrete path."""
        assert isinstance(self.model.encoder, HybridEncoder) and self.model.encoder.spiking is not None
        return self.model.encoder.spiking

    @property
    def spikes(self) -> bool:
        """Whether the discrete path spikes."""
        return self.encoder.neuron.spikes

    def discrete(self) -> Workload:
        """What hardware has to do for the discrete path of one image, on average."""
        if not self.spikes:
            return Workload.dense(self.twin)
        each = 1 / len(self.images)
        sides = [sum((getattr(image.workload, side) for image in self.images), Operations()) * each
                 for side in ("factored", "unrolled")]  # fmt: skip
        return Workload(*sides)

    def workloads(self) -> dict[str, Workload]:
        """Workload of every part, alternatives included."""
        out = {name: Workload.dense(operations) for name, operations in self.parts.operations.items()}
        out[SPIKING if self.spikes else TWIN] = self.discrete()
        if self.spikes:
            out[TWIN] = Workload.dense(self.twin)
            out[SIMULATED] = Workload.dense(self.parts.simulated)
        return out


def profile(checkpoint: Path, images: int, source: Source = "torch", precision: Precision = "float") -> Profile:
    """Count what a checkpoint computes for its first held-out images.

    Args:
        checkpoint: Folder that ``gshn.train`` wrote.
        images: How many.
        source: Where spikes come from.
        precision: Arithmetic of that source.

    Raises:
        ArgumentError: an unknown source or precision, or no number of images.
        CheckpointError: it cannot be loaded, or is not a hybrid model with a discrete path.
        ConfigError: there are fewer held-out images.
    """
    checkpoint = check_path("the checkpoint", checkpoint)
    check_source(source, precision)
    check_count("images", images)
    model = GSHN.from_pretrained(checkpoint)
    if not isinstance(model.encoder, HybridEncoder) or model.encoder.spiking is None:
        raise CheckpointError(
            f"{checkpoint} has no discrete path: by its config.yaml, model.spiking.enabled is false or model.encoder "
            "is not hybrid"
        )
    encoder = model.encoder.spiking
    inputs = graph_inputs(model, images)
    counted = count_images(encoder, inputs, source, precision) if encoder.neuron.spikes else []
    twin = relu_twin(encoder)
    operations = Operations()
    for own in inputs.values():
        operations += count_operations(partial(twin, own.x, own.aggregation))
    figures = read_figures(checkpoint / "metrics.json")
    return Profile(checkpoint, model, counted, count_parts(model, images), operations * (1 / images), figures)


def read_figures(path: Path) -> dict[str, Any]:
    """A run's figures; none where it was stopped before it had any.

    Raises:
        CheckpointError: the file is broken.
    """
    if not path.is_file():
        return {}
    try:
        figures: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(figures, dict):
            raise ValueError("no object")
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} is broken ({error}); delete it, or train again") from None
    return figures


def relu_twin(encoder: SpikingGraphEncoder) -> SpikingGraphEncoder:
    """The same network with ReLU in place of LIF, in one step. Its weights do not matter: operations are counted."""
    first, layers = encoder.weights[0], len(encoder.weights)
    channels, inputs = first.shape
    twin = SpikingGraphEncoder(inputs, channels, layers, 1, ReLU(encoder.neuron.p))
    return twin.to(first.device).eval()


def report_of(
    main: Profile,
    models: Mapping[str, EnergyModel],
    measured: Mapping[str, Measurement],
    source: Source,
    precision: Precision,
    others: Sequence[Profile] = (),
) -> dict[str, Any]:
    """Assemble the report.

    Args:
        main: The checkpoint that it is about; it spikes.
        models: Energy models.
        measured: By what was measured.
        source, precision: Where spikes came from.
        others: Checkpoints that are compared with it.
    """
    layers, encoder = totals(main.images), main.encoder
    whole = sum(layers.values(), LayerCount())
    workloads = main.workloads()
    energy = energy_rows(workloads, models, ALTERNATIVES)
    return {
        "schema": SCHEMA,
        "checkpoint": str(main.checkpoint),
        "images": len(main.images),
        "steps": encoder.steps,
        "dt": encoder.neuron.p.dt,
        "backend": source,
        "precision": precision,
        "layers": [
            layer_row(
                name,
                layers[name],
                np.sum([image.spikes_per_step[name] for image in main.images], axis=0),
                precision,
                len(main.images),
                "image",
            )
            for name in layers
        ],
        "per_image": [image_row(image) for image in main.images],
        "operations": {
            part: {"in_total": part not in ALTERNATIVES, **{side: asdict(getattr(own, side)) for side in
                   ("factored", "unrolled")}} for part, own in workloads.items()
        },
        "not_counted": main.parts.not_counted | NOT_COUNTED,
        "energy": energy,
        "energy_models": {name: asdict(model) for name, model in models.items()},
        "totals": {
            "spikes": whole.spikes,
            "synaptic_operations": whole.synaptic_operations,
            "effective_macs": whole.effective_macs,
            "effective_acs": whole.effective_acs,
            "dense_operations": whole.dense_operations,
            "neuron_updates": whole.neuron_updates,
            "firing_rate": whole.spikes / whole.cells,
            "activation_sparsity": whole.activation_sparsity,
            "joules_per_image": {name: total_of(energy, name) for name in models},
        },
        "neurobench": neurobench(main),
        "break_even_firing_rate": {name: break_even(main, models, name) for name in models},
        "measured": {
            name: {"seconds_per_image": own.seconds, "joules_per_image": own.joules, "meter": own.meter}
            for name, own in measured.items()
        },
        "compared": [comparison_row(own, models) for own in (main, *others)] if others else [],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("gshn", "torch", "nir")},
    }  # fmt: skip


def image_row(image: ImageCount) -> dict[str, Any]:
    """One image, all layers together."""
    total = image.total
    return {
        "name": image.name,
        "nodes": image.nodes,
        "edges": image.edges,
        "spikes": total.spikes,
        "synaptic_operations": total.synaptic_operations,
        "neuron_updates": total.neuron_updates,
    }


def break_even(main: Profile, models: Mapping[str, EnergyModel], name: str) -> dict[str, float | None]:
    """Firing rate at which the spiking path would cost what its ReLU twin costs; null where it costs more in silence.

    Energy is taken to be linear in the spikes, every layer's in proportion: E(f) = E_silent + (f / rate) E_spikes. Low
    and high are of the models' low and high ends.
    """
    whole = sum(totals(main.images).values(), LayerCount())
    rate = whole.spikes / whole.cells
    discrete = main.discrete()
    none = {"ac": 0.0, "firing": 0.0, "spike": 0.0}
    silent = Workload(replace(discrete.factored, **none), replace(discrete.unrolled, **none))
    now, rest, twin = (joules(models, name, w) for w in (discrete, silent, Workload.dense(main.twin)))
    out: dict[str, float | None] = {}
    for end in ("low", "high"):
        spikes, room = getattr(now, end) - getattr(rest, end), getattr(twin, end) - getattr(rest, end)
        out[end] = min(rate * room / spikes, 1.0) if room > 0 and spikes > 0 else None
    return out


def neurobench(main: Profile) -> dict[str, Any]:
    """The spiking path under NeuroBench's names and by its definitions, for one image (Yik et al., 2025).

    Its hooks see the linear layers: the first is called once, with numbers; the others in every step, with spikes; what
    is handed along the graph they do not see. ``connection_sparsity`` and ``footprint`` are of the parameters.
    """
    encoder, each = main.encoder, 1 / len(main.images)
    parameters = list(encoder.parameters())
    weights = encoder.weights
    zeros, size = sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)
    rows = sum(image.nodes for image in main.images) * each
    work = main.discrete().factored
    return {
        "footprint": sum(p.numel() * p.element_size() for p in parameters),
        "connection_sparsity": round(zeros / size, 4),
        "activation_sparsity": sum(totals(main.images).values(), LayerCount()).activation_sparsity,
        "synaptic_operations": {
            "Effective_MACs": work.mac,
            "Effective_ACs": work.ac,
            "Dense": rows * (weights[0].numel() + encoder.steps * sum(w.numel() for w in weights[1:])),
        },
    }


def comparison_row(own: Profile, models: Mapping[str, EnergyModel]) -> dict[str, Any]:
    """One of several checkpoints: what it is, how good, and what its discrete path costs for one image."""
    spiking = own.model.config.model.spiking
    whole = sum(totals(own.images).values(), LayerCount())
    workload = own.discrete()
    accuracies = {key: value for key, value in own.figures.items()
                  if key.endswith(".accuracy") or key in ("retrieval.i2t_r1", "retrieval.t2i_r1")}  # fmt: skip
    return {
        "checkpoint": str(own.checkpoint),
        "neuron": spiking.neuron,
        "steps": spiking.steps,
        "firing_rate": whole.spikes / whole.cells if own.spikes else None,
        "accuracy": accuracies,
        "joules_per_image": {name: asdict(joules(models, name, workload)) for name in models},
    }
