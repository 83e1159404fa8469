"""Answers as the files that the data sets' own evaluations read."""

from __future__ import annotations

import json
from collections.abc import Sequence

from gshn.errors import DataError


def submission(task: str, ids: Sequence[str], predicted: Sequence[str]) -> str:
    """The content of a file of answers.

    ``vqa``: JSON, a list of ``{"question_id": number, "answer": text}`` (visualqa.org/evaluation.html). ``nlvr2``:
    a line ``identifier,True`` or ``identifier,False`` each, without a header, as its ``metrics.py`` reads.
    ``entailment``: SNLI-VE has no evaluation code and no server; JSON lines ``{"pairID": ..., "prediction": label}``.

    Args:
        task: See :data:`gshn.data.tasks.TASKS`.
        ids: The data set's own id of each text.
        predicted: The answer to each.

    Raises:
        DataError: texts have no ids, or one twice; or a question's is not a number.
    """
    if not all(ids) or len(set(ids)) < len(ids):
        raise DataError(
            f"--submission: the texts of this source have no ids, or not each its own; {task} needs its data set "
            "in the official layout"
        )
    if task == "vqa":
        try:
            rows = [{"question_id": int(own), "answer": answer} for own, answer in zip(ids, predicted, strict=True)]
        except ValueError:
            raise DataError("--submission: a question's id is not a number, as VQA's are") from None
        return json.dumps(rows) + "\n"
    if task == "nlvr2":
        return "".join(f"{own},{answer.capitalize()}\n" for own, answer in zip(ids, predicted, strict=True))
    pairs = [{"pairID": own, "prediction": answer} for own, answer in zip(ids, predicted, strict=True)]
    return "".join(f"{json.dumps(pair)}\n" for pair in pairs)
