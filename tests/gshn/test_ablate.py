import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import official
import pytest

from gshn import ablate
from gshn.ablation.grid import Grid, Variant
from gshn.ablation.photographs import PHOTOGRAPHS
from gshn.ablation.run import Cell, Row, check_configuration, collect, read_rows
from gshn.ablation.scenes import SCENES
from gshn.ablation.summary import Interval, difference, interval, markdown, picture, summary, tables, tabulate
from gshn.config import Config, flat, load_config, to_yaml
from gshn.errors import ConfigError, DataError
from neuromorphic.errors import ArgumentError, UserError
from neuromorphic.files import Lock

ROOT = Path(__file__).parent.parent.parent


def row(variant: str, seed: int, value: float, task: str = "vqa", split: str = "test", metric: str = "accuracy") -> Row:
    return Row(variant=variant, task=task, split=split, seed=seed, metric=metric, value=value, seconds=1.0)


ROWS = [row("hybrid", s, v) for s, v in enumerate([0.80, 0.70, 0.90])]
ROWS += [row("gat", s, v) for s, v in enumerate([0.78, 0.69, 0.87, 0.10])] + [row("gat", 0, 0.5, metric="other")]


def test_two_grids_cannot_run_in_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gshn.ablate", "--out", str(tmp_path), "--quick"])
    with (
        Lock(tmp_path / ".lock", "it", "wait"),
        pytest.raises(UserError, match=r"is being written by process .* choose another --out"),
    ):
        ablate.main()


def test_interval_worked_by_hand() -> None:
    # Mean 80, s = 10, n = 3; t(0.975, 2) = 4.303.
    own = interval([0.8, 0.7, 0.9])
    assert own.mean == pytest.approx(80) and own.half == pytest.approx(4.3027 * 10 / np.sqrt(3), rel=1e-4)
    assert str(own) == "80.0 ± 24.8" and own.is_clear_of_zero
    assert not interval([-0.1, 0.2]).is_clear_of_zero
    assert str(interval([0.5])) == "50.0" and not interval([0.5]).is_clear_of_zero, "one seed shows nothing"


def test_intervals_cover_the_mean_in_95_of_100_cases() -> None:
    random = np.random.default_rng(0)
    covered = [abs(own.mean - 30) < own.half for own in (interval(random.normal(0.3, 0.1, 5)) for _ in range(2000))]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_differences_are_paired_by_seed() -> None:
    values = tabulate(SCENES, ROWS)
    lead = difference(values, "gat", ("vqa", "known", "accuracy"))
    assert lead is not None
    assert (lead.mean, lead.half) == pytest.approx((2.0, 4.3027 * 1 / np.sqrt(3)), rel=1e-4)
    assert difference(values, "snn", ("vqa", "known", "accuracy")) is None


def test_tables_and_picture() -> None:
    (task, (head, hybrid, gat)), *more = tables(SCENES, ROWS).items()
    assert task == "vqa" and not more
    assert head == ["variant", "seeds", "VQA", "hybrid's lead"]
    assert hybrid[1:] == ["3", "80.0 ± 24.8", ""]
    assert gat[1:3] == ["4", str(interval([0.78, 0.69, 0.87, 0.10]))] and gat[3] == "2.0 ± 2.5"
    clear = [*ROWS, *(row("snn", s, 0.1 + s / 1000) for s in range(3))]
    assert "| **" in markdown(SCENES, clear) and "**" not in markdown(SCENES, ROWS)
    assert picture(SCENES, ROWS).startswith(b"\x89PNG")
    assert Interval(1.0, float("nan")).is_clear_of_zero is False


def test_a_grid_of_one_task_has_tables_and_a_picture() -> None:
    sums = {"hybrid": (3.53, 3.55), "pooled": (3.52, 3.51)}
    rows = [
        row(name, seed, value, "retrieval", "val", metric)
        for name, values in sums.items()
        for seed, value in enumerate(values)
        for metric in ("rsum", "i2t_r1", "v_r0.rsum")
    ]
    ((task, (head, hybrid, pooled)),) = tables(PHOTOGRAPHS, rows).items()
    assert task == "retrieval" and head[:4] == ["variant", "seeds", "sum of six", "hybrid's lead"]
    assert hybrid[2].startswith("354.0 ±") and pooled[3].startswith("2.5 ±")
    assert "| sum of the six recalls | hybrid's lead | V' with r = 0 |" in markdown(PHOTOGRAPHS, rows)
    assert picture(PHOTOGRAPHS, rows).startswith(b"\x89PNG")


def test_summary_is_of_held_out_attributes() -> None:
    held_out = [row(v, s, x, split="attributes") for v, x in (("hybrid", 0.8), ("gat", 0.7)) for s in range(2)]
    lines = summary(SCENES, [*ROWS, *held_out]).splitlines()
    assert len(lines) == 4 and lines[0].startswith("| held-out attributes, % | seeds | retrieval R@1 | hybrid's lead |")
    assert "| 80.0 ± 0.0 |" in lines[2] and "| 70.0 ± 0.0 | **10.0 ± 0.0** |" in lines[3]
    assert summary(SCENES, [*ROWS, *held_out]) in markdown(SCENES, [*ROWS, *held_out])


def test_rows_are_collected_of_all_that_is_done(tmp_path) -> None:
    for variant, seed, x in (("gat", 10, 0.1), ("gat", 9, 0.2), ("hybrid", 9, 0.3)):
        (tmp_path / variant / str(seed)).mkdir(parents=True)
        (tmp_path / variant / str(seed) / "test.json").write_text(json.dumps([row(variant, seed, x)]))
    (tmp_path / "gat" / "11").mkdir()  # begun, not done
    (tmp_path / "gat" / "notes").mkdir()
    assert collect(SCENES, tmp_path, "test") == [row("hybrid", 9, 0.3), row("gat", 9, 0.2), row("gat", 10, 0.1)]
    assert collect(SCENES, tmp_path, "validation") == []
    (tmp_path / "gat" / "10" / "test.json").write_text("[")
    with pytest.raises(DataError, match=r"gat/10/test\.json holds no rows of the grid"):
        collect(SCENES, tmp_path, "test")


def test_a_report_of_rows_alone(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["gshn.ablate", "--report", "--out", str(tmp_path), "--on", "test"])
    (tmp_path / "ablation-validation.json").write_text(json.dumps(ROWS))  # of the other part
    with pytest.raises(ConfigError, match=r"no run that is done on test, and no ablation-test\.json"):
        ablate.main()
    (tmp_path / "ablation-test.json").write_text(json.dumps(ROWS))
    ablate.main()
    assert (tmp_path / "ablation-test.md").read_text() == markdown(SCENES, ROWS)
    printed = capsys.readouterr().out
    assert "next:" not in printed, "there is no run to go on from"
    assert "…" not in printed, "figures fit a terminal of 80 columns"
    (tmp_path / "ablation-test.json").write_text('[{"variant": "hybrid"}]')
    with pytest.raises(DataError, match=r"ablation-test\.json holds no rows of the grid \(a row has other keys\)"):
        ablate.main()


CELLS = [(grid, variant) for grid in (SCENES, PHOTOGRAPHS) for variant in grid.variants]


def test_rows_of_an_earlier_report_are_not_run_again(monkeypatch, tmp_path, capsys) -> None:
    earlier, out = tmp_path / "earlier.json", tmp_path / "out"
    earlier.write_text(json.dumps([row("gat", 1, 0.2), row("hybrid", 1, 0.3), row("hybrid", 0, 0.9)]))
    (out / "hybrid" / "0").mkdir(parents=True)
    (out / "hybrid" / "0" / "test.json").write_text(json.dumps([row("hybrid", 0, 0.4)]))
    ran = []
    monkeypatch.setattr("gshn.ablation.run.run_grid", lambda wanted, *_: ran.extend(wanted))
    command = ["gshn.ablate", "--out", str(out), "--on", "test", "--seeds", "3", "--variants", "gat", "--rows"]
    monkeypatch.setattr("sys.argv", [*command, str(earlier)])
    ablate.main()
    trained = out / "hybrid" / "0"
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"{out / 'ablation-test.json'}: 3 figures; ablation-test.md and ablation-test.png, tables and picture of them",
        f"next:       python -m neuromorphic.profile --checkpoint {trained} --out {trained / 'profile'}",
    ]
    assert {(cell.variant.name, cell.seed) for cell in ran} == {("gat", 0), ("hybrid", 2), ("gat", 2)}
    expected = [row("hybrid", 0, 0.4), row("hybrid", 1, 0.3), row("gat", 1, 0.2)]
    assert read_rows(out / "ablation-test.json") == expected
    wrong = {
        "none.json: no such file": ("none", None),
        "the grid scenes has no variant pooled": ("other", row("pooled", 0, 0.5)),
        "split validation is not of --on test": ("part", row("gat", 0, 0.5, split="validation")),
    }
    for message, (name, own) in wrong.items():
        path = tmp_path / f"{name}.json"
        if own is not None:
            path.write_text(json.dumps([own]))
        monkeypatch.setattr("sys.argv", [*command, str(path)])
        with pytest.raises(ConfigError, match=message):
            ablate.main()
    assert read_rows(out / "ablation-test.json") == expected, "nothing was written"
    monkeypatch.setattr("sys.argv", ["gshn.ablate", "--grid", "photographs", "--variants", "steps-2"])
    with pytest.raises(ArgumentError, match="--variants steps-2: the grid photographs has hybrid, gat"):
        ablate.main()


@pytest.mark.parametrize(
    ("given", "following"),
    [
        (["--quick"], "--seeds 5 --jobs 1 --cache cache --on validation --out OUT-whole"),
        (
            ["--seeds", "2", "--jobs", "3", "--cache", "elsewhere", "--variants", "gat", "--set", "model.width=16"],
            "--seeds 2 --jobs 3 --cache elsewhere --variants gat --set model.width=16 --on test --out OUT",
        ),
    ],
)
def test_what_to_type_next_is_what_the_grid_is_run_for(monkeypatch, tmp_path, capsys, given, following) -> None:
    out = tmp_path / "out"
    (out / "hybrid" / "0").mkdir(parents=True)
    (out / "hybrid" / "0" / "validation.json").write_text(json.dumps([row("hybrid", 0, 0.4, split="validation")]))
    monkeypatch.setattr("gshn.ablation.run.run_grid", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["gshn.ablate", "--out", str(out), *given])
    ablate.main()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"next:       python -m gshn.ablate --grid scenes {following.replace('OUT', str(out))}"
    ran = []
    monkeypatch.setattr("gshn.ablation.run.run_grid", lambda wanted, part, *_: ran.extend([part, len(wanted)]))
    monkeypatch.setattr("sys.argv", ["gshn.ablate", *last.split()[4:]])
    if "--quick" in given:
        with pytest.raises(ConfigError, match="has no run that is done on validation"):  # as nothing ran
            ablate.main()
        assert ran == ["validation", 5 * len(SCENES.variants)]
    else:
        with pytest.raises(ConfigError, match="has no run that is done on test"):
            ablate.main()
        assert ran == ["test", 2 * 2]


@pytest.mark.parametrize(
    ("was", "now", "differs"),
    [("shards:a", "shards:b", False), ("shards:a", "coco:a", True), ("coco:a", "coco:b", True)],
)
def test_where_shards_lie_is_no_difference(tmp_path: Path, was: str, now: str, differs: bool) -> None:
    cell = Cell(PHOTOGRAPHS, PHOTOGRAPHS.by_name["gat"], 0, tmp_path)
    own, asked = load_config("photographs"), load_config("photographs")
    own.data.pairs.source, asked.data.pairs.source = was, now
    (tmp_path / "config.yaml").write_text(to_yaml(own))
    refused = pytest.raises(ConfigError, match=r"done with another configuration: data\.pairs\.source")
    with refused if differs else nullcontext():
        check_configuration(cell, asked)


def test_photographs_are_trained_and_every_path_is_measured(monkeypatch, tmp_path) -> None:
    root = official.flickr8k(tmp_path / "flickr8k", 12)
    small = ["graph.backbone=efficientnet_lite0@64", "data.pairs.image_size=64"]
    small += ["data.pairs.segmenter=superpixels", "model.text.encoder=bert", "model.text.tune=all"]
    command = ["gshn.ablate", "--grid", "photographs", "--quick", "--seeds", "1", "--cache", str(tmp_path / "cache")]
    command += ["--out", str(tmp_path / "out"), "--variants", "pooled"]
    monkeypatch.setattr("sys.argv", [*command, "--set", f"data.pairs.source=flickr8k:{root}", *small])
    ablate.main()
    rows = read_rows(tmp_path / "out" / "photographs-validation.json")
    found = {name: {r["metric"]: r["value"] for r in rows if r["variant"] == name} for name in ("hybrid", "pooled")}
    assert {r["variant"] for r in rows} == {"hybrid", "pooled"} and {r["split"] for r in rows} == {"val"}
    assert found["hybrid"].keys() >= {"rsum", "v_r0.rsum", "spikes.rsum"} and "spikes.rsum" not in found["pooled"]
    for figures in found.values():
        recalls = [figures[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in (1, 5, 10)]
        assert figures["rsum"] == pytest.approx(sum(recalls), abs=1e-5)
    assert (tmp_path / "out" / "photographs-validation.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("grid", "variant"), CELLS, ids=[f"{grid.name} {variant.name}" for grid, variant in CELLS])
def test_every_variant_is_a_configuration_of_its_own(grid: Grid, variant: Variant) -> None:
    def own(*quick: str) -> Config:
        return load_config(variant.config or grid.config, [*grid.overrides, *quick, *variant.overrides])

    base = load_config(grid.config, [*grid.overrides])
    assert (own() == base) == (variant.name == "hybrid")
    assert own(*grid.quick).pretrain.steps < base.pretrain.steps
    assert grid.variants[0].name == "hybrid" and len(grid.by_name) == len(grid.variants)


def test_baselines_on_photographs_have_the_same_features_texts_and_budget() -> None:
    """Config files of their own can drift apart; what a baseline may differ in is named here."""
    base = flat(load_config(PHOTOGRAPHS.config, [*PHOTOGRAPHS.overrides]))
    ours = ("model.gat.", "model.spiking.", "model.transformer.", "model.encoder", "model.width", "model.similarity")
    ours += ("model.part_weight", "model.spike_weight", "model.dropout", "model.category_dropout", "objectives.")
    nodes = ("graph.regions", "graph.patches", "graph.whole_image", "data.pairs.segmenter", "data.pairs.segments")
    for name in ("pooled", "clip"):
        own = flat(load_config(PHOTOGRAPHS.by_name[name].config, [*PHOTOGRAPHS.overrides]))
        assert own.keys() == base.keys()
        assert [key for key in own if own[key] != base[key] and not key.startswith(ours + nodes)] == []


def test_a_grid_that_goes_on(monkeypatch, tmp_path, capfd) -> None:
    def run(*arguments: str) -> list[Row]:
        options = ["--quick", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--seeds", "1"]
        tiny = ["--set", "model.width=16", "model.spiking.steps=2"]
        monkeypatch.setattr("sys.argv", ["gshn.ablate", *options, *tiny, *arguments])
        ablate.main()
        return json.loads((tmp_path / "out" / f"ablation-{arguments[-1]}.json").read_text())

    first = run("--variants", "hybrid", "--on", "validation")
    folder = tmp_path / "out" / "hybrid" / "0"
    before = (folder / "validation.json").stat().st_mtime_ns
    both = run("--variants", "texts-only", "--on", "validation")
    assert (folder / "validation.json").stat().st_mtime_ns == before, "what is done is not done again"
    assert [r for r in both if r["variant"] == "hybrid"] == first
    assert {r["variant"] for r in both} == {"hybrid", "texts-only"}
    assert run("--variants", "hybrid", "--on", "validation") == both, "what was asked for before is reported, too"
    with pytest.raises(
        ConfigError, match=r"hybrid/0 is done with another configuration: model\.dropout \(0\.0 and 0\.5\)"
    ):
        run(
            "--variants",
            "hybrid",
            "--set",
            "model.width=16",
            "model.spiking.steps=2",
            "model.dropout=0.5",
            "--on",
            "validation",
        )
    trained = (folder / "training_state.safetensors").stat().st_mtime_ns
    test = run("--variants", "hybrid", "--on", "test")
    assert (folder / "training_state.safetensors").stat().st_mtime_ns == trained, (
        "another part is evaluated, not trained for"
    )
    for rows, prefix in ((first, "validation-"), (test, "")):
        assert {(r["task"], r["split"]) for r in rows} >= {
            (task, split)
            for task in ("vqa", "entailment", "nlvr2")
            for split in (prefix.strip("-") or "test", f"{prefix}attributes", f"{prefix}relations")
        }
    assert {r["split"] for r in first}.isdisjoint(r["split"] for r in test)
    blind = {r["task"]: r["value"] for r in both if (r["variant"], r["metric"]) == ("texts-only", "accuracy")}
    assert blind["entailment"] == pytest.approx(1 / 3, abs=1e-3) and blind["nlvr2"] == pytest.approx(0.5, abs=1e-3)
    written = capfd.readouterr()
    assert "entailment, %" in written.out and "pretrain:" not in written.err
    assert (tmp_path / "out" / "ablation-test.png").read_bytes().startswith(b"\x89PNG")


def test_the_docs_tables_are_of_the_committed_rows() -> None:
    results = ROOT / "docs" / "results"
    for name in ("ablation-test", "ablation-v1"):
        rows = read_rows(results / f"{name}.json")
        assert {row["variant"] for row in rows} >= {"hybrid", "gat", "snn", "no-stl"}
        assert (results / f"{name}.md").read_text() == markdown(SCENES, rows), (
            "python -m gshn.ablate --report --on test"
        )
    rows = read_rows(results / "ablation-test.json")
    begin, end = "<!-- python -m gshn.ablate --report --on test --out docs/results -->\n", "<!-- end of ablation -->"
    text = (ROOT / "docs" / "results.md").read_text()
    assert text[text.index(begin) + len(begin) : text.index(end)].strip() == summary(SCENES, rows).strip()
