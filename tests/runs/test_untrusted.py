"""Files from strangers, and files that chance has changed: only our own errors come out, and nothing is run."""

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lab, Train, lab_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import mnist_lab
from mnist_lab.data.idx import read_idx
from mnist_lab.errors import UserError
from mnist_lab.runs import result
from mnist_lab.runs.directory import read_run_config
from mnist_lab.runs.result import Result
from mnist_lab.runs.run import DamagedCheckpoint, find_checkpoint, verify_checkpoint

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))  # `make fuzz` asks for more
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run."""
    folder = tmp_path_factory.mktemp("stranger")
    return lab_in(folder)("model=softmax", "data=fake", "trainer=debug", "logger=none").directory


@pytest.fixture
def stranger(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "stranger"))


class Malicious:
    """What a pickle may do when it is loaded."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("protocol", ["torch", "plain pickle"])
def test_a_malicious_checkpoint_runs_nothing(protocol: str, stranger: Path, lab: Lab) -> None:
    trace, path = stranger / "was-run", stranger / "checkpoints" / "last.ckpt"
    loaded = torch.load(path, weights_only=True) | {"state_dict": Malicious(trace)}
    if protocol == "torch":
        torch.save(loaded, path)
    else:
        path.write_bytes(pickle.dumps(loaded))
    (stranger / "checkpoints" / "previous.ckpt").unlink(missing_ok=True)
    with pytest.raises(UserError, match="refused" if protocol == "torch" else "damaged"):
        lab("fit=false", f"resume={stranger}")
    assert not trace.exists()
    torch.load(path, weights_only=False) if protocol == "torch" else pickle.loads(path.read_bytes())
    assert trace.exists()  # it would have


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("model", "os.system"),
        ("schedule", "mnist_lab.data.sources.os.system"),
        ("optim", "torch.optim.adam.torch.hub.load"),
        ("callbacks.mine", "subprocess.Popen"),
        ("model.inner", "builtins.eval"),
    ],
)
def test_a_config_of_a_stranger_names_only_our_classes(key: str, target: str, stranger: Path) -> None:
    config = OmegaConf.load(stranger / "config.yaml")
    OmegaConf.update(config, key, {"_target_": target, "command": "touch was-run"}, force_add=True)
    OmegaConf.save(config, stranger / "config.yaml")
    with pytest.raises(UserError, match=f"names {target}, which is not a class of mnist_lab or torch.optim.*trust="):
        read_run_config(stranger)


def test_a_malicious_config_runs_nothing(stranger: Path, lab: Lab, tmp_path: Path) -> None:
    config = OmegaConf.load(stranger / "config.yaml")
    config.schedule = {"_target_": "os.system", "command": "touch was-run"}
    OmegaConf.save(config, stranger / "config.yaml")
    with pytest.raises(UserError, match=r"names os\.system"):
        lab("fit=false", f"resume={stranger}")
    with pytest.raises(UserError, match=r"names os\.system"):
        mnist_lab.load(stranger).network()
    assert not (tmp_path / "was-run").exists()


def test_a_run_of_another_version_is_named_as_what_it_is(stranger: Path) -> None:
    config = OmegaConf.load(stranger / "config.yaml")
    config.callbacks.curves = {"_target_": "mnist_lab.callbacks.Curves"}
    OmegaConf.save(config, stranger / "config.yaml")
    with pytest.raises(UserError, match=r"names mnist_lab\.callbacks\.Curves.*a run of another version of mnist_lab"):
        read_run_config(stranger)


def test_a_class_of_ones_own_is_trusted_by_name(stranger: Path) -> None:
    config = OmegaConf.load(stranger / "config.yaml")
    config.model._target_ = "fractions.Fraction"
    OmegaConf.save(config, stranger / "config.yaml")
    assert read_run_config(stranger, ["fractions"]).model._target_ == "fractions.Fraction"


def test_a_checkpoint_that_swells_is_refused(stranger: Path) -> None:
    path = stranger / "checkpoints" / "last.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(DamagedCheckpoint, match="larger inside than outside"):
        verify_checkpoint(path)


def test_a_checkpoint_of_another_network_is_named(stranger: Path, lab: Lab) -> None:
    config = OmegaConf.load(stranger / "config.yaml")
    config.model = {"_target_": "mnist_lab.networks.MLP", "hidden": [5]}
    OmegaConf.save(config, stranger / "config.yaml")
    for use in (lambda: lab("fit=false", f"resume={stranger}"), lambda: mnist_lab.load(stranger).network()):
        with pytest.raises(UserError, match="the checkpoint is not of the network in"):
            use()
    assert mnist_lab.load(stranger).result.status == "done"  # a test that fails changes nothing


@pytest.mark.slow
def test_too_large_a_batch_names_one_to_try(train: Train) -> None:
    options = ["model=convnet", "data=fake", "data.generated=[40000, 100]", "data.batch_size=30000", "trainer=debug"]
    run = train(*options, limit=8 << 30)
    assert "out of memory with data.batch_size=30000; try data.batch_size=15000" in run.message
    assert run.result["status"] == "failed"


@FUZZ
@given(data=st.data())
def test_no_result_file_is_too_strange(data: st.DataObject, stranger: Path) -> None:
    good = (stranger / result.FILE).read_bytes()
    at = data.draw(st.integers(0, len(good)))
    changed = data.draw(
        st.one_of(st.binary(max_size=30), st.sampled_from([b"[]", b"null", b'"x"', b"1e999", b"{", b"NaN"]))
    )
    (stranger / result.FILE).write_bytes(good[:at] + changed + good[at + len(changed) :])
    with contextlib.suppress(UserError):
        Result.read(stranger)
    (stranger / result.FILE).write_bytes(good)


KEYS = st.sampled_from(["steps", "status", "fit_seconds", "provenance", "x"])
PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


@FUZZ
@given(value=JSON)
def test_any_json_is_a_result_or_an_error_of_ours(value: object, tmp_path: Path) -> None:
    (tmp_path / result.FILE).write_text(json.dumps(value))
    with contextlib.suppress(UserError):
        assert Result.read(tmp_path).status is not None


@FUZZ
@given(data=st.data())
def test_no_config_is_too_strange(data: st.DataObject, stranger: Path) -> None:
    good = (stranger / "config.yaml").read_bytes()
    at = data.draw(st.integers(0, len(good)))
    strange = [
        b"${oops}",
        b"${oc.env:HOME}",
        b"\n  - ",
        b": ",
        b"\t",
        b"!!python/object/apply:os.getcwd []",
        b"&a [*a]",
    ]
    changed = data.draw(st.binary(max_size=20) | st.sampled_from(strange))
    kept = data.draw(st.integers(0, 20))
    (stranger / "config.yaml").write_bytes(good[:at] + changed + good[at + kept :])
    with contextlib.suppress(UserError):
        read_run_config(stranger)
    (stranger / "config.yaml").write_bytes(good)


@settings(FUZZ, max_examples=EXAMPLES // 2)
@given(data=st.data())
def test_no_checkpoint_is_too_strange(data: st.DataObject, stranger: Path) -> None:
    path = stranger / "checkpoints" / "best.ckpt"
    good, best = path.read_bytes(), torch.load(path, weights_only=True)["state_dict"]
    at = data.draw(st.integers(0, len(good)))
    changed = data.draw(st.binary(max_size=40))
    path.write_bytes(good[:at] + changed + good[at + data.draw(st.integers(0, 40)) :])
    with contextlib.suppress(UserError):
        found = torch.load(find_checkpoint(stranger, "best").path, weights_only=True)["state_dict"]
        assert all(torch.equal(found[name], best[name]) for name in best)  # a byte between the archive's records
    path.write_bytes(good)


@FUZZ
@given(data=st.data())
def test_no_data_file_is_too_strange(data: st.DataObject, tmp_path: Path) -> None:
    good = struct.pack(">4I", 0x803, 3, 4, 5) + bytes(range(60))
    at = data.draw(st.integers(0, len(good)))
    changed = good[:at] + data.draw(st.binary(max_size=20)) + good[at + data.draw(st.integers(0, 20)) :]
    (tmp_path / "images").write_bytes(changed)
    with contextlib.suppress(UserError):
        read_idx(tmp_path / "images", (3, 4, 5), hashlib.sha256(good).hexdigest())
        assert changed == good
