"""Energy models: prices times counts, and nothing else."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from neuromorphic.errors import EnergyModelError
from neuromorphic.profiling.energy import KINDS, Operations, Workload, joules, load_models

TEXT = (files("neuromorphic.profiling") / "energy_models.yaml").read_text()
WORK = Workload(
    factored=Operations(mac=10, ac=20, elementwise=30, neuron_update=40, firing=5, spike=5),
    unrolled=Operations(mac=10, ac=70, neuron_update=40, firing=5, spike=5),
)


def test_energy_by_hand() -> None:
    models = load_models()
    cmos = joules(models, "cmos45-fp32", WORK)
    assert cmos.low == pytest.approx((10 * 4.6 + 20 * 0.9 + 30 * 0.9 + 40 * 4.6) * 1e-12)
    assert cmos.high == pytest.approx((10 * 4.6 + 20 * 0.9 + 30 * 4.6 + 40 * 6.4) * 1e-12)
    # Loihi has a synapse for every edge, and leaves products of numbers to its host. Silent neurons cost, too.
    loihi = joules(models, "loihi1", WORK)
    assert loihi.low == pytest.approx((10 * 4.6 + 70 * 23.6 + 35 * 52 + 5 * 81 + 5 * 1.7) * 1e-12)
    assert loihi.high == pytest.approx((10 * 4.6 + 70 * 27.1 + 40 * 81 + 5 * 5.7) * 1e-12)
    assert joules(models, "loihi1", Workload.dense(Operations(neuron_update=1))).low == pytest.approx(52e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_constant_changes_the_energy_by_exactly_that(kind: str, tmp_path: Path) -> None:
    models = load_models()
    before = joules(models, "cmos45-fp32", WORK)
    models["cmos45-fp32"].picojoules[kind][1] += 100.0
    after = joules(models, "cmos45-fp32", WORK)
    assert after.low == before.low
    assert after.high - before.high == pytest.approx(getattr(WORK.factored, kind) * 100e-12)


def test_every_model_names_its_source_and_what_it_leaves_out() -> None:
    models = load_models()
    assert {"cmos45-fp32", "loihi1", "loihi2"} <= set(models)
    for model in models.values():
        assert model.source and model.leaves_out and model.hardware and model.process_nm
    assert "No energy of a single operation is published" in models["loihi2"].source


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ac: [23.6, 27.1]", "acs: [23.6, 27.1]", "'loihi1' prices 'acs'; choose from mac, ac,"),
        ("ac: [23.6, 27.1]", "ac: [23.6]", "ac must be [low, high]"),
        ("ac: [23.6, 27.1]", "ac: [-1, 27.1]", "at least 0"),
        ("ac: [23.6, 27.1]", "ac: [many, 27.1]", "many"),
        ("graph: unrolled", "graph: dense", "graph must be factored or unrolled"),
        ("host: cmos45-fp32", "host: abacus", "host must name a model"),
        ("host: cmos45-fp32", "hosts: cmos45-fp32", "hosts"),
        ("    mac: [4.6, 4.6]\n", "", "has no price for 'mac'"),
        ("- name: cmos45-fp32\n", "- name: [\n", "energy models"),
    ],
)
def test_a_bad_model_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TEXT
    path = tmp_path / "models.yaml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(EnergyModelError) as error:
        load_models(path)
    assert said in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EnergyModelError, match=r"none\.yaml"):
        load_models(tmp_path / "none.yaml")
