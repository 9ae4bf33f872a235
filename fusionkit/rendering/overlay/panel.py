"""A frame with the box of a face, and beside it the winner's name and a bar for every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LEAST_HEIGHT = 360
"""Pixels; smaller films are enlarged by a whole factor, so that words can be read."""

_BACK, _INK, _QUIET, _RAIL = (24, 26, 30), (240, 240, 240), (165, 170, 178), (52, 56, 63)
_WINNER, _OTHER, _FACE = (86, 180, 233), (110, 116, 126), (255, 200, 60)
_MOST_BARS = 12


@dataclass(frozen=True)
class Bar:
    """A class and its probability."""

    label: str
    share: float


@dataclass(frozen=True)
class Said:
    """The words and bars of a target at an instant.

    Args:
        target: The target.
        headline: The winner, or the number.
        bars: The classes; empty for numbers.
    """

    target: str
    headline: str
    bars: Sequence[Bar] = ()


class Panel:
    """Draws frames of one size.

    Args:
        height: Pixels of a frame.
        width: Pixels of a frame.
    """

    def __init__(self, height: int, width: int) -> None:
        self._scale = max(1, -(-LEAST_HEIGHT // height))
        self._height, self._width = height * self._scale, width * self._scale
        self._unit = max(12, round(self._height / 26))
        self._room = 14 * self._unit
        self.size = (_make_even(self._width + self._room), _make_even(self._height))

    def draw(
        self, frame: np.ndarray, box: Sequence[float] | None, said: Sequence[Said], present: str, reason: str = ""
    ) -> np.ndarray:
        """Draws a frame.

        Args:
            frame: ``(height, width, 3)`` uint8.
            box: Left, top, right and bottom of the face, in pixels of the frame; None without one.
            said: What is said of each target.
            present: Which modalities it is of, in words.
            reason: Why nothing is said, where that is so.
        """
        image = Image.new("RGB", self.size, _BACK)
        picture = Image.fromarray(frame)
        if self._scale > 1:
            picture = picture.resize((self._width, self._height), Image.Resampling.BICUBIC)
        image.paste(picture, (0, 0))
        draw = ImageDraw.Draw(image)
        if box is not None:
            # The drawing is cut where the frame ends, so a box that reaches beyond does not lie on the panel.
            self._draw_box(image, box)
        left, top = self._width + self._unit, self._unit * 0.7
        for each in said:
            top = self._draw_said(draw, each, left, top, len(said))
        if reason and not said:
            draw.text((left, top), "no answer", font=_load_font(self._unit), fill=_QUIET)
        small = _load_font(round(self._unit * 0.8))
        draw.text(
            (left, self._height - 1.4 * self._unit),
            _fit(draw, present or reason, small, self._room - 2 * self._unit),
            font=small,
            fill=_QUIET,
        )
        return np.asarray(image)

    def _draw_box(self, image: Image.Image, box: Sequence[float]) -> None:
        part = image.crop((0, 0, self._width, self._height))
        draw = ImageDraw.Draw(part)
        left, top, right, bottom = (round(edge * self._scale) for edge in box)
        if right > left and bottom > top:
            draw.rectangle((left, top, right, bottom), outline=_FACE, width=max(2, self._unit // 7))
        image.paste(part, (0, 0))

    def _draw_said(self, draw: Any, said: Said, left: float, top: float, targets: int) -> float:
        unit, right = self._unit, self._width + self._room - self._unit
        small, large = _load_font(round(unit * 0.8)), _load_font(round(unit * 1.5))
        draw.text((left, top), _fit(draw, said.target, small, right - left), font=small, fill=_QUIET)
        draw.text((left, top + unit), _fit(draw, said.headline, large, right - left), font=large, fill=_INK)
        top += 3.3 * unit
        bars = sorted(said.bars, key=lambda bar: bar.share, reverse=True)[: _MOST_BARS // targets]
        shown = [bar for bar in said.bars if bar in bars]
        names = 5.2 * unit
        for bar in shown:
            colour = _WINNER if bar.share == bars[0].share else _OTHER
            label = _fit(draw, bar.label, small, names - 0.4 * unit)
            draw.text((left, top), label, font=small, fill=_INK if colour == _WINNER else _QUIET)
            rail = (left + names, top + 0.2 * unit, right, top + 0.95 * unit)
            draw.rectangle(rail, fill=_RAIL)
            if bar.share > 0:
                draw.rectangle((*rail[:2], rail[0] + bar.share * (rail[2] - rail[0]), rail[3]), fill=colour)
            top += 1.5 * unit
        return top + 0.6 * unit


@lru_cache(maxsize=16)
def _load_font(size: int) -> Any:
    return ImageFont.load_default(size)


def _fit(draw: Any, text: str, font: Any, room: float) -> str:
    """Shortens a text until it fits."""
    shown = " ".join(text.split())
    if draw.textlength(shown, font=font) <= room:
        return shown
    while shown and draw.textlength(shown + "...", font=font) > room:
        shown = shown[:-1]
    return shown + "..."


def _make_even(pixels: int) -> int:
    return pixels + pixels % 2
