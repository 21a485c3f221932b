"""The live view, as a user meets it: pictures, a movie, a page in a browser, a window with keys."""

import ctypes
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Browser, screen
from conftest import Process, Train, environment, trains_in
from PIL import Image, ImageChops

import mnist_lab
from mnist_lab.view.recorder import quantiles
from mnist_lab.view.recording import Recording

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
RECORD = ("view=file", "view.every_n_steps=10", "view.max_overhead=1", "logger=none")
SHORT = ("model=mlp_relu", "data=mnist5k", "trainer.max_steps=40", "trainer.val_check_interval=10",
         "trainer.log_every_n_steps=10")  # fmt: skip
FAILED = "view: ended with an error"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Process:
    """A run with a picture for each of its five frames."""
    run = trains_in(tmp_path_factory.mktemp("view"))(*SHORT, *RECORD, "name=watched")
    assert run.code == 0, run.err
    assert FAILED not in (run.directory / "train.log").read_text()
    return run


@pytest.fixture
def replay(recorded: Process) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``python -m mnist_lab.view`` with the recorded run."""
    started = []

    def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "mnist_lab.view", str(recorded.directory), *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(**more)))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def eventually(holds: Callable[[], bool], what: str) -> None:
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError(what)


def pictures(run_dir: Path) -> list[Path]:
    """The pictures of a run in this process, once all are drawn: the view ends after the last."""
    eventually(lambda: not viewers(run_dir), "the view does not end")
    assert "rror" not in (run_dir / "view" / "view.log").read_text()
    return sorted((run_dir / "view").glob("*.png"))


def test_files_are_written_of_each_frame_and_of_the_end(recorded: Process) -> None:
    paths = sorted((recorded.directory / "view").glob("*.png"))
    assert [int(path.stem) for path in paths] == [0, 10, 20, 30, 40]
    opened = [Image.open(path).convert("RGB") for path in paths]
    assert {picture.size for picture in opened} == {(1920, 1080)}
    assert len({picture.tobytes() for picture in opened}) == 5


def test_frames_hold_what_the_network_predicts(recorded: Process) -> None:
    recording, metrics = Recording(recorded.directory), mnist_lab.load(recorded.directory).metrics
    accuracy = {
        part: dict(zip(metrics.steps(f"{part}_accuracy"), metrics[f"{part}_accuracy"], strict=True))
        for part in ("train", "val")
    }
    for step in (10, 20, 30, 40):  # all 500 validation digits are watched, so the panel says what the curve says
        moment = recording.moment(step)
        assert moment.part == "val"
        assert moment.watched is not None
        assert moment.watched.correct.mean() == pytest.approx(accuracy["val"][step])
    moment = recording.moment(30)
    assert moment.training is not None
    assert moment.training.correct.mean() == pytest.approx(accuracy["train"][30])
    assert list(moment.curves["train_loss"].steps) == [0, 10, 20, 30]
    state = torch.load(recorded.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    biases = np.concatenate([value.numpy() for name, value in state.items() if name.endswith("bias")])
    last = recording.moment(40).biases
    assert last is not None
    assert list(last.steps) == [0, 10, 20, 30, 40]
    assert last.values[-1] == pytest.approx(np.quantile(biases, np.linspace(0, 1, 8)), abs=1e-6)


def test_a_view_changes_no_result(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    weights = []
    for name, options in {"without": ["logger=none"], "with": [*RECORD, "view.every_n_steps=7"]}.items():
        run = mnist_lab.train(*SHORT, "model.dropout=0.25", *options, f"hydra.run.dir={tmp_path / name}")
        weights.append(torch.load(run.checkpoint("last").path, weights_only=True)["state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert len(pictures(tmp_path / "with")) == 7
    assert FAILED not in caplog.text


def test_a_resumed_run_goes_on_recording(recorded: Process, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    copy = tmp_path / "copy"
    shutil.copytree(recorded.directory, copy)
    shutil.copy(copy / "view" / "00000040.npz", copy / "view" / "00000055.npz")  # as if it had got further once
    mnist_lab.train(f"resume={copy}", "trainer.max_steps=60", *RECORD[:3])
    assert [int(path.stem) for path in pictures(copy)] == [0, 10, 20, 30, 40, 50, 60]
    assert FAILED not in caplog.text


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_the_movie_has_all_frames(recorded: Process, tmp_path: Path, ending: str) -> None:
    path = Path(shutil.which("ffprobe") or "").parent if ending == "mp4" else tmp_path
    if ending == "mp4" and not shutil.which("ffprobe"):
        pytest.skip("ffmpeg is not installed")
    copy = tmp_path / "copy"
    shutil.copytree(recorded.directory, copy)
    command = [sys.executable, "-m", "mnist_lab.view", str(copy), "--backend", "file", "--movie"]
    done = subprocess.run(command, env=environment(PATH=str(path)), capture_output=True, text=True, check=True)
    movie = Path(done.stdout.split()[-1])
    assert movie == copy / "view" / f"view.{ending}"
    if ending == "gif":
        assert Image.open(movie).n_frames == 5
        return
    asked = ["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames,width,height", "-of", "json"]
    said = json.loads(subprocess.run(["ffprobe", *asked, str(movie)], capture_output=True, check=True).stdout)
    assert said["streams"] == [{"width": 1920, "height": 1080, "nb_read_frames": "5"}]


def test_training_goes_on_when_the_view_breaks(train: Train, tmp_path: Path) -> None:
    (tmp_path / "run" / "view" / "00000000.png").mkdir(parents=True)  # where the first picture would go
    (tmp_path / "run" / "view" / "00000500.npz.tmp").mkdir()  # and one of the frames
    run = train(
        "model=softmax",
        "data=fake",
        "trainer.max_steps=1000",
        "data.validation_size=0",
        *RECORD,
        "view.every_n_steps=100",
    )
    assert run.code == 0, run.err
    assert run.result["status"] == "done"
    said = (run.directory / "train.log").read_text()
    assert f"{FAILED}, training is not affected: " in said
    assert "00000000.png: Is a directory" in said
    assert "the frame of step 500 could not be written" in said
    assert (run.directory / "view" / "00001000.npz").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["view=window"], "there is no display here.*view=web"),
        (["view=file", "view.max_overhead=0"], "view.max_overhead=0: must be above 0"),
        (["view=file", "view.backend=tv"], "view.backend=tv: must be one of window, web, file"),
        (["view=windw"], "choose from file, off, web, window"),
    ],
)
def test_what_cannot_be_shown_is_said_before_training(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(mnist_lab.UserError, match=message):
        mnist_lab.train("model=softmax", "data=fake", *options, f"hydra.run.dir={tmp_path}")
    assert not (tmp_path / "metrics.csv").exists()


def test_a_replay_of_no_run_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mnist_lab.view", str(tmp_path / "nothing")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'nothing'}: is not the directory of a run")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("without", ["view=off", "~view"])
def test_a_run_without_a_view_still_has_curves(without: str, tmp_path: Path) -> None:
    run = mnist_lab.train(*SHORT, "logger=none", without, f"hydra.run.dir={tmp_path}")
    assert run.result.status == "done"
    assert not (tmp_path / "view").exists()
    command = [sys.executable, "-m", "mnist_lab.view", str(tmp_path), "--backend", "file"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [Path(line).name for line in done.stdout.split()] == [f"{step:08d}.png" for step in (0, 10, 20, 30, 40)]


def test_no_view_process_loads_torch() -> None:
    code = (
        "import sys, mnist_lab.view.__main__, mnist_lab.view.web\n"
        "assert not {'torch', 'pytorch_lightning', 'mnist_lab.view.recorder'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_quantiles_of_many_values_are_those_of_sorting_them() -> None:
    values = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    exact = np.quantile(values.numpy(), np.linspace(0, 1, 8))
    assert quantiles([torch.nn.Parameter(values)]) == pytest.approx(exact, abs=(exact[-1] - exact[0]) / 4096)
    assert np.isnan(quantiles([])).all()


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_the_page_obeys_keys_for_each_viewer_alone(replay: Callable[..., subprocess.Popen[str]]) -> None:
    server = replay("--backend", "web", "--no-browser")
    assert server.stdout
    found = re.search(r"http://localhost:\d+", server.stdout.readline())
    assert found
    first, second = Browser(CHROMIUM, found[0]), Browser(CHROMIUM, found[0], ratio=2)
    try:

        def changes(before: Image.Image) -> Image.Image:
            eventually(lambda: differ(before, first.picture()), "the page stays as it is")
            time.sleep(0.5)  # the rest of the same picture
            return first.picture()

        blank = Image.new("RGB", (1280, 720), "white")
        all_six = changes(blank)
        eventually(
            lambda: second.picture().size == (2560, 1440) and differ(second.picture(), blank.resize((2560, 1440))), ""
        )
        time.sleep(1)
        other = second.picture()
        first.press("3", "Digit3")
        alone = changes(all_six)
        first.press("ArrowLeft", "ArrowLeft")
        earlier = changes(alone)
        first.press("End", "End")
        assert not differ(changes(earlier), alone)
        first.press("Escape", "Escape")
        assert not differ(changes(alone), all_six)
        assert not differ(second.picture(), other)
        first.evaluate("HTMLAnchorElement.prototype.click = function () { window.saved = this.download; }")
        first.press("s", "KeyS", control=True)
        eventually(lambda: first.evaluate("window.saved") == "mnist_lab.png", "Ctrl-S saves nothing")
        assert server.poll() is None
    finally:
        first.close()
        second.close()


def test_the_page_is_there_while_training_and_no_longer_than_wanted(tmp_path: Path) -> None:
    """Without a browser on the machine: the page answers during training, and its process ends with a sweep's job."""
    sweep = ["--multirun", "model=softmax", "data=fake", "logger=none", "test=false", "trainer.max_steps=6000"]
    options = ["view=web", "view.browser=false", "hydra.sweep.dir=sweep", "view.port=18988"]
    answers = []

    def look() -> None:
        for _ in range(400):
            for log in tmp_path.glob("sweep/*/train.log"):
                if (found := re.search(r"http://localhost:\d+", log.read_text())) and "page" not in answers:
                    with urllib.request.urlopen(found[0]) as page:
                        answers.append("page" if b"mpl.js" in page.read() else "something else")
                        return
            time.sleep(0.05)

    watcher = threading.Thread(target=look)
    watcher.start()
    run = trains_in(tmp_path)(*sweep, *options)
    watcher.join()
    assert run.code == 0, run.err
    assert answers == ["page"]
    assert all(FAILED not in log.read_text() for log in tmp_path.glob("sweep/*/train.log"))
    eventually(lambda: not viewers(tmp_path), "the page's process stays")


def viewers(folder: Path) -> list[str]:
    """The processes that show a run in ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "mnist_lab.view" in words and any(str(folder) in word for word in words):
            found.append(words)
    return found


def differ(one: Image.Image, other: Image.Image) -> bool:
    return ImageChops.difference(one, other).getbbox() is not None


X = pytest.mark.skipif(not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="Xvfb, xdotool not installed")


@pytest.fixture
def display(tmp_path: Path) -> Iterator[str]:
    """A virtual screen, which Xvfb keeps in the file Xvfb_screen0."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1400x900x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout
    yield f":{server.stdout.readline().strip()}"
    server.terminate()
    server.wait()


def xdotool(display: str, *order: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"DISPLAY": display, "PATH": "/usr/bin:/bin"}
    return subprocess.run(["xdotool", *order], env=environment, capture_output=True)


@X
def test_the_window_obeys_keys(
    replay: Callable[..., subprocess.Popen[str]], recorded: Process, display: str, tmp_path: Path
) -> None:
    def shown() -> Image.Image:
        return screen(tmp_path / "Xvfb_screen0")

    def press(key: str, before: Image.Image) -> Image.Image:
        assert xdotool(display, "key", key).returncode == 0
        eventually(lambda: differ(before, shown()), f"the window stays as it is after {key}")
        time.sleep(0.4)  # the rest of the same picture
        return shown()

    empty = shown()
    window = replay("--backend", "window", DISPLAY=display)
    eventually(lambda: differ(empty, shown()), "no window")
    time.sleep(2)
    assert xdotool(display, "search", "--name", "mnist_lab", "windowfocus").returncode == 0
    all_six = shown()
    shots = [press(key, all_six) for key in "123456789"]
    assert all(differ(a, b) for i, a in enumerate(shots) for b in shots[:i])
    assert not differ(press("Escape", shots[-1]), all_six)
    press("ctrl+s", all_six)
    saved = recorded.directory / "view" / "saved-00000040.png"
    eventually(saved.exists, "Ctrl-S saves nothing")
    press("Home", shown())
    playing = press("space", shown())
    eventually(lambda: differ(playing, shown()), "space does not play")
    assert window.poll() is None


class ClientMessage(ctypes.Structure):
    """XClientMessageEvent of Xlib, padded to the size of an XEvent."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 19),
    )


def close(display: str, window: int) -> None:
    """Ask a window to close, as a click on its frame's button does; xdotool can only destroy it."""
    xlib = ctypes.CDLL("libX11.so.6")
    xlib.XOpenDisplay.restype, xlib.XInternAtom.restype = ctypes.c_void_p, ctypes.c_ulong
    opened = ctypes.c_void_p(xlib.XOpenDisplay(display.encode()))
    protocols, delete = (xlib.XInternAtom(opened, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    data = (ctypes.c_long * 19)(delete)
    message = ClientMessage(type=33, window=window, message_type=protocols, format=32, data=data)
    xlib.XSendEvent(opened, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(message))
    xlib.XCloseDisplay(opened)


@X
@pytest.mark.slow
def test_closing_the_window_lets_training_go_on(train: Train, display: str) -> None:
    def close_it() -> None:
        found = ["search", "--name", "mnist_lab"]
        eventually(lambda: xdotool(display, *found).returncode == 0, "no window")
        time.sleep(1)
        close(display, int(xdotool(display, *found).stdout))

    closer = threading.Thread(target=close_it)
    closer.start()
    options = ("model=mlp_relu", "data=mnist5k", "trainer.max_steps=6000", "logger=none")
    run = train(*options, "view=window", "view.every_n_steps=20", env={"DISPLAY": display})
    closer.join()
    assert run.code == 0, run.err
    assert run.result["steps"] == 6000
    said = (run.directory / "train.log").read_text()
    assert "view: closed" in said
    assert FAILED not in said
