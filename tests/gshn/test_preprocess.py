"""``python -m gshn.preprocess`` as a user runs it, and training from what it writes."""

import json
import subprocess
import sys

import official
import pytest
from helpers import STEPS, finish, kill_when, lines, start
from safetensors.torch import load_file

from gshn import preprocess
from gshn.errors import ConfigError, DataError
from gshn.graphs.shards.index import read_index
from gshn.graphs.shards.stream import ShardStream


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
    assert "1 of 5 images are absent" in caplog.text
    index = read_index(out / "val")
    assert [stored.annotation["captions"][0][-4:-1] for stored in ShardStream(index)] == ["1-0", "3-0", "5-0"]
    assert [category.name for category in index.categories] == ["cat", "grass-merged"]


def test_more_segments_than_the_limit(run, tmp_path, caplog):
    root = official.coco(tmp_path / "coco", count=1)
    arguments = ("--data", f"coco:{root}", "--segmenter", "ground-truth", "--split", "val")
    run(*arguments, "--out", tmp_path / "shards", "graph.max_segments=1")
    (stored,) = ShardStream(read_index(tmp_path / "shards" / "val"))
    assert stored.tensors["category"].tolist() == [1], "the grass, which is larger"
    assert "000000000001.jpg: 2 segments, 1 dropped: only the 1 largest are kept" in caplog.text


def test_processes_share_the_work(run, tmp_path, capsys):
    arguments = ("--data", "shapescenes", "--limit", 20, "--segmenter", "ground-truth", "--split", "test")
    arguments = (*arguments, "--shard-size", 5, "--out", tmp_path)
    run(*arguments, RANK="1", WORLD_SIZE="3")
    assert "1/3" not in capsys.readouterr().out and not (tmp_path / "test" / "index.json").exists()
    run(*arguments, RANK="0", WORLD_SIZE="3")
    assert "1 shards of others are not" in capsys.readouterr().out
    run(*arguments, RANK="2", WORLD_SIZE="3")
    assert "20 graphs in 4 shards, of 20 images, 0 left out" in capsys.readouterr().out


def test_what_cannot_be_run(run, tmp_path):
    common = ("--segmenter", "superpixels", "--out", tmp_path)
    for arguments, error, message in [
        (("--data", "shapescenes", *common), ConfigError, "--data shapescenes has no end: give --limit"),
        (("--data", "imagenet:x", *common), ConfigError, "data source 'imagenet:x' is not of the form name:DIR"),
        (("--data", "coco:nowhere", *common), DataError, "folder nowhere is missing; COCO has it"),
        (
            ("--data", f"coco:{tmp_path}", *common, "--limit", "0"),
            ConfigError,
            "argument --limit: must be a whole number from 1 to",
        ),
        (("--data", f"coco:{tmp_path}", *common, "graph.colour=1"), ConfigError, "graph.colour"),
        (("--data", "shards:x", *common), ConfigError, "shards hold graphs, and no images"),
    ]:
        with pytest.raises(error, match=message):
            run(*arguments)


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
