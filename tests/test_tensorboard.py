"""What a run tells in TensorBoard, read back with TensorBoard's own reader."""

import csv
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run, Train, trains_in
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.util import tensor_util
from torch.utils.tensorboard import SummaryWriter

from mnist_lab import drawing
from mnist_lab.callbacks.outcome import add_pr_curves, confusion
from mnist_lab.callbacks.pictures import activations_of, first_layer
from mnist_lab.data import DigitsDataModule
from mnist_lab.networks import Softmax, StridedConvnet

SHORT = ("model=strided_convnet", "data=mnist5k", "trainer.max_steps=20", "trainer.val_check_interval=10",
         "trainer.log_every_n_steps=10")  # fmt: skip
ALL = ("callbacks.histograms.share=1", "callbacks.pictures.share=1")  # whatever it takes
OFF = ("callbacks.histograms=null", "callbacks.pictures=null", "callbacks.outcome=null",
       "callbacks.curves.gradient_norm=false", "logger.layout=false", "logger.config=false",
       "logger.graph=false")  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = trains_in(tmp_path_factory.mktemp("tensorboard"))(*SHORT, *ALL)
    assert run.code == 0, run.err
    return run


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), STORE_EVERYTHING_SIZE_GUIDANCE).Reload()


def test_a_run_tells_its_story(run: Run) -> None:
    read = events(run.directory)
    tags = read.Tags()
    assert {"loss/train", "loss/val", "loss/test", "accuracy/train", "accuracy/val"} <= set(tags["scalars"])
    training = {"training/learning_rate", "training/gradient_norm", "training/images_per_second"}
    assert training <= set(tags["scalars"])
    assert tags["graph"]
    layout = Layout.FromString(read.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert [chart.title for chart in layout.category[0].chart] == ["loss", "accuracy"]
    text = read.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert [line[4:] for line in text.splitlines()] == (run.directory / "config.yaml").read_text().splitlines()


def test_each_layer_has_its_histograms(run: Run) -> None:
    read = events(run.directory)
    state = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    layers = {name.removeprefix("network.").rpartition(".")[0] for name in state}
    assert set(read.Tags()["histograms"]) == {f"{kind}/{layer}" for kind in ("weights", "biases") for layer in layers}
    for layer in layers:
        moments = read.Histograms(f"weights/{layer}")
        assert [event.step for event in moments] == list(range(0, 21, 2))  # ten in the run, and its end
        last, values = moments[-1].histogram_value, state[f"network.{layer}.weight"]
        assert (last.min, last.max) == pytest.approx((values.min().item(), values.max().item()))
        assert (last.num, sum(last.bucket)) == (values.numel(), values.numel())
        assert last.sum / last.num == pytest.approx(values.mean().item(), abs=1e-6)
        below = sum(count for limit, count in zip(last.bucket_limit, last.bucket, strict=True) if limit <= 0)
        width = (last.max - last.min) / 64
        assert (values < -width).sum() <= below <= (values < width).sum()


def test_pictures_are_there_and_whole(run: Run) -> None:
    read = events(run.directory)
    steps = {tag: [image.step for image in read.Images(tag)] for tag in read.Tags()["images"]}
    spread = [0, 4, 8, 12, 16, 20]
    assert steps == {
        "training/batch": spread,
        "network/first_layer": spread,
        "network/activations": spread,
        "test/confusion": [20],
        "test/worst_digits": [20],
    }
    assert all(image.width > 100 and image.height > 50 for tag in steps for image in read.Images(tag))


def test_the_projector_has_the_last_hidden_layer_and_the_digits(run: Run) -> None:
    folder = run.directory / "projector"
    points = np.loadtxt(folder / "points.tsv", delimiter="\t")
    assert points.shape == (500, 200)
    head, *rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()]
    assert head == ["label", "computed", "right"]
    assert sum(row[2] == "no" for row in rows) == run.result["test_errors"]
    data = DigitsDataModule("mnist5k", "nowhere")
    data.setup()
    assert [int(row[0]) for row in rows] == data.test[1].tolist()
    sprite = np.asarray(Image.open(folder / "digits.png"))
    assert sprite.shape == (23 * 28, 23 * 28)
    assert (sprite[28:56, 28:56] == data.test[0][24].numpy()).all()
    config = (run.directory / "projector_config.pbtxt").read_text()
    assert '"projector/points.tsv"' in config


def test_each_can_be_switched_off_and_none_changes_a_result(train: Train, run: Run) -> None:
    without = train(*SHORT, *OFF)
    assert without.code == 0, without.err
    tags = events(without.directory).Tags()
    assert not tags["images"]
    assert not tags["histograms"]
    assert not tags["graph"]
    assert not any(tag.startswith(("precision", "custom", "config")) for tag in tags["tensors"])
    assert "training/gradient_norm" not in tags["scalars"]
    assert not (without.directory / "projector").exists()
    one, other = (
        torch.load(r.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for r in (run, without)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert run.result["test_loss"] == without.result["test_loss"]


def test_the_jobs_of_a_sweep_are_lean_unless_asked(train: Train, tmp_path: Path) -> None:
    job = ("--multirun", "model=softmax", "data=mnist5k", "trainer.max_steps=4", "hydra.callbacks.report.page=false")
    for options, pictures in (([], 0), (["sweep.pictures=true", "hydra.sweep.dir=rich"], 1)):
        assert train(*job, *options).code == 0
        newest = max(tmp_path.glob("**/events*"), key=lambda path: path.stat().st_mtime)
        assert bool(events(newest).Tags()["images"]) == bool(pictures)


def test_the_norm_of_the_gradient_is_that_before_clipping(train: Train) -> None:
    run = train("model=softmax", "optim=sgd", "data=mnist5k", "trainer.max_steps=2", "trainer.log_every_n_steps=1",
                "+trainer.gradient_clip_val=0.01", "logger=none", "test=false")  # fmt: skip
    with (run.directory / "metrics.csv").open() as file:
        noted = float(next(csv.DictReader(file))["gradient_norm"])
    data = DigitsDataModule("mnist5k", "nowhere", seed=0)
    data.setup()
    images, labels = next(iter(data.train_dataloader()))
    # With weights of zero every digit has the probability 0.1.
    error = torch.full((len(labels), 10), 0.1)
    error[torch.arange(len(labels)), labels] -= 1
    by_hand = torch.cat([(error.T @ images.flatten(1)).flatten(), error.sum(dim=0)]).norm() / len(labels)
    assert noted == pytest.approx(by_hand.item(), rel=1e-4)


def test_precision_and_recall_are_those_counted_by_hand(tmp_path: Path) -> None:
    logits = torch.zeros(4, 10)
    logits[0, 3] = logits[1, 3] = logits[2, 5] = 10.0  # two taken for a 3, one for a 5, one undecided
    labels = torch.tensor([3, 8, 3, 3])
    with SummaryWriter(str(tmp_path)) as writer:
        add_pr_curves(writer, labels, logits, 7)
    event = events(tmp_path).Tensors("precision_recall/3")[0]
    right, wrong, _, missed, precision, recall = tensor_util.make_ndarray(event.tensor_proto)[:, 63]  # at a half
    assert event.step == 7
    assert (right, wrong, missed) == (1, 1, 2)
    assert (precision, recall) == pytest.approx((1 / 2, 1 / 3))


def test_confusions_are_counted_by_label_and_what_was_computed() -> None:
    counts = confusion(torch.tensor([0, 1, 1, 9]), torch.tensor([0, 7, 7, 9]))
    assert counts[1, 7] == 2
    assert counts.sum() == 4
    assert counts.trace() == 2


def test_positive_weights_are_blue_and_negative_red() -> None:
    images = torch.zeros(10, 28, 28)
    images[0], images[1] = 1.0, -1.0
    picture = drawing.weights(images, "title", [str(i) for i in range(10)]).astype(int)
    height = picture.shape[0] // 4
    for_it, against = picture[height, 60], picture[height, 60 + 116]
    assert for_it[2] > for_it[0] + 50
    assert against[0] > against[2] + 50


def test_layers_are_found_where_they_can_be_seen() -> None:
    images = first_layer(Softmax())
    assert images is not None
    assert images.shape == (10, 28, 28)
    network = StridedConvnet([4, 8, 12], [5, 5, 4], [1, 2, 2]).eval()
    filters = first_layer(network)
    assert filters is not None
    assert filters.shape == (4, 5, 5)
    shapes = [maps.shape for _, maps in activations_of(network, torch.zeros(1, 1, 28, 28))]
    assert shapes == [(4, 28, 28), (8, 14, 14), (12, 7, 7)]
    assert activations_of(Softmax(), torch.zeros(1, 1, 28, 28)) == []


def test_a_run_that_goes_on_purges_what_it_will_do_again(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run.directory, copy)
    on = trains_in(tmp_path)(f"resume={copy}", "trainer.max_steps=30")
    assert on.code == 0, on.err
    read = events(copy)
    assert [event.step for event in read.Scalars("loss/val")] == [10, 20, 30]
    assert [event.step for event in read.Images("test/confusion")] == [20, 30]


@pytest.mark.slow
def test_tensorboard_serves_it(run: Run) -> None:
    """The real server over a real run: what its plugins find."""
    from tensorboard import program

    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", str(run.directory), "--port", "0"])
    address = server.launch()
    found = {}
    for plugin in ("images/tags", "histograms/tags", "pr_curves/tags", "custom_scalars/layout", "projector/runs"):
        for _ in range(100):
            found[plugin] = urllib.request.urlopen(f"{address}data/plugin/{plugin}").read().decode()
            if len(found[plugin]) > 5:
                break
    assert "test/confusion" in found["images/tags"]
    assert "weights/" in found["histograms/tags"]
    assert "precision_recall/9" in found["pr_curves/tags"]
    assert "The run's story" in found["custom_scalars/layout"]
