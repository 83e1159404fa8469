"""Our own Lava processes. Import :mod:`neuromorphic.lava.compat` and call ``mend_lava`` first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from numpy.typing import NDArray

from neuromorphic.compiler.network import Levels
from neuromorphic.compiler.operators import Operator


class Synapses(AbstractProcess):
    """Synapses with delays: in its step t, the target gets the sum over d of operator_d s[t - d], where s[t] is what
    the source sent in its own step t.

    Args:
        taps: Operators by delay, in steps.
        lags: Lags of source and target, in Lava's steps: the step t of either is Lava's step t + lag.
        latency: 1 as of ``lava.proc.sparse.Sparse``, or 0, which no chip has.
        scaled: Fixed point: what becomes of a product, see ``neuromorphic.compiler.quantize.FixedProjection.scaled``.
    """

    def __init__(
        self,
        *,
        taps: Mapping[int, Operator],
        lags: tuple[int, int],
        latency: int = 1,
        scaled: Callable[[NDArray], NDArray] | None = None,
        name: str,
    ) -> None:
        super().__init__(taps=dict(taps), lags=lags, latency=latency, scaled=scaled, name=name)
        rows, columns = next(iter(taps.values())).shape
        self.s_in = InPort(shape=(columns,))
        self.a_out = OutPort(shape=(rows,))


class Source(AbstractProcess):
    """Sends the rows of an array, one in each step, and then zeros. Lava's ``RingBuffer`` gathers rows from columns.

    Args:
        rows: Shape (T, size).
    """

    def __init__(self, *, rows: NDArray, name: str) -> None:
        super().__init__(rows=rows, name=name)
        self.s_out = OutPort(shape=rows.shape[1:])


class Bias(AbstractProcess):
    """Sends a bias, starting in the step in which its population does its step 0.

    A bias given to Lava's LIF acts from Lava's first step on, before the population's own first step.

    Args:
        levels: The bias.
        lag: Lava's step, counted from 0, in which the population does its step 0.
    """

    def __init__(self, *, levels: Levels, lag: int, name: str) -> None:
        super().__init__(levels=levels, lag=lag, name=name)
        self.a_out = OutPort(shape=(levels.values.shape[1],))


class Recorder(AbstractProcess):
    """Writes its input to an array on disk. Reading results through Lava (``Var.get``) takes 13 us an element.

    Args:
        rows: A ``.npy`` file of shape (T, size) that exists.
        lag: Lava's step, counted from 0, in which the first row arrives.
    """

    def __init__(self, *, rows: Path, size: int, lag: int, name: str) -> None:
        super().__init__(rows=str(rows), lag=lag, name=name)
        self.s_in = InPort(shape=(size,))


class Graded(AbstractProcess):
    """LI, I and CubaLI: Lava's LIF without threshold, that sends its potential. Lava has no such process.

    u' = (1 - du) u + a_in;  v' = (1 - dv) v + u';  s_out = v'  (fixed point: v' 2^-message_shift,
    rounded down)

    Args:
        du, dv: Shape (M,); in fixed point what u and v lose of 4096.
        message_shift: Fixed point only.
    """

    def __init__(self, *, du: NDArray, dv: NDArray, message_shift: int = 0, name: str) -> None:
        super().__init__(du=du, dv=dv, message_shift=message_shift, name=name)
        self.a_in = InPort(shape=du.shape)
        self.s_out = OutPort(shape=du.shape)


class Subtract(AbstractProcess):
    """Neurons that are reset by subtraction: Lava's LIF with another reset, which Lava has no process for.

    Its ATRLIF adds up what spikes have subtracted in a variable of its own. Of integrators that grows for ever.

    u' = (1 - du) u + a_in;  w = (1 - dv) v + u';  s_out = w > threshold;  v' = w - threshold s_out

    Args:
        du, dv: Shape (M,); in fixed point du is the register, that is, one less than what u loses of 4096.
        threshold: Shape (M,); in fixed point shifted left by 6 to meet v.
    """

    def __init__(self, *, du: NDArray, dv: NDArray, threshold: NDArray, name: str) -> None:
        super().__init__(du=du, dv=dv, threshold=threshold, name=name)
        self.a_in = InPort(shape=du.shape)
        self.s_out = OutPort(shape=du.shape)


class Sum(AbstractProcess):
    """An output of the graph: sends the sum of its inputs."""

    def __init__(self, *, size: int, name: str) -> None:
        super().__init__(name=name)
        self.a_in = InPort(shape=(size,))
        self.s_out = OutPort(shape=(size,))


class Tie(AbstractProcess):
    """Receives from two processes and does nothing. It connects parts of a network that are not connected."""

    def __init__(self, *, sizes: tuple[int, int]) -> None:
        super().__init__()
        self.a, self.b = (InPort(shape=(size,)) for size in sizes)
