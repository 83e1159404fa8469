"""Photographs of every kind against colours worked out by hand, and a fuzz over picture files."""

import io
import json
import struct

import numpy as np
import official
import pytest
from PIL import Image, ImageCms

from gshn.data.files import image_suffixes, list_images, read_image, read_orientation
from gshn.data.panoptic_annotations import PanopticAnnotations, read_coco_panoptic
from gshn.errors import DataError
from gshn.segments.panoptic import encode_panoptic_png

INKS = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255), (100, 50, 20, 30), (10, 200, 90, 120)]


def by_hand(inks):
    """What light is left by C, M, Y and by K, one after the other."""
    return [round((255 - ink) * (255 - inks[3]) / 255) for ink in inks[:3]]


@pytest.mark.parametrize("inks", INKS)
@pytest.mark.parametrize("suffix", ["jpg", "tif"])  # a JPEG of CMYK is Adobe's: inverted
def test_cmyk(tmp_path, inks, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("CMYK", (16, 16), inks).save(path, **({"quality": 100} if suffix == "jpg" else {}))
    if suffix == "jpg":
        assert b"Adobe" in path.read_bytes()
    for image_size in (None, 4):
        assert np.abs(read_image(path, image_size).astype(int) - by_hand(inks)).max() <= 2


def cmyk_profile(cyan_lightness: int) -> bytes:
    """An ICC profile whose paper is white, whose full cyan is a grey of a lightness L*, and every other ink black."""
    table = bytearray()
    for corner in range(16):  # C is the slowest of the four inks
        lightness = {0: 100, 8: cyan_lightness}.get(corner, 0)
        table += bytes([round(lightness * 2.55), 128, 128])
    matrix = struct.pack(">9i", *(65536, 0, 0, 0, 65536, 0, 0, 0, 65536))
    straight = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + straight * 4 + bytes(table) + straight * 3
    description = b"desc" + bytes(4) + struct.pack(">I", 2) + b"a\0" + bytes(4 + 4 + 2 + 1 + 67)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"text" + bytes(4) + b"a\0"
    parts = {b"desc": description, b"wtpt": white, b"cprt": text, b"A2B0": lut}
    directory, body = struct.pack(">I", len(parts)), b""
    start = 128 + 4 + 12 * len(parts)
    for name, part in parts.items():
        directory += name + struct.pack(">II", start + len(body), len(part))
        body += part + bytes(-len(part) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(24) + bytes(4)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return (header + bytes(128 - len(header))) + directory + body


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_goes_through_the_profile_that_it_carries(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    for inks, grey in (((255, 0, 0, 0), 119), ((0, 0, 0, 0), 255), ((0, 255, 0, 0), 0)):
        # L* = 50 has luminance 0.184, which sRGB codes as 119.
        Image.new("CMYK", (16, 16), inks).save(path, icc_profile=cmyk_profile(50))
        assert np.abs(read_image(path).astype(int) - grey).max() <= 2
        # Neither is one of CMYK.
        for other in (b"broken", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
            Image.new("CMYK", (16, 16), inks).save(path, icc_profile=other)
            assert np.abs(read_image(path).astype(int) - by_hand(inks)).max() <= 2


@pytest.mark.parametrize("kind", ["png", "tif", "big-endian tif", "pgm"])
def test_16_bit_grey(tmp_path, kind):
    values = np.array([[0, 255, 256, 32767, 32768, 65535]], dtype=np.uint16)
    path = tmp_path / f"a.{kind.split()[-1]}"
    if kind == "pgm":
        path.write_bytes(b"P5 6 1 65535\n" + values.astype(">u2").tobytes())
    elif kind == "big-endian tif":
        Image.fromarray(values.astype(">u2")).save(path)
    else:
        Image.fromarray(values).save(path)
    assert read_image(path)[0].tolist() == [[v, v, v] for v in (0, 0, 1, 127, 128, 255)]


@pytest.mark.parametrize("values", [np.array([[0.0, 0.5]], np.float32), np.array([[0, 70_000]], np.int32)])
def test_pixels_of_unknown_range_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"image .*a.tif has .* for which there is no white; save it with 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def palette(path, transparency):
    image = Image.new("P", (3, 1))
    image.putpalette([200, 40, 0, 0, 60, 255, 7, 7, 7])
    image.putdata([0, 1, 2])
    image.save(path, transparency=transparency)


@pytest.mark.parametrize(
    ("suffix", "transparency", "alpha"),
    [
        ("png", bytes([255, 0, 255]), (255, 0, 255)),
        ("png", bytes([51, 204, 0]), (51, 204, 0)),
        ("png", 1, (255, 0, 255)),
        ("gif", 2, (255, 255, 0)),
    ],
)
def test_a_palette_with_alpha(tmp_path, suffix, transparency, alpha):
    path = tmp_path / f"a.{suffix}"
    palette(path, transparency)
    colours = [(200, 40, 0), (0, 60, 255), (7, 7, 7)]
    expected = [
        [round((a * c + (255 - a) * 255) / 255) for c in colour] for colour, a in zip(colours, alpha, strict=True)
    ]
    assert np.abs(read_image(path)[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.new("RGBA", (2, 2), (100, 0, 50, 51)), {}, (224, 204, 214)),
        (Image.new("LA", (2, 2), (100, 0)), {}, (255, 255, 255)),
        (Image.new("LA", (2, 2), (100, 255)), {}, (100, 100, 100)),
        (Image.new("RGB", (2, 2), (1, 2, 3)), {"transparency": (1, 2, 3)}, (255, 255, 255)),
        (Image.new("RGB", (2, 2), (1, 2, 3)), {"transparency": (1, 2, 4)}, (1, 2, 3)),
        (Image.new("L", (2, 2), 9), {"transparency": 9}, (255, 255, 255)),
        (Image.new("1", (2, 2), 1), {}, (255, 255, 255)),
        (Image.new("L", (2, 2), 9), {}, (9, 9, 9)),
    ],
)
def test_other_modes(tmp_path, image, options, expected):
    image.save(tmp_path / "a.png", **options)
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("stored", "read"), [(0, 1), (6, 6), (9, 1)])
def test_orientations_that_exif_does_not_have(tmp_path, stored, read):
    picture = Image.new("RGB", (3, 2))
    exif = picture.getexif()
    exif[0x0112] = stored
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_orientation(tmp_path / "a.jpg") == read
    assert read_image(tmp_path / "a.jpg").shape == ((3, 2, 3) if read == 6 else (2, 3, 3))


def test_listing(tmp_path):
    assert {".jpg", ".gif", ".webp", ".tiff", ".jp2", ".avif"} <= image_suffixes()
    assert not {".pdf", ".mpg", ".h5", ".wmf", ".txt"} & image_suffixes()
    for name in ("b.PNG", "a/c.jpg", "a/d.heic", ".git/e.png", "out/f.png", "g"):
        official.write(tmp_path / name, "-")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "a")
    images, others = list_images(tmp_path, tmp_path / "out")
    assert images == [tmp_path / "a/c.jpg", tmp_path / "b.PNG"]
    assert others == {".heic": 1, "no suffix": 1}


def written() -> dict[str, bytes]:
    """Small pictures of all modes in all formats that Pillow writes, by format and mode."""
    random = np.random.default_rng(0)
    rgb = Image.fromarray(random.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    image_suffixes()  # loads all formats
    found = {}
    # For EPS Pillow calls Ghostscript, and icons for macOS are 1024 pixels wide and take seconds.
    for name in sorted(Image.SAVE.keys() & Image.OPEN.keys() - {"EPS", "ICNS"}):
        for mode in (
            "1",
            "L",
            "P",
            "RGB",
            "RGBA",
            "LA",
            "PA",
            "CMYK",
            "YCbCr",
            "LAB",
            "HSV",
            "I",
            "F",
            "I;16",
            "I;16B",
        ):
            buffer = io.BytesIO()
            try:
                image = rgb.convert("L").convert(mode) if mode.startswith("I;") else rgb.convert(mode)
                image.save(buffer, name)
            except (OSError, ValueError, KeyError, AttributeError, NotImplementedError, SystemError):
                continue  # no such pair
            found[f"{name} {mode}"] = buffer.getvalue()
    return found


def mutants(data: bytes, random: np.random.Generator, count: int):
    """A file cut short, and with bits turned, mostly those of its header."""
    for k in range(count):
        if k % 3 == 0:
            yield data[: random.integers(len(data))]
        else:
            changed = bytearray(data)
            for _ in range(random.integers(1, 4)):
                at = random.integers(min(len(data), 64) if k % 3 == 1 else len(data))
                changed[at] ^= 1 << random.integers(8)
            yield bytes(changed)


def test_fuzzed_pictures_are_read_or_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # that a header asks for gigabytes is Pillow's to notice
    random = np.random.default_rng(1)
    pictures = written()
    assert len(pictures) > 60 and {"JPEG CMYK", "PNG I;16", "TIFF LAB", "GIF P", "WEBP RGBA"} <= pictures.keys()
    path = tmp_path / "picture"
    read = refused = 0
    for name, data in pictures.items():
        path.write_bytes(data)
        try:
            assert read_image(path).shape == (9, 13, 3)
        except DataError as error:
            assert "for which there is no white" in str(error), name
            with Image.open(path) as image:
                assert image.mode == "F", name
        for mutant in mutants(data, random, 20):
            path.write_bytes(mutant)
            try:
                image = read_image(path, 8)
            except DataError as error:
                assert str(path) in str(error)
                refused += 1
            else:
                assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and max(image.shape[:2]) <= 8
                read += 1
    assert read + refused >= 2800 and min(read, refused) > 300


def test_fuzzed_annotations_are_read_or_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    random = np.random.default_rng(2)
    root = official.coco(tmp_path, count=2)
    images = {number: root / f"val2017/{number:012d}.jpg" for number in (1, 2)}
    png, path = root / "annotations/panoptic_val2017/000000000001.png", root / "annotations/panoptic_val2017.json"
    info = json.loads(path.read_text())["annotations"][0]["segments_info"]
    ids = np.full((30, 40), 300, dtype=np.int32)
    ids[:10] = 7_000_000
    rgb = Image.fromarray(encode_panoptic_png(ids))
    read = refused = 0
    for mode in ("RGB", "RGBA", "P", "L"):
        buffer = io.BytesIO()
        rgb.convert(mode).save(buffer, "png")
        for mutant in mutants(buffer.getvalue(), random, 60):
            png.write_bytes(mutant)
            try:
                read_coco_panoptic(png, info).validate()
                read += 1
            except DataError as error:
                assert str(png) in str(error)
                refused += 1
    assert read > 5 and refused > 100
    rgb.save(png)
    whole = path.read_bytes()
    read = refused = 0
    for mutant in mutants(whole, random, 300):
        path.write_bytes(mutant)
        try:
            annotations = PanopticAnnotations(path, [png.parent])
            annotations.check(images)
            for number, image in images.items():
                annotations.read(number, image)
                annotations.digest([number])
            read += 1
        except DataError as error:
            assert str(root) in str(error)
            refused += 1
    assert read > 5 and refused > 100
