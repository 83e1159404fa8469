"""Our integer simulator against two other emulators of Loihi's arithmetic, brian2-loihi and nengo-loihi's.

They run in an environment of their own, ``.venv-peers/loihi``; see in_loihi.py. What is measured is left in
``.venv-peers/loihi.json``, from which table.py prints docs/conformance.md's table.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.hardware import for_hardware
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import LIF, Levels
from neuromorphic.compiler.quantize import FixedNetwork, FixedPopulation, FixedProjection, synapse_groups
from neuromorphic.execution import populations
from neuromorphic.execution.calibration import calibrate
from neuromorphic.graph import flatten
from neuromorphic.nir_file import graph_of

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".venv-peers" / "loihi" / "bin" / "python"
STEPS = 60
LIMIT = 2**15
"""Of sums, see :func:`largest_sum`."""
NETWORKS = {"brian2": 8, "nengo": 40}
"""How many of each kind; Brian 2 takes seconds to set one up."""
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"{PYTHON} is not there: make test-peers"),
]


def random_registers(seed: int, exponents: tuple[int, ...] = (0, 1, 3, 6), delays: bool = True) -> FixedNetwork:
    """Two or three populations of any decays, in a row, with loops; even weights of both signs in +-254."""
    random = np.random.default_rng(seed)
    sizes = random.integers(2, 7, random.integers(3, 5)).tolist()
    made, projections = [], []

    def synapses(source: str, target: str, n: int, m: int, delay: int, gain: float) -> None:
        weights = 2 * random.integers(-80, 128, (m, n)) * (random.random((m, n)) < 0.8)
        weights = (gain * weights).astype(np.int64) // 2 * 2
        exponent = int(random.choice(exponents))
        taps = {delay: sparse.csr_matrix(weights.astype(np.int32))}
        projections.append(FixedProjection(source, target, taps, weight_exp=np.full(m, exponent, np.int32)))

    for k, size in enumerate(sizes[1:]):
        du = int(random.choice([1, 40, 1024, 2048, 3000, 4095, 4096]))
        dv = int(random.choice([0, 1, 30, 512, 2048, 4000, 4095]))
        threshold = int(random.integers(100, 3000))
        fields = {"du": du, "dv": dv, "threshold": threshold}
        whole = {key: np.full(size, value, np.int32) for key, value in fields.items()}
        silent = Levels((), np.zeros((0, size), np.int32))
        rest = {"bias": silent, "offset": np.zeros(size), "scale": np.ones(size), "report": {}}
        made.append(FixedPopulation(f"p{k}", LIF, (size,), **whole, **rest))
        source = "input" if k == 0 else f"p{k - 1}"
        synapses(source, f"p{k}", sizes[k], size, int(random.integers(0, 4)) if delays else 0, 1.0)
        if random.random() < 0.6:  # A loop takes a step, as a chip's synapses do.
            synapses(f"p{k}", f"p{k}", size, size, int(random.integers(1, 4)) if delays else 1, 0.5)
    return FixedNetwork({"input": (sizes[0],)}, tuple(made), tuple(projections), 1e-3, message_scale={"input": 1.0})


def compiled(seed: int) -> tuple[FixedNetwork, NDArray]:
    """A NIR graph of CubaLIF and LIF as ``check`` compiles it for a chip, with the input that its scales are for."""
    random = np.random.default_rng(seed)
    dt, zero = 1e-3, np.zeros(6)
    tau = dt * random.choice([2.0, 5.0, 20.0], 3)
    ones = np.ones(6)
    nodes = {
        "input": nir.Input({"input": np.array([5])}),
        "fc": nir.Linear(random.normal(0.4, 0.7, (6, 5))),
        "cuba": nir.CubaLIF(tau[0] * ones, tau[1] * ones, ones, zero, 0.3 * ones, zero, ones),
        "there": nir.Linear(random.normal(0.3, 0.8, (6, 6))),
        "lif": nir.LIF(tau[2] * ones, ones, zero, 0.3 * ones, zero),
        "back": nir.Linear(random.normal(-0.2, 0.3, (6, 6))),
        "output": nir.Output({"output": np.array([6])}),
    }
    edges = [("input", "fc"), ("fc", "cuba"), ("cuba", "there"), ("there", "lif"), ("lif", "back"), ("back", "lif")]
    graph = flatten(graph_of(nodes, [*edges, ("lif", "output")], {"dt": dt}))
    x = (random.random((STEPS, 5)) < 0.4).astype(float)
    network = for_hardware(lower(graph, horizon=STEPS), registers=True)
    fixed = calibrate(network, {"input": x[None]}, batched=True).network
    spiking = [p for p in fixed.populations if p.spikes]
    names = {p.name for p in spiking}
    kept = tuple(q for q in fixed.projections if q.target in names)
    return FixedNetwork(fixed.inputs, tuple(spiking), kept, dt, message_scale=fixed.message_scale), x


def described(network: FixedNetwork, x: NDArray) -> dict[str, Any]:
    """A network as in_loihi.py takes it; every synapse takes a step there, so populations start one after the other."""
    names = [p.name for p in network.populations]
    lag = {"input": 0}
    for p in network.populations:
        lag[p.name] = max(1, *(lag[q.source] + 1 - min(q.taps) for q in network.into(p.name) if q.source in lag))
    synapses = []
    for q in network.projections:
        for exponent, groups in synapse_groups(q).items():
            for delay, matrix in groups.items():
                late = delay + lag[q.target] - lag[q.source] - 1
                source = names.index(q.source) if q.source in names else -1
                row = {"source": source, "target": names.index(q.target), "delay": late, "exponent": exponent}
                synapses.append(row | {"weights": matrix.toarray().tolist()})
    own = [
        {"size": p.size, "du": int(p.du[0]), "dv": int(p.dv[0]), "threshold": int(p.threshold[0])}
        for p in network.populations
    ]
    assert all((getattr(p, key) == getattr(p, key)[0]).all() for p in network.populations for key in ("du", "dv"))
    messages = network.messages("input", x)
    assert set(np.unique(messages)) <= {0, 1}
    steps = len(x) + max(lag.values())
    return {
        "steps": steps,
        "input": messages.tolist(),
        "populations": own,
        "synapses": synapses,
        "lag": list(lag.values())[1:],
    }


def theirs(emulator: str, networks: list[dict[str, Any]], folder: Path) -> list[list[tuple[NDArray, NDArray]]]:
    """Spikes and potentials by network and population, shape (T, size), each from its first step on."""
    (folder / "networks.json").write_text(json.dumps(networks))
    command = [PYTHON, Path(__file__).parent / "in_loihi.py", emulator, folder / "networks.json", folder / "out.npz"]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    out = []
    with np.load(folder / "out.npz") as file:
        for k, network in enumerate(networks):
            steps = len(network["input"])
            out.append([
                tuple(file[f"{key}_{k}_{p}"][lag : lag + steps] for key in ("spikes", "v"))
                for p, lag in enumerate(network["lag"])
            ])  # fmt: skip
    return out


def ours(network: FixedNetwork, x: NDArray) -> tuple[list[tuple[NDArray, NDArray]], Mapping[str, populations.Overflow]]:
    """Spikes and potentials in units of the register."""
    names = [p.name for p in network.populations]
    run = populations.run(network, {"input": x}, names)
    scale = {p.name: 64 * p.scale for p in network.populations}
    offset = {p.name: p.offset for p in network.populations}
    return [(run.sent[n], np.round((run.potentials[n] - offset[n]) * scale[n])) for n in names], run.overflow


def differing(a: list[tuple[NDArray, NDArray]], b: list[tuple[NDArray, NDArray]]) -> tuple[int, int, int]:
    """Cells (step, neuron) whose spikes differ, whose potentials differ, and all."""
    spikes = sum(int((p[0] != q[0]).sum()) for p, q in zip(a, b, strict=True))
    v = sum(int((p[1] != q[1]).sum()) for p, q in zip(a, b, strict=True))
    return spikes, v, sum(p[0].size for p in a)


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[str, Any]]:
    path = ROOT / ".venv-peers" / "loihi.json"
    rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    yield rows
    path.write_text(json.dumps(rows, indent=1) + "\n")


def compare(
    emulator: str, networks: list[tuple[FixedNetwork, NDArray]], folder: Path, overflow: bool = False
) -> dict[str, int]:
    """Run networks both ways, and count."""
    given = [described(*network) for network in networks]
    total = {"networks": len(networks), "spikes": 0, "potentials": 0, "cells": 0, "fired": 0}
    for network, own in zip(networks, theirs(emulator, given, folder), strict=True):
        mine, overflows = ours(*network)
        assert overflow or not any(count.any for count in overflows.values())
        spikes, v, cells = differing(mine, own)
        fired = sum(int(p[0].sum()) for p in mine)
        for key, value in zip(("spikes", "potentials", "cells", "fired"), (spikes, v, cells, fired), strict=True):
            total[key] += value
    return total


def largest_sum(network: FixedNetwork, x: NDArray) -> int:
    """The largest sum that synapses bring a neuron in a step: nengo-loihi's accumulators have 21 bits, 2^15 units."""
    sent = populations.run(network, {"input": x}).sent | {"input": network.messages("input", x)}
    sums = {p.name: np.zeros((len(x), p.size), np.int64) for p in network.populations}
    for q in network.projections:
        for delay, matrix in q.taps.items():
            brought = (sent[q.source].astype(np.int64) @ matrix.toarray().T) << q.weight_exp.clip(0)
            sums[q.target][delay:] += brought[: len(x) - delay]
    return int(max(np.abs(own).max() for own in sums.values()))


def drawn(
    count: int, delays: bool, in_range: bool = True, exponents: tuple[int, ...] = (0, 1, 3, 6)
) -> list[tuple[FixedNetwork, NDArray]]:
    """Random networks with inputs, whose registers all stay in range, sums within 2^15, or do not."""
    out: list[tuple[FixedNetwork, NDArray]] = []
    for seed in range(1000):
        network = random_registers(seed, exponents, delays)
        x = (np.random.default_rng([seed, 7]).random((STEPS, network.size("input"))) < 0.3).astype(float)
        stays = not any(own.any for own in ours(network, x)[1].values()) and largest_sum(network, x) < LIMIT
        if stays == in_range:
            out.append((network, x))
        if len(out) == count:
            return out
    raise AssertionError("too few networks")


@pytest.mark.parametrize("emulator", ["brian2", "nengo"])
def test_registers_of_any_decays_loops_and_delays(emulator: str, tmp_path: Path, measured: dict[str, Any]) -> None:
    row = compare(emulator, drawn(NETWORKS[emulator], delays=emulator == "brian2"), tmp_path)
    measured[f"registers/{emulator}"] = row
    assert row["fired"] > 0.05 * row["cells"]
    assert (row["spikes"], row["potentials"]) == (0, 0)


@pytest.mark.parametrize("emulator", ["brian2", "nengo"])
def test_nir_graphs_as_they_are_compiled_for_a_chip(emulator: str, tmp_path: Path, measured: dict[str, Any]) -> None:
    networks = [compiled(seed) for seed in range(NETWORKS[emulator])]
    if emulator == "nengo":
        beyond = [own for own in networks if largest_sum(*own) >= LIMIT]
        networks = [own for own in networks if largest_sum(*own) < LIMIT]
        measured["compiled beyond 21 bits/nengo"] = compare(emulator, beyond, tmp_path)
        assert len(networks) > 5 and len(beyond) > 5
    row = compare(emulator, networks, tmp_path)
    measured[f"compiled/{emulator}"] = row
    assert row["fired"] > 0.05 * row["cells"]
    assert (row["spikes"], row["potentials"]) == (0, 0)


@pytest.mark.parametrize("emulator", ["brian2", "nengo"])
def test_negative_exponents_are_rounded_otherwise(emulator: str, tmp_path: Path, measured: dict[str, Any]) -> None:
    """They shift each weight, Lava and we shift the sum: 2^-1 of even weights is exact, less is not."""
    row = compare(emulator, drawn(NETWORKS[emulator], delays=False, exponents=(-1,)), tmp_path)
    assert (row["spikes"], row["potentials"]) == (0, 0)
    row = measured[f"negative/{emulator}"] = compare(
        emulator, drawn(NETWORKS[emulator], delays=False, exponents=(-3, -5)), tmp_path
    )
    assert row["potentials"] > 0


@pytest.mark.parametrize("emulator", ["brian2", "nengo"])
def test_registers_that_are_left_are_left_otherwise(emulator: str, tmp_path: Path, measured: dict[str, Any]) -> None:
    """brian2-loihi's have no end; nengo's sums end at 21 bits, where Lava's and ours have 32 (:func:`largest_sum`)."""
    networks = drawn(NETWORKS[emulator], delays=False, in_range=False)
    row = measured[f"overflow/{emulator}"] = compare(emulator, networks, tmp_path, overflow=True)
    assert row["potentials"] > 0
    # Potentials that stay at their limit, and currents that wrap around, are nengo's, too, as long as sums fit.
    if emulator == "nengo":
        fit = [own for own in networks if largest_sum(*own) < LIMIT]
        row = measured["saturated/nengo"] = compare(emulator, fit, tmp_path, overflow=True)
        assert row["networks"] > 2 and (row["spikes"], row["potentials"]) == (0, 0)
