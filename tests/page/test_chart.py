"""Charts, as a reader meets them in a real browser."""

import base64
import io
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

import pytest
from browser import Browser
from PIL import Image

from mnist_lab.page import document

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
LINES = [
    {"name": "training", "x": [0, 50, 100], "y": [0.1, 0.6, 0.9], "low": [0, 0.5, 0.8], "high": [0.2, 0.7, 1]},
    {"name": "validation", "x": [0, 100], "y": [0.2, 0.8], "dash": "6 4", "mark": "ended"},
]
AXES = {"x": {"label": "step", "integer": True}, "y": {"label": "accuracy", "min": 0, "max": 1}}
HARNESS = """<script>
  window.begin = (options, width = 600, height = 320) => {
    const place = document.createElement("div");
    place.style.cssText = `width:${width}px;height:${height}px`;
    root.replaceChildren(place);
    window.chart = new Chart(place, options);
  };
  window.centre = (element) => {
    const { left, top, width, height } = element.getBoundingClientRect();
    return [left + width / 2, top + height / 2];
  };
</script><div id="root">"""


class Page(Browser):
    """A page with one chart."""

    def begin(self, options: dict[str, Any], data: dict[str, Any], width: int = 600) -> None:
        self.move(1000, 600)
        self.evaluate(f"begin({json.dumps(options)}, {width})")
        self.draw(data)
        self.settle()

    def draw(self, data: dict[str, Any]) -> None:
        self.evaluate(f"chart.draw({json.dumps(data)})")

    def text(self, of: str) -> str:
        (found,) = self.texts(of)
        return found

    def spot(self, x: str, y: str) -> tuple[float, float]:
        """Where on the screen the ticks with these texts meet."""
        script = "centre([...root.querySelectorAll('.{} .tick, .{}.tick')].find((e) => e.textContent === '{}'))"
        return self.evaluate(script.format("x", "x", x))[0], self.evaluate(script.format("y", "y", y))[1]

    def told(self) -> str | None:
        """What is under the cursor, None without one."""
        return self.evaluate("chart.tip.hidden ? null : chart.tip.innerText")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    html = document("charts", "chart", whole=True).replace('<div id="root">', HARNESS)
    start = 'import * as all from "chart"; Object.assign(window, all); const start = () => { window.ready = true; };'
    path = tmp_path_factory.mktemp("page") / "chart.html"
    path.write_text(html.replace('import { start } from "chart";', start))
    browser = Page(CHROMIUM, path.as_uri(), 1100, 700)
    browser.until("window.ready")
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Page) -> Iterator[Page]:
    yield chromium
    assert chromium.errors() == []


def test_axes_have_round_numbers_and_labels(page: Page) -> None:
    page.begin(AXES | {"title": "Accuracy"}, {"lines": LINES})
    assert page.texts(".x.tick") == [str(n) for n in range(0, 101, 10)]
    assert page.texts(".y.tick") == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert page.text(".chart-title") == "Accuracy"
    assert {"step", "accuracy"} <= {*page.texts("svg > text")}
    page.begin({"x": {"log": True}, "y": {}}, {"points": [{"x": 7850, "y": 1}, {"x": 3.2e6, "y": 2}]})
    assert [text for text in page.texts(".x.tick") if text.startswith("1")] == ["10,000", "100,000", "1M"]
    page.begin(AXES, {"lines": [{"name": "short", "x": [0, 1], "y": [0.5, 0.7]}]})
    assert page.texts(".x.tick") == ["0", "1"]  # no half steps


def test_narrow_and_huge_charts_keep_their_labels_apart(page: Page) -> None:
    sizes = []
    for width in (300, 1050, 3800):
        page.begin(AXES, {"lines": [{"name": "long", "x": [0, 100_000], "y": [0, 1]}]}, width)
        overlap = """[...root.querySelectorAll(".x.tick")].map((e) => e.getBoundingClientRect())
            .some((box, i, all) => i && all[i - 1].right > box.left)"""
        assert page.evaluate(overlap) is False
        assert len(page.texts(".x.tick")) > 1
        sizes.append(page.evaluate("Number(chart.svgElement.getAttribute('font-size'))"))
    assert 11 <= sizes[0] < sizes[1] <= sizes[2] <= 26


def test_the_values_nearest_to_the_pointer_are_told(page: Page) -> None:
    page.begin(AXES, {"lines": LINES})
    x, y = page.spot("50", "0.4")
    page.move(x + 3, y)
    assert page.told() == "step 50\ntraining 0.6 (0.5 to 0.7)\nvalidation 0.2 at 0"
    page.draw({"lines": [LINES[0] | {"y": [0.1, 0.65, 0.9]}]})  # drawn anew, as while a run trains
    assert "training 0.65" in (page.told() or "")
    page.move(1000, 600)
    assert page.told() is None


def test_a_finger_reads_values_and_scrolling_stays_the_pages(page: Page) -> None:
    page.begin(AXES, {"lines": LINES})
    x, y = page.spot("50", "0.4")
    page.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    assert (page.told() or "").startswith("step 50\n")
    page.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert page.evaluate("getComputedStyle(chart.svgElement).touchAction") == "pan-y"
    assert page.evaluate("chart.svgElement.dispatchEvent(new WheelEvent('wheel', {cancelable: true, bubbles: true}))")


def test_the_legend_hides_and_shows_lines(page: Page) -> None:
    page.begin(AXES, {"lines": LINES})
    assert page.texts(".chart-legend button") == ["training", "validation"]
    page.evaluate("root.querySelector('.chart-legend button').focus()")
    page.press(" ", "Space")
    pressed = "[...root.querySelectorAll('.chart-legend button')].map((b) => b.ariaPressed)"
    assert page.evaluate(pressed) == ["false", "true"]
    assert page.evaluate("document.activeElement.textContent") == "training"
    label = "chart.svgElement.getAttribute('aria-label')"
    assert page.evaluate(label) == "Chart (accuracy against step). validation: 0.8 at step 100 (ended)."
    page.draw({"lines": LINES})
    assert page.evaluate(pressed) == ["false", "true"]  # as long as the chart lives
    page.click(*page.centre(".chart-legend button"))
    assert "training: 0.9 at step 100; validation" in page.evaluate(label)


def test_a_box_zooms_and_two_clicks_show_all_again(page: Page) -> None:
    page.begin(AXES, {"lines": LINES})
    whole = page.texts(".x.tick")
    page.drag(page.spot("20", "0.8"), page.spot("40", "0.4"))
    for _ in range(2):
        numbers = [float(text) for text in page.texts(".x.tick") + page.texts(".y.tick")]
        assert min(numbers) >= 0.4
        assert max(numbers) <= 40
        assert "20" in page.texts(".x.tick")
        page.draw({"lines": LINES, "range": {"y": [0, 2]}})  # what is drawn next keeps the zoom
    assert page.evaluate("getComputedStyle(root.querySelector('.chart-back')).display") != "none"
    page.click(*page.centre(".chart svg"), clicks=2)
    assert page.texts(".x.tick") == whole
    assert page.texts(".y.tick")[-1] == "2.0"  # the range that was asked for
    page.evaluate("chart.zoomBox(false)")
    page.drag(page.spot("20", "1.5"), page.spot("40", "0.5"))
    assert page.texts(".x.tick") == whole


def test_keys_read_zoom_and_leave(page: Page) -> None:
    page.begin(AXES, {"lines": LINES})
    page.evaluate("chart.svgElement.focus()")
    said = []
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "Home"):
        page.press(key, key)
        said.append(page.evaluate("root.querySelector('[aria-live]').textContent").split(":")[0])
    assert said == ["step 0", "step 50", "step 100", "step 100", "step 50", "step 0"]
    assert page.evaluate("root.querySelector('[aria-live]').textContent") == (
        "step 0: validation 0.2, training 0.1 (0 to 0.2)"
    )
    page.press("+")
    assert "100" not in page.texts(".x.tick")
    page.press("-")
    assert "100" in page.texts(".x.tick")
    page.evaluate("window.heard = []; addEventListener('keydown', ({ key }) => heard.push(key))")
    for key in ("Escape", "ArrowLeft", "6", "Escape", "Escape"):
        page.press(key, key)
    assert page.told() is None
    assert page.evaluate("heard") == ["6", "Escape"]  # the page has keys of its own: a chart takes only what it uses
    assert page.evaluate("chart.svgElement.getAttribute('role')") == "img"


def test_gaps_single_points_and_peaks(page: Page) -> None:
    y = [0.5] * 50_000
    y[31_415], y[27_182] = 0.9, 0.1
    page.begin(AXES, {"lines": [{"x": list(range(50_000)), "y": y}]})
    drawn = page.evaluate("root.querySelector('g[clip-path] path').getAttribute('d')")
    places = [tuple(map(float, pair.split())) for pair in re.findall(r"[\d.]+ [\d.]+", drawn)]
    assert len(places) < 2 * 600
    top, bottom = page.evaluate("[chart.frame.Y(0.9), chart.frame.Y(0.1)]")
    assert (min(y for _, y in places), max(y for _, y in places)) == pytest.approx((top, bottom), abs=0.1)
    left, right = page.evaluate("[chart.frame.left, chart.frame.right]")
    assert (places[0][0], places[-1][0]) == pytest.approx((left, right), abs=0.1)
    page.draw({"lines": [{"x": [0, 1, 2, 3, 4, 5], "y": [0.1, 0.2, None, 0.4, None, 0.6]}]})
    assert page.evaluate("root.querySelector('g[clip-path] path').getAttribute('d')").count("M") == 1
    assert page.evaluate("root.querySelectorAll('g[clip-path] circle').length") == 2
    page.draw({"lines": [{"name": "nothing", "x": [], "y": []}], "areas": [], "points": []})
    assert page.evaluate("chart.svgElement.getAttribute('aria-label')").endswith("nothing: no value.")


def test_points_are_told_and_lead_somewhere(page: Page) -> None:
    points = [
        {"label": "small", "x": 1, "y": 0.2, "error": 0.01, "href": "#small"},
        {"label": "large", "x": 9, "y": 0.8, "hollow": True},
    ]
    page.begin(AXES, {"points": points, "lines": [{"x": [1, 9], "y": [0.2, 0.8]}]})
    x, y = page.centre("circle")
    page.move(x + 4, y - 4)
    assert page.told() == "small\naccuracy 0.2 ± 0.01\nstep 1"
    page.click(x + 4, y - 4)
    assert page.evaluate("location.hash") == "#small"
    assert page.evaluate("chart.svgElement.getAttribute('aria-label')") == (
        "Chart (accuracy against step). 2 points, the highest: large with 0.8 at step 9."
    )


def test_a_chart_saves_as_svg_and_png(page: Page) -> None:
    page.begin(AXES | {"title": "Accuracy & more"}, {"lines": LINES, "cursor": 50})
    text = page.evaluate("chart.svg()")
    picture = ElementTree.fromstring(text)
    assert "var(" not in text
    words = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Accuracy & more", "training", "validation", "step", "50"} <= words
    assert "#0072b2" in text
    script = """chart.png(3).then((blob) => new Promise((done) => {
        const reader = new FileReader(); reader.onload = () => done(reader.result); reader.readAsDataURL(blob); }))"""
    image = Image.open(io.BytesIO(base64.b64decode(page.waited(script).split(",")[1]))).convert("RGB")
    assert image.width == 3 * 600
    colors = {color for _, color in image.getcolors(1 << 20) or []}
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0), (255, 255, 255)} <= colors


def test_dark_pages_have_dark_charts(page: Page) -> None:
    page.begin(AXES, {"lines": LINES})
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    try:
        assert "#56b4e9" in page.evaluate("chart.svg()")
        assert page.picture().getpixel((10, 690)) == (0x16, 0x16, 0x15)
    finally:
        page.send("Emulation.setEmulatedMedia", features=[])


def test_a_chart_that_was_hidden_draws_itself_when_it_is_shown(page: Page) -> None:
    page.begin(AXES, {})
    page.evaluate("root.style.display = 'none'")
    page.draw({"lines": LINES})
    page.evaluate("root.style.display = ''")
    page.settle()
    assert page.texts(".x.tick")
