"""Pricing counted operations with energy models."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from neuromorphic.arguments import check_path, printed
from neuromorphic.errors import EnergyModelError


@dataclass(frozen=True)
class Operations:
    """Mean number of operations for one image or sample.

    Attributes:
        mac: Multiply-accumulates.
        ac: Accumulates of weights, one for each spike and synapse.
        elementwise: Other arithmetic operations, one for each result.
        neuron_update: Updates of neurons: neurons times steps.
        firing: Updates that ended in a spike.
        spike: Spikes sent.
    """

    mac: float = 0.0
    ac: float = 0.0
    elementwise: float = 0.0
    neuron_update: float = 0.0
    firing: float = 0.0
    spike: float = 0.0

    def __add__(self, other: Operations) -> Operations:
        return Operations(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, factor: float) -> Operations:
        return Operations(*(getattr(self, f.name) * factor for f in fields(self)))


KINDS = tuple(f.name for f in fields(Operations))


@dataclass(frozen=True)
class Workload:
    """Operations of one part, for both ways in which hardware can pass spikes along the scene graph.

    Both are equal for a part without spikes.
    """

    factored: Operations
    unrolled: Operations

    @classmethod
    def dense(cls, operations: Operations) -> Workload:
        """The workload of a part without spikes."""
        return cls(operations, operations)


@dataclass(frozen=True)
class Joules:
    """A range of energies."""

    low: float = 0.0
    high: float = 0.0


@dataclass
class EnergyModel:
    """An entry of ``energy_models.yaml``, which describes the fields."""

    name: str
    hardware: str
    source: str
    leaves_out: str
    picojoules: dict[str, list[float]]
    process_nm: int | None = None
    year: int | None = None
    note: str = ""
    graph: str = "factored"
    host: str | None = None

    def operations(self, workload: Workload) -> Operations:
        """The operations of a part on this hardware."""
        return workload.unrolled if self.graph == "unrolled" else workload.factored


def load_models(path: Path | None = None) -> dict[str, EnergyModel]:
    """Read energy models; by default the project's own.

    Raises:
        ArgumentError: ``path`` is not a path.
        EnergyModelError: the file cannot be read, or an entry lacks a field, has an unknown field or an invalid value.
    """
    source = (
        files("neuromorphic.profiling") / "energy_models.yaml"
        if path is None
        else check_path("the file of energy models", path)
    )
    try:
        rows = OmegaConf.to_object(OmegaConf.create(source.read_text()))
        assert isinstance(rows, list) and rows, "must be a list of models"
        models: dict[str, EnergyModel] = {}
        for row in rows:
            assert isinstance(row, dict), f"{printed(row)} is not a model; give its fields by name"
            model: EnergyModel = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(EnergyModel), row))  # type: ignore[assignment]
            assert model.name not in models, f"'{model.name}' is there twice"
            models[model.name] = model
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnergyModelError(f"energy models {source}: {reason}") from None
    for model in models.values():
        where = f"energy models {source}: '{model.name}'"
        for kind, prices in model.picojoules.items():
            if kind not in KINDS:
                raise EnergyModelError(f"{where} prices '{kind}'; choose from {', '.join(KINDS)}")
            if len(prices) != 2 or not all(0 <= price < math.inf for price in prices):
                raise EnergyModelError(f"{where}: {kind} must be [low, high] in picojoules, at least 0, got {prices}")
        if model.graph not in ("factored", "unrolled"):
            raise EnergyModelError(f"{where}: graph must be factored or unrolled, got '{model.graph}'")
        if model.host is not None and (model.host not in models or models[model.host].host is not None):
            raise EnergyModelError(f"{where}: host must name a model that has none itself, got '{model.host}'")
        own = {*model.picojoules, *(models[model.host].picojoules if model.host else ())}
        if missing := [kind for kind in KINDS if kind not in own]:
            raise EnergyModelError(f"{where} has no price for '{missing[0]}', and no host that has")
    return models


def joules(models: Mapping[str, EnergyModel], name: str, workload: Workload) -> Joules:
    """Energy of a part in joules: the sum over kinds of operations of count times price.

    Kinds that a model has no price for are priced by its host.
    """
    model = models[name]
    operations = model.operations(workload)
    ends = []
    for end in (0, 1):
        total = 0.0
        for kind in KINDS:
            prices = model.picojoules.get(kind) or models[str(model.host)].picojoules[kind]
            total += getattr(operations, kind) * prices[end]
        ends.append(total * 1e-12)
    return Joules(min(ends), max(ends))


def energy_rows(
    workloads: Mapping[str, Workload], models: Mapping[str, EnergyModel], alternatives: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Energy of each part by each model. ``alternatives`` are parts for comparison, which are in no total."""
    rows = []
    for name in models:
        for part, workload in workloads.items():
            energy = joules(models, name, workload)
            rows.append(
                {
                    "model": name,
                    "part": part,
                    "joules_low": energy.low,
                    "joules_high": energy.high,
                    "in_total": part not in alternatives,
                }
            )
    return rows


def total_of(energy: Sequence[Mapping[str, Any]], model: str) -> dict[str, float]:
    """Energy of all parts in the total, by one model."""
    own = [row for row in energy if row["model"] == model and row["in_total"]]
    return {end: sum(row[end] for row in own) for end in ("joules_low", "joules_high")}


def microjoules(energy: Mapping[str, float]) -> str:
    """A range of energies as text, in microjoules. Its keys are low and high, or joules_low and joules_high."""
    low, high = (energy.get(end, energy.get(f"joules_{end}", 0.0)) * 1e6 for end in ("low", "high"))
    shown = [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in (low, high)]
    return shown[0] if shown[0] == shown[1] else " to ".join(shown)
