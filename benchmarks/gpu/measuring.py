"""What the sections share: where they run, rows, time, memory and energy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch


@dataclass
class Bench:
    """A section's run.

    Attributes:
        device: ``cuda`` or ``cpu``.
        quick: Small sizes: figures mean nothing.
        work: Folder that sections share: the scenes' cache, checkpoints.
        rows: File that rows are appended to.
        wheels: Folder of SpikingJelly's other versions.
        ends: When the section's time is up, by ``time.monotonic``.
    """

    device: str
    quick: bool
    work: Path
    rows: Path
    wheels: Path | None
    ends: float
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that the section has left."""
        return self.ends - time.monotonic()

    def row(self, **row: Any) -> None:
        """Write a row, at once: what is measured outlives a section that fails later."""
        row["at"] = round(time.monotonic() - self.started, 1)
        with self.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def attempt(self, call: Callable[[], dict[str, Any]], **key: Any) -> bool:
        """Write what a call gives, or its error; whether it went well."""
        try:
            self.row(**key, **call())
            return True
        except Exception as error:  # whatever it is: the others are still to be measured
            reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else ""
            self.row(**key, error=f"{type(error).__name__}: {reason}")
            return False
        finally:
            self.free()

    def free(self) -> None:
        """Give cached memory back."""
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def wait(self) -> None:
        """Until the GPU is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    @property
    def peak_mib(self) -> float | None:
        """Largest memory since :meth:`free`, MiB."""
        return round(torch.cuda.max_memory_allocated() / 2**20, 1) if self.device == "cuda" else None

    @cached_property
    def _nvml(self) -> Any:
        if self.device != "cuda":
            return None
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except Exception as error:  # no such package, no such counter
            self.row(what="energy", error=f"{type(error).__name__}: {error}")
            return None
        return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3

    def joules(self) -> float | None:
        """The GPU's energy counter, or None without one."""
        return self._nvml() if self._nvml is not None else None

    def throughput(self, call: Callable[[], object], images: int, seconds: float, warm: int = 3) -> dict[str, Any]:
        """Repeat a call on ``images`` images: images/s, the GPU's joules an image, largest memory."""
        if self.quick:
            seconds, warm = 0.0, 1
        for _ in range(warm):
            call()
        self.wait()
        energy, begun, calls = self.joules(), time.perf_counter(), 0
        while calls < 3 or time.perf_counter() - begun < seconds:
            call()
            calls += 1
            if calls % 4 == 0:  # else launches run ahead of the clock
                self.wait()
        self.wait()
        spent, used = time.perf_counter() - begun, self.joules()
        return {
            "images_per_second": round(calls * images / spent, 1),
            "milliseconds": round(1e3 * spent / calls, 3),
            "calls": calls,
            "joules_per_image": None if energy is None or used is None else (used - energy) / (calls * images),
            "watts": None if energy is None or used is None else round((used - energy) / spent, 1),
            "peak_mib": self.peak_mib,
        }
