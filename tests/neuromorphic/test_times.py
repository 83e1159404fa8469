"""Times in seconds, in float32 as in float64: what is the same but for rounding is the same, all else is refused."""

from __future__ import annotations

from itertools import pairwise

import nir
import numpy as np
import pytest
from numpy.typing import NDArray
from scenarios import lif

from neuromorphic.backends import simulate
from neuromorphic.compiler.lower import lower
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph import flatten, time_step
from neuromorphic.graph.times import TIME_TOLERANCE

DT = 1e-4
TYPES = [np.float32, np.float64]


def chain(*nodes: nir.NIRNode, size: int = 1, **metadata: object) -> nir.NIRGraph:
    named = {"input": nir.Input(np.array([size])), **{f"node_{k}": node for k, node in enumerate(nodes)}}
    named["output"] = nir.Output(np.array([size]))
    return nir.NIRGraph(named, list(pairwise(named)), metadata=metadata)


def timed(tau: object) -> nir.LIF:
    """A neuron with this tau; its potential is what comes, where that is dt."""
    node = lif(1, tau=1.0)
    node.tau, node.metadata = np.array([tau]), {}
    return node


def spikes(graph: nir.NIRGraph, dt: object, x: NDArray, backend: str) -> list[bool]:
    (record,) = simulate(flatten(graph, dt), {"input": x}, backend).record.spikes.values()
    return record.reshape(-1).tolist()


@pytest.mark.parametrize("backend", ["numpy", "torch", pytest.param("lava", marks=pytest.mark.lava)])
def test_a_time_constant_of_one_step_is_one_step_in_either_type(backend: str) -> None:
    # Exactly the threshold is no spike. With dt / tau = 1.00000003 it would be one, and Lava could not say that.
    x = np.array([1.0, 1.0, np.nextafter(1.0, 2.0), 0.0, 1.0]).reshape(1, -1, 1)
    for tau, dt in ((np.float32(DT), DT), (DT, np.float32(DT)), (np.float32(DT), np.float32(DT))):
        assert spikes(chain(timed(tau)), dt, x, backend) == [False, False, True, False, False]


def test_a_time_constant_that_is_shorter_than_a_step_is_refused_still() -> None:
    for key in ("tau", "tau_mem", "tau_syn"):
        for factor, fits in ((1 - 0.9 * TIME_TOLERANCE, True), (1 - 1.1 * TIME_TOLERANCE, False)):
            times = {"tau_mem": np.array([2 * DT]), "tau_syn": np.array([2 * DT])} if key != "tau" else {}
            times[key] = np.array([factor * DT])
            one, none = np.ones(1), np.zeros(1)
            kind = nir.LIF if key == "tau" else nir.CubaLIF
            node = kind(**times, r=one, v_leak=none, v_threshold=one, v_reset=none)
            graph = flatten(chain(node), DT)
            if fits:
                assert lower(graph).population("node_0").size == 1
                assert graph.nodes["node_0"].parameters[key] == DT
            else:
                with pytest.raises(UnsupportedGraphError, match=f"'node_0': {key} must be at least dt"):
                    lower(graph)


def delays(seconds: object, dt: object) -> list[float]:
    seconds = np.atleast_1d(np.asarray(seconds))
    graph = flatten(chain(nir.Delay(seconds), size=len(seconds)), dt)
    return graph.nodes["node_0"].parameters["delay"].tolist()


STEPS = [0, 1, 3, 7, 999, 10_000, 10_001, 123_457, 2**20 - 1]


@pytest.mark.parametrize("step_type", TYPES)
@pytest.mark.parametrize("dt", [DT, 1e-3, 5e-3, 1 / 3])
def test_delays_of_any_length_may_be_float32(dt: float, step_type: type) -> None:
    rounded = step_type(dt)
    for seconds in (
        np.array(STEPS, np.float32) * np.float32(dt),  # two roundings beside dt's
        (np.array(STEPS) * dt).astype(np.float32),
        np.array(STEPS) * dt,
        (np.array(STEPS) * dt * 1e3).astype(np.float32) / np.float32(1e3),  # from milliseconds
    ):
        assert delays(seconds, rounded) == STEPS


@pytest.mark.parametrize("steps", [0, *STEPS])
def test_what_is_no_multiple_is_refused(steps: int) -> None:
    for off in (0.3, -0.3, 0.5, max(1.1 * TIME_TOLERANCE * max(steps, 1), 0.01)):
        with pytest.raises(UnsupportedGraphError, match="'node_0': delays must be whole multiples of dt"):
            delays((steps + off) * DT, DT)
    if steps < 10**5:  # Float64 itself is off at the edge of what is longer.
        with pytest.raises(UnsupportedGraphError, match="'node_0': delays must be whole multiples of dt"):
            delays((steps + 1.1 * TIME_TOLERANCE * max(steps, 1)) * DT, DT)
        assert delays((steps + 0.9 * TIME_TOLERANCE * max(steps, 1)) * DT, DT) == [steps]


def test_a_step_in_metadata_may_be_float32_beside_float64() -> None:
    for first, second in ((np.float32(DT), DT), (DT, np.float32(DT)), (np.array([DT], np.float32), np.array(DT))):
        nodes = lif(1), lif(1)
        for node, dt in zip(nodes, (first, second), strict=True):
            node.metadata["dt"] = dt
        assert time_step(chain(*nodes)) == DT  # the one that is not rounded, in either order
        nodes[1].metadata["dt"] = DT * (1 + 1.1 * TIME_TOLERANCE)
        with pytest.raises(UnsupportedGraphError, match="differ in metadata 'dt': "):
            time_step(chain(*nodes))
