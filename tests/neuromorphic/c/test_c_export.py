"""What is exported compiles everywhere without a warning, and its own test program finds nothing."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from random_graphs import random_graph
from scenarios import DT, chain, lif

import neuromorphic
from neuromorphic import export
from neuromorphic.c.export import STRICT
from neuromorphic.errors import ArgumentError, UnsupportedGraphError, UserNotice
from neuromorphic.nir_file import write_nir

COMPILERS = [pytest.param(cc, marks=pytest.mark.skipif(not shutil.which(cc), reason=f"there is no {cc}"))
             for cc in ("gcc", "clang")]  # fmt: skip
SSE = ["-msse2", "-mfpmath=sse"]
OTHER_MACHINES = {
    "gcc -m32": (["gcc", "-m32", *SSE], ([],)),
    "32-bit x86": (["i686-linux-gnu-gcc", "-static", *SSE], ([], ["qemu-i386"])),
    "32-bit x86, clang": (["clang", "--target=i686-linux-gnu", "-static", *SSE], ([], ["qemu-i386"])),
    "Arm": (["arm-linux-gnueabihf-gcc", "-static"], (["qemu-arm"],)),
}
"""Compilers for other machines than this one, and the ways to run their programs here, of which the first that can is
taken. docs/c.md names the packages."""
CORTEX_M4 = "arm-none-eabi-gcc"
DOC = Path(__file__).parents[3] / "docs/c.md"


def image_graph() -> nir.NIRGraph:
    """Convolution with padding, pooling, reset by subtraction, a delay in a loop, a graded output, odd names."""
    random = np.random.default_rng(0)

    def neuron(shape: tuple[int, ...], **metadata: str) -> nir.LIF:
        one = np.ones(shape)
        return nir.LIF(3 * DT * one, 1.5 * one, 0.1 * one, 0.5 * one, -0.1 * one, metadata=metadata)

    nodes = {
        "input 1": nir.Input(np.array([2, 8, 8])),
        "conv/1 */": nir.Conv2d((8, 8), random.normal(0.1, 0.4, (3, 2, 3, 3)), 1, 1, 1, 1, np.full(3, 0.1)),
        "lif": neuron((3, 8, 8), reset="subtract"),
        "pool": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten({"input": np.array([3, 4, 4])}, 0, -1),
        "fc": nir.Affine(random.normal(0.1, 0.5, (70, 48)), random.normal(0, 0.2, 70)),
        "LIF": neuron((70,)),
        "out": nir.Linear(random.normal(0, 1, (4, 70))),
        "li": nir.CubaLI(*(k * DT * np.ones(4) for k in (2, 3)), np.ones(4), np.zeros(4), w_in=np.ones(4)),
        "output": nir.Output(np.array([4])),
    }
    edges = [*pairwise(nodes), ("LIF", "late"), ("late", "LIF"), ("LIF", "spikes")]
    nodes |= {"late": nir.Delay(DT * np.resize([1.0, 3.0, 12.0], 70)), "spikes": nir.Output(np.array([70]))}
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False)


def build(cc: list[str], folder: Path, name: str, runner: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Compile, and run the test program."""
    made = [*cc, *STRICT, f"{name}.c", f"{name}_test.c", "-o", "test"]
    compiled = subprocess.run(made, cwd=folder, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr
    return subprocess.run([*(runner or []), "./test"], cwd=folder, capture_output=True, text=True, check=False)


@cache
def runner_of(machine: str) -> list[str] | None:
    """What runs programs for another machine here; None where they cannot be compiled or run."""
    cc, runners = OTHER_MACHINES[machine]
    with tempfile.TemporaryDirectory() as folder:
        hello, made = Path(folder) / "hello.c", str(Path(folder) / "hello")
        hello.write_text('#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\n')
        for command in ([*cc, str(hello), "-o", made], *([*runner, made] for runner in runners)):
            try:
                done = subprocess.run(command, capture_output=True, check=False).returncode == 0
            except OSError:
                done = False
            if command[0] == cc[0] and not done:
                return None
            if command[0] != cc[0] and done:
                return command[:-1]
    return None


@pytest.fixture(scope="module", params=["fixed", "float"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of :func:`image_graph`."""
    folder = tmp_path_factory.mktemp(request.param)
    net = neuromorphic.load(image_graph())
    x = np.random.default_rng(1).normal(0.3, 1, (2, 30, 2, 8, 8))
    made = net.export(folder, x, request.param, to="c")
    assert json.loads((folder / "report.json").read_text()) == made.report() and "bytes" in repr(made)
    return folder


@pytest.mark.parametrize("cc", COMPILERS)
def test_it_compiles_without_warnings_and_its_test_finds_nothing(cc: str, exported: Path) -> None:
    ran = build([cc, "-O1"], exported, "nir_graph")
    assert ran.returncode == 0 and re.search(r"30 steps, 0 of \d+ numbers differ", ran.stdout)


@pytest.mark.parametrize("machine", OTHER_MACHINES)
def test_another_machine_finds_nothing_either(machine: str, exported: Path) -> None:
    if (runner := runner_of(machine)) is None:
        pytest.skip(f"{machine}: there is no compiler, or nothing that runs what it makes")
    ran = build(OTHER_MACHINES[machine][0], exported, "nir_graph", runner)
    assert ran.returncode == 0 and re.search(r"30 steps, 0 of \d+ numbers differ", ran.stdout)


@pytest.mark.skipif(not shutil.which(CORTEX_M4), reason=f"there is no {CORTEX_M4}")
def test_it_compiles_for_a_microcontroller(exported: Path, tmp_path: Path) -> None:
    """Nothing here runs it: qemu-arm runs programs of Linux."""
    options = ["-mcpu=cortex-m4", "-mthumb", "-Os", "--specs=rdimon.specs", *STRICT]
    made = [CORTEX_M4, *options, "nir_graph.c", "nir_graph_test.c", "-o", str(tmp_path / "test.elf")]
    compiled = subprocess.run(made, cwd=exported, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr


@pytest.mark.parametrize("cc", COMPILERS[:1])
def test_nothing_is_undefined(cc: str, exported: Path) -> None:
    ran = build([cc, "-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"], exported, "nir_graph")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("cc", COMPILERS[:1])
def test_its_test_finds_another_weight(cc: str, exported: Path, tmp_path: Path) -> None:
    for file in exported.glob("nir_graph*"):
        shutil.copy(file, tmp_path)
    source = (tmp_path / "nir_graph.c").read_text()
    changed, count = re.subn(r"(w0\[\d+\] = \{\n)(-?)", lambda m: m[1] + ("" if m[2] else "-"), source, count=1)
    assert count == 1
    (tmp_path / "nir_graph.c").write_text(changed)
    ran = build([cc, "-O1"], tmp_path, "nir_graph")
    assert ran.returncode == 1 and not re.search(r", 0 of", ran.stdout)


@pytest.mark.parametrize("cc", COMPILERS[:1])
def test_the_report_says_what_compilers_say(cc: str, exported: Path) -> None:
    report = json.loads((exported / "report.json").read_text())
    sizes = '#include "nir_graph.h"\n#include <stdio.h>\n'
    sizes += 'int main(void) { printf("%lu", (unsigned long)sizeof(nir_graph_state)); return 0; }'
    (exported / "size.c").write_text(sizes)
    subprocess.run([cc, "-std=c99", "size.c", "-o", "size"], cwd=exported, check=True)
    said = subprocess.run(["./size"], cwd=exported, capture_output=True, text=True, check=True).stdout
    assert int(said) == report["bytes"]["state"]
    subprocess.run([cc, "-std=c99", "-Os", "-c", "nir_graph.c"], cwd=exported, check=True)
    listed = subprocess.run(
        ["size", "-A", "nir_graph.o"], cwd=exported, capture_output=True, text=True, check=True
    ).stdout
    constants = sum(map(int, re.findall(r"^\.rodata\S*\s+(\d+)", listed, re.MULTILINE)))
    assert 0 <= constants - report["bytes"]["constants"] <= 200 + 64 * listing_count(exported)  # alignment, and tables
    forms = {(w["from"], w["to"]): w["form"] for w in report["weights"]}
    assert forms["input 1", "lif"] == "stencil" and forms["LIF", "li"] == "dense"
    assert report["bytes"]["code"] > 500 and report["agreement"] > 0.9
    assert 0 < report["operations_per_step"]["synaptic"] <= report["operations_per_step"]["synaptic_at_most"]


def listing_count(folder: Path) -> int:
    """Arrays in a source."""
    return (folder / "nir_graph.c").read_text().count("static const")


def test_weights_take_a_byte_where_they_fit(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    net = neuromorphic.load(chain(nir.Linear(random.choice([-1.0, 0.5, 1.0], (20, 30))), lif(20)))
    made = net.export(tmp_path, (random.random((1, 20, 30)) < 0.3).astype(float), "fixed", to="c")
    assert [w["type"] for w in made.report()["weights"]] == ["int8"] and made.report()["inputs"]["input"][
        "type"
    ] == "int8"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    nir_graph, x = random_graph(seed)
    for precision in ("fixed", "float"):
        made = neuromorphic.load(nir_graph).export(tmp_path / precision, x, precision, to="c")  # type: ignore[call-overload]
        for cc in (["gcc", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"], ["clang"]):
            if shutil.which(cc[0]):
                ran = build(cc, tmp_path / precision, made.name)
                assert ran.returncode == 0, ran.stdout + ran.stderr
        for machine, (cc, _) in OTHER_MACHINES.items():
            if (runner := runner_of(machine)) is not None:
                ran = build(cc, tmp_path / precision, made.name, runner)
                assert ran.returncode == 0, machine + ran.stdout + ran.stderr


@pytest.mark.parametrize("cc", COMPILERS[:1])
def test_a_buffer_of_as_many_numbers_as_are_cleared_bytes(cc: str, tmp_path: Path) -> None:
    """Of which gcc warns in memset: 40 sums are there, and 5 of 8 bytes each are cleared."""
    nir_graph, x = random_graph(7)
    made = neuromorphic.load(nir_graph).export(tmp_path, x, "float", to="c")
    assert "[40];" in (tmp_path / f"{made.name}.h").read_text()
    ran = build([cc], tmp_path, made.name)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nir(tmp_path / "my-model.nir", random_graph(4)[0])
    arguments = ["export", "--to", "c", "--nir", str(tmp_path / "my-model.nir"), "--out", str(tmp_path / "c")]
    monkeypatch.setattr("sys.argv", [*arguments, "--precision", "fixed"])
    with pytest.warns(UserNotice, match="scales are chosen for random input"):
        export.main()
    assert sorted(f.name for f in (tmp_path / "c").iterdir()) == [
        "my_model.c", "my_model.h", "my_model_test.c", "report.json"
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert "bytes: code" in printed and "operations a step" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "runs/x"], "--to c takes a --nir file"),
        (["--nir", "model.nir", "--images", "3"], "--images goes with --checkpoint"),
    ],
)
def test_arguments_that_do_not_fit(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["export", "--to", "c", "--out", str(tmp_path), *arguments])
    with pytest.raises(ArgumentError, match=message):
        export.main()


def test_what_c_cannot_do_is_refused_at_export(tmp_path: Path) -> None:
    one = np.ones(2)
    fast = neuromorphic.load(chain(nir.Linear(np.eye(2)), nir.LIF(0.5 * DT * one, one, 0 * one, one, 0 * one)))
    with pytest.raises(UnsupportedGraphError, match="node 'lif_0': tau must be at least dt"):
        fast.export(tmp_path / "out", to="c")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ArgumentError, match="export 'rust' is unknown; choose one of lava, c"):
        fast.export(tmp_path / "out", to="rust")  # type: ignore[call-overload]


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_the_guide(tmp_path: Path) -> None:
    """The commands and the program in docs/c.md, as they are written."""
    text = DOC.read_text().split("## On a microcontroller")[1].split("\n## ")[0]
    program = re.findall(r"```c\n(.*?)```", text, re.DOTALL)[0]
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(commands) == 5
    write_nir(tmp_path / "model.nir", chain(nir.Linear(np.random.default_rng(0).normal(0, 2, (10, 12))), lif(10)))
    np.savez(tmp_path / "in.npz", input=np.random.default_rng(1).random((50, 12)) < 0.3)
    (tmp_path / "main.c").write_text(program)
    printed = []
    for command in commands:
        command = [sys.executable if word == "python" else word for word in command]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
        printed.append(ran.stdout)
    assert "0 of 1000 numbers differ" in printed[2] and printed[4].startswith("neuron ")
