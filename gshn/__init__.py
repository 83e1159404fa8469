"""Graph Spiking Hybrid Network (GSHN, arXiv:2501.19069) for vision-language alignment.

Data flow, which is also the import order of the folders:

``data`` (images, cut into ``segments``) -> ``graphs`` -> ``encoders`` (with ``neurons``) -> ``losses`` -> ``model`` ->
``inference`` -> ``training`` -> ``evaluation``; ``python -m gshn.train`` and ``python -m gshn.evaluate`` are the entry
points.
"""

import sys

__version__ = "0.1.0"

if sys.argv[0] == "-m":  # As it is only while `python -m gshn.train` imports this package, before the command's module.
    from functools import partial

    from gshn.cli import run_command
    from neuromorphic.requirements import require_extra

    run_command(partial(require_extra, "train"))
