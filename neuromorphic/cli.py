"""What all commands share: arguments, errors as one line, and what to type next."""

from __future__ import annotations

import argparse
import errno
import io
import math
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any, NoReturn

from neuromorphic.errors import ArgumentError, UserError, UserNotice

MARKUP = re.compile(r":\w+:`~?([^`<]+)`|``([^`]+)``")
"""What docstrings mark up: roles and code."""


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all other errors of the commands.

    Options are written in full: a beginning of one (``--out`` for ``--outputs``) is no option.

    ``prog`` is that of ``python -m``; a command that was called by its console script shows that one's name. Texts are
    shown as they are laid out, without the markup of docstrings.
    """

    def __init__(self, prog: str | None = None, description: str | None = None, **options: Any) -> None:
        if prog is not None and prog == f"python -m {sys.argv[0].replace(' ', '.')}":
            prog = sys.argv[0]
        description = description and MARKUP.sub(lambda match: match[1] or match[2], description)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(prog=prog, description=description, **options)
        self._given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it; the arguments are kept for :meth:`error`."""
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def parse_known_intermixed_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The same, where options and positional arguments are mixed."""
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_intermixed_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise an error instead of printing the usage.

        Options that do not exist are named first: what argparse finds missing may be what one of them was to be.

        Raises:
            ArgumentError: always.
        """
        options = self._option_string_actions
        given = self._given[: self._given.index("--")] if "--" in self._given else self._given
        for word in given:
            name = word.partition("=")[0]
            if name.startswith("--") and " " not in word and name not in options:
                meant = " or ".join(option for option in options if option.startswith(name))
                message = f"there is no option {name}" + (f"; did you mean {meant}?" if meant else "")
                break
        raise ArgumentError(f"{message}; {self.prog} --help lists the arguments")


def seconds(text: str) -> float:
    """Convert an argument to seconds, positive and finite.

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive, finite number of seconds, got '{text}'")
    return value


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Make a converter for arguments that are whole numbers from ``least`` to ``most``, both included.

    The converter raises an argparse.ArgumentTypeError for anything else, which argparse reports.
    """

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"must be a whole number {bounds}, got '{text}'")
        return value

    return number


def print_next(*commands: Sequence[object]) -> None:
    """Print what to type next, as the last lines of long work.

    Args:
        commands: Commands by their words, the first ``python -m``'s module.
    """
    for position, (module, *arguments) in enumerate(commands):
        words = shlex.join(["python", "-m", str(module), *map(str, arguments)])
        print(f"{'next:' if position == 0 else '':<12}{words}")


def run_subcommand(package: str, commands: Mapping[str, str]) -> None:
    """What a console script does: run the command that its first argument names, a module of the package.

    Args:
        package: Name of the package, and of the script.
        commands: What each command does, by name of its module.

    Raises:
        ArgumentError: there is no such command.
    """
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        width = max(map(len, commands))
        listing = "\n".join(f"  {key:<{width}}  {what}" for key, what in commands.items())
        print(f"usage: {package} COMMAND ...\n\n{listing}\n\n{package} COMMAND --help says more; it is the same as")
        print(f"python -m {package}.COMMAND. {package} --print-completion bash|zsh|... is a script for that shell.")
        return
    if name == "--print-completion":
        from neuromorphic.completion import completion_script

        print(completion_script(package, commands, "".join(rest[:1])))
        return
    if name == "--version":
        print(version("gshn"))
        return
    if name not in commands:
        raise ArgumentError(f"'{name}' is not a command; choose one of {', '.join(commands)}")
    sys.argv = [f"{package} {name}", *rest]
    import_module(f"{package}.{name}").main()


def run_command(main: Callable[[], None]) -> None:
    """Run a command's ``main``; print a :class:`UserError` as one line and exit with status 2.

    Lack of memory, and errors of the system (a file name that is too long, for one), are one line and status 2, too. A
    :class:`UserNotice` is one line. Ctrl-C exits with status 130, the shell's convention, after one line.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A path may hold what no encoding has; it must not end a command.
            stream.reconfigure(errors="backslashreplace")
    show = warnings.showwarning

    def show_notice(message: Warning | str, category: type[Warning], *rest: Any, **options: Any) -> None:
        if issubclass(category, UserNotice):
            print(f"note: {' '.join(str(message).split())}", file=sys.stderr)
        else:
            show(message, category, *rest, **options)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserNotice)
            warnings.showwarning = show_notice
            main()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except MemoryError as error:
        print(f"error: there is not memory enough ({' '.join(str(error).split())}); ask for less", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        mend = "; make room, or let TMPDIR name another place for temporary files" if full else ""
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}{mend}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
