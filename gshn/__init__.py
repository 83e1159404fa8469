"""Graph Spiking Hybrid Network (GSHN, arXiv:2501.19069) for vision-language alignment.

Data flow, which is also the import order of the folders:

``data`` (images, cut into ``segments``) -> ``graphs`` -> ``encoders`` (with ``neurons``) -> ``losses`` -> ``model`` ->
``inference`` -> ``training`` -> ``evaluation``, and ``export`` and ``profiling`` of what was trained, by the package
``neuromorphic``, which this one is built on; ``python -m gshn.train`` and ``python -m gshn.evaluate`` are the entry
points.
"""

__version__ = "0.1.0"
