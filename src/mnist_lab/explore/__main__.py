"""Opens the page on which a trained network can be looked into: ``python -m mnist_lab.explore RUN [RUN]``."""

import argparse
from urllib.parse import urlencode

from mnist_lab.errors import UserError, exit_on_user_error, require_extra
from mnist_lab.view import backends
from mnist_lab.view.recording import folder_of


def main(words: list[str] | None = None) -> None:
    """Read the command line, or ``words`` in its place, and serve the tab Explore of the page of runs until Ctrl-C."""
    from mnist_lab.explore.chosen import open_run

    parser = argparse.ArgumentParser(
        prog="python -m mnist_lab.explore", description="Draw digits and look inside the network of a run."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directory of a run; two are shown side by side")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="of your own, that RUN names")
    parser.add_argument("--checkpoint", default="last", help="its weights: last, best or another that was kept")
    backends.add_page(parser)
    args = parser.parse_args(words)
    if len(args.runs) > 2:
        raise UserError(f"{len(args.runs)} runs: two can be side by side; more can be chosen on the page of one")
    require_extra("tornado", "view", "python -m mnist_lab.explore")
    opened = [open_run(argparse.Namespace(**vars(args), run=run)) for run in args.runs]
    for run in opened:  # says what is missing before a page is opened
        run.checkpoint(args.checkpoint)
    from mnist_lab.view.server import Runs, show

    paths = [run.directory for run in opened]
    runs = Runs(folder_of(paths[0]), paths)
    names = {path: name for name, path in runs.paths.items()}
    shown = [("tab", "explore"), *(("run", names[path]) for path in paths)]
    shown += [("checkpoint", args.checkpoint)] if args.checkpoint != "last" else []
    show("explore", runs, args.port, not args.no_browser, query=urlencode(shown), trust=args.trust)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
