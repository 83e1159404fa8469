"""A folder that is searched by text: what is encoded when, and that what is found is what similarity ranks by."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import official
import pytest
import torch
from helpers import CAPTIONS, tiny_config, tiny_model

import gshn
from gshn import search
from gshn.api.search import STEP
from gshn.errors import DataError
from neuromorphic.errors import UserNotice

TEXT = "a red star on grass"


def load(folder: Path, *overrides: str) -> gshn.Model:
    """An untrained model with a backbone of its own."""
    tiny_model(tiny_config("graph.backbone=small_conv", *overrides)).save_pretrained(folder)
    return gshn.load(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> gshn.Model:
    return load(tmp_path_factory.mktemp("search") / "model")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(4):
        official.jpeg(folder / ("trips" if number == 3 else "") / f"{number}.jpg", number, (40 + 8 * number, 30))
    return folder


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were encoded."""
    names: list[str] = []
    encode = gshn.Model.encode_images

    def recorded(self: gshn.Model, images: list[Path], *arguments: object, **options: object) -> gshn.Images:
        out = encode(self, images, *arguments, **options)  # type: ignore[arg-type]
        if isinstance(images, list):  # as the index has them; the oracle asks for one at a time
            names.extend(path.name for path in images)
        return out

    monkeypatch.setattr(gshn.Model, "encode_images", recorded)
    return names


def ranked(model: gshn.Model, folder: Path, text: str = TEXT) -> list[tuple[str, float]]:
    """The oracle: every image encoded by itself, and compared."""
    paths = sorted(path for path in folder.rglob("*.jpg"))
    scores = [float(model.similarity(text, path)[0, 0]) for path in paths]
    order = np.argsort(-np.array(scores), kind="stable")
    return [(str(paths[row]), scores[row]) for row in order]


@pytest.mark.parametrize(
    "overrides",
    [(), ("model.encoder=transformer",), ("model.similarity=whole",)],
    ids=["hybrid", "transformer", "whole"],
)
def test_what_is_found_is_what_similarity_ranks_by(tmp_path: Path, photos: Path, overrides: tuple[str, ...]) -> None:
    model = load(tmp_path / "model", *overrides)
    for index in (model.index(photos), model.index(photos)):  # encoded, and read again
        for text in (TEXT, CAPTIONS[1]):
            hits = index.search(text, 3)
            expected = ranked(model, photos, text)
            assert [str(hit.path) for hit in hits] == [path for path, _ in expected[:3]]
            np.testing.assert_allclose([h.similarity for h in hits], [s for _, s in expected[:3]], atol=1e-5)
        assert len(index) == 4 and len(index.search(TEXT, 99)) == 4


def test_only_what_is_new_or_changed_is_encoded_and_what_is_gone_is_dropped(model, photos, encoded) -> None:
    index = model.index(photos)
    assert sorted(encoded) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"] and (index.added, index.dropped) == (4, 0)
    encoded.clear()
    written = index.file.stat().st_mtime_ns
    again = model.index(photos)
    assert not encoded and (again.added, again.dropped) == (0, 0) and again.file.stat().st_mtime_ns == written

    official.jpeg(photos / "new.jpg", 9, (30, 50))
    official.jpeg(photos / "1.jpg", 7, (60, 40))
    (photos / "0.jpg").unlink()
    changed = model.index(photos)
    assert sorted(encoded) == ["1.jpg", "new.jpg"] and (changed.added, changed.dropped) == (2, 1)
    assert changed.paths == ["1.jpg", "2.jpg", "new.jpg", "trips/3.jpg"]
    encoded.clear()
    for index in (changed, model.index(photos)):
        found = [(str(hit.path), hit.similarity) for hit in index.search(TEXT)]
        for (path, score), (expected, theirs) in zip(found, ranked(model, photos), strict=True):
            assert path == expected and score == pytest.approx(theirs, abs=1e-5)


def test_a_file_of_the_same_size_that_was_changed_is_encoded(model, photos, encoded) -> None:
    model.index(photos)
    encoded.clear()
    path = photos / "2.jpg"
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    model.index(photos)
    assert encoded == ["2.jpg"]


def test_what_cannot_be_read_is_left_out_until_it_is_mended(model, photos, encoded) -> None:
    broken = official.write(photos / "1.jpg", "no picture")
    with pytest.warns(UserNotice, match=r"1 of 4 images of .*photos is left out, the first: .*1\.jpg"):
        index = model.index(photos)
    assert index.paths == ["0.jpg", "2.jpg", "trips/3.jpg"] and list(index.left_out) == ["1.jpg"]
    encoded.clear()
    with pytest.warns(UserNotice, match="left out"):
        assert list(model.index(photos).left_out) == ["1.jpg"]
    assert not encoded, "nothing is tried again"
    official.jpeg(broken, 1, (48, 30))
    mended = model.index(photos)
    assert encoded == ["1.jpg"] and not mended.left_out and len(mended) == 4


def test_what_was_encoded_before_an_interruption_is_kept(model, tmp_path, monkeypatch, encoded) -> None:
    folder = tmp_path / "many"
    for number in range(STEP + 3):
        official.jpeg(folder / f"{number:02}.jpg", number, (20, 16))
    encode = gshn.Model.encode_images

    def interrupted(self: gshn.Model, images: list[Path], **options: object) -> gshn.Images:
        if encoded:
            raise KeyboardInterrupt
        return encode(self, images, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(gshn.Model, "encode_images", interrupted)
        model.index(folder)
    assert len(encoded) == STEP
    encoded.clear()
    assert len(model.index(folder)) == STEP + 3 and len(encoded) == 3


def test_a_broken_index_is_made_anew_and_another_models_is_not_touched(model, photos, tmp_path, encoded) -> None:
    file = model.index(photos).file
    content = file.read_bytes()
    for broken in (b"", content[:200], content[:-40]):
        file.write_bytes(broken)
        encoded.clear()
        with pytest.warns(UserNotice, match="is broken .*: it is made anew"):
            assert len(model.index(photos)) == 4
        assert len(encoded) == 4
    torch.manual_seed(1)
    other = load(tmp_path / "other", "model.width=32")
    assert other.index(photos).file != file
    encoded.clear()
    assert len(model.index(photos)) == 4 and not encoded
    # A file that is named serves one model at a time.
    named = tmp_path / "own.safetensors"
    assert model.index(photos, named).file == other.index(photos, named).file == named
    encoded.clear()
    model.index(photos, named)
    assert len(encoded) == 4


def test_where_the_folder_cannot_be_written_to_the_cache_has_the_index(model, photos, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (photos / ".gshn").write_text("in the way")  # as root every folder can be written to
    index = model.index(photos)
    assert index.file.is_relative_to(tmp_path / "cache") and model.index(photos).added == 0
    assert index.search(TEXT, 1)[0].path == Path(ranked(model, photos)[0][0])


def test_what_cannot_be_searched_is_one_line(model, photos, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: model.index(tmp_path / "nowhere"), "nowhere is not a folder; name one with photographs"),
        (lambda: model.index(tmp_path / "empty"), "empty has no image that Pillow reads here"),
        (lambda: model.index(photos).search("  "), "the text to search for is empty"),
        (lambda: model.index(photos).search(TEXT, 0), "k is 0; ask for at least 1 image"),
    ]
    for call, said in cases:
        with pytest.raises(DataError, match=said) as raised:
            call()
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "empty/.gshn").exists()
    official.write(tmp_path / "broken/1.jpg", "no picture")
    with pytest.raises(DataError, match="no image that can be used"), pytest.warns(UserNotice):
        model.index(tmp_path / "broken")


def test_the_command_prints_what_is_found_and_writes_it(model, photos, tmp_path, monkeypatch, capsys) -> None:
    path = tmp_path / "found.json"
    command = ["gshn.search", TEXT, str(photos), "--checkpoint", str(model.folder), "--top", "2"]
    monkeypatch.setattr("sys.argv", [*command, "--json", str(path)])
    search.main()
    expected = ranked(model, photos)[:2]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines[:2]] == [[f"{score:.4f}", name] for name, score in expected]
    assert lines[2].startswith("2 of 4 images; 4 encoded now, 0 dropped; ")
    told = json.loads(path.read_text())
    assert (told["text"], told["images"]) == (TEXT, 4)
    assert [(own["path"], own["similarity"]) for own in told["found"]] == [
        (name, pytest.approx(score, abs=1e-5)) for name, score in expected
    ]
    monkeypatch.setattr("sys.argv", [*command, "--json", "-"])
    search.main()
    assert json.loads(capsys.readouterr().out) == told
