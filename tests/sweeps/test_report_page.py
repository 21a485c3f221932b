"""The page over many runs, as a reader meets it in a real browser."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from browser import Browser

from mnist_lab.runs.result import Result
from mnist_lab.sweeps.report import collect
from mnist_lab.sweeps.report_page import content, thinned, write

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
SIZES = {"softmax": 7_000, "mlp_relu": 70_000}


def run(folder: Path, name: str, status: str = "done", curve: str = "", **more: Any) -> None:
    (folder / name).mkdir(parents=True)
    numbers = {"val_accuracy": 0.9, "test_accuracy": 0.9, "test_errors": 1000, "fit_seconds": 2.0, "parameters": 7}
    Result(**{"status": status, "name": "sweep"} | (numbers if status == "done" else {}) | more).write(folder / name)
    if curve:
        (folder / name / "metrics.csv").write_text(curve)


def sweep(folder: Path) -> Path:
    """Two models, two learning rates, two seeds each, with curves; one run failed, one is damaged."""
    for (model, size), lr, seed in itertools.product(SIZES.items(), (0.1, 0.01), (0, 1)):
        accuracy = 0.9 + lr / 10 + size / 1e6 + seed / 100
        settings = {"model": model, "optim.lr": lr, "seed": seed}
        curve = f"step,val_accuracy,val_loss\n10,{accuracy - 0.2},1\n15,,\n20,{accuracy},0.5\n30,0."
        more = {"model": model, "settings": settings, "parameters": size, "val_accuracy": accuracy, "seed": seed}
        run(folder, f"run {model} {lr} #{seed}", curve=curve, fit_seconds=lr * 100 + seed, **more)
    lost = {"model": "softmax", "optim.lr": 0.01, "seed": 2}
    run(folder, "lost", "failed", settings=lost, model="softmax", error="loss is <NaN>")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "result.json").write_text("{")
    return folder


class Page(Browser):
    def labels(self) -> list[str]:
        """What each chart says of itself."""
        return self.evaluate("[...document.querySelectorAll('.chart svg[aria-label]')].map((e) => e.ariaLabel)")

    def open(self, path: Path) -> None:
        self.send("Page.navigate", url=path.as_uri())
        self.until("document.readyState === 'complete' && document.querySelector('h1')?.getClientRects().length")
        self.settle()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    browser = Page(CHROMIUM, "about:blank", 1200, 4000)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the sweep, which was moved since."""
    folder = sweep(tmp_path_factory.mktemp("made") / "sweep")
    write(collect([folder]), folder / "report.html")
    return folder.rename(folder.parent.parent / "moved") / "report.html"


@pytest.fixture
def page(chromium: Page, report: Path) -> Iterator[Page]:
    chromium.open(report)
    yield chromium
    assert chromium.errors() == []


def test_it_says_how_the_runs_ended_and_which_are_best(page: Page) -> None:
    assert page.texts("h1")[0].startswith("10 runs in ")
    (said,) = page.texts(".report-head p")
    assert said == (
        "8 done, 1 damaged, 1 failed. Best on the validation images: mlp_relu, optim.lr 0.1, 98.50 ± 0.71 %."
    )
    failed, damaged = sorted(page.texts("details tbody tr"), reverse=True)
    assert failed == "failedlostloss is <NaN>"
    assert damaged.startswith("damageddamaged")
    loaded = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name.slice(0, 5))")
    assert {*loaded} <= {"data:"}  # one file


def test_a_click_sorts_the_table(page: Page) -> None:
    assert page.texts(".all th") == [
        "runs", "model", "optim.lr", "n", "validation", "test", "errors", "seconds", "parameters", "unfinished"
    ]  # fmt: skip
    column = ".all tr[id] td:nth-child({})"
    assert page.texts(column.format(5)) == ["98.50 ± 0.71 %", "97.60 ± 0.71 %", "92.20 ± 0.71 %", "91.30 ± 0.71 %"]
    page.evaluate("document.querySelectorAll('.all th button')[6].focus()")
    for order, direction in (
        (["1.5 ± 0.7", "1.5 ± 0.7", "10.5 ± 0.7", "10.5 ± 0.7"], "ascending"),
        (None, "descending"),
    ):
        page.press(" ", "Space")
        page.settle()
        assert page.evaluate("document.querySelector('.all th[aria-sort]').textContent") == "seconds"
        assert page.evaluate("document.querySelector('.all th[aria-sort]').ariaSort") == direction
        assert page.texts(column.format(8)) == (order or ["10.5 ± 0.7", "10.5 ± 0.7", "1.5 ± 0.7", "1.5 ± 0.7"])
    assert "optim.lr 0.1" in page.texts(".chart-legend button")[0]  # the first rows are in colour


def test_a_row_opens_its_runs_with_links_to_them(page: Page, report: Path) -> None:
    page.click(*page.centre("#row-0 .opener"))
    assert page.evaluate("document.querySelector('#row-0 .opener').ariaExpanded") == "true"
    head, first, second = page.texts(".runs tr")
    assert head.startswith("runseedstatevalidationtest")
    assert first.startswith("run mlp_relu 0.1 #00done98.00 %")
    assert second.startswith("run mlp_relu 0.1 #11done99.00 %")
    links = page.evaluate("[...document.querySelectorAll('.runs a, details a')].map((a) => a.href)")
    found = [Path(unquote(link.removeprefix("file://"))) for link in links]
    assert len(found) == 4
    assert all((path / "result.json").exists() and path.parent == report.parent for path in found)


def test_curves_are_means_over_seeds_with_a_band(page: Page) -> None:
    accuracy, loss, *_ = page.labels()
    assert "mlp_relu, optim.lr 0.1: 98.50 % at step 20" in accuracy
    assert "0.5 at step 20" in loss
    assert page.texts(".chart-title")[:2] == ["Accuracy while training", "Loss while training"]
    x, y = page.centre(".chart svg")
    page.move(x + 200, y)
    assert "mlp_relu, optim.lr 0.1 98.50 % (98.00 % to 99.00 %)" in page.texts(".chart-tip")[0]
    page.click(*page.centre(".chart-legend button"))
    assert not any("mlp_relu, optim.lr 0.1:" in label for label in page.labels()[:2])


def test_a_point_on_the_pareto_front_leads_to_its_row(page: Page) -> None:
    titles = page.texts(".chart-title")
    assert titles[2:] == ["Accuracy against parameters", "Accuracy against seconds of training"]
    highest = "mlp_relu, optim.lr 0.1 (validation) with 98.50 % at parameters 70,000"
    assert f"4 points, the highest: {highest}" in page.labels()[2]
    page.evaluate("document.querySelectorAll('.chart svg[aria-label]')[2].focus()")
    page.press("Home")
    page.press("Enter")
    page.settle()
    assert page.evaluate("document.querySelector(':target .opener').ariaExpanded") == "true"
    assert page.texts(":target td:nth-child(2)") == ["softmax"]


def test_brushes_choose_the_rows_of_the_whole_page(page: Page) -> None:
    sliders = page.evaluate("[...document.querySelectorAll('[role=slider]')].map((e) => e.ariaLabel)")
    assert sliders[::2] == [f"{axis}, lowest shown" for axis in ("model", "optim.lr", "accuracy")]
    page.evaluate("document.querySelectorAll('[role=slider]')[2].focus()")
    for _ in range(2):
        page.press("ArrowUp")
    assert page.evaluate("document.activeElement.getAttribute('aria-valuetext')") == "0.1"
    page.settle()
    assert page.texts("output") == ["2 of 4 rows"]
    assert page.texts(".all tr[id] td:nth-child(3)") == ["0.1", "0.1"]
    assert "optim.lr 0.01" not in "".join(page.labels())
    page.click(*page.centre(".chosen button"))
    assert len(page.texts(".all tr[id]")) == 4
    x, y = page.centre(".parallel .reach")
    page.drag((x, y - 20), (x, y - 300))
    page.settle()
    assert page.texts(".all tr[id] td:nth-child(2)") == ["softmax", "softmax"]
    page.click(x, y)
    assert len(page.texts(".all tr[id]")) == 4


def test_what_was_watched_is_dashed_hollow_and_on_no_front_of_what_was_validated(
    chromium: Page, tmp_path: Path
) -> None:
    for name, part in (("validated", "val"), ("watched", "test"), ("best", "test")):
        only = {} if part == "val" else {"val_accuracy": None, "peak_test_accuracy": 0.98, "test_accuracy": 0.97}
        curve = f"step,{part}_accuracy,{part}_loss\n10,0.5,1\n20,0.9,0.5\n"
        run(tmp_path, name, curve=curve, model=name, settings={"model": name}, fit_seconds=len(name), **only)
    more = {"model": "pruned", "settings": {"model": "pruned"}, "error": "at step 20 below the median"}
    run(tmp_path, "pruned", "pruned", curve="step,val_accuracy,val_loss\n10,0.5,1\n20,0.7,0.5\n", **more)
    found = content(collect([tmp_path]), tmp_path)
    assert [found["rows"][row]["label"] for row in found["fronts"][2]] == ["validated"]
    write(collect([tmp_path]), tmp_path / "report.html")
    chromium.open(tmp_path / "report.html")
    assert "dashed: test, watched while training" in chromium.labels()[0]
    assert "pruned: 70.00 % at step 20" in chromium.labels()[0]
    assert chromium.evaluate("document.querySelectorAll('.chart path[stroke-dasharray]').length") > 0
    assert chromium.evaluate("document.querySelectorAll('.chart circle[fill=\"var(--paper)\"]').length") == 2
    assert chromium.errors() == []


def test_one_run_and_a_phone(chromium: Page, tmp_path: Path) -> None:
    curve = "step,val_accuracy,val_loss\n10,0.5,nan\n20,0.6,inf\n"
    run(tmp_path, "only", settings={"model": "a"}, model="a", test_accuracy=float("nan"), curve=curve)
    write(collect([tmp_path / "only"]), tmp_path / "report.html")
    sweep(tmp_path / "more")
    write(collect([tmp_path / "more"]), tmp_path / "more.html")
    chromium.send("Emulation.setDeviceMetricsOverride", width=375, height=800, deviceScaleFactor=2, mobile=True)
    for name in ("report", "more"):
        chromium.open(tmp_path / f"{name}.html")
        assert chromium.evaluate("document.documentElement.scrollWidth") <= 375
        assert chromium.errors() == []


def test_curves_are_thinned_between_their_ends_and_keep_their_peaks() -> None:
    values = [0.5] * 100_000
    values[31_415], values[27_182] = 0.9, 0.1
    kept = thinned(range(100_000), values)
    assert {0, 27_182, 31_415, 99_999} <= {*kept}
    assert len(kept) <= 82
    assert thinned([3, 5, 9], [1, 1, 1]) == [0, 1, 2]
