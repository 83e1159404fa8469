"""Completion for shells, made by shtab of the commands' own parsers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from neuromorphic.cli import CommandParser
from neuromorphic.errors import ArgumentError, PackagesMissingError


class _ParserBuilt(Exception):
    """A command has built its parser, and is about to parse."""


def parser_of(main: Callable[[], None]) -> CommandParser:
    """The parser that a command's ``main`` builds; nothing is parsed or run.

    Raises:
        TypeError: ``main`` parses no arguments.
    """

    def stop(parser: CommandParser, *_: object, **__: object) -> NoReturn:
        raise _ParserBuilt(parser)

    names = ("parse_known_args", "parse_known_intermixed_args")  # what all others of argparse call
    before = {name: vars(CommandParser).get(name) for name in names}
    for name in names:
        setattr(CommandParser, name, stop)
    try:
        main()
    except _ParserBuilt as built:
        parser: CommandParser = built.args[0]
        return parser
    finally:
        for name, method in before.items():
            if method is None:
                delattr(CommandParser, name)
            else:
                setattr(CommandParser, name, method)
    raise TypeError(f"{main.__module__} parses no arguments")


def completion_script(package: str, commands: Mapping[str, str], shell: str) -> str:
    """What a shell has to read to complete a console script's commands, options, choices and files.

    Args:
        package: Name of the package, and of the script.
        commands: What each command does, by name of its module.
        shell: One that shtab knows: bash, zsh, ...

    Raises:
        ArgumentError: shtab does not know the shell.
        PackagesMissingError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise PackagesMissingError("completion needs a package: pip install shtab") from None
    if shell not in shtab.SUPPORTED_SHELLS:
        known = ", ".join(shtab.SUPPORTED_SHELLS)
        raise ArgumentError(f"--print-completion is '{shell}': choose one of {known}")
    whole = argparse.ArgumentParser(package)
    parsers = whole.add_subparsers()
    for name, what in commands.items():
        parser = parser_of(import_module(f"{package}.{name}").main)
        for action in parser._actions:
            if action.metavar == "DIR":
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            elif action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            if action.choices is not None:
                # Of NAME[:WHAT] the name: a shell would take brackets for a pattern.
                action.choices = [str(choice).partition("[")[0] for choice in action.choices]
        parsers.add_parser(name, help=what, parents=[parser], add_help=False)
    return str(shtab.complete(whole, shell))
