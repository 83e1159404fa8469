"""VQA v2 (Goyal et al., arXiv:1612.00837): questions on COCO images, each answered by ten people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from gshn.data.image_files import (
    ImageFiles,
    Source,
    as_text,
    check_split,
    each,
    first_existing,
    folder_of,
    present,
    read_json,
    section,
    tell,
)
from gshn.data.images import DatasetSettings
from gshn.data.tasks import Example
from gshn.data.texts import Question
from gshn.errors import DataError

KINDS = {"vqa2:DIR": {"help": "VQA v2, questions"}}

SOURCE = Source("VQA v2", "visualqa.org/download.html")

_DIGITS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'

# Contractions that people write with one apostrophe missing. The official list is not complete ("im" and "lets" are not
# in it), and has one the wrong way round; figures would not be comparable with more of them.
_WITH_APOSTROPHES = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
    he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've
    must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't
    shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
    something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've
    they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
    where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
    """
_CONTRACTIONS = {
    word[:at] + word[at + 1 :]: word
    for word in _WITH_APOSTROPHES.split()
    for at, character in enumerate(word)
    if character == "'"
} | {"somebody'd": "somebodyd"}


class VQAv2(ImageFiles):
    """A split of VQA v2, an :class:`gshn.data.images.ImageCollection`.

    Layout: ``v2_OpenEnded_mscoco_train2014_questions.json``, ``v2_mscoco_train2014_annotations.json``, images
    ``train2014/COCO_train2014_000000000009.jpg`` (or under ``images``); the same of ``val2014``. ``test`` is
    ``test2015`` (or ``test-dev2015``), whose answers are not public, where its questions are there, and else ``val``.
    Plain ``questions.json`` and ``annotations.json`` are read as any split.

    Attributes:
        questions: The questions on the split's images.
    """

    def __init__(self, root: Path, split: str, image_size: int = 224, limit: int | None = None) -> None:
        """Read a split.

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or broken.
        """
        check_split(SOURCE, split)
        names = {"train": ["train2014"], "val": ["val2014"], "test": ["test2015", "test-dev2015", "val2014"]}[split]
        files = [(root / f"v2_OpenEnded_mscoco_{name}_questions.json", name) for name in names]
        path, name = next(((file, name) for file, name in files if file.is_file()), files[0])
        if not path.is_file() and (root / "questions.json").is_file():
            path = root / "questions.json"
        elif split == "test" and name == "val2014":
            tell(f"{root} has no questions of test2015; those of val2014 are taken for test")
        asked = each(
            path,
            "questions",
            section(path, read_json(path, SOURCE, "v2_Questions_Train_mscoco.zip"), "questions"),
            lambda e: (int(e["image_id"]), int(e["question_id"]), as_text(e["question"])),
        )
        answers = self._answers(root, path, name)
        in_files = "test2015" if name == "test-dev2015" else name
        numbers = list(dict.fromkeys(image for image, _, _ in asked))
        paths = _image_paths(root, in_files, numbers)
        there = present(path, paths, SOURCE, "COCO's train2014.zip, val2014.zip and test2015.zip")
        kept = [number for number, found in zip(numbers, there, strict=True) if found][:limit]
        path_of = dict(zip(numbers, paths, strict=True))
        super().__init__(f"{SOURCE.name} {split}", [path_of[number] for number in kept], image_size)
        position = {number: index for index, number in enumerate(kept)}
        self.questions = [
            Question(text, answers.get(number, ()), position[image], str(number))
            for image, number, text in asked
            if image in position
        ]

    @staticmethod
    def _answers(root: Path, questions: Path, name: str) -> dict[int, tuple[str, ...]]:
        """Answers to every question, as people gave them."""
        if name.startswith("test") and questions.name != "questions.json":
            return {}
        path = root / f"v2_mscoco_{name}_annotations.json"
        if questions.name == "questions.json":
            path = root / "annotations.json"
        entries = section(path, read_json(path, SOURCE, "v2_Annotations_Train_mscoco.zip"), "annotations")
        answers: dict[int, tuple[str, ...]] = {}
        for number, given in each(
            path,
            "annotations",
            entries,
            lambda e: (int(e["question_id"]), tuple(_stripped(as_text(a["answer"])) for a in e["answers"])),
        ):
            if answers.setdefault(number, given) != given:
                raise DataError(f"{path} has two lists of answers to question {number}; get it again")
        return answers


def _image_paths(root: Path, name: str, numbers: Sequence[int]) -> list[Path]:
    folder = first_existing((root / name, root / "images" / name, root / "images")) or root / name
    plain = folder.name == "images"
    listing = {path.name for path in folder.iterdir()} if plain else set()
    paths = []
    for number in numbers:
        official = f"COCO_{name}_{number:012d}.jpg"
        others = (
            official,
            f"COCO_train2014_{number:012d}.jpg",
            f"COCO_val2014_{number:012d}.jpg",
            f"{number:012d}.jpg",
        )
        paths.append(folder / next((other for other in others if other in listing), official))
    return paths


def _stripped(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


@cache
def normalize_answer(text: str) -> str:
    """An answer as VQA's evaluation compares it: lower case, without punctuation and articles, numbers as digits.

    Punctuation between letters becomes a space or nothing, as there; commas within numbers go, decimal points stay.
    Source: the evaluation code of visualqa.org ("Answer processing").
    """
    text = given = _stripped(text)
    joins_digits = re.search(r"\d,\d", given) is not None
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in given or f" {mark}" in given
        text = text.replace(mark, "" if beside_space or joins_digits else " ")
    text = re.sub(r"\.(?!\d)", "", text)
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def compared(answers: Sequence[str]) -> list[str]:
    """Answers as the evaluation compares them: where people do not all say the same, by :func:`normalize_answer`."""
    return [normalize_answer(answer) for answer in answers] if len(set(answers)) > 1 else list(answers)


def soft_accuracy(predicted: str, answers: Sequence[str]) -> float:
    """VQA's accuracy of an answer, in [0, 1]: the mean of min(1, matches / 3) over the subsets that leave one person
    out.

    If m of n people gave the answer, it is (m min(1, (m - 1) / 3) + (n - m) min(1, m / 3)) / n. As in the official
    code, all answers are processed by :func:`normalize_answer` if people disagree, and compared as they are if they
    agree. One departure: with a single answer the result is 1 if it is equal, else 0. The official code would always
    give 0.

    Source: Antol et al., arXiv:1505.00468, and visualqa.org/evaluation.html.
    """
    if len(answers) < 2:
        return float(predicted in answers)
    if len(set(answers)) > 1:
        predicted = normalize_answer(predicted)
    n, m = len(answers), compared(answers).count(predicted)
    return (m * min(1.0, (m - 1) / 3) + (n - m) * min(1.0, m / 3)) / n


def answer_scores(answers: Sequence[str], positions: Mapping[str, int]) -> dict[int, float]:
    """:func:`soft_accuracy` of the answers of a vocabulary, by position; answers with 0 are left out.

    Args:
        answers: The answers that people gave.
        positions: Position of every answer of the vocabulary. A dictionary, as a search in a list would be slow.
    """
    scores = {positions[a]: soft_accuracy(a, answers) for a in set(compared(answers)) if a in positions}
    return {position: score for position, score in scores.items() if score > 0}


def answer_vocabulary(questions: Sequence[Question] | Sequence[Example], size: int = 3129) -> list[str]:
    """The ``size`` answers that are the most frequent answer of most questions; ties in alphabetical order.

    Anderson et al. (arXiv:1707.07998) keep answers that occur more than 8 times: 3,129 in VQA v2.
    """
    counts: Counter[str] = Counter()
    for question in questions:
        if question.answers:
            most = Counter(compared(question.answers))
            counts[min(most, key=lambda answer: (-most[answer], answer))] += 1
    return sorted(counts, key=lambda answer: (-counts[answer], answer))[:size]


def make(name: str, settings: DatasetSettings) -> VQAv2:
    """See :mod:`gshn.data`."""
    folder = folder_of(SOURCE, name)
    return VQAv2(folder, settings.split, settings.image_size, settings.limit)
