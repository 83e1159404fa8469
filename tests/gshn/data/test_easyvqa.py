import shutil
from collections import Counter
from pathlib import Path

import easy_vqa
import numpy as np
import pytest
from PIL import Image

from gshn.data.easyvqa import EasyVQA
from gshn.data.files import read_image
from gshn.errors import ConfigError, DataError, MissingError


def test_counts() -> None:
    train, test = EasyVQA("train"), EasyVQA("test")
    assert (len(train), len(test)) == (4000, 1000)
    assert (len(train.questions), len(test.questions)) == (38575, 9673)
    assert len(EasyVQA.answers()) == 13
    assert EasyVQA.answers() == sorted(EasyVQA.answers())
    assert {answer for question in train.questions for answer in question.answers} == set(EasyVQA.answers())
    assert max(question.image_index for question in test.questions) == 999


def test_questions_are_on_their_images() -> None:
    # "what color is the shape?" is answered by the picture's rarest clear colour: check it on the pixels.
    rgb = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "black": (0, 0, 0)}
    data, right = EasyVQA("test"), Counter[bool]()
    for question in data.questions:
        if question.text.startswith("what color") and question.answers[0] in rgb:
            image = data[question.image_index].image.astype(float) / 255
            nearest = np.abs(image - np.array(rgb[question.answers[0]])).sum(axis=2).min()
            right[nearest < 1.0] += 1
    assert right[True] > 200
    assert right[True] / right.total() > 0.95


def test_limit_keeps_the_first_images_with_their_questions() -> None:
    whole, part = EasyVQA("train"), EasyVQA("train", limit=10)
    assert len(part) == 10
    assert part.questions == [question for question in whole.questions if question.image_index < 10]
    assert part[3].image.shape == (64, 64, 3)
    assert np.array_equal(part[3].image, whole[3].image)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(MissingError, match="no split 'dev'"):
        EasyVQA("dev")
    with pytest.raises(ConfigError, match="limit is 0"):
        EasyVQA("train", limit=0)


@pytest.fixture
def copied_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the test split that can be damaged; easy-VQA reads it instead of its own."""
    source = Path(easy_vqa.__file__).parent / "data" / "test"
    shutil.copytree(source, tmp_path / "data" / "test")
    monkeypatch.setattr("easy_vqa.easy_vqa.BASE_PATH", str(tmp_path))
    return tmp_path / "data" / "test"


def test_a_missing_image_does_not_shift_the_others(copied_data: Path) -> None:
    (copied_data / "images" / "7.png").unlink()
    for limit in (None, 8):
        with pytest.raises(DataError, match=r"test image 7\.png is missing; reinstall"):
            EasyVQA("test", limit)
    assert len(EasyVQA("test", limit=7)) == 7


def test_broken_files_of_the_package_are_refused(copied_data: Path) -> None:
    image = copied_data / "images" / "3.png"
    image.write_bytes(image.read_bytes()[:100])
    data = EasyVQA("test", limit=5)
    with pytest.raises(DataError, match=r"3\.png is broken .* reinstall the package"):
        data[3]
    questions = copied_data / "questions.json"
    questions.write_text(questions.read_text()[:500])
    with pytest.raises(DataError, match=r"test files are incomplete .* reinstall easy-vqa"):
        EasyVQA("test")
    questions.unlink()
    with pytest.raises(DataError, match=r"questions\.json.* reinstall easy-vqa"):
        EasyVQA("test")


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_broken_images_are_named(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / f"image.{kind}"
    Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=rf"image\.{kind} is broken"):
        read_image(path)
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=rf"image\.{kind} is not an image"):
        read_image(path)
    path.unlink()
    with pytest.raises(DataError, match=rf"image\.{kind} is missing"):
        read_image(path)


def test_greyscale_and_orientation(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    image = Image.fromarray(np.zeros((4, 8), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(path, exif=exif)
    assert read_image(path).shape == (8, 4, 3)
