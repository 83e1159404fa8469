"""What a run on Lava consists of, in numbers: compiled in the parent process, read by the child that runs Lava."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.lower import LIFChain
from neuromorphic.compiler.quantize import DECAY_UNITY, FixedChain

FLOAT, FIXED = "floating_pt", "fixed_pt"
"""Lava's tags of its models."""


@dataclass(frozen=True)
class Population:
    """A layer in the terms of ``lava.proc.lif.process.LIF`` and ``lava.proc.sparse.process.Sparse``.

    Attributes:
        weight: Synapses from the layer before, shape (M, K).
        weight_exp: Exponent of the weights (fixed point).
        bias_weight: Synapses from the bias source, shape (M, 2 D): bias in the first D columns, onset in the others.
        bias_weight_exp: Their exponent (fixed point).
        du, dv, vth: As in ``LIF``, shape (M,).
    """

    weight: sparse.csr_matrix
    weight_exp: int
    bias_weight: sparse.csr_matrix
    bias_weight_exp: int
    du: NDArray
    dv: NDArray
    vth: NDArray


@dataclass(frozen=True)
class Program:
    """A chain of populations and its input.

    Lava's ``Sparse`` sends what it summed one step earlier, so step t of layer k takes place in Lava's step t + k + 2
    (Lava counts from 1): the layer before has to be done, and synapses delay by one. A layer's bias must not arrive
    before: it would drive the neurons k steps too early. It is therefore no parameter of the LIF process but input
    through synapses of its own, from a source that is silent until the layer's step 0.

    Attributes:
        tag: ``floating_pt`` or ``fixed_pt``.
        populations: One a layer.
        messages: The input, shape (T, n).
        bias_messages: What the bias source sends, shape (D,).
    """

    tag: str
    populations: tuple[Population, ...]
    messages: NDArray
    bias_messages: NDArray

    @property
    def lava_steps(self) -> int:
        """Steps until the last layer has done its step T - 1."""
        return len(self.messages) + len(self.populations)

    def bias_schedule(self, layer: int) -> NDArray:
        """What the bias source of a layer sends in every Lava step, shape (2 D, lava_steps).

        The bias in each step from the layer's step 0 on, the onset in step 0 only. The synapses delay by one, hence
        column t + layer, which is sent in Lava's step t + layer + 1.
        """
        size = len(self.bias_messages)
        schedule = np.zeros((2 * size, self.lava_steps), self.bias_messages.dtype)
        schedule[:size, layer:] = self.bias_messages[:, None]
        schedule[size:, layer] = self.bias_messages
        return schedule

    def input_schedule(self) -> NDArray:
        """What the input sends in every Lava step, shape (n, lava_steps)."""
        return np.pad(self.messages, ((0, self.lava_steps - len(self.messages)), (0, 0))).T


def float_program(chain: LIFChain, x: NDArray[np.float64]) -> Program:
    """A program in float64; ``x`` is the input, shape (T, n)."""
    populations = tuple(
        Population(
            weight=layer.weight,
            weight_exp=0,
            bias_weight=sparse.csr_matrix(np.stack([layer.bias, layer.onset], axis=1)),
            bias_weight_exp=0,
            du=np.ones_like(layer.decay),
            dv=layer.decay,
            vth=layer.threshold,
        )
        for layer in chain.layers
    )
    return Program(FLOAT, populations, x, np.ones(1))


DIGIT_BITS, DIGITS = 7, 3
"""In fixed point a bias of up to 18 bits is too long for a weight: it goes over three synapses, as digits to base 128
in [-64, 63] (an 8-bit weight of mixed sign is even), with messages 1, 128 and 128^2."""


def digits(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Signed digits to base 128, lowest first, shape (M,) -> (M, 3)."""
    base = 2**DIGIT_BITS
    out = np.empty((len(values), DIGITS), np.int32)
    rest = values.astype(np.int64)
    for k in range(DIGITS):
        out[:, k] = (rest + base // 2) % base - base // 2
        rest = (rest - out[:, k]) // base
    return out


def fixed_program(chain: FixedChain, x: NDArray[np.float64]) -> Program:
    """A program in Loihi's integers; ``x`` is the input before quantisation, shape (T, n)."""
    populations = tuple(
        Population(
            weight=layer.weight,
            weight_exp=layer.weight_exp,
            # Twice the digit, halved by the exponent: exact, since weights of mixed sign lose their lowest bit.
            bias_weight=sparse.csr_matrix(2 * np.hstack([digits(layer.bias), digits(layer.onset)])),
            bias_weight_exp=-1,
            du=np.full_like(layer.decay, DECAY_UNITY - 1),
            dv=layer.decay,
            vth=layer.threshold,
        )
        for layer in chain.layers
    )
    return Program(FIXED, populations, chain.messages(x), 2 ** (DIGIT_BITS * np.arange(DIGITS, dtype=np.int32)))


MATRICES = ("weight", "bias_weight")
VECTORS = ("du", "dv", "vth")
EXPONENTS = ("weight_exp", "bias_weight_exp")


def save_program(folder: Path, program: Program) -> None:
    """Write a program into a folder, one ``.npy`` an array."""
    np.save(folder / "messages.npy", program.messages)
    np.save(folder / "bias_messages.npy", program.bias_messages)
    header = []
    for k, population in enumerate(program.populations):
        for name in MATRICES:
            matrix = getattr(population, name)
            for part in ("data", "indices", "indptr"):
                np.save(folder / f"{k}.{name}.{part}.npy", getattr(matrix, part))
        for name in VECTORS:
            np.save(folder / f"{k}.{name}.npy", getattr(population, name))
        shapes = {name: getattr(population, name).shape for name in MATRICES}
        header.append({"shapes": shapes} | {name: getattr(population, name) for name in EXPONENTS})
    (folder / "program.json").write_text(json.dumps({"tag": program.tag, "populations": header}))


def load_program(folder: Path) -> Program:
    """Read what :func:`save_program` wrote; the arrays stay on disk until they are used."""

    def load(name: str) -> NDArray:
        return np.load(folder / f"{name}.npy", mmap_mode="r")

    header = json.loads((folder / "program.json").read_text())
    populations = []
    for k, fields in enumerate(header["populations"]):
        arguments: dict[str, Any] = {name: fields[name] for name in EXPONENTS}
        arguments |= {name: load(f"{k}.{name}") for name in VECTORS}
        arguments |= {
            name: sparse.csr_matrix(
                tuple(load(f"{k}.{name}.{part}") for part in ("data", "indices", "indptr")), fields["shapes"][name]
            )
            for name in MATRICES
        }
        populations.append(Population(**arguments))
    return Program(header["tag"], tuple(populations), load("messages"), load("bias_messages"))
