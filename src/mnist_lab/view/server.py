"""Serves the page and, over a websocket, what the runs of a folder record: data, which the browser draws.

A page says which runs it shows; it is sent all that these have recorded, then what is new.
"""

import asyncio
import contextlib
import functools
import json
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, HTTPError, RequestHandler, StaticFileHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from mnist_lab import page
from mnist_lab.errors import UserError
from mnist_lab.explore import handlers as explore
from mnist_lab.runs.metrics import FILE as CURVES
from mnist_lab.runs.result import FILE as RESULT
from mnist_lab.runs.run import Run
from mnist_lab.view import backends
from mnist_lab.view.recording import Frames, about_run, digits_path, stamp

_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")  # names of this machine
_LOOK = 0.1  # seconds between two looks at the files of the runs that are shown
_ROWS = 1.0  # seconds after which new rows of curves are sent, without a frame
_LIST = 1.0  # seconds between two looks for runs, at least
_LARGEST = 100_000  # bytes of a message from a page


class Runs:
    """The runs in a folder, and ``named`` ones from elsewhere, by an id: their path, from the folder on where in it."""

    def __init__(self, folder: Path, named: list[Path]):
        self.folder, self.named = folder, [path.absolute() for path in named]
        self.paths: dict[str, Path] = {}
        self.about: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, Any] = {}
        self._due = 0.0
        self.look()

    def look(self) -> list[str]:
        """Take in what is new: the ids of runs that began, went on or ended. Takes at most 2 % of the time."""
        if time.monotonic() < self._due:
            return []
        began = time.monotonic()
        found = {self._id(path): path for path in [*self.named, *_runs_in(self.folder)]}
        changed = [name for name in self.paths if name not in found]
        for name in changed:
            del self.about[name], self._seen[name]
        self.paths = found
        for name, path in found.items():
            seen = stamp(path / RESULT)
            if seen != self._seen.get(name) or _running(self.about.get(name)):
                self._seen[name] = seen
                about = about_run(path)
                if about != self.about.get(name):
                    self.about[name] = about
                    changed.append(name)
        self._due = time.monotonic() + max(_LIST, 50 * (time.monotonic() - began))
        return changed

    @property
    def training(self) -> bool:
        """Whether one of them trains."""
        return any(_running(about) for about in self.about.values())

    def _id(self, path: Path) -> str:
        return (path.relative_to(self.folder) if path.is_relative_to(self.folder) else path).as_posix()


def _running(about: dict[str, Any] | None) -> bool:
    return about is not None and about["state"] == "running"


def _runs_in(folder: Path) -> list[Path]:
    """The run directories in ``folder``, those with a result: all of ``outputs``, elsewhere no deeper than one."""
    if folder.name != "outputs":  # it may be somebody's home
        return [path.parent for path in folder.glob(f"*/{RESULT}")]
    found = []
    for where, folders, files in os.walk(folder):
        if RESULT in files:
            found.append(Path(where))
            folders.clear()  # there are none inside a run
    return found


class Shown:
    """A run on a page: what was sent of it."""

    def __init__(self, run_dir: Path):
        self.run_dir, self.frames = run_dir, Frames(run_dir)
        self._rows_at = -_ROWS  # when the curves' file was looked at
        self._seen: tuple[int, ...] = ()  # its stamp as it was sent
        self._sent, self._last = 0, b""  # how much of it, and the last line of that

    def news(self) -> tuple[dict[str, Any], bytes]:
        """What to tell the page, and the digits of the newest frame."""
        said, body = {}, b""
        if (changed := self.frames.look()) is not None:
            records = self.frames.records[changed:]
            said["frames"] = {"from": changed, "new": [record.header for record in records]}
            if records:
                with contextlib.suppress(OSError):
                    body = self.frames.body(records[-1])
        if said or time.monotonic() > self._rows_at + _ROWS:  # a page draws all of its curves anew for a row
            self._rows_at = time.monotonic()
            if curves := self._new_rows():
                said["curves"] = curves
        return said, body

    def _new_rows(self) -> dict[str, Any] | None:
        """Complete lines of ``metrics.csv`` that are new; all of them where the file is another."""
        path = self.run_dir / CURVES
        if (seen := stamp(path)) == self._seen:
            return None
        try:
            with path.open("rb") as file:
                file.seek(self._sent - len(self._last))
                text = file.read()
                if not text.startswith(self._last):  # made anew, with another column or an earlier end
                    self._sent, self._last = 0, b""
                    file.seek(0)
                    text = file.read()
        except OSError:
            return None
        self._seen = seen
        text = text[len(self._last) : text.rfind(b"\n") + 1]
        if not text:
            return None
        start = self._sent
        self._sent, self._last = start + len(text), text[text.rfind(b"\n", 0, -1) + 1 :]
        return {"from": start, "text": text.decode(errors="replace")}


class _Refused(RequestHandler):
    def prepare(self) -> None:
        raise HTTPError(403, reason="only for pages of this server, at localhost")


class _OwnPages(Application):
    """Answers pages of this server only: the Host is this machine's own name, the Origin, where there is one, the same.

    So neither another site nor a name that was bent to this address reaches any of it; but a link leads to the page.
    """

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        own_origin = request.headers.get("Origin") in (None, f"http://{request.host}")
        elsewhere = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and request.path != "/"
        if _HOST.fullmatch(request.host) and own_origin and not elsewhere:
            return super().find_handler(request, **kwargs)
        return self.get_handler_delegate(request, _Refused)


class _Page(explore.Answer):
    def initialize(self, text: str) -> None:
        self.text = text

    def get(self) -> None:
        self.finish(self.text)


class _About(explore.Answer):
    def initialize(self, said: Callable[[], dict[str, Any]]) -> None:
        self.said = said

    def get(self) -> None:
        self.finish(self.said())


class _Part(explore.Answer, StaticFileHandler):
    """A module or the style; ``document`` names them."""


_frames = functools.lru_cache(8)(Frames)  # a replay asks for one frame after the other


class _Record(explore.Answer):
    """A record of a run: the digits that are watched, or the digits of a frame."""

    def initialize(self, runs: Runs) -> None:
        self.runs = runs

    def get(self, kind: str) -> None:
        path = self.runs.paths.get(self.get_query_argument("run"))
        if path is None:
            raise HTTPError(404)
        self.set_header("Content-Type", "application/octet-stream")
        try:
            if kind == "digits":
                self.finish(digits_path(path).read_bytes())
                return
            frames, step = _frames(path), int(self.get_query_argument("step"))
            frames.look()
            record = next(record for record in frames.records if record.header["step"] == step)
            self.finish(frames.body(record))
        except (OSError, ValueError, StopIteration):
            raise HTTPError(404) from None


class _Socket(WebSocketHandler):
    """The other end of a page."""

    def initialize(self, viewers: set["_Socket"], runs: Runs) -> None:
        self.viewers, self.runs = viewers, runs
        self.shown: dict[str, Shown] = {}
        self.behind_since: float | None = None  # when news went out that the page has not taken in yet

    def open(self, *args: str, **kwargs: str) -> None:
        self.viewers.add(self)
        self.say({"runs": self.runs.about, "named": self.named()})

    def named(self) -> list[str]:
        """The runs to show first."""
        return [name for name, path in self.runs.paths.items() if path in self.runs.named]

    def on_close(self) -> None:
        self.viewers.discard(self)

    def on_message(self, message: str | bytes) -> None:
        try:
            said = json.loads(message)
            wanted = [str(name) for name in said.get("show", [])] if isinstance(said, dict) else []
        except (ValueError, TypeError):
            self.close(1003, "not understood")
            return
        if "taken" in said:
            self.behind_since = None
        if "show" in said:
            self.shown = {
                name: self.shown.get(name) or Shown(self.runs.paths[name]) for name in wanted if name in self.runs.paths
            }
            self.tell()

    def tell(self) -> None:
        """Send what is new of the runs that the page shows, unless it is still taking in what came before."""
        if self.behind_since and time.monotonic() < self.behind_since + 5:
            return
        for name, shown in self.shown.items():
            said, body = shown.news()
            if said:
                self.behind_since = time.monotonic()
                self.say({"run": name, **said}, body)

    def say(self, said: dict[str, Any], body: bytes = b"") -> None:
        """Send a message: the length of its JSON (uint32, little-endian), that, and bytes."""
        text = page.to_json(said).encode()
        with contextlib.suppress(WebSocketClosedError):  # gone between two looks
            self.write_message(struct.pack("<I", len(text)) + text + body, binary=True)


def show(
    name: str, runs: Runs, port: int, browser: bool, window: bool = False, query: str = "", trust: Sequence[str] = ()
) -> None:
    """Serve at ``port``, or at a free one after it, until Ctrl-C: the command ``name`` says where, and opens the page.

    ``browser``: whether it opens it, in a ``window`` of its own where it can. ``query`` says what the page shows.
    """
    listening, port = backends.listen(port)
    assert listening

    def ready() -> None:
        print(f"{name}: {backends.directions(port, query)}; Ctrl-C ends it", flush=True)
        if browser and backends.has_display():
            backends.open_page(backends.address(port, query), window)

    asyncio.run(serve(listening, runs, None, ready, trust))


async def serve(
    listening: socket.socket, runs: Runs, stay: float | None, ready: Callable[[], None], trust: Sequence[str] = ()
) -> None:
    """Serve until no run has trained and nobody has looked for ``stay`` seconds; None: for ever.

    ``trust`` names packages of one's own, whose classes the tab Explore may use.
    """

    def find(name: str) -> Run:
        if name not in runs.paths:
            raise UserError(f"{name}: there is no such run")
        return Run(runs.paths[name], trust)

    viewers: set[_Socket] = set()
    needed_at = time.monotonic()

    def about() -> dict[str, Any]:
        nonlocal needed_at
        needed_at = time.monotonic()  # a run that asks will be shown here
        return backends.about_folder(runs.folder) | {"viewers": len(viewers)}

    routes: list[Any] = [
        ("/", _Page, {"text": page.document("mnist_lab", "app")}),
        ("/about", _About, {"said": about}),
        (r"/page/([\w-]+\.(?:js|css))", _Part, {"path": str(page.FOLDER)}),
        ("/records/(digits|frame)", _Record, {"runs": runs}),
        ("/live", _Socket, {"viewers": viewers, "runs": runs}),
        *explore.routes(find),
    ]
    server = HTTPServer(_OwnPages(routes, websocket_max_message_size=_LARGEST), max_body_size=_LARGEST)
    listening.setblocking(False)
    server.add_socket(listening)
    ready()
    while True:
        if viewers or stay is not None:
            changed = runs.look()
            for viewer in list(viewers):
                if changed:
                    viewer.say({"runs": {name: runs.about.get(name) for name in changed}})
                viewer.tell()
        now = time.monotonic()
        needed_at = now if viewers or runs.training else needed_at
        if stay is not None and now >= needed_at + stay:
            return
        await asyncio.sleep(_LOOK if viewers else 0.5)
