"""Measurements beside what they are held to; each is run as ``python -m benchmarks.NAME``."""
