"""Where a view is shown: on a page of this machine, in a tab or a window of the browser, or as files."""

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import webbrowser
from pathlib import Path
from typing import Any

from mnist_lab.errors import UserError, require_extra

NAMES = ("web", "window", "file")
# Browsers that show a page in a window of its own, without tabs and address: ``<name> --app=<address>``.
_APP_BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "brave-browser",
    "microsoft-edge",
)
_MAC_BROWSERS = ("Google Chrome", "Chromium", "Microsoft Edge", "Brave Browser")


def check(backend: str) -> None:
    """Raise UserError where ``backend`` cannot show anything here."""
    if backend not in NAMES:
        raise UserError(f"view.backend={backend}: must be one of {', '.join(NAMES)}")
    require_extra("matplotlib" if backend == "file" else "tornado", "view", f"view={backend}")
    if backend == "window" and not has_display():
        raise UserError(
            "view=window: there is no display here; view=web shows a page, over SSH too, and view=file writes pictures"
        )


def has_display() -> bool:
    """Whether there is a screen to open windows on, as far as the environment says."""
    return sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


def add_page(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that shows a page: ``port`` and ``no_browser``."""
    parser.add_argument("--port", type=_port, default=8988, help="the first to try (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="open none")


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise UserError(f"--port {text}: must be from 1 to 65535")
    return int(text)


def listen(port: int, folder: Path | None = None) -> tuple[socket.socket | None, int]:
    """A socket on this machine only, and its port: ``port`` or the first free one of the twenty after it.

    None in its place where a page of ours is there already that shows the runs in ``folder``.
    """
    for candidate in range(port, min(port + 21, 65536)):
        try:
            listening = socket.create_server(("127.0.0.1", candidate))
            return listening, candidate
        except OSError:
            there = about(candidate) if folder else None
            if folder and there and there == about_folder(folder) | {"viewers": there.get("viewers")}:
                return None, candidate
    raise UserError(f"port {port}: it and the twenty after it are taken; name another (--port; of a run: view.port)")


def about_folder(folder: Path) -> dict[str, Any]:
    """What a page says of itself, so that a second run shows itself there too."""
    return {"mnist_lab": "view", "folder": str(folder), "user": os.getuid() if hasattr(os, "getuid") else None}


def about(port: int) -> dict[str, Any] | None:
    """What the page at ``port`` says of itself; None where it is not ours."""
    try:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/about")
            said = json.loads(connection.getresponse().read(10_000))
    except (OSError, ValueError, http.client.HTTPException, RecursionError):  # it may be anything that listens there
        return None
    return said if isinstance(said, dict) and said.get("mnist_lab") == "view" else None


def address(port: int, query: str = "") -> str:
    """The address of the page at ``port``; ``query`` says what is shown there."""
    return f"http://localhost:{port}" + (f"/#{query}" if query else "")


def directions(port: int, query: str = "") -> str:
    """That address, and how to reach it from another machine."""
    return f"{address(port, query)} (from another machine: ssh -L {port}:localhost:{port} {socket.gethostname()})"


def open_page(page: str, window: bool) -> None:
    """Show ``page`` in a tab of the browser or, where it can, in a window of its own."""
    command = _app_window(page) if window else None
    if command is None:
        webbrowser.open(page)
        return
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen(command, start_new_session=True, **quiet)  # type: ignore[call-overload]


def _app_window(page: str) -> list[str] | None:
    if sys.platform == "darwin":
        found = [name for name in _MAC_BROWSERS if Path(f"/Applications/{name}.app").exists()]
        return ["open", "-na", found[0], "--args", f"--app={page}"] if found else None
    if sys.platform == "win32":
        places = [os.environ.get(name, "") for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
        inside = (r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe")
        paths = [Path(place) / path for place in places if place for path in inside]
        return next(([str(path), f"--app={page}"] for path in paths if path.exists()), None)
    browser = next(filter(None, map(shutil.which, _APP_BROWSERS)), None)
    root = ["--no-sandbox"] if browser and hasattr(os, "geteuid") and os.geteuid() == 0 else []  # it refuses root else
    return [browser, *root, f"--app={page}", "--window-size=1280,800"] if browser else None
