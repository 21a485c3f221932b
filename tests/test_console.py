"""Consoles that are narrow, closed, full, gone, or have only ASCII."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Lab, command, environment
from tqdm import tqdm

from mnist_lab.callbacks import progress
from mnist_lab.runs.result import Result

RUN = ["model=softmax", "data=fake", "trainer=debug", "logger=none"]


def console(*arguments: str, cwd: Path, shell: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """A process whose console ``shell`` redirects."""
    words = ["sh", "-c", f'exec "$@" {shell}', "sh", *arguments]
    options: dict[str, Any] = {"capture_output": True, "text": True, "check": False, "timeout": 240}
    return subprocess.run(words, cwd=cwd, env=environment(**env), **options)


@pytest.fixture
def report(tmp_path: Path) -> list[str]:
    """The command for a table with ± in it."""
    for seed, accuracy in enumerate((0.5, 0.75)):
        (tmp_path / str(seed)).mkdir()
        done = Result("done", name="softmax", model="softmax", seed=seed, settings={"seed": seed}, parameters=1)
        done.test_accuracy = accuracy
        done.write(tmp_path / str(seed))
    return [sys.executable, "-m", "mnist_lab.report", str(tmp_path)]


def test_a_table_on_a_console_of_ascii(report: list[str], tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    shown = console(*report, cwd=tmp_path, **ascii_only)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "62.50 +- 17.68 %" in shown.stdout


def test_a_reader_that_goes_away_ends_the_table_without_a_word(report: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(report, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_a_table_that_cannot_be_written_gets_one_line(report: list[str], tmp_path: Path) -> None:
    ended = console(*report, cwd=tmp_path, shell=">/dev/full")
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "disk is full" in ended.stderr


def test_no_file_takes_the_place_of_a_closed_console(tmp_path: Path) -> None:
    code = "import os\nfrom mnist_lab.errors import exit_on_user_error\nwith exit_on_user_error():\n"
    code += "    file = open('checkpoint', 'w')\n    os.write(1, b'spoilt')\n    os.write(2, b'spoilt')\n    print('±')"
    ended = console(sys.executable, "-c", code, cwd=tmp_path, shell="<&- >&- 2>&-")
    assert ended.returncode == 0
    assert (tmp_path / "checkpoint").read_bytes() == b""


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["<&- >&- 2>&-", ">/dev/full 2>/dev/full", "2>&-"])
def test_a_run_ends_whatever_its_console(shell: str, tmp_path: Path) -> None:
    ended = console(*command(*RUN, "hydra.run.dir=run"), cwd=tmp_path, shell=shell)
    assert (ended.returncode, ended.stderr) == (0, "")
    result = Result.read(tmp_path / "run")
    assert result.status == "done"
    assert result.test_accuracy is not None
    assert "next:" in (tmp_path / "run" / "train.log").read_text()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("watched", ["val", "test"])
def test_the_bar_has_loss_and_accuracy_at_once_and_ends_on_what_the_table_says(
    watched: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    part = [] if watched == "val" else ["data.validation_size=0", "data.watch_test=true"]
    run = lab(*RUN, "trainer.max_steps=25", "model=mlp_relu", *part)  # the last evaluation in training is at 20
    drawn = [line for line in re.split(r"[\r\n]+", terminal.getvalue()) if line.strip()]
    assert max(map(len, drawn)) <= 80
    values = [line for line in drawn if "loss" in line]
    assert "1/25" in values[0]
    assert re.search(r"loss [\d.]+ acc [\d.]+%$", values[0])
    reached = run.result.val_accuracy if watched == "val" else run.result.test_accuracy
    assert drawn[-1].startswith("100%")
    assert drawn[-1].endswith(f"{watched} {reached:.2%}")


def test_the_longest_bar_fits_80_columns() -> None:
    shown = "loss 0.0009123 acc 100.00% test 100.00%"
    steps = {"n": 5_000_000, "total": 10_000_000, "elapsed": 35_000}
    line = tqdm.format_meter(**steps, ncols=79, bar_format=progress._BAR, postfix=shown)
    assert line.endswith(shown)
    assert len(line) <= 80


@pytest.mark.slow
def test_a_signal_in_the_wait_for_the_pictures_ends_with_a_line(tmp_path: Path) -> None:
    words = command(*RUN, "view=file", "view.every_n_seconds=0", "hydra.run.dir=run", "view.max_overhead=1")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=tmp_path, env=environment(), **pipes) as process:
        assert process.stdout
        assert any("drawing pictures" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "")
    assert out.startswith("view: interrupted; ")
    assert len(out.splitlines()) == 1
    assert Result.read(tmp_path / "run").status == "done"
