"""A C program while it is written: constants, functions, state and text."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neuromorphic.c import kernels
from neuromorphic.c.plan import Cells, Plan, Source

WATCHED = ("current", "potential", "accumulated", "wrapped", "saturated")
"""Counters of each population in a library: the largest |u| and |w|, and the number of overflows of each register."""


@dataclass
class Program:
    """C code of a network.

    Attributes:
        name: Prefix of its identifiers.
        library: Whether the code is for a shared library. Then constants are read from a table that the state points
            to, so that networks of the same shapes share their code, and there is a function for many samples.
        constants: Constant arrays, in the order of that table.
        state: Fields of the state: (type, name, number of elements).
        scratch: For a library: fields that hold nothing between steps, and are not part of the state.
        header, source: Text of the files.
    """

    name: str
    library: bool
    constants: dict[str, NDArray] = field(default_factory=dict)
    state: list[tuple[str, str, int]] = field(default_factory=list)
    scratch: list[tuple[str, str, int]] = field(default_factory=list)
    header: str = ""
    source: str = ""

    @property
    def real(self) -> str:
        """C type of the numbers of a float network."""
        return "double" if self.library else f"{self.name.upper()}_REAL"

    def type_of(self, number: np.dtype) -> str:
        """A number type in C."""
        return self.real if number.kind == "f" else f"{number.name}_t"

    def state_bytes(self, real: int = 8) -> int:
        """Bytes of the state in C; ``real`` is the size of a float. Its fields are in order of descending size."""
        sizes = [(size_of(kind, real), count) for kind, _, count in self.state]
        total = sum(size * count for size, count in sizes)
        largest = max(size for size, _ in sizes)
        return -(-total // largest) * largest


def size_of(kind: str, real: int) -> int:
    """Bytes of a C type."""
    digits = re.search(r"int(\d+)_t", kind)
    return int(digits[1]) // 8 if digits else 8 if "void" in kind else real


class Parts:
    """Helpers, constants and buffers of a program, to which its parts add. Each is there once."""

    def __init__(self, plan: Plan, program: Program, watch: bool) -> None:
        self.plan, self.program, self.watch = plan, program, watch
        self.helpers: dict[str, str] = {}
        self.scratch: dict[tuple[str, str], int] = {}
        self.events = 0
        self.last_start = max((max(c.population.bias.start, default=0) for c in plan.cells), default=0)
        self.with_phase = False
        self.shifts = False
        self.with_others = False
        self.vectors = False
        self.tables = False
        self.eight = program.library and sys.byteorder == "little"
        self.room = "scratch" if program.library else "s"
        self.found, self.count = f"{self.room}->events", f"{self.room}->count"

    def constant(self, name: str, values: NDArray) -> str:
        """Add a constant array of any shape, and return its name."""
        values = np.ascontiguousarray(values.reshape(-1))
        self.program.constants[name] = values
        return name

    def scalar_or_array(self, name: str, values: NDArray) -> tuple[str, str]:
        """A parameter of all neurons, ``values`` of shape (M,): a declaration before the loop, and its expression in
        it."""
        same = bool((values == values[0]).all())
        kind = self.program.type_of(values.dtype)
        self.constant(name, values[:1] if same else values)
        local = name.rsplit("_", 1)[1]
        if same:
            return f"const {kind} {local} = {name}[0];", local
        return f"const {kind} *const {local} = {name};", f"{local}[j]"

    def helper(self, text: str, **types: str) -> str:
        """Add a function, see :mod:`neuromorphic.c.kernels`, and return its name."""
        made = kernels.instance(text, types)
        found = re.search(r"(\w+)\(", made.split("*/")[1])
        assert found is not None
        self.helpers.setdefault(found[1], made)
        return found[1]

    def buffer(self, use: str, kind: str, size: int) -> str:
        """Add a buffer whose content is not kept between steps, and return its name."""
        self.scratch[use, kind] = max(self.scratch.get((use, kind), 0), size)
        return f"{self.room}->{use}_{kernels.short(kind)}"

    def sent(self, source: Source) -> str:
        """What a source sends in this step, as a pointer."""
        if source.name in self.plan.network.inputs:
            return f"in_{source.id}"
        return f"sent_{source.id}" if self.program.library else f"s->{source.id}_sent"

    def watched(self, cells: Cells, number: int) -> str:
        """Expression of a counter, see :data:`WATCHED`."""
        return f"s->watch[{self.plan.cells.index(cells) * len(WATCHED) + number}]"


def comment(text: str) -> str:
    """The name of a node, in a form that is safe inside a comment."""
    return re.sub(r"[^\w .,:()-]", "_", text, flags=re.ASCII)


def indented(lines: Sequence[str]) -> list[str]:
    """Lines indented by four spaces."""
    return ["    " + line for line in lines]


def literal(value: float) -> str:
    """A number as a literal of C that every compiler reads as exactly this number."""
    return repr(float(value))


def listing(values: NDArray) -> str:
    """Values of an array, of any shape, as the text of an initialiser with several values on a line."""
    texts = list(map(repr, values.tolist()))
    if values.dtype == np.int64:  # ISO C has no negative constants: the least one would be too large before its sign.
        texts = [f"{text}LL" for text in texts]
    return "".join(", ".join(texts[k : k + 16]) + ",\n" for k in range(0, len(texts), 16))
