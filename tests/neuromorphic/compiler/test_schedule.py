"""Lags: worked by hand for the topologies that need thought."""

from __future__ import annotations

import nir
import numpy as np
from scenarios import DT, lif

from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.schedule import Schedule, schedule
from neuromorphic.graph import flatten


def plan(edges: str, **nodes: nir.NIRNode) -> Schedule:
    """A schedule; ``edges`` are "a-b b-c", x is an input, y an output, all other nodes are one LIF neuron each."""
    pairs = [tuple(edge.split("-")) for edge in edges.split()]
    names = dict.fromkeys(name for pair in pairs for name in pair)
    made: dict[str, nir.NIRNode] = {}
    for name in names:
        made[name] = (
            {"x": nir.Input(np.array([1])), "y": nir.Output(np.array([1]))}.get(name) or nodes.get(name) or lif(1)
        )
    return schedule(lower(flatten(nir.NIRGraph(made, pairs, metadata={"dt": DT}, type_check=False))))


def test_a_chain_lags_by_its_synapses() -> None:
    ours = plan("x-a a-b b-y")
    assert ours.lags == {"x": 0, "a": 1, "b": 2, "y": 2}
    assert ours.direct == {("b", "y")} and not ours.instant and ours.longest == 2


def test_a_skip_waits_for_the_longer_path() -> None:
    ours = plan("x-a a-b x-b b-y")
    assert ours.waits["x", "b"] == {0: 1} and ours.waits["a", "b"] == {0: 0}


def test_a_self_loop_takes_the_one_step_that_its_synapse_takes() -> None:
    ours = plan("x-a a-a a-y")
    assert ours.waits["a", "a"] == {1: 0} and not ours.instant


def test_a_delay_pays_for_latency() -> None:
    ours = plan("x-a a-d d-b b-y", d=nir.Delay(np.array([3 * DT])))
    # The message may take three steps: b need not lag behind a at all, and is in step with what comes first.
    assert ours.lags["b"] == 0 and ours.waits["a", "b"] == {3: 1}


def test_two_populations_that_read_each_other_have_a_step_for_each_synapse() -> None:
    ours = plan("x-a a-b b-a b-y")
    assert not ours.instant and ours.lags == {"x": 0, "a": 1, "b": 1, "y": 1}
    assert ours.waits["a", "b"] == ours.waits["b", "a"] == {1: 0}
    three = plan("x-a a-b b-c c-a a-c c-y")
    assert not three.instant and three.lags["a"] == three.lags["b"] == three.lags["c"] == 1


def test_a_delay_of_fewer_steps_than_the_loop_has_synapses_needs_one_without_latency() -> None:
    # b reads a within a step, a reads b after one: two synapses in one step.
    ours = plan("x-a a-b b-d d-a b-y", d=nir.Delay(np.array([DT])))
    assert ours.instant == {("a", "b")}
    assert ours.lags["a"] == ours.lags["b"] == 1
    assert ours.waits["a", "b"] == {0: 0} and ours.waits["b", "a"] == {1: 0}
    # Beside a way without a delay the same Delay changes nothing: the two are updated together.
    assert not plan("x-a a-b b-d b-a d-a b-y", d=nir.Delay(np.array([DT]))).instant


def test_a_delay_in_a_loop_leaves_time_for_stock_synapses() -> None:
    ours = plan("x-a a-b b-d d-a b-y", d=nir.Delay(np.array([2 * DT])))
    assert not ours.instant and ours.waits["b", "a"] == {2: 0}


def test_an_output_that_sums_lags_by_its_synapses() -> None:
    ours = plan("x-a x-b a-y b-y")
    assert ours.lags["y"] == 2 and not ours.direct
