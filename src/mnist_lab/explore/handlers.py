"""The server's side of the tab Explore: requests below ``/explore/`` that torch answers."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

from tornado.web import Finish, RequestHandler, stream_request_body

from mnist_lab.errors import UserError
from mnist_lab.runs.directory import checkpoint_path
from mnist_lab.runs.run import Run

if TYPE_CHECKING:
    from mnist_lab.explore.shown import Shown

_IMAGE = 28 * 28  # bytes, the one message that is taken
_KEPT = 6  # networks that are held ready


def routes(find_run: Callable[[str], Run]) -> list[Any]:
    """Routes of tornado below ``/explore/``. ``find_run`` gives the run of a key, or raises UserError."""
    own = {"service": _Service(find_run)}
    return [(r"/explore/(about|weights|testset)", _Asked, own), (r"/explore/(look|unit|looked)", _Shown, own)]


class _Service:
    """Networks that are held ready, and the one thread in which they compute."""

    def __init__(self, find_run: Callable[[str], Run]):
        self._thread = ThreadPoolExecutor(1, "explore")

        @functools.lru_cache(_KEPT)
        def read(key: str, checkpoint: str, saved: int) -> "Shown":
            from mnist_lab.explore.shown import Shown, use_one_core  # here, because it loads torch

            use_one_core()
            return Shown(find_run(key), checkpoint)

        def open_network(key: str, checkpoint: str) -> "Shown":
            path = checkpoint_path(find_run(key).directory, checkpoint)
            return read(key, checkpoint, path.stat().st_mtime_ns if path.exists() else 0)  # training saves anew

        self.open_network = open_network

    async def do(self, work: Callable[[], Any]) -> Any:
        """What ``work`` returns, from the thread, when its turn has come."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class Answer(RequestHandler):
    """An answer that a browser keeps from other sites."""

    def set_default_headers(self) -> None:
        """Say so, and that it is to be asked for again."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Cache-Control", "no-cache")


class _Handler(Answer):
    def initialize(self, service: _Service) -> None:
        self.service = service

    def refuse(self, status: int, line: str) -> NoReturn:
        """Answer with a line."""
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(line)
        raise Finish

    async def of_network(self, answer: Callable[["Shown"], Any]) -> Any:
        """What ``answer`` says of the network that the request names."""
        key, checkpoint = self.get_query_argument("run"), self.get_query_argument("checkpoint", "last")
        try:
            return await self.service.do(lambda: answer(self.service.open_network(key, checkpoint)))
        except UserError as error:
            self.refuse(404, str(error))
        except (ValueError, IndexError) as error:
            self.refuse(400, str(error))

    def number(self, name: str) -> int:
        text = self.get_query_argument(name)
        return int(text) if text.isdecimal() and len(text) < 9 else self.refuse(400, f"{name}: must be a number")

    def send(self, numbers: Any) -> None:
        """As float32, little endian."""
        self.set_header("Content-Type", "application/octet-stream")
        self.finish(numbers.astype("<f4").tobytes())


class _Asked(_Handler):
    """What does not depend on an image."""

    async def get(self, what: str) -> None:
        if what == "about":
            self.finish(await self.of_network(lambda network: network.about()))
            # pages do without it until it is ready
            await self.of_network(lambda network: network.learn_familiar())
        elif what == "weights":
            step = self.number("step")
            self.send(await self.of_network(lambda network: network.inside.weights(step)))
        else:
            parts = await self.of_network(lambda network: network.testset())
            while (found := await self.of_network(lambda _: next(parts))) is None:
                pass  # between two batches those who draw have their turn
            self.finish(found)


@stream_request_body
class _Shown(_Handler):
    """What a network does with the image in the body: 784 bytes. More is refused before it is read."""

    def prepare(self) -> None:
        self.body = bytearray()
        if self.request.headers.get("Content-Length") != str(_IMAGE):
            self.set_header("Connection", "close")
            self.refuse(413, f"an image is {_IMAGE} bytes")

    def data_received(self, chunk: bytes) -> None:
        self.body += chunk

    async def post(self, what: str) -> None:
        import numpy as np  # here, as torch: a page that only watches needs neither

        image = np.frombuffer(self.body, np.uint8).reshape(28, 28)
        if what == "look":
            methods = [name for name in self.get_query_argument("methods", "").split(",")[:3] if name]
            wanted = self.number("target") if self.get_query_argument("target", "") else None
            self.send(await self.of_network(lambda network: network.look(image, methods, wanted)))
        elif what == "unit":
            step, index = self.number("step"), self.number("index")
            self.send(await self.of_network(lambda network: network.unit(image, step, index)))
        else:
            method, target = self.get_query_argument("method"), self.number("target")
            self.send(await self.of_network(lambda network: network.looked(image, method, target)))
