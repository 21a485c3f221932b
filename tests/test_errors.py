"""A user's mistake gets one line that names the key and the remedy, and exit code 1."""

import struct
from pathlib import Path

import pytest
from conftest import Lab, Train

from mnist_lab.errors import UserError
from mnist_lab.runs.result import Result

OTHER = ["model=other", "model._target_=torch.nn.Linear"]
# What is typed, and what the line must say.
MISTAKES = {
    "unknown model": (["model=convnt"], ["model=convnt", "did you mean convnet?", "mlp_relu", "softmax"]),
    "unknown recipe": (["experiment=poled"], ["experiment=poled", "did you mean pooled?"]),
    "unknown key": (["optim.lrr=1"], ["optim.lrr", "did you mean lr?"]),
    "unknown key at the root": (["sed=1"], ["sed", "did you mean seed?"]),
    "unknown key, added": (["+optim.lrr=1"], ["optim.lrr", "did you mean lr?"]),
    "unknown key at the root, added": (["+sed=1"], ["sed", "did you mean seed?"]),
    "no number": (["optim.lr=fast"], ['optim.lr="fast"', "float"]),
    "no whole number": (["trainer.max_steps=1.5"], ["trainer.max_steps=1.5", "int"]),
    "seed of the wrong type": (["seed=one"], ['seed="one"', "int"]),
    "negative seed": (["seed=-1"], ["seed=-1", "0"]),
    "a learning rate of nan": (["optim.lr=nan"], ["optim.lr=NaN", "finite number"]),
    "an infinite learning rate": (["optim.lr=inf"], ["optim.lr=Infinity", "finite number"]),
    "a callback that is none": (["+callbacks.mine=3"], ["callbacks.mine", "_target_"]),
    "a callback that makes none": (["+callbacks.mine._target_=os.getcwd"], ["callbacks.mine", "makes str", "Callback"]),
    "a view that makes none": (["+view._target_=os.getcwd"], ["view", "makes str", "Callback"]),
    "a logger that is none": (["+logger._target_=torch.nn.Identity", "logger=none"], ["logger", "Identity", "Logger"]),
    "a schedule that is none": (["schedule._target_=torch.nn.Identity"], ["schedule", "Identity", "Schedule"]),
    "data that are none": (["data._target_=torch.nn.Identity"], ["data", "Identity", "DigitsDataModule"]),
    "a trainer that is none": (["trainer._target_=torch.nn.Identity"], ["trainer", "Identity", "Trainer"]),
    "a loss that is none": (["loss._target_=torch.nn.Identity"], ["loss (torch.nn.Identity)", "forward"]),
    "a loss of many numbers": (["loss._target_=torch.nn.CrossEntropyLoss", "~loss.written_out", "loss.reduction=none"],
                               ["loss (torch.nn.CrossEntropyLoss)", "one number", "(2,)"]),
    "an optimiser that is none": (["optim=other", "optim._target_=torch.nn.Identity"], ["optim", "Optimizer"]),
    "no optimiser named": (["optim=other"], ["optim", "optim._target_=package.module.Class"]),
    "an optimiser with keys of another": (["optim._target_=torch.optim.RMSprop"], ["optim.betas", "optim=other"]),
    "a new key without a +": (["optim=other", "optim.alpha=1"], ["optim.alpha", "+optim.alpha="]),
    "a model of another shape": ([*OTHER, "+model.in_features=28", "+model.out_features=4"],
                                 ["model (torch.nn.Linear)", "(2, 1, 28, 4)", "(2, 10)"]),
    "a model of other images": ([*OTHER, "+model.in_features=784", "+model.out_features=10"],
                                ["model (torch.nn.Linear)", "shapes", "784"]),
    "a model of NaN": (["model.weight_std=1e38"], ["model (mnist_lab.networks.Convnet)", "NaN or Inf"]),
    "a fraction of an epoch": (["trainer.val_check_interval=0.5"], ["trainer.val_check_interval=0.5", "whole number"]),
    "steps between logs": (["trainer.log_every_n_steps=-5"], ["trainer.log_every_n_steps=-5", "above 0"]),
    "negative clipping": (["trainer.gradient_clip_val=-1"], ["trainer.gradient_clip_val=-1", "negative"]),
    "an unknown precision": (["trainer.precision=abc"], ["trainer", "abc"]),
    "a sweep that is none": (["sweep=3"], ["sweep=3"]),
    "an unknown key of the sweep": (["+sweep.pages=true"], ["sweep.pages", "did you mean page?"]),
    "no equals sign": (["convnet"], ["convnet", "key=value"]),
    "spaces at the equals sign": (["optim.lr = 0.1"], ["optim.lr = 0.1", "key=value", "space"]),
    "several values without --multirun": (["optim.lr=0,1"], ["optim.lr=0,1", "--multirun", "'optim.lr=[0,1]'"]),
    "a range without --multirun": (["seed=range(3)"], ["seed=range(3)", "--multirun"]),
    "a typo in a group": (["modle=convnet"], ["modle", "did you mean model?"]),
    "no option": (["model="], ["model=", "choose from convnet"]),
    "a key of a number": (["seed.x=1"], ["seed.x", "nothing to choose from"]),
    "no model": (["~model"], ["model", "model._target_="]),
    "rate 0": (["optim.lr=0"], ["optim.lr=0", "above 0"]),
    "negative momentum": (["optim=momentum", "optim.momentum=-1"], ["optim", "momentum"]),
    "dropout 1": (["model.dropout=1"], ["model.dropout=1", "at least 0 and below 1"]),
    "negative dropout": (["model.dropout=-0.5"], ["model.dropout=-0.5", "at least 0 and below 1"]),
    "batch 0": (["data.batch_size=0"], ["data.batch_size=0", "above 0"]),
    "no layers": (["model=mlp_relu", "model.hidden=[]"], ["model.hidden=[]", "at least one"]),
    "0 steps": (["trainer.max_steps=0"], ["trainer.max_steps=0", "above 0"]),
    "a validation set as large as all": (["data.validation_size=2000"], ["data.validation_size=2000", "2000"]),
    "best of no validation set": (["checkpoint=best", "data.validation_size=0"], ["checkpoint=best", "validation"]),
    "CUDA without a GPU": (["trainer=cuda"], ["trainer=auto", "trainer=cpu"]),
    "an unknown target": (["model._target_=mnist_lab.networks.Resnet"], ["model._target_=mnist_lab.networks.Resnet"]),
    "no run to go on with": (["resume=outputs/nothing"], ["resume=outputs/nothing", "does not exist"]),
    "nothing to do": (["fit=false", "test=false"], ["fit=false", "test=false"]),
    "no weights to test": (["fit=false"], ["fit=false", "resume="]),
    "a switch that is none": (["speed.lean_steps=maybe"], ["speed.lean_steps=maybe", "true or false"]),
    "a callback switched on by a word": (["callbacks.lean_steps.enabled=abc"], ["enabled=abc", "true or false"]),
    "an unknown switch": (["speed.lean_step=false"], ["speed.lean_step", "did you mean lean_steps?"]),
    "a switch that is added": (["+speed.step=true"], ["speed.step", "no such switch", "lean_steps, onednn_dense"]),
    "batch norm of one image": (
        ["model=mlp_relu", "model.batch_norm=shift", "data=fake", "data.generated=[300,100]", "data.batch_size=269"],
        ["data.batch_size=269", "data.drop_last=true"],
    ),
    "a class that is not in its module": (
        ["model=other", "model._target_=torch.nn.Modul"],
        ["in torch.nn", "did you mean torch.nn.Module?"],
    ),
    "a module that is not there": (["model=other", "model._target_=nowhere.Net"], ["no module nowhere is found"]),
    "a group that is null": (["callbacks=null"], ["~callbacks", "name of an option"]),
    "no data": (["data=mnist", "data.root=here", "data.download=false"], ["data=mnist", "here/MNIST/raw", "mnist5k"]),
    "no network": (
        ["data=mnist", "data.root=here", "data.mirrors=[http://127.0.0.1:9/]"],
        ["data=mnist", "http://127.0.0.1:9/", "MNIST_LAB_DATA", "mnist5k"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_names_what_and_where_and_the_remedy(mistake: str, lab: Lab) -> None:
    arguments, said = MISTAKES[mistake]
    data = [] if any(a.startswith("data=") for a in arguments) else ["data=fake"]
    with pytest.raises(UserError) as raised:
        lab(*arguments, *data)
    assert "\n" not in str(raised.value)
    for words in said:
        assert words in str(raised.value)


@pytest.mark.parametrize("mistake", ["unknown model", "unknown key, added", "dropout 1", "no data"])
def test_the_command_line_prints_that_line_and_nothing_else(mistake: str, train: Train) -> None:
    arguments, said = MISTAKES[mistake]
    message = train(*arguments, "trainer=debug").message  # exit code 1, one line
    for words in said:
        assert words in message


def test_an_output_directory_under_a_file(train: Train) -> None:
    assert "/dev/null" in train("data=fake", "hydra.run.dir=/dev/null/run").message


# The lines of an experiment's file after the first, and what the line must say.
FILES = {
    "a typo": ("optim:\n  lrr: 0.1\n", ["optim.lrr", "did you mean lr?"]),
    "a typo in a group": ("optimm:\n  lr: 0.1\n", ["optimm", "did you mean optim?"]),
    "indentation": ("optim:\n  lr: 0.1\n   eps: 0.1\n", ["wrong.yaml, line 4:", "indentation"]),
    "a tab": ("optim:\n\tlr: 0.1\n", ["wrong.yaml, line 3:", "spaces only"]),
    "a key twice": ("optim:\n  lr: 0.1\n  lr: 0.2\n", ["wrong.yaml, line 4:", "duplicate key lr"]),
    "an open quote": ('optim:\n  lr: "0.1\n', ["wrong.yaml, line 4:", "quotes"]),
    "no colon": ("optim:\n  lr 0.1\n", ["optim", "optim._target_="]),
    "an unknown group": ("defaults:\n  - override /modle: convnet\n", ["experiment/wrong", "modle"]),
    "an unknown option": ("defaults:\n  - override /model: convnt\n", ["model=convnt", "did you mean convnet?"]),
    "defaults that are no list": ("defaults:\n  override /model: softmax\n", ["experiment/wrong", "must be a list"]),
    "no package": (None, ["experiment", "# @package _global_"]),
}


@pytest.mark.parametrize("mistake", FILES)
def test_a_mistake_in_an_experiment_file_gets_one_line(mistake: str, lab: Lab, tmp_path: Path) -> None:
    text, said = FILES[mistake]
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    lines = "optim:\n  lr: 0.1\n" if text is None else f"# @package _global_\n{text}"
    (tmp_path / "mine" / "experiment" / "wrong.yaml").write_text(lines)
    with pytest.raises(UserError) as raised:
        lab(f"hydra.searchpath=[file://{tmp_path / 'mine'}]", "experiment=wrong", "data=fake")
    assert "\n" not in str(raised.value)
    for words in said:
        assert words in str(raised.value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--multirn"], "unrecognized arguments: --multirn"),
        (["-multirun"], "--multirun go first"),
        (["seed=0", "--multirun", "model=softmax"], "--multirun go first"),
        (["--config-name=foo"], "foo"),
        (["--config-dir=nowhere"], "nowhere"),
    ],
)
def test_a_wrong_flag_gets_one_line(typed: list[str], said: str, train: Train) -> None:
    assert said in train(*typed).message


def test_the_traceback_is_shown_when_asked_for(train: Train) -> None:
    run = train("optim.lr=0", "data=fake", env={"HYDRA_FULL_ERROR": "1"})
    assert run.code == 1
    assert "Traceback" in run.err
    assert "optim.lr=0" in run.err


@pytest.mark.parametrize("mistake", [["data=mnist", "data.root=here", "data.download=false"], ["+sed=1"]])
def test_a_failed_run_says_so_in_its_result(mistake: list[str], lab: Lab) -> None:
    with pytest.raises(UserError) as raised:
        lab(*mistake)
    result = Result.read(Path("run"))
    assert (result.status, result.error) == ("failed", str(raised.value))


@pytest.mark.parametrize("fault", ["truncated", "altered"])
def test_a_damaged_data_file_is_named(fault: str, lab: Lab, tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, size in (("train", 60_000), ("t10k", 10_000)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, size, 28, 28) + bytes(size * 784))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, size) + bytes(size))
    images = raw / "train-images-idx3-ubyte"
    if fault == "truncated":
        images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{images}: {fault}.*delete"):
        lab("data=mnist", "data.download=false", f"data.root={tmp_path / 'data'}")


def test_auto_falls_back_with_a_warning_no_one_can_miss(train: Train) -> None:
    run = train("model=softmax", "trainer=debug", "data.root=here", "data.mirrors=[http://127.0.0.1:9/]")
    assert run.code == 0
    assert "!! MNIST is not at hand" in run.out
    assert run.result["data"] == "mnist5k"
    assert run.result["sizes"] == {"train": 4000, "val": 500, "test": 500}
