"""NIR files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nir

from gshn.files import make_folder
from neuromorphic.errors import NIRFileError


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
