"""SNLI-VE (Xie et al., arXiv:1901.06706): whether a Flickr30K image entails a hypothesis."""

from __future__ import annotations

import logging
from pathlib import Path

from gshn.data.caption_file import split_by_share
from gshn.data.image_files import (
    ImageFiles,
    OwnImages,
    Source,
    as_text,
    check_split,
    each,
    first_existing,
    folder_of,
    present,
    read_json_lines,
)
from gshn.data.images import DatasetSettings
from gshn.data.texts import ENTAILMENT, Hypothesis
from gshn.errors import DataError
from neuromorphic.errors import counted

logger = logging.getLogger(__name__)

KINDS = {"snli-ve:DIR": {"help": "SNLI-VE, hypotheses"}}

SOURCE = Source("SNLI-VE", "github.com/necla-ml/SNLI-VE")
HELD_OUT = 0.15
"""Share of the training photographs that are ``val``, where no file defines it."""


class SNLIVE(ImageFiles):
    """A split of SNLI-VE.

    Files: ``snli_ve_train.jsonl``, ``snli_ve_dev.jsonl`` (``val``), ``snli_ve_test.jsonl``; images of Flickr30K in
    ``flickr30k-images`` or ``images``. If there is none of these files, but one other ``.jsonl``, it is read as any
    split. Pairs without a gold label (``-``) are left out.

    With training rows but no ``snli_ve_dev.jsonl``, ``val`` is the rows of about :data:`HELD_OUT` of the training
    photographs, by a digest of their names (:func:`~gshn.data.caption_file.split_by_share`), and ``train`` the rows of
    the others.

    ``Flickr30K_ID`` is the name of a photograph without ``.jpg``. The photographs may be of another data set.

    Attributes:
        hypotheses: The hypotheses on the split's images.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        image_size: int = 224,
        limit: int | None = None,
        images: Path | None = None,
    ) -> None:
        """Read a split.

        Args:
            root: Folder of the data set.
            split: ``train``, ``val`` or ``test``.
            image_size: Longest side, pixels.
            limit: Keep this many images, the first.
            images: Folder of the photographs; None for Flickr30K's, in ``root``.

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or broken.
        """
        check_split(SOURCE, split)
        path, dev, train = (root / f"snli_ve_{part}.jsonl" for part in (split, "dev", "train"))
        cut = split != "test" and train.is_file() and not dev.is_file()
        if split == "val":
            path = train if cut else dev
        others = sorted(root.glob("*.jsonl"))
        if len(others) == 1 and not others[0].name.startswith("snli_ve_"):
            path = others[0]
        pairs = each(
            path,
            "line",
            read_json_lines(path, SOURCE, f"the file {path.name}"),
            lambda e: (str(e["Flickr30K_ID"]), as_text(e["sentence2"]), e["gold_label"], str(e["pairID"])),
        )
        for _, _, label, pair in pairs:
            if label not in (*ENTAILMENT, "-"):
                raise DataError(f"{path}: pair {pair} has gold_label {label!r:.40}, not one of {', '.join(ENTAILMENT)}")
        labelled = [entry for entry in pairs if entry[2] != "-"]
        if len(labelled) < len(pairs):
            of = "without a gold label"
            what = counted(len(pairs) - len(labelled), f"pair {of} is", f"pairs {of} are")
            logger.warning("%s: %s left out", path, what)
        folders = [root / name for name in ("flickr30k-images", "flickr30k_images", "images")]
        folder = images or first_existing(folders) or folders[0]
        source = SOURCE if images is None else OwnImages(SOURCE.name, "")
        archive = "flickr30k-images.tar (of Flickr30K)" if images is None else "data.hypotheses.images=DIR"
        if cut:
            photographs = list(dict.fromkeys(image for image, _, _, _ in labelled))
            split_of = split_by_share(photographs, (1 - HELD_OUT, HELD_OUT, 0), str(path), f"make a file {dev.name}")
            labelled = [entry for entry in labelled if split_of[entry[0]] == split]
        names = list(dict.fromkeys(image for image, _, _, _ in labelled))
        paths = [folder / f"{name}.jpg" for name in names]
        there = present(path, paths, source, archive)
        kept = [name for name, found in zip(names, there, strict=True) if found][:limit]
        super().__init__(f"{SOURCE.name} {split}", [folder / f"{name}.jpg" for name in kept], image_size)
        position = {name: index for index, name in enumerate(kept)}
        self.hypotheses = [
            Hypothesis(text, label, position[image], pair) for image, text, label, pair in labelled if image in position
        ]


def make(name: str, settings: DatasetSettings) -> SNLIVE:
    """See :mod:`gshn.data`."""
    folder = folder_of(SOURCE, name)
    return SNLIVE(folder, settings.split, settings.image_size, settings.limit, settings.photographs)
