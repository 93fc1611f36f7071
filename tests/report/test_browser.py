"""The report in a real browser: headless Chromium at the width of a desk, of a phone, and on paper.

A copy of the page measures itself (images decoded, places of things, requests) and hands the result to the page around
it; its screenshot is looked at only where the measurement says that something must be.
"""

import html
import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from report.made_results import made_results
from report.test_page import NUMBERS, classifier, row

from hepgan.config import EvaluationConfig, load
from hepgan.data.reading import read
from hepgan.evaluation.verdict import VERDICTS, Published
from hepgan.metrics.classifier import BOOSTING
from hepgan.report.page import render
from hepgan.report.style import GENERATED
from hepgan.report.writing import compare_events

pytestmark = pytest.mark.slow

DESK, PHONE = 1280, 390  # CSS pixels
FIRST_SCREEN = 900  # pixels of height that a desktop shows at least
SECONDS = 120  # after which a browser that does not answer is given up
CONFIG = EvaluationConfig(folds=2, energy_bins=3, bins=20, max_events=300, condition_bins=3, fast=True)
COLOURS = {"pass": "#1b7f4b", "warn": "#9a6200", "fail": "#c01627", "info": "#2f5fd0"}

PROBE = """<script>
(async () => {
  const images = [...document.images];
  const decoded = await Promise.allSettled(images.map(image => image.decode()));
  const place = e => { const r = e.getBoundingClientRect(); return [r.x, r.y + scrollY, r.right, r.bottom + scrollY]; };
  const page = document.documentElement;
  parent.postMessage({
    images: images.map((image, k) => [decoded[k].status === "fulfilled" && image.naturalWidth > 0, ...place(image)]),
    width: page.clientWidth, reach: page.scrollWidth, height: page.scrollHeight,
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
    table: place(document.querySelector(".verdicts")),
    lights: [...document.querySelectorAll(".verdicts .light")].map(e => [e.className, e.textContent, ...place(e)]),
    targets: [...document.querySelectorAll('a[href^="#"]')].map(a => document.getElementById(a.hash.slice(1)) !== null),
    navigation: place(document.querySelector("nav")),
  }, "*");
})();
</script>"""
FRAME = """<!DOCTYPE html>
<title>frame</title>
<iframe src="page.html" width={width} height={height} frameborder=0></iframe>
<pre id="result"></pre>
<script>
const result = document.getElementById("result");
addEventListener("message", message => result.textContent = JSON.stringify(message.data));
</script>
"""


@pytest.fixture(scope="session")
def chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    reason = "no Chromium; install one: apt-get install chromium"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(f"the report is not looked at: {reason}")


@dataclass(frozen=True)
class Browser:
    """Headless Chromium with a profile of its own."""

    program: str
    folder: object
    seen: dict

    def run(self, page, *options):
        command = [self.program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--hide-scrollbars", "--no-first-run", f"--user-data-dir={self.folder / 'profile'}"]
        command += ["--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000", *options]
        done = subprocess.run(
            [*command, page.as_uri()], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return done.stdout, console

    def look(self, text, *, width=DESK, height=FIRST_SCREEN):
        """What the page says about itself at a width, and what the console says; a page is asked once."""
        asked = text, width, height
        if asked not in self.seen:
            self.seen[asked] = self.measured(text, width=width, height=height)
        return self.seen[asked]

    def measured(self, text, *, width, height):
        assert text.count("</body>") == 1
        (self.folder / "page.html").write_text(text.replace("</body>", f"{PROBE}</body>"))
        frame = self.folder / "frame.html"
        frame.write_text(FRAME.format(width=width, height=height))
        dom, console = self.run(frame, "--dump-dom")
        answer = re.search(r'<pre id="result">(.+?)</pre>', dom, re.DOTALL)
        assert answer, f"the page did not measure itself: {console}"
        return json.loads(html.unescape(answer[1])), console

    def shoot(self, text, *, width=DESK, height=FIRST_SCREEN):
        """The page as pixels (height, width, 3), 0 to 255."""
        page, picture = self.folder / "shot.html", self.folder / "shot.png"
        page.write_text(text)
        self.run(page, f"--window-size={width},{height}", f"--screenshot={picture}")
        pixels = np.asarray(Image.open(io.BytesIO(picture.read_bytes())).convert("RGB")).astype(int)
        assert pixels.shape == (height, width, 3)
        return pixels


@pytest.fixture(scope="module")
def browser(chromium, tmp_path_factory):
    return Browser(chromium, tmp_path_factory.mktemp("browser"), {})


@pytest.fixture(scope="module")
def pages(chromium, data_dir, tmp_path_factory):
    """A report of showers and one of tracks, of real samples, and one with long names and many rows."""
    folder = tmp_path_factory.mktemp("reports")
    configs = data_dir.parent / "hepgan" / "configs"
    texts = {"long": long_page()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOOSTING, "max_iter", 20)
        for name, config, file in (("showers", "eplus", "eplus_test"), ("tracks", "rich", "rich_test")):
            data = load(configs / f"{config}.toml").data
            few = {"files": [str(data_dir / f"{file}.root")], "max_events": 1200, "test_files": []}
            events = read(data.model_copy(update=few))
            half = len(events) // 2
            settings = {"config": CONFIG, "data": data, "names": ("fast", "full"), "progress": False}
            compare_events(events[half:], events[:half], out=folder / name, **settings)
            texts[name] = (folder / name / "report.html").read_text()
    return texts


def long_page():
    word = "electromagnetic_barrel_presampler_of_the_upgraded_detector"
    number = [0.1, 0.01]
    feature = {**NUMBERS, "wasserstein_sigma": number, "wasserstein_sigma_floor": number}
    peers = [
        Published(
            model=f"{word[:20]} {k}",
            value=0.6 + 0.05 * k,
            uncertainty=None,
            reference="arXiv:2106.05285",
            remark=word,
        )
        for k in range(6)
    ]
    rows = [
        row(kind, (0.01 * k, 0.001), metric=f"Bias of {word}, {k}") for k in range(8) for kind in VERDICTS
    ]
    information = {"limit": None, "remark": word, "section": "features"}
    rows = [
        one.model_copy(
            update={
                **(information if one.verdict == "info" else {}),
                "peers": peers if k % 5 == 0 else [],
            }
        )
        for k, one in enumerate(rows)
    ]
    sample = (f"{word}.root", 100)
    results = made_results(
        rows,
        sample=sample,
        reference=sample,
        features={f"width_x_{word}": feature},
        classifier=classifier({f"width_x_{word}": [0.6, 0.01]}),
        provenance={"model": {"file": "model.onnx", "sha256": 64 * "0123456789abcdef"}},
    )
    return render(results, [], title=f"{word} against {word}")


def near(pixels, colour, *, tolerance=40):
    """Which pixels have nearly this colour."""
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return (np.abs(pixels - wanted) <= tolerance).all(axis=-1)


def cut(pixels, place):
    x0, y0, x1, y1 = (round(number) for number in place)
    return pixels[max(y0, 0) : y1, max(x0, 0) : x1]


def wrong_lights(pixels, lights):
    """Words of the verdict table that are not drawn in the colour of their verdict."""
    wrong = []
    for kind, words, *place in lights:
        colours = {name: int(near(cut(pixels, place), colour).sum()) for name, colour in COLOURS.items()}
        if kind.split()[-1] != max(colours, key=colours.__getitem__) or max(colours.values()) < 20:
            wrong.append(words)
    return wrong


def empty_figures(pixels, images):
    """Numbers of the images that hold no ink of a figure: dark lines."""
    return [
        k for k, (_, *place) in enumerate(images) if (cut(pixels, place).max(axis=-1) < 110).mean() < 0.002
    ]


KINDS = ("showers", "tracks", "long")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [DESK, 768, PHONE])
def test_page_is_whole_at_any_width(pages, browser, kind, width):
    seen, console = browser.look(pages[kind], width=width)
    assert console == []
    assert seen["width"] == width
    assert seen["reach"] <= width  # no scrolling sideways
    assert all(image[0] for image in seen["images"])
    assert len(seen["images"]) > 5 or kind == "long"
    assert seen["requests"] == []
    assert re.findall(r"(?:src|href)=\"(?!data:|#)|url\(|@import", pages[kind]) == []  # nor any to come
    assert seen["targets"]
    assert all(seen["targets"])


@pytest.mark.parametrize("kind", ["showers", "tracks"])
def test_first_screen_is_the_verdict(pages, browser, kind):
    seen, _ = browser.look(pages[kind])
    pixels = browser.shoot(pages[kind])
    assert seen["table"][1] < 0.25 * FIRST_SCREEN
    first = [light for light in seen["lights"] if light[5] < FIRST_SCREEN]
    assert len(first) >= 7
    assert {words for _, words, *_ in first} <= set(VERDICTS.values())
    assert wrong_lights(pixels, first) == []
    assert pixels[:, -20:].min() > 250  # white at the border


def test_verdicts_are_in_sight_on_a_phone(pages, browser):
    height = 844
    seen, _ = browser.look(pages["showers"], width=PHONE, height=height)
    first = [light for light in seen["lights"] if light[5] < height]
    assert len(first) >= 4
    assert wrong_lights(browser.shoot(pages["showers"], width=PHONE, height=height), first) == []


@pytest.mark.parametrize("kind", ["showers", "tracks"])
def test_every_figure_is_drawn(pages, browser, kind):
    seen, _ = browser.look(pages[kind])
    pixels = browser.shoot(pages[kind], height=seen["height"])
    assert empty_figures(pixels, seen["images"]) == []
    red = [near(cut(pixels, place), GENERATED).any() for _, *place in seen["images"]]
    assert np.mean(red) > 0.5  # the sample is red wherever lines or points are drawn


def test_paper_has_the_table_and_no_navigation(pages, browser):
    text = re.sub(r"@media screen and", "@media not all and", pages["showers"])
    text = re.sub(r"@media print", "@media all", text)  # what print looks like, on a screen
    seen, console = browser.look(text, width=700)  # about A4 less its margins
    assert console == []
    assert seen["navigation"] == [0, 0, 0, 0]
    assert seen["table"][3] < 1000  # on the first page
    assert all(bottom - top < 1000 for _, _, top, _, bottom in seen["images"])  # no figure needs two
    pdf = browser.folder / "page.pdf"
    page = browser.folder / "print.html"
    page.write_text(pages["showers"])
    browser.run(page, f"--print-to-pdf={pdf}")
    assert pdf.read_bytes().startswith(b"%PDF-")


# Each of these is a defect that the tests above must see.


@pytest.mark.parametrize(
    "script", ["console.error('broken')", "null.missing", "document.getElementById('nothing').remove()"]
)
def test_errors_of_the_console_are_seen(pages, browser, script):
    _, console = browser.look(pages["long"].replace("</main>", f"</main><script>{script}</script>"))
    assert console != []


@pytest.mark.parametrize(
    "source", ["data:image/svg+xml;base64,AAAA", "missing.svg", "http://localhost:9/x.png"]
)
def test_broken_images_are_seen(pages, browser, source):
    seen, _ = browser.look(pages["long"].replace("</main>", f'<img src="{source}" alt="x"></main>'))
    assert [image[0] for image in seen["images"]] == [False]
    if source.startswith("http"):
        assert source in seen["requests"]


def test_scrolling_sideways_is_seen(pages, browser):
    wide = pages["long"].replace("</main>", '<p style="width: 600px">wide</p></main>')
    seen, _ = browser.look(wide, width=PHONE)
    assert seen["reach"] > PHONE


def test_wrong_colours_and_blank_figures_are_seen(pages, browser):
    text = pages["showers"].replace(".pass { color: var(--good); }", ".pass { color: var(--bad); }")
    text = text.replace("figure img {", "figure img { opacity: 0.1;")
    seen, _ = browser.look(text)
    pixels = browser.shoot(text, height=seen["height"])
    assert set(wrong_lights(pixels, seen["lights"])) == {VERDICTS["pass"]}
    assert len(empty_figures(pixels, seen["images"])) > 0.8 * len(seen["images"])


def test_links_to_nowhere_are_seen(pages, browser):
    seen, _ = browser.look(pages["long"].replace("</main>", '<a href="#nowhere">x</a></main>'))
    assert not all(seen["targets"])
