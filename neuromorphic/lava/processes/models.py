"""Models of our processes, and models of Lava's neurons that record their messages and potentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import IdentityTransformer, PyInPort, PyInPortVectorDense, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import PyLifModelBitAcc, PyLifModelFloat
from lava.proc.lif.process import LIF
from lava.proc.sparse.models import (
    PyDelaySparseModelBitAcc,
    PyDelaySparseModelFloat,
    PySparseModelBitAcc,
    PySparseModelFloat,
)
from lava.proc.sparse.process import DelaySparse, Sparse
from numpy.typing import NDArray

from neuromorphic.compiler.network import Levels, Population
from neuromorphic.compiler.operators import Operator, Prepared, prepared
from neuromorphic.compiler.quantize import ALIGNMENT, FixedPopulation, bias_sent
from neuromorphic.execution.populations import Overflow, integrate
from neuromorphic.lava.folder import load
from neuromorphic.lava.processes.process import Bias, Graded, Recorder, Source, Subtract, Sum, Synapses, Tie
from neuromorphic.lava.window import Window

FLOAT, FIXED = "floating_pt", "fixed_pt"
"""Lava's tags of its models."""


class DirectInPort(PyInPortVectorDense):
    """An input port that does not copy what a single sender sends: it is valid until the next is received, and not to
    be written to (:class:`neuromorphic.lava.runtime.ReceivePort`)."""

    def recv(self) -> NDArray:
        """Receive from all senders, and add up."""
        if len(self.csp_ports) == 1 and isinstance(self._transformer, IdentityTransformer):
            return self.csp_ports[0].recv()
        return super().recv()


class SourceModel(PyLoihiProcessModel):
    """Base of the models of :class:`Source`."""

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.rows: NDArray = proc_params["rows"]
        if proc_params.get("file"):  # Which the parent writes to, where the network stays up.
            self.rows = np.load(proc_params["file"], mmap_mode="r")
        self.window = Window(proc_params.get("stays"), 0)

    def run_spk(self) -> None:
        """One step."""
        rows, row = self.rows, self.window.row(self.time_step)
        silent = row is None or row >= len(rows)
        self.s_out.send(np.zeros(rows.shape[1:], rows.dtype) if silent else rows[row])


@implements(proc=Source, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PySourceFloat(SourceModel):
    """In float64."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=Source, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PySourceFixed(SourceModel):
    """In 32-bit integers."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)


class SynapsesModel(PyLoihiProcessModel):
    """Base of the models of :class:`Synapses`."""

    s_in: PyInPort = LavaPyType(DirectInPort, float)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.latency: int = proc_params["latency"]
        self.scaled: Callable[[NDArray], NDArray] | None = proc_params["scaled"]
        self.source, self.target = (Window(proc_params.get("stays"), lag) for lag in proc_params["lags"])
        self.use(proc_params["taps"])
        self.waiting: dict[int, NDArray] = {}
        """Delayed sums, by the step of the target."""

    def use(self, taps: Mapping[int, Operator]) -> None:
        """Take operators, by delay."""
        self.taps = {delay: prepared(operator) for delay, operator in taps.items()}

    def product(self, operator: Operator | Prepared, s: NDArray) -> NDArray:
        """The product of an operator and messages."""
        return operator.dot(s)

    def take(self, s: NDArray, t: int, first: int = 0) -> None:
        """Take the messages of the source's step ``t``, for the target's steps from ``first`` on."""
        for delay, operator in self.taps.items():
            if t + delay >= first:
                total, product = self.waiting.get(t + delay), self.product(operator, s)
                self.waiting[t + delay] = product if total is None else total + product

    def send(self) -> None:
        """Send the sum for the target's step."""
        t = self.target.step(self.time_step)
        total = None if t is None else self.waiting.pop(t, None)
        self.a_out.send(np.zeros(self.a_out.shape) if total is None else total)

    def run_spk(self) -> None:
        """One step."""
        number, begin = self.source.changed()
        if number is not None:
            self.use_network(number)
        if begin is not None:
            self.restore(begin)
        if self.latency:
            # Sent before anything is received, so that loops of populations do not wait for each other.
            self.send()
        s = self.s_in.recv()
        if (t := self.source.step(self.time_step)) is not None:
            self.take(s, t)
        if not self.latency:
            self.send()

    def use_network(self, number: int) -> None:
        """Take the synapses of another network, which the parent has written."""
        projection = load(Path(self.proc_params["stays"]), f"{self.proc_params['part']}.{number}")
        self.use(projection.taps)
        if self.scaled is not None:
            self.scaled = projection.scaled

    def restore(self, begin: int) -> None:
        """Have waiting what waits before step ``begin``: what the source sent before, as the parent has it."""
        self.waiting = {}
        if past := self.proc_params.get("past"):
            rows = np.load(past, mmap_mode="r")
            for k, row in enumerate(rows):
                if (t := begin - len(rows) + k) >= 0:
                    self.take(np.array(row), t, begin)


@implements(proc=Synapses, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PySynapsesFloat(SynapsesModel):
    """In float64."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=Synapses, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PySynapsesFixed(SynapsesModel):
    """In 32-bit integers, as ``lava.proc.sparse.models.PySparseModelBitAcc``."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def product(self, operator: Operator | Prepared, s: NDArray) -> NDArray:
        assert self.scaled is not None
        return self.scaled(operator.dot(s.astype(np.int32, copy=False)))


class BiasModel(PyLoihiProcessModel):
    """Base of the models of :class:`Bias`."""

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.levels: Levels = proc_params["levels"]
        self.window = Window(proc_params.get("stays"), proc_params["lag"])

    def sent(self, level: NDArray, t: int) -> NDArray:
        """The message of a bias of a level, shape (M,), in the population's step t."""
        return level

    def run_spk(self) -> None:
        """One step."""
        number, _ = self.window.changed()
        if number is not None:
            self.levels = load(Path(self.proc_params["stays"]), f"{self.proc_params['part']}.{number}").bias
        t = self.window.step(self.time_step)
        self.a_out.send(np.zeros(self.a_out.shape) if t is None else self.sent(self.levels.at(t), t))


@implements(proc=Bias, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PyBiasFloat(BiasModel):
    """In float64."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=Bias, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PyBiasFixed(BiasModel):
    """In 32-bit integers."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def sent(self, level: NDArray, t: int) -> NDArray:
        return bias_sent(level, t).astype(np.int32)


class Rows:
    """An array that a process model writes to, one row in each step."""

    def __init__(self, path: str) -> None:
        self.rows = np.load(path, mmap_mode="r+")

    def write(self, row: int, values: NDArray) -> None:
        """Write a row, if there is room for it."""
        if row < len(self.rows):
            self.rows[row] = values


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT, FIXED)
class PyRecorder(PyLoihiProcessModel):
    """The process model of :class:`Recorder`."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.rows = Rows(proc_params["rows"])
        self.window = Window(proc_params.get("stays"), proc_params["lag"])

    def run_spk(self) -> None:
        """Receive and write one step."""
        values = self.s_in.recv()
        if (row := self.window.row(self.time_step)) is not None:
            self.rows.write(row, values)


class Waiting:
    """What models of neurons share: each waits for its first step, keeps what it computes where files are named for it,
    and where the network stays up leaves its state at the end of each window, and takes the one that is set.

    A process of its own that keeps it would get the messages a second time, as float64 and through one more channel.
    """

    proc_params: Any
    time_step: int
    a_in: Any
    s_out: Any

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)  # type: ignore[call-arg]
        self.window = Window(proc_params.get("stays"), proc_params.get("lag", 0))
        self.files = {key: Rows(proc_params[key]) for key in ("messages", "potentials") if proc_params.get(key)}
        self.cell = np.load(proc_params["cell"], mmap_mode="r+") if proc_params.get("cell") else None
        self.row: int | None = None

    def begins(self) -> bool:
        """Whether the population does a step now. While it waits, it receives messages and sends zeros."""
        number, begin = self.window.changed()
        if number is not None:
            self.use(load(Path(self.proc_params["stays"]), f"{self.proc_params['part']}.{number}"))
        if begin is not None and self.cell is not None:
            self.restore(*np.array(self.cell))
        self.row = self.window.row(self.time_step)
        if self.row is None:
            self.a_in.recv()
            self.s_out.send(np.zeros(self.s_out.shape))
        return self.row is not None

    def keep(self, messages: NDArray, potentials: NDArray) -> None:
        """Record a step."""
        assert self.row is not None
        for key, values in (("messages", messages), ("potentials", potentials)):
            if key in self.files:
                self.files[key].write(self.row, values)
        if self.cell is not None and self.window.is_last(self.row):
            self.cell[:] = self.stands()

    def use(self, p: Population) -> None:
        """Take another population's parameters."""

    def stands(self) -> tuple[NDArray, NDArray]:
        """u and v, each of shape (M,)."""
        raise NotImplementedError

    def restore(self, u: NDArray, v: NDArray) -> None:
        """Set u and v, each of shape (M,)."""


class GradedModel(Waiting, PyLoihiProcessModel):
    """Base of the models of :class:`Graded`."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.du, self.dv = np.asarray(proc_params["du"]), np.asarray(proc_params["dv"])
        self.message_shift: int = proc_params.get("message_shift", 0)
        self.u = np.zeros(self.du.shape, np.float64 if self.du.dtype.kind == "f" else np.int64)
        self.v = self.u.copy()

    def use(self, p: Population) -> None:
        self.du, self.dv = np.array(p.du), np.array(p.dv)
        if isinstance(p, FixedPopulation):
            self.message_shift = p.message_shift

    def stands(self) -> tuple[NDArray, NDArray]:
        return self.u, self.v

    def restore(self, u: NDArray, v: NDArray) -> None:
        self.u, self.v = u, v

    def run_spk(self) -> None:
        """One step."""
        if self.begins():
            message = self.advance(self.a_in.recv())
            self.keep(message, self.v)
            self.s_out.send(message)

    def advance(self, a: NDArray) -> NDArray:
        """Compute a step of the equations of :class:`Graded`; from the input a, shape (M,), to the message, shape
        (M,)."""
        raise NotImplementedError


@implements(proc=Graded, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PyGradedFloat(GradedModel):
    """In float64."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)

    def advance(self, a: NDArray) -> NDArray:
        self.u = self.u * (1 - self.du) + a
        self.v = self.v * (1 - self.dv) + self.u
        return self.v


@implements(proc=Graded, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PyGradedFixed(GradedModel):
    """In Loihi's integers, with sums in the units of v, which the host computes finer than a chip does."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def advance(self, a: NDArray) -> NDArray:
        self.u, self.v = integrate(a.astype(np.int64), self.u, self.v, self.du, self.dv, Overflow())
        return self.v >> self.message_shift


class SubtractModel(GradedModel):
    """Base of the models of :class:`Subtract`."""

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.threshold = np.asarray(proc_params["threshold"])


@implements(proc=Subtract, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PySubtractFloat(SubtractModel):
    """In float64."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)

    def use(self, p: Population) -> None:
        super().use(p)
        self.threshold = np.array(p.threshold)

    def advance(self, a: NDArray) -> NDArray:
        self.u = self.u * (1 - self.du) + a
        w = self.v * (1 - self.dv) + self.u
        spikes = w > self.threshold
        self.v = w - self.threshold * spikes
        return spikes


@implements(proc=Subtract, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PySubtractFixed(SubtractModel):
    """In Loihi's integers: the arithmetic up to the threshold is that of Lava's own LIF model, which it calls."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.lif = PyLifModelBitAcc(proc_params)
        self.lif.du, self.lif.dv = self.du, self.dv
        self.lif.effective_bias = 0
        self.threshold = self.threshold.astype(np.int32) << ALIGNMENT
        self.restore(self.u, self.v)

    def use(self, p: Population) -> None:
        self.lif.du, self.lif.dv = np.array(p.du) - 1, np.array(p.dv)
        self.threshold = np.array(p.threshold).astype(np.int32) << ALIGNMENT

    def stands(self) -> tuple[NDArray, NDArray]:
        return self.lif.u, self.lif.v

    def restore(self, u: NDArray, v: NDArray) -> None:
        self.lif.u, self.lif.v = u.astype(np.int32), v.astype(np.int32)

    def advance(self, a: NDArray) -> NDArray:
        self.lif.subthr_dynamics(a.astype(np.int32))
        spikes = self.lif.v > self.threshold
        self.v = self.lif.v = self.lif.v - self.threshold * spikes
        return spikes


class SumModel(Waiting, PyLoihiProcessModel):
    """Base of the models of :class:`Sum`."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)

    def run_spk(self) -> None:
        """One step."""
        if self.begins():
            total = self.a_in.recv()
            self.keep(total, total)
            self.s_out.send(total)


@implements(proc=Sum, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PySumFloat(SumModel):
    """In float64."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=Sum, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PySumFixed(SumModel):
    """In 32-bit integers."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)


@implements(proc=Tie, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT, FIXED)
class PyTie(PyLoihiProcessModel):
    """The process model of :class:`Tie`."""

    a: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    b: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)

    def run_spk(self) -> None:
        """Receive one step."""
        self.a.recv()
        self.b.recv()


def waiting(model: type) -> type:
    """A model of one of Lava's neurons that waits and keeps what it computes; its arithmetic is Lava's."""

    class WaitingModel(Waiting, model):
        a_in = LavaPyType(DirectInPort, model.a_in.d_type)  # type: ignore[attr-defined]

        def run_spk(self) -> None:
            if self.begins():
                super().run_spk()
                self.keep(self.s_out_buff, self.v)

        def use(self, p: Population) -> None:
            # Lava takes the current's register plus one.
            self.du, self.dv = np.array(p.du) - isinstance(p, FixedPopulation), np.array(p.dv)
            self.vth, self.isthrscaled = np.array(p.threshold), False

        def stands(self) -> tuple[NDArray, NDArray]:
            return self.u, self.v

        def restore(self, u: NDArray, v: NDArray) -> None:
            self.u[:], self.v[:] = u, v

    WaitingModel.__name__ = f"Waiting{model.__name__}"
    return WaitingModel


MODELS: dict[str, dict[type[AbstractProcess], type]] = {
    FLOAT: {
        LIF: waiting(PyLifModelFloat),
        Subtract: PySubtractFloat,
        Graded: PyGradedFloat,
        Sum: PySumFloat,
        Synapses: PySynapsesFloat,
        Bias: PyBiasFloat,
        Recorder: PyRecorder,
        Tie: PyTie,
        Source: PySourceFloat,
        Sparse: PySparseModelFloat,
        DelaySparse: PyDelaySparseModelFloat,
    },
    FIXED: {
        LIF: waiting(PyLifModelBitAcc),
        Subtract: PySubtractFixed,
        Graded: PyGradedFixed,
        Sum: PySumFixed,
        Synapses: PySynapsesFixed,
        Bias: PyBiasFixed,
        Recorder: PyRecorder,
        Tie: PyTie,
        Source: PySourceFixed,
        Sparse: PySparseModelBitAcc,
        DelaySparse: PyDelaySparseModelBitAcc,
    },
}
"""The model of every process in a network, by tag."""
