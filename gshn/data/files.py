"""Image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gshn.errors import DataError

_MEND = "restore the file, or reinstall the package it belongs to"


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as RGB, turned as its EXIF orientation says, shape (H, W, 3), uint8.

    Raises:
        DataError: the file is missing, truncated, or no image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"image {path} is missing; {_MEND}") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image that Pillow can read; {_MEND}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"image {path} is broken ({error}); {_MEND}") from None
