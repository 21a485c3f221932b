import csv
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mnist_lab.runs.result import Result
from mnist_lab.sweeps.report import SPREAD, WATCHED, collect, group, labels, run_records, table
from mnist_lab.sweeps.summary import main


def run(folder: Path, name: str, status: str = "done", **more: Any) -> None:
    (folder / name).mkdir(parents=True)
    settings = {"model": "MLP", "optim.lr": 0.1, "data.batch_size": 100, "seed": 0} | more.pop("settings", {})
    numbers = {"val_accuracy": 0.9, "test_accuracy": 0.9, "test_errors": 1000, "fit_seconds": 2.0, "parameters": 7}
    result = {"status": status, "name": name, "model": "mlp_relu", "settings": settings}
    Result(**result | (numbers if status == "done" else {}) | more).write(folder / name)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed, accuracy in enumerate((0.91, 0.93, 0.95)):
        run(tmp_path, f"slow{seed}", settings={"optim.lr": 0.01, "seed": seed}, val_accuracy=accuracy)
    run(tmp_path, "deep/fast0", settings={"optim.lr": 0.2}, val_accuracy=0.97, test_accuracy=0.96)
    run(tmp_path, "deep/fast1", "failed", settings={"optim.lr": 0.2, "seed": 1}, error="it broke")
    return tmp_path


def test_seeds_make_a_row_and_what_differs_a_column(sweep: Path) -> None:
    differing, rows = group(collect([sweep]))
    assert differing == ["optim.lr"]
    assert [(row.settings["optim.lr"], len(row.runs), len(row.unfinished)) for row in rows] == [
        (0.2, 2, 1),
        (0.01, 3, 0),
    ]
    assert rows[1].mean_std("val_accuracy") == pytest.approx((0.93, 0.02))
    assert rows[0].mean_std("val_accuracy") == (0.97, None)


def test_the_table_has_mean_and_standard_deviation_and_failures(sweep: Path) -> None:
    head, first, second, failed, spread = table(collect([sweep])).splitlines()
    assert spread == SPREAD
    assert head.split()[:2] == ["optim.lr", "n"]
    assert first.startswith("0.2 ")
    assert "97.00 %" in first
    assert "93.00 ± 2.00 %" in second
    assert "deep/fast1: it broke" in failed
    assert table(collect([sweep]), markdown=True).splitlines()[1].startswith("| --- | --- |")


def test_numbers_in_full(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(sweep), "--csv"])
    first, second = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (first["n"], first["unfinished"], first["val_accuracy_std"]) == ("1", "1", "")
    assert (second["n"], second["unfinished"]) == ("3", "0")
    assert float(second["val_accuracy"]) == pytest.approx(0.93)
    assert float(second["val_accuracy_std"]) == pytest.approx(0.02)
    main([str(sweep), "--json"])
    records = json.loads(capsys.readouterr().out)
    assert [list(record) for record in records] == [list(first), list(second)]
    assert records[1]["val_accuracy_std"] == pytest.approx(0.02)
    assert records[0]["val_accuracy_std"] is None


def test_a_models_own_options_are_not_columns(tmp_path: Path) -> None:
    run(tmp_path, "a", settings={"model.init": "zeros"}, model="softmax")
    run(tmp_path, "b", settings={"model.hidden": "[5]"})
    assert group(collect([tmp_path]))[0] == ["model"]


def test_what_was_watched_is_named(tmp_path: Path) -> None:
    run(tmp_path, "watched", val_accuracy=None, peak_test_accuracy=0.98)
    head, row, last = table(collect([tmp_path])).splitlines()
    assert "highest test, watched" in head
    assert "98.00 %" in row
    assert last == WATCHED


def test_the_name_of_a_recipe_stands_for_what_it_sets(tmp_path: Path) -> None:
    for name, width in {"small": 1, "large": 2}.items():
        for lr in (0.1, 0.2):
            many = {f"optim.key{i}": width for i in range(5)} | {"optim.lr": lr}
            run(tmp_path, f"{name}{lr}", settings=many)
            path = tmp_path / f"{name}{lr}" / "result.json"
            path.write_text(path.read_text().replace(f'"{name}{lr}"', f'"{name}"'))
    columns, rows = group(collect([tmp_path]))
    assert columns == ["name", "optim.lr"]
    assert {*labels(columns, rows)} == {f"{name}, optim.lr {lr}" for name in ("small", "large") for lr in (0.1, 0.2)}


def test_a_name_that_all_runs_share_is_no_column(tmp_path: Path) -> None:
    for i in range(2):
        run(tmp_path, f"{i}", settings={f"optim.key{k}": i for k in range(6)})
        path = tmp_path / f"{i}" / "result.json"
        path.write_text(path.read_text().replace(f'"name": "{i}"', '"name": "search"'))
    assert group(collect([tmp_path]))[0] == [f"optim.key{k}" for k in range(6)]


def test_every_run_has_its_state_date_commit_and_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = {"git_sha": "0123456789abcdef", "git_dirty": True, "command": "python train.py model=softmax"}
    run(tmp_path, "done", provenance=made)
    run(tmp_path, "gone", "running", provenance={"git_sha": None})
    run(tmp_path, "free", "running")
    run(tmp_path, "held", "running")
    (tmp_path / "free" / ".lock").touch()
    with FileLock(tmp_path / "held" / ".lock"):
        found = run_records(collect([tmp_path]))
        assert "\nkilled: " in table(collect([tmp_path]))
        main([str(tmp_path), "--runs", "--csv"])
    assert {Path(one["run"]).name: one["state"] for one in found} == {
        "done": "done", "gone": "killed or still running", "free": "killed", "held": "running"
    }  # fmt: skip
    assert (found[0]["commit"], found[0]["command"]) == ("0123456789+", made["command"])
    assert found[0]["date"].startswith(datetime.now().strftime("%Y-"))
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["state"] for row in rows] == [one["state"] for one in found]
    assert float(rows[0]["test_accuracy"]) == 0.9


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"status": "done", "test_accuracy": "abc"}', '{"sizes": []}'])
def test_a_damaged_result_is_skipped_and_named(damage: str, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = table(collect([sweep])).splitlines()
    (sweep / "broken").mkdir()
    (sweep / "broken" / "result.json").write_text(damage)
    skipped, *rest = [line for line in table(collect([sweep])).splitlines() if line not in whole]
    assert skipped.startswith(f"skipped: {sweep}/broken/result.json: ")
    assert not rest
    main([str(sweep), "--json", "--html", str(sweep / "page.html")])
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 2
    assert f"skipped: {sweep}/broken/result.json: " in said.err
    assert "broken/result.json: " in (sweep / "page.html").read_text()


def test_nothing_but_damage_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "result.json").write_text("{")
    for form in ("--csv", "--json", "--markdown", "--runs"):
        main([str(tmp_path), form])
        said = capsys.readouterr()
        assert "skipped: " in said.out + said.err


def test_the_command_line(sweep: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mnist_lab.report"]
    reported = subprocess.run([*command, str(sweep)], capture_output=True, text=True)
    assert reported.stdout.rstrip("\n") == table(collect([sweep]))
    nothing = subprocess.run([*command, str(tmp_path / "nothing")], capture_output=True, text=True)
    assert nothing.returncode == 1
    assert nothing.stderr.startswith("error: ")
    assert "does not exist" in nothing.stderr
