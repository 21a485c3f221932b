"""Where the panels are shown: in a window, as files; the page on the web is in :mod:`mnist_lab.view.web`."""

import importlib.util
import io
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mnist_lab.errors import UserError, needed
from mnist_lab.view.recording import FOLDER, Recording

log = logging.getLogger(__name__)
NAMES = ("window", "web", "file")
_INSTEAD = "view=web shows a page, over SSH too, and view=file writes pictures"
_FRAMES_A_SECOND = 10
_DRAWING = 0.5  # seconds that a picture takes of a core, about


class Training:
    """What a view has to know of the training it shows: whether it goes on, and what it leaves of the processor.

    While it goes on, drawing may take ``share`` of a core.
    """

    def __init__(self, goes_on: bool = False, share: float = 0.25):
        self.goes_on, self.share = goes_on, share

    def begin_drawing(self) -> None:
        """Note what has been used up to here."""
        self._used = time.process_time()

    def rest(self) -> float:
        """Seconds to leave the processor alone after a drawing."""
        return (time.process_time() - self._used) * (1 / self.share - 1) if self.goes_on else 0.1


def check(host: str) -> None:
    """Raise UserError where ``host`` cannot show anything here."""
    if host not in NAMES:
        raise UserError(f"view.host={host}: must be one of {', '.join(NAMES)}")
    needed("matplotlib", "view", f"view={host}")
    if host == "web":
        needed("tornado", "view", "view=web")
    if host == "window":
        _toolkit()


def _toolkit() -> str:
    """The matplotlib backend that can open a window here."""
    try:
        import tkinter

        tkinter.Tk().destroy()
        return "TkAgg"
    except ImportError:
        if not any(map(importlib.util.find_spec, ("PyQt6", "PySide6"))):
            raise UserError(
                "view=window: needs tkinter (Debian: apt-get install python3-tk) or PySide6 (pip install pyside6); "
                + _INSTEAD
            ) from None
        if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
            raise UserError(f"view=window: there is no display here; {_INSTEAD}") from None
        return "QtAgg"
    except Exception as error:  # tkinter.TclError, where tkinter is there
        raise UserError(f"view=window: there is no display here ({error}); {_INSTEAD}") from None


def listen(port: int) -> socket.socket:
    """A socket on this machine only, at ``port`` or the first free one of the twenty after it."""
    for candidate in range(port, min(port + 21, 65536)):
        try:
            return socket.create_server(("127.0.0.1", candidate))
        except OSError:
            continue
    raise UserError(f"view.port={port}: it and the twenty after it are taken; name another")


def where(listening: socket.socket) -> str:
    """What to tell people of the page that ``listening`` serves."""
    port = listening.getsockname()[1]
    return f"http://localhost:{port} (from another machine: ssh -L {port}:localhost:{port} {socket.gethostname()})"


def warm_up() -> None:
    """Load and draw once, unseen: what is slow the first time is done then."""
    from matplotlib.figure import Figure

    from mnist_lab.view.figure import Board
    from mnist_lab.view.player import SIZE
    from mnist_lab.view.recording import Moment

    board = Board(Figure(figsize=SIZE))
    board.draw(Moment("", 0))
    board.figure.savefig(io.BytesIO())


def window(recordings: list[Recording], training: Training, stay: bool) -> None:
    """Show a window until it is closed, or, unless it is to ``stay``, until training ends."""
    import matplotlib
    from matplotlib import pyplot

    from mnist_lab.view.player import SIZE, Player, use_keys

    matplotlib.use(_toolkit())
    use_keys()
    figure = pyplot.figure(figsize=SIZE, dpi=100)
    player = Player(recordings, figure, training)

    def tick() -> None:
        for recording in recordings:
            recording.look()
        player.tick()
        if not (stay or training.goes_on):
            pyplot.close(figure)

    timer = figure.canvas.new_timer(interval=100, callbacks=[(tick, (), {})])
    timer.start()
    assert figure.canvas.manager
    figure.canvas.manager.set_window_title(f"mnist_lab: {recordings[0].name}")
    tick()
    pyplot.show()


def files(recordings: list[Recording], training: Training, movie: bool) -> Iterator[Path]:
    """Write a picture of each frame beside it, as they come, and in the end the movie; the paths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from mnist_lab.view.figure import Board
    from mnist_lab.view.player import SIZE

    first, *others = recordings
    folder = first.run_dir / FOLDER
    board = Board(Figure(figsize=SIZE, dpi=150))
    FigureCanvasAgg(board.figure)
    step, rest_until = -1, time.monotonic() + _DRAWING / training.share
    while True:
        ended = not training.goes_on
        for recording in recordings:
            recording.look()
        due = [stop for stop in first.stops if stop > step]
        for step in due:
            while training.goes_on and time.monotonic() < rest_until:
                time.sleep(0.1)
            training.begin_drawing()
            board.draw(first.moment(step), tuple(other.moment(step) for other in others))
            folder.mkdir(exist_ok=True)
            board.figure.savefig(folder / f"{step:08d}.png")
            yield folder / f"{step:08d}.png"
            rest_until = time.monotonic() + training.rest()
        if ended and not due:
            break
        time.sleep(0.1)
    if movie and (pictures := sorted(folder.glob("[0-9]*.png"))):
        yield make_movie(pictures)


def make_movie(pictures: list[Path]) -> Path:
    """Join ``pictures`` beside them: an mp4 where ffmpeg is installed, else a GIF."""
    if shutil.which("ffmpeg"):
        path = pictures[0].with_name("view.mp4")
        command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "image2pipe", "-framerate", str(_FRAMES_A_SECOND)]
        command += ["-i", "-", "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path)]
        subprocess.run(command, input=b"".join(picture.read_bytes() for picture in pictures), check=True)
        return path
    from PIL import Image

    path = pictures[0].with_name("view.gif")
    frames = [Image.open(picture).convert("RGB").resize((1280, 720)).quantize(128) for picture in pictures]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=1000 // _FRAMES_A_SECOND, loop=0)
    return path
