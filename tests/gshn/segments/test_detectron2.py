"""The detectron2 segmenter against a stand-in with detectron2's interface: it cannot be installed from a registry."""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from gshn.errors import ConfigError, DataError
from gshn.segments.choose import make_segmenter
from gshn.segments.detectron2 import Detectron2Segmenter

THINGS, STUFF = ["person", "cat"], ["things", "grass", "sky"]


@pytest.fixture
def stand_in(monkeypatch):
    """detectron2's modules and names as of its documentation; the predictor finds two cats, grass, and a rest."""
    seen = SimpleNamespace(image=None, weights=None, result=None)
    numbers = torch.tensor([[1, 1, 3], [2, 0, 3]])
    infos = [
        {"id": 1, "isthing": True, "category_id": 1, "score": 0.9, "instance_id": 0},
        {"id": 2, "isthing": True, "category_id": 1, "score": 0.8, "instance_id": 1},
        {"id": 3, "isthing": False, "category_id": 1, "area": 2},
    ]
    seen.result = {"panoptic_seg": (numbers, infos)}

    class Predictor:
        def __init__(self, config):
            seen.weights = config.MODEL.WEIGHTS

        def __call__(self, image):
            seen.image = image
            return seen.result

    def get_cfg():
        config = SimpleNamespace(MODEL=SimpleNamespace(WEIGHTS=""), DATASETS=SimpleNamespace(TRAIN=("coco",)))
        config.merge_from_file = lambda path: None
        return config

    def checkpoint(name):
        if "panoptic" not in name:
            raise RuntimeError(f"{name} not available in Model Zoo!")
        return f"zoo:{name}"

    seen.metadata = metadata = SimpleNamespace(thing_classes=THINGS, stuff_classes=STUFF)
    modules = {
        "detectron2": {},
        "detectron2.model_zoo": {"get_config_file": lambda name: name, "get_checkpoint_url": checkpoint},
        "detectron2.config": {"get_cfg": get_cfg},
        "detectron2.data": {"MetadataCatalog": SimpleNamespace(get=lambda name: metadata)},
        "detectron2.engine": {"DefaultPredictor": Predictor},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        for key, value in content.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    return seen


def test_segments(stand_in):
    segmenter = Detectron2Segmenter()
    assert stand_in.weights == "zoo:COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml"
    assert [(c.id, c.name, c.isthing) for c in segmenter.categories] == [
        (1, "person", True),
        (2, "cat", True),
        (3, "things", False),
        (4, "grass", False),
        (5, "sky", False),
    ]
    image = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    segments = segmenter(image)
    segments.validate()
    assert (stand_in.image == image[:, :, ::-1]).all(), "it wants BGR"
    assert [(s.id, segmenter.categories[s.category_id - 1].name) for s in segments.segments] == [
        (1, "cat"),
        (2, "cat"),
        (3, "grass"),
    ]
    assert segments.segment_map.tolist() == [[1, 1, 3], [2, 0, 3]]


def test_segments_that_only_their_labels_name(stand_in):
    """Panoptic-DeepLab: no infos, category * divisor + instance, -1 for void; all classes are things and stuff."""
    names = ["person", "grass", "cat", "sky"]
    vars(stand_in.metadata).update(
        thing_classes=names,
        stuff_classes=names,
        label_divisor=1000,
        thing_dataset_id_to_contiguous_id={1: 0, 17: 2},
    )
    stand_in.result = {"panoptic_seg": (torch.tensor([[0, 1, 2001, 2002], [-1, 1000, 3000, 2002]]), None)}
    segmenter = Detectron2Segmenter()
    assert [(c.id, c.name, c.isthing) for c in segmenter.categories] == [
        (1, "person", True),
        (2, "grass", False),
        (3, "cat", True),
        (4, "sky", False),
    ]
    segments = segmenter(np.zeros((2, 4, 3), dtype=np.uint8))
    segments.validate()
    named = {s.id: segmenter.categories[s.category_id - 1].name for s in segments.segments}
    names_of_pixels = [[named.get(number, "") for number in row] for row in segments.segment_map.tolist()]
    assert names_of_pixels == [["person", "person", "cat", "cat"], ["", "grass", "sky", "cat"]]
    ids = segments.segment_map
    assert ids[0, 0] != ids[0, 1] and ids[0, 2] != ids[0, 3] == ids[1, 3], "two people, two cats"
    vars(stand_in.metadata).pop("label_divisor")
    with pytest.raises(DataError, match=r"does not fit its data set's metadata \(.* there is no label_divisor\)"):
        Detectron2Segmenter()(np.zeros((2, 4, 3), dtype=np.uint8))


@pytest.mark.parametrize("listed", ["all", "things first", "things among the others"])
def test_one_numbering_of_things_and_stuff(stand_in, listed):
    """Mask2Former: infos number all classes; metadata list things and all, or all and all."""
    stuff = ["person", "cat", "grass"] if listed != "things among the others" else ["grass", "person", "cat"]
    things = stuff if listed == "all" else ["person", "cat"]
    cat = stuff.index("cat")
    numbers = {10: stuff.index("person"), 20: cat}
    vars(stand_in.metadata).update(thing_classes=things, stuff_classes=stuff, thing_dataset_id_to_contiguous_id=numbers)
    infos = [
        {"id": 1, "isthing": True, "category_id": cat},
        {"id": 2, "isthing": False, "category_id": stuff.index("grass")},
    ]
    stand_in.result = {"panoptic_seg": (torch.tensor([[1, 1, 0, 2]]), infos)}
    segmenter = Detectron2Segmenter()
    assert {c.name: c.isthing for c in segmenter.categories} == {"person": True, "cat": True, "grass": False}
    assert len(segmenter.categories) == 3
    segments = segmenter(np.zeros((1, 4, 3), dtype=np.uint8))
    by_id = {c.id: c.name for c in segmenter.categories}
    assert [(by_id[s.category_id], s.area) for s in segments.segments] == [("cat", 2), ("grass", 1)]


def test_classes_that_the_metadata_do_not_have(stand_in):
    infos = [{"id": 1, "isthing": False, "category_id": 3}]
    stand_in.result = {"panoptic_seg": (torch.tensor([[1]]), infos)}
    with pytest.raises(DataError, match=r"does not fit its data set's metadata \(class 3 of 3 of stuff\)"):
        Detectron2Segmenter()(np.zeros((1, 1, 3), dtype=np.uint8))


def test_any_config_and_weights(stand_in, tmp_path):
    config, weights = tmp_path / "mine.yaml", tmp_path / "mine.pth"
    config.write_text("")
    weights.write_bytes(b"1")
    segmenter = Detectron2Segmenter(f"{config}:{weights}")
    assert stand_in.weights == str(weights)
    keys = {segmenter.key}
    weights.write_bytes(b"2")
    keys.add(segmenter.key)
    config.write_text("MODEL: {}")
    keys.add(segmenter.key)
    assert len(keys) == 3, "the cache knows both files"


def test_what_cannot_be_used(stand_in):
    with pytest.raises(
        DataError, match=r"detectron2 model nothing cannot be used \(nothing not available in Model Zoo"
    ):
        Detectron2Segmenter("nothing")
    stand_in.result = {"instances": None}
    with pytest.raises(DataError, match="gives no panoptic segments; name a panoptic one"):
        Detectron2Segmenter()(np.zeros((2, 3, 3), dtype=np.uint8))


@pytest.mark.skipif(importlib.util.find_spec("detectron2") is not None, reason="detectron2 is installed")
def test_it_says_how_to_install_it():
    with pytest.raises(ConfigError, match=r"needs detectron2.*pip install 'git\+https://github.com/facebookresearch"):
        make_segmenter("detectron2")
