"""Networks as shared libraries: the C back end."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from neuromorphic.c.matrices import LINE_BYTES, Dense, synapses_of
from neuromorphic.c.plan import Plan, plan
from neuromorphic.c.program import WATCHED, Program
from neuromorphic.c.source import write_program
from neuromorphic.compiler.network import SUM, Network
from neuromorphic.compiler.operators import largest_of
from neuromorphic.compiler.quantize import BIAS_FRACTION, FixedNetwork
from neuromorphic.errors import PackagesMissingError, UserError, first_line
from neuromorphic.execution.c_compiler import compiler, shared_library
from neuromorphic.execution.populations import Overflow, PopulationRun, flat_inputs, potential_of, ranges_of

NAME = "network"
STEPS_A_CALL = 64
"""Number of steps of one call into C. Ctrl-C and the progress bar are served between calls."""
SAMPLES = 64
"""Number of samples that are computed side by side, so that weights are read once for all of them."""

C_TYPES = {f"{u}int{bits}_t": np.dtype(f"{u}int{bits}") for u in ("", "u") for bits in (8, 16, 32, 64)} | {
    "double": np.dtype(np.float64)
}
"""NumPy's types of the C types in a state."""

CACHE_BYTES = 32 << 10
"""Dense weights of which more are worth being fetched once for several steps."""
TOGETHER, ROOM_BYTES = 256, 4 << 20
"""Samples times steps that are done together, layer by layer, and what their sums take, both at most."""

SMALL = 20_000
"""Networks with fewer synapses than this are compiled with -O1: more optimisation would take longer than it saves."""


class Library:
    """A compiled network.

    Attributes:
        plan: The planned network, which has the weights.
        program: Its C code.
        together: Whether several steps are computed together, layer by layer: nothing is read in a later step.
    """

    def __init__(self, plan: Plan, watch: bool = False) -> None:
        """Compile, or reuse a library that was compiled before for a network of the same shapes.

        Raises:
            PackagesMissingError: there is no C compiler.
            UserError: the library cannot be written or loaded.
        """
        self.plan, self.watch = plan, watch
        self.limits: dict[str, int] = {}
        self.program = write_program(plan, NAME, library=True, watch=watch)
        taps = [t for c in plan.cells for group in c.taps for t in group]
        work = sum(synapses_of(t.form) for t in taps)
        dense = sum(t.form.weights.nbytes for t in taps if isinstance(t.form, Dense))
        self.together = dense > CACHE_BYTES and not any(source.depth for source in plan.sources.values())
        self._library = compiled(inlined(self.program), "-O1" if work < SMALL else "-O3")
        self._run = getattr(self._library, f"{NAME}_run")
        self._run.restype = None
        size, self._scratch_size = (getattr(self._library, f"{NAME}_{what}_size") for what in ("state", "scratch"))
        size.restype = self._scratch_size.restype = ctypes.c_size_t
        self._layout = np.dtype(
            [(name, np.uintp if "*" in kind else C_TYPES[kind], (count,)) for kind, name, count in self.program.state],
            align=True,
        )
        if self._layout.itemsize != size():
            raise UserError(
                f"the C compiler {compiler()} lays out a state of {self._layout.itemsize} bytes in {size()}; let PATH "
                "name another"
            )
        self._constants = [aligned(values) for values in self.program.constants.values()]
        self._table = (ctypes.c_void_p * max(len(self._constants), 1))(*(c.ctypes.data for c in self._constants))

    @classmethod
    def of(cls, network: Network, limits: Mapping[str, int] | None, watch: bool) -> Library:
        """Plan and compile a network; ``limits`` and ``watch``: see :func:`~neuromorphic.c.plan.plan`, :func:`run`."""
        made = cls(plan(network, limits, exact=True), watch)
        made.limits = dict(limits or {})
        return made

    def states(self, samples: int) -> NDArray[np.uint8]:
        """States at rest of B samples, shape (B, bytes). They are valid as long as the library exists."""
        states = np.zeros((samples, self._layout.itemsize), np.uint8)
        self.field(states, "constants")[:] = ctypes.addressof(self._table)
        return states

    def advance(
        self,
        states: NDArray[np.uint8],
        messages: Mapping[str, NDArray],
        sent: Mapping[str, NDArray],
        potentials: Mapping[str, NDArray],
        first: int,
        last: int,
    ) -> None:
        """Compute the steps from ``first`` to ``last``, without ``last``, of B samples.

        Args:
            states: States of the samples, shape (B, bytes), which are updated.
            messages: By input, contiguous, shape (B, T, n), of the plan's number type.
            sent: Written: messages by population, shape (B, T, M).
            potentials: Written: v by population, for the populations that are keys, shape (B, T, M).
            first, last: Range of steps, indices into T.
        """
        steps = next(iter(messages.values())).shape[1]

        def table(arrays: list[NDArray | None]) -> ctypes.Array[ctypes.c_void_p]:
            pointers = [None if array is None else array.ctypes.data for array in arrays]
            return (ctypes.c_void_p * max(len(pointers), 1))(*pointers)

        cells = [c.population.name for c in self.plan.cells]
        size = ctypes.c_size_t
        scratch = self._scratch_size()
        pairs = min(TOGETHER, ROOM_BYTES // scratch) if self.together else 1
        together = max(1, min(pairs // len(states), last - first))
        room = np.empty(len(states) * together * scratch + LINE_BYTES, np.uint8)
        self._run(
            ctypes.c_void_p(states.ctypes.data), ctypes.c_void_p(room.ctypes.data + -room.ctypes.data % LINE_BYTES),
            size(len(states)), size(first), size(last), size(steps), size(together),
            table([messages[name] for name in self.plan.network.inputs]),
            table([sent[name] for name in cells]),
            table([potentials.get(name) for name in cells]),
        )  # fmt: skip

    def steps(
        self,
        states: NDArray[np.uint8],
        inputs: Mapping[str, NDArray],
        potentials: Collection[str] = (),
    ) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Compute the next T steps of B samples, in blocks of samples and steps.

        Args:
            states: States of the samples, shape (B, bytes), which are updated.
            inputs: By name, shape (B, T, n). In fixed point: values before they are rounded to messages.
            potentials: Populations whose v is recorded.

        Returns:
            Messages of all populations, with spikes as bool, and v of ``potentials``; in the network's units and C's
            number types, shape (B, T, M).
        """
        network = self.plan.network
        samples, steps = next(iter(inputs.values())).shape[:2]
        sent = {
            c.population.name: np.zeros((samples, steps, c.population.size), bool if c.population.spikes else c.sent)
            for c in self.plan.cells
        }
        wanted = [c for c in self.plan.neurons if c.population.name in potentials]
        traces = {c.population.name: np.zeros((samples, steps, c.population.size), c.state) for c in wanted}
        bar = tqdm(total=samples, desc="run in C", unit=" samples", leave=False, delay=2)
        for start in range(0, samples, SAMPLES):
            own = slice(start, min(start + SAMPLES, samples))
            messages = {
                name: np.ascontiguousarray(
                    network.messages(name, values[own]).astype(self.plan.sources[name].number)
                    if isinstance(network, FixedNetwork)
                    else values[own]
                )
                for name, values in inputs.items()
            }
            rows = {name: values[own] for name, values in sent.items()}
            traced = {name: values[own] for name, values in traces.items()}
            for first in range(0, steps, STEPS_A_CALL):
                self.advance(states[own], messages, rows, traced, first, min(first + STEPS_A_CALL, steps))
            bar.update(own.stop - own.start)
        bar.close()
        return sent, traces

    def field(self, states: NDArray[np.uint8], name: str) -> NDArray:
        """A view of one field of all states, shape (B, elements)."""
        number, offset = self._layout.fields[name][:2]  # type: ignore[index]
        (count,) = number.shape
        kind = number.base
        view: NDArray = states[:, offset : offset + count * kind.itemsize].view(kind)
        return view

    def set_clocks(self, states: NDArray[np.uint8], step: int) -> None:
        """Set the step counters of states of shape (B, bytes), so that ``step`` is next."""
        fields = self._layout.names or ()
        if "step" in fields:
            self.field(states, "step")[:] = min(step, 2**32 - 1)
        if "phase" in fields:
            self.field(states, "phase")[:] = step % 2**BIAS_FRACTION

    def watched(self, states: NDArray[np.uint8]) -> NDArray:
        """Counters of states, shape (B, populations, 5), see :data:`~neuromorphic.c.program.WATCHED`."""
        values = self.field(states, "watch")
        return values.reshape(len(states), len(self.plan.cells), len(WATCHED))


def aligned(values: NDArray) -> NDArray:
    """A copy, of the same shape, whose memory begins at a line of the cache."""
    room = np.empty(values.nbytes + LINE_BYTES, np.uint8)
    start = -room.ctypes.data % LINE_BYTES
    copy: NDArray = room[start : start + values.nbytes].view(values.dtype)
    copy[:] = values
    return copy


def inlined(program: Program) -> str:
    """Header and source as one text."""
    return program.source.replace(f'#include "{program.name}.h"\n', program.header)


@lru_cache(maxsize=32)
def compiled(source: str, optimization: str) -> ctypes.CDLL:
    """Compile a source to a shared library; ``optimization`` is the compiler's option, such as ``-O2``.

    Raises:
        PackagesMissingError: there is no C compiler.
        UserError: the library cannot be written or loaded.
    """
    try:
        return shared_library(NAME, source, ("-std=c99", optimization))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        if compiler() is None:
            raise PackagesMissingError("the back end c needs a C compiler: install gcc or clang") from None
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        line = first_line(RuntimeError(said))
        raise UserError(
            f"the C compiler {compiler()} failed ({line}); let PATH or XDG_CACHE_HOME name another"
        ) from None


def run(
    network: Network,
    inputs: Mapping[str, NDArray],
    potentials: Collection[str] = (),
    batched: bool = False,
    watch: bool = False,
    find: Callable[[Network, Mapping[str, int] | None, bool], Library] = Library.of,
) -> PopulationRun:
    """Run a network from rest. Results equal :func:`neuromorphic.execution.populations.run` bit for bit, peaks apart.

    Args:
        network: Float or fixed-point network.
        inputs: By name, shape (T, *shape). In fixed point: values before they are rounded to messages.
        potentials: Populations whose potentials are recorded.
        batched: Whether inputs and results have a leading axis of B samples, shape (B, T, *shape).
        watch: For floats: whether the ranges of currents and potentials are recorded. For integers they always are,
            with overflows.
        find: (network, limits of messages, watch) -> library.

    Raises:
        PackagesMissingError: there is no C compiler.
        UnsupportedGraphError: sums could leave 63 bits.
    """
    x = {name: values if batched else values[None] for name, values in flat_inputs(inputs, batched)[1].items()}
    fixed = network if isinstance(network, FixedNetwork) else None
    limits = (
        {name: int(largest_of(fixed.messages(name, np.array(largest_of(v))))) for name, v in x.items()}
        if fixed
        else None
    )
    library = find(network, limits, watch or fixed is not None)
    samples, steps = next(iter(x.values())).shape[:2]
    states = library.states(samples)
    sent, traces = library.steps(states, x, potentials)
    return record(library, x, sent, traces, library.watched(states) if library.watch else None, steps, batched)


def record(
    library: Library,
    x: Mapping[str, NDArray],
    sent: Mapping[str, NDArray],
    traces: Mapping[str, NDArray],
    seen: NDArray | None,
    steps: int,
    batched: bool,
) -> PopulationRun:
    """Results of a run, in the number types and units of the simulators in NumPy.

    Args:
        library: The library that ran.
        x: Inputs, shape (B, T, n).
        sent: Messages, shape (B, T, M).
        traces: Potentials, shape (B, T, M).
        seen: Counters of :meth:`Library.watched`; None where nothing was watched.
        steps: T.
        batched: Whether results keep the axis of samples.
    """
    network = library.plan.network
    fixed = network if isinstance(network, FixedNetwork) else None
    sent, potentials = as_simulated(network, sent, traces)
    names = [c.population.name for c in library.plan.cells]
    current, potential = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    overflow = {name: Overflow() for name in names if fixed is not None}
    if seen is not None:
        for k, p in enumerate(c.population for c in library.plan.cells):
            peaks = seen[:, k, :2].max(axis=0).astype(float) if p.kind != SUM else [largest_of(sent[p.name])] * 2
            current[p.name], potential[p.name] = float(peaks[0]), float(peaks[1])
            if fixed is not None:
                overflow[p.name] = Overflow(*(int(count) for count in seen[:, k, 2:].sum(axis=0)))
    ranges = ranges_of(network, x, sent, current, potential, steps)
    if not batched:
        sent = {name: values[0] for name, values in sent.items()}
        potentials = {name: values[0] for name, values in potentials.items()}
    return PopulationRun(sent, potentials, {}, ranges, overflow)


def as_simulated(
    network: Network, sent: Mapping[str, NDArray], traces: Mapping[str, NDArray]
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """Messages in the number types of the simulators in NumPy, and potentials in NIR's units; shapes stay."""
    wide = np.int64 if isinstance(network, FixedNetwork) else np.float64
    messages = {
        name: values if values.dtype == bool else values.astype(wide, copy=False) for name, values in sent.items()
    }
    potentials = {}
    for p in network.populations:
        if p.name in traces:
            values = traces[p.name]
            potentials[p.name] = potential_of(p, (values, values))
    return messages, potentials
