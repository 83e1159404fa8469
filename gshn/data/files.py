"""Image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gshn.errors import DataError

_MEND = "restore the file, or reinstall the package it belongs to"


def read_image(path: Path, image_size: int | None = None) -> NDArray[np.uint8]:
    """Read an image file as RGB, turned as its EXIF orientation says, shape (H, W, 3), uint8.

    Args:
        path: The file.
        image_size: Longest side, pixels; a larger image is scaled down to it.

    Raises:
        DataError: the file is missing, truncated, or no image.
    """
    try:
        with Image.open(path) as image:
            if image_size is not None:
                image.draft("RGB", (2 * image_size, 2 * image_size))  # JPEG: decoded at a half or a quarter, fast
            upright = ImageOps.exif_transpose(image).convert("RGB")
            if image_size is not None and max(upright.size) > image_size:
                upright.thumbnail((image_size, image_size), Image.Resampling.LANCZOS)
            return np.asarray(upright)
    except FileNotFoundError:
        raise DataError(f"image {path} is missing; {_MEND}") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image that Pillow can read; {_MEND}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"image {path} is broken ({error}); {_MEND}") from None
