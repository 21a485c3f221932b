"""Replays runs, or follows one that is still training: ``python -m mnist_lab.view outputs/convnet/<time> [more runs]``.

The panels show the first run; the curves of the others are drawn beside its own. The keys are those of the live view;
the arrows go one frame back or forward, page up and page down ten, Home and End to the first and the last.
"""

import argparse
import asyncio
import os
import socket
import sys
import threading
import webbrowser

from mnist_lab.errors import UserError, exit_on_user_error
from mnist_lab.runs.directory import find_run
from mnist_lab.view import backends
from mnist_lab.view.recording import Recording, Training

_IDLE = 30.0  # seconds without a viewer after which a run's page ends, once training has ended


def main() -> None:
    """Read the arguments, and show."""
    parser = argparse.ArgumentParser(prog="python -m mnist_lab.view", description=__doc__)
    parser.add_argument("runs", nargs="+", type=find_run, metavar="RUN", help="directory of a run")
    parser.add_argument("--backend", choices=backends.NAMES, help="default: window, or web without a display")
    parser.add_argument("--movie", action="store_true", help="with --backend file: join the pictures in a movie")
    parser.add_argument("--port", type=int, default=8988, help="with --backend web: the first to try (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="with --backend web: open none")
    # For a view that a run starts: it is live until its stdin ends, and draws with this fraction of a core.
    parser.add_argument("--live", type=float, metavar="CPU_FRACTION", help=argparse.SUPPRESS)
    parser.add_argument("--close", action="store_true", help=argparse.SUPPRESS)  # ends with training
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)  # the run listens on it already
    args = parser.parse_args()
    for run in args.runs:
        if not (run / "metrics.csv").exists() and not args.live:
            raise UserError(f"{run}: is not the directory of a run, it has no metrics.csv; name one in outputs/")
    backend = args.backend or _default_backend()
    if not args.live:
        backends.check(backend)
    recordings = [Recording(run) for run in args.runs]
    training = _live_training(args.live) if args.live else Training()
    if backend == "window":
        backends.window(recordings, training, stay=not args.close)
    elif backend == "file":
        for path in backends.files(recordings, training, args.movie):
            if not args.live:
                print(path, flush=True)
    else:
        from mnist_lab.view.web import serve

        listening = socket.socket(fileno=args.socket) if args.socket is not None else backends.listen(args.port)
        if not args.live:
            print(f"view: {backends.address(listening)}; Ctrl-C ends it", flush=True)
        if not args.no_browser and backends.has_display():
            webbrowser.open(f"http://localhost:{listening.getsockname()[1]}")
        stay = 0.0 if args.close else _IDLE if args.live else None
        asyncio.run(serve(listening, recordings, training, stay))


def _live_training(cpu_fraction: float) -> Training:
    """The training at the other end of stdin: however it ends, even killed, stdin ends with it."""
    if hasattr(os, "nice"):
        os.nice(10)  # training goes first
    backends.warm_up()
    print("ready", flush=True)
    training = Training(True, cpu_fraction)

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock would abort this process when it exits before training
        training.running = False

    threading.Thread(target=wait, daemon=True).start()
    return training


def _default_backend() -> str:
    try:
        backends.check("window")
        return "window"
    except UserError:
        return "web"


if __name__ == "__main__":
    with exit_on_user_error():
        try:
            main()
        except KeyboardInterrupt:
            sys.exit(130)
