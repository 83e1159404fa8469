"""The examples of docs/api.md for gshn, and of docs/app.md, run one after the other; and every public name has one."""

import re
from pathlib import Path

import numpy as np
import official
import pytest
from PIL import Image

import gshn

DOCS = Path(__file__).parents[1] / "docs"
DOC = (DOCS / "api.md").read_text().split("\n## gshn\n")[1] + (DOCS / "app.md").read_text()


def test_every_example_runs(finished: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/default").symlink_to(finished)
    official.jpeg(tmp_path / "photos/a.jpg")
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "photos/b.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)
    printed = capsys.readouterr().out
    assert len(blocks) >= 9 and (tmp_path / "why.png").is_file()
    assert "Model(runs/default: GSHN(" in printed and "was not trained on nlvr2" in printed
    assert "Images(3: photos/a.jpg, image 1, image 2, " in printed
    assert "['retrieval', 'vqa']" in printed and "2 2 0 {}" in printed
    assert all((tmp_path / name).is_file() for name in ("graph.png", "rasters.png", "network.nir"))


@pytest.mark.parametrize("name", [*gshn.__all__, *(n for n in dir(gshn.Model) if n[0] != "_")])
def test_every_public_name_is_told_of(name: str) -> None:
    assert re.search(rf"\b{name}\b", DOC)
