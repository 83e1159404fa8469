"""Synapses of a graph as a Lava process, and as Lava's own. Call ``compat.mend_lava`` before importing this."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.operators import Operator, Taps, check_taps, expand
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


class AbstractGraphSynapsesModel(PyLoihiProcessModel):
    """What both models share: sums wait in a ring, row ``_next`` of which is sent next."""

    a_out: PyOutPort
    s_in: PyInPort

    def __init__(self, proc_params: dict[str, object]) -> None:
        super().__init__(proc_params)
        self._taps: Taps = proc_params["taps"]  # type: ignore[assignment]
        self._weight_exp: int = proc_params["weight_exp"]  # type: ignore[assignment]
        rows = 1 + max(delay for delay, _ in self._taps)
        self._ring: list[NDArray | None] = [None] * rows
        self._next = 0

    def run_spk(self) -> None:
        """Send what is due, then receive: in this order, or networks with loops would wait for themselves."""
        due = self._ring[self._next]
        self.a_out.send(np.zeros(self.a_out.shape, self.a_out._d_type) if due is None else due)
        self._ring[self._next] = None
        self._next = (self._next + 1) % len(self._ring)
        messages = self.s_in.recv()
        for delay, operator in self._taps:
            slot = (self._next + delay) % len(self._ring)
            activation = self._activation(operator, messages)
            waiting = self._ring[slot]
            self._ring[slot] = activation if waiting is None else waiting + activation

    def _activation(self, operator: Operator, messages: NDArray) -> NDArray:
        raise NotImplementedError


@implements(proc=GraphSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT)
class PyGraphSynapsesModelFloat(AbstractGraphSynapsesModel):
    """In float64."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)

    def _activation(self, operator: Operator, messages: NDArray) -> NDArray:
        return operator.dot(messages)


@implements(proc=GraphSynapses, protocol=LoihiProtocol)
@requires(CPU)
@tag(FIXED)
class PyGraphSynapsesModelFixed(AbstractGraphSynapsesModel):
    """In Loihi's integers, bit for bit what ``Sparse`` computes from the same weights."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=16)

    def _activation(self, operator: Operator, messages: NDArray) -> NDArray:
        total = operator.dot(messages.astype(np.int32, copy=False))
        shift = self._weight_exp
        return np.left_shift(total, shift) if shift > 0 else np.right_shift(total, -shift)


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
