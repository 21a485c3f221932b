"""What a run shows in TensorBoard, read back with TensorBoard's own reader."""

import copy
import io
import logging
import math
import shutil
import threading
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Lab, Train, lab_in
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.util import tensor_util
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from mnist_lab import Run, UserError
from mnist_lab.classifier import DigitClassifier
from mnist_lab.data import DigitsDataModule
from mnist_lab.mosaic import CORRECT, MISTAKEN, Array
from mnist_lab.networks import Convnet, Softmax
from mnist_lab.schedules import Schedule
from mnist_lab.tensorboard import Graph, Histograms, ImageLogger, TensorBoard, TestReport, images, test_report
from mnist_lab.tensorboard.image_logger import activations_of, first_layer
from mnist_lab.tensorboard.test_report import add_pr_curves, confusion, gathered

SHORT = ("data=mnist5k", "trainer.max_steps=20", "trainer.val_check_interval=10", "trainer.log_every_n_steps=4")
CONVNET = ("model=strided_convnet", *SHORT)
ALL = ("callbacks.histograms.max_overhead=1", "callbacks.images.max_overhead=1")  # however long it takes
OFF = ("callbacks.histograms=null", "callbacks.images=null", "callbacks.test_report=null", "callbacks.graph=null",
       "callbacks.train_metrics.gradient_norm=false", "logger.layout=false", "logger.config=false")  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return lab_in(tmp_path_factory.mktemp("tensorboard"))(*CONVNET, *ALL)


@pytest.fixture(scope="module")
def events(run: Run) -> EventAccumulator:
    return read(run.directory)


@pytest.fixture(scope="module")
def data() -> DigitsDataModule:
    module = DigitsDataModule("mnist5k", "nowhere", seed=0)
    module.setup()
    return module


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), STORE_EVERYTHING_SIZE_GUIDANCE).Reload()


def pictures(events: EventAccumulator, tag: str) -> list[Array]:
    return [np.asarray(Image.open(io.BytesIO(event.encoded_image_string))).astype(int) for event in events.Images(tag)]


def mistaken(picture: Array) -> list[bool]:
    """For each digit under the title, in order, whether it stands on red."""
    corners = [tuple(corner) for corner in picture[22::60, 6::88].reshape(-1, 3).tolist()]
    assert {*corners} <= {CORRECT, MISTAKEN, (255, 255, 255)}
    return [corner == MISTAKEN for corner in corners if corner != (255, 255, 255)]


def is_blue(pixels: Array) -> Array:
    return pixels[..., 2] > pixels[..., 0]


def is_red(pixels: Array) -> Array:
    return pixels[..., 0] > pixels[..., 2]


def logits_of_test(run: Run, data: DigitsDataModule) -> tuple[Tensor, Tensor]:
    pixels, labels = data.test
    with torch.no_grad():
        return run.network()(pixels[:, None] / 255), labels


def test_a_run_has_all_its_curves_the_layout_and_the_config(run: Run, events: EventAccumulator) -> None:
    tags = events.Tags()
    assert {"loss/train", "loss/val", "loss/test", "accuracy/train", "accuracy/val"} <= {*tags["scalars"]}
    assert {"training/learning_rate", "training/gradient_norm", "training/images_per_second"} <= {*tags["scalars"]}
    (layout,) = events.Tensors("custom_scalars__config__")
    charts = Layout.FromString(layout.tensor_proto.string_val[0]).category[0].chart
    assert [chart.title for chart in charts] == ["loss", "accuracy"]
    (text,) = events.Tensors("config/text_summary")
    lines = text.tensor_proto.string_val[0].decode().splitlines()
    assert [line[4:] for line in lines] == (run.directory / "config.yaml").read_text().splitlines()
    assert len([*run.directory.glob("events*")]) == 1


def test_each_layer_has_its_histograms(run: Run, events: EventAccumulator) -> None:
    state = run.network().state_dict()
    layers = {name.rpartition(".")[0] for name in state}
    assert {*events.Tags()["histograms"]} == {f"{kind}/{layer}" for kind in ("weights", "biases") for layer in layers}
    for layer in layers:
        histograms = events.Histograms(f"weights/{layer}")
        assert [event.step for event in histograms] == list(range(0, 21, 2))  # ten in the run, and its end
        last, values = histograms[-1].histogram_value, state[f"{layer}.weight"]
        assert (last.min, last.max) == pytest.approx((values.min().item(), values.max().item()))
        assert (last.num, sum(last.bucket)) == (values.numel(), values.numel())
        assert last.sum / last.num == pytest.approx(values.mean().item(), abs=1e-6)
        below = sum(count for limit, count in zip(last.bucket_limit, last.bucket, strict=True) if limit <= 0)
        width = (last.max - last.min) / 64
        assert (values < -width).sum() <= below <= (values < width).sum()


def test_pictures_are_spread_over_the_run(events: EventAccumulator) -> None:
    steps = {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}
    spread = [0, 4, 8, 12, 16, 20]
    assert steps == {
        "training/batch": spread,
        "network/first_layer": spread,
        "network/activations": spread,
        "test/confusion": [20],
        "test/worst_digits": [20],
    }


def test_the_mistakes_of_the_batch_and_no_others_stand_on_red(
    run: Run, events: EventAccumulator, data: DigitsDataModule
) -> None:
    *before, last = (mistaken(picture) for picture in pictures(events, "training/batch"))
    assert list(run.metrics.steps("train_accuracy")) == [0, 4, 8, 12, 16]
    assert [1 - sum(batch) / 100 for batch in before] == pytest.approx(list(run.metrics["train_accuracy"]))
    batches = iter(data.train_dataloader())
    for _ in range(20):
        inputs, labels = next(batches)
    with torch.no_grad():
        predicted = run.network()(inputs).argmax(dim=1)
    assert last == (predicted != labels).tolist()
    expected = images.digits(inputs[:, 0], labels, predicted, "")  # with the labels and predictions in the corners
    assert (pictures(events, "training/batch")[-1][20:] == expected[20:]).all()


def test_positive_weights_of_the_first_layer_are_blue_and_negative_red(run: Run, events: EventAccumulator) -> None:
    picture, weights = pictures(events, "network/first_layer")[-1], run.network().convolutions[0].weight[:, 0]
    n, size, _ = weights.shape
    pixel = 112 // size if n <= 10 else 56 // size
    tile, columns = pixel * size + 4, 5 if n <= 10 else 10
    for i, filter_ in enumerate(weights.detach().numpy()):
        row, column = divmod(i, columns)
        first = (20 + row * tile + pixel // 2, 4 + column * tile + pixel // 2)
        centres = picture[first[0] :: pixel, first[1] :: pixel][:size, :size]
        strong = np.abs(filter_) > 0.05 * weights.abs().max().item()
        assert (is_blue(centres)[strong] == (filter_[strong] > 0)).all()
        assert (is_red(centres)[strong] == (filter_[strong] < 0)).all()
    assert (picture[20 + math.ceil(n / columns) * tile :] == 255).all()


def test_activations_are_those_of_the_first_digit(run: Run, events: EventAccumulator, data: DigitsDataModule) -> None:
    digit = next(iter(data.train_dataloader()))[0][:1]
    layers = activations_of(run.network(), digit)
    assert [len(maps) for _, maps in layers] == [6, 12, 24]
    drawn = images.activations([("step 20: the digit", digit[0]), *layers])
    difference = np.abs(pictures(events, "network/activations")[-1] - drawn)
    assert difference.max() <= 2  # batches of one and of many round differently


def test_the_worst_digits_are_shown_with_their_mistakes(
    run: Run, events: EventAccumulator, data: DigitsDataModule
) -> None:
    logits, labels = logits_of_test(run, data)
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    worst = losses.topk(50).indices
    (picture,) = pictures(events, "test/worst_digits")
    assert mistaken(picture) == (logits.argmax(dim=1) != labels)[worst].tolist()
    image = data.test[0][worst[0]].numpy().astype(int)
    drawn = picture[22 : 22 + 56 : 2, 20 : 20 + 56 : 2, 0]  # the ground of a mistake has all its red
    assert (drawn[:, 2:-2] == 255 - image[:, 2:-2]).all()


def test_the_confusion_matrix_has_a_colour_where_something_was_counted(
    run: Run, events: EventAccumulator, data: DigitsDataModule
) -> None:
    logits, labels = logits_of_test(run, data)
    counts = confusion(labels, logits.argmax(dim=1)).numpy()
    (picture,) = pictures(events, "test/confusion")
    corners = picture[20 + 44 + 1 :: 44, 4 + 44 + 1 :: 44]
    diagonal = np.eye(10, dtype=bool)
    assert (is_blue(corners) == (diagonal & (counts > 0))).all()
    assert (is_red(corners) == (~diagonal & (counts > 0))).all()
    most = np.where(diagonal, 0, counts).argmax()
    assert corners.reshape(100, 3)[most, 1] == corners[~diagonal][:, 1].min()  # the commonest mistake is the reddest


def test_the_confusion_matrix_names_its_axes() -> None:
    """Nothing but the axes is in these margins: dark pixels in their middle, and none beside it."""
    picture = images.confusion(torch.eye(10, dtype=torch.long))
    above, left = picture[20:36, 48:488], picture[64:504, 4:20]
    for margin, along in ((above, 0), (left, 1)):
        dark = np.flatnonzero((margin < 128).any(axis=(along, 2)))
        assert len(dark)
        assert dark.min() > 180
        assert dark.max() < 260


def test_the_projector_has_the_last_hidden_layer_and_the_digits(run: Run, data: DigitsDataModule) -> None:
    folder = run.directory / "projector"
    points = np.loadtxt(folder / "points.tsv", delimiter="\t")
    network, found = run.network(), []
    network.dense[-1].register_forward_pre_hook(lambda layer, inputs: found.append(inputs[0]))
    with torch.no_grad():
        network(data.test[0][:, None] / 255)
    assert points.shape == (500, 200)
    assert np.abs(points - found[0].numpy()).max() < 0.001 * found[0].max().item()
    head, *rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()]
    assert head == ["label", "predicted", "correct"]
    assert sum(row[2] == "no" for row in rows) == run.result.test_errors
    assert all((row[0] == row[1]) == (row[2] == "yes") for row in rows)
    assert [int(row[0]) for row in rows] == data.test[1].tolist()
    sprite = np.asarray(Image.open(folder / "digits.png"))
    assert sprite.shape == (23 * 28, 23 * 28)
    assert (sprite[28:56, 28:56] == data.test[0][24].numpy()).all()
    config = (run.directory / "projector_config.pbtxt").read_text()
    for name in ("points.tsv", "labels.tsv", "digits.png"):
        assert f'"projector/{name}"' in config


def test_shifted_copies_are_what_is_evaluated_and_reported(lab: Lab, data: DigitsDataModule) -> None:
    options = ["model=mlp_relu", *SHORT, "eval_shifts=1", "data.eval_batch_size=100"]
    run = lab(*options)
    logits, labels = logits_of_test(run, data)
    assert run.result.test_loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)
    assert run.result.test_errors == int((logits.argmax(1) != labels).sum())
    (picture,) = pictures(read(run.directory), "test/worst_digits")
    worst = nn.functional.cross_entropy(logits, labels, reduction="none").topk(50).indices
    assert mistaken(picture) == (logits.argmax(dim=1) != labels)[worst].tolist()
    points, found = np.loadtxt(run.directory / "projector" / "points.tsv", delimiter="\t"), []
    network: Any = run.network()
    network.network.layers[-1].register_forward_pre_hook(lambda layer, inputs: found.append(inputs[0]))
    with torch.no_grad():
        network.network(data.test[0][:, None] / 255)
    assert np.abs(points - found[0].numpy()).max() < 0.001 * found[0].max().item()  # of the images themselves
    with pytest.raises(UserError, match="eval_shifts=5: must be from 0 to 4 pixels"):
        lab(*options, "eval_shifts=5")


def test_each_can_be_switched_off_and_none_changes_a_result(lab: Lab, run: Run) -> None:
    without = lab(*CONVNET, *OFF)
    tags = read(without.directory).Tags()
    assert not tags["images"]
    assert not tags["histograms"]
    assert not tags["graph"]
    assert not any(tag.startswith(("precision", "custom", "config")) for tag in tags["tensors"])
    assert "training/gradient_norm" not in tags["scalars"]
    assert not (without.directory / "projector").exists()
    one, other = (r.network().state_dict() for r in (run, without))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert run.result.test_loss == without.result.test_loss


def test_a_run_leaves_no_thread_behind(lab: Lab) -> None:
    """The jobs of a sweep share a process."""
    threads = set(threading.enumerate())
    lab("model=softmax", *SHORT, *OFF)
    with pytest.raises(UserError, match="loss is nan"):
        lab("model=softmax", *SHORT, *OFF, "loss.written_out=true", "optim=sgd", "optim.lr=1e30", to="failed")
    assert [*Path("failed").glob("events*")]
    assert set(threading.enumerate()) <= threads


def test_numbers_and_parts_can_be_chosen(lab: Lab) -> None:
    chosen = lab("model=softmax", *SHORT, "callbacks.images.times=2", "callbacks.images.digits=7",
                 "callbacks.images.first_layer=false", "callbacks.images.max_overhead=1",
                 "callbacks.histograms.max_overhead=1e-9", "callbacks.histograms.bins=5",
                 "callbacks.test_report.worst=3", "callbacks.test_report.confusion=false",
                 "callbacks.test_report.pr_curves=false", "callbacks.test_report.projector=20")  # fmt: skip
    events = read(chosen.directory)
    assert {*events.Tags()["images"]} == {"training/batch", "test/worst_digits"}
    assert [event.step for event in events.Images("training/batch")] == [0, 10, 20]
    assert len(mistaken(pictures(events, "training/batch")[0])) == 7
    assert len(mistaken(pictures(events, "test/worst_digits")[0])) == 3
    histograms = events.Histograms("weights/linear")
    assert [event.step for event in histograms] == [0, 20]  # no time for those between
    assert len(histograms[-1].histogram_value.bucket) >= 5
    assert sum(count > 0 for count in histograms[-1].histogram_value.bucket) <= 5
    assert not any(tag.startswith("precision") for tag in events.Tags()["tensors"])
    assert len((chosen.directory / "projector" / "points.tsv").read_text().splitlines()) == 20


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageLogger(times=0), "times=0: must be at least 1"),
        (lambda: Histograms(max_overhead=0), "max_overhead=0: must be above 0"),
        (lambda: Histograms(bins=0), "bins=0: must be at least 1"),
        (lambda: ImageLogger(digits=-1), "digits=-1: must not be negative"),
        (lambda: TestReport(projector=-1), "projector=-1: must not be negative"),
    ],
)
def test_numbers_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_jobs_of_a_sweep_have_no_pictures_unless_asked(train: Train, tmp_path: Path) -> None:
    done = train("--multirun", "model=softmax", "data=fake", "trainer.max_steps=4", "sweep.page=false",
                 "sweep.pictures=false,true", "hydra.sweep.dir=sweep")  # fmt: skip
    assert done.code == 0, done.err
    for job, asked in (("0", False), ("1", True)):
        (directory,) = tmp_path.glob(f"sweep/{job}-*")
        tags = read(directory).Tags()
        assert bool(tags["images"]) == bool(tags["graph"]) == bool(tags["histograms"]) == asked
        assert (directory / "projector").exists() == asked
        assert "loss/train" in tags["scalars"]


def test_a_run_that_goes_on_drops_what_it_will_do_again(run: Run, tmp_path: Path) -> None:
    resumed = tmp_path / "copy"
    shutil.copytree(run.directory, resumed)
    lab_in(tmp_path)(f"resume={resumed}", "trainer.max_steps=30")
    events = read(resumed)
    assert [event.step for event in events.Scalars("loss/val")] == [10, 20, 30]
    assert [event.step for event in events.Images("test/confusion")] == [20, 30]
    _, later = sorted(resumed.glob("events*"), key=lambda path: path.stat().st_mtime)
    assert not read(later).Tags()["graph"]  # the first sitting drew it


def test_the_norm_of_the_gradient_is_that_before_clipping(lab: Lab, data: DigitsDataModule) -> None:
    run = lab("model=softmax", "optim=sgd", "data=mnist5k", "trainer.max_steps=2", "trainer.log_every_n_steps=1",
              "+trainer.gradient_clip_val=0.01", "logger=none", "test=false")  # fmt: skip
    images, labels = next(iter(data.train_dataloader()))
    # With weights of zero every digit has the probability 0.1.
    error = torch.full((len(labels), 10), 0.1)
    error[torch.arange(len(labels)), labels] -= 1
    by_hand = torch.cat([(error.T @ images.flatten(1)).flatten(), error.sum(dim=0)]).norm() / len(labels)
    assert run.metrics["gradient_norm"][0] == pytest.approx(by_hand.item(), rel=1e-4)


def begin(callback: Graph, network: nn.Module, folder: Path, step: int = 0) -> tuple[TensorBoard, DigitClassifier]:
    """What Lightning does with a callback when training begins."""
    logger, model = TensorBoard(str(folder)), DigitClassifier(network, torch.optim.SGD, Schedule())
    callback.on_train_start(SimpleNamespace(loggers=[logger], is_global_zero=True, global_step=step), model)
    logger.save()
    return logger, model


def test_the_graph_names_the_layers(events: EventAccumulator) -> None:
    names = [node.name for node in events.Graph().node]
    for layer in ("PaddedConv2d[0]", "ReLU[1]", "PaddedConv2d[2]", "PaddedConv2d[4]", "Flatten[0]", "Linear[4]"):
        assert any(layer in name for name in names), layer
    assert any("[convolutions]" in name for name in names)
    assert any(name.startswith("Convnet/") and "[dense]" in name for name in names)


@pytest.mark.filterwarnings("error")
def test_drawing_the_graph_leaves_all_as_it_was(tmp_path: Path) -> None:
    network = Convnet([4, 8, 12], [5, 5, 4], [1, 2, 2], dropout=0.5, batch_norm="scale_and_shift")
    network.convolutions.eval()  # as somebody may want it
    before, random_state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    modes = [layer.training for layer in network.modules()]
    begin(Graph(), network, tmp_path)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [layer.training for layer in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert read(tmp_path).Tags()["graph"]


def test_a_run_that_goes_on_has_its_graph_already(tmp_path: Path) -> None:
    begin(Graph(), Softmax(), tmp_path, step=10)
    assert not read(tmp_path).Tags()["graph"]


def test_a_compiled_network_has_no_graph_and_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        begin(Graph(), torch.compile(Softmax(), backend="eager"), tmp_path)  # type: ignore[arg-type]
    (record,) = caplog.records
    assert "cannot be traced" in record.message
    assert not read(tmp_path).Tags()["graph"]


def test_parameters_that_contain_nan_have_no_histogram(tmp_path: Path) -> None:
    logger, model = TensorBoard(str(tmp_path)), DigitClassifier(Softmax(), torch.optim.SGD, Schedule())
    with torch.no_grad():
        model.network.linear.weight[0, 0] = math.nan
        Histograms().show(logger, model, (torch.zeros(1), torch.zeros(1)))
    logger.save()
    assert read(tmp_path).Tags()["histograms"] == ["biases/linear"]


def test_precision_and_recall_are_those_counted_by_hand(tmp_path: Path) -> None:
    logits = torch.zeros(4, 10)
    logits[0, 3] = logits[1, 3] = logits[2, 5] = 10.0  # two taken for a 3, one for a 5, one undecided
    labels = torch.tensor([3, 8, 3, 3])
    with SummaryWriter(str(tmp_path)) as writer:
        add_pr_curves(writer, labels, logits, 7)
    event = read(tmp_path).Tensors("precision_recall/3")[0]
    right, wrong, _, missed, precision, recall = tensor_util.make_ndarray(event.tensor_proto)[:, 63]  # at a half
    assert event.step == 7
    assert (right, wrong, missed) == (1, 1, 2)
    assert (precision, recall) == pytest.approx((1 / 2, 1 / 3))


def test_confusions_are_counted_by_label_and_prediction() -> None:
    counts = confusion(torch.tensor([0, 1, 1, 9]), torch.tensor([0, 7, 7, 9]))
    assert counts[1, 7] == 2
    assert counts.sum() == 4
    assert counts.trace() == 2


def test_what_two_processes_have_seen_is_put_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    of_ranks = [[torch.tensor([[0.0]]), torch.tensor([[3.0]])], [torch.tensor([[1.0], [2.0]]), torch.tensor([[4.0]])]]

    def all_gather_object(into: list[Any], mine: Any) -> None:
        into[:] = of_ranks

    monkeypatch.setattr(test_report.torch.distributed, "all_gather_object", all_gather_object)
    assert gathered(of_ranks[0], world_size=2).flatten().tolist() == [0, 1, 2, 3, 4]
    assert gathered(of_ranks[1], world_size=1).flatten().tolist() == [1, 2, 4]
    assert len(gathered([], world_size=1)) == 0


def test_channels_are_drawn_from_black_to_white_and_no_more_of_them_than_there_are() -> None:
    channels = torch.zeros(3, 7, 7)
    channels[0, 0, 0], channels[1, 0, 0], channels[2, 0, 0] = -1.0, 1.0, 0.5
    picture = images.activations([("three", channels), ("two", torch.rand(2, 14, 14))]).astype(int)
    assert picture.shape[0] == 2 * (20 + 60)
    centres = [int(picture[20 + 4, 4 + 60 * i + 4, 0]) for i in range(3)]
    assert centres == [0, 255, 191]
    assert (picture[20:80, 4 + 3 * 60 :] == 255).all()
    assert (picture[100:160, 4 + 2 * 60 :] == 255).all()


def test_weights_of_one_sign_have_one_colour() -> None:
    filters = torch.zeros(10, 28, 28)
    filters[0], filters[1] = 1.0, -1.0
    picture = images.weights(filters, "title", "0123456789").astype(int)
    inside = [picture[20 + 20 : 20 + 112, 4 + 116 * i : 4 + 116 * i + 112] for i in range(3)]  # below the number
    assert (inside[0] == images.BLUE).all()
    assert (inside[1] == images.RED).all()
    assert (inside[2] == 255).all()


def test_layers_are_found_where_they_can_be_seen() -> None:
    found = first_layer(Softmax())
    assert found is not None
    assert found.shape == (10, 28, 28)
    network = Convnet([4, 8, 12], [5, 5, 4], [1, 2, 2]).eval()
    filters = first_layer(network)
    assert filters is not None
    assert filters.shape == (4, 5, 5)
    assert first_layer(nn.Sequential(nn.Flatten(), nn.Linear(100, 10))) is None
    shapes = [maps.shape for _, maps in activations_of(network, torch.zeros(1, 1, 28, 28))]
    assert shapes == [(4, 28, 28), (8, 14, 14), (12, 7, 7)]
    assert activations_of(Softmax(), torch.zeros(1, 1, 28, 28)) == []
    assert not any(layer._forward_hooks for layer in network.modules())


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
