"""Write a planned network as C99."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from neuromorphic.c import kernels
from neuromorphic.c.neurons import Neurons
from neuromorphic.c.plan import Cells, Plan, Source
from neuromorphic.c.program import WATCHED, Program, comment, indented, listing, literal, size_of
from neuromorphic.c.synapses import Line, Synapses, Tiles
from neuromorphic.compiler.network import SUM
from neuromorphic.compiler.quantize import BIAS_FRACTION, FixedNetwork, FixedPopulation

SINGLE = ("constants", "step", "phase", "count", "others")
"""Fields of the state that are not arrays."""
LIBRARY_ARGUMENTS = (
    "size_t samples", "size_t t", "size_t together", "size_t steps", "const void *const *in", "void *const *sent",
    "void *potentials",
)  # fmt: skip
"""Arguments of a population's update in a library: steps t to t + together - 1 of all samples."""


def write_program(plan: Plan, name: str, library: bool = False, watch: bool = False) -> Program:
    """Write a network as C.

    Args:
        plan: The planned network.
        name: Prefix of identifiers.
        library: See :class:`Program`.
        watch: Whether the code has the counters :data:`WATCHED`.
    """
    return _Writer(plan, Program(name, library), watch).write()


class _Writer(Synapses, Neurons):
    """One program in the making."""

    def update(self, cells: Cells) -> str:
        """A function that does a population's step."""
        p, name = cells.population, self.program.name
        read = self.read_inputs(cells)
        lines: list[Line]
        if cells.copied is not None:
            origin = self.sent(self.plan.sources[cells.copied])
            lines = [f"memcpy(out, {origin}, {p.size} * sizeof *out);", "(void)s;"]
        else:
            lines, total = self.sum_up(cells)
            if p.kind == SUM:
                lines.append(f"memcpy(out, {total}, {p.size} * sizeof *out);")
            elif isinstance(p, FixedPopulation):
                lines += self.fixed_cells(cells, total)
            else:
                lines += self.float_cells(cells, total)
            if p.kind != SUM and self.program.library:
                kind = self.program.type_of(cells.state)
                lines += ["if (potentials)"]
                lines += [
                    f"    memcpy(({kind} *)potentials + row * {p.size}, s->{cells.id}_v, sizeof s->{cells.id}_v);"
                ]
        body: list[str] = []
        for tiled, group in groupby(lines, lambda line: isinstance(line, Tiles)):
            if not tiled:
                body += self.of_samples([str(line) for line in group], cells)
                continue
            for tiles in group:
                assert isinstance(tiles, Tiles)
                loop = [f"for (k = 0; k < {tiles.count}; k++)", *indented(self.of_samples([tiles.call], cells))]
                body += [f"if ({tiles.where})", *indented(loop)] if tiles.where else loop
        used = "\n".join(body)
        counters = [c for c in ("j", "k", "b", "r") if re.search(rf"\b{c}\b", used)]
        arguments = [f"const {self.program.type_of(s.number)} *in_{s.id}" for s in read]
        arguments += [f"{self.program.type_of(cells.sent)} *out"] if p.kind == SUM else []
        if self.program.library:
            arguments = [f"{name}_state *states", f"{name}_scratch *room", *LIBRARY_ARGUMENTS]
        else:
            arguments = [f"{name}_state *s", *arguments]
        about = f"\n/* {comment(p.name)}: {p.size} x {p.kind} */"
        head = f"static void {cells.id}_update({', '.join(arguments)})"
        own = [f"size_t {', '.join(counters)};"] if counters else []
        if re.search(r"\bmore\b", used):
            own.append("size_t more = 0;")
        return "\n".join([about, head, "{", *indented([*own, *body]), "}", ""])

    def of_samples(self, lines: Sequence[str], cells: Cells) -> list[str]:
        """Lines for the state s. In a library they are repeated for each sample and step that run together."""
        if not self.program.library:
            return [*lines]
        text, name = "\n".join(lines), self.program.name
        own = [
            f"{name}_state *const s = states + b;",
            f"{name}_scratch *const scratch = room + b * together + r;",
            "const size_t row = b * steps + t + r;",
            *self.rows(text, cells),
        ]
        inner = ["for (r = 0; r < together; r++) {", *indented([*own, *lines]), "}"]
        return ["for (b = 0; b < samples; b++)", *indented(inner)]

    def rows(self, text: str, cells: Cells | None = None) -> list[str]:
        """For a library: declarations of what a text reads, and the population writes, in the arrays of all steps."""
        lines, type_of = [], self.program.type_of
        for array, names in (("in", self.plan.network.inputs), ("sent", [c.population.name for c in self.plan.cells])):
            for number, name in enumerate(names):
                source = self.plan.sources[name]
                own, kind = f"{array}_{source.id}", type_of(source.number)
                if re.search(rf"\b{own}\b", text):
                    const = "" if cells is not None and cells.population.name == name else "const "
                    lines.append(
                        f"{const}{kind} *const {own} = ({const}{kind} *){array}[{number}] + row * {source.size};"
                    )
        if cells is not None and re.search(r"\bout\b", text):
            number, kind = self.plan.cells.index(cells), type_of(cells.sent)
            lines.append(f"{kind} *const out = ({kind} *)sent[{number}] + row * {cells.population.size};")
        return lines

    def read_inputs(self, cells: Cells) -> list[Source]:
        """Inputs that a population reads in this step."""
        names = {tap.source for group in cells.taps for tap in group if not tap.delay} | {cells.copied}
        return [self.plan.sources[name] for name in self.plan.network.inputs if name in names]

    def finish(self) -> str:
        """A function that ends a step: what was sent is remembered."""
        lines = []
        outside = []
        for source in self.plan.sources.values():
            if not source.depth:
                continue
            sent = self.sent(source)
            if source.name in self.plan.network.inputs:
                outside.append(source)
            row = f"s->{source.id}_past + s->{source.id}_slot * {self.row_size(source)}"
            if source.spikes:
                lines.append(f"{self.helper(kernels.PACK)}({row}, {sent}, {source.size});")
            else:
                lines.append(f"memcpy({row}, {sent}, {source.size} * sizeof({self.program.type_of(source.number)}));")
            lines.append(f"s->{source.id}_slot = (s->{source.id}_slot + 1) % {source.depth};")
        library, name = self.program.library, self.program.name
        if self.last_start and library:
            lines += [f"if (s->step < {self.last_start})", "    s->step += (uint32_t)together;"]
        elif self.last_start:
            lines += [f"if (s->step < {self.last_start})", "    s->step++;"]
        if self.with_phase:
            steps = "(uint32_t)together" if library else "1"
            lines.append(f"s->phase = (s->phase + {steps}) % {2**BIAS_FRACTION};")
        self.finishing = outside if lines else None
        if not lines:
            return ""
        if library:
            lines = [*self.rows("\n".join(lines)), *lines]
            arguments = ["size_t row", "size_t together", "const void *const *in", "void *const *sent"]
        else:
            arguments = [f"const {self.program.type_of(s.number)} *in_{s.id}" for s in outside]
        head = f"static void finish({', '.join([f'{name}_state *s', *arguments])})"
        return "\n".join(["", "/* Remember what is read in later steps. */", head, "{", *indented(lines), "}", ""])

    def fields(self) -> None:
        """Lay out the state, what is largest first."""
        out: list[tuple[str, str, int]] = []
        type_of = self.program.type_of
        for cells in self.plan.neurons:
            p = cells.population
            out.append((type_of(cells.state), f"{cells.id}_v", p.size))
            if cells.memory:
                out.append((type_of(cells.state), f"{cells.id}_u", p.size))
            if not self.program.library:
                out.append((type_of(cells.sent), f"{cells.id}_sent", p.size))
        for source in self.plan.sources.values():
            if source.depth:
                kind = "uint8_t" if source.spikes else type_of(source.number)
                out.append((kind, f"{source.id}_past", source.depth * self.row_size(source)))
                out.append(("uint32_t", f"{source.id}_slot", 1))
        scratch = [(kind, f"{use}_{kernels.short(kind)}", size) for (use, kind), size in self.scratch.items()]
        if self.events:
            scratch.append(("uint32_t", "count", 1))
            number = "uint16_t" if self.events < 2**16 else "uint32_t"
            scratch.append((number, "events", self.events + (8 if self.eight else 1)))
        if self.with_others or (self.program.library and not scratch):
            scratch.append(("uint32_t", "others", 1))
        if not self.program.library:
            out += scratch
        if self.last_start or not out:
            out.append(("uint32_t", "step", 1))
        if self.with_phase:
            out.append(("uint32_t", "phase", 1))
        out.sort(key=lambda f: -size_of(f[0], 8))
        if self.program.library:
            watch = [("int64_t" if self.plan.fixed else "double", "watch", len(self.plan.cells) * len(WATCHED))]
            out = [("const void *const *", "constants", 1), *(watch if self.watch else []), *out]
            self.program.scratch = sorted(scratch, key=lambda f: -size_of(f[0], 8))
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
        event = next((kind for kind, name, _ in program.state + program.scratch if name == "events"), None)
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
        """Steps of samples side by side, whose states follow each other: weights are fetched once for all of them, and
        where no step waits for what comes after another's in the network, for ``together`` steps of each.
        """
        name = self.program.name
        body = ["const size_t n = last - t < together ? last - t : together;"]
        for number, cells in enumerate(self.plan.cells):
            body.append(f"{cells.id}_update(states, room, samples, t, n, steps, in, sent, potentials[{number}]);")
        if self.finishing is not None:
            body += ["for (b = 0; b < samples; b++)", "    finish(states + b, b * steps + t, n, in, sent);"]
        loop = ["for (t = first; t < last; t += together) {", *indented(body), "}"]
        head = (
            f"void {name}_run({name}_state *states, void *room, size_t samples, size_t first, size_t last,\n"
            "    size_t steps, size_t together, const void *const *in, void *const *sent, void *const *potentials)"
        )
        sizes = [(f"{name}_{what}", f"size_t {name}_{what}_size(void)") for what in ("state", "scratch")]
        asked = [f"{own}\n{{\n    return sizeof({kind});\n}}\n" for kind, own in sizes]
        prototypes = "\n".join(["", f"{head};", *(f"{own};" for _, own in sizes), ""])
        counters = "size_t t, b;" if self.finishing is not None else "size_t t;"
        return "\n".join([prototypes, head, "{", *indented([counters, *loop]), "}", "", *asked])

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
        lines += [f"#define {upper}_DT {literal(plan.network.dt)} /* seconds that a step stands for */"]
        for source in inputs:
            lines.append(f"#define {upper}_IN_{source.id.upper()}_SIZE {source.size} /* {comment(source.name)} */")
            if isinstance(plan.network, FixedNetwork):
                scale = plan.network.message_scale[source.name]
                lines.append(
                    f"#define {upper}_IN_{source.id.upper()}_SCALE {literal(scale)} "
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
                    f"#define {upper}_OUT_{cells.id.upper()}_UNIT {literal(unit)} /* times this is the value */"
                )
        lines += ["", "/* All that lasts from step to step; hold it where you like, it is all the memory there is. */"]
        lines += ["typedef struct {"]
        lines += [*declared(self.program.state), f"}} {name}_state;", ""]
        if self.program.library:
            lines += ["/* What nobody reads after a step. */", "typedef struct {"]
            lines += [*declared(self.program.scratch), f"}} {name}_scratch;", ""]
        if not self.program.library:
            lines += ["/* To rest, before the first step. */", f"void {name}_reset({name}_state *s);", ""]
            lines += ["/* One step: what arrives in it, and what leaves. */", f"{self.signature()};", ""]
        lines += ["#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
        return "\n".join(lines)


def declared(fields: Sequence[tuple[str, str, int]]) -> list[str]:
    """Fields of a struct."""
    lines = []
    for kind, name, count in fields:
        array = "" if name in SINGLE or name.endswith("_slot") else f"[{count}]"
        lines.append(f"    {kind}{'' if kind.endswith('*') else ' '}{name}{array};")
    return lines


def output_unit(plan: Plan, cells: Cells) -> float:
    """Factor from the integers of an Output node to NIR's units."""
    assert isinstance(plan.network, FixedNetwork)
    if cells.copied is not None and plan.sources[cells.copied].spikes:
        return 1.0
    return float(plan.network.message_unit(cells.population)[0])
