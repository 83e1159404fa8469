"""A program as Lava processes. Import :mod:`neuromorphic.lava.compat` and call ``mend_lava`` first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode

from neuromorphic.lava.program import FIXED, FLOAT, Program

GRADED = 24
"""Bits of a graded message. ``Sparse`` takes messages as 0 or 1 where it is told 0; otherwise the number is not used.
Spikes too are sent so: the product with all of the weights is faster than that with the columns of those that spiked,
which ``Sparse`` would copy from a row-major matrix in every step."""


class SpikeFile(AbstractProcess):
    """Writes spikes to an array on disk: reading them back through Lava (``Var.get``) takes 13 us for each element.

    Args:
        path: A ``.npy`` file of shape (T, size) that exists.
        size: Neurons.
        delay: Lava's step, counted from 0, in which the first row arrives.
    """

    def __init__(self, *, path: Path, size: int, delay: int) -> None:
        super().__init__(path=str(path), delay=delay)
        self.s_in = InPort(shape=(size,))


@implements(proc=SpikeFile, protocol=LoihiProtocol)
@requires(CPU)
@tag(FLOAT, FIXED)
class PySpikeFileModel(PyLoihiProcessModel):
    """The process model of :class:`SpikeFile`."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, bool, precision=1)

    def __init__(self, proc_params: dict[str, object]) -> None:
        super().__init__(proc_params)
        self.rows = np.load(str(proc_params["path"]), mmap_mode="r+")
        self.delay = int(str(proc_params["delay"]))

    def run_spk(self) -> None:
        """Receive and write one step."""
        spikes = self.s_in.recv()
        row = self.time_step - 1 - self.delay
        if 0 <= row < len(self.rows):
            self.rows[row] = spikes


def build(program: Program, folder: Path) -> AbstractProcess:
    """Build and connect the processes; layer k's spikes go to ``folder / f"{k}.spikes.npy"``.

    Returns:
        One of the processes; Lava finds the others through their connections.
    """
    source = RingBuffer(data=program.input_schedule())
    before = source.s_out
    for k, population in enumerate(program.populations):
        size = len(population.vth)
        synapses = Sparse(
            weights=population.weight,
            weight_exp=population.weight_exp,
            sign_mode=SignMode.MIXED,
            num_message_bits=GRADED,
            name=f"synapses_{k}",
        )
        bias = RingBuffer(data=program.bias_schedule(k))
        bias_synapses = Sparse(
            weights=population.bias_weight,
            weight_exp=population.bias_weight_exp,
            sign_mode=SignMode.MIXED,
            num_message_bits=GRADED,
            name=f"bias_synapses_{k}",
        )
        neurons = LIF(shape=(size,), du=population.du, dv=population.dv, vth=population.vth, name=f"lif_{k}")
        sink = SpikeFile(path=folder / f"{k}.spikes.npy", size=size, delay=k + 1)
        before.connect(synapses.s_in)
        bias.s_out.connect(bias_synapses.s_in)
        synapses.a_out.connect(neurons.a_in)
        bias_synapses.a_out.connect(neurons.a_in)
        neurons.s_out.connect(sink.s_in)
        before = neurons.s_out
    return source
