"""A planned network as C99."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from neuromorphic.c import kernels
from neuromorphic.c.matrices import LINE_BYTES, Dense, Diagonal, Sparse, Stencil
from neuromorphic.c.plan import Cells, Plan, Source, Tap
from neuromorphic.compiler.network import GRADED, LIF, SUM
from neuromorphic.compiler.quantize import BIAS_FRACTION, DECAY_UNITY, STATE_LIMIT, FixedNetwork, FixedPopulation

WATCHED = ("current", "potential", "accumulated", "wrapped", "saturated")
"""What a library counts of each population: the largest |u| and |w|, and where registers were left."""
SHORT_ROWS = 8
"""Rows that 16 bits hold the sum of, from which on sums of 16 bits are worth their flushing."""


@dataclass(frozen=True)
class Tiles:
    """A call for each tile k of a dense matrix; of samples side by side all are done before the next tile."""

    call: str
    count: int


Line: TypeAlias = "str | Tiles"


@dataclass
class Program:
    """C of a network.

    Attributes:
        name: What its identifiers begin with.
        library: Whether constants are read from a table that the state points to, and a run of many samples is there:
            then the text is the same for all networks of the same shapes.
        constants: Arrays, in the order of that table.
        state: Fields of the state: type, name, elements.
        header, source: Texts.
    """

    name: str
    library: bool
    constants: dict[str, NDArray] = field(default_factory=dict)
    state: list[tuple[str, str, int]] = field(default_factory=list)
    header: str = ""
    source: str = ""

    @property
    def real(self) -> str:
        """The type of float networks."""
        return "double" if self.library else f"{self.name.upper()}_REAL"

    def type_of(self, number: np.dtype) -> str:
        """A number type in C."""
        return self.real if number.kind == "f" else f"{number.name}_t"

    def state_bytes(self, real: int = 8) -> int:
        """Bytes of the state, as compilers lay it out; its fields come in descending size."""
        sizes = [(size_of(kind, real), count) for kind, _, count in self.state]
        total = sum(size * count for size, count in sizes)
        largest = max(size for size, _ in sizes)
        return -(-total // largest) * largest


def size_of(kind: str, real: int) -> int:
    """Bytes of a C type."""
    digits = re.search(r"int(\d+)_t", kind)
    return int(digits[1]) // 8 if digits else 8 if "void" in kind else real


def comment(text: str) -> str:
    """A name of a node as it can stand in a comment."""
    return re.sub(r"[^\w .,:()-]", "_", text, flags=re.ASCII)


def write_program(plan: Plan, name: str, library: bool = False, watch: bool = False) -> Program:
    """Write a network as C.

    Args:
        plan: What it has to hold.
        name: What identifiers begin with.
        library: See :class:`Program`.
        watch: Count :data:`WATCHED`.
    """
    return _Writer(plan, Program(name, library), watch).write()


class _Writer:
    """One program in the making."""

    def __init__(self, plan: Plan, program: Program, watch: bool) -> None:
        self.plan, self.program, self.watch = plan, program, watch
        self.helpers: dict[str, str] = {}
        self.scratch: dict[tuple[str, str], int] = {}
        self.events = 0
        self.macros: list[str] = []
        self.last_start = max((max(c.population.bias.start, default=0) for c in plan.cells), default=0)
        self.with_phase = False
        self.shifts = False
        self.vectors = False
        self.tables = False
        self.eight = program.library and sys.byteorder == "little"

    # Constants

    def constant(self, name: str, values: NDArray) -> str:
        """Add an array; its name."""
        values = np.ascontiguousarray(values.reshape(-1))
        self.program.constants[name] = values
        return name

    def scalar_or_array(self, name: str, values: NDArray) -> tuple[str, str]:
        """A parameter of each neuron: a declaration for before the loop, and what stands for it within."""
        same = bool((values == values[0]).all())
        kind = self.program.type_of(values.dtype)
        self.constant(name, values[:1] if same else values)
        local = name.rsplit("_", 1)[1]
        if same:
            return f"const {kind} {local} = {name}[0];", local
        return f"const {kind} *const {local} = {name};", f"{local}[j]"

    # Helpers and scratch

    def helper(self, text: str, **types: str) -> str:
        """Have a function; its name."""
        made = kernels.instance(text, types)
        found = re.search(r"(\w+)\(", made.split("*/")[1])
        assert found is not None
        self.helpers.setdefault(found[1], made)
        return found[1]

    def buffer(self, use: str, kind: str, size: int) -> str:
        """A part of the state that holds nothing between steps."""
        self.scratch[use, kind] = max(self.scratch.get((use, kind), 0), size)
        return f"s->{use}_{kernels.short(kind)}"

    # Parts of a population's step

    def arrive(self, tap: Tap, sums: str, kind: str) -> list[Line]:
        """Add a tap's products to sums of a type."""
        source, form = self.plan.sources[tap.source], tap.form
        self.events = max(self.events, source.size)
        message = self.program.type_of(source.number)
        read = self.messages(tap)
        self.tables |= self.eight
        if tap.delay and source.spikes:
            kernel = kernels.EIGHT_EVENTS_OF_BITS if self.eight else kernels.EVENTS_OF_BITS
            return [
                f"s->count = {self.helper(kernel)}(s->events, {read}, {source.size});",
                *self.add(tap, sums, kind, None),
            ]
        if message == "int8_t" and isinstance(form, Dense):  # Integers that are spikes, as a rule.
            ones = self.helper(kernels.EIGHT_ONES if self.eight else kernels.ONES, M=message)
            others = self.helper(kernels.OTHERS, M=message)
            return [
                f"s->count = {ones}(s->events, {read}, {source.size});",
                *self.add(tap, sums, kind, None),
                f"s->count = {others}(s->events, {read}, {source.size});",
                *self.add(tap, sums, kind, read),
            ]
        found = self.helper(kernels.EIGHT_EVENTS if self.eight and source.spikes else kernels.EVENTS, M=message)
        weights = None if source.spikes else read
        return [f"s->count = {found}(s->events, {read}, {source.size});", *self.add(tap, sums, kind, weights)]

    def add(self, tap: Tap, sums: str, kind: str, messages: str | None) -> list[Line]:
        """Add the products of the events to sums of a type; messages are 1 where none are given."""
        form = tap.form
        names = {key: self.constant(tap.id + key, values) for key, values in form.constants.items()}
        types = {"W": self.program.type_of(form.constants[""].dtype), "S": kind}
        if messages is not None:
            types["M"] = self.program.type_of(self.plan.sources[tap.source].number)
        weighted = "" if messages is None else f", {messages}"
        if isinstance(form, Dense):
            return self.dense(form, tap.id, sums, types, weighted)
        if isinstance(form, Diagonal):
            weight = f"{names['']}[0]" if form.weights.size == 1 else f"{names['']}[s->events[k]]"
            factor = f"({kind})({messages})[s->events[k]] * " if weighted else ""
            return ["for (k = 0; k < s->count; k++)", f"    {sums}[s->events[k]] += {factor}{weight};"]
        if isinstance(form, Sparse):
            return [self.sparse(form, tap.id, sums, types, weighted)]
        lines: list[Line] = [f"{self.window(form, tap.id, types)}(s, {sums}, s->count{weighted});"]
        if form.rest is not None:
            lines.append(self.sparse(form.rest, f"{tap.id}_rest", sums, types, weighted))
        return lines

    def dense(self, form: Dense, name: str, sums: str, types: dict[str, str], weighted: str) -> list[Line]:
        """Calls for a dense matrix: tile by tile, and what is beyond the last one."""
        self.constant(name, form.constants[""])
        sources, width = form.weights.shape
        lines: list[Line] = []
        largest = int(np.abs(form.weights.astype(np.int64)).max(initial=0)) if form.weights.dtype.kind == "i" else 0
        most = min(1 << ((2**15 - 1) // largest).bit_length() - 1, 256) if largest else 0
        short = not weighted and form.weights.itemsize <= 2 and most >= SHORT_ROWS
        kernel = kernels.SHORT_TILE if short else kernels.WEIGHTED_TILE if weighted else kernels.TILE
        lanes = form.lanes if short else LINE_BYTES // size_of(types["S"], 8)
        for first, tile, count in form.tiles:
            shape = {"N": str(tile), "L": str(lanes), "R": str(tile // lanes)}
            self.vectors = True
            call = self.helper(kernel, **shape, **types)
            place = f"{sums} + {first} + k * {tile}, {name} + {sources * first} + k * {sources * tile}"
            last = f", {most}" if short else weighted
            lines.append(Tiles(f"{call}({place}, s->events, s->count{last});", count))
        if rest := width - form.tiled:
            call = self.helper(kernels.WEIGHTED_ROWS if weighted else kernels.ROWS, **types)
            place = f"{sums} + {form.tiled}, {name} + {sources * form.tiled}" if form.tiled else f"{sums}, {name}"
            lines.append(f"{call}({place}, {rest}, s->events, s->count{weighted});")
        return lines

    def sparse(self, form: Sparse, name: str, sums: str, types: dict[str, str], weighted: str) -> str:
        """A call for a sparse matrix."""
        own = {"W": form.weights.dtype, "T": form.target.dtype, "I": form.start.dtype}
        types = types | {letter: self.program.type_of(number) for letter, number in own.items()}
        call = self.helper(kernels.WEIGHTED_SPARSE if weighted else kernels.SPARSE, **types)
        return f"{call}({sums}, {name}, {name}_target, {name}_start, s->events, s->count{weighted});"

    def window(self, form: Stencil, name: str, types: dict[str, str]) -> str:
        """A function for a sliding window; its name."""
        (_, height, width), (channels, rows, columns), (sy, sx) = form.shape_in, form.shape, form.stride
        taps, reach = form.kernel.shape[1:]
        message = types.get("M")
        weighted = f", const {message} *messages" if message else ""
        kind, runs = types["S"], form.runs
        phased = form.stride != (1, 1)
        across, same = int(runs.taps[0]), runs.uniform
        factor = "message * " if message else ""
        arrays = ["first", "start", "down", "right", *([] if same else ["taps"]), *(["phase"] if phased else [])]
        add = f"out[at + o] += {factor}own[o];"
        lines = [
            "",
            f"/* A window over {form.shape_in}, which gives {form.shape}, a channel's outputs side by side. */",
            f"static void {name}_window({self.program.name}_state *s, {kind} *out, size_t count{weighted})",
            "{",
            f"    const {types['W']} *const kernels = {name};",
            *(
                f"    const {self.program.type_of(form.constants[f'_{a}'].dtype)} *const {a} = {name}_{a};"
                for a in arrays
            ),
            "    const event_t *const events = s->events;",
            "    size_t k, run;",
            "    for (k = 0; k < count; k++) {",
            f"        const size_t channel = events[k] / {height * width}u;",
            f"        const int32_t place = (int32_t)(events[k] % {height * width}u);",
            f"        const int32_t y = place / {width}, x = place % {width};",
            f"        const {types['W']} *const kernel = kernels + channel * {taps * reach};",
            *([f"        const size_t p = (size_t)(y % {sy} * {sx} + x % {sx});"] if phased else []),
            *([f"        const {kind} message = ({kind})messages[events[k]];"] if message else []),
            "        for (run = phase[p]; run < phase[p + 1]; run++) {"
            if phased
            else f"        for (run = 0; run < {len(runs.taps)}; run++) {{",
            f"            const int32_t row = y / {sy} + down[run], column = x / {sx} + right[run];",
            f"            const int32_t at = (row * {columns} + column) * {channels} + (int32_t)first[channel];",
            f"            const {types['W']} *const own = kernel + start[run] * {reach}u;",
            f"            int32_t o = 0, end = {across if same else 'taps[run]'} * {reach};",
            f"            if (row < 0 || row >= {rows})",
            "                continue;",
            f"            if (column >= 0 && column <= {columns} - {across if same else 'taps[run]'}) {{",
            f"                for (; o < {across * reach if same else 'end'}; o++)",
            f"                    {add}",
            "                continue;",
            "            }",
            "            if (column < 0)",
            f"                o = -column * {reach};",
            f"            if (end > ({columns} - column) * {reach})",
            f"                end = ({columns} - column) * {reach};",
            "            for (; o < end; o++)",
            f"                {add}",
            "        }",
            "    }",
            "}",
            "",
        ]
        self.helpers[f"{name}_window"] = "\n".join(lines)
        return f"{name}_window"

    def messages(self, tap: Tap) -> str:
        """What a tap reads, as a pointer."""
        source = self.plan.sources[tap.source]
        if tap.delay:
            return self.past(source, tap.delay)
        return f"in_{source.id}" if source.name in self.plan.network.inputs else f"s->{source.id}_sent"

    def past(self, source: Source, delay: int) -> str:
        """The row of messages that were sent some steps ago."""
        ahead = f" + {source.depth - delay}" if source.depth > delay else ""
        row = f"(s->{source.id}_slot{ahead}) % {source.depth}"
        return f"s->{source.id}_past + ({row}) * {self.row_size(source)}"

    @staticmethod
    def row_size(source: Source) -> int:
        """Elements of a remembered step."""
        return (source.size + 7) // 8 if source.spikes else source.size

    def settle(self, tap: Tap, cells: Cells, sums: str, total: str, operator: str) -> list[str]:
        """Bring finished sums into the total, shifted and in the order of the targets."""
        size, kind = cells.population.size, self.program.type_of(cells.number)
        place = "j"
        head, indent = [f"for (j = 0; j < {size}; j++)"], "    "
        if isinstance(tap.form, Stencil) and tap.form.shape[0] > 1:
            channels, rows, columns = tap.form.shape
            head = [
                f"for (k = 0; k < {channels}; k++)",
                f"    for (j = 0; j < {rows * columns}; j++)",
            ]
            total, place, indent = f"{total}[k * {rows * columns} + j]", f"j * {channels} + k", "        "
        else:
            total = f"{total}[j]"
        value = f"{sums}[{place}]"
        if not tap.shift.any():
            return [*head, f"{indent}{total} {operator} {value};"]
        if tap.shift.size == 1:
            shift = int(tap.shift[0])
            if shift > 0:
                return [*head, f"{indent}{total} {operator} ({kind}){value} * (({kind})1 << {shift});"]
            self.shifts = True
            return [*head, f"{indent}{total} {operator} ({kind})({value} >> {-shift});"]
        self.shifts = True
        name = self.constant(f"{tap.id}_shift", tap.shift)
        own = total[total.index("[") + 1 : -1]
        up = f"({kind}){value} * (({kind})1 << {name}[{own}])"
        down = f"({kind})({value} >> -{name}[{own}])"
        return [*head, f"{indent}{total} {operator} {name}[{own}] >= 0 ? {up} : {down};"]

    def sum_up(self, cells: Cells) -> tuple[list[Line], str]:
        """Lines that leave what reaches a population in a buffer, and its name."""
        p, kind = cells.population, self.program.type_of(cells.number)
        total = self.buffer("a", kind, p.size)
        lines: list[Line] = [*self.bias(cells, total, kind)]
        biased = bool(p.bias.start)
        for number, group in enumerate(cells.taps):
            if not self.plan.fixed:
                alone = not biased and number == 0 and len(group) == 1
                lines += self.float_group(cells, group, total, kind, alone)
                continue
            for tap in group:
                counted = self.watch and tap.limit is not None
                if tap.is_plain and not counted:
                    lines += self.arrive(tap, total, kind)
                    continue
                own = self.program.type_of(tap.number)
                sums = self.buffer("sums", own, p.size)
                lines += [*clear(sums, p.size), *self.arrive(tap, sums, own)]
                if counted:
                    beyond = f"{sums}[j] > {tap.limit} || {sums}[j] < -{tap.limit}"
                    lines += [f"for (j = 0; j < {p.size}; j++)", f"    {self.watched(cells, 2)} += {beyond};"]
                lines += self.settle(tap, cells, sums, total, "+=")
        return lines, total

    def float_group(self, cells: Cells, group: Sequence[Tap], total: str, kind: str, alone: bool) -> list[Line]:
        """A projection of floats: its delays are added up, the longest first, before they meet the rest."""
        size = cells.population.size
        if alone and group[0].is_plain:
            return self.arrive(group[0], total, kind)
        lines: list[Line] = []
        sums = self.buffer("sums", kind, size)
        arrived = self.buffer("arrived", kind, size) if len(group) > 1 else total
        for number, tap in enumerate(group):
            lines += [*clear(sums, size), *self.arrive(tap, sums, kind)]
            lines += self.settle(tap, cells, sums, arrived, "=" if len(group) > 1 and number == 0 else "+=")
        if len(group) > 1:
            lines += [f"for (j = 0; j < {size}; j++)", f"    {total}[j] += {arrived}[j];"]
        return lines

    def bias(self, cells: Cells, total: str, kind: str) -> list[str]:
        """Set the sums to what the bias adds in this step."""
        p, levels = cells.population, cells.population.bias
        cleared = clear(total, p.size)
        if not levels.start:
            return cleared
        values = levels.values
        name, own = f"{cells.id}_bias", self.program.type_of(values.dtype)
        even = bool((values == values[:, :1]).all())
        self.constant(name, values[:, :1] if even else values)
        reached = " + ".join("1" if start == 0 else f"(s->step >= {start})" for start in levels.start)
        lines = []
        row = name
        if levels.start != (0,):
            lines.append(f"const size_t level = {reached};")
            row = f"{name} + (level - 1)" + ("" if even else f" * {p.size}")
        value = "bias[0]" if even else "bias[j]"
        sent = value
        if self.plan.fixed:
            self.with_phase = self.shifts = True
            big = float(np.abs(values.astype(np.float64)).max(initial=0)) * 2**BIAS_FRACTION >= 2**31
            wide = "(int64_t)" if big else ""
            later, now = (f"(({wide}{value} * {phase}) >> {BIAS_FRACTION})" for phase in ("(phase + 1)", "phase"))
            sent = f"({kind})({later} - {now})"
        inner = [f"const {own} *const bias = {row};"]
        inner += ["const int32_t phase = (int32_t)s->phase;"] if self.plan.fixed else []
        if even:
            inner.append(f"const {kind} each = {sent};")
            sent = "each"
        inner += [f"for (j = 0; j < {p.size}; j++)", f"    {total}[j] = {sent};"]
        if levels.start[0] == 0:
            return [*lines, "{", *indented(inner), "}"] if lines else ["{", *indented(inner), "}"]
        return [*lines, "if (level == 0)", *indented(cleared), "else {", *indented(inner), "}"]

    def watched(self, cells: Cells, number: int) -> str:
        """A counter, see :data:`WATCHED`."""
        return f"s->watch[{self.plan.cells.index(cells) * len(WATCHED) + number}]"

    # A population

    def update(self, cells: Cells) -> str:
        """A function that does a population's step."""
        p, name = cells.population, self.program.name
        read = self.read_inputs(cells)
        lines: list[Line]
        if cells.copied is not None:
            source = self.plan.sources[cells.copied]
            origin = f"in_{source.id}" if source.name in self.plan.network.inputs else f"s->{source.id}_sent"
            lines = [f"memcpy(out, {origin}, {p.size} * sizeof *out);", "(void)s;"]
        else:
            lines, total = self.sum_up(cells)
            if p.kind == SUM:
                lines.append(f"memcpy(out, {total}, {p.size} * sizeof *out);")
            elif isinstance(p, FixedPopulation):
                lines += self.fixed_cells(cells, total)
            else:
                lines += self.float_cells(cells, total)
        body: list[str] = []
        for tiled, group in groupby(lines, lambda line: isinstance(line, Tiles)):
            if not tiled:
                body += self.of_samples([str(line) for line in group], cells)
                continue
            for tiles in group:
                assert isinstance(tiles, Tiles)
                body.append(f"for (k = 0; k < {tiles.count}; k++)")
                body += indented(self.of_samples([tiles.call], cells))
        used = "\n".join(body)
        counters = [c for c in ("j", "k", "b") if re.search(rf"\b{c}\b", used)]
        arguments = [f"const {self.program.type_of(s.number)} *in_{s.id}" for s in read]
        arguments += [f"{self.program.type_of(cells.sent)} *out"] if p.kind == SUM else []
        if self.program.library:
            first = [f"{name}_state *states", "size_t samples", "size_t t", "size_t steps"]
            arguments = [*first, *(a.replace("*in_", "*all_").replace("*out", "*all") for a in arguments)]
        else:
            arguments = [f"{name}_state *s", *arguments]
        about = f"\n/* {comment(p.name)}: {p.size} x {p.kind} */"
        head = f"static void {cells.id}_update({', '.join(arguments)})"
        unused = ["(void)t;", "(void)steps;"] if self.program.library else []
        own = [f"size_t {', '.join(counters)};"] if counters else []
        return "\n".join([about, head, "{", *indented([*own, *body, *unused]), "}", ""])

    def of_samples(self, lines: Sequence[str], cells: Cells) -> list[str]:
        """Lines for the state s: of a library for each of the samples."""
        if not self.program.library:
            return [*lines]
        text, type_of = "\n".join(lines), self.program.type_of
        own = [f"{self.program.name}_state *const s = states + b;"]
        for source in self.read_inputs(cells):
            if f"in_{source.id}" in text:
                kind = type_of(source.number)
                own.append(f"const {kind} *const in_{source.id} = all_{source.id} + (b * steps + t) * {source.size};")
        if re.search(r"\bout\b", text):
            size = cells.population.size
            own.append(f"{type_of(cells.sent)} *const out = all + (b * steps + t) * {size};")
        return ["for (b = 0; b < samples; b++) {", *indented([*own, *lines]), "}"]

    def read_inputs(self, cells: Cells) -> list[Source]:
        """Inputs that a population reads in this step."""
        names = {tap.source for group in cells.taps for tap in group if not tap.delay} | {cells.copied}
        return [self.plan.sources[name] for name in self.plan.network.inputs if name in names]

    def fixed_cells(self, cells: Cells, total: str) -> list[str]:
        """Neurons in Loihi's integers, see :func:`neuromorphic.execution.populations.fixed_step`."""
        p, wide = cells.population, cells.state.itemsize == 8
        assert isinstance(p, FixedPopulation)
        kind = self.program.type_of(cells.state)
        before, within = [f"{kind} *const v = s->{cells.id}_v;"], []
        sent = self.program.type_of(cells.sent)
        before.append(f"{sent} *const sent = s->{cells.id}_sent;")

        def decayed(register: NDArray, variable: str, name: str) -> str:
            keep = (DECAY_UNITY - register).astype(np.int32)
            if (keep == DECAY_UNITY).all():
                return variable
            declaration, value = self.scalar_or_array(f"{cells.id}_{name}", keep)
            before.append(declaration)
            return f"{self.helper(kernels.WIDE_ARITHMETIC if wide else kernels.ARITHMETIC)}({variable}, {value})"

        arrives = f"{total}[j] * {2**p.alignment}" if p.alignment else f"{total}[j]"
        if wide and cells.number.itemsize < 8:
            arrives = f"({kind}){arrives}"
        if cells.memory:
            before.append(f"{kind} *const current = s->{cells.id}_u;")
            arrives = f"{decayed(p.du, 'current[j]', 'keepu')} + {arrives}"
        within += [f"{kind} u = {arrives};", f"{kind} w;"]
        if self.watch and cells.wraps:
            within.append(f"wrapped += (u > {STATE_LIMIT}) | (u <= -{STATE_LIMIT});")
        if cells.wraps:
            around = f"u = u > {STATE_LIMIT} ? u - {2 * STATE_LIMIT} : u <= -{STATE_LIMIT} ? u + {2 * STATE_LIMIT} : u;"
            within.append(around)
        within.append(f"w = {decayed(p.dv, 'v[j]', 'keepv')} + u;")
        if self.watch:
            within.append(f"saturated += (w > {STATE_LIMIT - 1}) | (w < -{STATE_LIMIT - 1});")
        within.append(
            f"w = w > {STATE_LIMIT - 1} ? {STATE_LIMIT - 1} : w < -{STATE_LIMIT - 1} ? -{STATE_LIMIT - 1} : w;"
        )
        if self.watch:
            within += [line for name, at in PEAKS for line in peak(kind, name, at)]
        if cells.memory:
            within.append("current[j] = u;")
        if p.kind == GRADED:
            self.shifts = True
            within += ["v[j] = w;", f"sent[j] = ({sent})(w >> {p.message_shift});"]
        else:
            threshold = (p.threshold.astype(np.int64) << p.alignment).astype(cells.state)
            declaration, value = self.scalar_or_array(f"{cells.id}_threshold", threshold)
            before.append(declaration)
            after = "0" if p.kind == LIF else f"w - {value}"
            within += [f"sent[j] = w > {value};", f"v[j] = w > {value} ? {after} : w;"]
        if self.watch:
            before += [f"{kind} {name} = 0;" for name, _ in PEAKS] + ["int32_t wrapped = 0, saturated = 0;"]
        return self.neuron_loop(cells, before, within, counted=True)

    def float_cells(self, cells: Cells, total: str) -> list[str]:
        """Neurons in floats, see :class:`neuromorphic.compiler.network.Population`."""
        p, kind = cells.population, self.program.real
        before = [f"{kind} *const v = s->{cells.id}_v;"]
        sent = self.program.type_of(cells.sent)
        before.append(f"{sent} *const sent = s->{cells.id}_sent;")
        arrives = f"{total}[j]"

        def decayed(kept: NDArray, variable: str, name: str) -> str:
            if (kept == 1).all():
                return variable
            declaration, value = self.scalar_or_array(f"{cells.id}_{name}", kept)
            before.append(declaration)
            return f"{variable} * {value}"

        if cells.memory:
            before.append(f"{kind} *const current = s->{cells.id}_u;")
            arrives = f"{decayed(1 - p.du, 'current[j]', 'keepu')} + {arrives}"
        within = [f"const {kind} u = {arrives};"]
        within.append(
            f"const {kind} w = {decayed(1 - p.dv, 'v[j]', 'keepv')} + u;"
            if (p.dv != 1).any()
            else f"const {kind} w = u;"
        )
        if self.watch:
            within += [line for name, at in PEAKS for line in peak(kind, name, at)]
            before += [f"{kind} {name} = 0;" for name, _ in PEAKS]
        if cells.memory:
            within.append("current[j] = u;")
        if p.kind == GRADED:
            within += ["v[j] = w;", "sent[j] = w;"]
        else:
            declaration, value = self.scalar_or_array(f"{cells.id}_threshold", p.threshold)
            before.append(declaration)
            after = "0" if p.kind == LIF else f"w - {value}"
            within += [f"sent[j] = w > {value};", f"v[j] = w > {value} ? {after} : w;"]
        return self.neuron_loop(cells, before, within, counted=False)

    def neuron_loop(self, cells: Cells, before: list[str], within: list[str], counted: bool) -> list[str]:
        """The loop over a population's neurons."""
        loop = [f"for (j = 0; j < {cells.population.size}; j++) {{", *indented(within), "}"]
        after = []
        if self.watch:
            for number, (name, _) in enumerate(PEAKS):
                place = self.watched(cells, number)
                after += [f"if ({name} > {place})", f"    {place} = {name};"]
            if counted:
                after += [f"{self.watched(cells, 3)} += wrapped;", f"{self.watched(cells, 4)} += saturated;"]
        return ["{", *indented([*before, *loop, *after]), "}"]

    def finish(self) -> str:
        """A function that ends a step: what was sent is remembered."""
        lines = []
        outside = []
        for source in self.plan.sources.values():
            if not source.depth:
                continue
            is_input = source.name in self.plan.network.inputs
            sent = f"in_{source.id}" if is_input else f"s->{source.id}_sent"
            if is_input:
                outside.append(source)
            row = f"s->{source.id}_past + s->{source.id}_slot * {self.row_size(source)}"
            if source.spikes:
                lines.append(f"{self.helper(kernels.PACK)}({row}, {sent}, {source.size});")
            else:
                lines.append(f"memcpy({row}, {sent}, {source.size} * sizeof({self.program.type_of(source.number)}));")
            lines.append(f"s->{source.id}_slot = (s->{source.id}_slot + 1) % {source.depth};")
        if self.last_start:
            lines += [f"if (s->step < {self.last_start})", "    s->step++;"]
        if self.with_phase:
            lines.append(f"s->phase = (s->phase + 1) % {2**BIAS_FRACTION};")
        self.finishing = outside if lines else None
        if not lines:
            return ""
        arguments = [f"const {self.program.type_of(s.number)} *in_{s.id}" for s in outside]
        head = f"static void finish({', '.join([f'{self.program.name}_state *s', *arguments])})"
        return "\n".join(["", "/* Remember what is read in later steps. */", head, "{", *indented(lines), "}", ""])

    # The whole

    def fields(self) -> None:
        """Lay out the state, what is largest first."""
        out: list[tuple[str, str, int]] = []
        type_of = self.program.type_of
        for cells in self.plan.neurons:
            p = cells.population
            out.append((type_of(cells.state), f"{cells.id}_v", p.size))
            if cells.memory:
                out.append((type_of(cells.state), f"{cells.id}_u", p.size))
            out.append((type_of(cells.sent), f"{cells.id}_sent", p.size))
        for source in self.plan.sources.values():
            if source.depth:
                kind = "uint8_t" if source.spikes else type_of(source.number)
                out.append((kind, f"{source.id}_past", source.depth * self.row_size(source)))
                out.append(("uint32_t", f"{source.id}_slot", 1))
        out += [(kind, f"{use}_{kernels.short(kind)}", size) for (use, kind), size in self.scratch.items()]
        if self.events:
            out.append(("uint32_t", "count", 1))
            out.append(
                ("uint16_t" if self.events < 2**16 else "uint32_t", "events", self.events + (8 if self.eight else 1))
            )
        if self.last_start or not out:
            out.append(("uint32_t", "step", 1))
        if self.with_phase:
            out.append(("uint32_t", "phase", 1))
        out.sort(key=lambda f: -size_of(f[0], 8))
        if self.program.library:
            watch = [("int64_t" if self.plan.fixed else "double", "watch", len(self.plan.cells) * len(WATCHED))]
            out = [("const void *const *", "constants", 1), *(watch if self.watch else []), *out]
        self.program.state = out

    def write(self) -> Program:
        """Put it together."""
        updates = [self.update(cells) for cells in self.plan.cells]
        finish = self.finish()
        self.fields()
        program = self.program
        steps = "".join(updates) + finish
        steps += self.run() if program.library else self.step() + self.reset()
        heading = kernels.ARITHMETIC_SHIFT if self.shifts else ""
        event = next((kind for kind, name, _ in program.state if name == "events"), None)
        if event is not None:
            heading += f"\n/* Numbers of sources. */\ntypedef {event} event_t;\n"
        heading += kernels.tables() if self.tables else ""
        heading += kernels.VECTORS if self.vectors else ""
        text = heading + "\n" + self.constants() + "".join(self.helpers.values()) + steps
        program.header = self.header()
        include = f'#include "{program.name}.h"\n\n'
        pragma = ""
        if not self.plan.fixed:
            pragma = (
                "#if defined(__clang__)\n/* Products are rounded before they are added, as gcc does with -std=c99. */\n"
                "#pragma STDC FP_CONTRACT OFF\n#endif\n"
            )
        program.source = f"/* {self.about()} */\n{include}#include <stddef.h>\n#include <string.h>\n{pragma}{text}"
        return program

    def about(self) -> str:
        """The first line of each file."""
        arithmetic = "Loihi's integers" if self.plan.fixed else "floats"
        return f"{self.program.name}: a spiking network in {arithmetic}. Written by neuromorphic.export; do not edit."

    def constants(self) -> str:
        """Definitions of all arrays."""
        lines = []
        for number, (name, values) in enumerate(self.program.constants.items()):
            kind = self.program.type_of(values.dtype)
            if self.program.library:
                lines.append(f"#define {name} ((const {kind} *)s->constants[{number}])")
            else:
                lines.append(f"static const {kind} {name}[{values.size}] = {{\n{listing(values)}}};")
        return "\n".join(lines) + "\n"

    def arguments(self) -> tuple[list[Source], tuple[Cells, ...]]:
        """Inputs and outputs, in the order of the step's arguments."""
        return [self.plan.sources[name] for name in self.plan.network.inputs], self.plan.outputs

    def signature(self) -> str:
        """The step's declaration."""
        inputs, outputs = self.arguments()
        name, type_of = self.program.name, self.program.type_of
        arguments = [f"{name}_state *s"]
        arguments += [f"const {type_of(s.number)} in_{s.id}[{s.size}]" for s in inputs]
        arguments += [f"{type_of(c.sent)} out_{c.id}[{c.population.size}]" for c in outputs]
        return f"void {name}_step({', '.join(arguments)})"

    def step(self) -> str:
        """All populations, in their order."""
        inputs, outputs = self.arguments()
        lines = []
        used = {source.id for cells in self.plan.cells for source in self.read_inputs(cells)}
        used |= {source.id for source in self.finishing or ()}
        for cells in self.plan.cells:
            arguments = ["s", *(f"in_{source.id}" for source in self.read_inputs(cells))]
            arguments += [f"out_{cells.id}"] if cells in outputs else []
            lines.append(f"{cells.id}_update({', '.join(arguments)});")
        if self.finishing is not None:
            lines.append(f"finish({', '.join(['s', *(f'in_{source.id}' for source in self.finishing)])});")
        lines += [f"(void)in_{source.id};" for source in inputs if source.id not in used]
        return "\n".join(["", self.signature(), "{", *indented(lines), "}", ""])

    def reset(self) -> str:
        """Everything is 0 at first."""
        name = self.program.name
        lines = ["memset(s, 0, sizeof *s);"]
        return "\n".join(["", f"void {name}_reset({name}_state *s)", "{", *indented(lines), "}", ""])

    def run(self) -> str:
        """Steps of samples side by side, whose states follow each other: weights are fetched once for all of them."""
        inputs, outputs = self.arguments()
        name, type_of = self.program.name, self.program.type_of

        def row(array: str, number: int, kind: str, size: int, const: str = "const ") -> str:
            return f"({const}{kind} *){array}[{number}] + place * {size}"

        lines = ["size_t t, b;", "for (t = first; t < last; t++) {"]
        places = {source.id: number for number, source in enumerate(inputs)}
        body = []
        for number, cells in enumerate(self.plan.cells):
            size, own = cells.population.size, type_of(cells.sent)
            arguments = ["states", "samples", "t", "steps"]
            arguments += [f"in[{places[s.id]}]" for s in self.read_inputs(cells)]
            arguments += [f"sent[{number}]"] if cells in outputs else []
            body.append(f"{cells.id}_update({', '.join(arguments)});")
            if cells in outputs:
                continue
            inner = [
                f"{name}_state *const s = states + b;",
                "const size_t place = b * steps + t;",
                f"memcpy({row('sent', number, own, size, '')}, s->{cells.id}_sent, sizeof s->{cells.id}_sent);",
                f"if (potentials[{number}])",
                f"    memcpy({row('potentials', number, type_of(cells.state), size, '')}, s->{cells.id}_v,",
                f"           sizeof s->{cells.id}_v);",
            ]
            body += ["for (b = 0; b < samples; b++) {", *indented(inner), "}"]
        if self.finishing is not None:
            given = ["s", *(row("in", places[s.id], type_of(s.number), s.size) for s in self.finishing)]
            inner = [f"{name}_state *const s = states + b;", f"finish({', '.join(given)});"]
            if self.finishing:
                inner.insert(1, "const size_t place = b * steps + t;")
            body += ["for (b = 0; b < samples; b++) {", *indented(inner), "}"]
        lines += [*indented(body), "}", "(void)b;", "(void)in;", "(void)potentials;"]
        head = (
            f"void {name}_run({name}_state *states, size_t samples, size_t first, size_t last, size_t steps,\n"
            "    const void *const *in, void *const *sent, void *const *potentials)"
        )
        asked = f"size_t {name}_size(void)\n{{\n    return sizeof({name}_state);\n}}\n"
        prototypes = f"\n{head};\nsize_t {name}_size(void);\n"
        return "\n".join([prototypes, head, "{", *indented(lines), "}", "", asked])

    def header(self) -> str:
        """Sizes, units, the state and the functions."""
        name, plan = self.program.name, self.plan
        upper = name.upper()
        inputs, outputs = self.arguments()
        lines = [f"/* {self.about()} */", f"#ifndef {upper}_H", f"#define {upper}_H", "", "#include <stdint.h>", ""]
        lines += ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
        if not plan.fixed and not self.program.library:
            lines += [
                "/* double gives the spikes of the simulators; float is faster on small devices, may move a spike. */",
                f"#ifndef {upper}_REAL", f"#define {upper}_REAL double", "#endif", "",
            ]  # fmt: skip
        lines += [f"#define {upper}_DT {number(plan.network.dt)} /* seconds that a step stands for */"]
        for source in inputs:
            lines.append(f"#define {upper}_IN_{source.id.upper()}_SIZE {source.size} /* {comment(source.name)} */")
            if isinstance(plan.network, FixedNetwork):
                scale = plan.network.message_scale[source.name]
                lines.append(
                    f"#define {upper}_IN_{source.id.upper()}_SCALE {number(scale)} "
                    "/* a message is the value times this, rounded to the nearest, halves to even */"
                )
        for cells in outputs:
            lines.append(
                f"#define {upper}_OUT_{cells.id.upper()}_SIZE {cells.population.size} "
                f"/* {comment(cells.population.name)} */"
            )
            if isinstance(plan.network, FixedNetwork) and cells.sent != np.uint8:
                unit = output_unit(plan, cells)
                lines.append(
                    f"#define {upper}_OUT_{cells.id.upper()}_UNIT {number(unit)} /* times this is the value */"
                )
        lines += ["", "/* All that lasts from step to step; hold it where you like, it is all the memory there is. */"]
        lines += ["typedef struct {"]
        for kind, field_name, count in self.program.state:
            single = field_name in SINGLE or field_name.endswith("_slot")
            array = "" if single else f"[{count}]"
            lines.append(f"    {kind}{'' if kind.endswith('*') else ' '}{field_name}{array};")
        lines += [f"}} {name}_state;", ""]
        if not self.program.library:
            lines += ["/* To rest, before the first step. */", f"void {name}_reset({name}_state *s);", ""]
            lines += ["/* One step: what arrives in it, and what leaves. */", f"{self.signature()};", ""]
        lines += ["#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
        return "\n".join(lines)


SINGLE = ("constants", "step", "phase", "count")
"""Fields that are no arrays."""
PEAKS = (("peak_u", "u"), ("peak_w", "w"))
"""Variables of the largest |u| and |w|."""


def output_unit(plan: Plan, cells: Cells) -> float:
    """NIR's unit per unit of what an Output node gives."""
    assert isinstance(plan.network, FixedNetwork)
    if cells.copied is not None and plan.sources[cells.copied].spikes:
        return 1.0
    return float(plan.network.message_unit(cells.population)[0])


def clear(sums: str, size: int) -> list[str]:
    """Lines that set sums to 0: a loop, as gcc warns of a memset of as many bytes as the array has elements."""
    return [f"for (j = 0; j < {size}; j++)", f"    {sums}[j] = 0;"]


def peak(kind: str, name: str, at: str) -> list[str]:
    """Lines that keep the largest absolute value."""
    size = f"{at}_size"
    return [f"const {kind} {size} = {at} < 0 ? -{at} : {at};", f"{name} = {size} > {name} ? {size} : {name};"]


def indented(lines: Sequence[str]) -> list[str]:
    """Lines, four places further in."""
    return ["    " + line for line in lines]


def number(value: float) -> str:
    """A number in C, which every compiler reads as that one."""
    return repr(float(value))


def listing(values: NDArray) -> str:
    """Values of an array, some a line."""
    texts = list(map(repr, values.tolist()))
    if values.dtype == np.int64:  # ISO C has no negative constants: the least one would be too large before its sign.
        texts = [f"{text}LL" for text in texts]
    return "".join(", ".join(texts[k : k + 16]) + ",\n" for k in range(0, len(texts), 16))
