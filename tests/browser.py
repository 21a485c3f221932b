"""Eyes: a real browser, chromium, driven over its DevTools protocol; and what a virtual screen shows."""

import asyncio
import base64
import io
import json
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tornado.websocket import WebSocketClientConnection, websocket_connect

_COLLECT = """window.complaints = [];
for (const kind of ["error", "unhandledrejection", "securitypolicyviolation"])
  addEventListener(kind, (e) => complaints.push(String(e.message ?? e.reason ?? e.violatedDirective ?? e.type)), true);
console.error = console.warn = (...words) => complaints.push(words.join(" "));
"""


class Browser:
    """Looks at ``page``, ``width`` by ``height`` pixels large, each of them ``ratio`` by ``ratio`` on the screen."""

    def __init__(self, chromium: str, page: str, width: int = 1280, height: int = 720, ratio: float = 1.0):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        options = ["--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--hide-scrollbars"]
        options += [f"--user-data-dir={self._folder.name}", f"--force-device-scale-factor={ratio}"]
        options += [f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen([chromium, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._loop, self._sent = asyncio.new_event_loop(), 0
        address = self._page(Path(self._folder.name) / "DevToolsActivePort")
        self._socket = self._loop.run_until_complete(self._connect(address))
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio, mobile=False
        )
        self.send("Page.enable")
        self.send("Page.addScriptToEvaluateOnNewDocument", source=_COLLECT)
        self.send("Page.navigate", url=page)

    def _page(self, port_file: Path) -> str:
        for _ in range(300):
            try:
                port = port_file.read_text().split()[0]
                pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
                return next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            except (OSError, IndexError, StopIteration):
                time.sleep(0.1)
        raise TimeoutError("chromium did not start")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give an order; what comes of it."""
        return self._loop.run_until_complete(self._send(method, parameters))

    async def _connect(self, address: str) -> WebSocketClientConnection:
        return await websocket_connect(address, max_message_size=2**28)

    async def _close(self) -> None:
        self._socket.close()

    async def _send(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._sent += 1
        await self._socket.write_message(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await self._socket.read_message() or "{}")
            if answer.get("id") == self._sent:
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of a line of JavaScript."""
        return self.send("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def waited(self, script: str) -> Any:
        """What a promise brings."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, holds: str) -> Any:
        """Wait, a minute at most, until an expression holds on the page; its value."""
        for _ in range(1200):
            if value := self.evaluate(holds):
                return value
            time.sleep(0.05)
        raise TimeoutError(f"never: {holds}; the page says: {self.evaluate('document.body.innerText')}")

    def settle(self) -> None:
        """Wait until all that has been changed is laid out and drawn."""
        self.waited("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")

    def errors(self) -> list[str]:
        """What the page has complained of since it was asked last."""
        return self.evaluate("complaints.splice(0)")

    def texts(self, of: str) -> list[str]:
        """The text of each element that a selector finds and that is shown."""
        return self.evaluate(
            f"[...document.querySelectorAll({json.dumps(of)})].filter((e) => e.getClientRects().length)"
            ".map((e) => e.textContent)"
        )

    def centre(self, of: str) -> tuple[float, float]:
        """Where on the screen the first element that a selector finds has its middle; the page scrolls there."""
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(of)}); e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return x, y

    def move(self, x: float, y: float) -> None:
        """Move the mouse."""
        self._mouse("mouseMoved", x, y)

    def click(self, x: float, y: float, clicks: int = 1) -> None:
        """Click, or click twice."""
        self.move(x, y)
        for click in range(clicks):
            self._mouse("mousePressed", x, y, button="left", clickCount=click + 1)
            self._mouse("mouseReleased", x, y, button="left", clickCount=click + 1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse, move it, let it go."""
        self.move(*start)
        self._mouse("mousePressed", *start, button="left", clickCount=1)
        for share in (0.3, 0.7, 1):
            x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
            self._mouse("mouseMoved", x, y, button="left", buttons=1)
        self._mouse("mouseReleased", *end, button="left", clickCount=1)

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def press(self, key: str, code: str = "", control: bool = False) -> None:
        """Press a key and let it go."""
        text = {"text": key} if len(key) == 1 and not control else {}
        for kind in ("keyDown", "keyUp"):
            number = ord(key.upper()) if len(key) == 1 else {"Tab": 9, "Enter": 13}.get(key, 0)
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=code, windowsVirtualKeyCode=number,
                modifiers=2 if control else 0, **(text if kind == "keyDown" else {}),
            )  # fmt: skip

    def picture(self) -> Image.Image:
        """What the page looks like."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def close(self) -> None:
        """End it."""
        self._loop.run_until_complete(self._close())
        self._loop.close()
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


def screen(path: Path) -> Image.Image:
    """What Xvfb shows, read from the X window dump that it keeps."""
    data = path.read_bytes()
    header = np.frombuffer(data[:100], ">u4")
    size, width, height, line, colours = (int(header[i]) for i in (0, 4, 5, 12, 19))
    pixels = np.frombuffer(data, np.uint8, line * height, size + 12 * colours).reshape(height, line // 4, 4)
    return Image.fromarray(pixels[:, :width, 2::-1].copy())
