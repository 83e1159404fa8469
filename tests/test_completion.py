"""Completion of the console scripts: what shtab makes of their parsers, run in bash."""

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import gshn.__main__ as gshn_script
import neuromorphic.__main__ as neuromorphic_script
from gshn.registry import SEGMENTERS
from neuromorphic.cli import CommandParser
from neuromorphic.completion import completion_script, parser_of
from neuromorphic.errors import ArgumentError
from neuromorphic.lava.target import TARGETS

SCRIPTS = {"gshn": gshn_script, "neuromorphic": neuromorphic_script}


def printed(script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, shell: str) -> str:
    monkeypatch.setattr("sys.argv", [script, "--print-completion", shell])
    SCRIPTS[script].script()
    return capsys.readouterr().out


@pytest.fixture
def complete(tmp_path: Path, monkeypatch, capsys) -> Callable[[str], list[str]]:
    """What bash offers where a command line ends."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "model.nir").touch()

    def offered(line: str) -> list[str]:
        words = line.split(" ")
        (tmp_path / "script").write_text(printed(words[0], monkeypatch, capsys, "bash"))
        code = f"""
            source ./script
            COMP_WORDS=({" ".join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}
            $(complete -p {words[0]} | sed 's/.*-F \\([^ ]*\\).*/\\1/') 2> /dev/null
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.split()

    return offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_bash_completes_commands_options_choices_and_files(complete: Callable[[str], list[str]]) -> None:
    assert set(complete("gshn ")) >= gshn_script.COMMANDS.keys()
    assert complete("gshn ev") == ["evaluate"]
    assert complete("gshn segment --segm") == ["--segmenter", "--segments"]
    names = {kind.name for kind in SEGMENTERS.kinds.values()}
    assert set(complete("gshn segment --segmenter ")) == names
    assert complete("gshn preprocess --segmenter super") == ["superpixels"]
    assert complete("gshn evaluate --checkpoint ph") == ["photos"]
    assert set(complete("neuromorphic ")) >= neuromorphic_script.COMMANDS.keys()
    assert complete("neuromorphic run --backend la") == ["lava"]
    assert set(complete("neuromorphic run --target ")) == set(TARGETS)
    assert complete("neuromorphic run --nir mo") == ["model.nir"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_other_shells_have_scripts_too(script: str, monkeypatch, capsys) -> None:
    assert printed(script, monkeypatch, capsys, "zsh").startswith(f"#compdef {script}\n")
    with pytest.raises(ArgumentError, match=r"--print-completion is 'command\.com': choose one of bash, zsh"):
        completion_script(script, SCRIPTS[script].COMMANDS, "command.com")


def test_parsers_are_as_before_when_one_has_been_looked_at() -> None:
    def main() -> None:
        CommandParser("x").parse_args()
        raise AssertionError("it went on")

    assert parser_of(main).prog == "x"
    assert CommandParser("x").parse_args([]) is not None
