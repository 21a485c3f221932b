"""The view, as a user meets it: a page in a browser, one file that replays, pictures, a movie, a window."""

import contextlib
import http.client
import itertools
import json
import logging
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from conftest import Process, Train, command, environment, trains_in
from PIL import Image
from tornado.httpclient import HTTPClientError
from tornado.websocket import websocket_connect

import mnist_lab
from mnist_lab.runs.result import Result
from mnist_lab.view import backends, pictures, recorder, server
from mnist_lab.view.recorder import Distribution
from mnist_lab.view.recording import LEVELS, Frames, FrameWriter, Recording, encode
from mnist_lab.view.server import Runs, Shown

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
RECORD = ("view=file", "view.every_n_seconds=0", "view.max_overhead=1", "view.pictures=5", "logger=none")
SHORT = ("model=mlp_relu", "data=mnist5k", "trainer.max_steps=40", "trainer.val_check_interval=10",
         "trainer.log_every_n_steps=10")  # fmt: skip
LIVE = ("view=web", "view.browser=false", "view.stay=1", "logger=none", "test=false")
FAILED = "view: ended with an error"
FRAME = {"step": 0, "seconds": 0.5, "train": {"loss": 2.3, "accuracy": 0.1}, "weights": [0.0] * 9, "biases": None,
         "labels": "7" * 100, "predictions": "1" * 100, "watched": [0, ""]}  # fmt: skip
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Process:
    """A run with a frame for each of its steps."""
    run = trains_in(tmp_path_factory.mktemp("view"))(*SHORT, *RECORD, "name=watched")
    assert run.code == 0, run.err
    assert FAILED not in (run.directory / "train.log").read_text()
    return run


def eventually(holds: Callable[[], Any], what: str) -> Any:
    for _ in range(600):
        if found := holds():
            return found
        time.sleep(0.1)
    raise AssertionError(what)


def viewers(folder: Path) -> list[list[str]]:
    """The processes that show a run in ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = process.read_bytes().decode().split("\0")
            if "mnist_lab.view" in words and any(str(folder) in word for word in words):
                found.append(words)
    return found


def steps_of(run_dir: Path) -> list[int]:
    frames = Frames(run_dir)
    frames.look()
    return [record.header["step"] for record in frames.records]


# ---- what is recorded, and pictures of it ----


def test_pictures_are_drawn_of_some_frames_and_of_the_first_and_the_last(recorded: Process) -> None:
    assert steps_of(recorded.directory) == list(range(41))
    paths = sorted((recorded.directory / "view").glob("*.png"))
    assert 3 <= len(paths) <= 5
    assert [int(paths[0].stem), int(paths[-1].stem)] == [0, 40]
    opened = [Image.open(path).convert("RGB") for path in paths]
    assert {picture.size for picture in opened} == {(1920, 1080)}
    assert len({picture.tobytes() for picture in opened}) == len(paths)


def test_early_frames_are_chosen_more_often_than_late_ones() -> None:
    chosen = pictures.choose(list(range(10_001)), 20)
    assert chosen[0] == 0
    assert chosen[-1] == 10_000
    assert 15 <= len(chosen) <= 20
    assert sum(step <= 100 for step in chosen) >= 4
    assert max(b - a for a, b in itertools.pairwise(chosen)) <= 1100
    assert pictures.choose([3, 5], 20) == [3, 5]


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
    assert list(moment.curves["train_loss"].steps) == list(range(31))
    header = recording.frames.records[30].header
    assert header["train"]["accuracy"] == pytest.approx(accuracy["train"][30])
    assert header["train"]["loss"] == pytest.approx(dict(zip(*_curve(metrics, "train_loss"), strict=True))[30], 1e-4)
    assert header["evaluated"]["val_accuracy"] == pytest.approx(accuracy["val"][30])
    state = torch.load(recorded.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    biases = np.concatenate([value.numpy() for name, value in state.items() if name.endswith("bias")])
    last = recording.moment(40).biases
    assert last is not None
    assert list(last.steps) == list(range(41))
    assert last.values[-1] == pytest.approx(np.quantile(biases, LEVELS), rel=1e-3, abs=1e-6)


def _curve(metrics: Any, name: str) -> tuple[Any, Any]:
    return metrics.steps(name), metrics[name]


def test_frames_are_small_and_their_digits_are_those_of_the_batch(recorded: Process) -> None:
    recording = Recording(recorded.directory)
    assert all(record.end - record.start < 20_000 for record in recording.frames.records)
    training = recording.moment(0).training
    assert training is not None
    digits = mnist_lab.load(recorded.directory).predict(training.images)  # in sixteen greys, trained
    assert np.mean(digits.digits == training.labels) > 0.5


def test_digits_that_are_hard_to_compress_are_fewer() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8)
    frame = {"step": 0, "labels": "7" * 100, "predictions": "1" * 100}
    record = recorder._fitting(frame, noise)
    assert 15_000 < len(record) <= 20_000
    assert len(frame["labels"]) == len(frame["predictions"]) < 60
    assert recorder._fitting({"step": 0}, noise[:40] // 200 * 200) == encode({"step": 0}, noise[:40] // 200 * 200)


def test_a_view_changes_no_result(tmp_path: Path) -> None:
    weights = []
    for name, options in {"without": ["logger=none"], "with": [*RECORD]}.items():
        run = mnist_lab.train(*SHORT, "model.dropout=0.25", *options, f"hydra.run.dir={tmp_path / name}")
        weights.append(torch.load(run.checkpoint("last").path, weights_only=True)["state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert len(steps_of(tmp_path / "with")) == 41
    eventually(lambda: not viewers(tmp_path), "the pictures are never done")


def test_a_resumed_run_goes_on_recording(recorded: Process, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(recorded.directory, copy)
    ahead = FrameWriter(copy, 40)
    header = Recording(copy).frames.records[-1].header
    ahead.add(encode(header | {"step": 55}, np.zeros((100, 28, 28), np.uint8)), keep=True)  # it had got further once
    ahead.close()
    mnist_lab.train(f"resume={copy}", "trainer.max_steps=60", *RECORD[:4])
    assert steps_of(copy) == list(range(61))
    seconds = [record.header["seconds"] for record in Recording(copy).frames.records]
    assert seconds == sorted(seconds)
    eventually(lambda: not viewers(copy), "the pictures are never done")


def test_half_a_frame_does_not_count(recorded: Process, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(recorded.directory, copy)
    path = copy / "view" / "frames"
    path.write_bytes(path.read_bytes()[:-100])
    assert steps_of(copy) == list(range(40))
    assert Recording(copy).moment(40).training is not None


def test_the_last_frame_gives_way_to_the_next_unless_it_is_kept(tmp_path: Path) -> None:
    writer, reader, seen = FrameWriter(tmp_path, -1), Frames(tmp_path), []
    for step, keep in enumerate([True, False, False, True, False]):
        header = FRAME | {"step": step, "labels": "7" * (100 - 20 * step)}
        writer.add(encode(header, np.full((3, 28, 28), 17 * step, np.uint8)), keep)
        assert reader.look() is not None
        assert reader.look() is None
        seen.append([record.header["step"] for record in reader.records])
    writer.close()
    assert seen == [[0], [0, 1], [0, 2], [0, 3], [0, 3, 4]]


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_the_movie_has_all_pictures(recorded: Process, tmp_path: Path, ending: str) -> None:
    path = Path(shutil.which("ffprobe") or "").parent if ending == "mp4" else tmp_path
    if ending == "mp4" and not shutil.which("ffprobe"):
        pytest.skip("ffmpeg is not installed")
    copy = tmp_path / "copy"
    shutil.copytree(recorded.directory, copy)
    words = [sys.executable, "-m", "mnist_lab.view", str(copy), "--backend", "file", "--movie", "--pictures", "3"]
    done = subprocess.run(words, env=environment(PATH=str(path)), capture_output=True, text=True, check=True)
    *drawn, movie = map(Path, done.stdout.split())
    assert sorted((copy / "view").glob("*.png")) == drawn
    assert movie == copy / "view" / f"view.{ending}"
    if ending == "gif":
        assert Image.open(movie).n_frames == len(drawn)
        return
    asked = ["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames,width,height", "-of", "json"]
    said = json.loads(subprocess.run(["ffprobe", *asked, str(movie)], capture_output=True, check=True).stdout)
    assert said["streams"] == [{"width": 1920, "height": 1080, "nb_read_frames": str(len(drawn))}]


def test_training_goes_on_when_the_view_breaks(train: Train, tmp_path: Path) -> None:
    (tmp_path / "run" / "view" / "00000000.png").mkdir(parents=True)  # where the first picture would go
    run = train("model=softmax", "data=fake", "trainer.max_steps=100", *RECORD)
    assert run.code == 0, run.err
    assert run.result["status"] == "done"
    said = (run.directory / "train.log").read_text()
    assert f"{FAILED}, training is not affected: " in said
    assert "00000000.png: Is a directory" in said


@pytest.mark.parametrize("name", ["frames", "digits"])
def test_training_goes_on_when_nothing_can_be_recorded(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "view" / name).mkdir(parents=True)
    options = ["model=softmax", "data=fake", "trainer.max_steps=20", *LIVE, "view.port=18920"]
    run = mnist_lab.train(*options, f"hydra.run.dir={tmp_path}")
    assert run.result.status == "done"
    assert caplog.text.count("view: nothing can be recorded") == 1
    eventually(lambda: not viewers(tmp_path), "the page's process stays")


def test_a_network_of_another_precision_is_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mnist_lab.train(*SHORT, *RECORD, "trainer.precision=bf16-true", f"hydra.run.dir={tmp_path}")
    assert steps_of(tmp_path) == list(range(41))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    eventually(lambda: not viewers(tmp_path), "the pictures are never done")


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 9000, b""])
def test_a_port_that_something_else_has_is_passed_over(answer: bytes, tmp_path: Path) -> None:
    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=serve, daemon=True).start()
        listening, port = backends.listen(other.getsockname()[1], tmp_path)
        assert listening is not None
        listening.close()
        assert port > other.getsockname()[1]


def test_curves_are_sent_as_what_is_new_and_all_of_them_when_the_file_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_ROWS", 0.0)
    path, shown = tmp_path / "metrics.csv", Shown(tmp_path)
    assert shown.news()[0] == {}
    sent = []
    for text in (
        "step,train_loss\n0,2.5\n",
        "step,train_loss\n0,2.5\n10,2.25\n20,2.1",  # half a line waits
        "step,train_loss\n0,2.5\n10,2.25\n20,2.125\n",
        "step,train_loss,val_loss\n0,2.5,\n10,2.25,\n20,2.125,2\n",  # in the same inode, as the system may give it
        "step,train_loss,val_loss\n0,2.5,\n",  # goes on from an earlier step
    ):
        path.write_text(text)
        sent.append(shown.news()[0]["curves"])
        assert shown.news()[0] == {}
    whole = [(curves["from"] == 0, curves["text"].split()) for curves in sent]
    assert whole == [
        (True, ["step,train_loss", "0,2.5"]),
        (False, ["10,2.25"]),
        (False, ["20,2.125"]),
        (True, ["step,train_loss,val_loss", "0,2.5,", "10,2.25,", "20,2.125,2"]),
        (True, ["step,train_loss,val_loss", "0,2.5,"]),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["view=window"], "there is no display here.*view=web"),
        (["view=file", "view.max_overhead=0"], "view.max_overhead=0: must be above 0"),
        (["view=file", "view.pictures=1"], "view.pictures=1: must be at least 2"),
        (["view=file", "view.backend=tv"], "view.backend=tv: must be one of web, window, file"),
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "error: nothing: is not the directory of a run"),
        (["--html"], "error: name a run"),
        (["--port", "70000"], "error: --port 70000: must be from 1 to 65535"),
        (["--pictures", "1"], "error: --pictures 1: must be at least 2"),
        ([], "error: outputs: there is no such folder here"),
    ],
)
def test_a_view_of_nothing_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mnist_lab.view", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("without", ["view=off", "~view"])
def test_a_run_without_a_view_still_has_curves(without: str, tmp_path: Path) -> None:
    run = mnist_lab.train(*SHORT, "logger=none", without, f"hydra.run.dir={tmp_path}")
    assert run.result.status == "done"
    assert not (tmp_path / "view").exists()
    words = [sys.executable, "-m", "mnist_lab.view", str(tmp_path), "--backend", "file"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert [Path(line).name for line in done.stdout.split()] == [f"{step:08d}.png" for step in (0, 10, 20, 30, 40)]


def test_no_view_process_loads_torch_and_the_page_needs_no_matplotlib() -> None:
    code = (
        "import sys, mnist_lab.view.__main__, mnist_lab.view.replay\n"
        "assert 'tornado' not in sys.modules\n"  # one file that replays needs no server
        "import mnist_lab.view.server\n"
        "assert not {'torch', 'pytorch_lightning', 'matplotlib', 'mnist_lab.view.recorder'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_distribution_of_many_values_is_that_of_all_of_them() -> None:
    values = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    exact = np.quantile(values.numpy(), LEVELS)
    found = Distribution([torch.nn.Parameter(part) for part in values.split([150_000, 49_999, 1])]).levels()
    assert found == pytest.approx(exact, abs=0.05)
    assert found is not None
    assert [found[0], found[-1]] == pytest.approx([exact[0], exact[-1]], rel=1e-4)
    assert Distribution([]).levels() is None
    assert Distribution([torch.nn.Parameter(torch.tensor([1.0, float("nan")]))]).levels() is None


# ---- the page ----


class Page(Browser):
    """A page of runs."""

    def __init__(self, address: str, width: int = 1280, height: int = 800, dark: bool = False):
        super().__init__(CHROMIUM, "about:blank", width, height)
        self.send("Network.enable")
        if dark:
            scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
            self.send("Emulation.setEmulatedMedia", features=scheme)
        self.send("Page.navigate", url=address)

    def text(self, of: str) -> str:
        return self.evaluate(f"document.querySelector({json.dumps(of)})?.textContent ?? ''")

    def waits_for(self, of: str, text: str) -> None:
        try:
            eventually(lambda: text in self.text(of), "")
        except AssertionError:
            raise AssertionError(f"{of} never says {text}: {self.text(of)!r}") from None

    def click(self, of: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(of)}).click()")

    def panels(self) -> list[str]:
        """The panels in sight."""
        script = "[...document.querySelectorAll('.panel')].filter((p) => p.offsetWidth).map((p) => p.dataset.panel)"
        return self.evaluate(script)


@pytest.fixture
def pages() -> Iterator[Callable[..., Page]]:
    """Opens pages, and ends them; none may have reported an error."""
    opened: list[Page] = []

    def open_page(address: str, *arguments: Any, **more: Any) -> Page:
        opened.append(Page(address, *arguments, **more))
        return opened[-1]

    yield open_page
    try:
        assert [page.errors() for page in opened] == [[]] * len(opened)
    finally:
        for page in opened:
            page.close()


@pytest.fixture
def replay(recorded: Process) -> Iterator[Callable[..., str]]:
    """Starts ``python -m mnist_lab.view`` with the recorded run; the page's address."""
    started = []

    def start(*arguments: str) -> str:
        words = [sys.executable, "-m", "mnist_lab.view", *(arguments or (str(recorded.directory),)), "--no-browser"]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment()))
        found = re.search(r"http://localhost:\d+", started[-1].stdout.readline())
        assert found
        return found[0]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("page", ["view", "explore"])
def test_ctrl_c_ends_a_page_without_a_word(page: str, recorded: Process) -> None:
    words = [sys.executable, "-m", f"mnist_lab.{page}", str(recorded.directory), "--no-browser", "--port", "18940"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as from a terminal
    )  # fmt: skip
    try:
        assert process.stdout
        said = rf"{page}: http://localhost:(\d+)\S* \(from another machine: .*\); Ctrl-C ends it\n"
        found = re.fullmatch(said, process.stdout.readline())
        assert found
        assert (backends.about(int(found[1])) or {})["viewers"] == 0
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 130
    finally:
        process.kill()


@needs_chromium
def test_a_replay_obeys_keys_and_says_in_words_what_it_shows(
    replay: Callable[..., str], pages: Callable[..., Page], recorded: Process
) -> None:
    page = pages(replay())
    page.waits_for(".live-values", "step 40")
    page.waits_for(".live-status", "watched")
    assert page.evaluate("document.documentElement.scrollHeight") == 800  # all six are in sight
    metrics = mnist_lab.load(recorded.directory).metrics
    assert f"validation {metrics['val_accuracy'][-1]:.2%}".replace("%", " %") in page.text(".live-values")
    assert f"test {recorded.result['test_accuracy']:.2%}".replace("%", " %") in page.text(".live-status")
    assert page.panels() == list("123456")
    for key, shown in {"3": "3", "7": "12", "8": "45", "9": "36", "0": "123456", "5": "5"}.items():
        page.press(key, f"Digit{key}")
        assert page.panels() == list(shown)
    page.press("Escape", "Escape")
    assert page.panels() == list("123456")
    page.press("Home", "Home")
    page.waits_for(".live-values", "step 0 ")
    frame = Recording(recorded.directory).frames.records[0].header
    page.waits_for(".panel-3 .chart-title", f"{round(100 * frame['train']['accuracy'])} of 100 correct")
    page.press("ArrowRight", "ArrowRight")
    page.press("PageDown", "PageDown")
    page.waits_for(".live-values", "step 11 ")
    page.press("l", "KeyL")
    ticks = "[...document.querySelectorAll('.panel-1 .x.tick')].map((tick) => tick.textContent)"
    eventually(lambda: page.evaluate(ticks) == ["1", "2", "5", "10", "20"], "steps are not logarithmic")
    page.press("l", "KeyL")
    page.press(" ", "Space")
    page.waits_for(".live-values", "step 40")  # it has played to the end
    page.press("l", "KeyL")
    page.press("Home", "Home")  # a logarithm of which there is none
    page.waits_for(".live-values", "step 0 ")
    ticks = "[...document.querySelectorAll('.panel-1 .x.tick')].map((tick) => tick.textContent)"
    eventually(lambda: page.evaluate(ticks)[0] == "1", "the axis is not logarithmic")
    page.press("End", "End")
    page.waits_for(".live-values", "step 40")
    label = "document.querySelector('.panel-6 canvas').getAttribute('aria-label')"
    watched = Recording(recorded.directory).moment(40).watched
    assert watched is not None
    eventually(lambda: f"{watched.correct.sum()} of 500 recognised" in page.evaluate(label), page.evaluate(label))


@needs_chromium
def test_a_replay_over_a_slow_line_shows_its_digits(replay: Callable[..., str], pages: Callable[..., Page]) -> None:
    page = pages(replay())
    page.waits_for(".panel-6 .chart-title", "500 correct")
    for key in ("PageUp", "ArrowRight", "ArrowRight", "ArrowRight"):
        page.press(key, key)
    page.waits_for(".live-values", "step 33")
    slow = {"offline": False, "latency": 200, "downloadThroughput": -1, "uploadThroughput": -1}
    page.send("Network.emulateNetworkConditions", **slow)
    page.evaluate(
        "window.seen = new Set(); const shown = document.querySelector('.panel-3 canvas');"
        "new MutationObserver(() => seen.add(shown.ariaLabel)).observe(shown, { attributes: true })"
    )
    page.press(" ", "Space")
    page.waits_for(".live-values", "step 40")
    assert page.evaluate("seen.size") > 2


@needs_chromium
def test_the_list_of_runs_stays_as_it_was_unfolded_and_where_the_keyboard_was(
    pages: Callable[..., Page], replay: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        run = tmp_path / "outputs/sweeps/one & two #1" / f"{n}-softmax"
        run.mkdir(parents=True)
        Result("done", name="softmax", seed=n).write(run)
        (run / "metrics.csv").write_text(f"step,val_accuracy\n0,0.1\n{n + 1},0.9\n")
    (run.parent / "jobs").write_text("3")
    newer = tmp_path / "outputs/relu/a"
    newer.mkdir(parents=True)
    Result("done", name="relu", seed=7).write(newer)
    os.utime(newer / "result.json", (2e9, 2e9))
    monkeypatch.chdir(tmp_path)
    page = pages(replay("--port", "18910"))
    page.waits_for(".live-status", "relu")
    page.click(".sweep summary")
    page.evaluate("document.querySelector('.sweep .run[title$=\"2-softmax\"]').focus()")
    page.press(" ", "Space")
    page.waits_for(".live-status", "softmax")
    page.waits_for(".live-values", "step 3")  # its curves: the name of its folder has signs of an address
    pressed = "[...document.querySelectorAll('.run[aria-pressed=true]')].map((run) => run.title)"
    assert page.evaluate(pressed) == ["sweeps/one & two #1/2-softmax"]
    assert page.evaluate("document.activeElement.title") == "sweeps/one & two #1/2-softmax"
    page.click(".sweep summary")
    Result("failed", name="relu", seed=7).write(newer)  # the list is made anew
    page.waits_for(".item .failed", "failed")
    assert page.evaluate("document.activeElement.title") == ""  # folded away
    assert page.evaluate("document.querySelector('.sweep').open") is False


@needs_chromium
def test_files_of_a_stranger_do_no_harm(
    pages: Callable[..., Page], replay: Callable[..., str], recorded: Process, tmp_path: Path
) -> None:
    def frame(**changes: Any) -> bytes:
        text, body = json.dumps(FRAME | changes).encode(), b"no digits"
        return struct.pack("<II", len(text), len(body)) + text + body

    image = "<img src=x onerror='complaints.push(1)'>"
    strange: dict[str, dict[str, bytes]] = {
        "deep": {"frames": struct.pack("<II", 50_000, 0) + b"[" * 50_000, "digits": b"[" * 90},
        "parts": {"frames": frame(train={"loss": float("nan")}) + frame(step=1, weights=["x"] * 9), "digits": b""},
        "values": {"frames": frame(watched=[10**9, "7"]) + frame(step="1"), "digits": frame(labels=image, classes=3)},
    }
    for name, files in strange.items():
        shutil.copytree(recorded.directory, tmp_path / name)
        (tmp_path / name / "metrics.csv").write_text("step,val_accuracy\nx,y\n1\n2,0.5,7\n")
        values = json.loads((tmp_path / name / "result.json").read_text())
        (tmp_path / name / "result.json").write_text(
            json.dumps(values | {"name": image + name, "val_accuracy": float("inf"), "settings": {"a": 1e999}})
        )
        for file, content in files.items():
            (tmp_path / name / "view" / file).write_bytes(content)
    page = pages(replay(*(str(tmp_path / name) for name in strange), "--port", "18900"))
    for name in strange:
        page.click(f".run[title='{name}']")
        page.waits_for(".live-status", image + name)
        page.waits_for(".live-values", "step 0" if name != "deep" else "step 2")
    words = [sys.executable, "-m", "mnist_lab.view", *(str(tmp_path / name) for name in strange), "--html"]
    subprocess.run([*words, str(tmp_path / "all.html")], capture_output=True, check=True)
    file = pages((tmp_path / "all.html").as_uri())
    file.waits_for(".live-status", image)
    for name in strange:
        Recording(tmp_path / name).moment(2)


@needs_chromium
def test_what_is_shown_is_saved_as_png_and_svg(
    replay: Callable[..., str], pages: Callable[..., Page], tmp_path: Path
) -> None:
    page = pages(replay())
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.waits_for(".panel-6 .chart-title", "500 correct")
    page.press("s", "KeyS", control=True)
    png = tmp_path / "watched-000040.png"
    eventually(png.exists, "no PNG")
    assert Image.open(png).size[0] >= 2000
    assert len(np.unique(Image.open(png).convert("L").resize((64, 36)))) > 10
    page.press("4", "Digit4")
    page.click("[aria-label='save as SVG']")
    svg = tmp_path / "watched-000040.svg"
    text = eventually(lambda: svg.exists() and svg.read_text(), "no SVG")
    assert "the middle half" in text
    assert "var(--" not in text


@needs_chromium
def test_runs_are_compared_by_name_with_a_band_for_seeds(
    replay: Callable[..., str], pages: Callable[..., Page], tmp_path: Path
) -> None:
    runs = {"a": ["seed=0"], "b": ["seed=1"], "c": ["seed=0", "optim.lr=0.0001"]}
    for name, options in runs.items():
        short = [*SHORT, "trainer.max_steps=20", "logger=none", "test=false", *options]
        mnist_lab.train(*short, f"hydra.run.dir={tmp_path / name}")
    page = pages(replay(*(str(tmp_path / name) for name in runs)))
    legend = "[...document.querySelectorAll('.panel-1 .chart-legend button')].map((b) => b.textContent)"
    wanted = ["mlp_relu, lr 0.001 (2 seeds): validation", "mlp_relu, lr 0.0001: validation"]
    eventually(lambda: [t for t in page.evaluate(legend) if t.endswith("validation")] == wanted, "no such legend")
    bands = "document.querySelectorAll('.panel-1 path[fill-opacity]').length"
    assert page.evaluate(bands) >= 1
    listed = "[...document.querySelectorAll('.run')].length"
    assert page.evaluate(listed) == 3


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_phone(replay: Callable[..., str], pages: Callable[..., Page], dark: bool) -> None:
    page = pages(replay(), 375, 800, dark=dark)
    page.waits_for(".panel-6 .chart-title", "500 correct")
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert not page.evaluate("document.querySelector('.side').offsetWidth")
    page.click(".menu")
    assert page.evaluate("document.querySelector('.side').offsetWidth") > 300
    ground = page.picture().getpixel((5, 790))
    assert (max(ground) < 60) == dark


@needs_chromium
def test_one_file_replays_from_disk(recorded: Process, pages: Callable[..., Page], tmp_path: Path) -> None:
    path = tmp_path / "watch.html"
    words = [sys.executable, "-m", "mnist_lab.view", str(recorded.directory), "--html", str(path)]
    subprocess.run(words, capture_output=True, check=True)
    page = pages(path.as_uri())
    page.waits_for(".live-values", "step 40")
    page.press("Home", "Home")
    page.waits_for(".live-values", "step 0 ")
    page.waits_for(".panel-6 .chart-title", "of 500 correct")
    requests = (
        "performance.getEntriesByType('resource').map((one) => one.name).filter((name) => !/^(data|blob):/.test(name))"
    )
    assert page.evaluate(requests) == []
    assert not re.search(r"https?://(?!www\.w3\.org/)", path.read_text().replace("http://localhost", ""))


def follow(tmp_path: Path, *options: str, to: str = "outputs/live/a", port: int = 18988) -> subprocess.Popen[str]:
    """Starts a run with a page; where it says its address, that is in its train.log."""
    words = command(*LIVE, f"view.port={port}", *options, f"hydra.run.dir={tmp_path / to}")
    return subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def address_of(run_dir: Path) -> str:
    def find() -> str | None:
        log = run_dir / "train.log"
        found = re.search(r"http://localhost:\d+", log.read_text()) if log.exists() else None
        return found and found[0]

    return eventually(find, "the run says no address")


@needs_chromium
def test_the_page_is_there_before_training_and_follows_it_to_its_end(
    pages: Callable[..., Page], tmp_path: Path
) -> None:
    run = follow(
        tmp_path, "model=mlp_relu", "data=mnist5k", "trainer.max_steps=100000", "trainer.val_check_interval=50"
    )
    try:
        early = pages(address_of(tmp_path / "outputs/live/a"))
        early.waits_for(".live-status", "running")
        early.waits_for(".panel-1 .chart-legend", "validation")
        late = pages(early.evaluate("location.href"))  # has everything at once
        late.waits_for(".live-values", "step ")
        late.press("Home", "Home")
        late.waits_for(".live-values", "step 0 ")
        now = early.text(".live-values")
        eventually(lambda: early.text(".live-values") != now, "no new frame")
        early.press(" ", "Space")  # the picture stops, training does not
        eventually(lambda: early.evaluate("document.querySelector('[title^=play]') !== null"), "it goes on")
        now = early.text(".live-values")
        eventually(
            lambda: steps_of(tmp_path / "outputs/live/a")[-1] > int(re.sub(r"\D", "", now.split("·")[0])) + 50, ""
        )
        assert early.text(".live-values") == now
        early.press(" ", "Space")
        eventually(lambda: early.text(".live-values") != now, "it stays paused")
        run.send_signal(signal.SIGTERM)
        early.waits_for(".live-status", "interrupted")
        assert run.wait(60) == 143
    finally:
        run.kill()
        run.communicate()
    frames = Frames(tmp_path / "outputs/live/a")
    frames.look()
    assert [record.header["step"] for record in frames.records][:4] == [0, 1, 2, 3]


@needs_chromium
def test_runs_of_one_folder_share_a_page_which_ends_when_nobody_looks(
    pages: Callable[..., Page], tmp_path: Path
) -> None:
    long = ["model=softmax", "data=fake", "trainer.max_steps=10000000"]
    first = follow(tmp_path, *long, "name=first", port=18970)
    second = None
    try:
        address = address_of(tmp_path / "outputs/live/a")
        page = pages(address)
        page.waits_for(".live-status", "first")
        second = follow(tmp_path, *long, "name=second", to="outputs/live/b", port=18970)
        assert address_of(tmp_path / "outputs/live/b") == address
        page.waits_for(".live-status", "second")  # the newest
        page.click(".item:nth-child(2) .run")
        page.waits_for(".live-status", "first")
        first.kill()  # its owner reads why it stands still
        page.waits_for(".live-status", "killed")
        page.click(".side button[aria-pressed]")
        page.waits_for(".live-status", "second")
    finally:
        for run in filter(None, (first, second)):
            run.kill()
            run.communicate()
    page.send("Page.navigate", url="about:blank")
    eventually(lambda: not viewers(tmp_path), "the page's process stays")


def test_the_jobs_of_a_sweep_share_a_page(tmp_path: Path) -> None:
    words = ["--multirun", "model=softmax", "data=fake", "trainer.max_steps=20", "seed=0,1", *LIVE, "view.port=18950"]
    run = trains_in(tmp_path)(*words, "view.stay=4", "hydra.sweep.dir=outputs/sweeps/one")
    assert run.code == 0, run.err
    addresses = {
        re.search(r"http://localhost:\d+", log.read_text())[0] for log in tmp_path.glob("outputs/**/train.log")
    }
    assert len(addresses) == 1
    assert all(FAILED not in log.read_text() for log in tmp_path.glob("outputs/**/train.log"))
    assert len(list(tmp_path.glob("outputs/**/view/frames"))) == 2
    about = Runs(tmp_path / "outputs", []).about
    assert [(run["sweep"], run["jobs"], run["state"]) for run in about.values()] == [("one", 2, "done")] * 2
    eventually(lambda: not viewers(tmp_path), "the page's process stays")


def test_other_hosts_other_sites_and_long_messages_are_refused(replay: Callable[..., str]) -> None:
    address = replay()
    port = int(address.rpartition(":")[2])

    def status(path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status

    assert status("/") == 200
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}"):
        assert status("/", Host=host, Origin=f"http://{host}") == 200
    paths = ("/", "/about", "/page/live.js", "/records/digits?run=x", "/live", "/explore/about?run=x", "/nothing")
    assert [status(path, Host="evil.example") for path in paths] == [403] * len(paths)
    assert [status(path, Origin="http://evil.example") for path in paths] == [403] * len(paths)
    asked = [status(path, **{"Sec-Fetch-Site": "cross-site"}) for path in paths]  # as for an image of another site
    assert asked == [200 if path == "/" else 403 for path in paths]
    for host in (f"evil.example:{port}", "localhost.evil.example", "localhost:x", f"x@localhost:{port}", ""):
        assert status("/", Host=host) in (400, 403)  # the former by tornado, for what is no host at all
    for origin in ("null", f"http://localhost:{port + 1}", "http://localhost", f"file://localhost:{port}", "http://["):
        assert status("/", Host=f"localhost:{port}", Origin=origin) == 403
    assert status("/records/digits?run=..%2F..%2Fetc") == 404
    assert status("/page/..%2F__init__.py") == 404

    async def talk(origin: str, message: str) -> str | None:
        from tornado.httpclient import HTTPRequest

        socket = await websocket_connect(HTTPRequest(f"ws://localhost:{port}/live", headers={"Origin": origin}))
        await socket.read_message()
        await socket.write_message(message)
        return await socket.read_message()

    import asyncio

    with pytest.raises(HTTPClientError, match="403"):
        asyncio.run(talk("http://evil.example", "{}"))
    assert asyncio.run(talk(address, "x" * 200_000)) is None  # closed
    assert asyncio.run(talk(address, "[1")) is None


# ---- a window of its own ----


@pytest.fixture
def display(tmp_path: Path) -> Iterator[str]:
    """A virtual screen."""
    words = ["Xvfb", "-displayfd", "1", "-screen", "0", "1400x900x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout
    yield f":{server.stdout.readline().strip()}"
    server.terminate()
    server.wait()


@needs_chromium
@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="Xvfb, xdotool not installed")
def test_closing_the_window_lets_training_go_on(display: str, tmp_path: Path) -> None:
    def xdotool(*order: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["xdotool", *order], env=os.environ | {"DISPLAY": display}, capture_output=True, text=True
        )

    options = [
        "model=mlp_relu",
        "data=mnist5k",
        "trainer.max_steps=1000000",
        "view=window",
        "view.stay=1",
        "logger=none",
    ]
    words = command(*options, f"hydra.run.dir={tmp_path / 'run'}")
    run = subprocess.Popen(
        words, cwd=tmp_path, env=environment(DISPLAY=display, HOME=str(tmp_path)), start_new_session=True
    )
    try:
        found = eventually(lambda: xdotool("search", "--name", "mlp_relu: running").stdout.split(), "no window")
        xdotool("windowclose", found[-1])
        eventually(lambda: not xdotool("search", "--name", "mlp_relu: running").stdout, "it stays")
        before = steps_of(tmp_path / "run")[-1]
        eventually(lambda: steps_of(tmp_path / "run")[-1] > before, "training stands still")
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 143
    finally:
        run.kill()
    assert FAILED not in (tmp_path / "run" / "train.log").read_text()


def test_a_run_in_this_process_is_recorded_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    mnist_lab.train(*SHORT, *LIVE, "view.port=18930", f"hydra.run.dir={tmp_path}")
    assert steps_of(tmp_path)[0] == 0
    assert steps_of(tmp_path)[-1] == 40
    assert FAILED not in caplog.text
    eventually(lambda: not viewers(tmp_path), "the page's process stays")
