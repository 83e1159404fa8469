"""``python -m gshn.app``: a page in the browser, on this computer: photographs with texts, and NIR files.

It works offline: nothing is fetched from elsewhere, and nothing is sent there.
"""

from __future__ import annotations

from gshn.arguments import add_model_arguments
from neuromorphic.cli import CommandParser, run_command, whole_number
from neuromorphic.requirements import require_extra

EXAMPLES = """
examples:
  python -m gshn.app                               # with tour, a small model that knows drawn scenes
  python -m gshn.app --checkpoint runs/mine --port 8000
"""


def main() -> None:
    """Parse arguments, load the model, serve."""
    parser = CommandParser("python -m gshn.app", description=__doc__, epilog=EXAMPLES)
    add_model_arguments(parser, "tour")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve on (default %(default)s: this computer alone)"
    )
    parser.add_argument("--port", type=whole_number(1, 65535), help="default: the first that is free from 7860 on")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    arguments = parser.parse_args()
    require_extra("app")

    from gshn.api.model import load
    from gshn.browser.page import serve

    model = load(arguments.checkpoint, segmenter=arguments.segmenter, weights=arguments.weights)
    serve(model, arguments.host, arguments.port, arguments.open)


if __name__ == "__main__":
    run_command(main)
