"""The config folder: every option composes and builds, experiments win, and typos are found."""

import contextlib
import math
import re
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Lab, command, environment
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from mnist_lab.build import build, classifier, trainer_settings
from mnist_lab.config import check, check_node, flatten_config
from mnist_lab.errors import UserError
from mnist_lab.runs.directory import register_resolvers

CONF = ROOT / "conf"
OPTIONS = [
    (folder.name, path.stem)
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name != "hydra"
    for path in sorted(folder.glob("*.yaml"))
]
EXPERIMENTS = [option for group, option in OPTIONS if group == "experiment"]


def composed(*overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_builds(group: str, option: str, tmp_path: Path) -> None:
    own = {"model": ["model._target_=mnist_lab.networks.Softmax"], "optim": ["optim._target_=torch.optim.RMSprop"]}
    named = own[group] if option == "other" else []
    cfg = composed(f"{group}={option}", *named, *(["trainer=cpu"] if group != "trainer" else []))
    classifier(cfg)
    build(cfg.data, "data", seed=0, augment=build(cfg.augment, "augment") if cfg.get("augment") else None)
    if cfg.get("logger"):
        build(cfg.logger, "logger", save_dir=str(tmp_path), from_step=-1)
    for path, node in check(cfg).items():
        if path.startswith("callbacks."):
            build(node, path)
    if cfg.trainer.accelerator != "cuda" or torch.cuda.is_available():
        build(trainer_settings(cfg.trainer), "trainer", logger=False)


def test_what_tells_runs_apart_is_flat_and_plain() -> None:
    told = flatten_config(composed("model=mlp_relu", "optim.lr=0.2"))
    assert (told["model"], told["model.hidden"], told["optim"], told["optim.lr"]) == (
        "MLP",
        "[200, 100, 60, 30]",
        "Adam",
        0.2,
    )
    assert not [key for key in told if key.startswith(("callbacks", "logger", "data.root"))]


def test_the_optimiser_and_the_schedule_are_the_chosen_ones() -> None:
    model = classifier(composed("optim=momentum", "optim.lr=0.2", "schedule=step", "schedule.every=7"))
    optimizer = model.make_optimizer(model.parameters())
    assert type(optimizer) is torch.optim.SGD
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.2, 0.9)
    assert [model.schedule(t, 1.0, 100) for t in (6, 7)] == [1.0, 0.1]


OPTIMISERS = sorted(
    name
    for name, one in vars(torch.optim).items()
    if isinstance(one, type) and issubclass(one, torch.optim.Optimizer) and one is not torch.optim.Optimizer
)
REFUSED = {"Muon": "only supports 2D parameters", "SparseAdam": "does not support dense gradients"}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_of_torch_trains_or_says_why_not(name: str, lab: Lab) -> None:
    words = [f"optim._target_=torch.optim.{name}", "optim=other", "optim.lr=0.01", "model=softmax", "data=fake"]
    with pytest.raises(UserError, match=REFUSED[name]) if name in REFUSED else contextlib.nullcontext():
        run = lab(*words, "logger=none", "trainer=debug", "trainer.max_steps=3")
        assert run.result.steps == 3
        assert all(p.abs().max() > 0 for p in run.network().parameters())  # all zero before the first step


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_wins_over_the_groups_and_the_command_line_over_it(experiment: str) -> None:
    cfg = composed(f"experiment={experiment}")
    own = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml")
    del own["defaults"]
    chosen = flatten_config(cfg)
    assert flatten_config(own).items() <= chosen.items()
    assert composed(f"experiment={experiment}", "trainer.max_steps=7").trainer.max_steps == 7
    assert composed(f"experiment={experiment}", "model=softmax").model._target_ == "mnist_lab.networks.Softmax"


@pytest.mark.parametrize(
    ("group", "key", "value", "said"),
    [
        ("model", "dropuot", 0.5, "model.dropuot: there is no such key; did you mean dropout?"),
        ("model", "hidden", "many", 'model.hidden="many": must be of type int'),
        ("model", "hidden", True, "model.hidden=true: must be of type int"),
        ("model", "channels", "many", 'model.channels="many": must be of type list[int]'),
        ("model", "channels", [1, 2.5], "model.channels=[1, 2.5]: must be of type list[int]"),
        ("model", "channels", {}, "model.channels={}: must be of type list[int]"),
        ("model", "bias", math.inf, "model.bias=Infinity: must be a finite number"),
        ("optim", "lr", True, "optim.lr=true: must be of type float"),
        ("optim", "lr", "0.1", 'optim.lr="0.1": must be of type float'),
        ("optim", "betas", [0.9], "optim.betas=[0.9]: must be of type tuple["),
        ("optim", "eps", math.nan, "optim.eps=NaN: must be a finite number"),
        ("optim", "_target_", "torch.optim.RMSprop", "optim.betas: there is no such key; choose from lr, alpha"),
        ("data", "timeout", math.nan, "data.timeout=NaN: must be a finite number"),
        ("data", "mirrors", "abc", 'data.mirrors="abc": must be of type list[str] | NoneType'),
        ("data", "batch_size", 0.5, "data.batch_size=0.5: must be of type int"),
        ("schedule", "_target_", "os.getcwdd", "schedule._target_=os.getcwdd: there is no such class"),
        ("schedule", "_target_", 3, "schedule: must name what to make, as schedule._target_=package.module.Class"),
        ("loss", "written_out", 3, "loss.written_out=3: must be of type bool"),
        ("loss", "_target_", "builtins.dict", "loss._target_: <class 'dict'> does not say which keys it takes"),
        ("optim", "lrr", 0.5, "optim.lrr: there is no such key; did you mean lr?"),
        ("data", "drop_last", "perhaps", 'data.drop_last="perhaps": must be of type bool'),
        (
            "trainer",
            "deterministic",
            "abc",
            "trainer.deterministic=\"abc\": must be of type bool | typing.Literal['warn']",
        ),
        ("trainer", "max_step", 5, "trainer.max_step: there is no such key; did you mean max_steps?"),
        ("model", "_target_", "os.nothing", "model._target_=os.nothing: there is no such class"),
    ],
)
def test_keys_and_types_are_those_of_the_signature(group: str, key: str, value: object, said: str) -> None:
    cfg = composed()
    node = OmegaConf.create(OmegaConf.to_container(cfg[group], resolve=True))
    node[key] = value
    with pytest.raises(UserError, match=re.escape(said)):
        check_node(node, group)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job"], ["--cfg", "job", "--resolve", "experiment=pooled"]]
)
def test_help_and_config_are_shown_without_loading_torch(arguments: list[str]) -> None:
    python, *rest = command(*arguments)
    done = subprocess.run([python, "-X", "importtime", *rest], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported
    assert not imported & {"torch", "numpy", "pytorch_lightning"}
    if arguments == ["--help"]:
        for name in ("convnet", "mlp_relu", "schedule", "strided_dropout", "batch_norm_convnet"):
            assert name in done.stdout
        assert done.stdout.count("python train.py") >= 3
    else:
        assert "max_steps" in done.stdout
