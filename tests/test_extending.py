"""docs/extending.md as it is written: a package with one of each, installed, and tested, and trained with."""

import configparser
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import official
import pytest

DOC = (Path(__file__).parents[1] / "docs/extending.md").read_text()


def install(folder: Path) -> Path:
    """Writes the package of the guide, and installs it as an installer would: a folder on the path, with metadata."""
    for code in re.findall(r"^```python\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL):
        first, _, rest = code.partition("\n")
        official.write(folder / first.removeprefix("# "), rest)
    project = tomllib.loads(re.findall(r"^```toml\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)[0])["project"]
    official.write(folder / "five_more/__init__.py", "")
    info = folder / "five_more-1.0.dist-info"
    official.write(
        info / "METADATA", f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = configparser.ConfigParser()
    points.read_dict(project["entry-points"])
    with (info / "entry_points.txt").open("w") as file:
        points.write(file)
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("installed"))


def call(package: Path, *command: str) -> str:
    """What a command prints, run where the package is installed."""
    path = os.pathsep.join([str(package), *sys.path])
    done = subprocess.run(
        [sys.executable, *command],
        cwd=package,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_each_file_passes_the_test_beside_it(package: Path) -> None:
    printed = call(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert "5 passed" in printed


def test_all_five_are_trained_with_together(package: Path) -> None:
    for seed, (split, animal) in enumerate(product(("train", "test"), ("cat", "dog"))):
        for number in range(3):
            name = package / "photos" / split / animal / f"{split}-{number}.jpg"
            official.jpeg(name, 10 * seed + number, (96, 64))
    (command,) = re.findall(r"^```bash\n(python -m gshn\.train .*)\n```$", DOC, re.MULTILINE)
    printed = call(package, *shlex.split(command)[1:])
    assert "retrieval" in printed
    assert '"uniformity": ' in (package / "runs/five/metrics.jsonl").read_text()
    spikes = call(package, "-c", SPIKES, *(["lava"] if find_spec("lava") else []))
    assert "IF: True True" in spikes


SPIKES = """
import sys, gshn
network = gshn.load("runs/five").spiking_network("photos/test/cat/test-0.jpg")
runs = [network.run(backend=backend).spikes for backend in ("numpy", *sys.argv[1:])]
fires = network.spikes["lif_1"].any()
equal = all((run[layer] == spikes).all() for run in runs for layer, spikes in network.spikes.items())
print(f"{type(network.graph.nodes['lif_1']).__name__}:", fires, equal)
"""


def test_names_are_known_without_an_import(package: Path) -> None:
    files = {name: (package / f"five_more/{name}.py").read_text() for name in ("slic", "uniformity")}
    (package / "five_more/slic.py").write_text("raise SystemExit\n" + files["slic"])
    (package / "five_more/uniformity.py").write_text(files["uniformity"].replace('"help"', '"weight": 5.0, "help"'))
    try:
        code = (
            "import sys; from gshn.config import load_config; from gshn.errors import ConfigError\n"
            "config = load_config('default', ['data.pairs.segmenter=slic', 'graph.backbone=edges+edges@64'])\n"
            "assert config.objectives.uniformity == 0, 'to install a package changes no configuration'\n"
            "try: load_config('default', ['data.pairs.segmenter=slik'])\n"
            "except ConfigError as error: print(error)\n"
            "print('torch' in sys.modules, 'five_more.slic' in sys.modules)"
        )
        *_, refused, imported = call(package, "-c", code).splitlines()
        assert refused.endswith(
            "'slik': choose one of detectron2, features[:BACKBONE], ground-truth, semantic, superpixels, mask2former, "
            "slic[:OPTIONS]"
        )
        assert imported == "False False"
    finally:
        for name, text in files.items():
            (package / f"five_more/{name}.py").write_text(text)
