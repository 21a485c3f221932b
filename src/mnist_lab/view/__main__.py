"""Shows runs in the browser, while they train and again later: ``python -m mnist_lab.view outputs/convnet/latest``.

The panels show the first run, with the curves of the others; the page lists all runs of the folder they are in.
"""

import argparse
import asyncio
import os
import socket
from pathlib import Path

from mnist_lab.errors import UserError, exit_on_user_error
from mnist_lab.runs.directory import find_run
from mnist_lab.runs.metrics import FILE as CURVES
from mnist_lab.view import backends, pictures, recording
from mnist_lab.view.recording import Recording


def main() -> None:
    """Read the arguments, and show."""
    parser = argparse.ArgumentParser(prog="python -m mnist_lab.view", description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="directory of a run; none: those in outputs/")
    parser.add_argument("--backend", choices=backends.NAMES, default="web", help="default: %(default)s")
    parser.add_argument(
        "--html", nargs="?", type=Path, const=Path(), metavar="FILE", help="write one page that replays"
    )
    parser.add_argument("--pictures", type=int, default=100, help="with --backend file: at most (%(default)s)")
    parser.add_argument("--movie", action="store_true", help="with --backend file: join them in a movie")
    backends.add_page(parser)
    # For the page that a run starts: how many seconds it stays when nobody looks, and the socket it listens on.
    parser.add_argument("--serve", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        _serve_for_run(args)
        return
    runs = [find_run(run) for run in args.runs]
    for run in runs:
        if not (run / CURVES).exists():
            raise UserError(f"{run}: is not the directory of a run, it has no {CURVES}; name one in outputs/")
    if not runs and (args.html or args.backend == "file"):
        raise UserError("name a run: its directory in outputs/")
    if args.pictures < 2:
        raise UserError(f"--pictures {args.pictures}: must be at least 2, the first and the last")
    if args.html is not None:
        from mnist_lab.view.replay import write

        print(write(runs, args.html if args.html.name else runs[0] / recording.FOLDER / "replay.html"), flush=True)
        return
    backends.check(args.backend)
    if args.backend == "file":
        for path in pictures.draw([Recording(run) for run in runs], args.pictures, args.movie):
            print(path, flush=True)
        return
    if not runs and not Path("outputs").is_dir():
        raise UserError("outputs: there is no such folder here; name the directory of a run")
    from mnist_lab.view.server import Runs, show

    folder = recording.folder_of(runs[0]) if runs else Path("outputs").absolute()
    show("view", Runs(folder, runs), args.port, not args.no_browser, window=args.backend == "window")


def _serve_for_run(args: argparse.Namespace) -> None:
    from mnist_lab.view.server import Runs, serve

    if hasattr(os, "nice"):
        os.nice(10)  # training goes first
    listening = socket.socket(fileno=args.socket) if args.socket is not None else backends.listen(args.port)[0]
    assert listening
    runs = Runs(recording.folder_of(args.runs[0]), [])
    asyncio.run(serve(listening, runs, args.serve, lambda: print("ready", flush=True)))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
