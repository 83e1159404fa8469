"""``python -m gshn.search``: find the photographs of a folder that a text describes best.

The folder and its subfolders are encoded once. Later calls encode only photographs that are new or have changed, and
drop those that are gone.
"""

from __future__ import annotations

import json
from pathlib import Path

from gshn.arguments import add_model_arguments
from gshn.errors import DataError
from neuromorphic.cli import CommandParser, run_command, whole_number
from neuromorphic.errors import counted
from neuromorphic.files import check_destination, write_atomically

EXAMPLES = """
examples:
  python -m gshn.search "a dog on grass" photos --checkpoint runs/mine
  python -m gshn.search "a dog on grass" photos --checkpoint runs/mine --top 50 --json found.json
      found.json: text, folder, number of images, and path and similarity of each result
"""


def main() -> None:
    """Parse arguments, index, search, print."""
    parser = CommandParser("python -m gshn.search", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("text", help="what the photographs show")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of photographs; subfolders count, too")
    add_model_arguments(parser)
    parser.add_argument(
        "--top", type=whole_number(1, 10**9), default=10, help="number of results (default %(default)s)"
    )
    parser.add_argument(
        "--index", type=Path, metavar="FILE", help="where the index is kept (default: DIR/.gshn, or the user's cache)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON; -: print only JSON")
    arguments = parser.parse_args()
    to_stdout = str(arguments.json) == "-"
    if not arguments.text.strip():
        raise DataError("the text to search for is empty; say what the image shows")
    if not arguments.folder.is_dir():
        raise DataError(f"{arguments.folder} is not a folder; name one with photographs")
    if arguments.json is not None and not to_stdout:
        check_destination(arguments.json)

    from gshn.api.model import load

    model = load(arguments.checkpoint, segmenter=arguments.segmenter, weights=arguments.weights)
    index = model.index(arguments.folder, arguments.index)
    hits = index.search(arguments.text, arguments.top)
    found = {
        "text": arguments.text,
        "folder": str(arguments.folder),
        "checkpoint": arguments.checkpoint,
        "images": len(index),
        "found": [{"path": str(hit.path), "similarity": round(hit.similarity, 6)} for hit in hits],
    }
    told = json.dumps(found, indent=2, ensure_ascii=False)
    if to_stdout:
        print(told)
        return
    for hit in hits:
        print(f"{hit.similarity:7.4f}  {hit.path}")
    of = counted(len(index), "image")
    print(f"{len(hits)} of {of}; {index.added} encoded now, {index.dropped} dropped; {index.file}")
    if arguments.json is not None:
        write_atomically(arguments.json, told + "\n")
        print(f"{arguments.json}: these results")


if __name__ == "__main__":
    run_command(main)
