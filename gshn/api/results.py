"""Results of a model: answers, explanations, spiking networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import neuromorphic
from gshn.api.html import picture, table
from gshn.errors import DataError
from gshn.evaluation.explanation import Explanation
from gshn.evaluation.picture import PANELS, Shown, draw_explanation, draw_panel
from neuromorphic.files import check_destination, write_atomically

if TYPE_CHECKING:
    import nir


@dataclass(frozen=True, eq=False, repr=False)
class Answer:
    """Answers to a text about an image with their probabilities. ``str(answer)`` is the most probable one.

    Attributes:
        text: The question, hypothesis or statement; after a classification, the image's name.
        answers: All A answers that the model knows, the most probable first.
        probabilities: Their probabilities, shape (A,), float32; they sum to 1.
    """

    text: str
    answers: tuple[str, ...]
    probabilities: NDArray[np.float32]

    @classmethod
    def of(cls, text: str, answers: list[str], probabilities: NDArray[np.float32]) -> Answer:
        """Answers in any order."""
        order = np.argsort(-probabilities, kind="stable")
        return cls(text, tuple(answers[index] for index in order), probabilities[order])

    @property
    def answer(self) -> str:
        """The most probable answer."""
        return self.answers[0]

    @property
    def probability(self) -> float:
        """Probability of the most probable answer."""
        return float(self.probabilities[0])

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable answers with their probabilities."""
        return [(answer, float(p)) for answer, p in zip(self.answers[:k], self.probabilities, strict=False)]

    def __str__(self) -> str:
        return self.answer

    def __repr__(self) -> str:
        told = ", ".join(f"{answer!r} {p:.3f}" for answer, p in self.top(3))
        return f"Answer({told}{', ...' if len(self.answers) > 3 else ''})"

    def _repr_html_(self) -> str:
        return table([(answer, f"{p:.3f}") for answer, p in self.top()], (self.text, "probability"))


@dataclass(frozen=True, eq=False, repr=False)
class Match:
    """Why an image and a text match: the share of each segment in their similarity.

    Attributes:
        name: Name of the image.
        text: The text.
        details: Everything that was computed, as tensors (:class:`gshn.evaluation.explanation.Explanation`).
        image: RGB as the model saw it, shape (H, W, 3), uint8.
        segments: Index of each pixel's node, -1 for none, shape (H, W), int32.
    """

    name: str
    text: str
    details: Explanation
    image: NDArray[np.uint8]
    segments: NDArray[np.int32]

    @property
    def similarity(self) -> float:
        """The similarity that retrieval ranks by, in [-1, 1]."""
        return self.details.similarity

    @property
    def shares(self) -> NDArray[np.float32]:
        """Share of each node in the similarity, shape (N,), float32."""
        out: NDArray[np.float32] = self.details.share.numpy()
        return out

    def strongest(self, k: int = 3) -> list[tuple[str, float]]:
        """The k nodes with the largest shares, as (name, share)."""
        order = np.argsort(-self.shares, kind="stable")[:k]
        return [(self.details.names[node], float(self.shares[node])) for node in order]

    @cached_property
    def png(self) -> bytes:
        """A picture as PNG: segments, shares, words against segments, spikes, and both paths."""
        return draw_explanation(self._shown, self.text)

    def panel(self, name: str) -> bytes:
        """One part of :attr:`png` by itself, as PNG.

        Args:
            name: ``segments``, ``shares``, ``first spikes``, ``last spikes``, ``words``, ``words by spikes``,
                ``attention`` or ``paths``.

        Raises:
            DataError: there is no such panel.
        """
        if name not in PANELS:
            raise DataError(f"there is no panel {name!r}; choose one of {', '.join(PANELS)}")
        return draw_panel(self._shown, name)

    @property
    def _shown(self) -> Shown:
        return Shown(self.image, self.segments, self.details)

    def save(self, path: str | Path) -> Path:
        """Write the picture, and return its path.

        Args:
            path: A file whose name ends in .png.

        Raises:
            DataError: the file's name does not end in .png.
            UserError: the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise DataError(f"{path} does not end in .png, which the picture is")
        check_destination(path)
        write_atomically(path, self.png)
        return path

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {share:.3f}" for name, share in self.strongest())
        return f"Match({self.name}, {self.text!r}: similarity {self.similarity:.3f}, most of segments {told})"

    def _repr_html_(self) -> str:
        return picture(self.png, repr(self), 900)


@dataclass(frozen=True, eq=False, repr=False)
class ImageNetwork:
    """The spiking path of one image's scene graph, as a network for neuromorphic simulators.

    Attributes:
        name: Name of the image.
        graph: The network as NIR, with ``dt``, reset and T steps in its metadata.
        inputs: The input by name, shape (T, N * C), float64: the same at every step.
        spikes: Spikes of every neuron node by PyTorch, shape (T, N * C), bool. A simulator should give the same.
    """

    name: str
    graph: nir.NIRGraph
    inputs: dict[str, NDArray[np.float64]]
    spikes: dict[str, NDArray[np.bool_]]

    @cached_property
    def network(self) -> neuromorphic.SpikingNetwork:
        """:attr:`graph` loaded by ``neuromorphic.load``: it runs, verifies, profiles and compiles."""
        return neuromorphic.load(self.graph)

    def run(self, **options: Any) -> neuromorphic.Run:
        """Run :attr:`network` on :attr:`inputs`. Options are those of its ``run``, such as ``backend="lava"``."""
        return self.network.run(self.inputs, **options)

    def __repr__(self) -> str:
        steps = len(next(iter(self.inputs.values())))
        neurons = sum(spikes.shape[1] for spikes in self.spikes.values())
        total = sum(int(spikes.sum()) for spikes in self.spikes.values())
        return f"ImageNetwork({self.name}: {len(self.spikes)} layers, {neurons} neurons, {steps} steps, {total} spikes)"

    def _repr_html_(self) -> str:
        rows = [
            (layer, f"{spikes.shape[1]} neurons, {spikes.mean():.4f} spikes per neuron and step")
            for layer, spikes in self.spikes.items()
        ]
        return table(rows, (self.name, f"{len(next(iter(self.inputs.values())))} steps"))
