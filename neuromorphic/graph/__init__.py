"""NIR graphs made flat, shaped and checked: what every simulator and the compiler start from.

``model`` says what a graph is and means. ``flattening`` makes one of a ``nir.NIRGraph``: ``nested`` takes graphs within
graphs apart, ``times`` finds dt, ``shapes`` the shapes along the edges, ``parameters`` checks each node, ``order`` says
what is updated when.
"""

from neuromorphic.graph.flattening import flatten
from neuromorphic.graph.model import RESET_BY_SUBTRACTION, RESET_TO_V_RESET, RESETS, Floats, Graph, Node, Shape
from neuromorphic.graph.times import time_step

__all__ = [
    "RESETS",
    "RESET_BY_SUBTRACTION",
    "RESET_TO_V_RESET",
    "Floats",
    "Graph",
    "Node",
    "Shape",
    "flatten",
    "time_step",
]
