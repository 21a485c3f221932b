"""What a run is called, where it lies, and how it is named on the command line."""

import shlex
from pathlib import Path

import pytest
from conftest import Lab, Train

import mnist_lab
from mnist_lab import Run
from mnist_lab.errors import UserError
from mnist_lab.runs.result import command
from mnist_lab.sweeps import report, summary
from mnist_lab.view import __main__ as view

SMALL = ["model=softmax", "data=fake", "trainer=debug", "logger=none"]


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "", ".", "..", "a/b", r"a\b", "c:x", "a*", "what?", "x.", "x "])
def test_a_name_is_one_folder_in_outputs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "deep")
    with pytest.raises(UserError, match=r"name=.*: must be the name of one folder"):
        mnist_lab.train(*SMALL, f"name='{name}'")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_name_may_be_what_a_folder_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = mnist_lab.train(*SMALL, "name='zwei Läufe, v1.2 (neu)'")
    assert run.directory.parent == tmp_path / "outputs" / "zwei Läufe, v1.2 (neu)"


@pytest.mark.parametrize("folder", ["a b, it's", 'a=1 [x] {y} (z) "$HOME"', "plain"])
def test_the_commands_that_are_suggested_work(folder: str, train: Train, tmp_path: Path, lab: Lab) -> None:
    lab(*SMALL, to="run")
    moved = Path("run").absolute().rename(tmp_path / folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    words = shlex.split(command(moved, "fit=false "))
    assert words[:3] == ["python", "train.py", "fit=false"]
    again = train(*words[2:])
    assert again.code == 0, again.err
    suggested = [line for line in again.out.splitlines() if "resume=" in line]
    assert [shlex.split(line) for line in suggested] == [words]


def test_latest_is_the_run_that_was_started_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (mnist_lab.train(*SMALL, f"seed={seed}") for seed in (1, 2))
    latest = "outputs/softmax/latest"
    assert mnist_lab.load(latest).directory == Run(latest).directory == second.directory
    assert mnist_lab.train(f"resume={latest}", "trainer.max_steps=30").directory == second.directory
    assert (first.result.steps, second.result.steps) == (20, 30)
    runs = report.collect([Path("outputs/softmax")])
    assert len(runs) == 2
    summary.main(["outputs/softmax", latest, "--csv"])
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(report.group(runs)[1])
    assert mnist_lab.train(f"resume={first.directory}", "trainer.max_steps=40").directory == first.directory
    assert mnist_lab.load(latest).directory == first.directory  # which went on last
    monkeypatch.setattr("sys.argv", ["view", latest, "--backend", "file"])
    view.main()
    assert str(first.directory.relative_to(tmp_path)) in capsys.readouterr().out
    with pytest.raises(UserError, match=r"outputs/nothing/latest: there is no run in"):
        mnist_lab.train("resume=outputs/nothing/latest")


def test_a_class_of_ones_own_is_asked_for_in_both_languages(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import torch\n\nclass Net(torch.nn.Sequential):\n    def __init__(self, **_):\n"
    code += "        super().__init__(torch.nn.Flatten(), torch.nn.Linear(784, 10))\n"
    Path("own_nets.py").write_text(code)
    monkeypatch.syspath_prepend(".")
    lab(*SMALL, "model._target_=own_nets.Net")
    said = r'trust=\[package\] for train.py, --trust .*explore, in Python mnist_lab\.load\(run, trust=\["package"\]'
    with pytest.raises(UserError, match=said):
        mnist_lab.load("run").network()
    assert "Linear" in str(mnist_lab.load("run", trust=["own_nets"]).network())


def test_latest_has_weights_where_one_of_them_has_and_says_what_there_is(lab: Lab, tmp_path: Path) -> None:
    good = mnist_lab.train(*SMALL, "name=a")
    with pytest.raises(UserError):
        mnist_lab.train(*SMALL, "name=a", "optim.lr=-1")
    assert mnist_lab.load("outputs/a/latest").directory == good.directory
    with pytest.raises(UserError, match=r"there is no run in outputs/b; there are runs of a"):
        mnist_lab.load("outputs/b/latest")
