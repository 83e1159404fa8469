"""SpikingJelly's back ends, each in the version that has it, in one process.

2.0.0 has Triton kernels and CUDA kernels that are compiled from its source; 0.0.0.0.14 is the last with CuPy.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

CUPY_WHEEL = "spikingjelly-0.0.0.0.14-py3-none-any.whl"
SOURCE = "spikingjelly-2.0.0.tar.gz"

Call = Callable[[Tensor], Tensor]


def compile_cuda(wheels: Path) -> str:
    """Compile 2.0.0's CUDA kernels of LIF neurons, as its own setup does, into the installed package."""
    package = Path(importlib.import_module("spikingjelly").__file__ or "").parent
    target = package / "_ops" / "lif"
    if list(target.glob("_C*.so")):
        return "there already"
    major, minor = torch.cuda.get_device_capability()
    environment = {**os.environ, "SJ_BUILD_NATIVE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": f"{major}.{minor}"}
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(wheels / SOURCE) as archive:
            archive.extractall(folder, filter="data")
        (source,) = Path(folder).iterdir()
        for other in (source / "ops").glob("*/native.cu"):
            if other.parent.name != "lif":
                other.unlink()
        command = [sys.executable, "setup.py", "build_ext", "--build-lib", "built"]
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError("compilation failed: " + " ".join(done.stderr.strip().splitlines()[-3:])[-280:])
        made = [path for path in (source / "built").rglob("*") if path.name.startswith(("_C", "_native_build"))]
        for path in made:
            shutil.copy(path, target)
    return ", ".join(sorted(path.name for path in made))


def _node(neuron: Any, surrogate: Any, **settings: Any) -> Any:
    return neuron.LIFNode(
        tau=2.0, decay_input=False, v_threshold=1.0, v_reset=0.0, detach_reset=True, step_mode="m",
        surrogate_function=surrogate.ATan(), **settings,
    )  # fmt: skip


def cupy_backend(wheels: Path, backend: str = "cupy") -> Call:
    """0.0.0.0.14's, out of its wheel; the modules of this version are taken out of Python's sight again."""
    wheel = wheels / CUPY_WHEEL
    if not wheel.is_file():
        raise FileNotFoundError(f"{wheel} is not there")
    if not hasattr(np, "int"):
        np.int = int  # noqa: NPY001 (this version was written for NumPy before 1.24)
    sys.path.insert(0, str(wheel))
    try:
        neuron = importlib.import_module("spikingjelly.activation_based.neuron")
        surrogate = importlib.import_module("spikingjelly.activation_based.surrogate")
    finally:
        sys.path.remove(str(wheel))
        for name in [name for name in sys.modules if name.split(".")[0] == "spikingjelly"]:
            del sys.modules[name]
    node = _node(neuron, surrogate, backend=backend)

    def call(x: Tensor) -> Tensor:
        node.reset()
        return node(x)

    return call


def current_backend(name: str) -> Call:
    """2.0.0's: ``triton``, ``cuda`` or ``torch``; anything on a CPU is its reference.

    Raises:
        RuntimeError: it cannot be had here; the message says why.
    """
    from spikingjelly._ops import lif
    from spikingjelly.activation_based import neuron, surrogate

    node = _node(neuron, surrogate)
    selection, chosen = lif._selection, None
    if torch.cuda.is_available():
        selection._requested = name
        chosen = selection._select(0)

    def call(x: Tensor) -> Tensor:
        if chosen is not None:
            selection._selections[0] = chosen
        node.reset()
        return node(x)

    return call
