"""The tab for a photograph: it explains the match with a caption, or answers a question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gshn.api.encoded import Images
from gshn.api.model import Model
from gshn.api.results import Answer, ImageNetwork, Match
from gshn.browser import shown
from gshn.browser.shown import Shown
from gshn.errors import CheckpointError, DataError
from neuromorphic.errors import counted

ENERGY = ("energy model", "µJ, low", "µJ, high")
LONG = 16
"""Number of words from which heat maps take the page's whole width. On a phone they then scroll, as their labels
would be too small to read."""


def is_question(text: str) -> bool:
    """Whether a text is a question: it ends with a question mark."""
    return text.rstrip().endswith("?")


def photograph(model: Model, picture: str | Path | None, text: str | None) -> Shown:
    """Explain the match of a photograph and a text, answer a question, and run the photograph's spiking network.

    Args:
        model: The model.
        picture: File of the photograph, or None.
        text: A caption, or a question, which ends with a question mark. None: nothing was typed.

    Returns:
        The result for the page.

    Raises:
        UserError: the picture or the text is missing, or cannot be used.
    """
    if picture is None:
        raise DataError("there is no photograph yet: choose a file, or draw a scene")
    text = " ".join((text or "").split())
    if not text:
        raise DataError("the text is empty: type a caption, or a question that ends with a question mark")
    images = model.encode_images(picture)
    match = model.explain(images, text)
    answer = _answer(model, picture, text)
    network = spiking_network(model, images)
    sections: dict[str, str] = {}
    if answer is not None:
        rows = [(own, f"{100 * probability:.1f} %") for own, probability in answer.top(5)]
        sections["Answer"] = shown.table(f"Answers to: {text}", ("answer", "probability"), rows)
    elif is_question(text):
        trained = ", ".join(model.tasks)
        sections["Answer"] = shown.paragraph(f"{model.name} answers no questions; it was trained on {trained}.")
    if unknown := model.unknown_words(text):
        sections["Words that the model does not know"] = shown.paragraph(
            f"{', '.join(unknown)}. It was trained on {model.config.data.pairs.source}, and reads all of them "
            "as one unknown word."
        )
    nodes = images.graphs[0].num_nodes
    about = f"{counted(nodes, 'segment')} and the edges between them"
    sections["Segments and scene graph"] = shown.image(images.draw(), about)
    if model.corpora.config.data.pairs.segmenter == "ground-truth":
        sections["Segments and scene graph"] += shown.paragraph(
            f"{model.name} was trained on annotated segments. This picture has none: it is cut into superpixels, with "
            "which the model does worse."
        )
    strongest = match.strongest(3)
    driven = ", ".join(f"segment {name} ({share:.3f})" for name, share in strongest)
    sections["Which segments match"] = shown.image(
        match.panel("shares"), f"share of each segment in the match; most: {driven}"
    ) + shown.paragraph(f"Most of the match comes from {driven}.")
    sections["Which segments match which words"] = _words(match)
    if network is None:
        sections["Spikes"] = shown.paragraph(f"{model.name} has no spiking path.")
    else:
        rates = ", ".join(f"{name} {spikes.mean():.4f}" for name, spikes in network.spikes.items())
        sections["Spikes"] = "".join(
            shown.image(match.panel(panel), f"raster of the {panel.replace(' ', ' layer: ')}, a band for each segment")
            for panel in ("first spikes", "last spikes")
        ) + shown.paragraph(f"Spikes per neuron and step: {rates}.")
    energy = {} if network is None else network.network.profile(network.inputs).joules
    if energy:
        sections["Energy of the spiking path"] = shown.table(
            "By energy model, for this image; modelled, not measured", ENERGY, shown.energy_rows(energy)
        )
    return Shown(
        _headline(text, match, answer),
        sections,
        match.png,
        None if network is None else shown.nir_bytes(network.network),
        shown.json_text(report(model, match, answer, network, energy)),
    )


def _headline(text: str, match: Match, answer: Answer | None) -> str:
    if answer is not None:
        return f"{text} {answer} ({100 * answer.probability:.0f} %)"
    matching = match.details.matching
    told = "" if matching is None else f"; match with probability {matching:.2f}"
    return f"Similarity {match.similarity:.3f}{told}"


def _answer(model: Model, picture: str | Path, text: str) -> Answer | None:
    """The answer to a question, or the entailment of a caption; None where the model was not trained for it."""
    if is_question(text):
        return model.answer(picture, text) if "vqa" in model.tasks else None
    return model.entails(picture, text) if "entailment" in model.tasks else None


def spiking_network(model: Model, images: Images) -> ImageNetwork | None:
    """The spiking network of the image; None where the model has no spiking path."""
    try:
        return model.spiking_network(images)
    except CheckpointError:
        return None


def words(match: Match) -> list[tuple[str, str, str]]:
    """Each word with its most similar segment, by V' and by spikes; "" where all segments are equally similar."""
    details = match.details
    out = []
    for row, word in enumerate(details.compared):
        best = []
        for similarity in (details.segment_similarity, details.segment_similarity_by_spikes):
            if similarity is None or not np.ptp(similarity[row].numpy()):
                best.append("")
            else:
                segment = int(similarity[row].argmax())
                best.append(f"{details.names[segment]} ({float(similarity[row, segment]):.2f})")
        out.append((word, best[0], best[1]))
    return out


def _words(match: Match) -> str:
    panels = {"words": "similarity of each word and each segment, by V'"}
    if match.details.segment_similarity_by_spikes is not None:
        panels["words by spikes"] = "similarity of each word and each segment, by spikes"
    if len(match.details.compared) < LONG:
        pictures = [shown.image(match.panel(panel), text) for panel, text in panels.items()]
    else:
        pictures = [shown.scrolling(shown.image(match.panel(panel), text, 780), text) for panel, text in panels.items()]
    best = shown.table(
        "The most similar segment of each word (similarity)", ("word", "by V'", "by spikes"), words(match)
    )
    return "".join(pictures) + best


def report(
    model: Model,
    match: Match,
    answer: Answer | None,
    network: ImageNetwork | None,
    energy: dict[str, tuple[float, float]],
) -> dict[str, Any]:
    """All numbers, as plain JSON types."""
    details = match.details
    return {
        "checkpoint": model.name,
        "image": Path(match.name).name,
        "text": match.text,
        "similarity": match.similarity,
        "matching": details.matching,
        "answers": None if answer is None else dict(zip(answer.answers, answer.probabilities.tolist(), strict=True)),
        "segments": details.names,
        "shares": match.shares.tolist(),
        "words": details.compared,
        "segment_similarity": details.segment_similarity.tolist(),
        "segment_similarity_by_spikes": None
        if details.segment_similarity_by_spikes is None
        else details.segment_similarity_by_spikes.tolist(),
        "firing_rate": {} if network is None else {name: float(own.mean()) for name, own in network.spikes.items()},
        "joules": {name: {"low": low, "high": high} for name, (low, high) in energy.items()},
    }
