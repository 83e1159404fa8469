"""Networks as C99: a file and header for devices, and the same code compiled as a shared library, a fast simulator.

``plan`` (what the C has to hold: types, forms of weights) -> ``source`` (its text) -> ``library`` (compiled and run)
and ``export`` (a folder). What is computed is that of :mod:`neuromorphic.execution.populations`, bit for bit.
"""
