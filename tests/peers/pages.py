"""Makes docs/results/conformance.json and .md, and the tables of docs/conformance.md, of what test-peers measured.

python tests/peers/pages.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
MEASURED = ROOT / ".venv-peers"
COMMITTED = ROOT / "docs" / "results" / "conformance.json"
ALL = ROOT / "docs" / "results" / "conformance.md"
PAGE = ROOT / "docs" / "conformance.md"
OWN = {
    "reference": ["--simulator", "numpy"],
    "torch": ["--simulator", "torch"],
    "lava": ["--simulator", "lava"],
    "c": ["--simulator", "c"],
    "fixed": ["--simulator", "numpy", "--precision", "fixed"],
}
"""Our own back ends, and how they are asked."""
TITLES = {
    "reference": "reference",
    "torch": "torch",
    "lava": "Lava",
    "c": "C",
    "fixed": "integers",
    "snntorch": "snnTorch",
    "norse": "Norse",
    "sinabs": "Sinabs",
    "spikingjelly": "SpikingJelly",
}
WITNESSES = {
    "registers": "random registers: any decays, exponents 0 to 6, loops; with brian2-loihi also delays",
    "compiled": "NIR graphs (CubaLIF, LIF, a loop) as `check` compiles them for a chip",
    "saturated": "potentials that stay at their limit, currents that wrap around",
    "negative": "weight exponents of -3 and -5",
    "overflow": "registers that are left, sums of more than 21 bits among them",
    "compiled beyond 21 bits": "compiled NIR graphs whose synaptic sums take more than 21 bits",
}
EMULATORS = {"brian2": "brian2-loihi", "nengo": "nengo-loihi"}


def measured_file(name: str) -> Path:
    """Where a simulator's result is left."""
    return MEASURED / f"conformance-{name}.json"


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def first(verdict: dict[str, Any]) -> str:
    """A verdict in a few words."""
    if verdict["verdict"] == "agrees":
        return "="
    if "message" in verdict:
        return f"fails: {verdict['message'][:70]}".replace("|", "/")
    own = verdict["first_difference"]
    return f"step {own['step']}, neuron {own['neuron']}: {own['expected']:.4g}, got {own['got']:.4g}"


def marked(text: str, name: str, lines: list[str]) -> str:
    """A page with the lines between its marks of that name."""
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end of {re.escape(name)} -->)", re.DOTALL)
    assert pattern.search(text), f"no marks for {name}"
    return pattern.sub(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], text)


def main() -> None:
    reports = {name: json.loads(measured_file(name).read_text()) for name in TITLES if measured_file(name).exists()}
    told = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    for name, report in reports.items():
        told[name] = {
            "agree": report["agree"],
            "cases": report["cases"],
            "versions": report["versions"],
            "verdicts": {verdict["name"]: verdict["verdict"] for verdict in report["verdicts"]},
        }
    COMMITTED.write_text(json.dumps(told, indent=1) + "\n")

    page = PAGE.read_text()
    families = list(next(iter(reports.values()))["families"])
    table = [row("graphs", *(TITLES[name] for name in reports)), row(*["---"] * (1 + len(reports)))]
    for family in families:
        cells = []
        for report in reports.values():
            own = report["families"][family]
            cells.append(f"{own['agrees']} of {sum(own.values())}")
        table.append(row(family, *cells))
    table.append(row("all", *(f"{report['agree']} of {report['cases']}" for report in reports.values())))
    page = marked(page, "python tests/peers/pages.py", table)
    if (MEASURED / "loihi.json").exists():
        found = json.loads((MEASURED / "loihi.json").read_text())
        lines = [row("networks", "emulator", "how many", "spikes that differ", "potentials that differ", "cells")]
        lines.append(row(*["---"] * 6))
        for key, words in WITNESSES.items():
            for emulator, title in EMULATORS.items():
                if (own := found.get(f"{key}/{emulator}")) is not None:
                    figures = (f"{own[k]:,}" for k in ("networks", "spikes", "potentials", "cells"))
                    lines.append(row(words, title, *figures))
        page = marked(page, "python tests/peers/pages.py, Loihi", lines)
    PAGE.write_text(page)

    by_name = {name: {v["name"]: v for v in report["verdicts"]} for name, report in reports.items()}
    lines = ["# Golden graphs, one by one", ""]
    lines += [
        "Made by `python tests/peers/pages.py`; [conformance.md](../conformance.md) says what this is. `=`: agrees."
    ]
    lines += ["Graphs in which all agree are left out.", ""]
    lines += [row("graph", "about", *(TITLES[name] for name in reports)), row(*["---"] * (2 + len(reports)))]
    for name, verdict in next(iter(by_name.values())).items():
        cells = [first(own[name]) if name in own else "" for own in by_name.values()]
        if set(cells) - {"=", ""}:
            lines.append(row(f"`{name}`", verdict["about"], *cells))
    ALL.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
