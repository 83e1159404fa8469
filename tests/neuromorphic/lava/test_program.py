"""What is handed to Lava: delays of input and biases, and biases in digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scenarios import SCENARIOS, STEPS

from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.quantize import quantize
from neuromorphic.lava.program import DIGIT_BITS, digits, fixed_program, float_program, load_program, save_program

SCENARIO = SCENARIOS["random_0"]


@given(st.lists(st.integers(-(2**18), 2**18), min_size=1, max_size=8))
def test_digits_are_small_and_add_up(values: list[int]) -> None:
    out = digits(np.array(values, np.int32))
    assert out.min() >= -64 and out.max() <= 63
    np.testing.assert_array_equal(out @ 2 ** (DIGIT_BITS * np.arange(3)), values)


def test_biases_arrive_with_the_step_of_their_layer() -> None:
    program = float_program(lower(SCENARIO.graph), SCENARIO.x)
    assert program.lava_steps == STEPS + 3
    for layer in range(3):
        bias, onset = program.bias_schedule(layer)
        # Silent for `layer` steps, then on for good; the onset in one step only.
        np.testing.assert_array_equal(np.flatnonzero(bias), np.arange(layer, STEPS + 3))
        np.testing.assert_array_equal(np.flatnonzero(onset), [layer])
    schedule = program.input_schedule()
    np.testing.assert_array_equal(schedule[:, :STEPS].T, SCENARIO.x)
    assert not schedule[:, STEPS:].any()


def test_programs_survive_the_folder(tmp_path: Path) -> None:
    chain = lower(SCENARIO.graph)
    for number, program in enumerate(
        (float_program(chain, SCENARIO.x), fixed_program(quantize(chain, 9.0), SCENARIO.x))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_program(folder, program)
        loaded = load_program(folder)
        assert loaded.tag == program.tag
        np.testing.assert_array_equal(loaded.messages, program.messages)
        for ours, theirs in zip(loaded.populations, program.populations, strict=True):
            assert (ours.weight_exp, ours.bias_weight_exp) == (theirs.weight_exp, theirs.bias_weight_exp)
            for name in ("weight", "bias_weight"):
                np.testing.assert_array_equal(getattr(ours, name).toarray(), getattr(theirs, name).toarray())
            for name in ("du", "dv", "vth"):
                np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
