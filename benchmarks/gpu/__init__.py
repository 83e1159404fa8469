"""Measurements on one NVIDIA GPU: ``benchmarks/gpu.sh``."""
