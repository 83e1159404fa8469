"""COCO's panoptic annotations: which image they belong to, which pixels, and what is amiss with them."""

import json
import logging
import re
from dataclasses import replace

import numpy as np
import official
import pytest
from PIL import Image

from gshn.data.coco import CocoCaptions
from gshn.data.panoptic_annotations import PanopticAnnotations, read_coco_panoptic
from gshn.errors import DataError
from gshn.segments.panoptic import encode_panoptic_png, segments_from_map, turn

SEGMENT_MAP = np.array([[0, 7, 7, 0], [7, 7, 0, 300], [0, 0, 300, 0]], dtype=np.int32)
INFO = [{"id": 300, "category_id": 2, "iscrowd": 1}, {"id": 7, "category_id": 1}]


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "panoptic.png"
    Image.fromarray(encode_panoptic_png(SEGMENT_MAP)).save(path)
    return path


def test_read_coco_panoptic(png):
    found = read_coco_panoptic(png, INFO)
    found.validate()
    np.testing.assert_array_equal(found.segment_map, SEGMENT_MAP)
    assert [(s.id, s.category_id, s.iscrowd) for s in found.segments] == [(7, 1, False), (300, 2, True)]


def test_read_coco_panoptic_names_the_file(png, tmp_path):
    info = INFO[::-1]
    with pytest.raises(DataError, match=r"panoptic.png: segment 9 of the annotation has no pixel"):
        read_coco_panoptic(png, [*info, {"id": 9, "category_id": 1}])
    with pytest.raises(DataError, match=r"panoptic.png: segment 300 .* no category"):
        read_coco_panoptic(png, info[:1])
    with pytest.raises(DataError, match=r"image .*missing.png is missing"):
        read_coco_panoptic(tmp_path / "missing.png", info)
    png.write_bytes(png.read_bytes()[:50])
    with pytest.raises(DataError, match=r"panoptic.png is broken"):
        read_coco_panoptic(png, info)


SMALL = np.array([[0, 1, 1, 0], [1, 1, 0, 3], [0, 0, 3, 0]], dtype=np.uint8)


def rgb(ids):
    return Image.fromarray(encode_panoptic_png(ids))


def palette(ids, colours):
    image = Image.fromarray(ids)
    image.putpalette(colours)
    return image


@pytest.mark.parametrize(
    ("image", "unit"),
    [
        (lambda: Image.fromarray(SMALL), 1),
        (lambda: Image.merge("LA", [Image.fromarray(SMALL)] * 2), 1),
        (lambda: Image.fromarray(SMALL.astype(np.uint16) * 20_000), 20_000),
        (lambda: palette(SMALL, [9, 9, 9, 200, 0, 0, 5, 5, 5, 0, 9, 0]), 1),
        # What an optimiser makes of RGB that has few colours, or R = G = B.
        (lambda: rgb(SMALL.astype(np.int32) * 70_001).convert("P", palette=Image.Palette.ADAPTIVE), 70_001),
        (lambda: Image.fromarray(SMALL), 65_793),
        (lambda: rgb(SMALL.astype(np.int32) * 70_001).convert("RGBA"), 70_001),
        (lambda: transparent(rgb(SMALL.astype(np.int32) * 70_001)), 70_001),
    ],
    ids=["grey", "grey and alpha", "16-bit", "palette", "palette of RGB", "grey of RGB", "RGBA", "RGBA, transparent"],
)
def test_pngs_that_are_not_rgb(tmp_path, image, unit):
    path = tmp_path / "a.png"
    image().save(path)
    found = read_coco_panoptic(path, [{"id": unit, "category_id": 5}, {"id": 3 * unit, "category_id": 6}])
    found.validate()
    np.testing.assert_array_equal(found.segment_map, SMALL.astype(np.int32) * unit)


def transparent(image):
    image.putalpha(Image.fromarray(np.where(SMALL > 0, 0, 255).astype(np.uint8)))
    return image


@pytest.mark.skipif(not official.SHARED.is_dir(), reason="the COCO panoptic sample (shared/data) is not at hand")
def test_read_coco_panoptic_agrees_with_cocos_own_areas_and_boxes():
    folder = official.SHARED / "coco_panoptic_sample"
    annotations = json.loads((folder / "annotations" / "panoptic_val2017.json").read_text())["annotations"]
    for annotation in annotations:
        found = read_coco_panoptic(folder / "panoptic" / annotation["file_name"], annotation["segments_info"])
        found.validate()
        expected = {s["id"]: (s["area"], tuple(s["bbox"]), bool(s["iscrowd"])) for s in annotation["segments_info"]}
        assert {s.id: (s.area, s.bbox, s.iscrowd) for s in found.segments} == expected


@pytest.fixture
def coco(tmp_path):
    """COCO's layout; ``change(function)`` edits its panoptic JSON."""
    root = official.coco(tmp_path)
    path = root / "annotations/panoptic_val2017.json"

    def change(edit):
        content = json.loads(path.read_text())
        edit(content)
        official.write(path, content)

    return root, change


def rename(root, change, image_names, png_names):
    """Give images and PNGs other names, in both JSONs and on disk."""
    path = root / "annotations/captions_val2017.json"
    content = json.loads(path.read_text())
    for image, name in zip(content["images"], image_names, strict=True):
        (root / "val2017" / name).parent.mkdir(exist_ok=True)
        (root / "val2017" / image["file_name"]).rename(root / "val2017" / name)
        image["file_name"] = name
    official.write(path, content)

    def edit(content):
        for entry, name in zip(content["annotations"], png_names, strict=True):
            folder = root / "annotations/panoptic_val2017"
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / entry["file_name"]).rename(folder / name)
            entry["file_name"] = name

    change(edit)


def repaint(root, number, id_, other):
    """Give a segment of an image's PNG another id."""
    path = root / f"annotations/panoptic_val2017/{number:012d}.png"
    pixels = np.asarray(Image.open(path)).copy()
    old, new = (encode_panoptic_png(np.array([[value]]))[0, 0] for value in (id_, other))
    pixels[(pixels == old).all(axis=2)] = new
    Image.fromarray(pixels).save(path)


def test_an_annotation_belongs_to_the_image_of_its_id(coco):
    root, change = coco
    # Each image has a cat of its own size; the files' names say another order, and two images have one name.
    for number in (1, 2, 3):
        repaint(root, number, 300, 300 + number)

    def edit(content):
        for entry in content["annotations"]:
            entry["segments_info"][0]["id"] = 300 + entry["image_id"]

    change(edit)
    rename(root, change, ["a/cat.jpg", "b/cat.jpg", "1.jpg"], ["z.png", "1.png", "y/cat.png"])
    data = CocoCaptions(root, "val")
    assert [path.parent.name for path in data.paths] == ["a", "b", "val2017"]
    assert [data[i].panoptic.segments[0].id for i in range(3)] == [301, 302, 303]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_and_annotation_are_turned_alike(tmp_path, orientation):
    """A picture whose colours are its segment ids, so that wherever a pixel goes, its segment must be there."""
    root = official.coco(tmp_path, count=1)
    ids = (1 + np.arange(12, dtype=np.int32) % 5).reshape(3, 4)
    picture = Image.fromarray(np.repeat(40 * ids.astype(np.uint8)[..., None], 3, axis=2))
    exif = picture.getexif()
    exif[0x0112] = orientation
    image = root / "val2017/000000000001.jpg"
    picture.save(image, "png", exif=exif)
    Image.fromarray(encode_panoptic_png(ids)).save(root / "annotations/panoptic_val2017/000000000001.png")
    path = root / "annotations/panoptic_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"] = [{"id": i, "category_id": 17, "iscrowd": i == 4} for i in range(1, 6)]
    official.write(path, content)
    data = CocoCaptions(root, "val")
    keys = {data.key}
    for upright in (True, False):
        data.upright = upright
        keys.add(data.key)
        sample = data[0]
        assert (sample.image[..., 0] == 40 * sample.panoptic.segment_map).all()
        sample.panoptic.validate()
        assert [s.id for s in sample.panoptic.segments if s.iscrowd] == [4]
        # EXIF: in which corner the first stored pixel is, and whether rows have become columns.
        turned = upright and orientation >= 5
        assert sample.image.shape[:2] == ((4, 3) if turned else (3, 4))
        corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
        row, column = corner[orientation] if upright else (0, 0)
        neighbour = (row, 1 if column == 0 else -2) if not turned else (1 if row == 0 else -2, column)
        assert (sample.panoptic.segment_map[row, column], sample.panoptic.segment_map[neighbour]) == (1, 2)
    assert len(keys) == 2, "the cache knows which"


def test_an_annotation_of_another_size_names_both(coco, caplog):
    root, _ = coco
    small = np.full((40, 30), 7_000_000, dtype=np.int32)
    small[0, 0] = 300
    Image.fromarray(encode_panoptic_png(small)).save(root / "annotations/panoptic_val2017/000000000002.png")
    with caplog.at_level(logging.WARNING):
        data = CocoCaptions(root, "val")
    (record,) = caplog.records
    sizes = r"000000000002.jpg is 40x30 as stored, its annotation .*000000000002.png 30x40, which is turned already"
    message = r"1 of 3 annotations cannot be used \(1 of another size than the image\), e.g. .*"
    assert re.search(message + sizes, record.getMessage())
    with pytest.raises(DataError, match=sizes):
        data[1]
    assert data[0].panoptic is not None and data[2].panoptic is not None
    unchecked = PanopticAnnotations(root / "annotations/panoptic_val2017.json", [root / "annotations/panoptic_val2017"])
    with pytest.raises(DataError, match=sizes):
        unchecked.read(2, data.paths[1])


def test_a_folder_that_is_half_unpacked_is_told_once(coco, caplog):
    root, change = coco
    for number in (1, 3):
        (root / f"annotations/panoptic_val2017/{number:012d}.png").unlink()
    with caplog.at_level(logging.WARNING):
        data = CocoCaptions(root, "val")
    assert [data[i].panoptic is None for i in range(3)] == [True, False, True]
    (record,) = caplog.records
    assert re.search(
        r"panoptic_val2017.json: 2 of 3 images have no annotation; of 2 the PNG is absent, e.g. .*000000000001.png",
        record.getMessage(),
    )
    caplog.clear()
    change(lambda content: content["annotations"].pop(1))
    CocoCaptions(root, "val")
    assert "3 of 3 images have no annotation; of 2 the PNG is absent" in caplog.text


def twice(content):
    infos = content["annotations"][1]["segments_info"]
    infos.append({**infos[0], "category_id": 193})


def numbered(id_):
    def edit(content):
        content["annotations"][1]["segments_info"][0]["id"] = id_

    return edit


@pytest.mark.parametrize(
    ("edit", "kind", "reason"),
    [
        (twice, "with a segment id twice", "has the segment id 300 twice"),
        (numbered(0), "with a segment id beyond 1 to 16777215", "has the segment id 0, and a panoptic PNG holds 1 to"),
        (numbered(-3), "with a segment id beyond 1 to 16777215", "has the segment id -3, and a panoptic PNG holds"),
        (numbered(2**24), "with a segment id beyond 1 to 16777215", "has the segment id 16777216, and a panoptic"),
        (numbered(2**24 + 300), "with a segment id beyond 1 to 16777215", "has the segment id 16777516, and a"),
        (
            lambda content: content["annotations"].append({**content["annotations"][1], "file_name": "x.png"}),
            "of an image that has another",
            "is annotated twice",
        ),
    ],
)
def test_what_is_amiss_is_counted_at_opening_and_refused_by_name(coco, caplog, edit, kind, reason):
    root, change = coco
    change(edit)
    official.jpeg(root / "annotations/panoptic_val2017/x.png")
    with caplog.at_level(logging.WARNING):
        data = CocoCaptions(root, "val")
    (record,) = caplog.records
    assert f"1 of 3 annotations cannot be used (1 {kind}), e.g." in record.getMessage()
    with pytest.raises(DataError, match=rf"000000000002.jpg {reason}.*; mend .*panoptic_val2017.json"):
        data[1]
    assert data[0].panoptic is not None and data[2].panoptic is not None
    caplog.clear()
    assert len(CocoCaptions(root, "val", limit=1)) == 1 and not caplog.records, "only what is opened is checked"


@pytest.mark.parametrize("what", ["categories", "images"])
def test_an_id_that_stands_twice_is_refused(coco, what):
    root, change = coco
    change(lambda content: content[what].append(content[what][0]))
    with pytest.raises(DataError, match=rf"panoptic_val2017.json: 1 id of {what} is listed twice, e.g. (17|1); mend"):
        CocoCaptions(root, "val")


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("annotations", 0, "file_name"), 5, r"annotations\[0\] is not as it should be"),
        (
            ("annotations", 0, "image_id"),
            float("inf"),
            r"annotations\[0\] is not as it should be \(cannot convert float",
        ),
        (("annotations", 0, "segments_info"), None, r"annotations\[0\] is not as it should be"),
        (("annotations", 0, "segments_info", 0, "id"), "x", r"annotations\[0\] is not as it should be"),
        (("images", 0, "file_name"), None, r"images\[0\] is not as it should be"),
        (("categories", 0, "id"), [], r"categories\[0\] is not as it should be"),
    ],
)
def test_values_of_another_kind_are_named(coco, where, value, said):
    root, change = coco

    def edit(content):
        *way, last = where
        for key in way:
            content = content[key]
        content[last] = value

    change(edit)
    with pytest.raises(DataError, match=rf"panoptic_val2017.json: {said}"):
        CocoCaptions(root, "val")


def test_the_key_knows_every_annotation(coco):
    root, change = coco
    keys = [CocoCaptions(root, "val").key]

    def again():
        keys.append(CocoCaptions(root, "val").key)
        assert len(set(keys)) == len(keys)

    def recategorise(content):
        for info in content["annotations"][0]["segments_info"]:
            info["category_id"] = 17

    change(recategorise)
    again()

    def rechristen(content):
        content["categories"][0]["name"] = "dog"

    change(rechristen)
    again()
    change(lambda content: content["annotations"][1].update(image_id=3) or content["annotations"][2].update(image_id=2))
    again()
    files = CocoCaptions(root, "val").files(1)
    assert [path.name for path in files] == ["000000000002.jpg", "000000000003.png"], "whose content the cache compares"


def test_images_are_found_by_their_whole_names(tmp_path):
    images = ["1.jpg", "a/1.jpg", "b/1.jpg", "a/2.jpg", "a/2.png"]
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(images)],
        "annotations": [],
        "categories": [],
    }
    path = official.write(tmp_path / "p.json", content)
    annotations = PanopticAnnotations(path, [tmp_path])
    assert annotations.ids_of([tmp_path / name for name in images]) == {
        tmp_path / name: number for number, name in enumerate(images)
    }
    other = tmp_path / "b" / "1.png"
    assert annotations.ids_of([other, tmp_path / "b" / "3.png"]) == {other: 2}
    with pytest.raises(DataError, match=r"a/2.webp: .*p.json has 2 images of this name; give each its own"):
        annotations.ids_of([tmp_path / "a/2.webp"])
    with pytest.raises(DataError, match=r"x/1.jpg and .*y/1.jpg both fit .*p.json's image 1.jpg; name one of them"):
        annotations.ids_of([tmp_path / "x/1.jpg", tmp_path / "y/1.jpg"])
    official.write(path, {"annotations": [], "categories": []})
    with pytest.raises(DataError, match=r"p.json lists no 'images', by whose names files are found"):
        PanopticAnnotations(path, [tmp_path]).ids_of([tmp_path / "1.jpg"])


def test_turning_keeps_segments_whole():
    segments = segments_from_map(SEGMENT_MAP, {7: 1, 300: 2})
    segments = replace(segments, segments=(segments.segments[0], replace(segments.segments[1], iscrowd=True)))
    turned = turn(segments, 6)  # a quarter turn clockwise
    turned.validate()
    np.testing.assert_array_equal(turned.segment_map, np.rot90(SEGMENT_MAP, -1))
    assert [s.iscrowd for s in turned.segments] == [False, True]
    assert turn(turned, 8).segments == segments.segments
