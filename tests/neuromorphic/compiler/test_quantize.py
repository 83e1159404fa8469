"""Fixed-point networks: numbers fit their registers, values come back, and the integers do what the floats do."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import nir
import numpy as np
import pytest
from scenarios import DT, SCENARIOS, Scenario, chain, constant, impulse, lif, reference_spikes, relay
from scipy import sparse

from neuromorphic.backends import Simulation, simulate
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Levels, Network
from neuromorphic.compiler.operators import FixedKron, Kron, Repeated, expanded
from neuromorphic.compiler.quantize import (
    ACTIVATION_LIMIT,
    FINE_THRESHOLD,
    WEIGHT_EXPONENTS,
    FixedNetwork,
    FixedPopulation,
    FixedProjection,
    bias_sent,
    exponents_of,
    group_of,
    quantize,
    quantize_projection,
    reaches,
    round_weights,
    synapse_exponents,
    synapse_groups,
)
from neuromorphic.conversion.bounds import bounds
from neuromorphic.execution.populations import run
from neuromorphic.graph import flatten


def quantized(graph: nir.NIRGraph, x: np.ndarray) -> tuple[Network, FixedNetwork]:
    network = lower(flatten(graph))
    return network, quantize(network, run(network, {"input": x}).ranges)


def single(node: nir.NIRNode, x: np.ndarray, reset: str | None = None) -> tuple[Simulation, Simulation]:
    """One neuron on an input of shape (T,), in float and in fixed point."""
    nodes = {"input": nir.Input(np.array([1])), "n": node, "output": nir.Output(np.array([1]))}
    graph = flatten(nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": DT}, type_check=False), reset=reset)
    inputs = {"input": np.asarray(x, np.float64).reshape(1, -1, 1)}
    return simulate(graph, inputs), simulate(graph, inputs, "numpy", "fixed")


def of(value: float) -> np.ndarray:
    return np.full(1, float(value))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_numbers_fit_their_registers_whatever_comes(scenario: Scenario) -> None:
    network, fixed = quantized(scenario.graph, scenario.x)
    for population in fixed.populations:
        assert isinstance(population, FixedPopulation)
        assert population.threshold.min() >= 0 and population.threshold.max() <= ACTIVATION_LIMIT
        assert population.du.min() >= 1 and population.du.max() <= 4096
        assert (population.dv.min() >= 0 and population.dv.max() <= 4095) or population.kind == "sum"
        for projection in fixed.into(population.name):
            assert isinstance(projection, FixedProjection)
            if population.spikes:
                for exponent, taps in synapse_groups(projection).items():
                    assert exponent in WEIGHT_EXPONENTS
                    for weights in taps.values():
                        assert np.abs(weights.data).max(initial=0) <= 254 and not (weights.data % 2).any()
    span = scenario.x.min(initial=0.0), scenario.x.max(initial=0.0)
    ends = {"input": tuple(np.full(network.size("input"), end) for end in span)}
    for name, found in bounds(fixed, ends).items():
        fits = found.current.max() < 2**23 and found.potential.max() < 2**23 and found.accumulated.max() < 2**31
        # What does not fit whatever comes would have taken the threshold's last bits.
        assert fits or np.median(fixed.population(name).threshold) <= FINE_THRESHOLD
    assert not any(count.any for count in run(fixed, {"input": scenario.x}).overflow.values())


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_values_come_back(scenario: Scenario) -> None:
    network, fixed = quantized(scenario.graph, scenario.x)
    for ours, exact in zip(fixed.projections, network.projections, strict=True):
        assert isinstance(ours, FixedProjection)
        target = fixed.population(ours.target)
        assert isinstance(target, FixedPopulation)
        unit = (target.scale / fixed.message_scale.get(ours.source, 1.0) / 2.0**ours.weight_exp)[:, None]
        back = expanded(ours.taps[0], 0).toarray() / unit
        weights = expanded(exact.taps[0], 0).toarray()
        assert (np.abs(back - weights) <= 1.001 * np.abs(weights).max() / 127).all()
    for ours, exact in zip(fixed.populations, network.populations, strict=True):
        assert isinstance(ours, FixedPopulation)
        if ours.kind == "sum":
            continue
        np.testing.assert_allclose(ours.threshold / ours.scale, exact.threshold, atol=0.501 / ours.scale.min())
        np.testing.assert_allclose(
            ours.bias.values / 64 / ours.scale, exact.bias.values, atol=0.501 / 64 / ours.scale.min()
        )
        np.testing.assert_allclose(ours.dv / 4096, exact.dv, atol=1.001 / 4096)


def test_numbers_that_can_be_exact_are() -> None:
    weight = np.array([[1.0, -0.5, 0.25], [3.0, 0.0, -1.25]])
    graph = chain(nir.Affine(weight=weight, bias=np.array([0.5, -0.25])), nir.IF(np.ones(2), np.ones(2), np.zeros(2)))
    _, fixed = quantized(graph, np.eye(3)[np.arange(24) % 3])
    report = fixed.report()["lif_0"]
    assert report["weight_error"] == report["threshold_error"] == report["bias_error"] == 0
    # Tenths are no powers of two, but multiples of one weight can all be exact.
    graph = chain(nir.Linear(weight=np.full((1, 4), 0.1)), nir.IF(np.ones(1), np.full(1, 0.1 * 64), np.zeros(1)))
    _, fixed = quantized(graph, np.ones((24, 4)))
    assert fixed.report()["lif_0"]["weight_error"] < 1e-9


def test_each_weight_has_the_exponent_of_its_own_size() -> None:
    random = np.random.default_rng(0)
    weight = sparse.csr_matrix(random.normal(size=(20, 30)) * 10.0 ** random.uniform(-2, 0, (20, 30)))
    network = lower(flatten(chain(nir.Linear(weight=weight.toarray()), nir.IF(np.ones(20), np.ones(20), np.zeros(20)))))
    (projection,) = network.into("lif_0")
    scale = np.full(20, 4000.0)
    fixed, error = quantize_projection(projection, scale, np.array(1.0), whole=True)
    one, coarse = quantize_projection(projection, scale, np.array(1.0), whole=True, groups=1)
    exact = expanded(projection.taps[0], 0).toarray() * scale[:, None]

    def off(made: FixedProjection) -> np.ndarray:
        return np.abs(made.taps[0].toarray() * 2.0 ** made.weight_exp[:, None] - exact).sum(axis=1)

    assert len(synapse_groups(fixed)) > 3 and len(synapse_groups(one)) == 1
    assert off(fixed).max() < 0.5 * off(one).max() and error <= coarse
    # Together the groups are the projection, each in 8 bits.
    total = sum(taps[0].toarray() * 2.0**exponent for exponent, taps in synapse_groups(fixed).items())
    np.testing.assert_array_equal(total, fixed.taps[0].toarray() * 2.0 ** fixed.weight_exp[:, None])
    assert (fixed.weight_exp >= -1).all()  # So no sum is rounded.


def test_weights_of_graded_messages_have_the_exponent_of_their_neuron() -> None:
    weight = np.array([[1.0, -0.5], [1e-3, 2e-3]])
    neurons = nir.IF(np.ones(2), np.array([4.0, 4e-3]), np.zeros(2))
    network = lower(flatten(chain(nir.Linear(weight=weight), neurons)))
    (projection,) = network.into("lif_0")
    fixed, _ = quantize_projection(projection, np.full(2, 1e5), np.array(1 / 100), whole=False)
    assert fixed.weight_exp[1] < fixed.weight_exp[0]
    back = fixed.taps[0].toarray() * 2.0 ** fixed.weight_exp[:, None] / 1e3
    np.testing.assert_allclose(back, weight, rtol=0.01)


def test_rounding_of_weights_by_hand() -> None:
    units = np.array([0.0, 254.0, 255.0, -508.0, 3.0, 0.4])
    assert exponents_of(units)[1:4].tolist() == [0, 1, 1]
    np.testing.assert_array_equal(
        round_weights(units, np.array([0, 0, 1, 1, 0, -2])), [0.0, 254.0, 256.0, -508.0, 4.0, 0.5]
    )
    assert round_weights(np.array([300.0]), np.array([0]))[0] == 254  # Clipped.
    assert group_of(np.array([254, 256, 0, -1016]), 1).tolist() == [1, 2, 1, 3]


@pytest.mark.parametrize("level", [0, 1, 63, 64, -1, -100, 12345])
def test_a_bias_sent_in_whole_units_adds_up(level: int) -> None:
    sent = np.array([bias_sent(np.array([level]), t)[0] for t in range(500)])
    total = np.cumsum(sent)
    assert np.abs(total - level * np.arange(1, 501) / 64).max() < 1
    assert sent.max() - sent.min() <= 1


def test_weights_tiny_beside_the_threshold_keep_the_exponent_in_range() -> None:
    graph = chain(nir.Linear(weight=np.full((1, 1), 1e-7)), lif(1), nir.Linear(weight=np.full((1, 1), 1e-7)), lif(1))
    _, fixed = quantized(graph, impulse(0, 1.0))
    for projection in fixed.projections:
        assert isinstance(projection, FixedProjection)
        assert set(synapse_groups(projection)) <= set(WEIGHT_EXPONENTS)
    assert all(population.threshold.max() <= ACTIVATION_LIMIT for population in fixed.populations)


@pytest.mark.parametrize(
    ("node", "steps", "expected"),
    [
        (nir.LI(of(20 * DT), of(1), of(0)), 300, 1.0),
        (nir.LI(of(100 * DT), of(1), of(0)), 300, 0.951),
        (nir.LI(of(1000 * DT), of(1), of(0)), 300, 0.259),
        (nir.CubaLI(of(5 * DT), of(50 * DT), of(1), of(0), of(1)), 300, 0.998),
        (nir.I(of(1)), 300, 300.0),
        (nir.I(of(-0.01)), 3000, -30.0),
    ],
    ids=["LI 20", "LI 100", "LI 1000", "CubaLI", "I", "I slow"],
)
def test_there_is_room_for_what_the_membrane_adds_up(node: nir.NIRNode, steps: int, expected: float) -> None:
    """A constant 1. The scale used to be chosen for the current alone, a small part of what the potential becomes."""
    exact, fixed = single(node, np.ones(steps))
    ours, theirs = fixed.record.outputs["output"][0, :, 0], exact.record.outputs["output"][0, :, 0]
    assert theirs[-1] == pytest.approx(expected, rel=2e-3)
    np.testing.assert_allclose(ours, theirs, atol=0.005 * np.abs(theirs).max())
    assert not fixed.overflow


def test_an_integrator_keeps_what_inhibition_took() -> None:
    x = np.concatenate([-np.ones(20), np.ones(40)])
    exact, fixed = single(nir.IF(of(1), of(1), of(0)), x)
    np.testing.assert_array_equal(fixed.record.spikes["n"], exact.record.spikes["n"])
    assert exact.record.spikes["n"][0, :, 0].argmax() == 41 and not fixed.overflow


def check_subtraction(steps: int, *drives: float) -> None:
    """Integrators on constant drives, each in a run of its own, as a batch shares one scale."""
    for drive in drives:
        exact, fixed = single(nir.IF(of(1), of(1), of(0)), np.full(steps, drive), "subtract")
        theirs, ours = (run.record.spikes["n"][0, :, 0] for run in (exact, fixed))
        # Of spikes once in so many steps the first may come one step earlier or later; 16 bits of the input drift.
        assert abs(int(ours.sum()) - int(theirs.sum())) <= 1 + 3e-5 * steps, drive
        assert ours[-steps // 10 :].any() == (drive > 0), drive


def test_reset_by_subtraction_goes_on() -> None:
    check_subtraction(5_000, 1.1, 0.3, 0.9999, -0.2)


@pytest.mark.slow
def test_reset_by_subtraction_goes_on_for_a_million_steps() -> None:
    check_subtraction(10**6, 1.1, 0.3)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_bias_moves_an_integrator_no_further_than_it_says(reset: str) -> None:
    """A bias of less than half a unit, rounded to one, would never make it fire, and others fire at another rate."""
    for bias in (0.0007, 0.0131, 0.317):
        graph = chain(
            nir.Affine(np.full((2, 1), 20.0), np.array([bias, -bias])), nir.IF(*(np.ones(2),) * 2, np.zeros(2))
        )
        flat = flatten(graph, reset=reset)
        x = {"input": np.zeros((1, 3000, 1))}
        x["input"][0, :10] = -1.0
        exact, fixed = simulate(flat, x), simulate(flat, x, "numpy", "fixed")
        theirs, ours = (run.record.spikes["lif_0"].sum(axis=(0, 1)) for run in (exact, fixed))
        assert (np.abs(ours - theirs) <= 1 + 0.002 * theirs).all(), bias


def test_decays_that_registers_round_leave_the_end_where_it_is() -> None:
    """4096 / 700 is no whole number: 2.5 % of tau. What is constant ends, and what is short begins, as in float."""
    for steps, tolerance in ((6_000, 1e-3), (50, 1e-3)):
        exact, fixed = single(nir.LI(of(700 * DT), of(1), of(0.5)), np.ones(steps))
        ours, theirs = (run.record.outputs["output"][0, -1, 0] for run in (fixed, exact))
        assert ours == pytest.approx(theirs, rel=tolerance)


def test_reports_clipped_decays_and_counts_saturation() -> None:
    weight = np.array([[-4.0, -4.0], [1.0, 1.0]])
    graph = chain(nir.Linear(weight=weight), lif(2, tau=[DT, 1e5 * DT]))
    _, fixed = quantized(graph, np.ones((24, 2)))
    assert fixed.report()["lif_0"]["decay_clipped"] == 2
    # Chosen for 24 steps, -8 a step for ever fits no register.
    integrators = nir.IF(np.ones(2), np.ones(2), np.zeros(2))
    _, fixed = quantized(chain(nir.Linear(weight=weight), integrators), np.ones((24, 2)))
    assert not run(fixed, {"input": np.ones((24, 2))}).overflow["lif_0"].any
    overflow = run(fixed, {"input": np.ones((2400, 2))}).overflow["lif_0"]
    assert overflow.saturated > 0 and not overflow.wrapped


def test_reaches_hold_for_the_worst_input() -> None:
    """Against the float run of the inputs that are worst for one neuron, of every kind of population."""
    for neurons, reset in (
        (lif(1, tau=5 * DT), "zero"),
        (lif(1, tau=5 * DT), "subtract"),
        (nir.LI(of(5 * DT), of(1), of(0.25)), "zero"),
    ):
        network = lower(flatten(chain(nir.Linear(np.array([[3.0, -2.0]])), neurons), reset=reset))
        for x in (constant(1.0, 0.0), constant(0.0, 1.0)):
            x = np.tile(x, (20, 1))
            seen = run(network, {"input": x}, ["lif_0"])
            mixed = run(network, {"input": np.tile(constant(1.0, 1.0), (20, 1))}).ranges
            reach = reaches(network, mixed)["lif_0"]
            peak = seen.peaks["lif_0"]
            assert reach.low - 1e-12 <= peak.min() and peak.max() <= reach.high + 1e-12
            # Not idle: what is worst comes within a third of it.
            end = peak.max() / reach.high if x[0, 0] else peak.min() / reach.low
            assert end > 0.67


def test_integrators_that_nothing_takes_down_are_bounded() -> None:
    network = lower(flatten(chain(nir.Linear(np.ones((1, 3))), nir.IF(of(1), of(2), of(0)))))
    reach = reaches(network, run(network, {"input": np.ones((4, 3))}).ranges)["lif_0"]
    assert reach.low == 0 and reach.high == 5  # The threshold, and three more.
    signed = run(network, {"input": -np.ones((4, 3))}).ranges
    assert reaches(network, signed)["lif_0"].low == -np.inf


def test_most_spikes_are_those_of_float() -> None:
    for name, scenario in SCENARIOS.items():
        if name.startswith("random"):
            _, fixed = quantized(scenario.graph, scenario.x)
            ours = run(fixed, {"input": scenario.x}).sent
            for layer, spikes in reference_spikes(scenario.graph, scenario.x).items():
                assert (ours[layer] == spikes).mean() > 0.97


def test_a_bias_of_levels_is_sent_level_by_level() -> None:
    network = lower(flatten(chain(*relay(1))))
    fixed = quantize(network, run(network, {"input": constant(1.0)}).ranges)
    (p, *_) = fixed.populations
    levels = Levels((0, 3), np.array([[96], [-64]]))
    sent = [int(bias_sent(levels.at(t), t)[0]) for t in range(6)]
    assert sent == [1, 2, 1, -1, -1, -1] and p.kind == "lif"


def test_thresholds_of_all_sizes_fit() -> None:
    """Most are tiny beside the largest, which has to fit its register all the same."""
    thresholds = np.array([1e-3, 2e-3, 3e-3, 50.0])
    graph = chain(nir.Linear(np.full((4, 1), 0.5)), nir.IF(np.ones(4), thresholds, np.zeros(4)))
    _, fixed = quantized(graph, constant(1.0))
    assert fixed.population("lif_0").threshold.max() <= ACTIVATION_LIMIT


def relative_errors(network: Network, fixed: FixedNetwork, source: str, target: str) -> np.ndarray:
    """Of the weights from a source that sends numbers, shape (M, n)."""
    exact, ours = (
        next(q for q in own.projections if q.source == source and q.target == target) for own in (network, fixed)
    )
    unit = 1 / fixed.message_scale[source] if source in fixed.inputs else fixed.message_unit(fixed.population(source))
    scale = fixed.population(target).scale[:, None]  # type: ignore[attr-defined]
    back = expanded(ours.taps[0], 0).toarray() * 2.0 ** ours.weight_exp[:, None] / scale / unit  # type: ignore[attr-defined]
    weights = expanded(exact.taps[0], 0).toarray()
    return np.abs(back - weights) / np.abs(weights)


def test_small_weights_of_numbers_keep_their_bits_as_messages_give_theirs() -> None:
    """No exponent is below -8: messages of all 16 bits would leave a weight that is 200 times smaller one bit."""
    x = np.random.default_rng(0).random((24, 1))
    network, fixed = quantized(chain(nir.Linear(np.array([[1.0], [5e-3]])), lif(2, tau=DT)), x)
    assert relative_errors(network, fixed, "input", "lif_0").max() < 0.01
    nodes = {
        "input": nir.Input(np.array([1])),
        "li": nir.LI(of(5 * DT), of(1), of(0)),
        "small": nir.Linear(of(3e-3)[None]),
    }
    nodes |= {"lif": lif(1, tau=DT), "output": nir.Output(np.array([1]))}
    network, fixed = quantized(nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": DT}, type_check=False), x)
    assert fixed.population("li").message_shift > 8  # type: ignore[attr-defined]
    assert relative_errors(network, fixed, "li", "lif").max() < 0.01


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_exponents_are_those_of_the_groups(scenario: Scenario) -> None:
    for projection in quantized(scenario.graph, scenario.x)[1].projections:
        if isinstance(projection, FixedProjection) and not projection.host:
            assert synapse_exponents(projection) == sorted(synapse_groups(projection))


def test_a_report_expands_no_kronecker_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs of 100 photographs took 17 GB for a line of the report."""
    random = np.random.default_rng(0)
    weights = random.choice([-1016, -254, 0, 6, 254], (2, 3, 4)).astype(np.int32)
    kron = FixedKron(sparse.csr_matrix(([0, 1, 0], [0, 1, 1], [0, 2, 3])), weights)
    for operator, rows in ((kron, 6), (Repeated(kron, 3), 18)):
        projection = FixedProjection("a", "b", {0: operator}, weight_exp=np.full(rows, 2, np.int32))
        expected = sorted(synapse_groups(projection))
        assert len(expected) == 2
        with monkeypatch.context() as patched:
            patched.setattr(FixedKron, "expand", lambda _: pytest.fail("expanded"))
            patched.setattr(Repeated, "expand", lambda _: pytest.fail("expanded"))
            assert synapse_exponents(projection) == expected


def test_weights_that_share_an_exponent_have_all_of_its_bits() -> None:
    random = np.random.default_rng(0)
    network = lower(flatten(chain(*relay(6), nir.Linear(np.eye(6)), lif(6, v_threshold=7.0))))
    kron = Kron(sparse.csr_matrix(np.array([[0.3, 0.7], [0.0, 0.9]])), random.normal(size=(3, 3)))
    projections = tuple(replace(q, taps={0: kron}) if q.target == "lif_1" else q for q in network.projections)
    network = replace(network, projections=projections)
    fixed = quantize(network, run(network, {"input": np.ones((24, 6))}).ranges)
    (projection,) = fixed.into("lif_1")
    assert np.abs(expanded(projection.taps[0], 0).data).max() == 254
