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

from mnist_lab.view.player import Player, use_keys
from mnist_lab.view.recording import Recording, Training


class _Manager(webagg.FigureManagerWebAgg):
    _toolbar2_class = webagg.NavigationToolbar2WebAgg  # type: ignore[assignment]


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
        content = json.loads(message)
        if content["type"] == "ack":
            self.waits_since = None
        elif content["type"] != "supports_binary":
            self.manager.handle_json(content)

    def send_json(self, content: dict[str, Any]) -> None:
        self._send(content)

    def send_binary(self, picture: bytes) -> None:
        self.waits_since = time.monotonic()
        self._send(picture, binary=True)

    def _send(self, message: dict[str, Any] | bytes, binary: bool = False) -> None:
        with contextlib.suppress(WebSocketClosedError):  # gone between two looks
            self.write_message(message, binary)

    def tick(self) -> None:
        """Let the player draw, unless the page is behind."""
        if self.waits_since is None or time.monotonic() > self.waits_since + 5:
            self.player.tick()


async def serve(listening: socket.socket, recordings: list[Recording], training: Training, stay: float | None) -> None:
    """Serve until training has ended and no page has been open for ``stay`` seconds; None: for ever."""
    use_keys()
    viewers: set[_Viewer] = set()
    own = {"viewers": viewers, "make": lambda figure: Player(recordings, figure, training)}
    page = {"path": str(Path(__file__).parent), "default_filename": "page.html"}
    static = {"path": webagg.FigureManagerWebAgg.get_static_file_path()}
    images = {"path": str(Path(matplotlib.get_data_path()) / "images")}
    routes: list[Any] = [("/()", StaticFileHandler, page), ("/mpl.js", _Script), ("/socket", _Viewer, own)]
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
        looked_at = now if viewers or training.running else looked_at
        if stay is not None and not training.running and now >= looked_at + stay:
            return
        await asyncio.sleep(0.05)
