from pathlib import Path

import numpy as np
import pytest

from mnist_lab.callbacks import CsvLogger
from mnist_lab.runs.metrics import Metrics, read_rows


def text(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().split()


def test_a_row_a_step_and_a_column_a_metric(tmp_path: Path) -> None:
    log = CsvLogger(tmp_path)
    log.log_metrics({"a": 1.5}, 0)
    log.log_metrics({"b": 2.0}, 0)
    log.log_metrics({"a": 3.0}, 10)
    log.save()
    log.log_metrics({"c": 4.0}, 10)  # after it was written
    log.log_metrics({"a": 5.0}, 20)
    log.save()
    assert text(tmp_path) == ["step,a,b,c", "0,1.5,2.0,", "10,3.0,,4.0", "20,5.0,,"]


def test_the_steps_that_are_done_again_go(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,a,b\n0,1.0,\n10,2.0,\n20,3.0,\n")
    log = CsvLogger(tmp_path, from_step=10)
    log.log_metrics({"b": 7.0}, 10)
    log.log_metrics({"a": 4.0}, 20)
    log.save()
    assert text(tmp_path) == ["step,a,b", "0,1.0,", "10,2.0,7.0", "20,4.0,"]


def test_a_row_that_a_kill_cut_short_goes(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,a,b\n0,1.0,2.0\n10,3.0,4.0\n20,5")  # the 5 may be half of 53
    log = CsvLogger(tmp_path, from_step=20)
    log.log_metrics({"b": 7.0}, 20)
    log.save()
    assert text(tmp_path) == ["step,a,b", "0,1.0,2.0", "10,3.0,4.0", "20,,7.0"]


def test_a_run_goes_on_without_a_file_too(tmp_path: Path) -> None:
    log = CsvLogger(tmp_path, from_step=10)
    log.log_metrics({"a": 1.0}, 11)
    log.save()
    assert text(tmp_path) == ["step,a", "11,1.0"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_columns_hold_what_was_measured_and_when(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss,accuracy\n0,2.5,\n10,1.5,0.5\n20,,0.75\n")
    metrics = Metrics(tmp_path / "metrics.csv")
    assert list(metrics) == ["step", "loss", "accuracy"]
    assert metrics["loss"].tolist() == [2.5, 1.5]
    assert metrics.steps("loss").tolist() == [0, 10]
    assert metrics["accuracy"].tolist() == [0.5, 0.75]
    assert metrics.steps("accuracy").tolist() == [10, 20]
    assert metrics["step"].tolist() == [0, 10, 20]
    assert metrics["loss"].dtype == np.float64
    assert metrics["val_loss"].shape == metrics.steps("val_loss").shape == (0,)  # this run measured none
    assert "val_loss" not in metrics
    with pytest.raises(KeyError):
        metrics["acuracy"]


@pytest.mark.parametrize(
    "content",
    [None, "", "step\n", "nonsense", "\0\0\n\0", "step,a\n1,2,3\nx,1\n", "a\n1\n", "step,a\n" + "9" * 30 + ",1\n"],
)
def test_no_table_is_no_rows(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    assert read_rows(tmp_path / "metrics.csv") == []
    assert list(Metrics(tmp_path / "metrics.csv")) == ["step"]


def test_a_pandas_frame_where_pandas_is_installed(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (tmp_path / "metrics.csv").write_text("step,loss,accuracy\n0,2.5,\n10,1.5,0.5\n")
    frame = Metrics(tmp_path / "metrics.csv").frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.index.tolist() == [0, 10]
    assert frame["loss"].tolist() == [2.5, 1.5]
    assert np.isnan(frame["accuracy"][0])
    assert frame["accuracy"][10] == 0.5
