"""Synapses in C: the sums of a population in a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from neuromorphic.c import kernels
from neuromorphic.c.matrices import LINE_BYTES, Dense, Diagonal, Sparse, Stencil
from neuromorphic.c.plan import Cells, Source, Tap
from neuromorphic.c.program import Parts, indented, size_of
from neuromorphic.compiler.quantize import BIAS_FRACTION

SHORT_ROWS = 8
"""Sums in 16 bits are used if they hold at least this number of rows before they must be added to the wider sums."""


@dataclass(frozen=True)
class Tiles:
    """A call for each tile k of a dense matrix. A tile is done for all samples of a block before the next tile.

    Attributes:
        where: C condition for the calls; empty if there is none.
    """

    call: str
    count: int
    where: str = ""


Line: TypeAlias = "str | Tiles"


class Synapses(Parts):
    """Lines of C that sum the bias of a population and the products of its taps into a buffer."""

    def sum_up(self, cells: Cells) -> tuple[list[Line], str]:
        """Lines that sum all inputs of a population, and the name of the buffer with the sums."""
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

    def arrive(self, tap: Tap, sums: str, kind: str) -> list[Line]:
        """Lines that add the products of a tap to ``sums``, of the C type ``kind``."""
        source, form = self.plan.sources[tap.source], tap.form
        self.events = max(self.events, source.size)
        message = self.program.type_of(source.number)
        read = self.messages(tap)
        self.tables |= self.eight
        if tap.delay and source.spikes:
            kernel = kernels.EIGHT_EVENTS_OF_BITS if self.eight else kernels.EVENTS_OF_BITS
            return [
                f"{self.count} = {self.helper(kernel)}({self.found}, {read}, {source.size});",
                *self.add(tap, sums, kind, None),
            ]
        if message == "int8_t" and isinstance(form, Dense):  # Integers that are spikes, as a rule.
            others = self.helper(kernels.OTHERS, M=message)
            count = f"{others}({self.found}, {read}, {source.size})"
            if not self.eight:
                ones = self.helper(kernels.ONES, M=message)
                return [
                    f"{self.count} = {ones}({self.found}, {read}, {source.size});",
                    *self.add(tap, sums, kind, None),
                    f"{self.count} = {count};",
                    *self.add(tap, sums, kind, read),
                ]
            ones = self.helper(kernels.EIGHT_ONES, M=message)
            self.with_others = True
            lines: list[Line] = []
            if not tap.delay:
                fetch = self.helper(kernels.FETCH)
                lines = ["if (b + 1 < samples)", f"    {fetch}({read} + steps * {source.size}, {source.size});"]
            return [
                *lines,
                f"{self.count} = {ones}({self.found}, {read}, {source.size}, &{self.room}->others);",
                *self.add(tap, sums, kind, None),
                f"{self.count} = {self.room}->others ? {count} : 0;",
                f"more += {self.count};",
                *self.add(tap, sums, kind, read, "more"),
            ]
        found = self.helper(kernels.EIGHT_EVENTS if self.eight and source.spikes else kernels.EVENTS, M=message)
        weights = None if source.spikes else read
        return [
            f"{self.count} = {found}({self.found}, {read}, {source.size});",
            *self.add(tap, sums, kind, weights),
        ]

    def add(self, tap: Tap, sums: str, kind: str, messages: str | None, where: str = "") -> list[Line]:
        """Lines that add the weights of active sources, times ``messages`` (None: 1), to ``sums`` of type ``kind``.

        ``where`` is a C condition that holds if there are any.
        """
        form = tap.form
        names = {key: self.constant(tap.id + key, values) for key, values in form.constants.items()}
        types = {"W": self.program.type_of(form.constants[""].dtype), "S": kind}
        if messages is not None:
            types["M"] = self.program.type_of(self.plan.sources[tap.source].number)
        weighted = "" if messages is None else f", {messages}"
        if isinstance(form, Dense):
            return self.dense(form, tap.id, sums, types, weighted, where)
        if isinstance(form, Diagonal):
            weight = f"{names['']}[0]" if form.weights.size == 1 else f"{names['']}[{self.found}[k]]"
            factor = f"({kind})({messages})[{self.found}[k]] * " if weighted else ""
            return [f"for (k = 0; k < {self.count}; k++)", f"    {sums}[{self.found}[k]] += {factor}{weight};"]
        if isinstance(form, Sparse):
            return [self.sparse(form, tap.id, sums, types, weighted)]
        state = "s, " if self.program.library else ""
        call = self.window(form, tap.id, types)
        lines: list[Line] = [f"{call}({state}{sums}, {self.found}, {self.count}{weighted});"]
        if form.rest is not None:
            lines.append(self.sparse(form.rest, f"{tap.id}_rest", sums, types, weighted))
        return lines

    def dense(self, form: Dense, name: str, sums: str, types: dict[str, str], weighted: str, where: str) -> list[Line]:
        """Calls for a dense matrix: tile by tile, then the targets beyond the last tile."""
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
            lines.append(Tiles(f"{call}({place}, {self.found}, {self.count}{last});", count, where))
        if rest := width - form.tiled:
            call = self.helper(kernels.WEIGHTED_ROWS if weighted else kernels.ROWS, **types)
            place = f"{sums} + {form.tiled}, {name} + {sources * form.tiled}" if form.tiled else f"{sums}, {name}"
            lines.append(f"{call}({place}, {rest}, {self.found}, {self.count}{weighted});")
        return lines

    def sparse(self, form: Sparse, name: str, sums: str, types: dict[str, str], weighted: str) -> str:
        """A call for a sparse matrix."""
        own = {"W": form.weights.dtype, "T": form.target.dtype, "I": form.start.dtype}
        types = types | {letter: self.program.type_of(number) for letter, number in own.items()}
        call = self.helper(kernels.WEIGHTED_SPARSE if weighted else kernels.SPARSE, **types)
        return f"{call}({sums}, {name}, {name}_target, {name}_start, {self.found}, {self.count}{weighted});"

    def window(self, form: Stencil, name: str, types: dict[str, str]) -> str:
        """Add a function for a sliding window, and return its name."""
        (_, height, width), (channels, rows, columns), (sy, sx) = form.shape_in, form.shape, form.stride
        taps, reach = form.kernel.shape[1:]
        message = types.get("M")
        weighted = f", const {message} *messages" if message else ""
        kind, runs = types["S"], form.runs
        phased = form.stride != (1, 1)
        across, same = int(runs.taps[0]), runs.uniform
        factor = "message * " if message else ""
        state = f"const {self.program.name}_state *s, " if self.program.library else ""
        arrays = ["first", "start", "down", "right", *([] if same else ["taps"]), *(["phase"] if phased else [])]
        add = f"out[at + o] += {factor}own[o];"
        lines = [
            "",
            f"/* A window over {form.shape_in}, which gives {form.shape}, a channel's outputs side by side. */",
            f"static void {name}_window({state}{kind} *out, const event_t *events, size_t count{weighted})",
            "{",
            f"    const {types['W']} *const kernels = {name};",
            *(
                f"    const {self.program.type_of(form.constants[f'_{a}'].dtype)} *const {a} = {name}_{a};"
                for a in arrays
            ),
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
        """Pointer to the messages that a tap reads."""
        source = self.plan.sources[tap.source]
        if tap.delay:
            return self.past(source, tap.delay)
        return self.sent(source)

    def past(self, source: Source, delay: int) -> str:
        """Pointer to the messages of ``delay`` steps ago."""
        ahead = f" + {source.depth - delay}" if source.depth > delay else ""
        row = f"(s->{source.id}_slot{ahead}) % {source.depth}"
        return f"s->{source.id}_past + ({row}) * {self.row_size(source)}"

    @staticmethod
    def row_size(source: Source) -> int:
        """Number of elements that store the messages of one step."""
        return (source.size + 7) // 8 if source.spikes else source.size

    def settle(self, tap: Tap, cells: Cells, sums: str, total: str, operator: str) -> list[str]:
        """Lines that shift the finished ``sums`` of a tap and add them to ``total``, in the order of the targets."""
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

    def float_group(self, cells: Cells, group: Sequence[Tap], total: str, kind: str, alone: bool) -> list[Line]:
        """Lines for a projection of floats. Its delays are summed, the longest first, and then added to ``total``."""
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
        """Lines that set ``total`` to the bias of this step."""
        p, levels = cells.population, cells.population.bias
        cleared = clear(total, p.size)
        if not levels.start:
            return cleared
        values = levels.values
        name, own = f"{cells.id}_bias", self.program.type_of(values.dtype)
        even = bool((values == values[:, :1]).all())
        self.constant(name, values[:, :1] if even else values)
        ahead = " + r" if self.program.library else ""
        reached = " + ".join("1" if start == 0 else f"(s->step{ahead} >= {start})" for start in levels.start)
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
        at = f"((s->phase + r) % {2**BIAS_FRACTION})" if self.program.library else "s->phase"
        inner += [f"const int32_t phase = (int32_t){at};"] if self.plan.fixed else []
        if even:
            inner.append(f"const {kind} each = {sent};")
            sent = "each"
        inner += [f"for (j = 0; j < {p.size}; j++)", f"    {total}[j] = {sent};"]
        if levels.start[0] == 0:
            return [*lines, "{", *indented(inner), "}"] if lines else ["{", *indented(inner), "}"]
        return [*lines, "if (level == 0)", *indented(cleared), "else {", *indented(inner), "}"]


def clear(sums: str, size: int) -> list[str]:
    """Lines that set sums to 0. They are a loop: gcc warns of a memset whose number of bytes equals that of
    elements."""
    return [f"for (j = 0; j < {size}; j++)", f"    {sums}[j] = 0;"]
