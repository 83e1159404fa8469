"""Questions, hypotheses and statements about images, in the terms of the data sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question on an image.

    Attributes:
        text: The question.
        answers: The answers that people gave: ten in VQA v2, one in easy-VQA; empty if no answer is public.
        image_index: Position of the image in its collection.
        id: The data set's own id; empty where it has none.
    """

    text: str
    answers: tuple[str, ...]
    image_index: int
    id: str = ""

    @property
    def image_indices(self) -> tuple[int, ...]:
        """All images that it is about."""
        return (self.image_index,)


@dataclass(frozen=True)
class Hypothesis:
    """A statement that an image entails, contradicts or neither (visual entailment).

    Attributes:
        text: The hypothesis.
        label: One of :data:`ENTAILMENT`.
        image_index: Position of the premise image in its collection.
        id: The data set's own id.
    """

    text: str
    label: str
    image_index: int
    id: str = ""

    @property
    def image_indices(self) -> tuple[int, ...]:
        """All images that it is about."""
        return (self.image_index,)

    @property
    def answers(self) -> tuple[str, ...]:
        """The label."""
        return (self.label,)


ENTAILMENT = ("entailment", "neutral", "contradiction")
"""Labels of :class:`Hypothesis`."""


@dataclass(frozen=True)
class Statement:
    """A statement on a pair of images (NLVR2).

    Attributes:
        text: The sentence.
        label: Whether it is true of the pair.
        image_indices: Positions of the left and the right image in their collection.
        id: The data set's own id.
    """

    text: str
    label: bool
    image_indices: tuple[int, int]
    id: str = ""

    @property
    def answers(self) -> tuple[str, ...]:
        """The label, one of :data:`TRUTH`."""
        return (TRUTH[self.label],)


TRUTH = ("false", "true")
"""Labels of :class:`Statement`, in words."""
