"""What a browser shows of runs: JavaScript modules without a build step, served or put into one HTML file.

A module imports another by its bare name (``import { Chart } from "chart"``); an import map says where that is: at the
server's ``page/chart.js``, or inside the file. Each page starts with one module, whose ``start(root, data)`` it calls.
"""

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_IMPORT = re.compile(r'^(?:import|export)\b[^;"]*\bfrom "([\w-]+)";|\bimport\("([\w-]+)"\)', re.MULTILINE)
# Whatever the page does, the browser sends nothing to another host.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' data: blob:; worker-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self' data: blob: ws://localhost:* ws://127.0.0.1:*; base-uri 'none'; form-action 'none'"
)


def source(module: str) -> str:
    """The text of the JavaScript module ``module``."""
    return (FOLDER / f"{module}.js").read_text(encoding="utf-8")


def needs(module: str) -> list[str]:
    """``module`` and those that it imports, and these import, in the order of their names."""
    found, new = set(), {module}
    while new:
        found |= new
        new = {a or b for name in new for a, b in _IMPORT.findall(source(name))} - found
    return sorted(found)


def document(title: str, start: str, data: Any = None, whole: bool = False) -> str:
    """The HTML page that calls ``start(root, data)`` of the module ``start``; ``data`` is whatever JSON can hold.

    It loads its parts from ``page/`` below its own address; ``whole``, it has them inside and opens from disk.
    """
    if whole:
        parts = {name: _data_url(source(name)) for name in needs(start)}
        style = f"<style>{(FOLDER / 'style.css').read_text(encoding='utf-8')}</style>"
    else:
        parts = {name: f"./page/{name}.js" for name in needs(start)}
        style = '<link rel="stylesheet" href="page/style.css">'
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n{style}\n"
        f'<script type="importmap">{_json({"imports": parts})}</script>\n'
        '<body>\n<div id="root"></div>\n<noscript>This page needs JavaScript.</noscript>\n'
        f'<script type="application/json" id="data">{_json(data)}</script>\n'
        f'<script type="module">\nimport {{ start }} from "{start}";\n'
        'start(document.getElementById("root"), JSON.parse(document.getElementById("data").textContent));\n'
        "</script>\n</body>\n</html>\n"
    )


def _data_url(code: str) -> str:
    return "data:text/javascript;base64," + base64.b64encode(code.encode()).decode()


def to_json(value: Any) -> str:
    """JSON as browsers read it: null for NaN and infinity, which a damaged file may hold."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return to_json(json.loads(json.dumps(value), parse_constant=lambda _: None))


def _json(value: Any) -> str:
    """JSON that no text inside can end the script element of."""
    return to_json(value).replace("<", "\\u003c")
