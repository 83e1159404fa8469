"""Superpixels of photographs: milliseconds of CPU with the loops in C, and by scikit-image and NumPy.

    OMP_NUM_THREADS=1 python -m benchmarks.superpixels FOLDER --images 100

Photographs are scaled to 224 pixels at their longer side, as ``gshn.preprocess`` does; both ways take each in turn. How
many have the same regions is counted, and how alike the others are: scikit-image's adapted Rand error, 0 where they are
the same. One photograph before that does not count: it compiles.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image
from skimage.metrics import adapted_rand_error

from gshn.segments import superpixels as module
from gshn.segments.superpixels import SuperpixelParameters, superpixels


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of photographs")
    parser.add_argument("--images", type=int, default=100, help="the first of them (default 100)")
    parser.add_argument("--size", type=int, default=224, help="longer side, pixels (default 224)")
    args = parser.parse_args()
    ways = {"C": module.kernels(), "scikit-image and NumPy": None}
    errors: list[float] = []
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for place, path in enumerate(sorted(args.folder.glob("*.jp*g"))[: args.images + 1]):
        photograph = Image.open(path).convert("RGB")
        photograph.thumbnail((args.size, args.size))
        found = []
        for name, kernels in ways.items():
            with patch.object(module, "kernels", lambda own=kernels: own):
                begun = time.process_time()
                found.append(superpixels(np.asarray(photograph), SuperpixelParameters()))
                if place:
                    spent[name].append(time.process_time() - begun)
        if place:
            errors.append(float(adapted_rand_error(*found)[0]))
    for name, own in spent.items():
        print(f"{name}: mean {1e3 * statistics.mean(own):.1f} ms, {1 / statistics.mean(own):.1f} images/s a core")
    same, of = errors.count(0.0), len(errors)
    print(
        f"{same} of {of} photographs have the same regions; adapted Rand error {statistics.mean(errors):.4f} on average"
    )


if __name__ == "__main__":
    main()
