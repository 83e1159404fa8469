"""Text: token ids, and what encoders make of them; the encoders by name are in :mod:`gshn.encoders.text_encoders`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from gshn.config import ModelConfig
from gshn.encoders.padding import Padded, in_groups_of_like_length
from gshn.errors import ConfigError, tell
from neuromorphic.errors import counted

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""BERT's, by what they are for."""


def word_tokenizer(texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word of ``texts``; longer texts are cut to ``max_length`` tokens."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = list(SPECIAL_TOKENS.values())
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    cls, sep = (special.index(token) for token in ("[CLS]", "[SEP]"))  # the trainer numbers them first
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return wrap_tokenizer(tokenizer, max_length)


def wrap_tokenizer(
    tokenizer: Tokenizer, max_length: int, special_tokens: Mapping[str, str] = SPECIAL_TOKENS
) -> PreTrainedTokenizerFast:
    """A `tokenizers` tokenizer as transformers' class; it cuts texts and fills them up at their ends."""
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **special_tokens)


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of a list of texts, each of shape (B, L), int64, padded to the longest."""
    encoded = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    return encoded["input_ids"], encoded["attention_mask"]


class TextCount:
    """Counts what a model does not read of texts: what is cut, and words that its tokenizer does not know.

    Attributes:
        texts: Number of texts.
        cut: Those that are longer than the model reads.
        tokens: Number of words, or of parts of words, of what is read.
        unknown: How often each unknown word is among them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.texts = self.cut = self.tokens = 0
        self.unknown: Counter[str] = Counter()

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, as :func:`tokenize` cuts them, unpadded; the texts are counted."""
        tokenizer = self.tokenizer
        encoded = tokenizer(list(texts), truncation=True)
        rows: list[list[int]] = encoded["input_ids"]
        self.texts += len(texts)
        self.tokens += sum(map(len, rows)) - tokenizer.num_special_tokens_to_add() * len(rows)
        for text, ids, encoding in zip(texts, rows, encoded.encodings, strict=True):
            self.cut += bool(encoding.overflowing)
            if tokenizer.unk_token_id in ids:
                places = zip(ids, encoding.offsets, encoding.special_tokens_mask, strict=True)
                # CLIP's token for the end of a text is that for what is unknown, too.
                unknown = [place for token, place, own in places if token == tokenizer.unk_token_id and not own]
                self.unknown.update(text[slice(*place)] for place in unknown)
        return rows

    def tell(self, label: str) -> None:
        """Warn of what is not read, in a line for each kind; nothing where all is."""
        if self.cut:
            limit = f"{self.tokenizer.model_max_length} tokens (model.text.max_length)"
            of = f"of {counted(self.texts, 'text')}"
            tell(f"{label}: {counted(self.cut, f'{of} is', f'{of} are')} longer than {limit} and cut")
        if self.unknown:
            unknown, word = self.unknown.total(), self.unknown.most_common(1)[0][0]
            of = f"of {counted(self.tokens, 'word')} ({unknown / self.tokens:.2%})"
            tell(f"{label}: {counted(unknown, f'{of} is', f'{of} are')} unknown to the model, e.g. {word!r}")


@dataclass(frozen=True)
class EncodedTexts(Padded):
    """Output of a text encoder for B texts.

    Attributes:
        hidden: What each token means where it stands, shape (B, L, C).
        words: What it means wherever it stands: its entry in the encoder's dictionary, without position or context,
            standardised, shape (B, L, W). None where nobody reads it: see :attr:`TextEncoder.with_words`.
        whole: What stands for the whole text, by :func:`pool`, shape (B, C).
    """

    hidden: Tensor
    words: Tensor | None
    whole: Tensor


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector for each text.

    Args:
        hidden: States of its tokens, those that its tokenizer adds among them, shape (B, L, C).
        mask: True at tokens, shape (B, L); padding comes last.
        pooling: cls: the state of the first token; last: of the last; mean: the mean of all.

    Returns:
        Shape (B, C).
    """
    if pooling == "cls":
        return hidden[:, 0]
    count = mask.sum(dim=1)
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), count - 1]
    return hidden.masked_fill(~mask[..., None], 0.0).sum(dim=1) / count[:, None]


@dataclass(frozen=True)
class Architecture:
    """What a pretrained text encoder is apart from its weights and its tokenizer's words.

    Attributes:
        config: Its configuration by transformers, ``model_type`` among it.
        pooling: How it was trained to be read, see :func:`pool`.
        max_length: Number of tokens that are read of a text.
        special_tokens: Special tokens of its tokenizer by purpose, as in :data:`SPECIAL_TOKENS`.
    """

    config: dict[str, Any]
    pooling: str
    max_length: int
    special_tokens: dict[str, str]


TUNED_ROWS = 128
"""Texts that the last layers of a pretrained encoder read together on a CPU. Each group costs a pass over the gradients
of all their weights, which are more than a small encoder's."""


class TextEncoder(nn.Module):
    """Token ids in, states of tokens and of whole texts out.

    Attributes:
        pooling: See :func:`pool`.
        architecture: Architecture of a pretrained encoder; None for one that is trained from scratch.
        with_words: Whether :attr:`EncodedTexts.words` is computed: only spiked text learning reads it.
    """

    with_words = True
    architecture: Architecture | None = None

    def __init__(self, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling

    @property
    def dictionary(self) -> nn.Embedding:
        """The encoder's entry for each token."""
        raise NotImplementedError

    @property
    def word_channels(self) -> int:
        """W, channels of the dictionary."""
        return self.dictionary.embedding_dim

    def hidden(self, input_ids: Tensor, mask: Tensor, states: Tensor | None) -> Tensor:
        """:attr:`EncodedTexts.hidden`; see :meth:`forward`."""
        raise NotImplementedError

    def words(self, input_ids: Tensor, mask: Tensor) -> Tensor | None:
        """:attr:`EncodedTexts.words` of token ids of shape (B, L)."""
        if not self.with_words:
            return None
        entries = self.dictionary(input_ids)
        return F.layer_norm(entries, entries.shape[-1:]) * mask[..., None]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, states: Tensor | None = None, tokens: bool = True
    ) -> EncodedTexts:
        """Encode texts.

        Args:
            input_ids: Token ids, shape (B, L).
            attention_mask: 1 at tokens, 0 at padding, which comes last, shape (B, L).
            states: What :meth:`FrozenText.states` said of them before, shape (B, L, W); None: it is computed.
            tokens: Whether :attr:`EncodedTexts.hidden` is asked for; without it, it may have no channels, C = 0.
        """
        mask = attention_mask.bool()
        hidden = self.hidden(input_ids, mask, states)
        return EncodedTexts(mask, hidden, self.words(input_ids, mask), pool(hidden, mask, self.pooling))


class TransformersText(TextEncoder):
    """A text model of transformers; its states are projected to the model's width where they have another."""

    def __init__(self, bert: PreTrainedModel, config: ModelConfig, architecture: Architecture | None = None) -> None:
        """Wrap a model.

        Args:
            bert: The model. Tensors of checkpoints are called so, whatever model it is.
            config: The configuration of the whole model.
            architecture: Architecture of a pretrained one.
        """
        super().__init__(config.text.pooling or ("cls" if architecture is None else architecture.pooling))
        self.bert, self.architecture = bert, architecture
        self.channels: int = bert.config.hidden_size
        same = self.channels == config.width
        self.projection = nn.Identity() if same else nn.Linear(self.channels, config.width)

    @property
    def dictionary(self) -> nn.Embedding:
        """See :class:`TextEncoder`."""
        dictionary = self.bert.get_input_embeddings()
        assert isinstance(dictionary, nn.Embedding)
        return dictionary

    def states(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """States of the model's last layer: token ids and a mask of shape (B, L) -> (B, L, W)."""
        states: Tensor = self.bert(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state
        return states

    def hidden(self, input_ids: Tensor, mask: Tensor, states: Tensor | None) -> Tensor:
        """See :class:`TextEncoder`."""

        def encode(rows: Tensor, length: int) -> Tensor:
            if states is not None:
                return self.projection(states[rows, :length].float())
            return self.projection(self.states(input_ids[rows, :length], mask[rows, :length]))

        return in_groups_of_like_length(encode, mask)


class FrozenText(TransformersText):
    """A pretrained model whose first layers are not trained, so that what they say of a text can be kept.

    All of its layers, or all but the last K (``model.text.tune=last:K``), which are trained on the kept states.

    Kept states are rounded to float16: what is computed anew equals what was kept. Texts that are computed together
    differ in the last bit of float32 with the company, which changes the rounding of a few numbers by one float16.

    Args:
        bert: The model.
        config: The configuration of the whole model.
        architecture: Architecture of the model.
        tuned: K.

    Raises:
        ConfigError: K is above 0, and the model does not have so many layers, or is none of BERT's family.
    """

    def __init__(self, bert: PreTrainedModel, config: ModelConfig, architecture: Architecture, tuned: int = 0) -> None:
        super().__init__(bert.requires_grad_(False).eval(), config, architecture)
        self.tuned = last_layers(bert, tuned, config.text.encoder)
        if tuned and not torch.cuda.is_available():
            # PyTorch's fused attention takes three times as long to go back through a dozen tokens on a CPU.
            bert.set_attn_implementation("eager")
        for layer in self.tuned:
            layer.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Train the last K layers and what comes after the model; the rest stays in eval mode."""
        super().train(mode)
        self.bert.eval()
        for layer in self.tuned:
            layer.train(mode)
        return self

    @torch.no_grad()
    def states(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """States that the last K layers start from, each the nearest float16: see :class:`TransformersText`."""
        with torch.autocast(input_ids.device.type, enabled=False):
            if not self.tuned:
                return super().states(input_ids, mask).half().float()
            out = self.bert(input_ids=input_ids, attention_mask=mask.long(), output_hidden_states=True)
            states: Tensor = out.hidden_states[-1 - len(self.tuned)]
            return states.half().float()

    def finish(self, states: Tensor, mask: Tensor) -> Tensor:
        """What the last K layers make of kept states of shape (B, L, W): states of the model's last layer."""
        additive = torch.zeros_like(states[:, None, None, :, 0]).masked_fill(~mask[:, None, None], -1e9)
        for layer in self.tuned:
            out = layer(states, attention_mask=additive)
            states = out[0] if isinstance(out, tuple) else out
        return states

    def hidden(self, input_ids: Tensor, mask: Tensor, states: Tensor | None) -> Tensor:
        """See :class:`TextEncoder`."""

        def encode(rows: Tensor, length: int) -> Tensor:
            own = mask[rows, :length]
            kept = self.states(input_ids[rows, :length], own) if states is None else states[rows, :length].float()
            return self.projection(self.finish(kept, own))

        return in_groups_of_like_length(encode, mask, TUNED_ROWS)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, states: Tensor | None = None, tokens: bool = True
    ) -> EncodedTexts:
        """See :class:`TextEncoder`. Without tokens, kept states are pooled before they are projected."""
        if tokens or states is None:
            return super().forward(input_ids, attention_mask, states)
        mask, last = attention_mask.bool(), states.float()
        if self.tuned:
            last = in_groups_of_like_length(
                lambda rows, length: self.finish(states[rows, :length].float(), mask[rows, :length]), mask, TUNED_ROWS
            )
        whole = self.projection(pool(last, mask, self.pooling))
        return EncodedTexts(mask, states.new_zeros(*mask.shape, 0), self.words(input_ids, mask), whole)


def last_layers(bert: PreTrainedModel, count: int, name: str) -> tuple[nn.Module, ...]:
    """The last ``count`` layers of a model of BERT's family.

    Raises:
        ConfigError: there are not so many; the model, which is called ``name``, is of another family.
    """
    if count == 0:
        return ()
    layers = getattr(getattr(bert, "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList):
        raise ConfigError(
            f"model.text.tune=last:{count} needs a model of BERT's family, which text encoder {name} is not: set it to "
            "all or none"
        )
    if count > len(layers):
        raise ConfigError(f"model.text.tune=last:{count}: text encoder {name} has {len(layers)} layers")
    return tuple(layers[-count:])
