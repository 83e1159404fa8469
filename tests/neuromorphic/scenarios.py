"""Small networks, each about one thing that a back end may get wrong, with the input that brings it out.

All have three layers and the same number of steps, so that one Lava run can take them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import nir
import numpy as np
from numpy.typing import NDArray

from neuromorphic.execution.reference import simulate
from neuromorphic.graph import flatten
from neuromorphic.nir_file import build

DT = 1e-4
STEPS = 24


@dataclass(frozen=True)
class Scenario:
    """A network and its input, shape (T, n)."""

    name: str
    graph: nir.NIRGraph
    x: NDArray[np.float64]


def lif(size: int, **parameters: object) -> nir.LIF:
    """LIF neurons; by default those of the encoder."""
    values = {"tau": 2 * DT, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | parameters
    arrays = {key: np.broadcast_to(np.asarray(value, np.float64), size).copy() for key, value in values.items()}
    return build({"type": "LIF", **arrays, "metadata": {"dt": DT, "reset": "zero"}})


def chain(*nir_nodes: nir.NIRNode) -> nir.NIRGraph:
    """input -> nodes -> output."""
    size_in, size_out = nir_nodes[0].weight.shape[1], len(nir_nodes[-1].r)
    nodes = {"input": nir.Input({"input": np.array([size_in])})}
    for k, (synapses, neurons) in enumerate(zip(nir_nodes[::2], nir_nodes[1::2], strict=True)):
        nodes |= {f"affine_{k}": synapses, f"lif_{k}": neurons}
    nodes["output"] = nir.Output({"output": np.array([size_out])})
    return nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": DT, "reset": "zero", "steps": STEPS})


def reference_spikes(graph: nir.NIRGraph, x: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Spikes of every neuron by the reference, shape (T, neurons), for one input of shape (T, n)."""
    record = simulate(flatten(graph), {"input": x[None]})
    return {name: spikes[0] for name, spikes in record.spikes.items()}


def relay(size: int) -> tuple[nir.NIRNode, nir.NIRNode]:
    """A layer that repeats each spike in its own step."""
    return nir.Linear(weight=4 * np.eye(size)), lif(size)


def constant(*values: float) -> NDArray[np.float64]:
    return np.tile(np.array(values), (STEPS, 1))


def impulse(step: int, *values: float) -> NDArray[np.float64]:
    x = np.zeros((STEPS, len(values)))
    x[step] = values
    return x


def random_network(seed: int) -> Scenario:
    """Everything at once: weights of both signs, biases, parameters and input all different."""
    random = np.random.default_rng(seed)
    sizes = random.integers(3, 9, 4)
    nodes: list[nir.NIRNode] = []
    for n_in, n_out in pairwise(sizes):
        nodes.append(nir.Affine(weight=random.normal(0.3, 1.2, (n_out, n_in)), bias=random.normal(0.4, 0.4, n_out)))
        v_reset = random.uniform(-0.5, 0.3, n_out)
        nodes.append(
            lif(
                n_out,
                tau=DT * random.uniform(1.0, 12.0, n_out),
                r=random.uniform(0.5, 3.0, n_out),
                v_leak=random.uniform(-0.3, 0.3, n_out),
                v_threshold=v_reset + random.uniform(0.3, 1.0, n_out),
                v_reset=v_reset,
            )
        )
    return Scenario(f"random_{seed}", chain(*nodes), random.normal(0, 1.5, (STEPS, sizes[0])))


def scenarios() -> list[Scenario]:
    eye = np.eye(2)
    linear = nir.Linear(weight=eye)
    two_relays = (*relay(2), *relay(2))
    return [
        Scenario("constant_drive", chain(linear, lif(2), *two_relays), constant(1.125, 3.0)),
        Scenario("impulse", chain(linear, lif(2), *two_relays), impulse(5, 1.5, 2.5)),
        Scenario("silence", chain(linear, lif(2), *two_relays), constant(0.0, 0.0)),
        # w = 0.5 x: exactly the threshold, which is no spike, and the next number above it.
        Scenario("tie", chain(linear, lif(2), *two_relays), impulse(3, 2.0, np.nextafter(2.0, 3.0))),
        Scenario(
            "per_neuron",
            chain(
                nir.Linear(weight=np.ones((4, 1))),
                lif(4, tau=DT * np.array([1, 2, 4, 8]), r=[1.0, 2.0, 4.0, 1.5], v_threshold=[1.5, 0.5, 1.0, 0.25]),
                *relay(4),
                *relay(4),
            ),
            constant(0.75),
        ),
        Scenario("v_leak", chain(linear, lif(2, v_leak=[1.5, -1.0]), *two_relays), constant(0.0, 2.25)),
        Scenario("v_reset", chain(linear, lif(2, v_reset=[-1.0, 0.5]), *two_relays), constant(1.25, 1.125)),
        # Neurons that start above v_reset = -1 and below v_reset = 0.75, and are first driven in step 6.
        Scenario(
            "v_reset_start",
            chain(
                *relay(2), nir.Linear(weight=6 * eye), lif(2, tau=8 * DT, v_leak=-0.25, v_reset=[-1.0, 0.75]), *relay(2)
            ),
            np.maximum(impulse(6, 9.0, 9.0), impulse(7, 9.0, 9.0)) + constant(0.0, 0.5),
        ),
        # Without input: any step that a bias comes too early or late moves the spikes of its layer.
        Scenario(
            "deep_bias",
            chain(
                linear,
                lif(2),
                nir.Affine(weight=eye, bias=np.array([1.5, 0.0])),
                lif(2, tau=8 * DT),
                nir.Affine(weight=eye, bias=np.array([0.5, 1.25])),
                lif(2, tau=8 * DT),
            ),
            constant(0.0, 0.0),
        ),
        Scenario(
            "negative_weights",
            chain(
                nir.Linear(weight=np.array([[1.0], [2.0], [-1.0]])),
                lif(3),
                nir.Affine(weight=np.array([[4.0, -3.0, 2.0], [-1.0, 2.5, 1.0]]), bias=np.array([0.25, 1.0])),
                lif(2, tau=4 * DT),
                *relay(2),
            ),
            constant(1.5) * np.where(np.arange(STEPS) % 7 < 4, 1, -2)[:, None],
        ),
        random_network(0),
        random_network(1),
        random_network(2),
    ]


SCENARIOS = {scenario.name: scenario for scenario in scenarios()}
