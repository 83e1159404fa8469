"""A network as a folder of C: the code for a device, and a test that it equals the simulator."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.backends import FoldedRun, Precision, as_record, counts
from neuromorphic.c.matrices import size_of
from neuromorphic.c.plan import Cells, Plan, identifiers, plan
from neuromorphic.c.program import Program, listing
from neuromorphic.c.source import write_program
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import SUM, Network
from neuromorphic.compiler.operators import largest_of
from neuromorphic.compiler.quantize import FixedNetwork
from neuromorphic.errors import UserNotice
from neuromorphic.execution import populations, reference
from neuromorphic.execution.c_compiler import compiler
from neuromorphic.execution.calibration import calibrate
from neuromorphic.execution.populations import PopulationRun
from neuromorphic.execution.record import check_signals
from neuromorphic.execution.spikes import by_node, compare_nodes
from neuromorphic.files import Lock, check_destination, make_folder, write_atomically
from neuromorphic.results.tables import Table, percent, versions
from neuromorphic.results.verification import random_inputs
from neuromorphic.signals import Signals

if TYPE_CHECKING:
    from neuromorphic.spiking_network import SpikingNetwork

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
"""Compiler options, for gcc and for clang."""
TEST_STEPS, TEST_NUMBERS = 64, 200_000
"""Largest number of steps of the test program, and of input values in them."""
RANDOM_STEPS = 32
"""Number of steps of random input, where no input is given."""


@dataclass(frozen=True, eq=False, repr=False)
class CProgram:
    """A network that was written as C.

    Attributes:
        folder: The folder.
        name: Prefix of its files and identifiers.
        details: Content of ``report.json``.
    """

    folder: Path
    name: str
    details: dict[str, Any]

    def report(self) -> dict[str, Any]:
        """Content of ``report.json``."""
        return self.details

    def table(self) -> Table:
        """A row for each matrix."""
        d, memory, work = self.details, self.details["bytes"], self.details["operations_per_step"]
        rows = [
            (f"{w['from']} -> {w['to']}", f"{w['delay']}", w["form"], w["type"], f"{w['weights']:,}", f"{w['bytes']:,}")
            for w in d["weights"]
        ]
        code = "not known: there is no C compiler" if memory["code"] is None else f"{memory['code']:,}"
        agrees = percent(d["agreement"], 4)
        notes = [
            f"bytes: code {code}, constants {memory['constants']:,}, state {memory['state']:,}",
            f"operations a step: {work['synaptic']:,.1f} synaptic on this input, {work['synaptic_at_most']:,} if all "
            f"sources sent something, {work['neuron_updates']:,} neurons",
            f"{agrees} of cells (neuron, step) as in the float reference; {d['test_steps']} steps are in "
            f"{self.name}_test.c",
        ]
        what = f"{self.folder}: {self.name}.c, {d['precision']}"
        return Table(what, ("synapses", "delay", "form", "type", "weights", "bytes"), rows, notes)

    def __repr__(self) -> str:
        memory = self.details["bytes"]
        return (
            f"<CProgram {self.folder / self.name}.c ({self.details['precision']}): {memory['constants']:,} bytes of "
            f"constants, {memory['state']:,} of state>"
        )

    def _repr_html_(self) -> str:
        return self.table().html()


def export(network: SpikingNetwork, out: Path, signals: Signals | None, precision: Precision) -> CProgram:
    """Write ``NAME.c``, ``NAME.h``, ``NAME_test.c`` and ``report.json``, where NAME is that of the NIR file.

    The test program runs some steps of an input, and compares them with the simulator's results.

    Args:
        network: The network.
        out: The folder; these files in it are replaced.
        signals: Typical inputs, as large as they get. In fixed point, scales and the number type of messages are chosen
            for them. None: random numbers of mean 0.5 and standard deviation 1.
        precision: Arithmetic. ``fixed`` equals the integer simulator, bit for bit. ``float``, in double, equals the
            folded network in NumPy.

    Raises:
        UnsupportedGraphError: the graph cannot be folded or quantised, or a signal leaves float64's range.
        UserError: the folder cannot be written to.
    """
    name = next(iter(identifiers([Path(network.source).stem]).values())).lower()
    files = [f"{name}.c", f"{name}.h", f"{name}_test.c", "report.json"]
    for file in files:
        check_destination(out / file, (Path(network.source),))
    if signals is None:
        signals = Signals(random_inputs(network.graph, 1, RANDOM_STEPS, 0), batched=False)
        if precision == "fixed":
            text = "scales are chosen for random input of mean 0.5 and deviation 1; give --input with what is typical"
            warnings.warn(text, UserNotice, stacklevel=3)
    inputs = signals.inputs
    steps = next(iter(inputs.values())).shape[1]
    folded: Network = lower(network.graph, horizon=steps if precision == "fixed" else None)
    limits = None
    if precision == "fixed":
        calibration = calibrate(folded, inputs, batched=True)
        fixed, run = calibration.network, calibration.run
        limits = {
            n: int(np.abs(fixed.messages(n, np.array(largest_of(np.asarray(x))))).max()) for n, x in inputs.items()
        }
        planned = plan(fixed, limits)
        values = {p.name: fixed.values(p.name, run.sent[p.name]) for p in fixed.populations}
    else:
        run = populations.run(folded, inputs, batched=True)
        planned, values = plan(folded), run.sent
    sent = {p.name: values[p.name].astype(bool) if p.spikes else values[p.name] for p in folded.populations}
    record = as_record(network.graph, FoldedRun(sent=sent, potentials={}, seconds={}))
    check_signals(record)
    program = write_program(planned, name)
    tested = min(steps, TEST_STEPS, max(1, TEST_NUMBERS // sum(s.size for s in map(planned.sources.get, inputs) if s)))
    test = write_test(planned, program, inputs, run, tested)
    expected = reference.simulate(network.graph, inputs)
    counted = counts(folded, inputs, record)
    cells = next(iter(inputs.values())).shape[0] * steps
    details = {
        "nir": network.source,
        "name": name,
        "files": files,
        "precision": precision,
        "dt": network.dt,
        "inputs": {n: {"size": s.size, "type": s.number.name} for n, s in planned.sources.items() if n in inputs},
        "outputs": {c.population.name: {"size": c.population.size, "type": c.sent.name} for c in planned.outputs},
        "bytes": {
            "code": code_bytes(program),
            "constants": sum(values.nbytes for values in program.constants.values()),
            "state": program.state_bytes(),
        },
        "weights": weights_of(planned),
        "operations_per_step": {
            "synaptic": sum(c.synaptic_operations for c in counted.values()) / cells,
            "synaptic_at_most": sum(c.dense_operations for c in counted.values()) // cells,
            "neuron_updates": sum(c.population.size for c in planned.neurons),
        },
        "test_steps": tested,
        "agreement": compare_nodes(record.spikes, expected.spikes)[0].fraction,
        "node_agreement": by_node(record.spikes, expected.spikes),
        "quantization": planned.network.report() if isinstance(planned.network, FixedNetwork) else {},
        "overflow": {n: vars(count) for n, count in run.overflow.items() if count.any},
        "versions": versions("gshn", "nir", "numpy"),
    }
    report = json.dumps(details, indent=2, allow_nan=False)
    with Lock(make_folder(out) / ".lock", str(out)):
        for file, text in zip(files, (program.source, program.header, test, report + "\n"), strict=True):
            write_atomically(out / file, text)
    return CProgram(out, name, details)


def weights_of(planned: Plan) -> list[dict[str, Any]]:
    """Form, number type and size of each weight matrix, for the report."""
    return [
        {
            "from": tap.source,
            "to": cells.population.name,
            "delay": tap.delay,
            "form": type(tap.form).__name__.lower(),
            "type": tap.form.constants[""].dtype.name,
            "weights": int(tap.form.constants[""].size),
            "bytes": size_of(tap.form),
        }
        for cells in planned.cells
        for group in cells.taps
        for tap in group
    ]


def code_bytes(program: Program) -> int | None:
    """Bytes of machine code by this machine's compiler with ``-Os``; None without a compiler."""
    command, size = compiler(), shutil.which("size")
    if command is None or size is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / f"{program.name}.h").write_text(program.header)
        (folder / f"{program.name}.c").write_text(program.source)
        try:
            arguments = [command, "-std=c99", "-Os", "-c", f"{program.name}.c", "-o", "out.o"]
            subprocess.run(arguments, cwd=folder, check=True, capture_output=True)
            said = subprocess.run([size, "-A", "out.o"], cwd=folder, check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return None
    return sum(map(int, re.findall(r"^\.text\S*\s+(\d+)", said, re.MULTILINE)))


def write_test(planned: Plan, program: Program, inputs: dict[str, NDArray], run: PopulationRun, steps: int) -> str:
    """Text of a program that runs the first steps of the first sample, and compares spikes and outputs with the
    simulator.

    Args:
        planned: The network.
        program: Its C.
        inputs: By Input node, shape (B, T, n).
        run: The simulator's run of these inputs.
        steps: Number of steps.
    """
    name = program.name
    declared, compared = [], []
    for source in (planned.sources[n] for n in planned.network.inputs):
        x = np.asarray(inputs[source.name][0, :steps], np.float64).reshape(steps, -1)
        if isinstance(planned.network, FixedNetwork):
            x = planned.network.messages(source.name, x).astype(source.number)
        declared.append(array(program, f"in_{source.id}", x))
    outputs = []
    for cells in planned.cells:
        sent = run.sent[cells.population.name][0, :steps]
        size, own = cells.population.size, f"expected_{cells.id}"
        is_output = cells.population.kind == SUM
        got = f"out_{cells.id}[j]" if is_output else f"state.{cells.id}_sent[j]"
        if cells.sent == np.uint8:
            bits = np.packbits(np.asarray(sent, bool), axis=1, bitorder="little")
            declared.append(array(program, own, bits))
            differs = f"{got} != ((row[j / 8] >> (j % 8)) & 1)"
            row = f"const uint8_t *row = {own} + t * {bits.shape[1]};"
        else:
            declared.append(array(program, own, sent.astype(cells.sent)))
            kind = program.type_of(cells.sent)
            differs, row = f"{got} != row[j]", f"const {kind} *row = {own} + t * {size};"
            if not planned.fixed:
                far = float(np.abs(sent).max(initial=0.0)) * 1e-9
                differs = f"{got} - row[j] > {far!r} || row[j] - {got} > {far!r}"
        if is_output:
            outputs.append(f"    static {program.type_of(cells.sent)} out_{cells.id}[{size}];")
        compared += ["        {", f"            {row}", f"            for (j = 0; j < {size}; j++)"]
        compared += [f"                wrong += {differs};", "        }"]
    arguments = [f"in_{planned.sources[n].id} + t * {planned.sources[n].size}" for n in planned.network.inputs]
    arguments += [f"out_{cells.id}" for cells in planned.outputs]
    return "\n".join(
        [
            f"/* {steps} steps of {name}, and what the simulator gave: prints how many numbers differ. */",
            f'#include "{name}.h"', "", "#include <stddef.h>", "#include <stdio.h>", "",
            *declared, f"static {name}_state state;", "", "int main(void)", "{",
            *outputs, "    unsigned long wrong = 0;", "    size_t t, j;", f"    {name}_reset(&state);",
            f"    for (t = 0; t < {steps}; t++) {{", f"        {name}_step(&state, {', '.join(arguments)});",
            *compared, "    }",
            f'    printf("{name}: {steps} steps, %lu of {count_of(planned.cells) * steps} numbers differ\\n", wrong);',
            "    return wrong != 0;", "}", "",
        ]
    )  # fmt: skip


def count_of(cells: tuple[Cells, ...]) -> int:
    """Number of messages that populations send in a step."""
    return sum(c.population.size for c in cells)


def array(program: Program, name: str, values: NDArray) -> str:
    """C definition of a constant array; ``values`` may have any shape."""
    return f"static const {program.type_of(values.dtype)} {name}[{values.size}] = {{\n{listing(values.reshape(-1))}}};"
