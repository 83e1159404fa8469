"""WUPS against a slow reading of its definition."""

from itertools import product

import pytest

from gshn.evaluation.wups import wups

ALIKE = {("desk", "table"): 0.95, ("desk", "chair"): 0.8, ("table", "chair"): 0.85, ("red", "chair"): 0.2}
LISTS = [["desk"], ["chair"], ["table", "chair"], ["chair", "desk", "desk"], ["red", "2"], ["unheard"]]


def likeness(a, b):
    return ALIKE.get((a, b), ALIKE.get((b, a), 0.0))


def slow(predicted, right, threshold):
    """min over both ways of the product over the words of one list of the best score with a word of the other."""
    sides = []
    for ours, theirs in ((right, predicted), (predicted, right)):
        product_of_best = 1.0
        for word in ours:
            best = 0.0
            for other in theirs:
                score = 1.0 if word == other else likeness(word, other)
                if score < threshold:
                    score *= 0.1
                best = max(best, score)
            product_of_best *= best
        sides.append(product_of_best)
    return min(sides)


@pytest.mark.parametrize("threshold", [0.9, 0.0])
def test_all_pairs_of_lists(threshold):
    for predicted, right in product(LISTS, LISTS):
        assert wups(predicted, right, threshold, likeness) == pytest.approx(
            slow(predicted, right, threshold), abs=1e-12
        )


def test_by_hand():
    assert wups(["chair", "desk"], ["desk", "chair"], 0.9, likeness) == 1
    assert wups(["table"], ["desk"], 0.9, likeness) == 0.95, "above the threshold"
    assert wups(["chair"], ["desk"], 0.9, likeness) == pytest.approx(0.08)
    assert wups(["chair"], ["desk"], 0.0, likeness) == 0.8
    # One word of two is missing: 1 x 0.085 on the way from the right answers.
    assert wups(["table"], ["table", "chair"], 0.9, likeness) == pytest.approx(0.085)
    assert wups(["desk"], ["chair", "chair"], 0.0, likeness) == pytest.approx(0.64), (
        "a word that stands twice counts twice"
    )
