"""The tasks that a model is fine-tuned on: texts about one image or two, each with an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gshn.data.texts import ENTAILMENT, TRUTH


class TaskText(Protocol):
    """Interface of :class:`gshn.data.texts.Question`, ``Hypothesis`` and ``Statement``."""

    @property
    def text(self) -> str:
        """The question, hypothesis or statement."""
        ...

    @property
    def answers(self) -> tuple[str, ...]:
        """The answers that people gave. A single one is the right answer."""
        ...

    @property
    def image_indices(self) -> tuple[int, ...]:
        """Positions of the images in their collection."""
        ...

    @property
    def id(self) -> str:
        """The data set's own id."""
        ...


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: As in ``finetune.tasks``.
        texts: Name of its texts: a section of ``data`` in the configuration, and an attribute of collections.
        images: Number of images of a text.
        answers: All answers; None if they come from the training texts.
        example: A source in an official layout, for error messages.
    """

    name: str
    texts: str
    images: int
    answers: tuple[str, ...] | None
    example: str


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task("vqa", "questions", 1, None, "vqa2:DIR"),
        Task("entailment", "hypotheses", 1, ENTAILMENT, "snli-ve:DIR"),
        Task("nlvr2", "statements", 2, TRUTH, "nlvr2:DIR"),
    )
}


@dataclass(frozen=True)
class Example:
    """A text of a task.

    Attributes:
        text: The question, hypothesis or statement.
        images: Positions of its images within the graphs of the corpus.
        answers: See :class:`TaskText`.
        id: See :class:`TaskText`.
    """

    text: str
    images: tuple[int, ...]
    answers: tuple[str, ...]
    id: str = ""
