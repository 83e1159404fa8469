"""The command ``neuromorphic``: all commands of this package by their names, ``neuromorphic run`` say."""

from __future__ import annotations

from neuromorphic.cli import run_command, run_subcommand

COMMANDS = {
    "run": "run a NIR file on a back end: spikes, outputs, operations",
    "verify": "the same input on two back ends: where they differ, and why",
    "check": "convert a NIR file for a chip: parameters, cores, limits",
    "conformance": "golden graphs on a simulator, ours or yours: what agrees, and the first difference",
    "profile": "spikes, operations and energy of a NIR file, or of a checkpoint",
    "export": "run a NIR file or a checkpoint on Lava and write all of it; write either as NIR, a NIR file as C",
    "doctor": "what is installed, what is missing, and how to install it",
}


def main() -> None:
    """Run the command that the first argument names."""
    run_subcommand("neuromorphic", COMMANDS)


def script() -> None:
    """The console script."""
    run_command(main)


if __name__ == "__main__":
    script()
