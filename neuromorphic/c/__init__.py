"""Networks as C99: source and header for devices, and the same code in a shared library, as a fast simulator.

``plan`` (number types, forms of weight matrices) -> ``source`` (text of the C) -> ``library`` (compiles and runs it)
and ``export`` (writes it to a folder). Results equal those of :mod:`neuromorphic.execution.populations`, bit for bit.
"""
