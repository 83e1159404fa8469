"""``python -m gshn.segment`` as a user runs it."""

import json
import shutil
from pathlib import Path

import numpy as np
import official
import pytest
from disk import full_disk
from PIL import Image

from gshn import segment
from gshn.config import load_config
from gshn.data.panoptic_annotations import read_coco_panoptic
from gshn.data.panoptic_folder import PanopticFolder
from gshn.data.shapescenes import ShapeScenes
from gshn.errors import ConfigError, DataError
from gshn.segments.panoptic import decode_panoptic_png, segments_from_map
from gshn.segments.superpixels import SuperpixelSegmenter
from neuromorphic.errors import ArgumentError, UserError, UserNotice


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
    (pictures / "scene1.png").rename(pictures / "scene1 of $x{$.png")
    (pictures / "captions.csv").write_text("image,caption\nscene0.png,a star\n")
    out = tmp_path / "out"
    with pytest.warns(UserNotice, match=r"1 \.csv"):
        run(pictures, "--segmenter", "superpixels", "--out", out)
    told = capsys.readouterr().out.splitlines()
    train = f"--config photographs --out runs/mine data.pairs.source=captions:{pictures / 'captions.csv'} "
    train += "data.pairs.segmenter=superpixels data.pairs.segments=null"
    assert told[-3:] == [
        f"{out / 'panoptic'}: their PNGs, COCO's panoptic format",
        f"next:       python -m gshn.segment {pictures} --segmenter superpixels --out {out} --show",
        f"{'':12}python -m gshn.train {train}",
    ]
    assert load_config("photographs", train.split()[4:]).data.pairs.segments is None
    (pictures / "captions.csv").unlink()
    run(*told[-2].split()[4:])
    content = json.loads((out / "panoptic.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["scene0.png", "scene1 of $x{$.png", "scene2.png"]
    for entry in content["annotations"]:
        segments = read_coco_panoptic(out / "panoptic" / entry["file_name"], entry["segments_info"])
        assert len(segments.segments) == len(entry["segments_info"]) > 2
        assert [s.area for s in segments.segments] == [info["area"] for info in entry["segments_info"]]
    for name in ("scene0", "scene1 of $x{$", "scene2"):
        width, height = size_of(out / f"{name}.segments.png")
        assert width > 900 and height > 400
    told = capsys.readouterr().out
    assert "segments in 3 images" in told and "*.segments.png: each image" in told and "next:" not in told
    with pytest.raises(DataError, match="segments that differ in segmenter"):
        run(pictures, "--segmenter", "superpixels", "--segments", 3, "--out", out)
    run(pictures, "--segmenter", "superpixels", "--segments", 3, "--out", tmp_path / "three")
    content = json.loads((tmp_path / "three" / "panoptic.json").read_text())
    assert [len(entry["segments_info"]) for entry in content["annotations"]] == [3, 3, 3]


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
    with pytest.raises(DataError, match=r"1 of 3 images could not be segmented, .*: .*scene1.png is not an image"):
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
        ([pictures, "--segmenter", "sam", *out], ArgumentError, "invalid choice: 'sam'"),
        (
            [pictures, "--steps", "0"],
            ArgumentError,
            "argument --steps: must be a whole number from 1 to 1000000000, got '0'",
        ),
    ]:
        with pytest.raises(error, match=message):
            run(*arguments)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no image"):
        run(tmp_path / "empty", "--segmenter", "superpixels", *out)
    shutil.copytree(pictures, tmp_path / "other" / "pictures")
    with pytest.raises(UserError, match=r"would both be called pictures/scene0.png; segment them apart"):
        run(pictures, tmp_path / "other" / "pictures", "--segmenter", "superpixels", *out)


@pytest.mark.parametrize(
    ("content", "message"), [('{"categories": []', "panoptic.json is not complete JSON"), ("{}", "has no 'categories'")]
)
def test_broken_annotations(run, pictures, tmp_path, content, message):
    path = official.write(tmp_path / "panoptic.json", content)
    with pytest.raises(DataError, match=message):
        run(pictures, "--segmenter", "ground-truth", "--annotations", path, "--out", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.json")), "nothing half-written"


def entries(out):
    content = json.loads((out / "panoptic.json").read_text())
    ids = {image["id"]: image["file_name"] for image in content["images"]}
    return {ids[entry["image_id"]]: (out / "panoptic" / entry["file_name"], entry) for entry in content["annotations"]}


def test_every_format_and_subfolder_is_taken_or_counted(run, pictures, tmp_path):
    image = Image.fromarray(ShapeScenes("test", 1)[0].image)
    (pictures / "a/b").mkdir(parents=True)
    for name in ("x.gif", "a/scene0.png", "a/b/y.jp2", "scene0.JPG", "q.ppm", "a/z.avif", "a/w.webp"):
        image.save(pictures / name, format="jpeg" if name.endswith("JPG") else None)
    for name in ("phone.heic", "a/list.txt", "a/more.txt", "README", ".hidden"):
        (pictures / name).write_text("-")
    out = pictures / "out"
    arguments = (pictures, "--segmenter", "superpixels", "--out", out)
    counts = "4 files that Pillow cannot read here are left out: 2 .txt, 1 .heic, 1 no suffix"
    with pytest.warns(UserNotice, match=counts):
        run(*arguments)
    found = entries(out)
    assert set(found) == {
        *("scene0.png", "scene1.png", "scene2.png", "x.gif", "q.ppm", "scene0.JPG"),
        *("a/scene0.png", "a/b/y.jp2", "a/z.avif", "a/w.webp"),
    }
    assert len({png for png, _ in found.values()}) == len(found) == len(list((out / "panoptic").rglob("*.png")))
    for png, entry in found.values():
        read_coco_panoptic(png, entry["segments_info"]).validate()
    with pytest.raises(DataError, match=r"heics has no image that Pillow reads here, but 1 .heic"):
        (tmp_path / "heics").mkdir()
        (tmp_path / "heics/1.heic").write_text("-")
        run(tmp_path / "heics", "--segmenter", "superpixels", "--out", out)


def test_a_second_run_adds_or_refuses(run, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    later = tmp_path / "later"
    later.mkdir()
    (pictures / "scene2.png").rename(later / "scene2.png")
    run(pictures, "--segmenter", "superpixels", "--out", out)
    first = entries(out)
    written = {png: png.stat().st_mtime_ns for png, _ in first.values()}
    run(pictures, "--segmenter", "superpixels", "--out", out, "--show")
    assert "in 2 images (2 of them were there before)" in capsys.readouterr().out
    assert entries(out) == first and len(list(out.glob("*.segments.png"))) == 2
    run(later, "--segmenter", "superpixels", "--out", out)
    both = entries(out)
    assert {name: both[name] for name in first} == first and set(both) == {*first, "scene2.png"}
    assert len({entry["image_id"] for _, entry in both.values()}) == 3
    run(pictures, later / "scene2.png", "--segmenter", "superpixels", "--out", out)
    assert entries(out) == both
    shutil.copy(pictures / "scene0.png", later / "scene1.png")
    with pytest.raises(
        DataError, match=r"later/scene1.png: .*has another image, or annotation, of the name scene1.png"
    ):
        run(later, "--segmenter", "superpixels", "--out", out)
    with pytest.raises(DataError, match=r"out holds segments that differ in image_size, upright; choose another --out"):
        run(pictures, "--segmenter", "superpixels", "--out", out, "--image-size", 32, "--as-stored")
    assert entries(out) == both
    official.write(out / "panoptic.json", {"images": [], "annotations": [], "categories": []})
    with pytest.raises(DataError, match=r"panoptic.json is none that gshn.segment wrote \(no key 'info'\); choose"):
        run(pictures, "--segmenter", "superpixels", "--out", out)
    assert written.keys() == {png for png, _ in first.values()}


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_what_is_done_is_kept_whatever_ends_the_run(run, pictures, tmp_path, monkeypatch, end):
    out = tmp_path / "out"
    whole = SuperpixelSegmenter.__call__

    def stop(self, image, annotation=None):
        done = len((out / "panoptic.partial.jsonl").read_text().splitlines()) - 1 if list(out.glob("*.jsonl")) else 0
        assert done == len(list((out / "panoptic").iterdir())), "written as it goes"
        if done == 2:
            raise end
        return whole(self, image, annotation)

    with monkeypatch.context() as patch:
        patch.setattr(SuperpixelSegmenter, "__call__", stop)
        with pytest.raises(end):
            run(pictures, "--segmenter", "superpixels", "--out", out)
    assert set(entries(out)) == {"scene0.png", "scene1.png"} and not list(out.glob("*.jsonl"))
    run(pictures, "--segmenter", "superpixels", "--out", out)
    assert set(entries(out)) == {"scene0.png", "scene1.png", "scene2.png"}


def test_what_a_killed_run_left_is_kept(tmp_path):
    segments = segments_from_map(np.array([[1, 1, 2]]), {1: 1, 2: 1})
    killed = PanopticFolder(tmp_path, SuperpixelSegmenter.categories, {"segmenter": "s"})
    for name in ("a.png", "b.png"):
        killed.add(name, "digest", segments)
    with pytest.raises(UserError, match=r"is being written by process \d+ .*choose another --out"):
        PanopticFolder(tmp_path, SuperpixelSegmenter.categories, {"segmenter": "s"})
    del killed
    partial = tmp_path / "panoptic.partial.jsonl"
    partial.write_text(partial.read_text()[:-9])
    killed_again = PanopticFolder(tmp_path, SuperpixelSegmenter.categories, {"segmenter": "s"})
    assert killed_again.has("a.png", "digest") and not killed_again.has("b.png", "digest")
    killed_again.add("b.png", "digest", segments)
    del killed_again
    assert partial.exists()
    with PanopticFolder(tmp_path, SuperpixelSegmenter.categories, {"segmenter": "s"}) as folder:
        assert folder.has("a.png", "digest") and folder.has("b.png", "digest")
    assert set(entries(tmp_path)) == {"a.png", "b.png"} and not partial.exists()
    (tmp_path / "panoptic/a.png").unlink()
    again = PanopticFolder(tmp_path, SuperpixelSegmenter.categories, {"segmenter": "s"})
    assert not again.has("a.png", "digest") and again.has("b.png", "digest")


@pytest.mark.parametrize(("before", "room", "kept"), [(0, 1200, 2), (8, 2000, 10)], ids=["an entry", "the JSON"])
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, before, room, kept):
    """An entry no longer fits; or the JSON does not, in which the entries of an earlier run are too."""
    segments = segments_from_map(np.array([[1, 1, 2]]), {1: 1, 2: 1})
    names = [f"{i}.png" for i in range(10)]

    def add(names):
        with PanopticFolder(tmp_path, SuperpixelSegmenter.categories, {"segmenter": "s" * 300}) as folder:
            there = len(folder)
            for name in names:
                if not folder.has(name, "digest"):
                    folder.add(name, "digest", segments)
            return there

    add(names[:before])
    old = (tmp_path / "panoptic.json").read_bytes()
    with full_disk(room), pytest.raises(UserError, match=r"panoptic.* cannot be written \(.*\); make room"):
        add(names)
    assert ((tmp_path / "panoptic.json").read_bytes() == old) == (before > 0), "the old one whole, or a new one"
    assert add(names) == kept
    assert set(entries(tmp_path)) == set(names)
    assert not list(tmp_path.glob("*.lock")) + list(tmp_path.glob("*.jsonl"))


def test_other_annotations_are_not_taken_for_the_old_ones(run, tmp_path):
    root = official.coco(tmp_path / "coco")
    path = root / "annotations/panoptic_val2017.json"
    arguments = (root / "val2017", "--segmenter", "ground-truth", "--annotations", path, "--out", tmp_path / "out")
    run(*arguments)
    run(*arguments)
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"][0]["iscrowd"] = 0
    official.write(path, content)
    with pytest.raises(DataError, match=r"1 of 3 images .* has another image, or annotation, of the name 000000000001"):
        run(*arguments)


def test_fit_segment_and_measure(run, pictures, tmp_path, capsys):
    weights = tmp_path / "weights"
    run("--fit", "shapescenes", "--steps", 4, "--out", weights, "--limit", 4, "--json", tmp_path / "pq.json")
    figures = json.loads((tmp_path / "pq.json").read_text())
    assert set(figures) == {"all", "things", "stuff", "any category"}
    assert all(0 <= part["pq"] <= 1 for part in figures.values())
    settings = f"data.pairs.segmenter=mask2former data.pairs.weights={weights}"
    command = f"next:       python -m gshn.train --out runs/found {settings}"
    told = capsys.readouterr().out
    assert "4 held-out scenes" in told
    assert told.splitlines()[-3:] == [f"{tmp_path / 'pq.json'}: these figures", f"weights: {weights}", command]
    run("--evaluate", "shapescenes", "--segmenter", "mask2former", "--weights", weights, "--limit", 4)
    assert capsys.readouterr().out.splitlines()[-1] == command
    # Of an untrained network nothing may be found, which is said of each image.
    with pytest.raises(
        DataError, match=r"3 of 3 images could not be segmented, the first: .*scene0.png: the image has no"
    ):
        run(pictures, "--segmenter", "mask2former", "--weights", weights, "--out", tmp_path / "out")


sample = official.SHARED / "coco_panoptic_sample"


@pytest.mark.skipif(not sample.is_dir(), reason="the COCO panoptic sample (shared/data) is not at hand")
def test_real_photographs(run, tmp_path):
    annotations = sample / "annotations" / "panoptic_val2017.json"
    images = sorted((sample / "images").iterdir())[:3]
    run(*images, "--segmenter", "ground-truth", "--annotations", annotations, "--out", tmp_path, "--show")
    assert len(list(Path(tmp_path).glob("*.segments.png"))) == 3
