"""The page: Gradio's widgets for :mod:`gshn.browser.photograph` and :mod:`gshn.browser.network`."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any

from PIL import Image

from gshn.api.model import Model
from gshn.browser.network import BACKENDS, CHIPS, STEPS, Settings, network
from gshn.browser.photograph import photograph
from gshn.browser.shown import Shown, failed, required_number, seconds, shown_or_error
from gshn.config import is_drawn
from neuromorphic.errors import UserError

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Before the import: it would call home.
import gradio as gr

LARGEST = "200mb"
"""Largest file that can be uploaded."""
KEPT = 20
"""Number of results whose files are kept for download."""
AS_STORED = "as the file says"
STYLE = """
.result { columns: 320px 2; column-gap: 2rem; }
.result img { max-width: 100%; height: auto; background: #fff; }
.result [role=status], .result section:has(img[width="780"]) { column-span: all; }
.result img, .result p, .result .wide { break-inside: avoid; }
.result h2 { font-size: 1.35rem; margin: 0.4rem 0; }
.result h3 { font-size: 1.1rem; margin: 0 0 0.4rem; padding-top: 0.8rem; break-after: avoid; }
.result table { border-collapse: collapse; border: 0; margin: 0.3rem 0; font-size: 0.85rem; }
.result tr, .result th, .result td { border: 0 solid #8884; }
.result th, .result td { padding: 0.15rem 0.55rem 0.15rem 0; white-space: nowrap; border-bottom-width: 1px; }
.result pre { font-size: 0.8rem; line-height: 1.2; }
.result .wide { overflow-x: auto; }
.result .wide img { max-width: none; width: clamp(560px, 100%, 780px); }
.result summary { cursor: pointer; }
.upload-container .or { color: inherit; }
.failed { color: #b3261e; font-weight: 600; }
button[role=tab][aria-selected=true] { color: #4338ca; }
.dark .upload-container .or { color: inherit; }
.dark .failed { color: #ffb4ab; }
.dark button[role=tab][aria-selected=true] { color: #a5b4fc; }
"""


class Files:
    """Files of the latest results, in a temporary folder that is deleted when the process ends."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gshn-app-")
        self._number = count()
        self._recent: deque[list[Path]] = deque()

    def keep(self, scene: Image.Image) -> str:
        """Write a scene to a file. There is one such file: the upload in the browser is a copy."""
        path = Path(self._folder.name) / "scene.png"
        scene.save(path)
        return str(path)

    def write(self, shown: Shown) -> list[str | None]:
        """Write the files of a result: PNG, NIR and JSON; None for those that it does not have."""
        folder = Path(self._folder.name) / str(next(self._number))
        folder.mkdir()
        out: list[str | None] = []
        contents = {"result.png": shown.png, "network.nir": shown.nir, "result.json": shown.json}
        for name, content in contents.items():
            if content is None:
                out.append(None)
                continue
            path = folder / name
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            out.append(str(path))
        self._recent.append([folder, *map(Path, filter(None, out))])
        while len(self._recent) > KEPT:
            gone, *files = self._recent.popleft()
            for path in files:
                path.unlink(missing_ok=True)
            gone.rmdir()
        return out


def outputs_of(files: Files, made: Shown | str) -> list[Any]:
    """Values of the output widgets: the result with its files, or an error of one line."""
    if isinstance(made, str):
        return [failed(made), *[gr.update(visible=False)] * 3]
    return [made.html(), *(gr.update(value=path, visible=path is not None) for path in files.write(made))]


def scenes(model: Model) -> Iterator[tuple[Image.Image, str]]:
    """Held-out drawn scenes of the model's data, each with its most detailed caption, repeated without end."""
    collection: Any = model.corpora.images("test", model.config.data.pairs.test)
    for index in cycle(range(len(collection))):
        yield Image.fromarray(collection[index].image), collection.captions[index][0]


def build(model: Model) -> gr.Blocks:
    """Build the page for a model."""
    files = Files()
    own = scenes(model)

    def explain(file: str | None, text: str | None) -> list[Any]:
        return outputs_of(files, shown_or_error(lambda: photograph(model, file, text), file))

    def drawn() -> list[Any]:
        scene, caption = next(own)
        return [files.keep(scene), caption]

    def compare(
        file: str | None,
        left: str,
        right: str,
        chip: str,
        steps: float | None,
        seed: float | None,
        dt: str | None,
        reset: str,
        x: str | None,
    ) -> list[Any]:
        def make() -> Shown:
            given = None if reset == AS_STORED else reset
            chosen = (required_number("steps", steps), required_number("seed", seed), seconds(dt), given)
            return network(file, Settings(left, right, *chosen, x, chip))

        return outputs_of(files, shown_or_error(make, file, {"give --dt SECONDS": "give it under More"}))

    with gr.Blocks(title="GSHN", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            "# GSHN\nGraph Spiking Hybrid Network: photographs with texts, and NIR files on two back ends. Nothing "
            "leaves this computer."
        )
        with gr.Tab("Photograph"):
            with gr.Row():
                with gr.Column():
                    picture = gr.File(label="Photograph", height=140)
                    text = gr.Textbox(
                        label="Caption or question",
                        info="A question ends with a question mark.",
                        placeholder="a red star on grass",
                        submit_btn=False,
                    )
                    with gr.Row():
                        go = gr.Button("Explain", variant="primary")
                        draw = gr.Button("Draw a scene", visible=is_drawn(model.config.data.pairs.source))
                    gr.Markdown(f"Model: `{model.name}`, trained for {', '.join(model.tasks)}.")
                with gr.Column(scale=2):
                    downloads = buttons()
                    result = gr.HTML()
            outputs = [result, *downloads]
            gr.on([go.click, text.submit], explain, [picture, text], outputs, api_name="explain")
            draw.click(drawn, None, [picture, text], api_name=False).then(
                explain, [picture, text], outputs, api_name=False
            )
        with gr.Tab("NIR file"):
            with gr.Row():
                with gr.Column():
                    file = gr.File(label="NIR file", height=140)
                    left = gr.Dropdown(BACKENDS, value=BACKENDS[0], label="Left")
                    right = gr.Dropdown(BACKENDS, value=BACKENDS[1], label="Right")
                    chip = gr.Dropdown(CHIPS, value=CHIPS[0], label="Converted for")
                    with gr.Accordion("More", open=False):
                        steps = gr.Number(STEPS, precision=0, label="Steps of random input")
                        seed = gr.Number(0, precision=0, label="Seed of random input")
                        x = gr.File(label="Input of your own: .npz or .npy", height=120)
                        dt = gr.Textbox(label="Time step in seconds", info="Where the file does not say it.")
                        reset = gr.Dropdown([AS_STORED, "zero", "subtract"], value=AS_STORED, label="Reset")
                    run = gr.Button("Run", variant="primary")
                with gr.Column(scale=2):
                    more = buttons()
                    compared = gr.HTML()
            settings = [file, left, right, chip, steps, seed, dt, reset, x]
            run.click(compare, settings, [compared, *more], api_name="compare")
    return page


def buttons() -> list[gr.DownloadButton]:
    """Download buttons for the files of a result. They are hidden until there is a result."""
    with gr.Row():
        return [gr.DownloadButton(f"Download {kind}", visible=False) for kind in ("PNG", "NIR", "JSON")]


def serve(model: Model, host: str, port: int | None, opened: bool) -> None:
    """Serve the page until it is interrupted.

    Raises:
        UserError: the port is taken.
    """
    page = build(model)
    try:
        _, address, _ = page.launch(**options(), server_name=host, server_port=port, inbrowser=opened, quiet=True)
    except OSError:
        place = "no port is free" if port is None else f"port {port} is taken"
        raise UserError(f"the page cannot be served on {host}: {place}; choose another --port") from None
    print(f"{address}  (Ctrl-C ends it)", flush=True)
    page.block_thread()


def options() -> dict[str, Any]:
    """Arguments of Gradio's ``launch``: the page loads nothing from other servers and sends nothing to them."""
    theme = gr.themes.Default(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    ).set(  # Gradio's own colours have too little contrast.
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_text_color="white",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )
    return {
        "share": False,
        "ssr_mode": False,
        "prevent_thread_lock": True,
        "footer_links": [],
        "max_file_size": LARGEST,
        "theme": theme,
        "css": STYLE,
        "run_history": False,
    }
