import json
from pathlib import Path

from benchmarks import photographs_tasks as bench


def row(variant, seed, value, split="test", task="vqa", metric="accuracy"):
    keys = ("variant", "task", "split", "seed", "metric", "value", "seconds")
    return dict(zip(keys, (variant, task, split, seed, metric, value, 1.0), strict=True))


def test_tables_are_of_the_rows():
    rows = [row("hybrid", 0, 0.25), row("hybrid", 1, 0.27), row("texts", 0, 0.20), row("texts", 1, 0.21)]
    rows += [row("hybrid-r0", 0, 0.24), row("hybrid", 0, 0.3, "val"), row("pooled", 0, 0.5, task="entailment")]
    vqa, entailment = bench.tables(rows).split("\n\n")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in vqa.splitlines()]
    assert [line[0] for line in lines] == ["DAQUAR, %", "---", "GSHN", bench.SILENT, bench.VARIANTS["texts"][0]]
    head, _, ours, silent, texts = lines
    accuracy = head.index("accuracy, test")
    assert ours[head.index("accuracy, val")] == "30.0" and ours[1] == "2" and ours[-1] == ""
    assert ours[accuracy].startswith("26.0 ± 12.7") and silent[accuracy] == "24.0" and silent[-1] == "1.0"
    assert texts[-1] == "5.5 ± 6.4", "the lead is paired by seed, and bold only where it is clear of zero"
    assert entailment.splitlines()[2].split("|")[1:3] == [f" {bench.VARIANTS['pooled'][0]} ", " 1 "]
    clear = [row("hybrid", s, 0.3 + s / 1000) for s in range(3)] + [row("texts", s, 0.2) for s in range(3)]
    assert "**10.1 ± 0.2**" in bench.tables(clear)


def test_rows_of_a_run_again_take_the_place_of_the_old():
    old = [row("hybrid", 0, 0.1), row("hybrid", 1, 0.2)]
    assert [r["value"] for r in bench.joined(old, [row("hybrid", 0, 0.3), row("gat", 0, 0.4)])] == [0.3, 0.2, 0.4]


def test_the_page_has_the_tables_of_the_committed_rows():
    page, rows = bench.PAGE.read_text(), bench.read_rows(bench.ROWS)
    assert bench.between(page, bench.BEGIN, bench.END, bench.tables(rows)) == page
    assert all(set(r) == set(bench.Row.__annotations__) for r in rows)


def test_a_run_is_made_by_the_commands_that_the_page_shows(tmp_path, monkeypatch):
    called = []

    def python(module, *arguments):
        called.append((module, arguments))
        if module == "gshn.train":
            (out := tmp_path / "hybrid/3").mkdir(parents=True)
            (out / "metrics.json").write_text('{"seconds": 7.5}')
            return
        given = dict(zip(arguments[::2], arguments[1::2], strict=False))
        figures = {f"{given['--task']}.accuracy": 0.5, f"r0.{given['--task']}.accuracy": 0.25, "seconds": 3.0}
        with Path(given["--json"]).open("w") as file:
            json.dump(figures, file)

    monkeypatch.setattr(bench, "_python", python)
    rows = list(bench.run("hybrid", 3, tmp_path, ["data.show=texts"]))
    assert called[0][1][:4] == ("--config", "photographs_tasks", "--out", str(tmp_path / "hybrid/3"))
    assert called[0][1][-1] == "data.show=texts" and all("--paths" in arguments for _, arguments in called[1:])
    overlapping = [arguments for _, arguments in called if "data.allow_overlap=true" in arguments]
    assert len(overlapping) == 1 and {"entailment", "val"} <= {*overlapping[0]}, "of test, none is trained on"
    assert [(r["variant"], r["task"], r["split"], r["value"]) for r in rows[:3]] == [
        ("hybrid", "vqa", "val", 0.5),
        ("hybrid-r0", "vqa", "val", 0.25),
        ("hybrid", "vqa", "test", 0.5),
    ]
    assert len(rows) == 8 and {(r["seed"], r["seconds"]) for r in rows} == {(3, 7.5)}
    done = len(called)
    assert list(bench.run("hybrid", 3, tmp_path, [])) == rows and len(called) == done, "what is done is read"
