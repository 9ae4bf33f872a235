"""The options of the endpoints, and their documentation."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from fusionkit.errors import shorten
from fusionkit.serving.conversation import LEAST_EVERY, NO_LEVEL_OVER_TIME
from fusionkit.serving.http.refusals import Refusal
from fusionkit.serving.settings import Settings

_LONGEST_NAME = 100

_STATUSES = {
    401: "The token is missing or wrong.",
    408: "The body came too slowly.",
    413: "Too many bytes, samples, seconds or pixels.",
    415: "Files of a kind that is not read.",
    422: "No sample that the network takes; the answer says what is wrong.",
    429: "Too much is waiting; come again after the seconds of Retry-After.",
    503: "The work took too long.",
}


@dataclass(frozen=True)
class Options:
    """The options of an answer.

    Args:
        branches: Answer by every trained branch as well.
        without: Modalities that are hidden from the network.
        level: The share of cases in which sets and intervals hold the truth; None for none.
    """

    branches: bool
    without: frozenset[str]
    level: float | None


@dataclass(frozen=True)
class Seconds:
    """The seconds of a timeline.

    Args:
        every: From one answer to the next.
        window: That each answer is of.
    """

    every: float
    window: float


def refuse_unknown_keys(request: Request, endpoint: Mapping[str, Any]) -> None:
    """Refuses an address with a key that its endpoint does not have, such as a misspelt one.

    Args:
        request: The request.
        endpoint: `PREDICT` or `TIMELINE`.

    Raises:
        Refusal: It has one.
    """
    known = [parameter["name"] for parameter in endpoint["openapi_extra"]["parameters"]]
    if "level" in request.query_params and "level" not in known:
        raise Refusal(422, NO_LEVEL_OVER_TIME)
    for key in request.query_params:
        if key not in known:
            raise Refusal(422, f"{shorten(key, _LONGEST_NAME)!r}: no option; known: {', '.join(known)}")


def read_options(request: Request, modalities: Collection[str]) -> Options:
    """Reads the options of an answer from the address.

    Raises:
        Refusal: A modality is unknown, or none is left, or a level is no share.
    """
    without = frozenset(name for text in request.query_params.getlist("without") for name in text.split(",") if name)
    known = ", ".join(modalities)
    if unknown := sorted(without.difference(modalities)):
        raise Refusal(422, f"without: unknown modality {shorten(unknown[0], _LONGEST_NAME)!r}; known: {known}")
    if len(without) == len(modalities):
        raise Refusal(422, f"without: name some of the modalities, not all; known: {known}")
    stated = request.query_params.get("branches", "false").lower()
    if stated not in ("true", "false", "1", "0"):
        raise Refusal(422, "branches: is true or false")
    return Options(stated in ("true", "1"), without, _read_level(request))


def read_seconds(request: Request, settings: Settings) -> Seconds:
    """Reads the seconds of a timeline from the address.

    Raises:
        Refusal: They are no numbers, or too few or many.
    """
    least = max(LEAST_EVERY, settings.most_seconds / settings.most_instants)
    every = _read_number(request, "every", 0.2, least, settings.most_seconds)
    return Seconds(every, _read_number(request, "window", settings.window, least, settings.most_seconds))


def _read_level(request: Request) -> float | None:
    text = request.query_params.get("level")
    try:
        level = None if text is None else float(text)
    except ValueError:
        level = math.nan
    if level is not None and not 0 < level < 1:
        raise Refusal(422, "level: is a share between 0 and 1, such as 0.9")
    return level


def _read_number(request: Request, name: str, default: float, least: float, most: float) -> float:
    text = request.query_params.get(name)
    try:
        number = default if text is None else float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise Refusal(422, f"{name}: give seconds from {least:g} to {most:g}")
    return number


def _describe(summary: str, text: str, options: Mapping[str, str]) -> dict[str, Any]:
    numbers = {"every", "window", "level"}
    array = {
        "description": "An array of numbers: (time, ...), or one element; null is an empty number.",
        "type": "array",
        "items": {},
    }
    named = {"description": "The numbers of a vector by its columns, which the card names.", "type": "object"}
    sample = {"type": "object", "additionalProperties": {"anyOf": [array, named]}}
    file = {"type": "string", "format": "binary"}
    return {
        "summary": summary,
        "description": text,
        "responses": {status: {"description": said} for status, said in _STATUSES.items()},
        "openapi_extra": {
            "parameters": [
                {
                    "name": name,
                    "in": "query",
                    "required": False,
                    "description": said,
                    "schema": {"type": "number" if name in numbers else "boolean" if name == "branches" else "string"},
                }
                for name, said in options.items()
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {"oneOf": [sample, {"type": "array", "items": sample}]}},
                    "multipart/form-data": {"schema": {"type": "object", "additionalProperties": file}},
                },
            },
        },
    }


_OPTIONS = {
    "branches": "Answer by every trained branch as well: each modality by itself, and the ensembles.",
    "without": "Modalities that are hidden from the network, with commas between them.",
}

PREDICT = _describe(
    "Answers to one sample or several",
    "Send an object of arrays by modality, a list of such objects, or files as multipart/form-data: the name of a part "
    "is a modality, film, sound, or file for what it can be.",
    {
        **_OPTIONS,
        "level": "Calibrated probabilities, and sets or intervals that hold the truth in this share of cases, such as "
        "0.9. The card says up to which level the network is calibrated.",
    },
)

TIMELINE = _describe(
    "Answers to one sample over time",
    "Send one sample as for /predict; each answer is of the seconds before it.",
    {"every": "Seconds from one answer to the next.", "window": "Seconds that each answer is of.", **_OPTIONS},
)
