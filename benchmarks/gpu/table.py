"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _lines(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    body = ["| " + " | ".join(_number(value) for value in row) + " |" for row in rows]
    return ["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |", *body, ""]


def table(report: Row) -> str:
    """All sections."""
    lines = [f"`{report['command']}`, {_number(report.get('seconds'))} s", ""]
    lines += [", ".join(f"{key} {_number(value)}" for key, value in report["environment"].items()), ""]
    sections = report["sections"]
    rows = {name: [row for row in own["rows"] if "error" not in row] for name, own in sections.items()}
    if "lif" in rows:
        lines += neurons(rows["lif"])
    for name in ("training", "inference", "vision", "scenes"):
        if rows.get(name):
            lines += [f"## {name}", "", *images(rows[name])]
    failed = [f"- {name}: {own['error']}" for name, own in sections.items() if own["error"]]
    everything = [*report.get("compiled", []), *(row for own in sections.values() for row in own["rows"])]
    failed += [f"- {_key(row)}: {row['error']}" for row in everything if "error" in row]
    return "\n".join([*lines, *(["## What failed", "", *failed, ""] if failed else [])])


def _key(row: Row) -> str:
    return ", ".join(f"{key} {row[key]}" for key in ("what", "subject", "variant", "size", "batch") if key in row)


def neurons(rows: Sequence[Row]) -> list[str]:
    """LIF: one table a size."""
    lines: list[str] = []
    for size in sorted({tuple(row["size"]) for row in rows if "size" in row}, key=lambda s: s[1]):
        own = [row for row in rows if row.get("size") == list(size)]
        by = {(row["what"], row.get("cache"), row.get("subject")): row for row in own}
        lines += [f"## LIF {list(size)}", ""]
        for cache in ("warm", "cold"):
            bound = by.get(("lif, bound", cache, None))
            if bound is not None:
                taken, rate = _number(bound["milliseconds"]), _number(bound["gigabytes_per_second"])
                lines += [f"bound, {cache}: {taken} ms ({rate} GB/s)", ""]
        found = []
        for subject in dict.fromkeys(row["subject"] for row in own if row["what"] == "lif, eager"):
            eager, one = by["lif, eager", None, subject], by.get(("lif, eager, one", None, subject), {})
            warm, cold = (by.get(("lif, graph", cache, subject), {}) for cache in ("warm", "cold"))
            checked = by.get(("lif, compared with the CPU", None, subject), {})
            timed = [one.get("milliseconds"), eager["milliseconds"], eager["over_bound"]]
            timed += [own.get(key) for own in (warm, cold) for key in ("milliseconds", "over_bound")]
            keys = ("spikes_that_differ", "largest_gradient_error", "peak_mib_above_inputs")
            found.append([subject, *timed, *(checked.get(key) for key in keys)])
        header = ("forward + backward", "eager, one, ms", "eager, ms", "x bound", "graph, ms", "x bound")
        header += ("graph, cold, ms", "x bound", "spikes unlike the CPU's", "gradient error", "peak MiB")
        lines += _lines(header, found)
        alone = [[row["subject"], row["milliseconds"]] for row in own if row["what"] == "lif, kernel"]
        lines += _lines(("kernel alone", "ms"), alone) if alone else []
    return lines


def images(rows: Sequence[Row]) -> list[str]:
    """Images per second, one row a measurement."""
    keys = ("variant", "batch", "image_size", "images_per_second", "images_per_second_with_making_batches",
            "joules_per_image", "watts", "peak_mib", "nodes_per_image", "parameters")  # fmt: skip
    used = [key for key in keys if any(key in row for row in rows)]
    plain = [row for row in rows if "modelled_joules_per_image" not in row]
    found = [[row["what"], *(row.get(key) for key in used)] for row in plain]
    lines = _lines(("what", *(key.replace("_", " ") for key in used)), found)
    for row in rows:
        if "modelled_joules_per_image" in row:
            models = [[name, *own.values()] for name, own in row["modelled_joules_per_image"].items()]
            lines += [f"modelled, {row['variant']}, firing rate {row['firing_rate']:.3f}", ""]
            lines += _lines(("energy model", "joules an image, low", "high"), models)
    return lines
