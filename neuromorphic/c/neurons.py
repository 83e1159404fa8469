"""Neurons in C: one step of a population, given the sums of its synapses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuromorphic.c import kernels
from neuromorphic.c.plan import Cells
from neuromorphic.c.program import Parts, indented
from neuromorphic.compiler.network import GRADED, LIF
from neuromorphic.compiler.quantize import DECAY_UNITY, STATE_LIMIT, FixedPopulation

PEAKS = (("peak_u", "u"), ("peak_w", "w"))
"""Names of the C variables for the largest |u| and |w|."""


class Neurons(Parts):
    """Lines of C for the loop over a population: its equation in integers or in floats."""

    def fixed_cells(self, cells: Cells, total: str) -> list[str]:
        """Neurons in Loihi's integers, see :func:`neuromorphic.execution.populations.fixed_step`."""
        p, wide = cells.population, cells.state.itemsize == 8
        assert isinstance(p, FixedPopulation)
        kind = self.program.type_of(cells.state)
        before, within = [f"{kind} *const v = s->{cells.id}_v;"], []
        sent = self.program.type_of(cells.sent)
        before.append(f"{sent} *const sent = {self.sent(self.plan.sources[p.name])};")

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
        before.append(f"{sent} *const sent = {self.sent(self.plan.sources[p.name])};")
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


def peak(kind: str, name: str, at: str) -> list[str]:
    """Lines that keep the largest absolute value."""
    size = f"{at}_size"
    return [f"const {kind} {size} = {at} < 0 ? -{at} : {at};", f"{name} = {size} > {name} ? {size} : {name};"]
