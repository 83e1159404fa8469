"""Visual Genome (Krishna et al., IJCV 2017): photographs with phrases on their regions, taken as captions."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gshn.data.captions import CaptionedFiles, joined
from gshn.data.image_files import Source, as_text, check_split, each, first_existing, folder_of, read_json
from gshn.data.images import DatasetSettings

KINDS = {"visual-genome:DIR": {"help": "Visual Genome, phrases of regions as captions"}}

SOURCE = Source("Visual Genome", "homes.cs.washington.edu/~ranjay/visualgenome")


class VisualGenomeCaptions(CaptionedFiles):
    """A split of Visual Genome: ``region_descriptions.json``, images in ``VG_100K`` and ``VG_100K_2``.

    An image's captions are the phrases of its regions, each once. There is no official split for captions: here the
    digest of the image's id decides, 95 % train, 2.5 % val, 2.5 % test.
    """

    def __init__(self, root: Path, split: str, image_size: int = 224, limit: int | None = None) -> None:
        """Read a split.

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or broken.
        """
        check_split(SOURCE, split)
        path = root / "region_descriptions.json"
        content = read_json(path, SOURCE, "region_descriptions.json.zip")
        entries = each(path, "images", content, lambda e: (int(e["id"]), [as_text(r["phrase"]) for r in e["regions"]]))
        folders = [root / name for name in ("VG_100K", "VG_100K_2", "images")]
        listing = {folder: {p.name for p in folder.iterdir()} for folder in folders if folder.is_dir()}

        def image(number: int) -> Path:
            name = f"{number}.jpg"
            return (first_existing(f for f, names in listing.items() if name in names) or folders[0]) / name

        rows = joined((image(number), phrases) for number, phrases in entries if split_of(number) == split)
        captions = {path: list(dict.fromkeys(phrases)) for path, phrases in rows.items()}
        super().__init__(SOURCE, split, path, captions, "images.zip and images2.zip", image_size, limit)


def split_of(image_id: int) -> str:
    """Which split an image is in."""
    share = int.from_bytes(hashlib.blake2b(str(image_id).encode(), digest_size=4).digest()) / 2**32
    return "train" if share < 0.95 else "val" if share < 0.975 else "test"


def make(name: str, settings: DatasetSettings) -> VisualGenomeCaptions:
    """See :mod:`gshn.data`."""
    folder = folder_of(SOURCE, name)
    return VisualGenomeCaptions(folder, settings.split, settings.image_size, settings.limit)
