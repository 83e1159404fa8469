"""The direction of imports, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The data flow, as gshn/__init__.py spells it; a module imports from its own place and from those before it.
ORDER = [
    ("errors", "files", "cli", "figures", "lava_dl", "launchers", "backbone_names", "hub"),
    ("config",),
    ("distributed",),
    ("segments",),
    ("data",),
    ("graphs",),
    ("neurons",),
    ("encoders",),
    ("losses",),
    ("model",),
    ("inference",),
    (
        *(
            f"training.{name}"
            for name in (
                *("batches", "card", "checkpoint", "corpora", "guard", "objective"),
                *("processes", "segmentation", "start", "text_states"),
            )
        ),
    ),
    ("evaluation",),
    ("training.loop",),
    ("api",),
    ("ablation",),
    ("train", "evaluate", "segment", "preprocess", "ablate", "explain"),
]
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
        if name.split(".")[0] == "neuromorphic":
            allowed = parts == ("evaluate",) or parts[0] == "api"
            assert allowed, f"{path} imports {name}: only gshn.api and the command gshn.evaluate may"


@pytest.mark.parametrize("path", sorted((ROOT / "neuromorphic").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_neuromorphic_takes_the_model_only_in_export_and_profiling(path: Path) -> None:
    # lava_dl: gshn trains with lava-dl's rounding and must not import neuromorphic for the mend that needs.
    light = {"gshn.errors", "gshn.files", "gshn.cli", "gshn.figures", "gshn.lava_dl"}
    heavy = {name for name in imports(path) if name.split(".")[0] in ("gshn", "torch")} - light
    if heavy:
        # The PyTorch back end is imported only where it is chosen; the rest runs without PyTorch.
        back_end = path.name == "torch_simulator.py" and heavy <= {
            "torch",
            "torch.nn.functional",
            "gshn.neurons",
            "gshn.neurons.lif",
        }
        allowed = path.parent.name in ("export", "profiling") or path.name == "profile.py"
        assert allowed or back_end, f"{path} imports {sorted(heavy)}; only export/ and profiling/ may"
