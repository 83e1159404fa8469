"""The direction of imports, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The data flow, as gshn/__init__.py spells it; a module imports from its own place and from those before it.
ORDER = [
    ("errors", "launchers", "registry", "backbone_names", "hub", "arguments"),
    ("config",),
    ("distributed",),
    ("backbones",),
    ("segments",),
    ("data",),
    ("graphs",),
    ("neurons",),
    ("encoders",),
    ("model",),
    ("losses",),
    ("inference",),
    (
        *(
            f"training.{name}"
            for name in (
                *("batches", "card", "checkpoint", "corpora", "guard", "memory", "objective"),
                *("processes", "segmentation", "start", "text_states"),
            )
        ),
    ),
    ("evaluation",),
    ("training.loop",),
    ("export",),
    ("profiling",),
    ("api",),
    ("browser",),
    ("deployment",),
    ("ablation",),
    ("train", "evaluate", "segment", "preprocess", "ablate", "explain", "search", "app"),
]
# What knows networks; all else of gshn takes only what both packages share.
DEPLOYS = {"export", "profiling", "deployment", "evaluate", "api", "browser"}
SHARED = {f"neuromorphic.{name}" for name in ("errors", "files", "cli", "figures", "processes", "requirements")}
SHARED |= {"neuromorphic.lava.lava_dl"}
SHARED |= {f"neuromorphic.execution{name}" for name in ("", ".native", ".c_compiler")}  # kernels
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def imports(path: Path) -> set[str]:
    """Absolute names that a module imports, wherever in the file."""
    out: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            out.add(node.module or "")
    return out


def rank(parts: tuple[str, ...]) -> int:
    return RANK[".".join(parts[:2])] if ".".join(parts[:2]) in RANK else RANK[parts[0]]


@pytest.mark.parametrize("path", sorted((ROOT / "gshn").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_gshn_imports_follow_the_data_flow(path: Path) -> None:
    parts = path.relative_to(ROOT / "gshn").with_suffix("").parts
    if parts[-1] == "__init__":
        return
    for name in imports(path):
        if name.startswith("gshn."):
            other = tuple(name.split(".")[1:])
            assert rank(other) <= rank(parts), f"{path} imports {name}, which comes after it"
        if name.split(".")[0] == "neuromorphic" and parts[0] not in DEPLOYS:
            assert name in SHARED, f"{path} imports {name}: only {', '.join(sorted(DEPLOYS))} may"


@pytest.mark.parametrize("path", sorted((ROOT / "neuromorphic").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_neuromorphic_stands_alone(path: Path) -> None:
    packages = {name.split(".")[0] for name in imports(path)}
    assert "gshn" not in packages, f"{path} imports gshn, which is built on it"
    # What needs PyTorch is imported only where it is chosen; the rest runs without PyTorch.
    needs = ("torch_simulator.py", "native.py", "batch_norm.py", "peers.py")
    assert "torch" not in packages or path.name in needs, f"{path} imports torch"
