"""Shows runs again, or one that is still training: ``python -m mnist_lab.view outputs/convnet/<time> [more runs]``.

The panels are those of the first run; the curves of the others are drawn beside its own. The keys are those of the live
view; the arrows go a frame back and forth, page up and page down ten, home and end all the way.
"""

import argparse
import os
import socket
import sys
import threading
import webbrowser
from pathlib import Path

from mnist_lab.errors import UserError, reported
from mnist_lab.view import hosts
from mnist_lab.view.hosts import Training
from mnist_lab.view.recording import Recording

_LEFT_ALONE = 30.0  # seconds without a viewer that end a run's page, after training


def main() -> None:
    """Read the arguments, and show."""
    parser = argparse.ArgumentParser(prog="python -m mnist_lab.view", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="directory of a run")
    parser.add_argument("--host", choices=hosts.NAMES, help="default: window, or web without a display")
    parser.add_argument("--movie", action="store_true", help="with --host file: join the pictures in a movie")
    parser.add_argument("--port", type=int, default=8988, help="with --host web: the first to try (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="with --host web: open none")
    # For a view that is part of a run, whose training goes on as long as stdin:
    parser.add_argument("--live", type=float, help=argparse.SUPPRESS)  # the share of a core that drawing may take
    parser.add_argument("--close", action="store_true", help=argparse.SUPPRESS)  # ends with training
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)  # the run listens on it already
    given = parser.parse_args()
    for run in given.runs:
        if not (run / "metrics.csv").exists() and not given.live:
            raise UserError(f"{run}: is not the directory of a run, it has no metrics.csv; name one in outputs/")
    recordings = [Recording(run) for run in given.runs]
    for recording in recordings:
        recording.look()
    training = _training(given.live) if given.live else Training()
    host = given.host or _default_host()
    if not given.live:
        hosts.check(host)
    if host == "window":
        hosts.window(recordings, training, stay=not given.close)
    elif host == "file":
        for path in hosts.files(recordings, training, given.movie):
            if not given.live:
                print(path, flush=True)
    else:
        from mnist_lab.view.web import serve

        listening = socket.socket(fileno=given.socket) if given.socket is not None else hosts.listen(given.port)
        if not given.live:
            print(f"view: {hosts.where(listening)}; Ctrl-C ends it", flush=True)
        if not given.no_browser and _has_display():
            webbrowser.open(f"http://localhost:{listening.getsockname()[1]}")
        stay = 0.0 if given.close else _LEFT_ALONE if given.live else None
        serve(listening, recordings, training, stay)


def _training(share: float) -> Training:
    """The training at the other end of stdin: however it ends, even killed, stdin ends with it."""
    if hasattr(os, "nice"):
        os.nice(10)  # training goes first
    hosts.warm_up()
    print("ready", flush=True)
    training = Training(True, share)

    def wait() -> None:
        sys.stdin.buffer.read()
        training.goes_on = False

    threading.Thread(target=wait, daemon=True).start()
    return training


def _has_display() -> bool:
    return sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


def _default_host() -> str:
    try:
        hosts.check("window")
        return "window"
    except UserError:
        return "web"


if __name__ == "__main__":
    with reported():
        try:
            main()
        except KeyboardInterrupt:
            sys.exit(130)
