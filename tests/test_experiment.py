"""Whole runs of train.py: what they reach, leave behind, and how they go on."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from conftest import ROOT, Lab, Process, Train, command, environment
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mnist_lab
from mnist_lab import Run
from mnist_lab.errors import UserError
from mnist_lab.networks.layers import WhiteningConv2d

SMALL = ["model=softmax", "data=fake", "data.batch_size=50", "trainer.log_every_n_steps=10"]

# Options, steps, and the share of 500 test digits that must be recognised after training on 4,000.
FLOORS: dict[str, tuple[list[str], int, float]] = {
    "softmax": (["optim=sgd"], 300, 0.84),
    "mlp_sigmoid": (["optim.lr=0.003"], 500, 0.84),
    "mlp_relu": (["optim.lr=0.003", "schedule=cosine"], 400, 0.88),
    "strided_convnet": (["optim.lr=0.003"], 200, 0.90),
    "convnet": (["optim=adam"], 100, 0.90),
}


@pytest.mark.parametrize("model", FLOORS)
def test_every_model_learns(model: str, lab: Lab) -> None:
    options, steps, floor = FLOORS[model]
    result = lab(
        f"model={model}",
        *options,
        "data=mnist5k",
        "logger=none",
        f"trainer.max_steps={steps}",
        "trainer.val_check_interval=100",
    ).result
    assert result.test_accuracy is not None
    assert result.val_accuracy is not None
    assert result.test_accuracy > floor
    assert result.val_accuracy > floor - 0.03


def weights(run: Process | Run, checkpoint: str = "last") -> dict[str, torch.Tensor]:
    loaded: dict[str, Any] = torch.load(run.directory / "checkpoints" / f"{checkpoint}.ckpt", weights_only=True)
    tensors: dict[str, torch.Tensor] = loaded["state_dict"]
    return tensors


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def curve(run: Process | Run) -> list[dict[str, str]]:
    with (run.directory / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def learning(run: Process | Run) -> list[dict[str, str]]:
    names = ("step", "learning_rate", "train_loss")
    return [{name: row[name] for name in names} for row in curve(run) if row["train_loss"]]


def validation(run: Process | Run) -> dict[str, str]:
    return {row["step"]: row["val_loss"] for row in curve(run) if row["val_loss"]}


def test_a_run_leaves_a_complete_directory(train: Train) -> None:
    run = train(*SMALL, "optim=sgd", "schedule=exponential", "trainer.max_steps=60", "trainer.val_check_interval=20")
    assert run.code == 0, run.err
    assert "Traceback" not in run.out + run.err

    result = run.result
    assert result["status"] == "done"
    assert (result["name"], result["model"], result["data"]) == ("softmax", "softmax", "fake")
    assert result["sizes"] == {"train": 1800, "val": 200, "test": 500}
    assert (result["parameters"], result["multiply_adds"], result["seed"], result["steps"]) == (7850, 7840, 0, 60)
    assert result["best_val_accuracy"] >= result["val_accuracy"] > 0.9
    assert result["test_errors"] == round((1 - result["test_accuracy"]) * 500)
    assert min(result[name] for name in ("fit_seconds", "test_seconds", "images_per_second", "test_loss")) > 0
    provenance = result["provenance"]
    assert {"git_sha", "git_dirty", "command", "versions", "cpu", "cores", "threads", "seed"} <= provenance.keys()
    assert "schedule=exponential" in provenance["command"]

    config = OmegaConf.load(run.directory / "config.yaml")
    assert config.schedule._target_ == "mnist_lab.schedules.Exponential"
    assert config.trainer.max_steps == 60
    assert "60 steps" in (run.directory / "train.log").read_text()
    assert weights(run).keys() == weights(run, "best").keys() == {"network.linear.weight", "network.linear.bias"}

    rows = curve(run)
    assert [int(row["step"]) for row in rows] == [0, 10, 20, 30, 40, 50, 60]
    assert float(rows[1]["learning_rate"]) == pytest.approx(0.0001 + 0.5 * 2.718281828 ** (-10 / 2000))
    assert [row["step"] for row in rows if row["val_accuracy"]] == ["20", "40", "60"]
    assert float(rows[0]["train_loss"]) == pytest.approx(2.302585, abs=1e-5)  # ln 10: all weights are zero
    assert float(rows[-1]["test_accuracy"]) == pytest.approx(result["test_accuracy"])

    table = run.out[run.out.index("model  ") :]
    assert "softmax, 7,850 parameters, 7,840 multiply-adds" in table
    assert f"{result['test_accuracy']:.2%}" in table
    assert "python train.py fit=false resume=" in table

    events = EventAccumulator(str(run.directory), size_guidance={"tensors": 0}).Reload()
    assert {"loss/train", "loss/val", "loss/test", "accuracy/train", "accuracy/val", "training/learning_rate"} <= {
        *events.Tags()["scalars"]
    }
    assert [e.step for e in events.Scalars("accuracy/val")] == [20, 40, 60]
    assert events.Tags()["graph"]
    assert len(list(run.directory.glob("events.out.tfevents.*"))) == 1
    final = {tag: events.Scalars(f"final/{tag}")[-1].value for tag in ("test_accuracy", "fit_seconds")}  # for HPARAMS
    assert final["test_accuracy"] == pytest.approx(result["test_accuracy"])
    assert final["fit_seconds"] == pytest.approx(result["fit_seconds"])
    assert any("hparams" in name for name in events.summary_metadata)


def test_the_same_seed_gives_the_same_weights_and_seed_0_is_one(lab: Lab, train: Train) -> None:
    options = ["model=strided_convnet", "data=fake", "trainer=debug", "logger=none"]
    first, again, other = (lab(*options, f"seed={seed}", to=to) for seed, to in ((0, "a"), (0, "b"), (1, "c")))
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))
    times = {"fit_seconds": 0, "test_seconds": 0, "images_per_second": 0}
    assert replace(first.result, **times) == replace(again.result, **times)
    enforced = train(*options, "seed=0", "deterministic=true", to="d")
    assert enforced.code == 0, enforced.err
    assert same(weights(first), weights(enforced))


def test_a_run_goes_on_as_if_it_had_never_stopped(lab: Lab) -> None:
    options = ["model=mlp_relu", "model.hidden=[32]", "model.dropout=0.25", *SMALL[1:], "schedule=step"]
    options += ["schedule.every=50", "trainer.val_check_interval=15"]
    whole = lab(*options, "trainer.max_steps=90", to="whole")
    part = lab(*options, "trainer.max_steps=36", to="part")  # at the end of an epoch of 36 batches
    assert not same(weights(whole), weights(part))
    part = lab(f"resume={part.directory}", "trainer.max_steps=90")
    assert same(weights(whole), weights(part))
    assert learning(part) == learning(whole)
    assert validation(whole).items() <= validation(part).items()
    assert validation(part).keys() - validation(whole).keys() == {"36"}  # where it ended in between
    for name in ("steps", "val_accuracy", "best_val_accuracy", "best_step", "test_accuracy", "test_loss", "status"):
        assert getattr(part.result, name) == getattr(whole.result, name)
    events = EventAccumulator(str(part.directory)).Reload()
    assert [str(e.step) for e in events.Scalars("loss/train")] == [row["step"] for row in learning(part)]
    assert lab("fit=false", "checkpoint=best", f"resume={part.directory}").result.tested == "best"
    with pytest.raises(UserError, match=r"optim\.lr: .*0\.001 there, 0\.1 here"):
        lab(f"resume={part.directory}", "optim.lr=0.1")


def test_whitening_filters_come_from_training_images_once(lab: Lab) -> None:
    options = ["model=convnet", "model.channels=[8]", "model.kernels=[5]", "model.strides=[2]", "model.hidden=8"]
    options += [*SMALL[1:], "model.whiten=true", "data.normalize=true", "logger=none"]
    whole = lab(*options, "trainer.max_steps=20", to="whole")
    part = lab(*options, "trainer.max_steps=10", to="part")
    found = weights(part)["network.convolutions.0.weight"]
    data = instantiate(whole.config.data)
    data.setup()
    layer = WhiteningConv2d(8, 5, 2, 28)
    layer.prepare((data.train[0][::2, None] / 255 - data.mean) / data.std)
    assert torch.allclose(found, layer.weight, atol=1e-4)
    assert torch.equal(found, weights(whole)["network.convolutions.0.weight"])
    again = lab(f"resume={part.directory}", "trainer.max_steps=20")
    assert same(weights(whole), weights(again))
    last = again.directory / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    saved["state_dict"]["network.convolutions.0.weight"] *= 2
    torch.save(saved, last)
    more = lab(f"resume={again.directory}", "trainer.max_steps=21")
    assert torch.equal(weights(more)["network.convolutions.0.weight"], 2 * found)  # as they were, not made anew
    assert whole.result.parameters == 7 * 7 * 8 * 8 + 8 + 8 * 10 + 10  # the filters are not trained


def test_a_damaged_checkpoint_is_stepped_over(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    run = lab(*SMALL, "logger=none", "trainer.max_steps=30", "callbacks.checkpoints.every_n_steps=20")
    path = run.directory / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-1000])
    more = lab(f"resume={run.directory}", "trainer.max_steps=40")
    assert "last.ckpt: damaged" in caplog.text
    assert "going on from the one before it" in caplog.text
    assert more.result.steps == 40
    assert [int(row["step"]) for row in curve(run) if row["train_loss"]] == [0, 10, 20, 30]


def test_a_multirun_trains_every_combination(train: Train, tmp_path: Path) -> None:
    run = train("--multirun", "model=softmax,mlp_relu", "seed=0,1", "data=fake", "trainer=debug", "logger=none")
    assert run.code == 0, run.err
    found = [json.loads(path.read_text()) for path in (tmp_path / "outputs" / "sweeps").glob("*/*/result.json")]
    assert sorted((r["model"], r["seed"]) for r in found) == [
        ("mlp_relu", 0),
        ("mlp_relu", 1),
        ("softmax", 0),
        ("softmax", 1),
    ]
    assert {r["status"] for r in found} == {"done"}
    said, page = run.out.rsplit("with charts: ", 1)
    assert (tmp_path / page.strip()).exists()
    head, *rows = said[said.rindex("outputs/sweeps") :].splitlines()[1:]
    assert head.split()[:2] == ["model", "n"]
    assert sorted(row.split()[:2] for row in rows[:-1]) == [["mlp_relu", "2"], ["softmax", "2"]]
    assert rows[-1].startswith("± is the standard deviation")


def test_one_bad_job_of_a_multirun_leaves_the_others_alone(train: Train, tmp_path: Path) -> None:
    run = train("--multirun", "optim.lr=0.1,0,0.2", "model=softmax", "data=fake", "trainer=debug", "logger=none")
    assert run.code == 1
    assert "optim.lr=0: the learning rate must be a number above 0" in run.out + run.err
    found = {
        path.parent.name.split("-")[0]: json.loads(path.read_text())["status"]
        for path in (tmp_path / "outputs" / "sweeps").glob("*/*/result.json")
    }
    assert found == {"0": "done", "1": "failed", "2": "done"}
    assert "unfinished" in run.out  # the table at the end
    assert re.search(r"^failed: .*1-softmax: optim.lr=0: the learning rate", run.out, re.MULTILINE)
    assert run.out.splitlines()[-1].startswith("go on with what is missing or failed: python ")


def test_two_processes_train_as_one_and_keep_one_directory(train: Train, tmp_path: Path) -> None:
    options = [*SMALL, "optim=sgd", "trainer.max_steps=40", "trainer.accelerator=cpu"]
    one = train(*options, to="one")
    two = train("trainer=ddp", *options, "hydra.run.dir=${run_dir:}")
    assert two.code == 0, two.err
    (directory,) = (tmp_path / "outputs" / "softmax").iterdir()
    two.directory = directory
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, rtol=0, atol=1e-6)
    assert two.result["test_errors"] == one.result["test_errors"]
    assert len(curve(two)) == len(curve(one))


def test_fast99_takes_the_precision_that_the_processor_is_good_at(lab: Lab) -> None:
    small = ["data=fake", "data.generated=[600,100]", "trainer.max_steps=5", "data.batch_size=50"]
    result = lab("experiment=fast99", *small).result
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert result.precision == ("bf16-mixed" if fast else "32-true")
    assert result.settings["trainer.precision"] == "auto"


@pytest.mark.parametrize(
    ("experiment", "parameters", "multiply_adds"),
    [("tiny", 4_500, 10e6), ("accurate", 300_000, 25e6), ("fast995", 300_000, 5e6), ("drawn", 100_000, 10e6)],
)
def test_recipes_for_a_purpose_run_within_their_bounds(
    experiment: str, parameters: int, multiply_adds: float, lab: Lab
) -> None:
    few = ["data=fake", "data.generated=[100,20]", "data.batch_size=10", "trainer.max_steps=2", "logger=none"]
    result = lab(f"experiment={experiment}", *few).result
    assert result.status == "done"
    assert result.parameters is not None
    assert result.multiply_adds is not None
    assert result.parameters <= parameters
    assert result.multiply_adds <= multiply_adds
    assert result.sizes["val"] == 0  # all images are trained on
    assert "augment" in result.settings
    assert lab(f"experiment={experiment}", *few, "augment=none", to="without").result.status == "done"


EXTRAS = ("mnist_lab.tensorboard", "mnist_lab.view", "mnist_lab.sweeps", "mnist_lab.speed", "mnist_lab.mosaic")


def test_a_run_without_extras_imports_none(tmp_path: Path) -> None:
    options = ["model=convnet", "data=fake", "trainer=debug", "speed=off", "view=off", "logger=none"]
    python, *rest = command(*options, f"hydra.run.dir={tmp_path / 'run'}")
    done = subprocess.run(
        [python, "-X", "importtime", *rest], capture_output=True, text=True, cwd=tmp_path, env=environment()
    )
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "mnist_lab.experiment" in imported
    assert not [name for name in imported if name.startswith((*EXTRAS, "tensorboard", "optuna"))]


def test_a_trick_that_is_switched_off_is_not_imported(tmp_path: Path) -> None:
    tricks = ("lean_steps", "onednn_dense", "space_to_depth_convs")
    off = [f"speed.{trick}=false" for trick in tricks]
    train = "mnist_lab.train('model=softmax', 'data=fake', 'trainer=debug', 'logger=none'"
    imported = f"print([trick in name for trick in {tricks} for name in sys.modules if 'mnist_lab.speed.' in name])"
    code = f"import sys, mnist_lab; {train}, *{off}); {imported}; {train}); {imported}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    without, with_them = done.stdout.splitlines()[-2:]
    assert without == "[]"
    assert with_them.count("True") == 3


def test_a_config_goes_the_way_that_the_docs_describe(lab: Lab) -> None:
    """docs/design.md lists the hops from train.py to result.json: here they are, in that order, in a real run."""
    listed = re.findall(
        r"^\| \d+ \| `([\w/]+\.py)` \| ((?:`[\w.]+`(?:, )?)+)", (ROOT / "docs" / "design.md").read_text(), re.M
    )
    hops = [(file, name) for file, names in listed for name in re.findall(r"`([\w.]+)`", names)]
    assert 10 <= len(listed) <= 12
    files = [file for file, _ in listed if file != "experiment.py"]
    assert len(files) == len(set(files)), "no file is entered twice"
    called: list[tuple[str, str]] = []
    package = str(Path(mnist_lab.__file__).parent)

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(package):
            called.append((code.co_filename.removeprefix(f"{package}/"), code.co_qualname))

    sys.setprofile(note)
    try:
        lab("model=convnet", "model.channels=[2,2]", "model.hidden=8", "data=fake", "trainer=debug", "logger=none")
    finally:
        sys.setprofile(None)
    elsewhere = {("train.py", "main"), ("runs/lifecycle.py", "run"), ("runs/directory.py", "resumed_config")}
    way = [hop for hop in hops if hop not in elsewhere]  # of the command line, and of a run that goes on
    last = {hop: len(called) - 1 - called[::-1].index(hop) for hop in way}
    first = {hop: called.index(hop) for hop in way}
    assert sorted(way[:-1], key=first.__getitem__) == way[:-1]
    assert last[way[-1]] > last["experiment.py", "test"], "result.json is written at the end"
