import official
import pytest

from benchmarks import nyu_segments as bench
from gshn.data.daquar import DAQUAR, LABELS
from gshn.errors import ConfigError


@pytest.fixture
def daquar(tmp_path):
    """Twenty photographs with a question each, and maps of labels."""
    return official.labelled_daquar(tmp_path / "daquar", 20)


def test_folds_divide_the_photographs(daquar, tmp_path):
    bench.write_folds(daquar, tmp_path / "folds")
    bench.write_folds(daquar, tmp_path / "folds")  # a run again writes the same
    tested = []
    for fold in range(bench.FOLDS):
        splits = [DAQUAR(tmp_path / "folds" / str(fold), split) for split in ("train", "val", "test")]
        names = [{path.name for path in data.paths} for data in splits]
        assert [len(own) for own in names] == [15, 1, 4] and len(set.union(*names)) == 20
        assert all(question.answers == ("bed, lamp",) for data in splits for question in data.questions)
        assert len(splits[2][0].panoptic.segments) == 1
        tested += names[2]
    assert len(set(tested)) == 20, "each photograph is tested once"


def test_the_table_is_of_the_rows():
    def row(variant, fold, value, split="test"):
        keys = ("variant", "task", "split", "seed", "metric", "value", "seconds")
        return dict(zip(keys, (variant, "vqa", split, fold, "accuracy", value, 1.0), strict=True))

    rows = [
        row(variant, fold, value + fold / 100, split)
        for variant, value in (("annotated", 0.3), ("boxes", 0.2))
        for fold in range(2)
        for split in ("val", "test")
    ]
    rows += [row("patches", 0, 0.31), row("patches", 0, 0.31, "val")]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in bench.table(rows).splitlines()]
    labels = {name: label for name, (label, _) in bench.VARIANTS.items()}
    assert [line[0] for line in lines[2:]] == [labels["annotated"], labels["boxes"], labels["patches"]]
    assert lines[2][1] == "2" and lines[2][3].startswith("30.5 ± ") and lines[2][4] == ""
    assert lines[3][4] == "**10.0 ± 0.0**" and lines[4][3:] == ["31.0", "-1.0"]


def test_the_page_has_the_table_of_the_committed_rows():
    page, rows = bench.PAGE.read_text(), bench.read_rows(bench.ROWS)
    assert bench.between(page, bench.BEGIN, bench.END, bench.table(rows)) == page


def test_a_photograph_without_a_map_is_refused(daquar, tmp_path):
    (daquar / LABELS).rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=f"has no folder {LABELS}"):
        bench.write_folds(daquar, tmp_path / "folds")
