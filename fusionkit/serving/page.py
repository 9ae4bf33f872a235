"""The page, and the reference of the endpoints: HTML that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
code{font-size:.95em}h2{margin-top:2rem;font-size:1.1rem}dt{font-weight:600}
"""


@cache
def read_page() -> bytes:
    """Reads the page."""
    return (Path(__file__).parent / "page.html").read_bytes()


def make_policy(page: bytes) -> str:
    """Makes the policy under which a browser shows a page: its own script and style by their hashes, and nothing else.

    Args:
        page: The page, whose script and style stand in it.
    """
    scripts, styles = (_hash_all(page, tag) for tag in (b"script", b"style"))
    rules = {
        "default-src": "'none'",
        "script-src": scripts,
        "style-src": styles,
        "img-src": "'self' data: blob:",
        "media-src": "blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def make_reference(schema: Mapping[str, Any]) -> bytes:
    """Makes the page that describes the endpoints."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>Endpoints</title><style>{_STYLE}</style><h1>Endpoints</h1>",
        "<p>The same as <a href='/openapi.json'>OpenAPI</a>. Send the token as ",
        "<code>Authorization: Bearer TOKEN</code>.</p>",
    ]
    for path, methods in schema["paths"].items():
        for method, described in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(described['summary'])}.")
            parts.append(f" {escape(described.get('description', ''))}</p><dl>")
            for option in described.get("parameters", ()):
                parts.append(f"<dt><code>{escape(option['name'])}</code></dt><dd>{escape(option['description'])}</dd>")
            parts.append("</dl>")
    parts.append(
        "<h2><code>WEBSOCKET /stream</code></h2><p>Answers as signals come. The first message is JSON: "
        "<code>{&quot;token&quot;: &quot;...&quot;, &quot;window&quot;: 3, &quot;every&quot;: 0.2}</code>. "
        "Every binary message is a line of JSON, <code>{&quot;modality&quot;: &quot;video&quot;, &quot;at&quot;: 0.4, "
        "&quot;dtype&quot;: &quot;jpeg&quot;}</code>, and the bytes behind it.</p>"
    )
    return "".join(parts).encode()


def _hash_all(page: bytes, tag: bytes) -> str:
    found = re.findall(rb"<" + tag + rb">(.*?)</" + tag + rb">", page, re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(each).digest()).decode() for each in found)
    return " ".join(f"'sha256-{each}'" for each in hashes) or "'none'"


POLICY = make_policy(read_page())
REFERENCE_POLICY = make_policy(f"<style>{_STYLE}</style>".encode())
