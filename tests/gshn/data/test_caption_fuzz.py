"""Broken files of captions and questions: every outcome is right data, or one DataError."""

import json
import random
from collections import Counter

import official
import pytest

from gshn.config import CaptionFile
from gshn.data.sources import open_source
from gshn.errors import DataError

ROUNDS = 20
ROWS = [
    (f"{1000 + i}_ab{i}.jpg", f"{text} {i}")
    for i in range(4)
    for text in ("A dog, wet", "naß", 'the "old" cat', "Hen", "x")
]


def table(separator):
    quoted = ((image, text.replace('"', '""')) for image, text in ROWS)
    return f"image{separator}caption\n" + "".join(f'{image}{separator}"{text}"\n' for image, text in quoted)


OWN = {
    "table.csv": table(","),
    "table.tsv": table("\t"),
    "rows.jsonl": "".join(json.dumps({"image": i, "caption": c}, ensure_ascii=False) + "\n" for i, c in ROWS),
}
FILES = {
    "coco": ("annotations/captions_val2017.json",),
    "karpathy": ("dataset_flickr30k.json",),
    "flickr8k": ("Flickr8k.token.txt", "Flickr_8k.trainImages.txt"),
    "kaggle": ("captions.txt",),
    "visual-genome": ("region_descriptions.json",),
    "vqa2": ("v2_OpenEnded_mscoco_train2014_questions.json", "v2_mscoco_train2014_annotations.json"),
    "snli-ve": ("snli_ve_train.jsonl",),
    "nlvr2": ("data/train.json",),
    **{name: (name,) for name in OWN},
}
CASES = [(kind, file) for kind, files in FILES.items() for file in files]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A folder with each data set."""
    root = tmp_path_factory.mktemp("fuzz")
    official.coco(root / "coco")
    entries = [
        {"filename": name, "split": "train", "texts": [c for i, c in ROWS if i == name]} for name, _ in ROWS[::5]
    ]
    official.karpathy(root / "karpathy/dataset_flickr30k.json", entries)
    for name, _ in ROWS[::5]:
        official.jpeg(root / "karpathy/images" / name)
    for kind in ("flickr8k", "kaggle"):
        official.flickr8k(root / kind)
    (root / "kaggle/Flickr8k.token.txt").unlink()
    official.write(root / "kaggle/captions.txt", OWN["table.csv"])
    official.visual_genome(root / "visual-genome", range(1, 5))
    official.vqa2(root / "vqa2")
    official.snli_ve(root / "snli-ve", "train")
    official.nlvr2(root / "nlvr2", "train")
    for name, content in OWN.items():
        official.write(root / name / name, content)
        for image, _ in ROWS[::5]:
            official.jpeg(root / name / image)
    return root


def read(roots, kind):
    """Everything that a split says of its images."""
    if kind in OWN:
        data = open_source(f"captions:{roots / kind / kind}", "train", form=CaptionFile(split="100/0/0"))
    else:
        source = {"karpathy": "flickr30k", "kaggle": "flickr8k"}.get(kind, kind)
        data = open_source(f"{source}:{roots / kind}", "val" if kind == "coco" else "train")
    found = Counter()
    for path, captions in zip(data.paths, getattr(data, "captions", [()] * len(data)), strict=True):
        assert path.is_file()
        found.update((path.name, caption) for caption in captions)
        assert all(isinstance(caption, str) and caption == caption.strip() != "" for caption in captions)
    for name in ("questions", "hypotheses", "statements"):
        for text in getattr(data, name, ()):
            images = tuple(data.paths[index].name for index in text.image_indices)
            found[images, text.text, text.answers, text.id] += 1
            assert isinstance(text.text, str) and all(isinstance(answer, str) for answer in text.answers)
    return found


def bytes_flipped(content, draw):
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def cut(content, draw):
    return content[: draw.randrange(len(content))]


def a_part_lost(content, draw):
    at = draw.randrange(len(content))
    return content[:at] + content[at + draw.randrange(1, 40) :]


def a_part_doubled(content, draw):
    at = draw.randrange(len(content))
    return content[: at + draw.randrange(1, 40)] + content[at:]


def bytes_added(content, draw):
    at = draw.randrange(len(content))
    return (
        content[:at]
        + draw.choice([b"\0", b"\xff", b'"', b"\n", b",", b"\t", b"#", b"{", b"\xe9", b"\r"])
        + content[at:]
    )


def columns_moved(content, draw):
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    for mark in (b"\t", b",", b'": '):
        if mark in lines[at]:
            lines[at] = draw.choice([lines[at].replace(mark, b" ", 1), mark.join(lines[at].split(mark)[::-1])])
    return b"\n".join(lines)


@pytest.mark.parametrize(("kind", "file"), CASES)
@pytest.mark.parametrize("change", [bytes_flipped, cut, a_part_lost, a_part_doubled, bytes_added, columns_moved])
def test_a_broken_file_is_one_error_or_spoils_no_more_than_it_must(roots, kind, file, change):
    """What is accepted is right but for what stands where the file was broken: at most what is said of one image."""
    path, before = roots / kind / file, read(roots, kind)
    whole = path.read_bytes()
    draw = random.Random(f"{kind} {file} {change.__name__}")
    try:
        for _ in range(ROUNDS):
            path.write_bytes(change(whole, draw))
            try:
                after = read(roots, kind)
            except DataError as error:
                assert "\n" not in str(error) and len(str(error)) < 1200
                continue
            assert (after - before).total() <= 5 or change is a_part_doubled, path.read_bytes()
            assert (after - before).keys() <= before.keys() or (after - before).total() <= 5, path.read_bytes()
    finally:
        path.write_bytes(whole)


WRONG = [None, 7, -1, 10**400, True, "", " ", "x", "a\0b", "x" * 5000, [], ["x"], {}, "\ud800"]


def with_a_wrong_value(tree, draw):
    """A copy of a JSON tree with one of its values replaced, or removed."""
    if isinstance(tree, dict | list) and tree and draw.random() < 0.9:
        copy = tree.copy()
        key = draw.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        if draw.random() < 0.1:
            del copy[key]
        else:
            copy[key] = with_a_wrong_value(tree[key], draw)
        return copy
    return draw.choice(WRONG)


@pytest.mark.parametrize(("kind", "file"), [case for case in CASES if "json" in case[1]])
def test_a_wrong_value_is_one_error_or_spoils_no_more_than_it_must(roots, kind, file):
    path, before = roots / kind / file, read(roots, kind)
    whole = path.read_text()
    lines = kind in ("snli-ve", "nlvr2", "rows.jsonl")
    tree = [json.loads(line) for line in whole.splitlines()] if lines else json.loads(whole)
    draw = random.Random(kind + file)
    try:
        for _ in range(3 * ROUNDS):
            wrong = with_a_wrong_value(tree, draw)
            path.write_text(
                "\n".join(map(json.dumps, wrong)) if lines and isinstance(wrong, list) else json.dumps(wrong)
            )
            try:
                after = read(roots, kind)
            except DataError as error:
                assert "\n" not in str(error) and len(str(error)) < 1200
            else:
                assert (after - before).total() <= 5, path.read_text()
    finally:
        path.write_text(whole)


@pytest.mark.parametrize(("kind", "file"), CASES)
def test_encodings(roots, kind, file):
    path, before = roots / kind / file, read(roots, kind)
    whole = path.read_text()
    try:
        for encoding in ("utf-8-sig", "utf-16", "cp1252"):
            path.write_bytes(whole.replace("\n", "\r\n").encode(encoding))
            assert read(roots, kind) == before, encoding
        path.write_bytes(whole.encode("utf-16-le"))  # without a byte order mark nothing says so
        with pytest.raises(DataError, match=r"is not a text: line 1 has a null character"):
            read(roots, kind)
    finally:
        path.write_text(whole)
