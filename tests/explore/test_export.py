import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import Lab

from mnist_lab import Run
from mnist_lab.errors import UserError
from mnist_lab.explore import export

SHORT = ("data=mnist5k", "trainer.max_steps=20", "logger=none", "test=false")
BATCH_NORM = ("model=strided_convnet", "model.batch_norm=scale_and_shift", "data.normalize=true")


def what_torch_says(run: Run, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return run.network()(torch.from_numpy(images).unsqueeze(1) / 255).numpy()


def digits(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def test_onnx_takes_raw_images_and_says_what_torch_says(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    run = lab(*BATCH_NORM, *SHORT)
    export.main([str(run.directory)])
    assert "run/model.onnx: " in capsys.readouterr().out
    session = onnxruntime.InferenceSession(run.directory / "model.onnx")
    for n in (1, 7, 1000):
        images = digits(n)
        logits, probabilities = session.run(["logits", "probabilities"], {"images": images})
        expected = what_torch_says(run, images)
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        np.testing.assert_allclose(probabilities, torch.from_numpy(expected).softmax(1), atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["labels"]) == list("0123456789")
    assert about["run"] == "run"
    assert about["data"] == "mnist5k"
    assert str(Path(export.__file__).parent).encode() not in (run.directory / "model.onnx").read_bytes()
    assert [path.name for path in run.directory.glob("model*")] == ["model.onnx"]  # no second file, nothing left over


@pytest.mark.slow
@pytest.mark.parametrize("model", ["softmax", "mlp_sigmoid", "mlp_relu", "strided_convnet", "convnet"])
def test_every_model_in_every_form(lab: Lab, model: str) -> None:
    run = lab(f"model={model}", *SHORT)
    images = digits(7)
    for name, form, int8 in (("a.onnx", "onnx", False), ("b.onnx", "onnx", True), ("c.pt2", "pt2", False)):
        path = run.directory / name
        found = export.export(run, path, form, int8=int8)
        assert found.images == 500
        assert found.same >= (475 if int8 else 500)
        logits, _ = export.OPEN[form](path)(images)
        np.testing.assert_allclose(logits, what_torch_says(run, images), atol=1.0 if int8 else 1e-4)
    assert (run.directory / "b.onnx").stat().st_size < (run.directory / "a.onnx").stat().st_size


def test_pt2_is_compared_and_says_what_it_is(lab: Lab) -> None:
    run = lab("model=softmax", *SHORT)
    export.main([str(run.directory), "--format", "pt2", "--output", str(run.directory / "mine.pt2")])
    said = {"about.json": ""}
    module = torch.export.load(run.directory / "mine.pt2", extra_files=said).module()
    assert json.loads(said["about.json"])["name"] == "softmax"
    images = digits(3)
    np.testing.assert_allclose(module(torch.from_numpy(images))[0].detach(), what_torch_says(run, images), atol=1e-4)


def test_no_file_where_it_is_not_what_torch_computes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lab("model=softmax", *SHORT)
    path = run.directory / "model.pt2"
    path.write_text("an older one")
    exact = export.OPEN["pt2"]

    def off(file: Path) -> export.Forward:
        forward = exact(file)
        return lambda images: (forward(images)[0] + np.float32(0.001), forward(images)[1])

    monkeypatch.setitem(export.OPEN, "pt2", off)
    with pytest.raises(UserError, match=r"not written.*500 of 500.*logits differ by up to 0.001"):
        export.export(run, path, "pt2")
    assert path.read_text() == "an older one"


def test_mistakes_get_one_line(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lab("model=softmax", *SHORT, "~callbacks.checkpoints")
    with pytest.raises(UserError, match=r"last.ckpt: does not exist"):
        export.main([str(run.directory), "--format", "pt2"])
    with pytest.raises(UserError, match=r"missing; .* is not the directory of a run"):
        export.main([str(run.directory / "elsewhere")])
    with pytest.raises(UserError, match="--int8: is for --format onnx"):
        export.main([str(run.directory), "--format", "pt2", "--int8"])
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"needs onnxscript.*\[export\]"):
        export.main([str(run.directory)])


def test_other_data_than_the_run_was_trained_on_is_refused(lab: Lab) -> None:
    run = lab("model=softmax", *SHORT)
    file = run.directory / "result.json"
    file.write_text(file.read_text().replace('"data": "mnist5k"', '"data": "mnist"'))
    with pytest.raises(UserError, match=r"its data, mnist, not in .*; say where in MNIST_LAB_DATA"):
        export.main([str(run.directory), "--format", "pt2"])
