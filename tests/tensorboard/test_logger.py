from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.backend_context import Context

from mnist_lab.tensorboard import TensorBoard


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def test_curves_are_grouped_and_kept_in_one_file(tmp_path: Path) -> None:
    log = TensorBoard(str(tmp_path))
    log.log_metrics({"val_loss": 1.0, "learning_rate": 0.5}, 3)
    log.finalize("success")
    log.log_metrics({"test_loss": 2.0}, 4)
    log.log_hyperparams({"optim.lr": 0.5}, {"test_loss": 2.0})
    log.save()
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("events.out.")  # and no hparams.yaml
    events = read(file)
    assert {*events.Tags()["scalars"]} == {"loss/val", "loss/test", "training/learning_rate", "final/test_loss"}
    assert [(e.step, e.value) for e in events.Scalars("loss/test")] == [(4, 2.0)]
    assert any("hparams" in name for name in events.summary_metadata)


def test_hparams_begin_with_what_differs(tmp_path: Path) -> None:
    """What TensorBoard's own plugin makes of three runs."""
    for number, lr in enumerate((0.1, 0.2, 0.1)):
        settings = {"data.batch_size": 100, "model": "MLP", "model.init": f"{number}", "optim.lr": lr, "seed": 0}
        TensorBoard(str(tmp_path / f"{number}")).log_hyperparams(settings, {"test_loss": 2.0})
    multiplexer = EventMultiplexer(tensor_size_guidance={"tensors": 0}).AddRunsFromDirectory(str(tmp_path)).Reload()
    flags = SimpleNamespace(generic_data="auto")
    found = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(tmp_path)), flags=flags))
    metadata = found.hparams_metadata(RequestContext(), "")
    columns = found.experiment_from_metadata(RequestContext(), "", True, metadata, []).hparam_infos
    assert [(column.name.strip(), column.differs) for column in columns] == [
        ("optim.lr", True), ("model.init", True), ("model", False), ("seed", False), ("data.batch_size", False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("train_loss", "loss/train"),
        ("val_errors", "errors/val"),
        ("images_per_second", "training/images_per_second"),
        ("mine/own", "mine/own"),
    ],
)
def test_tags(name: str, tag: str, tmp_path: Path) -> None:
    log = TensorBoard(str(tmp_path))
    log.log_metrics({name: 1.0}, 0)
    log.save()
    assert read(tmp_path).Tags()["scalars"] == [tag]


def test_layout_and_config_are_written_once_when_training_begins(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\nmodel:\n  hidden: [10]\n")
    log = TensorBoard(str(tmp_path))
    assert not [*tmp_path.glob("events*")]
    log.log_metrics({"train_loss": 1.0}, 0)
    log.log_metrics({"train_loss": 0.5}, 1)
    log.save()
    events = read(tmp_path)
    (layout,) = events.Tensors("custom_scalars__config__")
    charts = Layout.FromString(layout.tensor_proto.string_val[0]).category[0].chart
    assert {chart.title: list(chart.multiline.tag) for chart in charts} == {
        "loss": ["loss/(train|val|test)"],
        "accuracy": ["accuracy/(train|val|test)"],
    }
    (text,) = events.Tensors("config/text_summary")
    assert text.tensor_proto.string_val[0].decode() == "    seed: 0\n    model:\n      hidden: [10]"


def test_layout_and_config_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    log = TensorBoard(str(tmp_path), layout=False, config=False)
    log.log_metrics({"train_loss": 1.0}, 0)
    log.save()
    assert not read(tmp_path).Tags()["tensors"]


def test_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    before = TensorBoard(str(tmp_path))
    for step in (0, 10, 20):
        before.log_metrics({"val_loss": float(step)}, step)
    before.experiment.close()
    after = TensorBoard(str(tmp_path), from_step=10)
    after.log_metrics({"val_loss": -20.0}, 20)
    after.save()
    assert [(e.step, e.value) for e in read(tmp_path).Scalars("loss/val")] == [(0, 0.0), (10, 10.0), (20, -20.0)]
