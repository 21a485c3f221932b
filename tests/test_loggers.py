from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_lab.classifier import DigitClassifier
from mnist_lab.loggers import CsvLogger, TensorBoard
from mnist_lab.networks import Softmax
from mnist_lab.schedules import Schedule


def test_csv_has_a_row_a_step_and_a_column_a_metric(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = CsvLogger(path)
    log.log_metrics({"a": 1.5}, 0)
    log.log_metrics({"b": 2.0}, 0)
    log.log_metrics({"a": 3.0}, 10)
    log.save()
    log.log_metrics({"c": 4.0}, 10)  # after it was written
    log.log_metrics({"a": 5.0}, 20)
    log.save()
    assert path.read_text().split() == ["step,a,b,c", "0,1.5,2.0,", "10,3.0,,4.0", "20,5.0,,"]


def test_csv_drops_the_steps_that_are_done_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,a,b\n0,1.0,\n10,2.0,\n20,3.0,\n")
    log = CsvLogger(path, from_step=10)
    log.log_metrics({"b": 7.0}, 10)
    log.log_metrics({"a": 4.0}, 20)
    log.save()
    assert path.read_text().split() == ["step,a,b", "0,1.0,", "10,2.0,7.0", "20,4.0,"]


def test_tensorboard_groups_curves_and_keeps_one_file(tmp_path: Path) -> None:
    log = TensorBoard(str(tmp_path))
    log.log_graph(DigitClassifier(Softmax(), torch.optim.SGD, Schedule()))
    log.log_metrics({"val_loss": 1.0, "learning_rate": 0.5}, 3)
    log.finalize("success")
    log.log_metrics({"test_loss": 2.0}, 4)
    log.log_hyperparams({"optim.lr": 0.5}, {"test_loss": 2.0})
    log.save()
    (file,) = tmp_path.glob("events.out.*")
    events = EventAccumulator(str(file)).Reload()
    assert {*events.Tags()["scalars"]} == {"loss/val", "loss/test", "training/learning_rate", "final/test_loss"}
    assert [(e.step, e.value) for e in events.Scalars("loss/test")] == [(4, 2.0)]
    assert "linear" in str(events.Graph())
    assert not (tmp_path / "hparams.yaml").exists()


def test_csv_goes_on_after_a_row_that_a_kill_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,a,b\n0,1.0,2.0\n10,3.0,4.0\n20,5")
    log = CsvLogger(path, from_step=20)
    log.log_metrics({"b": 7.0}, 20)
    log.save()
    assert path.read_text().split() == ["step,a,b", "0,1.0,2.0", "10,3.0,4.0", "20,,7.0"]  # the 5 may be half of 53


def test_csv_resumes_without_a_file_too(tmp_path: Path) -> None:
    log = CsvLogger(tmp_path / "metrics.csv", from_step=10)
    log.log_metrics({"a": 1.0}, 11)
    log.save()
    assert (tmp_path / "metrics.csv").read_text().split() == ["step,a", "11,1.0"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_tensorboard_drops_the_steps_that_are_done_again(tmp_path: Path) -> None:
    before = TensorBoard(str(tmp_path), graph=False)
    for step in (0, 10, 20):
        before.log_metrics({"val_loss": float(step)}, step)
    before.experiment.close()
    after = TensorBoard(str(tmp_path), from_step=10, graph=False)
    after.log_metrics({"val_loss": -20.0}, 20)
    after.save()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/val")] == [(0, 0.0), (10, 10.0), (20, -20.0)]
    assert not events.Tags()["graph"]


@pytest.mark.parametrize(
    ("name", "tag"),
    [("train_loss", "loss/train"), ("val_errors", "errors/val"), ("images_per_second", "training/images_per_second")],
)
def test_tensorboards_tags(name: str, tag: str, tmp_path: Path) -> None:
    log = TensorBoard(str(tmp_path), graph=False)
    log.log_metrics({name: 1.0}, 0)
    log.save()
    assert EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"] == [tag]
