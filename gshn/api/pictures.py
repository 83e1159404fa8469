"""Reads the images that a user gives: files, folders, Pillow's images, arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gshn.data.files import list_images, read_image, to_pixels
from gshn.data.images import ImageSample
from gshn.errors import DataError
from neuromorphic.errors import first_line

Picture = str | os.PathLike[str] | Image.Image | NDArray[np.uint8] | ImageSample
"""An image: a file; an image of Pillow; RGB of shape (H, W, 3), uint8; or an image of a data set, with its segments."""


def as_list(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    """One image or several as a list; a folder stands for the images in it and its subfolders, in order of their names.

    Raises:
        DataError: a folder has no image.
    """
    single = isinstance(pictures, str | os.PathLike | Image.Image | ImageSample) or _is_image(pictures)
    given: list[Any] = [pictures] if single else list(pictures)  # type: ignore[arg-type]
    out: list[Picture] = []
    for picture in given:
        if isinstance(picture, str | os.PathLike) and (folder := Path(picture)).is_dir():
            found, _ = list_images(folder)
            if not found:
                raise DataError(f"folder {folder} has no image that Pillow reads here")
            out += found
        else:
            out.append(picture)
    return out


def _is_image(pictures: Any) -> bool:
    """Whether an array is one image: one of shape (I, H, W, 3) is several."""
    return isinstance(pictures, np.ndarray) and pictures.ndim != 4


def name_of(picture: Picture, position: int) -> str:
    """What messages call an image: its file, its name in a data set, or its position among those that were given."""
    if isinstance(picture, ImageSample):
        return picture.name
    return os.fspath(picture) if isinstance(picture, str | os.PathLike) else f"image {position}"


def read(picture: Picture, position: int, image_size: int, upright: bool) -> ImageSample:
    """Pixels of an image as training has them.

    Args:
        picture: The image. One of a data set is taken as it is.
        position: Among those that were given, for messages.
        image_size: Longest side, pixels; a larger image is scaled down to it.
        upright: Whether it is turned as its EXIF orientation says.

    Raises:
        DataError: it is missing, broken, or none.
    """
    if isinstance(picture, ImageSample):
        return picture
    name = name_of(picture, position)
    if isinstance(picture, str | os.PathLike):
        return ImageSample(name, read_image(Path(picture), image_size, upright))
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise DataError(f"{name} is {picture.dtype} of shape {picture.shape}; give RGB, uint8, of shape (H, W, 3)")
        picture = Image.fromarray(np.ascontiguousarray(picture))
    if not isinstance(picture, Image.Image):
        given = type(picture).__name__
        raise DataError(f"{name} is of type {given}; give a file, an image of Pillow, or an array of shape (H, W, 3)")
    try:
        return ImageSample(name, to_pixels(picture, image_size, upright))
    except DataError as error:
        raise DataError(f"{name} {error}") from None
    except Exception as error:  # Pillow decodes late, and its decoders raise whatever suits them
        raise DataError(f"{name} is broken ({first_line(error)}); open its file again") from None


def check_texts(texts: str | Iterable[str]) -> list[str]:
    """One text or several as a list.

    Raises:
        DataError: one is not a text.
    """
    out = [texts] if isinstance(texts, str) else list(texts)
    for position, text in enumerate(out):
        if not isinstance(text, str):
            raise DataError(f"text {position} is of type {type(text).__name__}; give a str")
    return out
