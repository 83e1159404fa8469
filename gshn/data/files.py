"""Image files."""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from gshn.errors import DataError

_MEND = "restore the file, give another one, or reinstall the package it belongs to"

_IDENTIFIED_ONLY = {"MPEG"}
"""Formats that Pillow recognises and cannot read, besides those of its stub plugins (HDF5, for one)."""


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An open image file, as a context. Errors of Pillow within it become a DataError that names the file.

    Raises:
        DataError: the file is missing, truncated, or not an image.
    """
    try:
        # Pillow warns of metadata that are cut, of no use to anybody who looks at the picture.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            if _is_stub(type(image)) or image.format in _IDENTIFIED_ONLY:
                raise UnidentifiedImageError
            yield image
    except FileNotFoundError:
        raise DataError(f"image {path} is missing; {_MEND}") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image that Pillow can read; {_MEND}") from None
    except DataError as error:
        raise DataError(f"image {path} {error}") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(f"image {path} has more than {limit:,} pixels; scale it down") from None
    except Exception as error:  # Pillow's decoders raise whatever suits them
        raise DataError(f"image {path} is broken ({str(error) or type(error).__name__}); {_MEND}") from None


def read_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file's pixels as stored, from its header alone.

    Raises:
        DataError: the file is missing or not an image.
    """
    with opened(path) as image:
        return image.height, image.width


def read_orientation(path: Path) -> int:
    """EXIF orientation of an image file, 1 to 8; 1 if it has none.

    Raises:
        DataError: the file is missing or not an image.
    """
    with opened(path) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def read_image(path: Path, image_size: int | None = None, upright: bool = True) -> NDArray[np.uint8]:
    """Read an image file with the colours that a viewer shows on white paper.

    Args:
        path: The file. Of several frames, the first is read.
        image_size: Longest side, pixels; a larger image is scaled down to it.
        upright: Turn the image as its EXIF orientation says; else its pixels are as stored.

    Returns:
        RGB, shape (H, W, 3), uint8. See :func:`to_rgb`.

    Raises:
        DataError: the file is missing, truncated, or not an image, or its pixels have no known range.
    """
    with opened(path) as image:
        if image_size is not None:
            image.draft("RGB", (2 * image_size, 2 * image_size))  # JPEG: decoded at a half or a quarter, fast
        return to_pixels(image, image_size, upright)


def to_pixels(image: Image.Image, image_size: int | None = None, upright: bool = True) -> NDArray[np.uint8]:
    """Pixels of a Pillow image, shape (H, W, 3), uint8: see :func:`read_image`.

    Raises:
        DataError: the pixels have no known range. What Pillow raises while it decodes a file is passed on.
    """
    picture = to_rgb(ImageOps.exif_transpose(image) if upright else image)
    if image_size is not None and max(picture.size) > image_size:
        picture.thumbnail((image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB.

    16-bit grey keeps its high byte, as 16-bit colour does in Pillow. Transparent pixels are blended with white. CMYK is
    converted by the profile in the file; without one, R = (255 - C) (255 - K) / 255, and so on. Profiles of RGB and
    grey are ignored, as is usual in the field.

    Raises:
        DataError: the pixels are floating-point or wider than 16 bits.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.size and not 0 <= values.min() <= values.max() < 1 << 16:
            raise DataError("has grey values beyond 16 bits, for which there is no white; save it with 8 or 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError("has floating-point pixels, for which there is no white; save it with 8 or 16 bits")
    if image.has_transparency_data:
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
    if image.mode == "CMYK" and (profile := _profile(image)) is not None:
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert converted is not None
        return converted
    return image.convert("RGB")


def _profile(image: Image.Image) -> Any | None:
    """The CMYK profile in a file; None if there is none, or a broken one."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    except (KeyError, OSError, TypeError):
        return None
    return profile if profile.profile.xcolor_space.strip() == "CMYK" else None


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the files that Pillow reads here, in lower case."""
    suffixes = Image.registered_extensions()  # imports all of Pillow's formats
    stubs = {name for name, (factory, _) in Image.OPEN.items() if _is_stub(factory)} | _IDENTIFIED_ONLY
    return frozenset(suffix for suffix, name in suffixes.items() if name in Image.OPEN.keys() - stubs)


def _is_stub(factory: Any) -> bool:
    return isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)


def list_images(folder: Path, out: Path | None = None) -> tuple[list[Path], Counter[str]]:
    """List the image files in a folder and its subfolders, in order of their names, and count other files by suffix.

    Files and folders whose name begins with a dot are left out, and so is the folder ``out``.

    Raises:
        DataError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"folder {error.filename} cannot be read ({error.strerror})") from None

    images: list[Path] = []
    others: Counter[str] = Counter()
    entered = {os.path.realpath(folder)}  # links may lead back up, or twice to one place
    if out is not None:
        entered.add(os.path.realpath(out))
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        within = {os.path.realpath(Path(place, name)): name for name in sorted(folders, reverse=True) if name[0] != "."}
        folders[:] = [name for real, name in within.items() if real not in entered]
        entered.update(within)
        for name in names:
            path = Path(place, name)
            if path.suffix.lower() in image_suffixes():
                images.append(path)
            elif not name.startswith("."):
                others[path.suffix.lower() or "no suffix"] += 1
    return sorted(images), others
