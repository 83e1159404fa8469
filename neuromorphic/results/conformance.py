"""The results of simulators on the golden graphs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from neuromorphic.arguments import listed
from neuromorphic.errors import counted, first_line
from neuromorphic.golden.cases import FAMILIES, Case
from neuromorphic.golden.files import TOLERANCE, digest_of, expected_arrays
from neuromorphic.golden.simulators import Simulator
from neuromorphic.nir_file import write_nir
from neuromorphic.results.tables import Table, versions

SCHEMA = 1
"""Raised whenever a key of the report changes its meaning or goes."""
AGREES, DIFFERS, FAILS = "agrees", "differs", "fails"
"""Verdicts. A simulator fails if it raises an error, or returns anything but arrays of the right shape."""
FIXED_TOLERANCE = 0.02
"""Tolerance of numbers in Loihi's integers."""
DEADLINE = 30.0
"""Seconds of CPU time that a graph may take."""


@dataclass(frozen=True)
class Difference:
    """The first value that differs: the earliest step, then in the order of Output nodes, spikes and potentials.

    Attributes:
        node: An Output node; or a neuron node or NODE.potential, if the simulator returns them.
        sample, step, neuron: The place; ``neuron`` is an index in C order over the node's shape.
        expected, got: The two values.
        cells: Number of values that differ, of all that were compared.
    """

    node: str
    sample: int
    step: int
    neuron: int
    expected: float
    got: float
    cells: tuple[int, int]

    def __str__(self) -> str:
        place = f"sample {self.sample}, " if self.sample else ""
        return f"'{self.node}', {place}step {self.step}, neuron {self.neuron}: {self.expected:g} expected, {self.got:g}"


@dataclass(frozen=True)
class Verdict:
    """The result of a simulator on one golden graph.

    Attributes:
        case: The golden graph.
        verdict: :data:`AGREES`, :data:`DIFFERS` or :data:`FAILS`.
        difference: The first difference, if there is one.
        message: The error of a simulator that fails.
    """

    case: Case
    verdict: str
    difference: Difference | None = None
    message: str = ""

    def __str__(self) -> str:
        return self.message or ("" if self.difference is None else str(self.difference))


def judged(case: Case, given: Any, tolerance: float) -> Verdict:
    """Compare the results of a simulator with the expected values."""
    expected = expected_arrays(case)
    outputs = case.solved[1].outputs
    if not isinstance(given, Mapping):
        given = {next(iter(outputs)): given} if len(outputs) == 1 else {}
    if missing := [name for name in outputs if name not in given]:
        return Verdict(case, FAILS, message=f"gives no '{missing[0]}'")
    first: Difference | None = None
    wrong = cells = 0
    for name, wanted in expected.items():
        if name not in given:
            continue
        try:
            got = as_floats(given[name]).reshape(wanted.shape)
        except (TypeError, ValueError) as error:
            shape = getattr(given[name], "shape", None)
            what = (
                f"shape {tuple(shape)}"
                if shape is not None
                else f"a {type(given[name]).__name__} ({first_line(error)})"
            )
            return Verdict(case, FAILS, message=f"gives '{name}' as {what}, not {wanted.shape}")
        room = tolerance * max(1.0, float(np.abs(wanted).max(initial=0.0)))
        different = ~(np.abs(got - wanted) <= room)  # NaN is a difference.
        wrong, cells = wrong + int(different.sum()), cells + different.size
        if different.any():
            found = place(name, different, wanted, got)
            if first is None or found.step < first.step:
                first = found
    if first is None:
        return Verdict(case, AGREES)
    return Verdict(case, DIFFERS, Difference(**(asdict(first) | {"cells": (wrong, cells)})))


def as_floats(values: Any) -> NDArray[np.float64]:
    """An array, or a tensor, as float64."""
    for method in ("detach", "cpu"):  # A tensor of PyTorch that NumPy does not take as it is.
        values = getattr(values, method, lambda values=values: values)()
    return np.asarray(values, np.float64)


def place(name: str, different: NDArray[np.bool_], wanted: NDArray, got: NDArray) -> Difference:
    """The place of the first difference in an array, shape (B, T, *shape)."""
    flat, numbers, own = (x.reshape(*x.shape[:2], -1) for x in (different, wanted, got))
    step = int(flat.any(axis=(0, 2)).argmax())
    sample, neuron = (int(k) for k in np.argwhere(flat[:, step])[0])
    at = sample, step, neuron
    return Difference(name, *at, float(numbers[at]), float(own[at]), (0, 0))


@dataclass(frozen=True, eq=False, repr=False)
class Conformance:
    """The results of a simulator on golden graphs. True if it agrees in all of them.

    Attributes:
        simulator: Name of the simulator.
        verdicts: In the order of the cases.
        tolerance: Tolerance of numbers, see :data:`neuromorphic.golden.files.TOLERANCE`.
    """

    simulator: str
    verdicts: tuple[Verdict, ...]
    tolerance: float = TOLERANCE

    @property
    def agrees(self) -> bool:
        """Whether it agrees in all of them."""
        return all(verdict.verdict == AGREES for verdict in self.verdicts)

    def __bool__(self) -> bool:
        return self.agrees

    def families(self) -> Iterator[tuple[str, list[Verdict]]]:
        """Verdicts by family."""
        for family in FAMILIES:
            if own := [verdict for verdict in self.verdicts if verdict.case.family == family]:
                yield family, own

    def report(self) -> dict[str, Any]:
        """Everything, as plain JSON types."""
        return {
            "schema": SCHEMA,
            "simulator": self.simulator,
            "digest": digest_of(verdict.case for verdict in self.verdicts),
            "tolerance": self.tolerance,
            "agree": count(self.verdicts, AGREES),
            "cases": len(self.verdicts),
            "families": {
                family: {word: count(own, word) for word in (AGREES, DIFFERS, FAILS)} for family, own in self.families()
            },
            "verdicts": [
                {"name": v.case.name, "family": v.case.family, "about": v.case.about, "verdict": v.verdict}
                | ({"first_difference": asdict(v.difference)} if v.difference else {})
                | ({"message": v.message} if v.message else {})
                for v in self.verdicts
            ],
            "versions": versions(
                "gshn", "nir", "numpy", "torch", "lava-nc", "snntorch", "norse", "sinabs", "spikingjelly"
            ),
        }

    def tables(self) -> list[Table]:
        """A row for each family, and one for each case in which it differs."""
        rows = [
            (family, *(str(count(own, word)) for word in (AGREES, DIFFERS, FAILS)), str(len(own)))
            for family, own in self.families()
        ]
        total = (*(str(count(self.verdicts, word)) for word in (AGREES, DIFFERS, FAILS)), str(len(self.verdicts)))
        title = f"{self.simulator} on {counted(len(self.verdicts), 'golden graph')}"
        out = [Table(title, ("family", AGREES, DIFFERS, FAILS, "of"), [*rows, ("all", *total)])]
        found = [(v.case, v.difference) for v in self.verdicts if v.difference is not None]
        if found:
            rows = [
                (case.name, d.node, f"{d.sample}, {d.step}", str(d.neuron), f"{d.expected:g}", f"{d.got:g}",
                 f"{d.cells[0]:,} of {d.cells[1]:,}")
                for case, d in found
            ]  # fmt: skip
            columns = ("graph", "node", "sample, step", "neuron", "expected", "got", "values that differ")
            out.append(Table("the first difference of each graph that differs", columns, rows))
        return out

    def failures(self) -> dict[str, list[str]]:
        """Graphs by the simulator's error, the most frequent first."""
        found: dict[str, list[str]] = {}
        for verdict in self.verdicts:
            if verdict.verdict == FAILS:
                found.setdefault(verdict.message, []).append(verdict.case.name)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    def print(self) -> None:
        """Print it to the terminal."""
        from rich.console import Console

        console = Console(markup=False, emoji=False)
        for table in self.tables():
            table.print(console)
        for message, names in self.failures().items():
            console.print(f"fails: {message}: {listed(names, 12)}", highlight=False, soft_wrap=True)

    def __repr__(self) -> str:
        return f"<Conformance of {self.simulator}: {count(self.verdicts, AGREES)} of {len(self.verdicts)} graphs agree>"


def count(verdicts: Iterable[Verdict], word: str) -> int:
    """Number of graphs with a verdict."""
    return sum(verdict.verdict == word for verdict in verdicts)


class StillRunning(Exception):
    """A simulator took too long."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Stop a computation after some seconds of CPU time, which other work on the machine does not change.

    This works in the main thread only, where Python calls signal handlers.

    Raises:
        StillRunning: the time is over.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise StillRunning(f"gives nothing in {seconds:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def ask(
    name: str, simulate: Simulator, cases: Iterable[Case], tolerance: float = TOLERANCE, deadline: float = DEADLINE
) -> Conformance:
    """Run golden graphs on a simulator. An error that it raises, or a graph that takes too long, is a verdict, too."""
    verdicts = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "graph.nir"
        for case in tqdm(list(cases), name, unit=" graphs", leave=False, delay=1):
            write_nir(path, case.graph)
            inputs = {node: x.copy() for node, x in case.solved[0].items()}
            try:
                with at_most(deadline):
                    given = simulate(path, inputs, case.dt)
            except Exception as error:
                verdicts.append(Verdict(case, FAILS, message=f"{type(error).__name__}: {first_line(error)[:160]}"))
            else:
                verdicts.append(judged(case, given, tolerance))
    return Conformance(name, tuple(verdicts), tolerance)
