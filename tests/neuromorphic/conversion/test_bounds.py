"""Bounds hold for whatever inputs come, and are tight where they can be."""

from __future__ import annotations

import nir
import numpy as np
import pytest
from random_graphs import random_graph
from scenarios import DT, chain, constant, lif, relay
from scipy import sparse

from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.operators import FixedKron, Kron, expanded, quantize_kron
from neuromorphic.compiler.quantize import ALIGNMENT, FixedNetwork, FixedPopulation, quantize
from neuromorphic.conversion import bounds as module
from neuromorphic.conversion.bounds import bounds, product, signed_sums
from neuromorphic.execution.populations import run
from neuromorphic.graph import flatten

STEPS = 60


def unit(network: Network) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (-np.ones(network.size(name)), np.ones(network.size(name))) for name in network.inputs}


def extremes(network: Network, random: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """Inputs at the ends of [-1, 1] and between: constant corners, corners that change, noise, silence, bursts."""
    out = []
    for kind in ("up", "down", "corner", "corners", "noise", "zero", "sides", "burst"):
        x = {}
        for name in network.inputs:
            shape = (STEPS, network.size(name))
            x[name] = {
                "up": np.ones(shape),
                "down": -np.ones(shape),
                "corner": np.broadcast_to(random.choice([-1.0, 1.0], shape[1:]), shape),
                "corners": random.choice([-1.0, 1.0], shape),
                "noise": random.uniform(-1, 1, shape),
                "zero": np.zeros(shape),
                # Towards each neuron's threshold by the signs of the first layer's weights.
                "sides": np.sign(first_weights(network, name, random)) * np.ones(shape),
                "burst": np.where(np.arange(STEPS)[:, None] < STEPS // 2, -1.0, 1.0) * np.ones(shape),
            }[kind]
        out.append(x)
    return out


def first_weights(network: Network, name: str, random: np.random.Generator) -> np.ndarray:
    rows = [
        row
        for projection in network.projections
        if projection.source == name
        for operator in projection.taps.values()
        for row in expanded(operator, network.size(name)).toarray()
    ]
    return rows[random.integers(len(rows))] if rows else np.ones(network.size(name))


def check(network: Network, x: dict[str, np.ndarray], found: dict[str, module.Bounds], label: str) -> None:
    ours = run(network, x, [p.name for p in network.populations if p.kind != "sum"])
    for p in network.populations:
        b, sent = found[p.name], ours.sent[p.name]
        if p.spikes:
            assert not sent[:, b.never].any(), f"{label} {p.name}: a neuron fired that never fires"
            assert sent[:, b.always].all(), f"{label} {p.name}: a neuron was silent that always fires"
            assert not (b.never & b.always).any()
        slack = 1e-9 * (1 + np.abs(sent).max(initial=0.0))
        assert (sent >= b.messages[0] - slack).all() and (sent <= b.messages[1] + slack).all(), f"{label} {p.name}"
        if not isinstance(network, FixedNetwork):
            assert ours.ranges.current[p.name] <= b.current.max(initial=0.0) * (1 + 1e-9) + 1e-12
            assert ours.ranges.potential[p.name] <= b.potential.max(initial=0.0) * (1 + 1e-9) + 1e-12
            continue
        overflow = ours.overflow[p.name]
        assert isinstance(p, FixedPopulation)
        if p.kind == "sum":
            continue
        assert not overflow.wrapped or b.current.max() >= 2**23
        assert not overflow.saturated or b.potential.max() >= 2**23 - 1 or b.current.max() >= 2**23
        assert not overflow.accumulated or b.accumulated.max() > 2**31 - 1


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_no_input_of_random_graphs_breaks_them(first: int) -> None:
    said = 0
    for seed in range(first, first + 20):
        nir_graph, _ = random_graph(seed)
        network = lower(flatten(nir_graph))
        random = np.random.default_rng(seed)
        found = bounds(network, unit(network))
        inputs = extremes(network, random)
        for number, x in enumerate(inputs):
            check(network, x, found, f"seed {seed} input {number}")
        fixed = quantize(network, run(network, inputs[0]).ranges)
        in_integers = bounds(fixed, unit(network))
        for number, x in enumerate(inputs):
            check(fixed, x, in_integers, f"fixed, seed {seed} input {number}")
        said += sum(int((b.never | b.always).sum()) for b in found.values())
    assert said > 0


def neurons(nir_neurons: nir.NIRNode, weight: float, bias: float = 0.0) -> module.Bounds:
    """Bounds of neurons that each get weight x + bias, for x in [-1, 1]."""
    size = len(nir_neurons.r)
    affine = nir.Affine(weight=np.full((size, 1), weight), bias=np.full(size, bias))
    network = lower(flatten(chain(affine, nir_neurons)))
    found = bounds(network, unit(network))["lif_0"]
    fixed = quantize(network, run(network, {"input": constant(1.0)}).ranges)
    in_integers = bounds(fixed, unit(network))["lif_0"]
    for ours, exact in ((in_integers.never, found.never), (in_integers.always, found.always)):
        np.testing.assert_array_equal(ours, exact)
    return found


def test_leaky_neurons_never_fire_below_their_steady_state() -> None:
    assert neurons(lif(1, tau=8 * DT, v_threshold=0.95), 0.9).never.all()
    assert not neurons(lif(1, tau=8 * DT, v_threshold=0.95), 1.0).never.any()
    assert neurons(lif(1, tau=8 * DT, v_threshold=0.95, r=0.5), 1.7).never.all()
    # The bias adds to the drive, v_leak is where the neuron goes without any, and the sum is what counts.
    assert neurons(lif(1, tau=8 * DT, v_leak=0.5), 0.45).never.all()
    assert not neurons(lif(1, tau=8 * DT, v_leak=0.5), 0.45, bias=0.1).never.any()
    assert neurons(lif(1, tau=8 * DT, v_leak=-0.5), 1.4).never.all()


def test_a_reset_changes_nothing_for_a_neuron_that_never_fires() -> None:
    for v_reset in (-1.0, 0.5):
        found = neurons(lif(2, tau=4 * DT, v_threshold=[0.95, 0.85], v_reset=v_reset), 0.9)
        assert found.never.tolist() == [True, False]


def test_integrators_fire_in_the_end_unless_nothing_drives_them_up() -> None:
    integrators = nir.IF(np.ones(1), np.full(1, 100.0), np.zeros(1))
    assert not neurons(integrators, 0.01).never.any()
    assert neurons(integrators, 0.0).never.all()
    assert neurons(integrators, 0.5, bias=-0.6).never.all()


def test_synaptic_currents_filter_what_comes() -> None:
    def cuba(threshold: float) -> nir.CubaLIF:
        values = {"r": 1.0, "v_leak": 0.0, "v_reset": 0.0, "w_in": 1.0}
        arrays = {key: np.full(1, value) for key, value in values.items()}
        return nir.CubaLIF(
            tau_syn=np.full(1, 5 * DT), tau_mem=np.full(1, 3 * DT), v_threshold=np.full(1, threshold), **arrays
        )

    assert neurons(cuba(0.95), 0.9).never.all()
    assert not neurons(cuba(0.85), 0.9).never.any()


def test_always_is_every_step_from_the_first() -> None:
    # Without memory, the least drive is 3 - 1.
    assert neurons(lif(1, tau=DT), 1.0, bias=3.0).always.all()
    assert not neurons(lif(1, tau=DT), 1.0, bias=1.9).always.any()
    # dv = 1 / 2: a step after the reset the potential is half of the drive, 1.2 or .95.
    assert neurons(lif(1), 1.0, bias=3.4).always.all()
    assert not neurons(lif(1), 1.0, bias=2.9).always.any()
    # From v_reset = 0.5 on: .25 and half of the drive.
    assert neurons(lif(1, v_reset=0.5), 1.0, bias=3.2).always.all()


def test_by_subtraction_what_is_above_the_threshold_stays() -> None:
    def subtract(tau: float) -> nir.LIF:
        made = lif(1, tau=tau)
        made.metadata["reset"] = "subtract"
        return made

    # Of a drive of 1.5, dv = 1/2: w = .75 x, less 1 a spike; drives of 2 and more in every step.
    assert neurons(subtract(2 * DT), 0.5, bias=3.0).always.all()
    assert not neurons(subtract(2 * DT), 0.5, bias=2.0).always.any()
    assert neurons(subtract(4 * DT), 0.5, bias=0.4).never.all()


def test_what_is_said_of_a_layer_counts_in_the_next() -> None:
    silent, loud = lif(1, v_threshold=5.0), lif(1, tau=DT)
    after = lif(1, tau=DT, v_threshold=1.0)
    weight = nir.Linear(weight=np.full((1, 1), 2.0))
    loudly = nir.Affine(weight=np.ones((1, 1)), bias=np.full(1, 3.0))
    network = lower(flatten(chain(weight, silent, weight, after)))
    assert bounds(network, unit(network))["lif_1"].never.all()
    network = lower(flatten(chain(loudly, loud, weight, after)))
    assert bounds(network, unit(network))["lif_1"].always.all()


def test_thresholds_that_are_just_met_are_left_open() -> None:
    found = neurons_float(lif(1, tau=DT, v_threshold=1.0), 1.0)
    assert not found.never.any() and not found.always.any()


def test_no_neuron_that_rounding_takes_over_its_threshold_is_called_silent() -> None:
    """The steady state of these is their threshold, and some get above it by the last bit after hundreds of steps."""
    fired = 0
    for tau in (3.0, 5.0, 6.0, 10.75):
        for threshold in (0.7, 0.9, 1.0, 1.3):
            neuron = lif(1, tau=tau * DT, v_threshold=threshold)
            network = lower(flatten(chain(nir.Linear(weight=np.full((1, 1), threshold)), neuron)))
            spikes = run(network, {"input": np.ones((500, 1))}).sent["lif_0"]
            assert not (spikes.any() and bounds(network, unit(network))["lif_0"].never.any())
            fired += int(spikes.any())
    assert fired > 0


def neurons_float(nir_neurons: nir.NIRNode, weight: float) -> module.Bounds:
    network = lower(flatten(chain(nir.Linear(weight=np.full((1, 1), weight)), nir_neurons)))
    return bounds(network, unit(network))["lif_0"]


def test_slow_neurons_are_bounded_beyond_the_steps_that_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = lif(2, tau=1e5 * DT, v_threshold=[0.95, 0.85])
    for steps in (4, module.STEPS):
        monkeypatch.setattr(module, "STEPS", steps)
        network = lower(flatten(chain(nir.Linear(weight=np.full((2, 1), 0.9)), slow)))
        assert bounds(network, unit(network))["lif_0"].never.tolist() == [True, False]


def test_kronecker_products_are_bounded_without_writing_them_out() -> None:
    random = np.random.default_rng(0)
    left = sparse.csr_matrix(random.choice([0.0, 0.5, 1.0], (4, 3)))
    kron = Kron(left, random.normal(size=(2, 5)))
    fixed = quantize_kron(kron, 40.0)
    assert isinstance(fixed, FixedKron)
    for operator, low, high in ((kron, -0.5, 1.0), (fixed, -3, 7)):
        dense = expanded(operator, 0).toarray()
        positive, negative = signed_sums(operator)
        np.testing.assert_allclose(positive, np.maximum(dense, 0).sum(axis=1), atol=1e-12)
        np.testing.assert_allclose(negative, np.minimum(dense, 0).sum(axis=1), atol=1e-12)
        ends = np.full(15, low), np.full(15, high)
        for ours, exact in zip(product(operator, *ends), product(expanded(operator, 0), *ends), strict=True):
            np.testing.assert_allclose(ours, exact, atol=1e-12)


def test_registers_bounds_are_those_of_the_worst_input() -> None:
    network = lower(flatten(chain(*relay(1))))
    fixed = quantize(network, run(network, {"input": constant(1.0)}).ranges)
    found = bounds(fixed, unit(network))["lif_0"]
    # The sum is rounded down, so the least is a unit further from 0 than the largest.
    assert found.current[0] == -int(found.drive[0][0]) << ALIGNMENT


def test_by_subtraction_an_integrator_is_bounded_as_long_as_a_spike_takes_what_comes() -> None:
    def potential(weight: float) -> float:
        integrator = nir.IF(np.ones(1), np.ones(1), np.zeros(1), metadata={"reset": "subtract"})
        network = lower(flatten(chain(nir.Linear(weight=np.full((1, 1), weight)), integrator)))
        return float(bounds(network, {"input": (np.zeros(1), np.ones(1))})["lif_0"].potential[0])

    assert potential(0.75) <= 1.75  # The threshold, and what a step brings.
    assert potential(1.25) == np.inf


@pytest.mark.parametrize(("weight", "level"), [(0.012, 1.0), (0.75, 1.74), (1.5, 51.0)])
def test_by_subtraction_the_level_of_a_current_that_rises_slowly_is_bounded(weight: float, level: float) -> None:
    """The current rises for longer than the bounds follow it; without spikes the levels would be 1.2, 75 and 150."""
    slow = nir.CubaLIF(
        tau_syn=np.full(1, 3000 * DT),
        tau_mem=np.full(1, 100 * DT),
        r=np.full(1, 100.0),
        v_leak=np.zeros(1),
        v_threshold=np.ones(1),
        w_in=np.ones(1),
        metadata={"reset": "subtract"},
    )
    network = lower(flatten(chain(nir.Linear(weight=np.full((1, 1), weight)), slow)))
    bound = float(bounds(network, {"input": (np.zeros(1), np.ones(1))})["lif_0"].potential[0])
    seen = run(network, {"input": np.ones((20_000, 1))}).ranges.potential["lif_0"]
    assert seen <= bound
    assert bound == pytest.approx(level, rel=0.01)
