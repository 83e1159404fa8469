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

SINGLE = ("constants", "step", "phase", "count")
"""Fields of the state that are not arrays."""


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


def output_unit(plan: Plan, cells: Cells) -> float:
    """Factor from the integers of an Output node to NIR's units."""
    assert isinstance(plan.network, FixedNetwork)
    if cells.copied is not None and plan.sources[cells.copied].spikes:
        return 1.0
    return float(plan.network.message_unit(cells.population)[0])
