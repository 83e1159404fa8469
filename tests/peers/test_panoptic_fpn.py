"""The real detectron2 behind our segmenter: a tiny Panoptic FPN, trained for a few minutes on drawn scenes, and a
Panoptic-DeepLab with random weights.

detectron2 is on no package registry. ``DETECTRON2`` names the folder of its source; ``make test-peers`` then builds it
there, in an environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from test_peers import ROOT, environment

from gshn.data.shapescenes import CATEGORIES

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def source() -> Path:
    """Folder of detectron2's source, with its extension built."""
    if "DETECTRON2" not in os.environ:
        pytest.skip("DETECTRON2 names no folder with the source of detectron2 (docs/segmenters.md)")
    folder = Path(os.environ["DETECTRON2"]).resolve()
    if not list(folder.glob("detectron2/_C*.so")):
        pytest.skip(f"detectron2 is not built in {folder}: DETECTRON2={folder} make test-peers")
    return folder


def test_panoptic_models_through_our_segmenter(source: Path, tmp_path: Path) -> None:
    script = Path(__file__).parent / "in_detectron2.py"
    places = (ROOT, source, Path(__file__).parent / "stand_ins")
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, places))}
    command = [str(environment("detectron2")), str(script), str(tmp_path)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    print(done.stdout.splitlines()[-1])
    # Things, then stuff, of which the first stands for all things.
    things, stuff = ([c.name for c in CATEGORIES if c.isthing == isthing] for isthing in (True, False))
    assert result["categories"] == [
        *([name, True] for name in things),
        *([name, False] for name in ("things", *stuff)),
    ]
    # Every segment is named as detectron2's own pictures name it, also where labels alone tell (Panoptic-DeepLab).
    assert all(found["otherwise"] == 0 and found["alike"] > 20 for found in result["named"].values())
    # So short a training finds stuff and outlines; which shape it is, it hardly learns.
    assert result["pq"]["stuff"] > 0.7 and result["pq"]["any category"] > 0.4
