from itertools import combinations

import numpy as np
import pytest

from gshn.data.texts import Question
from gshn.data.vqa2 import answer_scores, answer_vocabulary, compared, normalize_answer, soft_accuracy


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
        ("shouldn'tve", "shouldn't've"),
        ("twas", "'twas"),
        ("lets", "lets"),  # not in the official list
        ("im", "im"),
    ],
)
def test_normalisation(text, expected):
    assert normalize_answer(text) == expected
    assert normalize_answer(expected) == expected


@pytest.mark.parametrize(
    ("predicted", "answers", "expected"),
    [
        # All say the same: compared as it was written, so neither "0" nor "none." is it.
        ("none", ["none"] * 10, 1),
        ("0", ["none"] * 10, 0),
        ("none.", ["none"] * 10, 0),
        # One says something else: all are processed. "None" and "0" are then one answer, of nine.
        ("none", ["None"] * 5 + ["0"] * 4 + ["1"], 1),
        ("a 1", ["None"] * 5 + ["0"] * 4 + ["1"], 0.3),  # (1 x 0 + 9 x 1/3) / 10
        # Two of ten: (2 x 1/3 + 8 x 2/3) / 10; three of ten: (3 x 2/3 + 7 x 1) / 10.
        ("the nets", ["nets"] + ["Nets!"] + ["net"] * 8, 0.6),
        ("t shirt", ["t-shirt", "t/shirt", "T shirt"] + ["shirt"] * 7, 0.9),
    ],
)
def test_cases_of_the_official_evaluation_by_hand(predicted, answers, expected):
    assert soft_accuracy(predicted, answers) == pytest.approx(expected)


def test_answers_are_compared_as_they_are_where_all_agree():
    assert compared(["None", "None"]) == ["None", "None"]
    assert compared(["None", "two."]) == ["0", "2"]
    agreed, split = Question("?", ("none",) * 10, 0), Question("?", ("None",) * 9 + ("two",), 0)
    assert answer_vocabulary([agreed, split]) == ["0", "none"]
    assert answer_scores(split.answers, {"none": 0, "0": 1, "2": 2}) == {1: 1.0, 2: pytest.approx(0.3)}
    assert answer_scores(agreed.answers, {"none": 0, "0": 1, "2": 2}) == {0: 1.0}


def test_vocabulary_and_scores():
    def question(*answers):
        return Question("?", answers, 0)

    asked = [question("b", "b", "a"), question("a", "a"), question("c"), question("b"), question("d", "c"), question()]
    assert answer_vocabulary(asked) == ["b", "c", "a"]  # of d and c, given once each, the first in the alphabet
    assert answer_vocabulary(asked, 2) == ["b", "c"]
    assert answer_scores(["b"] * 9 + ["z"], {"a": 0, "b": 1}) == {1: 1.0}
    assert answer_scores(["z"], {"a": 0, "b": 1}) == {}
