"""``python -m gshn.segment`` as a user runs it."""

import json
import shutil
from pathlib import Path

import numpy as np
import official
import pytest
from PIL import Image

from gshn import segment
from gshn.data.shapescenes import ShapeScenes
from gshn.errors import ConfigError, DataError, GSHNError
from gshn.segments.panoptic import decode_panoptic_png, read_coco_panoptic


@pytest.fixture
def run(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["gshn.segment", *map(str, arguments)])
        segment.main()

    return run


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    scenes = ShapeScenes("test", 3)
    for i in range(3):
        Image.fromarray(scenes[i].image).save(folder / f"scene{i}.png")
    return folder


def size_of(path):
    with Image.open(path) as image:
        return image.size


def test_superpixels(run, pictures, tmp_path, capsys):
    run(pictures, "--segmenter", "superpixels", "--out", tmp_path / "out", "--show")
    out = tmp_path / "out"
    content = json.loads((out / "panoptic.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["scene0.png", "scene1.png", "scene2.png"]
    for entry in content["annotations"]:
        segments = read_coco_panoptic(out / "panoptic" / entry["file_name"], entry["segments_info"])
        assert len(segments.segments) == len(entry["segments_info"]) > 2
        assert [s.area for s in segments.segments] == [info["area"] for info in entry["segments_info"]]
    for i in range(3):
        width, height = size_of(out / f"scene{i}.segments.png")
        assert width > 900 and height > 400
    assert "segments in 3 images" in capsys.readouterr().out


def test_ground_truth_comes_back_as_it_was(run, tmp_path):
    root = official.coco(tmp_path / "coco")
    annotations = root / "annotations/panoptic_val2017.json"
    out = tmp_path / "out"
    run(root / "val2017", "--segmenter", "ground-truth", "--annotations", annotations, "--out", out)
    for png in (root / "annotations/panoptic_val2017").iterdir():
        before, after = (
            decode_panoptic_png(np.asarray(Image.open(path))) for path in (png, out / "panoptic" / png.name)
        )
        assert (before == after).all()
    written = json.loads((out / "panoptic.json").read_text())
    assert [c["name"] for c in written["categories"]] == ["cat", "grass-merged"]
    assert all(entry["segments_info"][0]["iscrowd"] == 1 for entry in written["annotations"])


def test_one_bad_image_leaves_the_others_alone(run, pictures, tmp_path, capfd):
    (pictures / "scene1.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"1 of 3 images could not be segmented, the first: .*scene1.png is no image"):
        run(pictures, "--segmenter", "superpixels", "--out", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["scene0.png", "scene2.png"]
    assert sorted(p.name for p in (tmp_path / "out" / "panoptic").iterdir()) == ["scene0.png", "scene2.png"]


def test_what_cannot_be_run(run, pictures, tmp_path):
    out = ("--out", tmp_path / "out")
    for arguments, error, message in [
        ([], ConfigError, "name images, or folders of images; or --fit or --evaluate"),
        ([pictures], ConfigError, "images need --segmenter and --out"),
        ([pictures, "--segmenter", "superpixels"], ConfigError, "images need --segmenter and --out"),
        (["--fit", "shapescenes"], ConfigError, "--fit needs --out"),
        (["--evaluate", "shapescenes"], ConfigError, "--evaluate needs --segmenter"),
        (
            [pictures, "--segmenter", "ground-truth", *out],
            ConfigError,
            "no panoptic annotation to take as ground truth",
        ),
        ([pictures, "--segmenter", "sam", *out], ConfigError, "invalid choice: 'sam'"),
        (
            [pictures, "--steps", "0"],
            ConfigError,
            "argument --steps: must be a whole number from 1 to 1000000000, got '0'",
        ),
    ]:
        with pytest.raises(error, match=message):
            run(*arguments)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no image"):
        run(tmp_path / "empty", "--segmenter", "superpixels", *out)
    shutil.copytree(pictures, tmp_path / "copy")
    with pytest.raises(GSHNError, match="would write the same files; segment them apart"):
        run(pictures, tmp_path / "copy", "--segmenter", "superpixels", *out)


@pytest.mark.parametrize(
    ("content", "message"), [('{"categories": []', "no whole COCO panoptic JSON"), ("{}", "no key 'categories'")]
)
def test_broken_annotations(run, pictures, tmp_path, content, message):
    path = official.write(tmp_path / "panoptic.json", content)
    with pytest.raises(DataError, match=message):
        run(pictures, "--segmenter", "ground-truth", "--annotations", path, "--out", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.json")), "nothing half-written"


def test_fit_segment_and_measure(run, pictures, tmp_path, capsys):
    weights = tmp_path / "weights"
    run("--fit", "shapescenes", "--steps", 4, "--out", weights, "--limit", 4, "--json", tmp_path / "pq.json")
    figures = json.loads((tmp_path / "pq.json").read_text())
    assert set(figures) == {"all", "things", "stuff", "any category"}
    assert all(0 <= part["pq"] <= 1 for part in figures.values())
    assert "4 held-out scenes" in capsys.readouterr().out
    run("--evaluate", "shapescenes", "--segmenter", "mask2former", "--weights", weights, "--limit", 4)
    # Of an untrained network nothing may be found, which is said of each image.
    with pytest.raises(DataError, match=r"3 of 3 images could not be segmented, the first: .*scene0.png: there is no"):
        run(pictures, "--segmenter", "mask2former", "--weights", weights, "--out", tmp_path / "out")


sample = official.SHARED / "coco_panoptic_sample"


@pytest.mark.skipif(not sample.is_dir(), reason="the COCO panoptic sample (shared/data) is not at hand")
def test_real_photographs(run, tmp_path):
    annotations = sample / "annotations" / "panoptic_val2017.json"
    images = sorted((sample / "images").iterdir())[:3]
    run(*images, "--segmenter", "ground-truth", "--annotations", annotations, "--out", tmp_path, "--show")
    assert len(list(Path(tmp_path).glob("*.segments.png"))) == 3
