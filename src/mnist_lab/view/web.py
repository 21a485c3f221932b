"""The panels on a page of this machine, one player for each browser that looks at it."""

# mypy: allow-untyped-calls
# (matplotlib's WebAgg has no types)

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends import backend_webagg_core as webagg
from matplotlib.figure import Figure
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, StaticFileHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from mnist_lab.view.hosts import Training
from mnist_lab.view.player import Player, use_keys
from mnist_lab.view.recording import Recording


class _Manager(webagg.FigureManagerWebAgg):
    _toolbar2_class = webagg.NavigationToolbar2WebAgg  # type: ignore[assignment]


class _Page(RequestHandler):
    def get(self) -> None:
        self.write((Path(__file__).parent / "page.html").read_text())


class _Script(RequestHandler):
    def get(self) -> None:
        self.set_header("Content-Type", "application/javascript")
        self.write(_Manager.get_javascript())


class _Viewer(WebSocketHandler):
    """The other end of a page. tornado lets in pages of this server only."""

    player: Player
    waits_since: float | None = None  # when a picture went out that the page has not taken in yet

    def initialize(self, viewers: set["_Viewer"], make: Callable[[Figure], Player]) -> None:
        self.viewers, self.make = viewers, make

    def open(self, *args: str, **kwargs: str) -> None:
        width, height = (min(max(float(self.get_query_argument(name, "0")), 300), 8000) for name in ("width", "height"))
        figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        self.manager = _Manager(webagg.FigureCanvasWebAggCore(figure), 1)
        self.player = self.make(figure)
        self.manager.add_web_socket(self)
        self.viewers.add(self)

    def on_close(self) -> None:
        if self in self.viewers:
            self.viewers.remove(self)
            self.manager.remove_web_socket(self)

    def on_message(self, message: str | bytes) -> None:
        said = json.loads(message)
        if said["type"] == "ack":
            self.waits_since = None
        elif said["type"] != "supports_binary":
            self.manager.handle_json(said)

    def send_json(self, content: dict[str, Any]) -> None:
        self._send(json.dumps(content))

    def send_binary(self, picture: bytes) -> None:
        self.waits_since = time.monotonic()
        self._send(picture, binary=True)

    def _send(self, message: str | bytes, binary: bool = False) -> None:
        with contextlib.suppress(WebSocketClosedError):  # gone between two looks
            self.write_message(message, binary)

    def tick(self) -> None:
        """Let the player go on, unless the page is behind."""
        if self.waits_since is None or time.monotonic() > self.waits_since + 5:
            self.player.tick()


def serve(listening: socket.socket, recordings: list[Recording], training: Training, stay: float | None) -> None:
    """Serve until training has ended and nobody has looked for ``stay`` seconds; None: for ever."""
    asyncio.run(_serve(listening, recordings, training, stay))


async def _serve(listening: socket.socket, recordings: list[Recording], training: Training, stay: float | None) -> None:
    use_keys()
    viewers: set[_Viewer] = set()
    own = {"viewers": viewers, "make": lambda figure: Player(recordings, figure, training)}
    static = {"path": webagg.FigureManagerWebAgg.get_static_file_path()}
    images = {"path": str(Path(matplotlib.get_data_path()) / "images")}
    routes: list[Any] = [("/", _Page), ("/mpl.js", _Script), ("/socket", _Viewer, own)]
    routes += [("/_static/(.*)", StaticFileHandler, static), ("/_images/(.*)", StaticFileHandler, images)]
    server = HTTPServer(Application(routes))
    listening.setblocking(False)
    server.add_socket(listening)
    looked_at = time.monotonic()
    while True:
        for recording in recordings if viewers else ():
            recording.look()
        for viewer in list(viewers):
            viewer.tick()
        now = time.monotonic()
        looked_at = now if viewers or training.goes_on else looked_at
        if stay is not None and not training.goes_on and now >= looked_at + stay:
            return
        await asyncio.sleep(0.05)
