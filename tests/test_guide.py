"""The guide for photographs of one's own, docs/own-images.md, as it is written."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import official
import pytest
from PIL import Image

from gshn.config import load_config
from gshn.data.caption_file import read_rows

DOC = Path(__file__).parents[1] / "docs/own-images.md"
PHOTOGRAPHS = official.SHARED / "flickr8k"


def guide() -> tuple[list[str], list[list[str]]]:
    """The lines of its table, and its commands."""
    section = DOC.read_text().split("## Five steps")[1].split("\n## ")[0]
    lines = {"csv": [], "bash": []}
    for language, block in re.findall(r"^ {4}```(\w+)\n(.*?)^ {4}```$", section, re.MULTILINE | re.DOTALL):
        lines[language] += [line.strip() for line in block.splitlines()]
    return lines["csv"], [shlex.split(line) for line in lines["bash"]]


def test_its_table_and_its_options_are_read(tmp_path: Path) -> None:
    table, commands = guide()
    path = official.write(tmp_path / "captions.csv", "\n".join(table))
    assert [row.captions[0][:12] for row in read_rows(path)] == ["A dog waits ", "A brown and "]
    overrides = [argument for argument in commands[0] if "=" in argument]
    data = load_config("photographs", overrides).data.pairs
    assert data.source == "captions:photos/captions.csv" and data.file.shares == (0.75, 0, 0.25)


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the real samples (shared/data) are not at hand")
def test_from_pictures_to_explain(tmp_path: Path) -> None:
    table, commands = guide()
    assert len(commands) == 3 and len(table) == 3
    # The two photographs that the guide names, and six more.
    names = (PHOTOGRAPHS / "Flickr_8k.testImages.txt").read_text().split()
    captions = dict(re.findall(r"^(\S+)#0\t(.*)$", (PHOTOGRAPHS / "Flickr8k.token.txt").read_text(), re.MULTILINE))
    dog = next(name for name in names if captions[name].startswith("A dog waits as his owner"))
    field = next(name for name in names if captions[name].startswith("A brown and white dog lays down in a"))
    others = [name for name in names if name not in (dog, field)][:6]
    (tmp_path / "photos").mkdir()
    for name, copy in [(dog, "dog.jpg"), (field, "field.jpg"), *((name, name) for name in others)]:
        shutil.copy(PHOTOGRAPHS / "Images" / name, tmp_path / "photos" / copy)
    table += [f'{name},"{captions[name]}"' for name in others]
    (tmp_path / "photos/captions.csv").write_text("\n".join(table) + "\n")
    printed = []
    for command in commands:
        result = subprocess.run(
            [sys.executable, *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        printed.append(result.stdout + result.stderr)
    assert "retrieval, R@K" in printed[1]
    assert "similarity" in printed[2]
    assert min(Image.open(tmp_path / "why.png").size) > 200
