"""What all commands share: arguments, and errors as one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from gshn.errors import ConfigError, GSHNError


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all other errors of the commands."""

    def error(self, message: str) -> NoReturn:
        """Raise the error instead of printing the usage."""
        raise ConfigError(f"{message}; {self.prog} --help lists the arguments")


def run_command(main: Callable[[], None]) -> None:
    """Run a command's ``main``; print a :class:`GSHNError` as one line and exit with status 2.

    Ctrl-C exits with status 130, the shell's convention, after one line.
    """
    try:
        main()
    except GSHNError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
