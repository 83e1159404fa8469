"""The weighted sum of all losses, as one module whose forward DistributedDataParallel can wrap."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gshn.config import ObjectiveConfig
from gshn.distributed import global_mean, shares
from gshn.losses.base import PairBatch, PairStates
from gshn.losses.firing_rate import firing_rate_penalty
from gshn.model import GSHN
from gshn.registry import LOSSES
from gshn.training.batches import TaskBatch


class Objective(nn.Module):
    """Batch -> named losses; ``loss`` is their weighted sum."""

    def __init__(self, model: GSHN, weights: ObjectiveConfig, chunk: int | None = None):
        """Losses of a model; ``chunk``: see :attr:`gshn.config.Config.chunk`."""
        super().__init__()
        self.model = model
        self.weights = weights
        self.chunk = chunk

    def forward(
        self, pairs: PairBatch | None, texts: TaskBatch | None = None, task: str | None = None
    ) -> dict[str, Tensor]:
        """Losses by name, scalars, of a batch of pairs, of texts of a task, or of both."""
        losses: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.model.logit_scale.device)
        if pairs is not None:
            losses |= self.pair_losses(pairs)
            total = total + sum(getattr(self.weights, name) * losses[name] for name in losses if name != "rate")
        if texts is not None and task is not None:
            encoded = self.model.encode_graphs(texts.graphs, chunk=self.chunk, identity=texts.identity)
            if encoded.spikes is not None and self.weights.firing_rate:
                # An image that several processes have texts on counts once, as it does in one process.
                share = shares(texts.identity)[encoded.batch]
                penalty = firing_rate_penalty(encoded.spikes, self.weights.firing_rate_target, share)
                losses[f"{task}_firing_rate"] = penalty
                total = total + self.weights.firing_rate * penalty
            tokens = self.model.node_tokens(encoded)
            read = self.model.encode_text(texts.input_ids, texts.attention_mask, texts.states, chunk=self.chunk)
            logits = self.model.answer(task, tokens, read, texts.image)
            # Of answers that people gave, each counts by how right it is; with one right answer: cross-entropy. A text
            # none of whose answers is in the vocabulary tells nothing.
            known = texts.answer.sum(dim=1) > 0
            target = texts.answer[known] / texts.answer[known].sum(dim=1, keepdim=True)
            losses[task] = global_mean(F.cross_entropy(logits[known].float(), target, reduction="none"))
            total = total + losses[task]
        return {"loss": total, **losses}

    def pair_losses(self, pairs: PairBatch) -> dict[str, Tensor]:
        """All losses with a weight other than 0, scalars, by their names in the config; and ``rate``, the mean firing
        rate."""
        losses: dict[str, Tensor] = {}
        states = PairStates(self.model, pairs, self.weights, self.chunk)
        spikes = states.encoded.spikes if self.model.stl is not None else None
        for name in self.weights.on():
            if spikes is not None or not LOSSES[name].traits.needs:
                losses[name] = LOSSES.function(name, "loss")(name, states)
        if spikes is not None:
            losses["rate"] = torch.stack([global_mean(layer.detach()) for layer in spikes.layers]).mean()
        return losses
