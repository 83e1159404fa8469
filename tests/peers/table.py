"""Prints the tables of docs/peers.md from what ``make test-peers`` measured.

python tests/peers/table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cases import CASES, READERS

MEASURED = Path(__file__).parent.parent.parent / ".venv-peers" / "agreement.json"
NAMES = {"snntorch": "snnTorch", "norse": "Norse", "sinabs": "Sinabs", "spikingjelly": "SpikingJelly"}


def agreement(row: dict[str, Any], key: str) -> str:
    """The share of equal cells; 100 % is said only of all."""
    if key not in row:
        return ""
    wrong, cells = row[key], row["cells"]
    return "100 %" if wrong == 0 else f"{min(100 * (1 - wrong / cells), 99.99):.2f} %"


def print_row(*cells: str) -> None:
    print("|", " | ".join(cells), "|")


def main() -> None:
    measured = json.loads(MEASURED.read_text())
    print_row("from", "network", "as exported", "with", "setting", "why")
    print_row(*["---"] * 6)
    for case in CASES:
        row = measured["made"][f"{case.peer}/{case.network}"]
        plain = agreement(row, "plain") or ("no file" if case.error else "refused")
        setting = case.best.words if case.best else ""
        print_row(NAMES[case.peer], f"`{case.network}`", plain, agreement(row, "best"), setting, case.why)
    print()
    print_row("read by", "encoder", "cells", "as exported", "with", "setting", "why")
    print_row(*["---"] * 7)
    for reader in READERS:
        for encoder in ("random", "trained"):
            row = measured["read"].get(f"{reader.peer}/{encoder}")
            if row is None:
                continue
            plain = agreement(row, "plain") or "refused"
            cells = [f"{row['cells']:,}", plain, agreement(row, "best"), reader.words, reader.why]
            print_row(NAMES[reader.peer], encoder, *cells)


if __name__ == "__main__":
    main()
