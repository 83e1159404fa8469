"""The page in a real browser, end to end: ``make test-app``.

Chromium runs headless with a fresh profile; the server is the command, as a user starts it. Skipped where Gradio,
Selenium or Chromium is missing, and the accessibility check where axe-core is.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nir
import official
import pytest
from PIL import Image
from test_network import write
from test_photograph import huge

import gshn
import neuromorphic as nm
from gshn.browser.network import STEPS, verdict
from gshn.data.shapescenes import ShapeScenes
from neuromorphic import requirements
from neuromorphic.errors import PackagesMissingError

ROOT = Path(__file__).parents[3]
AXE = ROOT / "node_modules/axe-core/axe.min.js"
WAIT = 600
"""Seconds after which the browser gives up; of no account where all is well."""
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
GRADIOS_OWN = {"label-content-name-mismatch"}
"""What axe finds in Gradio's upload button, whose label is not ours."""


def test_without_gradio_the_command_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick: it needs no browser."""
    from gshn import app

    wanted = requirements.declared() | {"gradio": (requirements.Requirement("gradio>=6"), "app")}
    monkeypatch.setattr(requirements, "declared", lambda: wanted)
    monkeypatch.setattr(requirements, "installed", lambda name: None if name == "gradio" else "1")
    monkeypatch.setattr("sys.argv", ["gshn.app"])
    with pytest.raises(PackagesMissingError, match=r"^this needs packages .*\(gradio\): pip install 'gshn\[app\]'$"):
        app.main()


def test_the_package_does_not_import_the_page() -> None:
    told = "import sys, gshn, gshn.app, gshn.search; print([n for n in ('gradio', 'torch') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout == "[]\n"


class Page:
    """A browser at the page."""

    def __init__(self, address: str, width: int, height: int, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_script_timeout(WAIT)
        self.address, self.width = address, width
        self.driver.get(address)
        self.until(lambda: self.all("h1") and self.all("input[type=file]"))

    def until(self, ready: Callable[[], Any]) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(self.driver, WAIT, 0.2, ignored_exceptions=(StaleElementReferenceException, IndexError))
        return wait.until(lambda _: ready())

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def shown(self, selector: str) -> list[Any]:
        return [element for element in self.all(selector) if element.is_displayed()]

    def press(self, text: str, selector: str = "button") -> None:
        (button,) = [element for element in self.shown(selector) if element.text.strip() == text]
        button.click()

    def upload(self, path: Path) -> None:
        """Give a file to the first upload of the tab that is open; one that is there is taken away first."""
        for button in self.shown("button[aria-label='Clear']")[:1]:
            button.click()
        inputs = self.until(lambda: self.all("[role=tabpanel]:not([style*='display: none']) input[type=file]"))
        inputs[0].send_keys(str(path))
        self.until(lambda: any(path.stem in element.text for element in self.shown(".file-preview, .file")))

    def result(self, act: Callable[[], None], selector: str = "[role=status] h2, [role=alert]") -> str:
        """Act, and wait for another result. Gradio may keep its element and change only the text."""
        before = [(element.id, element.text) for element in self.shown(selector)]
        act()

        def others() -> list[str]:
            now = [(element.id, element.text) for element in self.shown(selector)]
            return [text for place, text in now if (place, text) not in before]

        return str(self.until(others)[0])

    def problems(self) -> list[str]:
        """Errors in the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def foreign(self) -> set[str]:
        """Addresses that the page asked for which are not the server's."""
        asked = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                params = message["params"]
                asked.add(params["request"]["url"] if "request" in params else params["url"])
        return {url for url in asked if url.startswith(("http", "ws")) and not url.startswith(self.address)}

    def violations(self) -> dict[str, list[str]]:
        """What axe-core finds: by rule, the elements. What is still fading in would count as low contrast."""
        moving = "a => a.playState === 'running' && a.effect.getComputedTiming().iterations !== Infinity"
        self.until(lambda: not self.driver.execute_script(f"return document.getAnimations().some({moving})"))
        self.driver.execute_script(AXE.read_text())
        told = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations))"
        )
        return {rule["id"]: [node["html"] for node in rule["nodes"]] for rule in told}

    def faults(self) -> dict[str, list[str]]:
        """What axe-core finds of ours."""
        return {rule: nodes for rule, nodes in self.violations().items() if rule not in GRADIOS_OWN}

    def screenshot(self, name: str) -> None:
        """The whole page, into the folder that GSHN_SCREENSHOTS names, where it names one."""
        folder = os.environ.get("GSHN_SCREENSHOTS")
        if not folder:
            return
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        metrics = {"width": self.width, "height": height, "deviceScaleFactor": 1, "mobile": self.width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the command serves the page."""
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install 'gshn[app]'")
    pytest.importorskip("selenium", reason="Selenium is not installed: make test-app")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gshn.app", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if line.startswith("http://"):
                break
        assert server.poll() is None, line
        yield line.split()[0].rstrip("/")
    finally:
        server.terminate()
        rest = server.communicate()[0]
    assert "Traceback" not in rest, rest


@pytest.fixture
def open_page(address: str, tmp_path: Path) -> Iterator[Callable[[int, int], Page]]:
    """Opens the page in a browser of some size; none may end with errors in its console or foreign requests."""
    pages: list[Page] = []

    def opened(width: int = 1280, height: int = 900) -> Page:
        pages.append(Page(address, width, height, tmp_path / f"profile{len(pages)}"))
        return pages[-1]

    yield opened
    found = [(page.problems(), page.foreign()) for page in pages]
    for page in pages:
        page.driver.quit()
    assert found == [([], set())] * len(pages)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A held-out scene as a file."""
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    Image.fromarray(ShapeScenes("test", 4)[1].image).save(path)
    return path


def downloaded(page: Page, kind: str, folder: Path) -> bytes:
    """What a button saves, in an empty folder."""
    place = folder / kind
    place.mkdir()
    behavior = {"behavior": "allow", "downloadPath": str(place)}
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behavior)
    page.press(f"Download {kind}")
    page.until(lambda: [path for path in place.iterdir() if path.suffix == f".{kind.lower()}"])
    (path,) = place.iterdir()
    return path.read_bytes()


@pytest.mark.slow
def test_a_photograph_from_the_keyboard_to_the_downloads(open_page, scene: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    page = open_page()
    page.upload(scene)
    (text,) = page.shown("textarea")
    question = "what colour is the heart?"

    def ask() -> None:
        text.send_keys(question)
        text.send_keys(Keys.ENTER)

    headline = page.result(ask)
    answer = gshn.load("tour").answer(scene, question)
    assert headline == f"{question} {answer} ({100 * answer.probability:.0f} %)"
    titles = [element.text for element in page.shown(".result h3")]
    assert {"Answer", "Segments and scene graph", "Spikes", "Energy of the spiking path"} <= set(titles)
    assert all(element.get_attribute("alt") for element in page.all(".result img"))
    assert downloaded(page, "PNG", tmp_path).startswith(b"\x89PNG")
    assert json.loads(downloaded(page, "JSON", tmp_path))["answers"][str(answer)] == pytest.approx(
        answer.probability, abs=1e-5
    )
    (tmp_path / "a.nir").write_bytes(downloaded(page, "NIR", tmp_path))
    assert set(nir.read(str(tmp_path / "a.nir")).nodes) >= {"lif_0", "lif_1"}
    page.screenshot("photograph")


@pytest.mark.slow
def test_a_drawn_scene_takes_one_button(open_page) -> None:
    page = open_page()
    headline = page.result(lambda: page.press("Draw a scene"))
    assert headline.startswith("Similarity 0.") and page.shown("textarea")[0].get_attribute("value")


@pytest.mark.slow
def test_a_nir_file(open_page, tmp_path: Path) -> None:
    page = open_page()
    page.press("NIR file", "[role=tab]")
    page.upload(write(tmp_path / "network.nir", dt=1e-3))
    headline = page.result(lambda: page.press("Run"))
    verification = nm.load(tmp_path / "network.nir").verify(against="numpy", precision="fixed", steps=STEPS)
    assert headline == verdict(verification)
    titles = [element.text for element in page.shown(".result h3")]
    assert titles == ["Two back ends", "Graph", "Nodes", "Conversion", "Energy"]
    told = json.loads(downloaded(page, "JSON", tmp_path))
    assert told["verification"]["nir"] == "network.nir" and told["conversion"]["target"] == "loihi2"
    page.screenshot("nir")


@pytest.mark.slow
def test_what_is_wrong_is_one_line_in_the_page(open_page, scene: Path, tmp_path: Path) -> None:
    page = open_page()
    explain = lambda: page.press("Explain")  # noqa: E731
    assert page.result(explain) == "there is no photograph yet: choose a file, or draw a scene"
    page.upload(scene)
    assert page.result(explain).startswith("the text is empty")
    page.shown("textarea")[0].send_keys("a red star")
    for path, said in (
        (official.write(tmp_path / "notes.txt", "no picture"), "notes.txt is not an image that Pillow can read"),
        (huge(tmp_path / "huge.png"), "image huge.png has more than 178,956,970 pixels; scale it down"),
        (write(tmp_path / "network.nir"), "network.nir is not an image that Pillow can read"),
    ):
        page.upload(path)
        assert page.result(explain).startswith(said)
    page.press("NIR file", "[role=tab]")
    run = lambda: page.press("Run")  # noqa: E731
    assert page.result(run) == "there is no NIR file yet: choose one"
    cut = tmp_path / "cut.nir"
    cut.write_bytes((tmp_path / "network.nir").read_bytes()[:900])
    for path, said in (
        (cut, "cut.nir is not a NIR graph"),
        (scene, "scene.png is not a NIR graph"),
        (tmp_path / "network.nir", "network.nir: the NIR graph does not say its time step: give it under More"),
    ):
        page.upload(path)
        assert page.result(run).startswith(said)
    assert not [element for element in page.shown("button, a") if element.text.startswith("Download")]


@pytest.mark.slow
def test_a_phone_scrolls_in_one_direction(open_page, scene: Path, tmp_path: Path) -> None:
    page = open_page()
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.width = 360
    page.upload(scene)
    page.shown("textarea")[0].send_keys("a pink heart on grass")
    page.result(lambda: page.press("Explain"))
    width = "return document.documentElement.scrollWidth"
    assert page.driver.execute_script(width) <= 360
    widths = [element.size["width"] for element in page.shown(".result img")]
    assert widths and max(widths) <= 360
    assert not AXE.is_file() or page.faults() == {}
    page.screenshot("phone")
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.press("NIR file", "[role=tab]")
    page.upload(write(tmp_path / "network.nir", dt=1e-3))
    page.result(lambda: page.press("Run"))
    assert page.driver.execute_script(width) <= 360
    (rasters,) = page.shown(".result .wide img")
    assert rasters.size["width"] >= 500, "its text is to be read; it scrolls by itself"
    page.screenshot("phone-nir")


@pytest.mark.slow
def test_all_can_be_reached_with_the_tab_key(open_page) -> None:
    from selenium.webdriver.common.keys import Keys

    page = open_page()
    reached: list[str] = []
    for _ in range(12):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        element = page.driver.switch_to.active_element
        reached.append(element.text.strip() or element.get_attribute("aria-label") or element.tag_name)
    wanted = ["Photograph", "upload", "textarea", "Explain", "Draw a scene"]
    places = [next((k for k, name in enumerate(reached) if own.lower() in name.lower()), -1) for own in wanted]
    assert -1 not in places and places == sorted(places), reached


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_of_ours(open_page, scene: Path, tmp_path: Path, dark: bool) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm install --no-save axe-core")
    page = open_page()
    scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    page.driver.refresh()
    page.until(lambda: page.all("input[type=file]"))
    found = page.faults()
    page.result(lambda: page.press("Explain"))
    found |= page.faults()
    page.upload(scene)
    page.shown("textarea")[0].send_keys("what colour is the heart?")
    page.result(lambda: page.press("Explain"))
    found |= page.faults()
    page.press("NIR file", "[role=tab]")
    page.upload(write(tmp_path / "network.nir", dt=1e-3))
    page.result(lambda: page.press("Run"))
    found |= page.faults()
    assert found == {}
    page.screenshot(f"nir-{'dark' if dark else 'light'}")
