"""The page Explore in a real browser: over the server, and as one file."""

import base64
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from conftest import environment, lab_in
from PIL import Image
from torch import nn

import mnist_lab
from mnist_lab.errors import UserError
from mnist_lab.explore import __main__ as command
from mnist_lab.explore import export
from mnist_lab.explore.inside import Inside
from mnist_lab.explore.normalize import from_strokes
from mnist_lab.explore.one_file import one_file
from mnist_lab.explore.program import Program, quantized
from mnist_lab.networks import MLP, Convnet, SmallResNet, Softmax
from mnist_lab.networks.layers import Normalize, ShiftedCopies
from mnist_lab.page import document

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")

SIZE = 280
Points = list[tuple[float, float]]


def along(*corners: tuple[float, float], points: int = 12) -> Points:
    """Points on the lines between corners, in parts of the drawing area."""
    pairs = pairwise(corners)
    return [(a + (c - a) * i / points, b + (d - b) * i / points) for (a, b), (c, d) in pairs for i in range(points + 1)]


def ring() -> Points:
    return [(0.5 + 0.2 * np.sin(t), 0.5 - 0.3 * np.cos(t)) for t in np.linspace(0, 2 * np.pi, 30)]


DIGITS = {"0": [ring()], "1": [along((0.52, 0.2), (0.48, 0.8))], "7": [along((0.3, 0.25), (0.7, 0.25), (0.45, 0.8))]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[mnist_lab.Run, mnist_lab.Run]:
    """A convnet that has kept an early checkpoint, and softmax regression."""
    lab = lab_in(tmp_path_factory.mktemp("runs"))
    common = ("data=mnist5k", "logger=none", "trainer.log_every_n_steps=100")
    convnet = ("model=convnet", "model.channels=[4,6]", "model.hidden=32", "data.normalize=true")
    first = lab(*convnet, *common, "trainer.max_steps=250", "callbacks.checkpoints.keep=[10]", to="convnet")
    return first, lab("model=softmax", *common, "trainer.max_steps=100", to="linear")


@pytest.fixture(scope="module")
def address(runs: tuple[mnist_lab.Run, mnist_lab.Run]) -> Iterator[str]:
    """Of the page of the two runs."""
    words = [str(run.directory) for run in runs]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "mnist_lab.explore", *words, "--no-browser", "--port", str(port)],
            stdout=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        assert process.stdout
        line = process.stdout.readline()
    assert line.startswith("explore: http://localhost:")
    assert f":{port} " not in line
    yield line.split()[1].rstrip(";")
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def server(address: str) -> str:
    """The address without what the page is to show."""
    return address.partition("/#")[0]


@pytest.fixture(scope="module")
def page(address: str) -> Iterator["Page"]:
    opened = Page(address)
    try:
        yield opened
        assert opened.errors() == []
    finally:
        opened.close()


class Page(Browser):
    """A page with a drawing area."""

    def __init__(self, address: str, *size: int):
        super().__init__(CHROMIUM, address, *size)
        self.until("document.querySelector('.x-run')?.dataset.settled")

    def box(self, selector: str) -> list[float]:
        script = f"const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
        return self.evaluate(f"(() => {{ {script} return [r.left, r.top, r.width, r.height] }})()")

    def draw(self, strokes: list[Points]) -> None:
        """With the mouse, from a blank area."""
        self.button("Clear")
        self.until("document.querySelector('.x-run').dataset.settled == 'nothing'")
        self.evaluate("document.querySelector('.x-pad').scrollIntoView({ block: 'center' })")
        left, top, width, height = self.box(".x-pad")
        for stroke in strokes:
            places = [(left + x * width, top + y * height) for x, y in stroke]
            kinds = ["mousePressed", *["mouseMoved"] * (len(stroke) - 1), "mouseReleased"]
            for kind, (x, y) in zip(kinds, [*places, places[-1]], strict=True):
                self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        self.until("[...document.querySelectorAll('.x-run')].every((run) => run.dataset.settled == 'occlusion')")

    def button(self, text: str, within: str = "body") -> None:
        found = f"[...document.querySelector('{within}').querySelectorAll('button')]"
        self.evaluate(f"{found}.find((button) => button.textContent == {json.dumps(text)}).click()")

    def answers(self) -> list[str]:
        return self.evaluate("[...document.querySelectorAll('.x-answer')].map((answer) => answer.textContent)")


def image_of(strokes: list[Points]) -> np.ndarray:
    return from_strokes([np.array(stroke) * SIZE for stroke in strokes]).image


def test_known_digits_are_drawn_and_recognised(page: Page, runs: tuple[mnist_lab.Run, mnist_lab.Run]) -> None:
    for digit, strokes in DIGITS.items():
        page.draw(strokes)
        image = image_of(strokes)
        expected = [run.predict(image[None]) for run in runs]
        assert page.answers() == [prediction.labels[0] for prediction in expected]
        assert page.answers()[0] == digit
        shown = page.evaluate("document.querySelector('.x-best').getAttribute('aria-label')")
        probability = expected[0].probabilities[0].max()
        assert shown.startswith(f"{digit}: ")
        assert float(shown.split()[1]) == pytest.approx(100 * probability, abs=2)  # the mouse stops at whole pixels
    assert "for “7”" in page.evaluate("document.querySelector('.x-looked h3').textContent")
    assert "score of 7" in page.evaluate("document.querySelectorAll('.x-map p')[2].textContent")


def test_a_click_on_a_unit_shows_the_number_that_torch_computes(
    page: Page, runs: tuple[mnist_lab.Run, mnist_lab.Run]
) -> None:
    page.draw(DIGITS["7"])
    image = np.array(page.waited(
        "import('normalize').then(() => { const c = document.querySelector('.x-input canvas');"
        " return [...c.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 == 0) })"
    ))  # fmt: skip
    paper, ink = image.max(), image.min()
    image = np.rint((paper - image) / (paper - ink) * 255).astype(np.uint8).reshape(28, 28)  # colours of the theme
    np.testing.assert_allclose(image, image_of(DIGITS["7"]), atol=40)
    page.evaluate("document.querySelectorAll('.x-layer')[1].scrollIntoView({ block: 'center' })")
    left, top, width, height = page.box(".x-layer:nth-child(2) .x-sheet")
    for kind in ("mousePressed", "mouseReleased"):  # in the middle of the third of the four images
        x, y = left + 0.62 * width, top + 0.5 * height
        page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    title = page.until("document.querySelector('.x-unit h4')?.textContent")
    inside = Inside(runs[0].network())
    kinds = [step.kind for step in inside.steps]
    assert kinds[:4] == ["normalised image", "convolution", "max pooling", "ReLU"]
    _, channel, _, row, _, column, _ = title.replace(",", "").replace(":", "").split()
    value = inside.look(image)[1][3][int(channel) - 1, int(row) - 1, int(column) - 1]
    assert channel == "3"
    shown = float(page.evaluate("document.querySelector('.x-value').dataset.value"))
    assert shown == pytest.approx(float(value), abs=0.05)
    steps = page.evaluate("[...document.querySelectorAll('.x-sum li')].map((line) => line.textContent)")
    assert [line.split()[0] for line in steps] == ["Sum", "max", "ReLU:"]
    assert page.evaluate("document.querySelectorAll('.x-grid')[0].children.length") == 25
    assert page.evaluate("!document.querySelector('.x-frame').hidden")


def test_the_same_run_early_and_late(page: Page) -> None:
    choices = page.evaluate("[...document.querySelector('.x-beside select').options].map((o) => o.textContent)")
    assert choices[:3] == ["nothing", "the same run at step 10 (step10)", "linear"]
    page.evaluate(
        "(() => { const s = document.querySelector('.x-beside select'); s.selectedIndex = 1;"
        " s.dispatchEvent(new Event('change')) })()"
    )
    page.until("document.querySelectorAll('.x-run')[1].textContent.includes('step 10 ')")
    page.until("document.querySelectorAll('.x-run')[1].dataset.settled == 'occlusion'")
    legends = page.evaluate(
        "[...document.querySelectorAll('.x-run')].map((run) =>"
        " [...run.querySelectorAll('.x-head .x-legend')].map((key) => key.textContent))"
    )
    assert legends[0] == legends[1]  # one scale for both
    assert len(legends[0]) == 5


def test_mistakes_and_own_digits(page: Page, runs: tuple[mnist_lab.Run, mnist_lab.Run], tmp_path: Path) -> None:
    page.evaluate("document.querySelector('.x-bottom').scrollIntoView()")
    says = page.until("document.querySelector('.x-matrix') && document.querySelector('.x-below p').textContent")
    wrong = round(500 * (1 - runs[0].result.test_accuracy))
    assert says.startswith(f"{wrong} of 500 test images are missed")
    page.evaluate("document.querySelector('.x-mistakes .x-thumb').click()")
    label = page.evaluate("document.querySelector('.x-mistakes .x-thumb').getAttribute('aria-label')")
    page.until(f"document.querySelector('.x-answer').textContent == '{label.split()[3]}'")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.press("ArrowRight", "ArrowRight")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == page.evaluate("document.querySelectorAll('.x-mistakes .x-thumb')[1].getAttribute('aria-label')")
    page.until(f"document.querySelector('.x-answer').textContent == '{label.split()[3]}'")

    for digit, strokes in DIGITS.items():
        page.draw(strokes)
        for _ in range(4):
            page.button(digit, ".x-own")
    assert "12 kept" in page.evaluate("document.querySelector('.x-own [role=status]').textContent")
    page.evaluate(
        "(() => { URL.createObjectURL = (blob) => { const read = new FileReader(); read.onload = () => "
        "(window.saved = read.result.split(',')[1]); read.readAsDataURL(blob); return 'data:,' } })()"
    )
    page.button("Download", ".x-own")
    content = base64.b64decode(page.until("window.saved"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "digits")
    picture = np.asarray(Image.open(tmp_path / "digits/png/0001-0.png").convert("L"))
    digits = mnist_lab.data.sources.load("own", tmp_path / "digits")
    np.testing.assert_array_equal(digits.train_images[0], picture)
    np.testing.assert_allclose(picture, image_of(DIGITS["0"]), atol=40)
    assert sorted([*digits.train_labels.tolist(), *digits.test_labels.tolist()]) == [0] * 4 + [1] * 4 + [7] * 4
    trained = lab_in(tmp_path)(
        "model=softmax", "data=own", f"data.root={tmp_path / 'digits'}", "data.batch_size=5", "data.validation_size=2",
        "trainer.max_steps=30", "logger=none", to="mine",
    )  # fmt: skip
    assert trained.result.data == "own"
    assert trained.result.test_accuracy == 1


def test_with_the_keyboard_alone(page: Page) -> None:
    page.evaluate("delete document.querySelector('.x-run').dataset.settled")
    page.send("Page.reload")
    page.until("document.querySelector('.x-run')?.dataset.settled == 'nothing'")
    for _ in range(20):
        page.press("Tab", "Tab")
        if page.evaluate("document.activeElement.className") == "x-pad":
            break
    for key in [*["ArrowUp"] * 6, " ", *["ArrowDown"] * 12, " "]:
        page.press(key, "Space" if key == " " else key)
    page.until("document.querySelector('.x-run').dataset.settled == 'occlusion'")
    assert page.answers()[0] == "1"
    page.press("Backspace", "Backspace")
    page.until("document.querySelector('.x-answer').textContent == '–'")  # noqa: RUF001
    assert page.evaluate("document.querySelector('.x-says .x-note').textContent") == "nothing is drawn there"


def test_on_a_phone_it_draws_and_does_not_scroll(address: str) -> None:
    phone = Page(address, 375, 800)
    phone.send("Emulation.setTouchEmulationEnabled", enabled=True)
    left, top, width, height = phone.box(".x-pad")
    assert left >= 0
    assert left + width <= 375
    points = [(left + x * width, top + y * height) for x, y in along((0.5, 0.8), (0.5, 0.2))]
    for kind, place in zip(["touchStart", *["touchMove"] * (len(points) - 1)], points, strict=True):
        phone.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": place[0], "y": place[1]}])
    phone.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    phone.until("document.querySelector('.x-run').dataset.settled == 'occlusion'")
    assert phone.answers()[0] == "1"
    assert phone.evaluate("scrollY") == 0
    assert phone.evaluate("document.documentElement.scrollWidth") == 375
    phone.close()


def test_dark_is_dark_and_everything_has_a_name(address: str) -> None:
    page = Page(address)
    light = page.picture().resize((1, 1)).getpixel((0, 0))
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.draw(DIGITS["0"])
    dark = page.picture().resize((1, 1)).getpixel((0, 0))
    assert isinstance(light, tuple)
    assert isinstance(dark, tuple)
    assert min(light) > 200
    assert max(dark) < 80
    parts = "button, select, canvas, output, [role=group], [role=region]"
    nameless = (
        f"[...document.querySelector('.x-explore').querySelectorAll('{parts}')].filter((e) =>"
        " !e.closest('button canvas') && !(e.getAttribute('aria-label') || e.textContent || e.labels?.length))"
        ".map((e) => e.outerHTML)"
    )
    assert page.evaluate(nameless) == []
    requests = "performance.getEntriesByType('resource').filter((r) => !r.name.startsWith(location.origin)"
    assert page.evaluate(f"{requests} && !r.name.startsWith('data:')).length") == 0
    page.close()


# One file, and the two engines.


@pytest.fixture(scope="module")
def file(runs: tuple[mnist_lab.Run, mnist_lab.Run], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of the convnet from disk."""
    path = tmp_path_factory.mktemp("file") / "convnet.html"
    export.main([str(runs[0].directory), "--format", "html", "--output", str(path)])
    assert path.stat().st_size < 2_000_000
    opened = Page(path.as_uri())
    try:
        yield opened
        assert opened.errors() == []
    finally:
        opened.close()


def test_the_file_answers_from_disk(file: Page) -> None:
    for digit, strokes in DIGITS.items():
        file.draw(strokes)
        assert file.answers() == [digit]
    assert file.evaluate("document.querySelector('.x-beside')") is None
    file.evaluate("document.querySelector('.x-bottom').scrollIntoView()")
    file.until("!!document.querySelector('.x-matrix')")
    file.evaluate("document.querySelectorAll('.x-means .x-thumb')[3].click()")
    file.until("document.querySelector('.x-answer').textContent == '3'")
    file.draw([along((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2))])
    assert file.evaluate("document.querySelector('.x-says .x-note').textContent").startswith("Unlike any digit")


def test_strokes_become_the_same_image_in_javascript(file: Page) -> None:
    rng = np.random.default_rng(1)
    drawings: list[Any] = [[[[5, 5]]], [[[5, 5], [5.1, 5]]], [[[0, 0], [100, 0]]], [[[1e6, 1e6], [1e6 + 3, 1e6 + 9]]]]
    for _ in range(30):
        walks = [np.cumsum(rng.normal(0, 10, (rng.integers(1, 40), 2)), axis=0) for _ in range(rng.integers(1, 4))]
        drawings.append([np.round(walk, 2).tolist() for walk in walks])
    script = f"import('normalize').then(({{ fromStrokes }}) => {json.dumps(drawings)}.map((drawing) => "
    found = file.waited(
        script + "{ const { image, problem } = fromStrokes(drawing, 1); return [[...image], problem] }))"
    )
    for drawing, (image, problem) in zip(drawings, found, strict=True):
        expected = from_strokes(drawing, 1)
        assert problem == expected.problem
        assert np.abs(expected.image.ravel().astype(int) - image).max() <= 1


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    found: dict[str, nn.Module] = {
        "softmax": Softmax("truncated_normal"),
        "mlp": MLP([20, 15], "sigmoid", batch_norm="scale_and_shift"),
        "strided": Convnet([3, 4], [6, 5], [1, 2], hidden=11, dropout=0.5),
        "pooled": nn.Sequential(Normalize(0.13, 0.31), Convnet([3, 4], [5, 5], pool=True, hidden=11)),
        "valid": Convnet([3, 4], [5, 3], [2, 1], padding="valid", hidden=11, activation="sigmoid"),
        "resnet": SmallResNet([4, 6], [3, 3], stride=2),
        "plain": SmallResNet([4, 6], [2, 2], residual=False, pool="mean"),
        "shifts": ShiftedCopies(SmallResNet([4], [1]), 1),
    }
    for network in found.values():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
                layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
                layer.weight.data.uniform_(0.5, 2)
    return found


@pytest.mark.parametrize("name", networks())
def test_javascript_computes_what_torch_computes(file: Page, name: str) -> None:
    network = networks()[name]
    program, inside = Program(network), Inside(quantized(network))
    image = image_of(DIGITS["7"])
    data = {
        "info": {"steps": [step._asdict() for step in inside.steps]},
        "operations": program.operations,
        "packed": base64.b64encode(program.packed).decode(),
    }
    weighted = [i for i, step in enumerate(inside.steps) if step.weights]
    units = [(i, int(np.prod(inside.steps[i].shape)) * part // 7) for i in weighted for part in (0, 3, 6)]
    found = file.waited(
        "(async () => { const { open } = await import('network');"
        f" const engine = open({json.dumps(data)}), image = Uint8Array.from({json.dumps(image.ravel().tolist())});"
        " const { logits, values } = await engine.look(image), looked = {}, units = [];"
        " for (const method of ['gradient', 'integrated', 'occlusion'])"
        "   looked[method] = [...await engine.looked(image, method, 7)];"
        f" for (const [step, index] of {json.dumps(units)}) units.push(await engine.unit(image, step, index));"
        f" const weights = [...await engine.weights({weighted[0]})];"
        " return { logits: [...logits], values: values.map((one) => [...one]), looked, weights,"
        "   units: units.map((u) => [u.bias, u.sum, [...u.inputs], [...u.weights]]) } })()"
    )
    logits, values = inside.look(image)
    np.testing.assert_allclose(found["logits"], logits, atol=1e-4)
    assert len(found["values"]) == len(values)
    for mine, theirs in zip(found["values"], values, strict=True):
        np.testing.assert_allclose(mine, theirs.ravel(), atol=1e-4)
    np.testing.assert_allclose(found["weights"], inside.weights(weighted[0]).ravel(), atol=1e-6)
    for (step, index), (bias, total, inputs, weights) in zip(units, found["units"], strict=True):
        unit = inside.unit(image, step, index)
        assert (bias, total) == pytest.approx((unit.bias, unit.sum), abs=1e-4)
        np.testing.assert_allclose(inputs, unit.inputs.ravel(), atol=1e-4)
        np.testing.assert_allclose(weights, unit.weights.ravel(), atol=1e-6)
    own = Inside(inside.network.network) if name == "shifts" else inside  # of the image itself, without its copies
    of = {"gradient": own.gradient, "integrated": own.integrated_gradients, "occlusion": own.occlusion}
    for method, compute in of.items():
        np.testing.assert_allclose(found["looked"][method], compute(image, 7).ravel(), atol=1e-3)


def test_a_network_of_ones_own_has_no_file(runs: tuple[mnist_lab.Run, mnist_lab.Run]) -> None:
    with pytest.raises(UserError, match="no forward pass for GELU, only for mnist_lab's own networks"):
        Program(nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.GELU()))


def test_text_of_a_run_cannot_end_its_script(runs: tuple[mnist_lab.Run, mnist_lab.Run]) -> None:
    assert "</script><b>" not in document("t", "explore", {"network": {"info": {"name": "</script><b>"}}})
    assert one_file(runs[1]).count("</script>") == 3


def test_latest_is_the_last_run_that_has_weights(runs: tuple[mnist_lab.Run, mnist_lab.Run], tmp_path: Path) -> None:
    trained, newer = tmp_path / "outputs/linear/a", tmp_path / "outputs/linear/b"
    shutil.copytree(runs[1].directory, trained)
    shutil.copytree(runs[1].directory, newer, ignore=shutil.ignore_patterns("*.ckpt"))
    os.utime(newer / "config.yaml")
    words = [sys.executable, "-m", "mnist_lab.explore", str(trained.with_name("latest")), "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout
        line = process.stdout.readline()
        process.kill()
    assert "#tab=explore&run=linear%2Fa " in line


# What the server refuses.


def ask(server: str, what: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"{server}/explore/{what}", body, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_foreign_pages_and_large_messages_are_refused(server: str) -> None:
    own, image = server, bytes(784)
    assert ask(server, "look?run=convnet", image, Origin=own)[0] == 200
    assert ask(server, "look?run=convnet", image, Origin="http://evil.example")[0] == 403
    assert ask(server, "about?run=convnet", Origin="null")[0] == 403
    assert ask(server, "about?run=convnet", Host="evil.example")[0] == 403
    assert ask(server, "about?run=convnet", Host=f"127.0.0.1:{server.rpartition(':')[2]}")[0] == 200
    assert ask(server, "look?run=convnet", bytes(785)) == (413, "an image is 784 bytes")
    connection = http.client.HTTPConnection(server.removeprefix("http://"))
    connection.putrequest("POST", "/explore/look?run=convnet")
    connection.putheader("Content-Length", "50000000")
    connection.endheaders()  # refused before any of it is sent
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("about?run=5", 404, "5: there is no such run"),
        ("about?run=convnet&checkpoint=../../x", 404, "checkpoint=../../x: is not the name of one"),
        ("about?run=convnet&checkpoint=step7", 404, "the run has kept no such checkpoint"),
        ("weights?run=convnet&step=2", 400, "step 2: has no weights"),
        ("weights?run=convnet&step=99", 400, "step 99: has no weights"),
        ("weights?run=convnet&step=x", 400, "step: must be a number"),
        ("unit?run=convnet&step=1&index=99999999", 400, "unit 99999999: there is no such unit"),
        ("looked?run=convnet&method=magic&target=3", 400, "method=magic"),
        ("looked?run=convnet&method=gradient&target=10", 400, "0 to 9"),
    ],
)
def test_what_cannot_be_answered_gets_a_line(server: str, what: str, code: int, said: str) -> None:
    body = bytes(784) if what.startswith(("unit", "look")) else None
    status, text = ask(server, what, body)
    assert status == code
    assert said in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing/here"], "nothing/here"),
        (["{run}", "--checkpoint", "step7"], "the run has kept no such checkpoint"),
        (["{run}", "{run}", "{run}"], "3 runs: two can be side by side"),
        (["{empty}"], "checkpoint"),
        (["{run}", "--port", "70000"], "--port 70000: must be from 1 to 65535"),
    ],
)
def test_errors_are_one_line(
    words: list[str], said: str, runs: tuple[mnist_lab.Run, mnist_lab.Run], tmp_path: Path
) -> None:
    shutil.copytree(runs[1].directory, tmp_path / "empty", ignore=shutil.ignore_patterns("*.ckpt"))
    words = [word.format(run=runs[1].directory, empty=tmp_path / "empty") for word in words]
    with pytest.raises(UserError, match=said) as error:
        command.main([*words, "--no-browser"])
    assert len(str(error.value).splitlines()) == 1
