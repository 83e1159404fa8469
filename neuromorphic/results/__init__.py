"""What the methods of :class:`neuromorphic.SpikingNetwork` return: runs, comparisons, conversions and profiles.

Each has a ``repr`` of one line, tables for notebooks and the terminal, and a ``report()`` of plain JSON types.
"""
