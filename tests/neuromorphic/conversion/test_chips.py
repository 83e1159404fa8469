"""Cores and memory, against counting neuron by neuron."""

from __future__ import annotations

from dataclasses import replace

import nir
import numpy as np
import pytest
from scenarios import DT, chain, lif

from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.quantize import FixedProjection, quantize, synapse_groups
from neuromorphic.compiler.schedule import schedule
from neuromorphic.conversion.chips import CHIPS, Limit, axon_bits, place
from neuromorphic.execution.populations import run
from neuromorphic.graph import flatten

CHIP = CHIPS["loihi2"]


def network(weight: np.ndarray) -> Network:
    return lower(flatten(chain(nir.Linear(weight), lif(len(weight)))))


def placed(own: Network, **limits: int) -> object:
    chip = replace(CHIP, **{name: Limit(value, "made up") for name, value in limits.items()})
    return place(own, schedule(own), chip)["lif_0"]


def test_every_limit_has_a_source() -> None:
    for chip in CHIPS.values():
        assert set(chip.limits()) >= {"neurons", "axons", "memory", "cores", "delay"}
        assert all(limit.source for limit in chip.limits().values())


def test_memory_is_that_of_blocks_of_64_synapses_in_words() -> None:
    # 8 bits a weight: 64 take 522 bits with their head, 9 words; 36 more 298, 5 words.
    assert axon_bits(np.array([0, 1, 64, 100]), np.full(4, 8)).tolist() == [0, 64, 9 * 64, 14 * 64]
    own = placed(network(np.ones((100, 3))))
    assert own.memory == 3 * 14 * 8 and own.synapses == 300 and own.axons == own.largest_fan_in == 3


def test_indices_and_delays_take_bits() -> None:
    sparse = np.ones((100, 3))
    sparse[5, 1] = 0
    # 7 bits more for each of 64, and of 36 or 35.
    assert placed(network(sparse)).memory == sum(axon_bits(np.array([100, 99, 100]), np.full(3, 15))) // 8
    nodes = {"input": nir.Input(np.array([3])), "delay": nir.Delay(DT * np.arange(3.0)), "lif_0": lif(3)}
    nodes["output"] = nir.Output(np.array([3]))
    edges = [("input", "delay"), ("delay", "lif_0"), ("lif_0", "output")]
    own = placed(lower(flatten(nir.NIRGraph(nodes, edges, metadata={"dt": DT}))))
    assert own.synapses == own.axons == 3 and own.memory == 3 * 8


@pytest.mark.parametrize("limit, value", [("neurons", 7), ("axons", 9), ("memory", 60)])
def test_cores_are_filled_up_to_each_limit(limit: str, value: int) -> None:
    random = np.random.default_rng(0)
    weight = random.normal(size=(40, 30)) * (random.random((40, 30)) < 0.1)
    own = placed(network(weight), **{limit: value})
    cores: list[list[int]] = [[]]
    for neuron in range(40):
        if cores[-1] and not fits(weight, [*cores[-1], neuron], limit, value):
            cores.append([])
        cores[-1].append(neuron)
    assert own.cores == len(cores) > 1
    assert own.because == limit


def fits(weight: np.ndarray, neurons: list[int], limit: str, value: int) -> bool:
    rows = weight[neurons] != 0
    if limit == "neurons":
        return len(neurons) <= value
    if limit == "axons":
        return int(rows.any(axis=0).sum()) <= value
    return int(axon_bits(rows.sum(axis=0), np.full(30, 8 + 6)).sum()) <= 8 * value


def test_a_source_takes_an_axon_for_each_exponent_of_its_weights() -> None:
    own = network(np.array([[1.0, 1.0], [1e-3, 1.0]]))
    fixed = quantize(own, run(own, {"input": np.eye(2)[np.arange(8) % 2]}).ranges)
    (projection, _) = fixed.projections
    assert isinstance(projection, FixedProjection) and len(synapse_groups(projection)) == 2
    found = placed(fixed)
    assert found.axons == 3 and found.synapses == 4 and found.largest_fan_in == 2
