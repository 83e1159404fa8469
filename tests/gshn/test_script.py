"""The console script ``gshn``, and the help of its commands."""

import re
import shlex
from importlib import import_module

import pytest

from gshn import __main__ as script
from gshn.config import load_config
from gshn.registry import SEGMENTERS
from neuromorphic.cli import CommandParser
from neuromorphic.errors import UserError


def call(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["gshn", *arguments])
    try:
        script.script()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


class Parsed(Exception):
    """The arguments are right."""


def stop_after(parse):
    def parsed(self, *_, **__):
        parse(self)
        raise Parsed

    return parsed


@pytest.mark.parametrize("command", list(script.COMMANDS))
def test_every_help_has_examples_that_parse_and_says_what_choices_mean(monkeypatch, capsys, command: str) -> None:
    assert call(monkeypatch, command, "--help") == 0
    text = capsys.readouterr().out
    flat = " ".join(text.split())
    assert flat.startswith(f"usage: gshn {command} ") and "``" not in flat
    module = import_module(f"gshn.{command}")
    examples = [
        shlex.split(line, comments=True)
        for line in module.EXAMPLES.replace("\\\n", " ").splitlines()
        if line.startswith(f"  python -m gshn.{command}")
    ]
    assert examples and f"python -m gshn.{command}" in text
    if "--segmenter" in flat:
        assert all(re.search(rf"\b{re.escape(name)}: ", flat) for name in SEGMENTERS)
    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(CommandParser, name, stop_after(getattr(CommandParser, name)))
    for example in examples:
        monkeypatch.setattr("sys.argv", [f"gshn {command}", *example[3:]])
        with pytest.raises(Parsed):
            module.main()
        overrides = [word for word in example[3:] if re.match(r"[a-z_.]+=", word) and "shards:" not in word]
        load_config("photographs" if "photographs" in example else "default", overrides)


def test_the_script_runs_commands_by_name(monkeypatch, capsys) -> None:
    assert call(monkeypatch) == 0
    listing = capsys.readouterr().out
    assert all(f"  {name} " in listing for name in script.COMMANDS)
    assert call(monkeypatch, "fly") == 2
    assert capsys.readouterr().err == f"error: 'fly' is not a command; choose one of {', '.join(script.COMMANDS)}\n"
    assert call(monkeypatch, "evaluate", "--task", "retrieval") == 2
    assert "gshn evaluate --help lists the arguments" in capsys.readouterr().err


def test_commands_take_names_on_the_hub(monkeypatch) -> None:
    for command in (
        "evaluate --task vqa --checkpoint someone/none",
        "explain a.jpg --caption a --out b.png --checkpoint a/b",
    ):
        monkeypatch.setattr("sys.argv", ["gshn", *command.split()])
        with pytest.raises(UserError, match="neither a folder here nor can it be had from the Hugging Face hub"):
            script.main()
