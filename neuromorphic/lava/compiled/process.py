"""A NIR graph as one Lava process. Import it as ``neuromorphic.lava.compile``, which mends Lava first."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, overload

import nir
import numpy as np
from lava.magma.core.decorator import implements, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_conditions import AbstractRunCondition
from lava.magma.core.run_configs import Loihi2SimCfg, RunConfig
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from numpy.typing import NDArray

from neuromorphic.arguments import check_choice, check_real, check_type
from neuromorphic.backends import PRECISIONS, Precision, Simulation, simulate
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.quantize import FixedNetwork, Ranges
from neuromorphic.compiler.schedule import schedule
from neuromorphic.errors import ArgumentError, UnsupportedGraphError
from neuromorphic.execution.calibration import calibrate
from neuromorphic.execution.record import Record, check_inputs
from neuromorphic.graph import Graph, flatten
from neuromorphic.lava.network import build, tie
from neuromorphic.lava.processes.models import FIXED, FLOAT, MODELS
from neuromorphic.lava.processes.process import Sum
from neuromorphic.nir_file import read_nir


def compile(
    graph: nir.NIRGraph | Graph | Path | str,
    precision: Precision = "float",
    dt: float | None = None,
    reset: str | None = None,
    calibration: Mapping[str, NDArray] | None = None,
    stock: bool = False,
) -> Compiled:
    """Make a Lava process of a NIR graph: one InPort per Input node, one OutPort per Output node.

    Connect it to processes of your own and run it as any Lava process, or call its ``run`` with inputs:

    >>> process = neuromorphic.lava.compile(Path("encoder.nir"))
    >>> record = process.run({"input": x})  # x of shape (B, T, *shape); a neuromorphic.execution.record.Record
    >>> source = RingBuffer(data=x[0].reshape(T, -1).T)
    >>> sink = SinkRingBuffer(shape=process.ports["output"].shape, buffer=T + process.lags["output"])
    >>> source.s_out.connect(process.ports["input"])
    >>> process.ports["output"].connect(sink.a_in)
    >>> process.run(RunSteps(T + process.lags["output"]), process.run_config())
    >>> outputs = sink.data.get().T[process.lags["output"] :]  # those of the reference, step by step
    >>> process.stop()

    Args:
        graph: A NIR graph, one that is flat already, or a file.
        precision: float64, or Loihi's integers.
        dt, reset: See :func:`neuromorphic.graph.flatten`.
        calibration: For fixed point: typical inputs, as large as they get, by Input node, shape (B, T, *shape). Scales
            are chosen for them.
        stock: Use Lava's own processes for synapses (``Sparse``, ``DelaySparse``), which hardware has.

    Raises:
        ArgumentError: an argument of the wrong type, or an unknown precision.
        NIRFileError: the file is not a NIR graph.
        UnsupportedGraphError: the graph cannot be run exactly, or calibration is missing or does not fit.
    """
    check_choice("precision", precision, PRECISIONS)
    if isinstance(graph, Path | str):
        graph = read_nir(Path(graph))
    if isinstance(graph, Graph):
        if dt is not None or reset is not None:
            raise ArgumentError("dt and reset of a flat graph are its own; give them to flatten")
    else:
        graph = flatten(graph, dt, reset)
    if precision == "float":
        return CompiledFloat(graph=graph, network=lower(graph), stock=stock)
    if calibration is None:
        raise UnsupportedGraphError("fixed point needs calibration inputs: compile(..., calibration={'input': x, ...})")
    _, steps = check_inputs(graph, calibration)
    fixed = calibrate(lower(graph, horizon=steps), calibration, batched=True)
    return CompiledFixed(graph=graph, network=fixed.network, stock=stock, ranges=fixed.ranges)


class Compiled(AbstractProcess):
    """A graph as a process, see :func:`compile`.

    Its InPorts and OutPorts are one-dimensional, elements in C order, and named as the nodes where Python lets them:
    ``process.ports["a b"]`` is ``process.a_b``, and ``process.in_ports.a_b``.

    An input's step t is Lava's step t, both counted from 0. An output's step t is sent in Lava's step t + lag, as every
    synapse takes a step; before that, an output sends zeros. State is kept from one Lava run to the next, as always in
    Lava; the process itself is at rest only once.

    Attributes:
        graph: The graph that was compiled.
        network: Its folded network, float or fixed.
        ports: Ports by the name of the Input or Output node in NIR.
        lags: Lags in steps, by the name of the Output node.
    """

    def __init__(self, *, graph: Graph, network: Network, stock: bool, ranges: Ranges | None = None) -> None:
        super().__init__(network=network, stock=stock)
        self.graph, self.network, self.ranges = graph, network, ranges
        self.plan = schedule(network)
        self.lags = {name: self.plan.lags[name] for name in graph.outputs}
        self.ports: dict[str, InPort | OutPort] = {}
        for names, kind, collection in (
            (graph.inputs, InPort, self.in_ports),
            (graph.outputs, OutPort, self.out_ports),
        ):
            taken = {*dir(self), *dir(collection)}
            for name in names:
                attribute = attribute_of(name, taken)
                taken.add(attribute)
                self.ports[name] = kind(shape=(network.size(name),))
                setattr(self, attribute, self.ports[name])

    def encode(self, name: str, x: NDArray) -> NDArray:
        """Convert values to the messages that an input takes, any shape: in float x itself, in fixed point integers.

        Raises:
            ArgumentError: there is no such input, or ``x`` is not an array of finite numbers.
            UnsupportedGraphError: in fixed point, a value is larger than those that the scales were chosen for.
        """
        check_choice("input", name, self.graph.inputs)
        check_real(f"input '{name}'", x)
        if not isinstance(self.network, FixedNetwork):
            return np.asarray(x, np.float64)
        messages = self.network.messages(name, x)
        limit = self.ranges.messages[name] if self.ranges is not None else np.inf
        if np.abs(x).max(initial=0) > limit * (1 + 1e-9):
            raise UnsupportedGraphError(
                f"input '{name}' reaches {np.abs(x).max():g}, calibration said {limit:g}: calibrate with larger inputs"
            )
        return messages

    def decode(self, name: str, messages: NDArray) -> NDArray[np.float64]:
        """Convert messages of an output, shape (..., n), to values in NIR's units.

        Raises:
            ArgumentError: there is no such output, or ``messages`` is not an array of finite numbers.
        """
        check_choice("output", name, self.graph.outputs)
        check_real(f"messages of '{name}'", messages)
        if not isinstance(self.network, FixedNetwork):
            return np.asarray(messages, np.float64)
        return self.network.values(name, messages)

    def run_config(self, **arguments: Any) -> Loihi2SimCfg:
        """The run configuration of Lava's CPU simulator for a network that this process is in.

        Any ``Loihi2SimCfg`` with ``select_tag`` "floating_pt" or "fixed_pt", as was compiled, does; with this one Lava
        need not search for the models of what is in here, which takes longer than most runs.

        Args:
            arguments: Arguments of ``Loihi2SimCfg``, for the other processes.
        """
        known = Known(FIXED if isinstance(self.network, FixedNetwork) else FLOAT)
        known.update(arguments.pop("exception_proc_model_map", None) or {})
        return Loihi2SimCfg(**{"select_tag": known.tag} | arguments, exception_proc_model_map=known)

    @overload
    def run(
        self, condition: Mapping[str, NDArray], *, potentials: Collection[str] = (), deadline: float = 600.0
    ) -> Record: ...

    @overload
    def run(
        self,
        condition: AbstractRunCondition,
        run_cfg: RunConfig | None = None,
        compile_config: dict[str, Any] | None = None,
    ) -> None: ...

    def run(
        self,
        condition: Mapping[str, NDArray] | AbstractRunCondition,
        run_cfg: RunConfig | None = None,
        compile_config: dict[str, Any] | None = None,
        *,
        potentials: Collection[str] = (),
        deadline: float = 600.0,
    ) -> Record | None:
        """Run inputs, from rest; or, with one of Lava's conditions, this process and all that it is connected to.

        Inputs are run in a child process, on a network of their own: no state is kept, nothing is left behind, and what
        this process is connected to has no part in it.

        Args:
            condition: By Input node, shape (B, T, *shape); or a Lava run condition.
            run_cfg, compile_config: Lava's, for a condition.
            potentials, deadline: See :func:`neuromorphic.backends.simulate`, for inputs.

        Returns:
            For inputs the record, outputs in the graph's own steps.

        Raises:
            ArgumentError, UnsupportedGraphError: see :func:`neuromorphic.backends.simulate`.
            LavaRunError: see :func:`neuromorphic.lava.run.run_network`.
        """
        if isinstance(condition, Mapping):
            return self.simulate(condition, potentials, deadline).record
        check_type("what to run", condition, AbstractRunCondition, "give inputs by name, or a run condition of Lava's")
        super().run(condition, run_cfg, compile_config)
        return None

    def simulate(
        self, inputs: Mapping[str, NDArray], potentials: Collection[str] = (), deadline: float = 600.0
    ) -> Simulation:
        """Like ``run`` with inputs, but also returns times and counts of operations."""
        check_inputs(self.graph, inputs, potentials)
        for name, x in inputs.items():
            self.encode(name, x)
        precision: Precision = "fixed" if isinstance(self.network, FixedNetwork) else "float"
        return simulate(self.graph, inputs, "lava", precision, potentials, deadline, self.ranges)


class CompiledFloat(Compiled):
    """A graph in float64: Lava's tag "floating_pt"."""


class CompiledFixed(Compiled):
    """A graph in Loihi's integers: Lava's tag "fixed_pt"."""


def attribute_of(name: str, taken: Collection[str]) -> str:
    """Convert a name to that of an attribute that is not taken."""
    attribute = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not attribute or attribute[0].isdigit() or attribute[0] == "_":
        attribute = f"port{attribute}" if attribute.startswith("_") else f"port_{attribute}"
    while attribute in taken or keyword.iskeyword(attribute):
        attribute += "_"
    return attribute


class Known(dict):
    """Models of what a compiled process is made of, beside those that a user names; for Lava's run configuration.

    Lava asks by process whether it is in here, before it searches.
    """

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or self.of(key) is not None

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if super().__contains__(key) else self.of(key)

    def __bool__(self) -> bool:
        return True  # Lava puts another in the place of one that is false.

    def of(self, key: object) -> type | None:
        """The model of a compiled process, or of one inside."""
        if isinstance(key, Compiled):
            return FloatModel if isinstance(key, CompiledFloat) else FixedModel
        if isinstance(key, AbstractProcess) and isinstance(key.parent_proc, Compiled):
            return MODELS[FLOAT if isinstance(key.parent_proc, CompiledFloat) else FIXED][type(key)]
        return None


class CompiledModel(AbstractSubProcessModel):
    """The sub-process model of :class:`Compiled`."""

    def __init__(self, process: Compiled) -> None:
        network = process.network
        parts = build(network, process.plan, stock=process.proc_params["stock"])
        for name, targets in parts.inputs.items():
            if not targets:  # Nothing in the graph wants it, yet whoever sends it must be able to.
                drain = Sum(size=network.size(name), name=f"unused {name}")
                parts.processes.append(drain)
                targets.append(drain.a_in)
                parts.sent[name] = drain.s_out
            process.ports[name].connect(targets)
        for name, source in parts.outputs.items():
            source.connect(process.ports[name])
        # Lava runs parts that nothing connects, but mixes up what they send each other.
        tie(parts, network)
        for number, part in enumerate(parts.processes):
            setattr(self, f"part_{number}", part)  # Lava takes the processes that it finds here.


@implements(proc=CompiledFloat, protocol=LoihiProtocol)
@tag(FLOAT)
class FloatModel(CompiledModel):
    """The sub-process model of :class:`CompiledFloat`."""


@implements(proc=CompiledFixed, protocol=LoihiProtocol)
@tag(FIXED)
class FixedModel(CompiledModel):
    """The sub-process model of :class:`CompiledFixed`."""
