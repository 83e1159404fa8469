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
"""Reset rules, the values of the metadata key ``reset``. In the step of a spike the potential is set to v_reset (zero),
or v_threshold is subtracted from it (subtract).

NIR has no field for the rule, nor for dt. Both are in the metadata of the graph or of its nodes.
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
"""Neurons, the nodes that can close a loop, with their parameters, one value per neuron."""

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
        """Whether nothing passes within a step: a Delay whose elements are all one step or more."""
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
        """Threshold: a spiking neuron spikes where its potential, or the input of a Threshold node, is above it."""
        threshold: Floats = self.parameters["threshold" if self.kind == "Threshold" else "v_threshold"]
        return threshold


@dataclass(frozen=True)
class Graph:
    """A flat NIR graph.

    Nodes of a nested graph are named ``graph.node``. Its Input and Output nodes pass on what they get. A neuron here is
    a node, that is, a population.

    **Loops.** Two neurons are connected within a step if a path of linear nodes without delay leads from one to the
    other. A Delay node is on such a path if one of its elements is 0. The strongly connected components of the neurons
    under this relation are updated in order, each after those that it reads:

    - Within a component, a neuron reads the outputs of step t - 1, its own included.
    - From an earlier component, it reads the outputs of step t.
    - Over Delay nodes of d >= 1 steps in all, it reads the outputs of step t - d, in a loop and elsewhere. So a Delay
      of one step or more opens the loop that it is in.

    Linear nodes are evaluated on what is read, so the bias of a recurrent Affine counts from step 0. All outputs before
    step 0 are zero. The result depends on the graph alone, not on the order or names of its nodes and edges.

    Attributes:
        nodes: In the file's order.
        sources: Per node, the nodes whose outputs are summed to its input, by name.
        inputs: Names of the graph's Input nodes.
        outputs: Names of the graph's Output nodes.
        components: Names of the neurons that are updated together. Each component comes after those that it reads
            within a step; ties are in order of names.
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
        """Linear nodes on which the inputs of ``names`` in this step depend, each after its sources.

        Paths end at a Delay whose elements are all one step or more: its output is known, whatever it reads now.
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
        """Linear nodes on a path within a step from a component back to itself.

        They are evaluated twice: for the component, on its outputs of the step before; for all others, on its new ones.
        """
        late: set[str] = set()
        for name in self.within_a_step(component):
            if not self.nodes[name].is_delayed and any(s in component or s in late for s in self.sources[name]):
                late.add(name)
        return frozenset(late)
