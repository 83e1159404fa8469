"""The notebooks, executed whole, and kept in git without outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
HOURS = 4 * 3600
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the notebooks and of what they read; their run, trained by the first, is shared."""
    root = tmp_path_factory.mktemp("notebooks")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    shutil.copytree(ROOT / "docs" / "results", root / "docs" / "results")
    return root / "notebooks"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_have_no_outputs_in_git(path: Path) -> None:
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, f"{path.name}: clear all outputs"


@pytest.mark.lava
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_from_top_to_bottom(path: Path, folder: Path) -> None:
    notebook = nbformat.read(folder / path.name, 4)
    # A busy machine may take any time: only pytest's own limit ends what hangs.
    client = NotebookClient(
        notebook,
        timeout=None,
        startup_timeout=HOURS,
        iopub_timeout=HOURS,
        kernel_name="python3",
        resources={"metadata": {"path": folder}},
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    said = "".join(output.get("text", "") for output in outputs)
    assert "error:" not in said and "Traceback" not in said, said
