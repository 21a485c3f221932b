"""A server of a pretended MNIST, as large as the real one and quick to pack, with mirrors that fail in various ways.

``python tests/mirror.py <arguments>`` is train.py with that data set in the place of MNIST.
"""

import contextlib
import gzip
import hashlib
import http.server
import runpy
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import torchvision

from mnist_lab.data import sources

FILES = sources.FAMILIES["mnist"].files
NOWHERE = "http://127.0.0.1:9/"  # nobody listens there
FAULTS = ("missing", "cut", "wrong", "bomb", "endless", "loop")


@cache
def contents() -> list[bytes]:
    files = []
    for size in (60_000, 10_000):
        files += [struct.pack(">4I", 0x803, size, 28, 28) + bytes(range(98)) * 8 * size]
        files += [struct.pack(">2I", 0x801, size) + bytes(range(10)) * (size // 10)]
    return files


@cache
def packed() -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(data, 1, mtime=0) for name, data in zip(FILES, contents(), strict=True)}


def pretend() -> None:
    """Make the pretended data set the one that data=mnist means."""
    sums = tuple(hashlib.sha256(data).hexdigest() for data in contents())
    family = replace(sources.FAMILIES["mnist"], sha256=sums, counts=((6000,) * 10, (1000,) * 10))
    sources.FAMILIES["mnist"] = family
    torchvision.datasets.MNIST.resources = [(name, hashlib.md5(data).hexdigest()) for name, data in packed().items()]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the archives under good/, and something else under each fault's name."""

    served: list[str]

    def do_GET(self) -> None:
        _, kind, name = self.path.split("/")
        self.served.append(self.path)
        data = packed()[name]
        if kind == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        if kind == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if kind != "endless":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            if kind == "endless":
                while True:
                    self.wfile.write(bytes(1 << 20))
            time.sleep(0.05)  # long enough for others to ask too
            bomb = gzip.compress(bytes(len(data)), 1)
            sent = {"cut": data[: len(data) // 2], "wrong": b"<html>".ljust(len(data)), "bomb": bomb.ljust(len(data))}
            self.wfile.write(sent.get(kind, data))

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the list of what it is asked for."""
    served: list[str] = []
    handler = type("Counting", (Handler,), {"served": served})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", served
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    pretend()
    sys.argv[0] = str(Path(__file__).parents[1] / "train.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
