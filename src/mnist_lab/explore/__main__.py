"""Opens the page on which a trained network can be looked into: ``python -m mnist_lab.explore RUN [RUN]``."""

import argparse
import asyncio
import socket
import webbrowser

from mnist_lab.errors import UserError, exit_on_user_error, require_extra
from mnist_lab.runs.run import Run
from mnist_lab.view import backends


def main(words: list[str] | None = None) -> None:
    """Read the command line, or ``words`` in its place, and serve until Ctrl-C."""
    from mnist_lab.explore.chosen import open_run

    parser = argparse.ArgumentParser(
        prog="python -m mnist_lab.explore", description="Draw digits and look inside the network of a run."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directory of a run; two are shown side by side")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="of your own, that RUN names")
    parser.add_argument("--checkpoint", default="last", help="its weights: last, best or another that was kept")
    parser.add_argument("--port", type=int, default=8988, help="the first to try (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="open none")
    args = parser.parse_args(words)
    if len(args.runs) > 2:
        raise UserError(f"{len(args.runs)} runs: two can be side by side; more can be chosen on the page of one sweep")
    require_extra("tornado", "view", "python -m mnist_lab.explore")
    runs = {}
    for key, run in enumerate(args.runs):
        chosen = argparse.Namespace(run=run, trust=args.trust, checkpoint=args.checkpoint)
        runs[str(key)] = open_run(chosen)
        runs[str(key)].checkpoint(args.checkpoint)  # says what is missing before a page is opened
    listening = backends.listen(args.port)
    print(f"explore: {backends.address(listening)}; Ctrl-C ends it", flush=True)
    if not args.no_browser and backends.has_display():
        webbrowser.open(f"http://localhost:{listening.getsockname()[1]}")
    asyncio.run(serve(listening, runs, args.checkpoint))


async def serve(listening: socket.socket, runs: dict[str, Run], checkpoint: str = "last") -> None:
    """Serve the page of ``runs`` for ever."""
    from tornado.httpserver import HTTPServer
    from tornado.web import Application, RequestHandler, StaticFileHandler

    from mnist_lab import page
    from mnist_lab.explore.handlers import routes

    names = [{"key": key, "label": run.directory.name} for key, run in runs.items()]
    opened = page.document("mnist_lab: explore", "explore", {"runs": names, "checkpoint": checkpoint})

    def find(key: str) -> Run:
        if key not in runs:
            raise UserError(f"run {key}: there is no such run")
        return runs[key]

    class Page(RequestHandler):
        def get(self) -> None:
            self.finish(opened)

    files = (r"/page/(.+\.(?:js|css))", StaticFileHandler, {"path": str(page.FOLDER)})
    server = HTTPServer(Application([("/", Page), files, *routes(find)]))
    listening.setblocking(False)
    server.add_socket(listening)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with exit_on_user_error():
        main()
