import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mnist_lab import results
from mnist_lab.charts import draw, pareto
from mnist_lab.report import as_csv, collect, rows, table


def run(folder: Path, name: str, status: str = "done", **more: Any) -> None:
    (folder / name).mkdir(parents=True)
    settings = {"model": "MLP", "optim.lr": 0.1, "data.batch_size": 100, "seed": 0} | more.pop("settings", {})
    numbers = {"val_accuracy": 0.9, "test_accuracy": 0.9, "test_errors": 1000, "fit_seconds": 2.0, "parameters": 7}
    result = {"status": status, "name": name, "model": "mlp_relu", "settings": settings}
    results.write(folder / name, result | (numbers if status == "done" else {}) | more)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed, accuracy in enumerate((0.91, 0.93, 0.95)):
        run(tmp_path, f"slow{seed}", settings={"optim.lr": 0.01, "seed": seed}, val_accuracy=accuracy)
    run(tmp_path, "deep/fast0", settings={"optim.lr": 0.2}, val_accuracy=0.97, test_accuracy=0.96)
    run(tmp_path, "deep/fast1", "failed", settings={"optim.lr": 0.2, "seed": 1}, error="it broke")
    return tmp_path


def test_seeds_make_a_row_and_what_differs_a_column(sweep: Path) -> None:
    differing, groups = rows(collect([sweep]))
    assert differing == ["optim.lr"]
    assert [(row.settings["optim.lr"], len(row.values("val_accuracy"))) for row in groups] == [(0.2, 1), (0.01, 3)]


def test_the_table_has_mean_and_spread_and_what_failed(sweep: Path) -> None:
    head, first, second, failed = table(collect([sweep])).splitlines()
    assert head.split()[:2] == ["optim.lr", "n"]
    assert first.startswith("0.2 ")
    assert "97.00 %" in first
    assert "93.00 ± 2.00 %" in second
    assert "deep/fast1: it broke" in failed
    assert table(collect([sweep]), markdown=True).splitlines()[1].startswith("| --- | --- |")


def test_numbers_in_full(sweep: Path) -> None:
    lines = list(csv.DictReader(as_csv(collect([sweep])).splitlines()))
    assert [line["n"] for line in lines] == ["1", "3"]
    assert float(lines[1]["val_accuracy"]) == pytest.approx(0.93)
    assert float(lines[1]["val_accuracy_spread"]) == pytest.approx(0.02)
    assert lines[0]["unfinished"] == "1"


def test_a_models_own_options_are_not_columns(tmp_path: Path) -> None:
    run(tmp_path, "a", settings={"model.init": "zeros"}, model="softmax")
    run(tmp_path, "b", settings={"model.hidden": "[5]"})
    assert rows(collect([tmp_path]))[0] == ["model"]


def test_the_page_holds_the_table_and_all_pictures(sweep: Path, tmp_path: Path) -> None:
    for name in ("slow0", "slow1", "deep/fast0"):
        (sweep / name / "metrics.csv").write_text("step,val_accuracy,val_loss\n10,0.5,1\n20,0.9,0.5\n30,0.")
    assert report(str(sweep), "--html", str(tmp_path / "page.html"), "--plots", str(tmp_path / "plots")).returncode == 0
    page = (tmp_path / "page.html").read_text()
    assert "93.00 ± 2.00 %" in page
    assert "deep/fast1: it broke" in page
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page  # nothing is fetched from elsewhere
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"curves.png", "costs.png", "settings.png"}


def test_figures_show_what_was_reached(tmp_path: Path) -> None:
    for seed, rate in itertools.product((0, 1), (0.1, 0.01)):
        for size, kind in ((7, "MLP"), (70, "Softmax")):
            settings = {"seed": seed, "optim.lr": rate, "model": kind}
            name, accuracy = f"{seed}{rate}{kind}", 0.9 + rate / 10 + size / 1000 + seed / 100
            run(tmp_path, name, model=kind, settings=settings, parameters=size, val_accuracy=accuracy)
            lines = f"10,{accuracy - 0.2}\n20,{accuracy}\n"
            (tmp_path / name / "metrics.csv").write_text("step,val_accuracy\n" + lines)
    figures = draw(collect([tmp_path]))
    assert set(figures) == {"curves", "costs", "settings", "parallel"}
    best = figures["curves"].axes[0].get_lines()[0]
    assert best.get_label() == "model Softmax, optim.lr 0.1"
    assert best.get_ydata() == pytest.approx([78.5, 98.5])
    (rates,) = figures["settings"].axes
    assert rates.get_xscale() == "log"
    front = next(line for line in figures["costs"].axes[0].get_lines() if line.get_label() == "Pareto front")
    assert list(front.get_xdata()) == [7, 70]
    assert len(figures["parallel"].axes[0].get_lines()) == 4 + 3  # a line each, and an axis each


def test_the_pareto_front_is_what_nothing_beats() -> None:
    assert pareto([(3, 5), (1, 2), (2, 1), (2, 4), (3, 4)]) == [(1, 2), (2, 4), (3, 5)]


def report(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mnist_lab.report", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_line(sweep: Path, tmp_path: Path) -> None:
    assert "93.00 ± 2.00 %" in report(str(sweep)).stdout
    assert [line["n"] for line in json.loads(report(str(sweep), "--json").stdout)] == [1, 3]
    nothing = report(str(tmp_path / "nothing"))
    assert nothing.returncode == 1
    assert nothing.stderr.startswith("error: ")
    assert "does not exist" in nothing.stderr
