from itertools import combinations

import numpy as np
import pytest

from gshn.data.texts import Question
from gshn.data.vqa2 import answer_scores, answer_vocabulary, normalize_answer, soft_accuracy


def slow_accuracy(predicted, answers):
    """Over all subsets that leave one person out."""
    subsets = list(combinations(range(len(answers)), len(answers) - 1))
    return np.mean([min(1, sum(answers[i] == predicted for i in subset) / 3) for subset in subsets])


@pytest.mark.parametrize("matches", range(11))
def test_accuracy_is_the_mean_over_leaving_one_out(matches):
    answers = ["yes"] * matches + ["no"] * (10 - matches)
    assert soft_accuracy("yes", answers) == pytest.approx(slow_accuracy("yes", answers))
    assert soft_accuracy("maybe", answers) == 0


def test_known_values():
    assert [round(soft_accuracy("a", ["a"] * m + ["b"] * (10 - m)), 2) for m in range(5)] == [0, 0.3, 0.6, 0.9, 1]
    assert (soft_accuracy("a", ["a"]), soft_accuracy("a", ["b"]), soft_accuracy("a", [])) == (1, 0, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two", "2"),
        ("None", "0"),
        ("a dog", "dog"),
        ("The Dog", "dog"),
        ("dont", "don't"),
        ("1,000", "1000"),
        ("yes.", "yes"),
        ("3.5", "3.5"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("t-shirt", "t shirt"),
        ("red, white", "red white"),
        ("red\nwhite", "red white"),
        ("  no  ", "no"),
    ],
)
def test_normalisation(text, expected):
    assert normalize_answer(text) == expected
    assert normalize_answer(expected) == expected


def test_vocabulary_and_scores():
    def question(*answers):
        return Question("?", answers, 0)

    asked = [question("b", "b", "a"), question("a", "a"), question("c"), question("b"), question("d", "c"), question()]
    assert answer_vocabulary(asked) == ["b", "c", "a"]  # of d and c, given once each, the first in the alphabet
    assert answer_vocabulary(asked, 2) == ["b", "c"]
    assert answer_scores(["b"] * 9 + ["z"], ["a", "b"]) == {1: 1.0}
    assert answer_scores(["z"], ["a", "b"]) == {}
