"""NIR files, and what they say beside NIR's own fields: the time step and the reset rule."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nir

from gshn.files import make_folder
from neuromorphic.errors import NIRFileError, UnsupportedGraphError

RESET_TO_V_RESET = "zero"
"""Value of the metadata key ``reset``: the membrane becomes v_reset in the step of the spike (not: loses v_threshold).

NIR has no field for it, nor for dt: both stand in the metadata of the graph and of each LIF node.
"""


def write_nir(path: Path, graph: nir.NIRGraph) -> None:
    """Write a graph under a temporary name, then rename it: readers never see a part of it.

    Raises:
        GSHNError: the folder cannot be written to.
    """
    make_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        nir.write(temporary, graph)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_nir(path: Path) -> nir.NIRGraph:
    """Read a graph.

    Raises:
        NIRFileError: there is no such file, or it is no NIR graph.
    """
    if not path.is_file():
        raise NIRFileError(f"NIR file {path} does not exist")
    try:
        graph = nir.read(str(path))
    except Exception as error:  # h5py and nir raise nearly everything, AssertionError included, on broken files.
        reason = " ".join(str(error).split())[:200]
        raise NIRFileError(f"{path} is no NIR graph ({type(error).__name__}: {reason}); export it again") from error
    if not isinstance(graph, nir.NIRGraph):
        raise NIRFileError(f"{path} holds a single {type(graph).__name__} node, not a NIR graph; export it again")
    return graph


def time_step(graph: nir.NIRGraph) -> float:
    """The graph's dt in seconds, from its metadata.

    Raises:
        UnsupportedGraphError: the metadata have no usable dt.
    """
    try:
        dt = float(graph.metadata["dt"])
    except (KeyError, TypeError, ValueError):
        raise UnsupportedGraphError("the NIR graph does not say its time step: metadata 'dt' in seconds") from None
    if not 0 < dt < float("inf"):
        raise UnsupportedGraphError(f"the NIR graph's time step must be positive and finite, got dt={dt}")
    return dt
