"""The weighted sum of all losses, as one module whose forward DistributedDataParallel can wrap."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gshn.config import ObjectiveConfig
from gshn.distributed import global_mean, global_sum, row_offset, world_size
from gshn.encoders.alignment import Embeddings
from gshn.encoders.hybrid import EncodedGraphs
from gshn.encoders.text import EncodedTexts
from gshn.losses.contrastive import RightAnswers, spike_contrast, symmetric_info_nce
from gshn.losses.firing_rate import firing_rate_penalty
from gshn.losses.masked_language import IGNORE
from gshn.losses.matching import hard_negatives
from gshn.model import GSHN, NodeTokens
from gshn.training.batches import PairBatch, TaskBatch


def both_ways(
    scale: Tensor, alignment: Callable[[Embeddings, Embeddings], Tensor], texts: Embeddings, images: Embeddings
) -> tuple[Tensor, Tensor]:
    """Logits of this process's texts with everybody's images, shape (B K, W B), and of its images with all texts."""
    text_to_image = scale * alignment(texts, images.gathered())
    if world_size() == 1:
        return text_to_image, text_to_image.T
    return text_to_image, scale * alignment(texts.gathered(), images).T


class Objective(nn.Module):
    """Batch -> named losses; ``loss`` is their weighted sum."""

    def __init__(self, model: GSHN, weights: ObjectiveConfig):
        super().__init__()
        self.model = model
        self.weights = weights

    def forward(
        self, pairs: PairBatch | None, texts: TaskBatch | None = None, task: str | None = None
    ) -> dict[str, Tensor]:
        """Losses of a batch of pairs, of texts of a task, or of both."""
        losses: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.model.logit_scale.device)
        if pairs is not None:
            losses |= self.pair_losses(pairs)
            total = total + sum(getattr(self.weights, name) * losses[name] for name in losses if name != "rate")
        if texts is not None and task is not None:
            encoded = self.model.encode_graphs(texts.graphs)
            if encoded.spikes is not None and self.weights.firing_rate:
                penalty = firing_rate_penalty(encoded.spikes, self.weights.firing_rate_target)
                losses[f"{task}_firing_rate"] = penalty
                total = total + self.weights.firing_rate * penalty
            tokens = self.model.node_tokens(encoded)
            read = self.model.encode_text(texts.input_ids, texts.attention_mask, texts.states)
            logits = self.model.answer(task, tokens, read, texts.image)
            # Of answers that people gave, each counts by how right it is; with one right answer: cross-entropy. A text
            # none of whose answers is in the vocabulary tells nothing.
            known = texts.answer.sum(dim=1) > 0
            target = texts.answer[known] / texts.answer[known].sum(dim=1, keepdim=True)
            losses[task] = global_mean(F.cross_entropy(logits[known].float(), target, reduction="none"))
            total = total + losses[task]
        return {"loss": total, **losses}

    def pair_losses(self, pairs: PairBatch) -> dict[str, Tensor]:
        """Every loss whose weight is not 0, named as in the config; and ``rate``, the mean firing rate."""
        model, w = self.model, self.weights
        losses: dict[str, Tensor] = {}
        encoded = model.encode_graphs(pairs.graphs)
        read = model.encode_text(
            pairs.input_ids, pairs.attention_mask, pairs.states, model.with_parts or w.mlm > 0 or w.itm > 0
        )
        texts = model.embed_texts(read)
        images = model.embed_images(encoded)
        text_to_image, image_to_text = both_ways(model.scale(), model.alignment, texts, images)
        right = RightAnswers.of(pairs.text, pairs.image)
        if w.itc:
            losses["itc"] = symmetric_info_nce(text_to_image, image_to_text, right)
        if encoded.spikes is not None and model.stl is not None:
            spikes = encoded.spikes
            if w.spike_contrast:
                losses["spike_contrast"] = spike_contrast(spikes.output, pairs.segments())
            if w.stl_contrast:
                logits = both_ways(model.stl.scale(), model.spike_alignment, texts, images)
                losses["stl_contrast"] = symmetric_info_nce(*logits, right)
            if w.stl_words:
                losses["stl_words"] = model.stl.word_prediction(spikes.rates, encoded.batch, pairs.words)
            if w.firing_rate:
                losses["firing_rate"] = firing_rate_penalty(spikes, w.firing_rate_target)
            losses["rate"] = torch.stack([global_mean(layer.detach()) for layer in spikes.layers]).mean()
        if w.mlm or w.itm:
            losses |= self.fusion_losses(pairs, encoded, read, (text_to_image, image_to_text), right)
        return losses

    def fusion_losses(
        self,
        pairs: PairBatch,
        encoded: EncodedGraphs,
        texts: EncodedTexts,
        logits: tuple[Tensor, Tensor],
        right: RightAnswers,
    ) -> dict[str, Tensor]:
        """Masked language modelling, and matching with hard negatives, on every k-th image of the joined batch.

        Each with the first of its captions. Matching takes the caption with its image, with a hard negative image, and
        the image with a hard negative caption; where the batch has no negative for it, nothing stands for that one.

        Args:
            pairs: B images with K captions each.
            encoded: The images.
            texts: The captions.
            logits: Of captions with everybody's images, shape (B K, W B), and of images with everybody's captions,
                shape (B, W B K).
            right: What belongs together.
        """
        model, w = self.model, self.weights
        count, device, total = len(pairs.image), pairs.image.device, logits[0].shape[1]
        start = row_offset(count)
        rows = torch.arange(-start % w.fusion_stride, count, w.fusion_stride, device=device)
        # A process with none of them takes part with a row that counts for nothing: all have to call the same.
        counts = torch.ones_like(rows) if len(rows) else torch.zeros(1, dtype=torch.long, device=device)
        rows = rows if len(rows) else torch.zeros_like(counts)
        first = rows * (len(pairs.text) // count)
        images = model.node_tokens(encoded)
        losses: dict[str, Tensor] = {}
        if w.mlm:
            assert pairs.masked_ids is not None and pairs.labels is not None
            masked = model.encode_text(pairs.masked_ids[first], pairs.attention_mask[first])
            fused = model.fuse(masked, images[rows])
            labels = pairs.labels[first]
            at = (labels != IGNORE) & (counts[:, None] > 0)
            words = model.language_head(fused[at]).float()
            losses["mlm"] = global_mean(F.cross_entropy(words, labels[at], reduction="none"))
        if w.itm:
            generator = torch.Generator().manual_seed(int(pairs.noise_seed))
            noise = torch.rand(total, logits[1].shape[1], generator=generator).to(device)[start + rows]
            image, is_image = hard_negatives(logits[0][first], right.of_texts[first], noise[:, :total])
            text, is_text = hard_negatives(logits[1][rows], right.of_images[rows], 1 - noise)
            answers = model.matching(
                EncodedTexts.cat([texts[first], texts[first], texts.gathered()[text]]),
                NodeTokens.cat([images[rows], images.gathered()[image], images[rows]]),
            ).float()
            matches = torch.cat([torch.ones_like(rows), torch.zeros_like(rows), torch.zeros_like(rows)])
            # Two of three pairs do not match; weighting keeps "no" from being a good guess.
            weight = torch.where(matches == 1, 4 / 3, 2 / 3) * torch.cat([counts, counts * is_image, counts * is_text])
            wrong = weight * F.cross_entropy(answers, matches, reduction="none")
            losses["itm"] = global_sum(wrong) / (3 * len(range(0, total, w.fusion_stride)))
        return losses
