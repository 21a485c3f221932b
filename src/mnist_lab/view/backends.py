"""Where the panels are shown: in a window or as files; :mod:`mnist_lab.view.web` serves them as a page."""

import contextlib
import importlib.util
import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_lab.errors import UserError, require_extra
from mnist_lab.view.recording import FOLDER, Moment, Recording, Training

if TYPE_CHECKING:  # matplotlib is loaded where it is needed: training imports this file too
    from mnist_lab.view.figure import Board

NAMES = ("window", "web", "file")
_SIZE = (12.8, 7.2)  # inches of 100 pixels
_FRAMES_PER_SECOND = 10
_DRAWING = 0.5  # seconds of CPU time that a picture takes, about


def check(backend: str) -> None:
    """Raise UserError where ``backend`` cannot show anything here."""
    if backend not in NAMES:
        raise UserError(f"view.backend={backend}: must be one of {', '.join(NAMES)}")
    require_extra("matplotlib", "view", f"view={backend}")
    if backend == "web":
        require_extra("tornado", "view", "view=web")
    if backend == "window":
        _toolkit()


def has_display() -> bool:
    """Whether there is a screen to open windows on, as far as the environment says."""
    return sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


def _toolkit() -> str:
    """The matplotlib backend that can open a window here."""
    try:
        import tkinter

        tkinter.Tk().destroy()
        return "TkAgg"
    except ImportError:
        if not any(map(importlib.util.find_spec, ("PyQt6", "PySide6"))):
            why = "needs tkinter (Debian: apt-get install python3-tk) or PySide6 (pip install pyside6)"
        elif has_display():
            return "QtAgg"
        else:
            why = "there is no display here"
    except Exception as error:  # tkinter.TclError, where tkinter is there
        why = f"there is no display here ({error})"
    raise UserError(f"view=window: {why}; view=web shows a page, over SSH too, and view=file writes pictures")


def listen(port: int) -> socket.socket:
    """A socket on this machine only, at ``port`` or the first free one of the twenty after it."""
    for candidate in range(port, min(port + 21, 65536)):
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", candidate))
    raise UserError(f"view.port={port}: it and the twenty after it are taken; name another")


def address(listening: socket.socket) -> str:
    """The address of the page that ``listening`` serves, and how to reach it from another machine."""
    port = listening.getsockname()[1]
    return f"http://localhost:{port} (from another machine: ssh -L {port}:localhost:{port} {socket.gethostname()})"


def warm_up() -> None:
    """Draw once, unseen: the first time takes longest, because it loads matplotlib and its fonts."""
    board = _board()
    board.draw(Moment("", 0))
    board.figure.savefig(io.BytesIO())


def _board(dpi: float = 100) -> "Board":
    from matplotlib.figure import Figure

    from mnist_lab.view.figure import Board

    return Board(Figure(figsize=_SIZE, dpi=dpi))


def window(recordings: list[Recording], training: Training, stay: bool) -> None:
    """Show a window until it is closed, or, unless it is to ``stay``, until training ends."""
    import matplotlib
    from matplotlib import pyplot

    from mnist_lab.view.player import Player, use_keys

    matplotlib.use(_toolkit())
    use_keys()
    figure = pyplot.figure(figsize=_SIZE, dpi=100)
    player = Player(recordings, figure, training)

    def tick() -> None:
        for recording in recordings:
            recording.look()
        player.tick()
        if not (stay or training.running):
            pyplot.close(figure)

    timer = figure.canvas.new_timer(interval=100, callbacks=[(tick, (), {})])
    timer.start()
    assert figure.canvas.manager
    figure.canvas.manager.set_window_title(f"mnist_lab: {recordings[0].name}")
    tick()
    pyplot.show()


def files(recordings: list[Recording], training: Training, movie: bool) -> Iterator[Path]:
    """Write a picture of each frame beside it, as they come, and at the end the movie; yields their paths."""
    first, *others = recordings
    folder = first.run_dir / FOLDER
    board = _board(dpi=150)
    step, rest_until = -1, time.monotonic() + _DRAWING / training.cpu_fraction
    while True:
        ended = not training.running
        for recording in recordings:
            recording.look()
        due = [stop for stop in first.stops if stop > step]
        for step in due:
            while training.running and time.monotonic() < rest_until:
                time.sleep(0.1)
            began = time.process_time()
            board.draw(first.moment(step), tuple(other.moment(step) for other in others))
            folder.mkdir(exist_ok=True)
            board.figure.savefig(folder / f"{step:08d}.png")
            yield folder / f"{step:08d}.png"
            rest_until = time.monotonic() + training.rest(began)
        if ended and not due:
            break
        time.sleep(0.1)
    if movie and (pictures := sorted(folder.glob("[0-9]*.png"))):
        yield make_movie(pictures)


def make_movie(pictures: list[Path]) -> Path:
    """Join ``pictures`` beside them: an mp4 where ffmpeg is installed, else a GIF."""
    if shutil.which("ffmpeg"):
        path = pictures[0].with_name("view.mp4")
        command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "image2pipe", "-framerate", str(_FRAMES_PER_SECOND)]
        command += ["-i", "-", "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path)]
        subprocess.run(command, input=b"".join(picture.read_bytes() for picture in pictures), check=True)
        return path
    from PIL import Image

    path = pictures[0].with_name("view.gif")
    frames = [Image.open(picture).convert("RGB").resize((1280, 720)).quantize(128) for picture in pictures]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=1000 // _FRAMES_PER_SECOND, loop=0)
    return path
