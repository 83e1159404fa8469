"""``stl_contrast`` and ``stl_words``: Spiked Text Learning (:mod:`gshn.encoders.spiked_text`)."""

from __future__ import annotations

from torch import Tensor

from gshn.losses.base import PairStates
from gshn.losses.contrastive import symmetric_info_nce

KINDS = {
    "stl_contrast": {
        "weight": 1.0,
        "order": 3,
        "needs": "discrete",
        "help": "spiked text learning: contrast of image and text as spikes, which retrieval ranks by, too",
    },
    "stl_words": {
        "weight": 0.2,
        "order": 4,
        "needs": "discrete",
        "reads": ("words",),
        "help": "spiked text learning: the segment spike code predicts the caption's words",
    },
}


def loss(name: str, states: PairStates) -> Tensor:
    """See :class:`gshn.encoders.spiked_text.SpikedTextLearning`."""
    stl = states.model.stl
    assert stl is not None
    if name == "stl_contrast":
        return symmetric_info_nce(*states.both_ways(stl.scale(), states.model.spike_alignment), states.right)
    return stl.word_prediction(states.spikes.rates, states.encoded.batch, states.pairs.words)
