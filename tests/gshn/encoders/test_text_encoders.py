"""Text encoders of transformers: small ones with random weights, written to folders as their makers would."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import CAPTIONS, tiny_config, tiny_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextModel,
    GPT2Config,
    GPT2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)

from gshn.encoders.text import pool, tokenize, word_tokenizer
from gshn.encoders.text_encoders.transformers import pretrained_tokenizer
from gshn.errors import ConfigError
from gshn.model import GSHN

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def end_tokenizer(ends: bool = True, **special: str) -> PreTrainedTokenizerFast:
    """Words between <s> and </s>, as CLIP's, or words alone, as GPT-2's."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="</s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    if ends:
        pairs = [("<s>", 0), ("</s>", 1)]
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=pairs)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "</s>", **special}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=12, **special)


def bert() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = word_tokenizer(CAPTIONS, 20)
    return BertModel(BertConfig(vocab_size=len(tokenizer), **SMALL)), tokenizer


def clip() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = end_tokenizer()
    text = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 12, **SMALL}
    vision = {"image_size": 16, "patch_size": 8, **SMALL}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)), tokenizer


def t5() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = end_tokenizer(pad_token="<s>")
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
    return T5Model(T5Config(vocab_size=len(tokenizer), **shape)), tokenizer


def gpt2(**special: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = end_tokenizer(ends=False, **special)
    return GPT2Model(GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2)), tokenizer


def padded_gpt2() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    return gpt2(pad_token="</s>")


def write(folder: Path, made: tuple[PreTrainedModel, PreTrainedTokenizerFast]) -> str:
    """Write model and tokenizer; returns ``model.text.encoder``."""
    for part in made:
        part.save_pretrained(folder)
    return f"transformers:{folder}"


def model_of(encoder: str, *overrides: str) -> GSHN:
    return tiny_model(
        tiny_config(f"model.text.encoder={encoder}", "model.text.pooling=null", "objectives.mlm=0", *overrides)
    ).eval()


@pytest.mark.parametrize("make", [bert, clip, t5, padded_gpt2])
def test_a_checkpoint_loads_where_the_folder_is_not(make: Callable, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = model_of(write(tmp_path / "encoder", made := make()), "model.width=24", "model.text.max_length=9")
    (tmp_path / "encoder").rename(tmp_path / "elsewhere")
    model.save_pretrained(tmp_path / "checkpoint")
    loaded = GSHN.from_pretrained(tmp_path / "checkpoint")
    texts = [*CAPTIONS, "", "a star unknownword"]
    ids, mask = tokenize(model.tokenizer, texts)
    assert all(
        torch.equal(own, other) for own, other in zip(tokenize(loaded.tokenizer, texts), (ids, mask), strict=True)
    )
    assert ids.shape[1] == 9
    with torch.no_grad():
        before, after = model.encode_text(ids, mask), loaded.encode_text(ids, mask)
        source = made[0].eval().get_encoder() if make is t5 else made[0].eval()
        source = source.text_model if make is clip else source
        expected = model.text.projection(source(input_ids=ids, attention_mask=mask).last_hidden_state)
    for name in ("hidden", "words", "whole"):
        assert torch.equal(getattr(before, name), getattr(after, name))
    torch.testing.assert_close(before.hidden[before.mask], expected[before.mask])
    assert (tmp_path / "checkpoint" / "text_config.json").read_text().count(str(tmp_path)) == 0


def test_clip_is_read_as_clip_reads_it(tmp_path: Path) -> None:
    """Its tokenizer has no token for padding, and its pooled output is the state where a text ends."""
    encoder = write(tmp_path, clip())
    model = model_of(encoder)
    ids, mask = tokenize(model.tokenizer, CAPTIONS)
    assert (mask == 0).any()
    with torch.no_grad():
        expected = CLIPTextModel.from_pretrained(tmp_path).eval()(input_ids=ids, attention_mask=mask).pooler_output
        torch.testing.assert_close(model.encode_text(ids, mask).whole, expected)


def test_an_encoder_is_read_as_it_was_trained(tmp_path: Path) -> None:
    encoder = write(tmp_path, bert())
    assert model_of(encoder).text.pooling == "cls"
    (pooling := tmp_path / "1_Pooling").mkdir()
    modes = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "word_embedding_dimension": 16}
    (pooling / "config.json").write_text(json.dumps(modes))
    assert model_of(encoder).text.pooling == "mean"
    assert model_of(encoder, "model.text.pooling=last").text.pooling == "last"
    (pooling / "config.json").write_text(json.dumps(modes | {"pooling_mode_max_tokens": True}))
    with pytest.raises(
        ConfigError, match=r"says pooling_mode_mean_tokens and pooling_mode_max_tokens; set model\.text"
    ):
        model_of(encoder)
    assert model_of(encoder, "model.text.pooling=cls").text.pooling == "cls"


def test_pooling_equals_the_loop() -> None:
    hidden, lengths = torch.randn(3, 4, 5), [4, 1, 2]
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    hidden[~mask] = torch.nan
    for pooling, own in {"cls": lambda x: x[0], "last": lambda x: x[-1], "mean": lambda x: x.mean(dim=0)}.items():
        expected = torch.stack([own(row[:n]) for row, n in zip(hidden, lengths, strict=True)])
        torch.testing.assert_close(pool(hidden, mask, pooling), expected)


def test_what_stands_for_a_text_is_what_images_are_compared_with(tmp_path: Path) -> None:
    cls, mean = (model_of("bert", f"model.text.pooling={pooling}") for pooling in ("cls", "mean"))
    ids, mask = tokenize(cls.tokenizer, CAPTIONS)
    with torch.no_grad():
        texts = cls.encode_text(ids, mask)
        first, wholes = (model.embed_texts(model.encode_text(ids, mask)).whole for model in (cls, mean))
        torch.testing.assert_close(first, torch.nn.functional.normalize(cls.text_head.whole(texts.hidden[:, 0])))
        average = pool(texts.hidden, texts.mask, "mean")
        torch.testing.assert_close(wholes, torch.nn.functional.normalize(cls.text_head.whole(average)))


def test_an_empty_text_has_a_token(tmp_path: Path) -> None:
    """GPT-2's tokenizer adds none of its own."""
    write(tmp_path, padded_gpt2())
    tokenizer = pretrained_tokenizer(str(tmp_path), 20)
    assert tokenizer(["", "a star"])["input_ids"] == [[1], [*tokenizer.convert_tokens_to_ids(["a", "star"]), 1]]


class TestBadInput:
    def refused(self, encoder: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message) as error:
            model_of(encoder)
        assert "\n" not in str(error.value)

    def test_nothing_there(self, tmp_path: Path) -> None:
        self.refused(f"transformers:{tmp_path / 'none'}", "text encoder .*none cannot be used .* name a folder with")

    def test_a_vision_model(self, tmp_path: Path) -> None:
        ViTModel(ViTConfig(image_size=16, patch_size=8, **SMALL)).save_pretrained(tmp_path)
        self.refused(f"transformers:{tmp_path}", "is of the kind vit, which reads no text; name a text model")

    def test_a_tokenizer_without_padding(self, tmp_path: Path) -> None:
        self.refused(write(tmp_path, gpt2()), 'has no padding token; add "pad_token" to its tokenizer_config.json')

    def test_no_tokenizer(self, tmp_path: Path) -> None:
        bert()[0].save_pretrained(tmp_path)
        self.refused(f"transformers:{tmp_path}", "has no tokenizer; put its tokenizer.json there")

    def test_weights_that_would_be_unpickled(self, tmp_path: Path) -> None:
        encoder = write(tmp_path, bert())
        (tmp_path / "model.safetensors").unlink()
        torch.save(bert()[0].state_dict(), tmp_path / "pytorch_model.bin")
        self.refused(encoder, r"text encoder .* cannot be used \(.*safetensors")

    def test_weights_of_another_model(self, tmp_path: Path) -> None:
        encoder = write(tmp_path, bert())
        padded_gpt2()[0].save_pretrained(tmp_path / "other")
        (tmp_path / "other" / "model.safetensors").replace(tmp_path / "model.safetensors")
        self.refused(encoder, "the weights of text encoder .* lack .* tensors of a bert, such as embeddings.*; name a")

    def test_more_tokens_than_the_model_has(self, tmp_path: Path) -> None:
        encoder = write(tmp_path, bert())
        word_tokenizer([*CAPTIONS, "one word more"], 20).save_pretrained(tmp_path)
        self.refused(encoder, r"has \d+ tokens, the model \d+; name a model whose tokenizer and weights go together")

    def test_no_token_to_mask_a_word_with(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"has no token to mask a word with: set objectives\.mlm=0"):
            model_of(write(tmp_path, clip()), "objectives.mlm=0.1")

    @pytest.mark.parametrize("encoder", ["transformers", "transformers:", "bert:large", "clip"])
    def test_a_name_that_is_none(self, encoder: str) -> None:
        self.refused(encoder, "'model.text.encoder' .* bert, minilm, spikformer, transformers:NAME_OR_FOLDER")

    @pytest.mark.parametrize("encoder", ["bert", "spikformer"])
    def test_what_starts_from_nothing_cannot_be_frozen(self, encoder: str) -> None:
        with pytest.raises(ConfigError, match=f"'model.text.tune' is 'none': must be all where .* is {encoder}"):
            tiny_config(f"model.text.encoder={encoder}", "model.text.tune=none")


def test_last_layers_are_of_berts_family(tmp_path: Path) -> None:
    write(tmp_path, padded_gpt2())
    with pytest.raises(ConfigError, match=r"last:1 needs a model of BERT's family, which text encoder .* is not"):
        tiny_model(
            tiny_config(f"model.text.encoder=transformers:{tmp_path}", "model.text.tune=last:1", "objectives.mlm=0")
        )
