"""One training on several processes: real ones, started by the tests in place of Lightning where that is quicker."""

import csv
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import Lab, Process, Train

import mnist_lab

# The last batch of each epoch has 2 images: fewer than there are processes.
SMALL = ["data=fake", "data.generated=[302,70]", "data.validation_size=0", "data.batch_size=100", "logger=none"]
SMALL += ["trainer.log_every_n_steps=3", "trainer.max_steps=40", "trainer.accelerator=cpu"]


def together(train: Train, count: int, *options: str, to: str = "several") -> list[Process]:
    """The ``count`` processes of one training, at their end; the first one kept the records."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    address |= {"PYTHONPATH": str(Path(__file__).parent)}

    def start(rank: int) -> Process:
        given = ["trainer=ddp", f"trainer.devices={count}", f"hydra.job.name=train{rank}", *options]
        return train(*given, env={"LOCAL_RANK": str(rank), **address}, to=to)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def weights(directory: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor]
    state = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


def curve(directory: Path, *names: str) -> list[list[float]]:
    with (directory / "metrics.csv").open() as file:
        return [[float(row[name]) for name in names] for row in csv.DictReader(file) if row[names[-1]]]


def assert_same(several: Path, one: Path) -> None:
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(several)[name], tensor, rtol=0, atol=1e-6)
    logged = "step", "train_loss", "train_accuracy", "gradient_norm"
    torch.testing.assert_close(
        torch.tensor(curve(several, *logged)), torch.tensor(curve(one, *logged)), rtol=1e-4, atol=1e-5
    )


def test_three_processes_train_as_one(train: Train, lab: Lab) -> None:
    options = [*SMALL, "model=softmax", "optim=sgd"]
    first, *others = together(train, 3, *options, "+callbacks.draws._target_=observers.Draws")
    assert first.code == 0, first.err
    assert [other.code for other in others] == [0, 0]
    one = lab(*options, to="one")
    assert_same(first.directory, one.directory)
    assert first.result["test_errors"] == one.result.test_errors
    drawn = [(first.directory / f"drawn{rank}").read_text().split() for rank in range(3)]
    assert len({number for numbers in drawn for number in numbers}) == 3 * 40, "dropout would be the same again"


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_any_number_of_processes_trains_as_one(loss: str, count: int, train: Train, lab: Lab) -> None:
    options = [*SMALL, "model=convnet", "model.channels=[2,3]", "model.hidden=8", "model.dropout=0", "optim=sgd"]
    options += [f"loss.reduction={loss}", f"optim.lr={0.01 if loss == 'mean' else 0.0001}"]
    first, *_ = together(train, count, *options)
    assert first.code == 0, first.err
    assert_same(first.directory, lab(*options, to="one").directory)


def test_a_nan_on_one_process_ends_all_with_one_line(train: Train) -> None:
    poison = ["+callbacks.poison._target_=observers.Poison", "+callbacks.poison.rank=1", "+callbacks.poison.step=7"]
    model = ["model=mlp_relu", "model.hidden=[16]", "model.batch_norm=shift", "data.drop_last=true"]
    first, other = together(train, 2, *SMALL, *model, *poison)
    assert first.out.count("batch norm sees a process's part of each batch only") == 1
    assert not other.out
    assert "the training loss is nan at step 7" in first.message
    assert other.code == 0, other.err
    assert not other.err
    assert first.result["status"] == "failed"
    assert (first.directory / "checkpoints" / "before_nan.ckpt").exists()


DROPOUT = [*SMALL, "model=mlp_relu", "model.hidden=[16]", "model.dropout=0.5", "optim=sgd"]


@pytest.mark.slow
def test_a_run_on_two_processes_resumes_exactly_on_two(train: Train) -> None:
    whole, _ = together(train, 2, *DROPOUT, to="whole")
    half, _ = together(train, 2, *DROPOUT, "trainer.max_steps=21", to="half")
    more, _ = together(train, 2, f"resume={half.directory}", "trainer.max_steps=40")
    assert (whole.code, half.code, more.code) == (0, 0, 0), more.err
    assert all(torch.equal(tensor, weights(half.directory)[name]) for name, tensor in weights(whole.directory).items())


@pytest.mark.slow
def test_a_run_goes_on_on_another_number_of_processes(train: Train, lab: Lab) -> None:
    options = [*SMALL, "model=softmax", "optim=sgd"]
    two, _ = together(train, 2, *options, "trainer.max_steps=11", to="two")
    assert two.code == 0, two.err
    on_one = ["trainer.devices=1", "trainer.strategy=auto"]
    tested = lab("fit=false", f"resume={two.directory}", "trainer=cpu")
    assert tested.result.test_errors == two.result["test_errors"]
    three, *_ = together(train, 3, f"resume={two.directory}", "trainer.max_steps=21")
    assert three.code == 0, three.err
    lab(f"resume={two.directory}", "trainer.max_steps=40", *on_one)
    assert_same(two.directory, lab(*options, to="one").directory)


def test_more_processes_than_cores_are_refused(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    cores = len(os.sched_getaffinity(0))
    message = train(
        "model=softmax", "data=fake", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=999"
    ).message
    assert f"trainer.devices=999: there are only {cores} cores here" in message


def test_several_processes_are_not_started_from_python(lab: Lab) -> None:
    with pytest.raises(mnist_lab.UserError, match="several processes are started by"):
        lab("model=softmax", "data=fake", "trainer=ddp", "trainer.accelerator=cpu")
