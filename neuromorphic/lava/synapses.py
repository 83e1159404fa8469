"""Synapses of a graph as a Lava process, and as Lava's own. Call ``compat.mend_lava`` before importing this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import IdentityTransformer, PyInPort, PyInPortVectorDense, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.operators import Columns, Operator, Taps, check_taps, expand, for_spikes
from neuromorphic.lava.program import FIXED, FLOAT

GRADED = 24
"""Bits of a graded message. ``Sparse`` takes messages as 0 or 1 where it is told 0; otherwise the number is not used.
Spikes too are sent so: the product with all of the weights is faster than that with the columns of those that spiked,
which ``Sparse`` would copy from a row-major matrix in every step."""


class GraphSynapses(AbstractProcess):
    """Synapses given as operators, with the latency and the arithmetic of Lava's ``Sparse`` and ``DelaySparse``.

    What is received in a step is sent in the next, or ``delay`` steps after that:
    a_out[t + 1 + delay] += operator s_in[t], in fixed point shifted left by ``weight_exp`` bits (right where negative).

    Args:
        taps: All of the same shape, each delay at most once.
        weight_exp: Exponent of the weights (fixed point).
        name: Name of the process.
    """

    def __init__(self, *, taps: Taps, weight_exp: int = 0, name: str | None = None) -> None:
        super().__init__(taps=list(taps), weight_exp=weight_exp, name=name)
        targets, sources = check_taps(taps)
        self.s_in = InPort(shape=(sources,))
        self.a_out = OutPort(shape=(targets,))


class FedSynapses(AbstractProcess):
    """:class:`GraphSynapses` whose messages are an array: it takes the place of a source, which would send them.

    What Lava's ``RingBuffer`` sends as s_in[t] is row t, and after the last row 0: the latency is the same.

    Args:
        rows: Messages, shape (T, n).
        taps, weight_exp, name: As in :class:`GraphSynapses`.
    """

    def __init__(self, *, rows: NDArray, taps: Taps, weight_exp: int = 0, name: str | None = None) -> None:
        super().__init__(rows=rows, taps=list(taps), weight_exp=weight_exp, name=name)
        targets, sources = check_taps(taps)
        if rows.shape[1] != sources:
            raise ValueError(f"the synapses take {sources} messages, the rows have {rows.shape[1]}")
        self.a_out = OutPort(shape=(targets,))


class DirectInPort(PyInPortVectorDense):
    """An input port that does not copy what a single sender sends: it may be valid only until the next is received."""

    def recv(self) -> NDArray:
        """Receive from all senders, and add up."""
        if len(self.csp_ports) == 1 and isinstance(self._transformer, IdentityTransformer):
            return self.csp_ports[0].recv()
        return super().recv()


class SynapsesModel(PyLoihiProcessModel):
    """What all models share: sums wait in a ring, of which the row ``_next`` is sent next."""

    def __init__(self, proc_params: dict[str, Any]) -> None:
        super().__init__(proc_params)
        self._taps = [(delay, for_spikes(operator)) for delay, operator in proc_params["taps"]]
        self._ring: list[NDArray | None] = [None] * (1 + max(delay for delay, _ in self._taps))
        self._next = 0

    def run_spk(self) -> None:
        """Send what is due, then receive: in this order, or networks with loops would wait for themselves."""
        due = self._ring[self._next]
        self.a_out.send(np.zeros(self.a_out.shape) if due is None else due)
        self._ring[self._next] = None
        self._next = (self._next + 1) % len(self._ring)
        messages = self._receive()
        if messages is None:
            return
        for delay, operator in self._taps:
            slot = (self._next + delay) % len(self._ring)
            activation = self._activation(operator, messages)
            waiting = self._ring[slot]
            self._ring[slot] = activation if waiting is None else waiting + activation

    def _receive(self) -> NDArray | None:
        """The messages of this step; None if there are none."""
        return self.s_in.recv()

    def _activation(self, operator: Operator | Columns, messages: NDArray) -> NDArray:
        """What an operator makes of messages, in float64."""
        return operator.dot(messages)


class FixedSynapsesModel(SynapsesModel):
    """In Loihi's integers, bit for bit what ``Sparse`` computes from the same weights."""

    def _activation(self, operator: Operator | Columns, messages: NDArray) -> NDArray:
        total = operator.dot(messages.astype(np.int32, copy=False))
        shift: int = self.proc_params["weight_exp"]
        return np.left_shift(total, shift) if shift > 0 else np.right_shift(total, -shift)


class FromRows:
    """Takes messages from the rows of an array, one a step."""

    proc_params: Any
    time_step: int

    def _receive(self) -> NDArray | None:
        rows: NDArray = self.proc_params["rows"]
        return rows[self.time_step - 1] if self.time_step <= len(rows) else None


@implements(proc=GraphSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PyGraphSynapsesModelFloat(SynapsesModel):
    """The model of :class:`GraphSynapses` in float64."""

    s_in: PyInPort = LavaPyType(DirectInPort, float)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=GraphSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PyGraphSynapsesModelFixed(FixedSynapsesModel):
    """The model of :class:`GraphSynapses` in integers."""

    s_in: PyInPort = LavaPyType(DirectInPort, np.int32, precision=24)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=16)


@implements(proc=FedSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PyFedSynapsesModelFloat(FromRows, SynapsesModel):
    """The model of :class:`FedSynapses` in float64."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=FedSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PyFedSynapsesModelFixed(FromRows, FixedSynapsesModel):
    """The model of :class:`FedSynapses` in integers."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=16)


def stock_synapses(taps: Taps, weight_exp: int = 0, name: str | None = None) -> list[Sparse]:
    """The same synapses one by one, as chips hold them: Lava's ``Sparse``, or ``DelaySparse``, one for each tap."""
    processes = []
    for delay, operator in taps:
        weights = expand(operator)
        arguments = {
            "weights": weights,
            "weight_exp": weight_exp,
            "sign_mode": SignMode.MIXED,
            "num_message_bits": GRADED,
            "name": name if len(taps) == 1 else f"{name}_{delay}",
        }
        if delay:
            # One delay for all would be made dense by Lava.
            data = np.full(weights.nnz, delay, np.int64)
            delays = sparse.csr_matrix((data, weights.indices, weights.indptr), shape=weights.shape)
            processes.append(DelaySparse(delays=delays, **arguments))
        else:
            processes.append(Sparse(**arguments))
    return processes


def connect(
    source: OutPort, target: InPort, taps: Taps, *, weight_exp: int = 0, stock: bool = False, name: str | None = None
) -> None:
    """Connect neurons through synapses: :class:`GraphSynapses`, or ``stock`` ones for hardware."""
    processes: Sequence[AbstractProcess]
    if stock:
        processes = stock_synapses(taps, weight_exp, name)
    else:
        processes = [GraphSynapses(taps=taps, weight_exp=weight_exp, name=name)]
    for process in processes:
        source.connect(process.s_in)
        process.a_out.connect(target)
