"""NIR graphs made flat, shaped and checked: what every simulator and the compiler start from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Shape = tuple[int, ...]

RESET_TO_V_RESET, RESET_BY_SUBTRACTION = "zero", "subtract"

RESETS = (RESET_TO_V_RESET, RESET_BY_SUBTRACTION)
"""Values of the metadata key ``reset``. In the step of the spike the membrane becomes v_reset, or loses v_threshold.

NIR has no field for it, nor for dt: both stand in the metadata of the graph or of its nodes.
"""

NEURONS: dict[str, tuple[str, ...]] = {
    "I": ("r",),
    "LI": ("tau", "r", "v_leak"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "Threshold": ("threshold",),
}

PARAMETERS: dict[type, tuple[str, ...]] = {
    getattr(nir, name): parameters
    for name, parameters in NEURONS.items()
    if hasattr(nir, name)  # nir 1.0.4 has no CubaLI.
}
"""Neurons, that is, all that can close a loop, with their parameters, one value per neuron."""

GRADED_NEURONS = {"I", "LI", "CubaLI"}
"""Neurons whose output is the membrane potential; the others' are spikes."""

LINEAR = (nir.Affine, nir.Linear, nir.Scale, nir.Conv1d, nir.Conv2d, nir.SumPool2d, nir.AvgPool2d, nir.Flatten)

TIME_CONSTANTS = ("tau", "tau_syn", "tau_mem")


@dataclass(frozen=True)
class Node:
    """A primitive with checked parameters.

    Attributes:
        kind: Name of the NIR class.
        shape_in: Shape of its input.
        shape: Shape of its output.
        parameters: By NIR's names. Neurons', delays (in steps) and scales are float64 of the node's shape. Convolution
            and pooling have ``weight`` (Conv), ``bias``, ``groups``, ``kernel_size`` (pooling), and per axis
            ``stride``, ``dilation`` and ``padding`` (before, after); Conv1d has a leading axis of one.
        reset: Reset rule of spiking neurons with a membrane.
        metadata: NIR's.
    """

    kind: str
    shape_in: Shape
    shape: Shape
    parameters: Mapping[str, Any]
    reset: str | None = None
    metadata: Mapping[str, Any] | None = None

    @property
    def size(self) -> int:
        """Elements of the output."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_delayed(self) -> bool:
        """Whether nothing passes within a step: a Delay of which every element is a step or more."""
        return self.kind == "Delay" and bool(self.parameters["delay"].min(initial=1) >= 1)

    @property
    def is_neuron(self) -> bool:
        """Whether the node can close a loop: a neuron, with or without membrane."""
        return self.kind in NEURONS

    @property
    def has_membrane(self) -> bool:
        """Whether the node has a membrane potential: all neurons but Threshold have."""
        return self.is_neuron and self.kind != "Threshold"

    @property
    def is_spiking(self) -> bool:
        """Whether the output is 0 or 1."""
        return self.is_neuron and self.kind not in GRADED_NEURONS

    @property
    def threshold(self) -> Floats:
        """What the potential of a spiking neuron, or the input of a Threshold, has to be above for a spike."""
        threshold: Floats = self.parameters["threshold" if self.kind == "Threshold" else "v_threshold"]
        return threshold


@dataclass(frozen=True)
class Graph:
    """A flat NIR graph.

    Nodes of a nested graph are named ``graph.node``; its Input and Output nodes pass on what they get.

    What a loop means: of neurons that read each other within a step, each reads the outputs of the step before. Within
    a step means over linear nodes without a delay; an element-wise Delay of which an element is 0 is one of those.
    Neurons that reach each other so, directly or over others, are a component (the strongly connected components of the
    graph of neurons with these ways as edges), and a component's neurons are updated together: over such a way each
    reads what the others, and it itself, sent in the step before. From neurons of other components it reads what they
    send in this step. Over Delay nodes of d >= 1 steps in all it reads what was sent d steps before, no more and no
    less, in a loop and elsewhere; so a Delay of a step or more takes the loop it stands in apart.

    The linear nodes between are evaluated on what is read, so a recurrent Affine's bias counts from step 0. Before step
    0 all is zero.

    This depends on the graph alone: neither on the order of its nodes or edges nor on their names. Nothing is left to
    choose, not even between two neurons that are alike in all (they read each other as they were), so there is nothing
    to warn of. A neuron here is a node, that is, a population.

    Attributes:
        nodes: In the file's order.
        sources: Per node, the nodes whose outputs are summed to its input, by name.
        inputs: Names of the graph's Input nodes.
        outputs: Names of the graph's Output nodes.
        components: Names of the neurons that are updated together, each component after those that it reads within a
            step, as far as they leave that open by name.
        linear: Names of all other nodes but inputs, each after its sources.
        dt: Time step, seconds.
    """

    nodes: Mapping[str, Node]
    sources: Mapping[str, tuple[str, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    components: tuple[tuple[str, ...], ...]
    linear: tuple[str, ...]
    dt: float

    @property
    def neurons(self) -> tuple[str, ...]:
        """Names of the neurons, in the order of their updates."""
        return tuple(name for component in self.components for name in component)

    @property
    def spiking(self) -> tuple[str, ...]:
        """Names of the neurons that spike."""
        return tuple(name for name in self.neurons if self.nodes[name].is_spiking)

    def within_a_step(self, names: Iterable[str]) -> tuple[str, ...]:
        """Linear nodes whose output in this step is needed for what ``names`` get in it, each after its sources.

        Of a Delay without an element of 0 steps that is its own output, and nothing that it reads.
        """
        needed: set[str] = set()
        waiting = list(names)
        among = set(self.linear)
        while waiting:
            for source in self.sources[waiting.pop()]:
                if source in among and source not in needed:
                    needed.add(source)
                    if not self.nodes[source].is_delayed:
                        waiting.append(source)
        return tuple(name for name in self.linear if name in needed)

    def late(self, component: Collection[str]) -> frozenset[str]:
        """Linear nodes that a component reaches within a step and that reach it so.

        What the component gets of them is evaluated on its outputs of the step before, what others get on its new ones.
        """
        late: set[str] = set()
        for name in self.within_a_step(component):
            if not self.nodes[name].is_delayed and any(s in component or s in late for s in self.sources[name]):
                late.add(name)
        return frozenset(late)
