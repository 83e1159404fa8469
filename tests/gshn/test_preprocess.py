"""``python -m gshn.preprocess`` as a user runs it, and training from what it writes."""

import json
import os
import shutil
import subprocess
import sys

import official
import pytest
import torch
from helpers import STEPS, finish, kill_when, lines, start
from safetensors.torch import load_file

from gshn import preprocess
from gshn.config import load_config
from gshn.data.coco import CocoCaptions
from gshn.data.overlap import check_overlap
from gshn.errors import ConfigError, DataError
from gshn.graphs.shards.index import load_all, read_index
from gshn.graphs.shards.stream import ShardStream
from gshn.training.corpora import Corpora
from neuromorphic.errors import ArgumentError, UserNotice


@pytest.fixture
def run(monkeypatch):
    def run(*arguments, **environment):
        monkeypatch.setattr("sys.argv", ["gshn.preprocess", *map(str, arguments)])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        preprocess.main()

    return run


def test_rank_and_world_size_come_from_the_launcher():
    assert preprocess.process({}) == (0, 1)
    assert preprocess.process({"RANK": "3", "WORLD_SIZE": "4", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}) == (3, 4)
    assert preprocess.process({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}) == (1, 2)
    assert preprocess.process({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "8"}) == (1, 8)
    assert preprocess.process({"PMI_RANK": "0", "PMI_SIZE": "2"}) == (0, 2)
    for rank in ("4", "-1", "x"):
        with pytest.raises(ConfigError, match="needs 0 <= RANK < WORLD_SIZE"):
            preprocess.process({"RANK": rank, "WORLD_SIZE": "4"})


def test_a_broken_and_an_absent_image(run, tmp_path, capsys, caplog):
    root = official.coco(tmp_path / "coco", count=5)
    (root / "val2017/000000000002.jpg").write_bytes(b"\xff\xd8 cut")
    (root / "val2017/000000000004.jpg").unlink()
    out = tmp_path / "shards"
    run("--data", f"coco:{root}", "--segmenter", "ground-truth", "--split", "val", "--out", out, "--shard-size", 2)
    printed = capsys.readouterr().out
    assert "3 graphs in 2 shards, of 4 images, 1 left out" in printed and "000000000002.jpg" in printed
    assert "1 of 5 images is absent" in caplog.text
    index = read_index(out / "val")
    assert [stored.annotation["captions"][0][-4:-1] for stored in ShardStream(index)] == ["1-0", "3-0", "5-0"]
    assert [category.name for category in index.categories] == ["cat", "grass-merged"]


def test_more_segments_than_the_limit(run, tmp_path, caplog):
    root = official.coco(tmp_path / "coco", count=1)
    arguments = ("--data", f"coco:{root}", "--segmenter", "ground-truth", "--split", "val")
    run(*arguments, "--out", tmp_path / "shards", "graph.max_segments=1")
    (stored,) = ShardStream(read_index(tmp_path / "shards" / "val"))
    assert stored.tensors["category"].tolist() == [1], "the grass, which is larger"
    assert "000000000001.jpg: 2 segments, 1 dropped: only the 1 largest is kept" in caplog.text


def test_a_config_says_how_graphs_are_made(run, tmp_path):
    root = official.coco(tmp_path / "coco", count=2)
    config = tmp_path / "own.yaml"
    config.write_text("graph: {neighbours: 2, whole_image: true}\n")
    out = tmp_path / "shards"
    run("--config", config, "--data", f"coco:{root}", "--segmenter", "superpixels", "--split", "val", "--out", out)
    index = read_index(out / "val")
    assert index.manifest["settings"]["graph.neighbours"] == 2 and index.manifest["settings"]["graph.whole_image"]
    assert all(stored.tensors["category"][0] == len(index.categories) - 1 for stored in ShardStream(index))


def test_captions_of_ones_own_split_by_share_or_column(run, tmp_path, capsys):
    names = [path.name for path in (official.jpeg(tmp_path / f"photos/{i}.jpg", i) for i in range(5))]
    rows = [f"{name},A thing {i},{'test' if i == 4 else 'train'}" for i, name in enumerate(names)]
    table = official.write(tmp_path / "mine.csv", "\n".join(["image,words,part", *rows]))
    keys = (f"data.pairs.file.folder={tmp_path / 'photos'}", "data.pairs.file.caption_column=words")
    common = ("--data", f"captions:{table}", "--segmenter", "superpixels", "--split", "train", "test")
    run(*common, "--out", tmp_path / "shards", "--split-by", "part", *keys)
    printed = capsys.readouterr().out
    assert "4 graphs in 1 shard, of 4 images" in printed
    assert f"--config default --out runs/shards data.pairs.source=shards:{tmp_path / 'shards'}\n" in printed
    found = [stored.annotation["captions"] for stored in ShardStream(read_index(tmp_path / "shards/train"))]
    assert found == [[f"A thing {i}"] for i in range(4)]
    run(*common, "--out", tmp_path / "half", "--split-by", "50/0/50", *keys)
    counts = [len(read_index(tmp_path / "half" / split)) for split in ("train", "test")]
    assert sum(counts) == 5 and 0 not in counts
    with pytest.raises(ConfigError, match="--split-by goes with --data captions:FILE"):
        run(
            "--data", "shapescenes", "--limit", 2, "--segmenter", "superpixels", "--out", tmp_path, "--split-by", "part"
        )


def test_pictures_of_shards_are_found_in_other_data(run, tmp_path):
    root = official.coco(tmp_path / "coco", count=5)
    common = ("--data", f"coco:{root}", "--segmenter", "ground-truth", "--out", tmp_path / "shards")
    run(*common, "--split", "val")
    (tmp_path / "shards/val").rename(tmp_path / "shards/train")
    table = official.write(
        tmp_path / "photos/mine.csv", "image,caption\nthis.jpg,One\n000000000003.jpg,Two\nother.jpg,Three"
    )
    for name, number in (("this.jpg", 2), ("000000000003.jpg", 7), ("other.jpg", 8)):
        official.jpeg(table.parent / name, number)
    train = load_config("photographs", [f"data.pairs.source=shards:{tmp_path / 'shards'}"])
    test = load_config("photographs", [f"data.pairs.source=captions:{table}", "data.pairs.file.split=0/0/100"])
    ours, theirs = Corpora(train).training_pictures(), Corpora(test).test_pictures(["retrieval"])
    with pytest.raises(DataError, match=r"1 of the 3 pictures of .*this.jpg as .*000000000002.jpg"):
        check_overlap(ours, theirs, allowed=False)
    for number in range(1, 6):
        (root / f"val2017/{number:012d}.jpg").unlink()
    with pytest.raises(
        DataError, match=r"1 of the 3 pictures of .*photos/000000000003.jpg as .*val2017/000000000003.jpg"
    ):
        check_overlap(ours, theirs, allowed=False)


def test_processes_share_the_work(run, tmp_path, capsys):
    arguments = ("--data", "shapescenes", "--limit", 20, "--segmenter", "ground-truth", "--split", "test")
    arguments = (*arguments, "--shard-size", 5, "--out", tmp_path)
    run(*arguments, RANK="1", WORLD_SIZE="3")
    assert "1/3" not in capsys.readouterr().out and not (tmp_path / "test" / "index.json").exists()
    run(*arguments, RANK="0", WORLD_SIZE="3")
    assert "1 shard of others is not" in capsys.readouterr().out
    run(*arguments, RANK="2", WORLD_SIZE="3")
    assert "20 graphs in 4 shards, of 20 images, 0 left out" in capsys.readouterr().out


def test_processes_of_this_machine_share_the_work(run, tmp_path, capsys):
    root = official.coco(tmp_path / "coco", count=5)
    (root / "val2017/000000000002.jpg").write_bytes(b"\xff\xd8 cut")
    (root / "val2017/000000000004.jpg").unlink()
    arguments = ["--data", f"coco:{root}", "--segmenter", "ground-truth", "--split", "val", "--shard-size", "2"]
    run(*arguments, "--out", tmp_path / "one")
    alone = capsys.readouterr().out
    command = [sys.executable, "-m", "gshn.preprocess", *arguments, "--processes", "2"]
    made = subprocess.run([*command, "--out", str(tmp_path / "two")], capture_output=True, text=True, check=True)
    assert made.stdout.splitlines() == [line.split(" (")[0] for line in alone.replace("/one/", "/two/").splitlines()]
    assert "3 graphs in 2 shards, of 4 images, 1 left out" in made.stdout and "000000000002.jpg" in made.stdout
    assert "val images, process 0 of 2" in made.stderr, "the first one's part of the work"
    assert made.stderr.count("1 of 5 images is absent") == 1
    ours, theirs = (list(ShardStream(read_index(tmp_path / name / "val"))) for name in ("two", "one"))
    for graph, expected in zip(ours, theirs, strict=True):
        assert graph.annotation == expected.annotation
        torch.testing.assert_close(graph.tensors, expected.tensors, rtol=0, atol=0)


@pytest.mark.slow
def test_errors_of_several_processes_are_said_once(tmp_path):
    common = ("--segmenter", "superpixels", "--out", str(tmp_path / "out"), "--processes", "2")
    official.coco(tmp_path / "coco", "val")
    for arguments, message in [
        (("--data", "coco:nowhere"), "error: folder nowhere is missing; COCO has it"),
        (
            ("--data", f"coco:{tmp_path / 'coco'}", "--split", "train"),
            "error: 1 of 1 split could not be made: no train",
        ),
    ]:
        command = [sys.executable, "-m", "gshn.preprocess", *arguments, *common]
        failed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert failed.returncode == 2 and failed.stdout == ""
        assert [line for line in failed.stderr.splitlines() if "error" in line.lower()] == [
            line for line in failed.stderr.splitlines() if line.startswith(message)
        ]
        assert failed.stderr.count(message) == 1


def test_what_cannot_be_run(run, tmp_path):
    common = ("--segmenter", "superpixels", "--out", tmp_path)
    for arguments, error, message in [
        (("--data", "shapescenes", *common), ConfigError, "--data shapescenes is unlimited: give --limit"),
        (
            ("--data", "imagenet:x", *common),
            ConfigError,
            "no data set 'imagenet:x'; choose one of captions:FILE",
        ),
        (("--data", "coco:nowhere", *common), DataError, "folder nowhere is missing; COCO has it"),
        (
            ("--data", f"coco:{tmp_path}", *common, "--limit", "0"),
            ArgumentError,
            "argument --limit: must be a whole number from 1 to",
        ),
        (("--data", f"coco:{tmp_path}", *common, "graph.colour=1"), ConfigError, "graph.colour"),
        (("--data", "shards:x", *common), ConfigError, "shards hold graphs, and no images"),
    ]:
        with pytest.raises(error, match=message):
            run(*arguments)


@pytest.fixture
def edited(run, tmp_path, caplog, monkeypatch):
    """A tiny COCO that is preprocessed into two shards before and after an edit: captions, images made again, note."""
    root = official.coco(tmp_path / "coco", count=5)
    out = tmp_path / "shards"
    command = ("--data", f"coco:{root}", "--segmenter", "ground-truth", "--split", "val", "--out", out)

    def preprocess_after(edit):
        run(*command, "--shard-size", 3)
        built = []
        original = CocoCaptions.__getitem__
        monkeypatch.setattr(CocoCaptions, "__getitem__", lambda s, i: (built.append(i), original(s, i))[1])
        edit(root)
        caplog.clear()
        run(*command, "--shard-size", 3)
        stored = list(ShardStream(read_index(out / "val")))
        return [graph.annotation["captions"][0] for graph in stored], built, caplog.text

    return preprocess_after


def test_edited_captions_are_noticed_and_graphs_kept(edited):
    def edit(root):
        path = root / "annotations/captions_val2017.json"
        path.write_text(path.read_text().replace("A cat on grass, 4", "A dog on grass, 4"))

    captions, built, note = edited(edit)
    assert captions == [f"A {'dog' if i == 4 else 'cat'} on grass, {i}-0." for i in range(1, 6)]
    assert built == []
    assert "1 of 2 shards hold what has changed" in note and "00001.tar: texts are others" in note


def test_edited_questions_are_noticed(run, tmp_path):
    root = official.vqa2(tmp_path / "vqa")
    command = ("--data", f"vqa2:{root}", "--segmenter", "superpixels", "--split", "train", "--out", tmp_path / "out")
    run(*command)
    path = root / "v2_OpenEnded_mscoco_train2014_questions.json"
    path.write_text(path.read_text().replace("What is 1?", "Who is 1?"))
    run(*command)
    stored = list(ShardStream(read_index(tmp_path / "out/train")))
    assert [question["text"] for question in stored[1].annotation["questions"]] == ["What is 0?", "Who is 1?"]


@pytest.mark.parametrize("file", ["val2017/000000000004.jpg", "annotations/panoptic_val2017/000000000004.png"])
def test_an_image_or_its_segments_edited_in_place_are_noticed(edited, file):
    def edit(root):
        content = bytearray((root / file).read_bytes())
        content[-20] ^= 1  # of the same length
        (root / file).write_bytes(content)

    _, built, note = edited(edit)
    assert set(built) == {3, 4}, "the shard of the file, and no other"
    assert file in note and "1 of 2 shards" in note


def test_files_that_were_copied_are_the_same(edited, tmp_path):
    def edit(root):
        for path in root.rglob("*.[jp][pn]g"):
            os.utime(path, ns=(path.stat().st_mtime_ns + 10**9,) * 2)

    _, built, note = edited(edit)
    assert built == [] and note == ""


def test_what_changed_while_a_shard_was_half_written(run, tmp_path):
    """The partial shard of a killed run, with captions of before."""
    root = official.coco(tmp_path / "coco", count=3)
    command = ("--data", f"coco:{root}", "--segmenter", "ground-truth", "--split", "val", "--out", tmp_path / "out")
    run(*command)
    folder = tmp_path / "out/val"
    (folder / "00000.tar").rename(folder / "00000.tar.partial")
    path = root / "annotations/captions_val2017.json"
    path.write_text(path.read_text().replace("cat", "dog"))
    official.jpeg(root / "val2017/000000000002.jpg", seed=77)
    run(*command)
    stored = list(ShardStream(read_index(folder)))
    assert [graph.annotation["captions"][0] for graph in stored] == [f"A dog on grass, {i}-0." for i in (1, 2, 3)]
    fresh = (*command[:-1], tmp_path / "fresh")
    run(*fresh)
    for graph, expected in zip(stored, ShardStream(read_index(tmp_path / "fresh/val")), strict=True):
        torch.testing.assert_close(graph.tensors, expected.tensors)


def test_a_mended_image_takes_its_place(run, tmp_path):
    root = official.coco(tmp_path / "coco")
    command = ("--data", f"coco:{root}", "--segmenter", "ground-truth", "--split", "val", "--out", tmp_path / "out")
    broken = root / "val2017/000000000001.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:40])
    run(*command)
    assert len(read_index(tmp_path / "out/val")) == 2
    broken.write_bytes(whole)
    run(*command)
    index = read_index(tmp_path / "out/val")
    assert [stored["index"] for stored in load_all(index)[1]] == [0, 1, 2] and not index.broken
    assert [stored.annotation["index"] for stored in ShardStream(index).fetch([0, 1, 2])] == [0, 1, 2]


def test_edited_categories_are_refused(run, tmp_path):
    root = official.coco(tmp_path / "coco")
    command = ("--data", f"coco:{root}", "--segmenter", "ground-truth", "--split", "val", "--out", tmp_path / "out")
    run(*command)
    path = root / "annotations/panoptic_val2017.json"
    path.write_text(path.read_text().replace('"cat"', '"dog"'))
    with pytest.raises(DataError, match=r"holds shards that differ in .*categories; choose another folder"):
        run(*command)


class TestSplitsThatAreNotThere:
    """COCO's val2017 alone, with the annotations of both, as it comes."""

    @pytest.fixture
    def command(self, tmp_path):
        root = official.coco(tmp_path / "coco", "train")
        official.coco(root, "val")
        shutil.rmtree(root / "train2017")
        return ("--data", f"coco:{root}", "--segmenter", "superpixels", "--out", tmp_path / "shards")

    def test_the_others_are_made(self, run, command, tmp_path, capsys):
        with pytest.warns(UserNotice, match=r"coco: no train: .*train2017/000000000001.jpg, like all images"):
            run(*command)
        printed = capsys.readouterr().out
        assert printed.count("3 graphs in 1 shard, of 3 images, 0 left out") == 2
        assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["test", "val"]

    def test_one_that_was_asked_for_is_an_error_in_the_end(self, run, command, tmp_path):
        with pytest.raises(DataError, match=r"1 of 2 splits could not be made: no train: .*is missing"):
            run(*command, "--split", "train", "val")
        assert len(read_index(tmp_path / "shards" / "val")) == 3

    def test_none_is_there(self, run, command, tmp_path):
        shutil.rmtree(tmp_path / "coco" / "val2017")
        with pytest.raises(DataError, match=r"train2017/000000000001.jpg, like all images of .* \(3\), is missing"):
            run(*command)


def test_easy_vqa_has_no_val(run, tmp_path):
    with pytest.warns(UserNotice, match="easyvqa: no val: "):
        run("--data", "easyvqa", "--segmenter", "superpixels", "--limit", "2", "--out", tmp_path)
    assert len(read_index(tmp_path / "train")) == len(read_index(tmp_path / "test")) == 2


def test_a_killed_run_goes_on_and_training_streams_the_shards(tmp_path):
    out = tmp_path / "shards"
    command = [sys.executable, "-m", "gshn.preprocess", "--data", "shapescenes", "--limit", "200"]
    command += ["--segmenter", "ground-truth", "--split", "train", "test", "--shard-size", "50", "--out", str(out)]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kill_when(killed, (out / "train" / "00001.tar").exists)
    done = (out / "train" / "00000.tar").stat().st_mtime_ns
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stdout.count("200 graphs in 4 shards, of 200 images, 0 left out") == 2
    assert (out / "train" / "00000.tar").stat().st_mtime_ns == done, "nothing is made again"
    names = [stored.annotation["name"] for stored in ShardStream(read_index(out / "train"))]
    assert names == [f"shapescenes/train/{i}" for i in range(200)]

    # Two runs from the shards, one of them stopped and resumed, end in the same weights.
    options = [f"data.pairs.source=shards:{out}", "finetune.tasks=[]", f"data.cache={tmp_path / 'cache'}", *STEPS]
    stdout, _ = finish(start(tmp_path / "whole", *options))
    assert "retrieval" in stdout
    process = start(tmp_path / "cut", *options)
    log = tmp_path / "cut" / "metrics.jsonl"
    kill_when(process, lambda: lines(log) >= 3)
    finish(start(tmp_path / "cut", "--resume", *options))
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all((whole[name] == cut[name]).all() for name in whole)
    figures = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert 0 <= figures["retrieval.i2t_r1"] <= 1
