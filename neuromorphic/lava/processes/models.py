"""Models of our processes, and models of Lava's neurons that keep what they compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
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

from neuromorphic.compiler.network import Levels
from neuromorphic.compiler.operators import Operator, Prepared, prepared
from neuromorphic.compiler.quantize import ALIGNMENT, bias_sent
from neuromorphic.execution.populations import Overflow, integrate
from neuromorphic.lava.processes.process import Bias, Graded, Recorder, Source, Subtract, Sum, Synapses, Tie

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
    """What the models of :class:`Source` share."""

    def run_spk(self) -> None:
        """One step."""
        rows: NDArray = self.proc_params["rows"]
        row = self.time_step - 1
        self.s_out.send(rows[row] if row < len(rows) else np.zeros(rows.shape[1:], rows.dtype))


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
    """What the models of :class:`Synapses` share."""

    s_in: PyInPort = LavaPyType(DirectInPort, float)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.taps = {wait: prepared(operator) for wait, operator in proc_params["taps"].items()}
        self.latency: int = proc_params["latency"]
        # Sums that wait; None where there is nothing yet, which saves an addition to zeros.
        self.waiting: deque[NDArray | None] = deque([None] * (max(self.taps) + self.latency))

    def product(self, operator: Operator | Prepared, s: NDArray) -> NDArray:
        """What an operator makes of messages."""
        return operator.dot(s)

    def send(self) -> None:
        """Send what has waited long enough."""
        total = self.waiting.popleft()
        self.a_out.send(np.zeros(self.a_out.shape) if total is None else total)

    def run_spk(self) -> None:
        """One step."""
        if self.latency:
            # Sent before anything is received, so that loops of populations do not wait for each other.
            self.send()
        s = self.s_in.recv()
        self.waiting.append(None)
        for wait, operator in self.taps.items():
            total, product = self.waiting[wait], self.product(operator, s)
            self.waiting[wait] = product if total is None else total + product
        if not self.latency:
            self.send()


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
        return self.proc_params["scaled"](operator.dot(s.astype(np.int32, copy=False)))


class BiasModel(PyLoihiProcessModel):
    """What the models of :class:`Bias` share."""

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.levels: Levels = proc_params["levels"]

    def sent(self, level: NDArray, t: int) -> NDArray:
        """What a bias of that level adds in the population's step t."""
        return level

    def run_spk(self) -> None:
        """One step."""
        t = self.time_step - 1 - self.proc_params["lag"]
        self.a_out.send(self.sent(self.levels.at(t), t))


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
    """The array that a process model writes to, a row a step."""

    def __init__(self, path: str, lag: int) -> None:
        self.rows = np.load(path, mmap_mode="r+")
        self.lag = lag

    def write(self, time_step: int, values: NDArray) -> None:
        """Write the row of Lava's step ``time_step``, counted from 1."""
        row = time_step - 1 - self.lag
        if 0 <= row < len(self.rows):
            self.rows[row] = values


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT, FIXED)
class PyRecorder(PyLoihiProcessModel):
    """The process model of :class:`Recorder`."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.rows = Rows(proc_params["rows"], proc_params["lag"])

    def run_spk(self) -> None:
        """Receive and write one step."""
        self.rows.write(self.time_step, self.s_in.recv())


class GradedModel(PyLoihiProcessModel):
    """What the models of :class:`Graded` share."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.keeper = Keeper(proc_params)
        self.du, self.dv = np.asarray(proc_params["du"]), np.asarray(proc_params["dv"])
        self.u = np.zeros(self.du.shape, np.float64 if self.du.dtype.kind == "f" else np.int64)
        self.v = self.u.copy()


@implements(proc=Graded, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PyGradedFloat(GradedModel):
    """In float64."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)

    def run_spk(self) -> None:
        """One step."""
        self.u = self.u * (1 - self.du) + self.a_in.recv()
        self.v = self.v * (1 - self.dv) + self.u
        self.keeper.keep(self.time_step, self.v, self.v)
        self.s_out.send(self.v)


@implements(proc=Graded, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PyGradedFixed(GradedModel):
    """In Loihi's integers, with sums in the units of v, which the host computes finer than a chip does."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        """One step."""
        a = self.a_in.recv().astype(np.int64)
        self.u, self.v = integrate(a, self.u, self.v, self.du, self.dv, Overflow())
        message = self.v >> self.proc_params["message_shift"]
        self.keeper.keep(self.time_step, message, self.v)
        self.s_out.send(message)


class SubtractModel(GradedModel):
    """What the models of :class:`Subtract` share."""

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.threshold = np.asarray(proc_params["threshold"])


@implements(proc=Subtract, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PySubtractFloat(SubtractModel):
    """In float64."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)

    def run_spk(self) -> None:
        """One step."""
        self.u = self.u * (1 - self.du) + self.a_in.recv()
        w = self.v * (1 - self.dv) + self.u
        spikes = w > self.threshold
        self.v = w - self.threshold * spikes
        self.keeper.keep(self.time_step, spikes, self.v)
        self.s_out.send(spikes)


@implements(proc=Subtract, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PySubtractFixed(SubtractModel):
    """In Loihi's integers: the arithmetic up to the threshold is that of Lava's own LIF model, which it calls."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.lif = PyLifModelBitAcc(proc_params)
        self.lif.u, self.lif.v = self.u.astype(np.int32), self.v.astype(np.int32)
        self.lif.du, self.lif.dv = self.du, self.dv
        self.lif.effective_bias = 0
        self.threshold = self.threshold.astype(np.int32) << ALIGNMENT

    def run_spk(self) -> None:
        """One step."""
        self.lif.subthr_dynamics(self.a_in.recv().astype(np.int32))
        spikes = self.lif.v > self.threshold
        self.lif.v = self.lif.v - self.threshold * spikes
        self.keeper.keep(self.time_step, spikes, self.lif.v)
        self.s_out.send(spikes)


class SumModel(PyLoihiProcessModel):
    """What the models of :class:`Sum` share."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        super().__init__(proc_params)
        self.keeper = Keeper(proc_params)

    def run_spk(self) -> None:
        """One step."""
        total = self.a_in.recv()
        self.keeper.keep(self.time_step, total, total)
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


class Keeper:
    """Keeps a neuron model's messages and potentials, where its process's parameters name files for them.

    A process of its own would get the messages a second time, as float64 and through one more channel.
    """

    def __init__(self, proc_params: Mapping[str, Any]) -> None:
        self.files = [
            Rows(proc_params[key], proc_params["lag"]) if proc_params.get(key) else None
            for key in ("messages", "potentials")
        ]

    def keep(self, time_step: int, messages: NDArray, potentials: NDArray) -> None:
        """Write one step."""
        for file, values in zip(self.files, (messages, potentials), strict=True):
            if file is not None:
                file.write(time_step, values)


def keeping(model: type) -> type:
    """A model of one of Lava's neurons that keeps what it computes; its arithmetic is Lava's."""

    class KeepingModel(model):
        a_in = LavaPyType(DirectInPort, model.a_in.d_type)  # type: ignore[attr-defined]

        def __init__(self, proc_params: Mapping[str, Any]) -> None:
            super().__init__(proc_params)
            self.keeper = Keeper(proc_params)

        def run_spk(self) -> None:
            super().run_spk()
            self.keeper.keep(self.time_step, self.s_out_buff, self.v)

    KeepingModel.__name__ = f"Keeping{model.__name__}"
    return KeepingModel


MODELS: dict[str, dict[type[AbstractProcess], type]] = {
    FLOAT: {
        LIF: keeping(PyLifModelFloat),
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
        LIF: keeping(PyLifModelBitAcc),
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
"""The model of every process that a network is built of, by tag."""
