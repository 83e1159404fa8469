"""Files of answers, as the data sets' own evaluations read them."""

import json

import pytest

from gshn.errors import DataError
from gshn.evaluation.submission import submission


def test_vqa():
    content = json.loads(submission("vqa", ["42000", "9001"], ["yes", "2"]))
    assert content == [{"question_id": 42000, "answer": "yes"}, {"question_id": 9001, "answer": "2"}]


def test_nlvr2():
    """Its metrics.py splits each line at commas, and compares without regard to case."""
    lines = submission("nlvr2", ["test1-0-1-0", "test1-0-1-1"], ["true", "false"]).splitlines()
    assert [line.split(",") for line in lines] == [["test1-0-1-0", "True"], ["test1-0-1-1", "False"]]


def test_entailment():
    lines = submission("entailment", ["1.jpg#0r1n", "2.jpg#1r1e"], ["neutral", "entailment"]).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"pairID": "1.jpg#0r1n", "prediction": "neutral"},
        {"pairID": "2.jpg#1r1e", "prediction": "entailment"},
    ]


@pytest.mark.parametrize(
    ("ids", "message"), [(["1", ""], "have no ids"), (["1", "1"], "not each its own"), (["1", "x"], "is not a number")]
)
def test_texts_that_cannot_be_told_apart(ids, message):
    with pytest.raises(DataError, match=message):
        submission("vqa", ids, ["yes", "no"])
