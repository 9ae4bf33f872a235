"""fusionkit: fuse several kinds of signal, and measure whether fusing helps.

The public names stand in ``__init__.pyi``. They are loaded when they are first used, so `import fusionkit` and
``fusionkit --help`` are quick.
"""

from __future__ import annotations

import importlib
import os
from functools import cache

from fusionkit.version import __version__ as __version__


@cache
def _homes() -> dict[str, str]:
    """Returns the module of every public name: the lines of the stub read ``from HOME import NAME as NAME``."""
    with open(os.path.join(os.path.dirname(__file__), "__init__.pyi"), encoding="utf-8") as stub:  # pathlib takes long
        words = [line.split() for line in stub if line.startswith("from ")]
    return {name: home for _, home, _, name, *_ in words}


def __getattr__(name: str) -> object:
    if name == "__all__":
        return sorted(_homes())
    if name.startswith("__") or name not in _homes():
        raise AttributeError(f"module 'fusionkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_homes()[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes()})
