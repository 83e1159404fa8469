import pytest

from gshn.arguments import add_model_arguments
from neuromorphic.cli import CommandParser
from neuromorphic.errors import ArgumentError


def test_a_commands_own_model_is_loaded_where_nobody_says() -> None:
    parser = CommandParser("command")
    add_model_arguments(parser, "tour")
    own = parser.parse_args([])
    assert (own.checkpoint, own.segmenter, own.weights) == ("tour", None, None)
    given = parser.parse_args(["--checkpoint", "owner/name", "--segmenter", "features:efficientnet_lite0"])
    assert (given.checkpoint, given.segmenter) == ("owner/name", "features:efficientnet_lite0")
    assert "(default tour)" in " ".join(parser.format_help().split())


def test_without_one_it_has_to_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    parser = CommandParser("command")
    add_model_arguments(parser)
    with pytest.raises(ArgumentError, match="--checkpoint"):
        parser.parse_args([])
    with pytest.raises(ArgumentError, match="--segmenter"):
        parser.parse_args(["--checkpoint", "runs/mine", "--segmenter", "colours"])
