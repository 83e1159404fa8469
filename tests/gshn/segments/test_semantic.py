"""Semantic segmentation models of transformers, built from configurations; and a real one, where it is at hand."""

import json
from types import SimpleNamespace

import numpy as np
import official
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d
from transformers import (
    BeitConfig,
    BeitForSemanticSegmentation,
    BeitImageProcessorPil,
    BertConfig,
    BertModel,
    DetrConfig,
    DPTImageProcessorPil,
    MobileViTConfig,
    MobileViTForSemanticSegmentation,
    MobileViTImageProcessorPil,
    SegformerConfig,
    SegformerForImageClassification,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
)

from gshn.errors import ConfigError, DataError
from gshn.segments.choose import make_segmenter
from gshn.segments.panoptic import decode_panoptic_png
from gshn.segments.semantic import SemanticSegmenter, upsampled
from gshn.segments.superpixels import SuperpixelSegmenter
from gshn.training.segmentation import image_processor, small_mask2former

NAMES = {0: "Background", 1: "cat", 2: "dog", 3: "grass"}
THINGS = {"id2label": NAMES, "thing_labels": [1, 2]}
TINY = {"depths": [1] * 4, "hidden_sizes": [8] * 4, "num_attention_heads": [1] * 4, "decoder_hidden_size": 8}


def segformer(folder, size=64, **config):
    SegformerForSemanticSegmentation(SegformerConfig(**TINY, **THINGS | config)).save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": size, "width": size}).save_pretrained(folder)
    return folder


def beit(folder):
    shape = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16}
    config = BeitConfig(image_size=64, patch_size=16, out_indices=[1, 2, 3, 4], pool_scales=[1, 2], **shape, **THINGS)
    BeitForSemanticSegmentation(config).save_pretrained(folder)
    BeitImageProcessorPil(size={"height": 64, "width": 64}, do_center_crop=False).save_pretrained(folder)
    return folder


def mobilevit(folder):
    shape = {"hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [8] * 7, "aspp_out_channels": 8, "num_attention_heads": 2}
    MobileViTForSemanticSegmentation(MobileViTConfig(image_size=64, **shape, **THINGS)).save_pretrained(folder)
    crop = {"height": 64, "width": 64}
    MobileViTImageProcessorPil(size={"shortest_edge": 72}, crop_size=crop).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    return segformer(tmp_path_factory.mktemp("segformer"))


@pytest.mark.parametrize("make", [segformer, beit, mobilevit])
def test_families(tmp_path, make, monkeypatch):
    monkeypatch.setattr("gshn.segments.semantic.TOGETHER", 1 if make is beit else 8)
    torch.manual_seed(0)
    segmenter = SemanticSegmenter(make(tmp_path))
    assert [(c.name, c.isthing) for c in segmenter.categories] == [
        ("cat", True),
        ("dog", True),
        ("grass", False),
        ("region", False),
    ]
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 56, 3), (64, 30, 3), (40, 56, 3))]
    found = segmenter.batch(images, [None] * 3)
    for image, segments in zip(images, found, strict=True):
        segments.validate()
        assert segments.segment_map.shape == image.shape[:2] and (segments.segment_map > 0).all()
        assert {s.category_id for s in segments.segments} <= {c.id for c in segmenter.categories}
        np.testing.assert_array_equal(segmenter(image).segment_map, segments.segment_map)
    assert repr(segmenter).startswith("SemanticSegmenter(")


class Colours(torch.nn.Module):
    """A network that labels red pixels 1, blue ones 3 and the others 0, and looks every ``stride`` pixels."""

    device = torch.device("cpu")

    def __init__(self, stride, aligned):
        super().__init__()
        self.stride, self.aligned = stride, aligned

    def forward(self, pixel_values):
        red, blue = pixel_values[:, 0] - pixel_values[:, 1], pixel_values[:, 2] - pixel_values[:, 1]
        logits = torch.stack([red.amax() / 2 + 0 * red, red, -1 + 0 * red, blue], dim=1)
        if self.aligned:
            return SimpleNamespace(
                logits=avg_pool2d(logits, self.stride + 1, self.stride, self.stride // 2, False, False)
            )
        return SimpleNamespace(logits=avg_pool2d(logits, self.stride))


SQUARE = SegformerImageProcessorPil(size={"height": 128, "width": 128}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
ODD = SegformerImageProcessorPil(size={"height": 129, "width": 129}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
KEPT = DPTImageProcessorPil(size={"height": 128, "width": 128}, keep_aspect_ratio=True, ensure_multiple_of=4)
PADDED = DPTImageProcessorPil(do_resize=False, do_pad=True, size_divisor=64)
CROPPED = MobileViTImageProcessorPil(
    size={"shortest_edge": 96}, crop_size={"height": 64, "width": 64}, do_flip_channel_order=False
)


@pytest.mark.parametrize("shape", [(60, 90), (90, 48)])
@pytest.mark.parametrize(
    ("processor", "stride", "aligned"),
    [(SQUARE, 4, False), (ODD, 4, True), (KEPT, 4, False), (PADDED, 2, False), (CROPPED, 2, False)],
    ids=["scaled", "aligned", "shape kept", "padded", "cropped"],
)
def test_labels_lie_where_the_network_saw_them(weights, monkeypatch, shape, processor, stride, aligned):
    segmenter = SemanticSegmenter(weights)
    monkeypatch.setattr(segmenter, "processor", processor)
    monkeypatch.setattr(processor, "do_center_crop", False, raising=False)
    monkeypatch.setattr(segmenter, "model", Colours(stride, aligned))
    image = np.full((*shape, 3), 128, dtype=np.uint8)
    truth = np.zeros(shape, dtype=int)
    for rows, columns, colour, label in (
        (slice(0, 25), slice(0, 20), (250, 20, 20), 1),
        (slice(shape[0] - 22, None), slice(shape[1] - 30, None), (20, 20, 250), 3),
    ):
        image[rows, columns], truth[rows, columns] = colour, label
    (found,) = segmenter._labels([image])
    for label in (1, 3):
        overlap = ((found == label) & (truth == label)).sum() / ((found == label) | (truth == label)).sum()
        assert overlap > 0.9, label
    rows, columns = segmenter._extent(*shape)
    seen = (rows.stop - rows.start) / (columns.stop - columns.start)
    assert seen == pytest.approx(shape[0] / shape[1], rel=0.06), "things keep their shape"


@pytest.mark.parametrize(("size", "first"), [(129, 0), (128, 7.5)], ids=["on the border", "within"])
def test_where_a_networks_outputs_lie(size, first):
    """Linear scores, 16 pixels apart, are interpolated exactly: label 1 begins where they reach 10.6 pixels."""
    position = first + 16 * torch.arange((size + 15) // 16)
    scores = torch.stack([torch.full_like(position, 10.6, dtype=torch.float32), position.float()])
    labels = upsampled(scores[:, :, None].expand(2, -1, len(position)), (size, size), [slice(0, size)] * 2, (size, 200))
    assert labels.shape == (size, 200)
    np.testing.assert_array_equal(labels, np.broadcast_to(np.arange(size)[:, None] > 10.6, labels.shape))


def test_real_processors_lose_the_cut_when_they_are_read(tmp_path):
    assert not SemanticSegmenter(mobilevit(tmp_path)).processor.do_center_crop


def blobs():
    """Labels of a 60 x 80 image: two cats, a dog that touches one, grass in two places, a speck of dog, background."""
    labels = np.zeros((60, 80), dtype=np.int64)
    labels[5:25, 5:25] = 1
    labels[25:35, 25:35] = 1  # touches by a corner
    labels[5:25, 25:40] = 2
    labels[5:25, 60:75] = 1
    labels[50:, :20] = labels[50:, 40:60] = 3
    labels[40:43, 70:73] = 2
    labels[10:13, 10:13] = 0  # a hole in the first cat
    return labels


def test_things_fall_into_components_and_stuff_does_not(weights):
    segmenter = SemanticSegmenter(weights, fill=False)
    labels = blobs()
    segments = segmenter._segments(np.zeros((60, 80, 3), np.uint8), labels)
    segments.validate()
    names = {c.id: c.name for c in segmenter.categories}
    assert sorted(names[s.category_id] for s in segments.segments) == ["cat", "cat", "dog", "grass"]
    at = segments.segment_map
    assert at[5, 5] == at[34, 34] != at[5, 70], "touching by a corner is touching"
    assert at[55, 5] == at[55, 50] > 0
    assert at[11, 11] == at[5, 5], "a small hole joins what surrounds it"
    assert at[41, 71] == 0, "so does a speck"
    assert at[0, 0] == 0 and "region" not in names.values()


def test_superpixels_fill_the_background(weights):
    image = np.full((60, 80, 3), 200, dtype=np.uint8)
    image[:, 45:] = (20, 60, 20)
    image[36:48] = (90, 90, 200)
    counted = SemanticSegmenter(weights, count=6)
    for segmenter, regions in ((SemanticSegmenter(weights), 3), (counted, 2), (SemanticSegmenter(weights, count=1), 1)):
        segments = segmenter._segments(image, blobs())
        segments.validate()
        named = [s for s in segments.segments if s.category_id != segmenter.categories[-1].id]
        assert len(named) == 4 and len(segments.segments) - len(named) >= regions
        assert (segments.segment_map > 0).all()
        without = SemanticSegmenter(weights, fill=False)._segments(image, blobs())
        for s in named:
            np.testing.assert_array_equal(segments.segment_map == s.id, without.segment_map == s.id)


def test_superpixels_have_the_backgrounds_share_of_the_number(weights):
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    labels = np.zeros((60, 80), dtype=np.int64)
    labels[:, :60] = 1
    for count, regions in ((12, 3), (4, 1), (1, 1)):
        assert len(SemanticSegmenter(weights, count)._segments(image, labels).segments) == 1 + regions
    labels[:, :20] = 2
    assert len(SemanticSegmenter(weights, 3)._segments(image, labels).segments) == 3


def test_an_image_of_specks_alone_and_one_of_background_alone(weights, monkeypatch):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    segmenter = SemanticSegmenter(weights, fill=False)
    specks = segmenter._segments(image, 1 + (np.indices((60, 80)).sum(axis=0) // 3) % 3)
    specks.validate()
    assert specks.segments and (specks.segment_map > 0).all()
    with monkeypatch.context() as patch:
        patch.setattr("gshn.segments.labels.MIN_AREA", 0.9)
        assert [s.area for s in segmenter._segments(image, np.where(blobs() == 1, 1, 3)).segments] == [60 * 80]
    assert segmenter._segments(image, np.zeros((60, 80), np.int64)).segments == ()
    filled = SemanticSegmenter(weights, count=5)._segments(image, np.zeros((60, 80), np.int64))
    assert len(filled.segments) == len(SuperpixelSegmenter(count=5)(image).segments)


def test_key_tells_apart_whatever_shapes_segments(weights, tmp_path):
    other = segformer(tmp_path / "other")
    kinds = [(weights,), (other,), (weights, 12), (weights, 13), (weights, None, False)]
    assert len({SemanticSegmenter(*kind).key for kind in kinds}) == len(kinds)
    segmenter = make_segmenter("semantic", str(weights), count=12)
    assert segmenter.key == SemanticSegmenter(weights, 12).key
    assert make_segmenter("semantic", str(weights), fill=False).key == SemanticSegmenter(weights, fill=False).key


def test_weights_that_cannot_be_used(tmp_path, weights):
    with pytest.raises(ConfigError, match="segmenter semantic needs weights: a folder"):
        make_segmenter("semantic")
    with pytest.raises(DataError, match=r"segmenter weights .*nowhere cannot be used .*name a folder with config.json"):
        SemanticSegmenter(tmp_path / "nowhere")
    small_mask2former().save_pretrained(tmp_path / "universal")
    image_processor(48).save_pretrained(tmp_path / "universal")
    BertModel(BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(
        tmp_path / "text"
    )
    DetrConfig().save_pretrained(tmp_path / "detector")
    for kind, more in (("universal", "segmenter mask2former takes these"), ("text", "BertModel"), ("detector", "detr")):
        with pytest.raises(DataError, match=r"takes ForSemanticSegmentation of transformers.*segformer") as caught:
            SemanticSegmenter(tmp_path / kind)
        assert more in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"segmenter mask2former takes ForUniversalSegmentation.*semantic takes these"):
        make_segmenter("mask2former", str(weights))

    # A classifier of a family that has a segmentation network, whose head would be random.
    SegformerForImageClassification(SegformerConfig(**TINY)).save_pretrained(tmp_path / "classifier")
    SegformerImageProcessorPil().save_pretrained(tmp_path / "classifier")
    with pytest.raises(DataError, match=r"lack \d+ tensors .*decode_head.* SegformerForImageClassification; name"):
        SemanticSegmenter(tmp_path / "classifier")

    cut = segformer(tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:1000])
    pickled = segformer(tmp_path / "pickled")
    whole = SegformerForSemanticSegmentation(SegformerConfig(**TINY, **THINGS)).state_dict()
    torch.save(whole, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    for folder in (cut, pickled):
        with pytest.raises(DataError, match=rf"segmenter weights .*{folder.name} cannot be used .*model.safetensors"):
            SemanticSegmenter(folder)


@pytest.mark.skipif(not (official.SHARED / "deeplab_voc").is_dir(), reason="the real weights are not at hand")
def test_a_real_network_finds_people():
    # Of the photographs with more people than 5 % of the area, these are its two best, not its typical ones.
    segmenter = SemanticSegmenter(official.SHARED / "deeplab_voc")
    person = segmenter.categories[14]
    assert person.name == "person" and person.isthing and segmenter.categories[-1].name == "region"
    folder = official.SHARED / "coco_panoptic_sample"
    content = json.loads((folder / "annotations" / "panoptic_val2017.json").read_text())
    entries = {entry["image_id"]: entry for entry in content["annotations"]}
    for image_id, bound in ((233771, 0.7), (142238, 0.45)):
        people = [s["id"] for s in entries[image_id]["segments_info"] if s["category_id"] == 1]
        png = np.asarray(Image.open(folder / "panoptic" / entries[image_id]["file_name"]).convert("RGB"))
        truth = np.isin(decode_panoptic_png(png), people)
        found = segmenter(np.asarray(Image.open(folder / "images" / f"{image_id:012d}.jpg").convert("RGB")))
        seen = np.isin(found.segment_map, [s.id for s in found.segments if s.category_id == person.id])
        assert (seen & truth).sum() / (seen | truth).sum() > bound
