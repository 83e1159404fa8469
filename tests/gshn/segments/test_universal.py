"""Universal segmentation models of transformers, built from configurations: nothing is downloaded."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    CLIPTokenizer,
    EomtConfig,
    EomtForUniversalSegmentation,
    EomtImageProcessorPil,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    MaskFormerImageProcessorPil,
    OneFormerConfig,
    OneFormerForUniversalSegmentation,
    OneFormerImageProcessorPil,
    OneFormerProcessor,
    SwinConfig,
)

from gshn.errors import ConfigError, DataError
from gshn.segments.choose import make_segmenter
from gshn.segments.universal import UniversalSegmenter
from gshn.training.segmentation import image_processor, small_mask2former

STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN = {"image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
NAMES = {0: "circle", 1: "star", 2: "sky"}


def mask2former(folder):
    small_mask2former().save_pretrained(folder)
    image_processor(48).save_pretrained(folder)


def maskformer(folder):
    decoder = {"model_type": "detr", "d_model": 32, "decoder_layers": 1, "encoder_layers": 1}
    decoder |= {"decoder_ffn_dim": 16, "encoder_ffn_dim": 16, "decoder_attention_heads": 2, "num_queries": 5}
    config = MaskFormerConfig(
        backbone_config=SwinConfig(**SWIN, out_features=STAGES).to_dict(),
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        id2label=NAMES,
        thing_labels=[0, 1],
    )
    MaskFormerForInstanceSegmentation(config).save_pretrained(folder)
    MaskFormerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)


def oneformer(folder):
    config = OneFormerConfig(
        backbone_config=SwinConfig(**SWIN, out_features=STAGES).to_dict(),
        num_queries=5,
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        dim_feedforward=16,
        num_attention_heads=2,
        text_encoder_width=32,
        text_encoder_context_length=77,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=600,
        text_encoder_n_ctx=2,
        query_dec_layers=1,
        id2label=NAMES,
        is_training=False,
    )
    OneFormerForUniversalSegmentation(config).save_pretrained(folder)
    classes = {str(k): {"isthing": int(name != "sky"), "name": name} for k, name in NAMES.items()}
    (folder / "classes.json").write_text(json.dumps(classes))
    processor = OneFormerImageProcessorPil(
        size={"height": 64, "width": 64}, repo_path=str(folder), class_info_file="classes.json", num_text=3
    )
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = {t: i for i, t in enumerate([*letters, *(f"{c}</w>" for c in letters)])}
    vocabulary |= {"<|startoftext|>": len(vocabulary), "<|endoftext|>": len(vocabulary) + 1}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    OneFormerProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)


def eomt(folder):
    config = EomtConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        num_blocks=1,
        num_queries=5,
        num_upscale_blocks=1,
        id2label=NAMES,
        thing_labels=[0, 1],
    )
    EomtForUniversalSegmentation(config).save_pretrained(folder)
    EomtImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True).save_pretrained(folder)


@pytest.mark.parametrize("make", [mask2former, maskformer, oneformer, eomt])
def test_families(tmp_path, make, monkeypatch):
    torch.manual_seed(0)
    make(tmp_path)
    segmenter = UniversalSegmenter(tmp_path)
    things = [c.name for c in segmenter.categories if c.isthing]
    assert things[:1] == ["circle"] and "sky" not in things
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(2)]
    monkeypatch.setattr("gshn.segments.universal.THRESHOLD", 0.0)  # untrained, it is sure of nothing
    monkeypatch.setattr("gshn.segments.universal.OVERLAP", 0.0)
    found = segmenter.batch(images, [None, None])
    assert any(segments.segments for segments in found)
    for segments in found:
        segments.validate()
        assert segments.segment_map.shape == (40, 56)
        assert {s.category_id for s in segments.segments} <= {c.id for c in segmenter.categories}
        stuff = [s.category_id for s in segments.segments if not segmenter.categories[s.category_id - 1].isthing]
        assert len(stuff) == len(set(stuff)), "stuff is one segment a category"
    assert repr(segmenter).startswith("UniversalSegmenter(")
    key = segmenter.key
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text() + " ")
    assert segmenter.key != key


def test_segments_with_numbers_that_come_twice_stay_apart(tmp_path):
    # transformers gives the segment after a fused one a number that is taken; we let it fuse nothing.
    mask2former(tmp_path)
    segmenter = UniversalSegmenter(tmp_path)
    label = {category.name: category.id - 1 for category in segmenter.categories}
    numbers = torch.tensor([[1, 1, 2, 3], [4, 4, 2, 3]])
    infos = [
        {"id": 1, "label_id": label["sky"]},
        {"id": 2, "label_id": label["star"]},
        {"id": 3, "label_id": label["sky"]},
        {"id": 4, "label_id": label["star"]},
    ]
    segments = segmenter._segments({"segmentation": numbers, "segments_info": infos}, (2, 4))
    assert segments.segment_map.tolist() == [[1, 1, 2, 1], [4, 4, 2, 1]]
    names = [segmenter.categories[s.category_id - 1].name for s in segments.segments]
    assert names == ["sky", "star", "star"]


def test_what_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match=r"segmenter weights .*nowhere cannot be used .*name a folder with config.json"):
        UniversalSegmenter(tmp_path / "nowhere")
    mask2former(tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"segmenter weights .*cut cannot be used"):
        UniversalSegmenter(tmp_path / "cut")
    with pytest.raises(ConfigError, match=r"segmenter mask2former needs weights: a folder \(gshn.segment --fit"):
        make_segmenter("mask2former")
    with pytest.raises(ConfigError, match="no panoptic annotation to take as ground truth; choose one of detectron2"):
        make_segmenter("ground-truth")
    with pytest.raises(ConfigError, match="there is no segmenter 'sam'; choose one of detectron2"):
        make_segmenter("sam")
