"""Tiny data sets in exactly the field's official formats."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from gshn.segments.panoptic import encode_panoptic_png

SHARED = next((p / "shared" / "data" for p in Path(__file__).parents if (p / "shared" / "data").is_dir()), Path("none"))
"""Real samples, where they are at hand."""


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def jpeg(path: Path, seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "jpeg")
    return path


def coco(root: Path, split: str = "val", count: int = 3, year: str = "2017", first: int = 1) -> Path:
    """COCO's own layout, with panoptic segments: a cat over grass, void in a corner. Ids go up from ``first``."""
    images = [
        {"license": 1, "file_name": f"{i:012d}.jpg", "height": 30, "width": 40, "id": i}
        for i in range(first, first + count)
    ]
    captions = [
        {"image_id": image["id"], "id": 10 * image["id"] + k, "caption": f" A cat on grass, {image['id']}-{k}. "}
        for k in range(5)
        for image in images
    ]
    write(root / f"annotations/captions_{split}{year}.json", {"info": {}, "images": images, "annotations": captions})
    entries = []
    for image in images:
        jpeg(root / f"{split}{year}" / image["file_name"], image["id"])
        segment_map = np.full((30, 40), 7_000_000, dtype=np.int32)
        segment_map[5:15, 10:20] = 300
        segment_map[0, 0] = 0
        png = f"{image['id']:012d}.png"
        folder = root / f"annotations/panoptic_{split}{year}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(encode_panoptic_png(segment_map)).save(folder / png)
        info = [
            {"id": 300, "category_id": 17, "iscrowd": 1, "bbox": [10, 5, 10, 10], "area": 100},
            {"id": 7_000_000, "category_id": 193, "iscrowd": 0, "bbox": [0, 0, 40, 30], "area": 1099},
        ]
        entries.append({"segments_info": info, "file_name": png, "image_id": image["id"]})
    categories = [
        {"supercategory": "animal", "isthing": 1, "id": 17, "name": "cat"},
        {"supercategory": "plant", "isthing": 0, "id": 193, "name": "grass-merged"},
    ]
    content = {"info": {}, "images": images, "annotations": entries, "categories": categories}
    write(root / f"annotations/panoptic_{split}{year}.json", content)
    return root


def karpathy(path: Path, images: list[dict]) -> Path:
    """Karpathy's JSON: ``images`` gives each one's ``filename``, ``split`` and ``texts``."""
    entries = []
    for number, image in enumerate(images):
        sentences = [
            {"tokens": text.lower().split(), "raw": text, "imgid": number, "sentid": 5 * number + k}
            for k, text in enumerate(image["texts"])
        ]
        entry = {"sentids": [s["sentid"] for s in sentences], "imgid": number, "sentences": sentences}
        entries.append({**{k: v for k, v in image.items() if k != "texts"}, **entry})
    return write(path, {"images": entries, "dataset": "flickr30k"})


def flickr8k(root: Path, count: int = 4) -> Path:
    names = [f"{1000 + i}_ab{i}.jpg" for i in range(count)]
    lines = [f"{name}#{k}\tA dog number {i} , view {k} ." for i, name in enumerate(names) for k in range(5)]
    write(root / "Flickr8k.token.txt", "\n".join(lines) + "\n")
    for part, chosen in (("train", names[:-2]), ("dev", names[-2:-1]), ("test", names[-1:])):
        write(root / f"Flickr_8k.{part}Images.txt", "\n".join(chosen) + "\n")
    for i, name in enumerate(names):
        jpeg(root / "Flicker8k_Dataset" / name, i)
    return root


def visual_genome(root: Path, numbers: range) -> Path:
    entries = []
    for number in numbers:
        jpeg(root / ("VG_100K" if number % 2 else "VG_100K_2") / f"{number}.jpg", number)
        phrases = ["a tall tree", f"sign {number}", "a tall tree "]
        regions = [
            {"region_id": k, "width": 5, "height": 5, "image_id": number, "phrase": phrase, "y": 1, "x": 1}
            for k, phrase in enumerate(phrases)
        ]
        entries.append({"regions": regions, "id": number})
    write(root / "region_descriptions.json", entries)
    return root


TEN = ["net", "net", "a net", "Net.", "net", "net", "mesh", "netting", "net", "pitcher"]


def vqa2(root: Path, split: str = "train", numbers: tuple[int, ...] = (9, 25)) -> Path:
    name = f"{split}2014"
    questions = [
        {"image_id": number, "question": f"What is {k}?", "question_id": number * 1000 + k}
        for number in numbers
        for k in range(2)
    ]
    annotations = [
        {
            "question_type": "what is",
            "multiple_choice_answer": "net",
            "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": i + 1} for i, a in enumerate(TEN)],
            "image_id": question["image_id"],
            "answer_type": "other",
            "question_id": question["question_id"],
        }
        for question in reversed(questions)
    ]
    common = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": name}
    write(
        root / f"v2_OpenEnded_mscoco_{name}_questions.json",
        {**common, "task_type": "Open-Ended", "questions": questions},
    )
    write(root / f"v2_mscoco_{name}_annotations.json", {**common, "annotations": annotations})
    for number in numbers:
        jpeg(root / name / f"COCO_{name}_{number:012d}.jpg", number)
    return root


ROOMS = {
    "train": [
        ("image3", "what is on the desk in the image3 ?", "book, lamp"),
        ("image3", "what is the largest object in this image3 ?", "desk"),
        ("image9", "how many doors on the image9 ?", "2"),
        ("image12", "what is on the floor of the image12 behind the door in the image12 ?", "shoe, bag, shoe"),
        ("image20", "what is on the desk in th eimage20 ?", "lamp, book"),
    ],
    "test": [("image1", "what is left of the oven in the image1 ?", "garbage_bin")],
}
"""Image, question and answers, as DAQUAR's files have them."""


def daquar(root: Path, form: str = "qa.894.raw.{}.txt") -> Path:
    """DAQUAR's text files, or its JSON lines, which have no number of the image at a question's end."""
    for split, rows in ROOMS.items():
        lines = [line for _, question, answers in rows for line in (question, answers)]
        if form.endswith("jsonl"):
            texts = [question.rpartition(" ?")[0].rsplit(" ", 3)[0] for _, question, _ in rows]
            lines = [
                json.dumps({"image": f"{image}.jpg", "question": text, "answers": answers.split(", ")})
                for (image, _, answers), text in zip(rows, texts, strict=True)
            ]
        write(root / form.format(split), "\n".join(lines) + "\n")
        for image, _, _ in rows:
            name = f"images/{image}.jpg" if form.endswith("jsonl") else f"nyu_depth_images/{image}.png"
            jpeg(root / name, int(image[5:]))
    return root


def labelled_daquar(root: Path, count: int) -> Path:
    """Test photographs of DAQUAR with a question each, and the maps of labels that NYU Depth v2 has of them."""
    rows = [
        {"image": f"image{n}.jpg", "question": f"what is {n}", "answers": ["bed", "lamp"]} for n in range(1, count + 1)
    ]
    write(root / "qa_test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    (root / "labels13").mkdir()
    for n in range(1, count + 1):
        jpeg(root / f"images/image{n}.jpg", n)
        Image.fromarray(np.full((30, 40), n % 13 + 1, np.uint8)).save(root / f"labels13/image{n}.png")
    return root


def wordnet(root: Path, above: dict[str, list[str]], end: str = "\n") -> Path:
    """A WordNet of nouns: of every sense, those above it. ``chair#2`` is the second sense of chair."""

    def line(sense: str, place: dict[str, int]) -> str:
        pointers = [f"@{'i' if sense[0].isupper() else ''} {place.get(one, 0):08d} n 0000" for one in above[sense]]
        pointers += ["~ 00000123 n 0000", "+ 00000456 v 0101"]
        word = sense.partition("#")[0]
        words = f"02 {word} 0 {word}_of_all 0"
        return (
            f"{place.get(sense, 0):08d} 03 n {words} {len(pointers):03d} {' '.join(pointers)} | a {word}; so @ to say  "
        )

    header, place, at = "  1 This is no licence.  ", {}, 0
    at = len(header) + 1
    for sense in above:
        place[sense] = at
        at += len(line(sense, {})) + 1
    senses: dict[str, list[int]] = {}
    for sense in sorted(above, key=lambda sense: sense.partition("#")[2]):
        senses.setdefault(sense.partition("#")[0].lower(), []).append(place[sense])
    index = [
        f"{word} n {len(own)} 2 @ ~ {len(own)} 0 {' '.join(f'{at:08d}' for at in own)}  "
        for word, own in sorted(senses.items())
    ]
    files = {"data.noun": [header, *(line(sense, place) for sense in above)], "index.noun": [header, *index]}
    for name, lines in (files | {"noun.exc": ["geese goose", "people person"]}).items():
        root.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes("".join(line + end for line in lines).encode())
    return root


def snli_ve(root: Path, split: str = "dev") -> Path:
    rows = [
        {
            "Flickr30K_ID": str(100 + i // 3),
            "annotator_labels": [label],
            "captionID": f"{100 + i // 3}.jpg#0",
            "gold_label": label,
            "pairID": f"{100 + i // 3}.jpg#0r1{label[0]}",
            "sentence1": "A man sleeps.",
            "sentence2": f" Somebody rests {i}. ",
        }
        for i, label in enumerate(["entailment", "neutral", "contradiction", "-", "entailment", "neutral"])
    ]
    write(root / f"snli_ve_{split}.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    for number in (100, 101):
        jpeg(root / "flickr30k-images" / f"{number}.jpg", number)
    return root


def nlvr2(root: Path, split: str = "dev") -> Path:
    rows = []
    for i in range(3):
        identifier = f"{split}-850-{i}-0"
        row = {
            "sentence": f"The left image has {i} bottles. ",
            "label": "True" if i % 2 else "False",
            "identifier": identifier,
            "left_url": "https://example.org/a.jpg",
            "right_url": "https://example.org/b.jpg",
            "writer": "1",
            "validation": {"2": "True"},
            "synset": "beer bottle",
            "query": "bottles8",
        }
        folder = root / "images" / split
        if split == "train":
            row["directory"] = 42
            folder /= "42"
        for side in (0, 1):
            jpeg(folder / f"{split}-850-{i}-img{side}.png", 10 * i + side)  # JPEG bytes, as upstream has them
        rows.append(row)
    name = {"test": "test1"}.get(split, split)
    write(root / "data" / f"{name}.json", "\n".join(map(json.dumps, rows)) + "\n")
    return root
