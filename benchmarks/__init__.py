"""Measurements beside what they are held to: ``python -m benchmarks``, or one as ``python -m benchmarks.NAME``."""
