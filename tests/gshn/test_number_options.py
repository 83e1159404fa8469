"""Every option of the commands that is a number, found on their parsers: nonsense is refused by the option's name."""

from __future__ import annotations

import importlib

import pytest

from neuromorphic.cli import CommandParser
from neuromorphic.errors import ArgumentError

NUMBERS = {
    "train": {"--seed"},
    "evaluate": {"--rerank"},
    "ablate": {"--seeds", "--jobs"},
    "preprocess": {"--image-size", "--limit", "--shard-size"},
    "segment": {"--image-size", "--steps", "--seed", "--limit", "--segments"},
    "explain": {"--index"},
}
NONSENSE = ("-1", "1.5", "nan", "inf", "", "1e3", "x", "9" * 40)


class Parsed(Exception):
    """Carries a command's parser out when it would parse."""


def parser_of(command: str, monkeypatch: pytest.MonkeyPatch) -> CommandParser:
    def stop(parser: CommandParser, *_: object) -> None:
        raise Parsed(parser)

    with monkeypatch.context() as patch, pytest.raises(Parsed) as parsed:
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(CommandParser, name, stop)
        importlib.import_module(f"gshn.{command}").main()
    parser: CommandParser = parsed.value.args[0]
    return parser


@pytest.mark.parametrize("command", NUMBERS)
def test_nonsense_is_refused_by_name(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = parser_of(command, monkeypatch)
    assert not [action.dest for action in parser._actions if action.type in (int, float)], (
        "use neuromorphic.cli.whole_number"
    )
    taking = {a.option_strings[0] for a in parser._actions if getattr(a.type, "__name__", "") == "number"}
    assert taking == NUMBERS[command]
    for option in taking:
        for text in NONSENSE:
            with pytest.raises(ArgumentError, match=f"argument {option}: must be a whole number from"):
                parser.parse_args([f"{option}={text}"])
