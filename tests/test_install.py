"""What is installed, by plain pip: the wheel alone is light, extras are told of, and one command installs Lava."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import nir
import numpy as np
import pytest

import gshn
from gshn.hub import NEEDED
from neuromorphic import requirements
from neuromorphic.errors import LavaMissingError, PackagesMissingError
from neuromorphic.lava import install

ROOT = Path(__file__).parents[1]


def test_the_wheel_alone_asks_neither_for_pytorch_nor_for_lava() -> None:
    base = {name for name, (_, extra) in requirements.declared().items() if extra == ""}
    assert {"numpy", "scipy", "nir", "h5py"} <= base
    assert not base & {"torch", "transformers", "torch-geometric", "snntorch", "lava-nc", "lava-dl", "psutil"}
    assert requirements.declared()["torch"][1] == "train"


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements.require_extra("")  # What is there is not complained of.
    monkeypatch.setattr(requirements, "installed", lambda name: None if name > "p" else "1")
    with pytest.raises(PackagesMissingError, match=r"\(pillow, safetensors, scikit-image and \d more\): pip install '"):
        requirements.require_extra("train")
    monkeypatch.setattr(requirements, "installed", lambda name: None if name == "torch" else "1")
    with pytest.raises(PackagesMissingError, match=r"\(torch\): pip install 'gshn\[train\]'"):
        requirements.require_extra("train")


def test_gshns_commands_say_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(requirements, "installed", lambda name: None)
    importlib.reload(gshn)  # As a library it may be imported.
    monkeypatch.setattr(sys, "argv", ["-m", "--out", "runs/new"])  # As `python -m gshn.train --out runs/new` has it.
    with pytest.raises(SystemExit) as end:
        importlib.reload(gshn)
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert (
        message.startswith("error: ") and message.endswith("pip install 'gshn[train]'\n") and message.count("\n") == 1
    )


def recorded(monkeypatch: pytest.MonkeyPatch, *statuses: int) -> list[list[str]]:
    """The commands that are run, once they have run; they end with the statuses in turn."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=statuses[len(commands) - 1])

    monkeypatch.setattr(install.subprocess, "run", run)
    return commands


def test_lava_is_installed_without_what_it_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = recorded(monkeypatch, 0, 0)
    monkeypatch.setattr(install, "pip", lambda: ["pip"])
    install.install_lava()
    needs, lava = (command[2:] for command in commands)
    assert {need.split("<")[0].split(">")[0] for need in needs} == {"asteval", "networkx", "psutil"}
    assert set(lava) == {"--no-deps", "--ignore-requires-python", "lava-nc==0.10.0", "lava-dl==0.6.0"}


def test_where_pip_fails_its_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = recorded(monkeypatch, 3)
    monkeypatch.setattr(install, "pip", lambda: ["pip"])
    with pytest.raises(LavaMissingError, match=r"ended with status 3: pip install .*networkx"):
        install.install_lava()
    assert len(commands) == 1


def test_without_pip_uv_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "find_spec", lambda name: None)
    monkeypatch.setattr(install.shutil, "which", lambda name: f"bin/{name}")
    assert install.pip() == ["bin/uv", "tool", "run", "pip", "--python", sys.executable]
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    with pytest.raises(LavaMissingError, match="ensurepip"):
        install.pip()


@pytest.mark.slow
def test_plain_pip_in_a_fresh_environment(tmp_path: Path) -> None:
    """Installs from the registry: 85 MB, then 80 MB for Lava."""

    def call(*command: object, status: int = 0) -> str:
        done = subprocess.run(
            [str(part) for part in command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    python = tmp_path / "env/bin/python"
    call(sys.executable, "-m", "venv", tmp_path / "env")
    call(python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("gshn-*.whl")
    packed = set(ZipFile(wheel).namelist())
    assert {f"gshn/checkpoints/tour/{name}" for name in (*NEEDED, "metrics.json", "README.md")} <= packed
    assert wheel.stat().st_size < 4e6
    call(python, "-m", "pip", "download", "--dest", tmp_path / "files", wheel)
    assert sum(file.stat().st_size for file in (tmp_path / "files").iterdir()) < 120e6
    call(python, "-m", "pip", "install", "--find-links", tmp_path / "files", wheel)

    assert "pip install 'gshn[train]'" in call(python, "-m", "gshn.train", "--out", "runs/new", status=2)
    one, shape = np.ones(3), np.array([3])
    nodes = {"input": nir.Input(shape), "lif": nir.LIF(2e-4 * one, one, 0 * one, one), "output": nir.Output(shape)}
    edges = [("input", "lif"), ("lif", "output")]
    nir.write(str(tmp_path / "model.nir"), nir.NIRGraph(nodes, edges, metadata={"dt": 1e-4}))
    verify = (python, "-m", "neuromorphic.verify", "--nir", "model.nir", "--against", "lava")
    assert requirements.INSTALL_LAVA in call(*verify, status=2)
    smoke = shutil.copy(ROOT / "tests/versions/smoke.py", tmp_path)
    assert call(python, smoke).strip().endswith("| numpy float, numpy fixed |")
    call(python, *requirements.INSTALL_LAVA.split()[1:])
    ran = "| numpy float, lava float, numpy fixed, lava fixed |"
    assert call(python, smoke).strip().endswith(ran)
    call(*verify)
