"""``python -m mnist_lab.ensemble`` on runs trained here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import environment, lab_in

import mnist_lab
from mnist_lab.data import sources
from mnist_lab.errors import UserError
from mnist_lab.explore.ensemble import ensemble, main
from mnist_lab.sweeps import report

SHORT = ("optim=adam", "trainer.max_steps=60", "logger=none", "test=false")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs ``0``, ``1``, of another model and normalised ``other``, on other data ``fake``."""
    folder = tmp_path_factory.mktemp("runs")
    lab = lab_in(folder)
    for seed in (0, 1):
        lab("model=mlp_relu", "data=mnist5k", f"seed={seed}", *SHORT, to=str(seed))
    lab("model=softmax", "data=mnist5k", "data.normalize=true", *SHORT, to="other")
    lab("model=softmax", "data=fake", *SHORT, to="fake")
    return folder


def test_the_networks_answer_by_the_mean_of_their_probabilities(folder: Path, tmp_path: Path) -> None:
    names = ("0", "1", "other")
    command = [sys.executable, "-m", "mnist_lab.ensemble", *(str(folder / name) for name in names), "--to", "together"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr

    digits = sources.load("mnist5k", Path())
    runs = [mnist_lab.load(folder / name) for name in names]
    mean = np.mean([run.predict(digits.test_images.numpy()).probabilities for run in runs], axis=0)
    labels = digits.test_labels.numpy()
    result = mnist_lab.load(tmp_path / "together").result
    assert result.test_errors == (mean.argmax(axis=1) != labels).sum()
    assert result.test_accuracy == pytest.approx(1 - result.test_errors / 500)
    assert result.test_loss == pytest.approx(-np.log(mean[np.arange(500), labels]).mean(), rel=1e-5)
    assert result.parameters == 2 * 185_300 + 7_850
    assert result.multiply_adds == sum(run.result.multiply_adds or 0 for run in runs)
    assert f"{result.test_accuracy:.2%} of the test images of mnist5k" in done.stdout
    assert result.provenance["command"].startswith("python -m mnist_lab.ensemble ")


def test_a_report_has_it_beside_the_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main([str(folder / "0"), str(folder / "1")])
    (made,) = tmp_path.glob("outputs/ensemble/*")
    runs = report.collect([folder / "0", folder / "1", made])
    rows = {record["model"]: record for record in report.records(runs)}
    assert {model: row["n"] for model, row in rows.items()} == {"mlp_relu": 2, "ensemble": 1}
    assert rows["ensemble"]["test_accuracy"] == json.loads((made / "result.json").read_text())["test_accuracy"]
    assert rows["ensemble"]["parameters"] == 2 * 185_300


def test_runs_that_cannot_answer_together_are_refused(folder: Path, tmp_path: Path) -> None:
    first, second, fake = (mnist_lab.load(folder / name) for name in ("0", "1", "fake"))
    with pytest.raises(UserError, match=r"different data: \S+0 on mnist5k, \S+fake on fake; name runs of one data set"):
        ensemble([first, fake])
    with pytest.raises(UserError, match=r"runs\S*/0: is named twice"):
        ensemble([first, second, first])
    with pytest.raises(UserError, match="is not the directory of a run"):
        main([str(tmp_path)])
    with pytest.raises(UserError, match=r"holds a result.json already"):
        main([str(folder / "0"), "--to", str(folder / "1")])


def test_an_unfinished_run_is_refused(folder: Path) -> None:
    run = lab_in(folder)("model=softmax", "data=mnist5k", *SHORT, to="cut")
    result = run.result
    result.status = "interrupted"
    result.write(run.directory)
    with pytest.raises(UserError, match=r"cut: the run is interrupted, not done; finish it with resume="):
        ensemble([run])
