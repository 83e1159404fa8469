"""Measured energy, where the machine has a meter: NVIDIA's NVML, AMD's SMI and Intel's RAPL, read by Zeus."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Measurement:
    """Time and energy of one image.

    Attributes:
        seconds: Wall time.
        joules: By device; empty where there is no meter.
        meter: What read them, or why nothing did.
    """

    seconds: float
    joules: dict[str, float]
    meter: str


class Meter:
    """Measures calls; without a meter it measures time alone, and says why."""

    def __init__(self) -> None:
        self.monitor: Any = None
        try:
            from zeus.monitor import ZeusMonitor
        except ImportError:
            self.name = "none: zeus is not installed; pip install 'gshn[energy]'"
            return
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        monitor = ZeusMonitor(gpu_indices=devices)
        found = [f"gpu{i}" for i in monitor.gpu_indices] + [f"cpu{i}" for i in monitor.cpu_indices]
        if not found:
            self.name = (
                "none: there is no GPU, and the CPU's RAPL counters cannot be read (no such CPU, or no right to)"
            )
            return
        self.monitor, self.name = monitor, f"zeus: {', '.join(found)}"

    def measure(self, call: Callable[[], object], images: int, seconds: float = 2.0) -> Measurement:
        """Repeat a call on ``images`` images for ``seconds`` at least, after one that does not count."""
        call()
        if self.monitor is not None:
            self.monitor.begin_window("profile")
        begun, calls = time.perf_counter(), 0
        while calls == 0 or time.perf_counter() - begun < seconds:
            call()
            calls += 1
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent, joules = time.perf_counter() - begun, {}
        if self.monitor is not None:
            window = self.monitor.end_window("profile")
            joules = {f"gpu{i}": energy for i, energy in window.gpu_energy.items()}
            joules |= {f"cpu{i}": energy for i, energy in (window.cpu_energy or {}).items()}
            joules |= {f"dram{i}": energy for i, energy in (window.dram_energy or {}).items()}
        count = calls * images
        return Measurement(spent / count, {device: energy / count for device, energy in joules.items()}, self.name)
