"""What becomes of whole files and of plain data in the hands of chance."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

EXTREME = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff")

STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e30, float("nan"), float("inf"), 10**6, 2**31, 2**63, 10**30),
    *("", "a", "1", "nan", "../x", "/", "\n", "\u00e9", "x" * 300, "sum", "mlp", "null"),
    *([], {}, [None], [[]], {"type": "mlp"}, {"type": None}, {"": 1}, ["a", "a"], [-1], [0], {"a": {"a": {}}}),
)
"""Values that nobody expected there."""


def damaged(data: bytes, chance: Random) -> bytes:
    """A file whose bytes are flipped, cut out, repeated or inserted, or that ends too early."""
    kind = chance.choice(("flip", "flip", "header", "cut", "remove", "repeat", "insert", "zeros", "many"))
    if kind == "cut":
        return data[: chance.randrange(len(data))]
    changed = bytearray(data)
    begin = chance.randrange(len(data))
    length = min(chance.choice((1, 4, 64, 1024)), len(data) - begin)
    if kind == "remove":
        del changed[begin : begin + length]
    elif kind == "repeat":
        changed[begin:begin] = changed[begin : begin + length]
    elif kind == "insert":
        changed[begin:begin] = chance.choice(EXTREME) if chance.random() < 0.5 else chance.randbytes(length)
    elif kind == "zeros":
        changed[begin : begin + length] = bytes(length)
    else:
        # Most of what a reader believes stands in the first bytes.
        reach = min(len(data), 200) if kind == "header" else len(data)
        for _ in range(chance.choice((40, 400)) if kind == "many" else chance.choice((1, 1, 2, 8))):
            place = chance.randrange(reach)
            flipped = bytes([changed[place] ^ 1 << chance.randrange(8)])
            put = flipped if chance.random() < 0.5 else chance.choice(EXTREME)[: len(data) - place]
            changed[place : place + len(put)] = put
    return bytes(changed)


def places_in(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in plain data but the whole of it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in ((*place, key), *places_in(item, (*place, key)))]


def at(value: Any, place: tuple[Any, ...]) -> Any:
    """What stands at a place."""
    for key in place:
        value = value[key]
    return value


def altered(document: Any, chance: Random, changes: int = 1) -> Any:
    """Plain data in which values are replaced, taken away, renamed, put somewhere else, or said twice."""
    made = copy.deepcopy(document)
    for _ in range(changes):
        places = places_in(made)
        if not places:
            break
        place = chance.choice(places)
        above, key = at(made, place[:-1]), place[-1]
        kind = chance.choice(("strange", "strange", "remove", "rename", "move", "wrap", "add"))
        if kind == "strange":
            above[key] = copy.deepcopy(chance.choice(STRANGE))
        elif kind == "remove":
            del above[key]
        elif kind == "rename" and isinstance(above, dict):
            above[chance.choice(("", "x", f"{key}s", f"{key}"[:-1], "type", "1"))] = above.pop(key)
        elif kind == "wrap":
            above[key] = chance.choice(([above[key]], {"type": above[key]}, [above[key]] * 2))
        elif kind == "add" and isinstance(above[key], list):
            above[key] += above[key]
        else:
            above[key] = copy.deepcopy(at(made, chance.choice(places)))
    return made


def as_text(document: Any) -> bytes:
    """Plain data as JSON, also numbers that JSON does not know."""
    return json.dumps(document).encode()
