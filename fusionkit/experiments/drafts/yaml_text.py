"""YAML that people read: short values on one line, and comments above them."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from fusionkit.config.yaml import read_scalar

WIDTH = 118
_PLAIN = re.compile(r"[A-Za-z_/.$~](?:[\w./$~=-]| (?! ))*", re.ASCII)


def write_flow(value: Any) -> str:
    """Writes a value on one line.

    Example:
        >>> write_flow({"encoder": ["feature_norm", {"type": "mlp", "hidden": [32]}], "name": "on: off"})
        '{encoder: [feature_norm, {type: mlp, hidden: [32]}], name: "on: off"}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{write_flow(key)}: {write_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(write_flow, value)) + "]"
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and not value.endswith(" ") and isinstance(read_scalar(value), str)
        return value if is_plain else _quote(value)
    return json.dumps(value)


def write_entry(key: str, value: Any, indent: int) -> str:
    """Writes a key and its value, on several lines where one would be too long.

    Example:
        >>> write_entry("folds", "given", 2)
        '  folds: given'
    """
    space = " " * indent
    line = f"{space}{write_flow(key)}: {write_flow(value)}"
    if len(line) <= WIDTH or value in ([], {}):
        return line
    if isinstance(value, Mapping):
        return "\n".join(
            [f"{space}{write_flow(key)}:", *(write_entry(name, of, indent + 2) for name, of in value.items())]
        )
    if isinstance(value, list | tuple):
        joined = ", ".join(map(_write_unbroken, value))
        items = textwrap.fill(joined, WIDTH - indent - 2, break_long_words=False, break_on_hyphens=False)
        items = textwrap.indent(items.replace("\0", " "), f"{space}  ")
        return f"{space}{write_flow(key)}: [\n{items},\n{space}]"
    return line


def write_comment(text: str, indent: int = 0, mark: str = "") -> str:
    """Writes a comment, broken between words.

    Args:
        text: What it says.
        indent: Blanks in front of it.
        mark: What stands before its first word, such as ``- ``.
    """
    first, later = f"{' ' * indent}# {mark}", f"{' ' * indent}# {' ' * len(mark)}"
    printable = "".join(sign if sign.isprintable() else "?" for sign in text)
    return textwrap.fill(printable, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def _quote(text: str) -> str:
    """Quotes a text; a sign that cannot be printed is written by its number, above 16 bits as JSON would not."""
    return '"' + "".join(_escape(sign) for sign in text) + '"'


def _escape(sign: str) -> str:
    if sign in '"\\':
        return f"\\{sign}"
    return sign if sign.isprintable() else f"\\U{ord(sign):08x}"


def _write_unbroken(value: Any) -> str:
    """Writes a value in which no line is broken."""
    return write_flow(value).replace(" ", "\0")
