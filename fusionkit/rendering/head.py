"""The parts of a face that do not move: the head, hair, beard, glasses, neck and shoulders."""

from __future__ import annotations

import math

import numpy as np

from fusionkit.rendering.canvas import Canvas, close_shape, darken, mirror, mix, smooth
from fusionkit.rendering.looks import Look

_CIRCLE = np.exp(1j * np.linspace(0, 2 * math.pi, 20, endpoint=False))
_LOCKS = smooth(
    close_shape(np.array([-1.18j, 0.66 - 0.98j, 0.92 - 0.3j, 0.92 + 0.5j, 0.86 + 1.15j, 1.2j])), closed=True
)
_SHIRT = np.array([1.5j, 0.42 + 1.27j, 0.95 + 1.42j, 1.6 + 1.75j, 1.8 + 2.6j, 2.6j])
_SHIRT = smooth(close_shape(_SHIRT), closed=True)
_NECK = close_shape(np.array([0.55j, 0.40 + 0.55j, 0.44 + 1.6j, 1.6j]))
_FRAMES = (42.0, 38.0, 38.0)


def draw_oval(x: float, y: float, across: float, down: float | None = None) -> np.ndarray:
    """Draws an ellipse around a point, or a circle."""
    height = across if down is None else down
    outline: np.ndarray = complex(x, y) + across * _CIRCLE.real + 1j * height * _CIRCLE.imag
    return outline


def draw_outline(look: Look, drop: float) -> np.ndarray:
    """Draws the outline of the head when the chin has gone down by `drop`."""
    w, jaw, low = look.width, look.width * look.jaw, 1.0 + look.chin + drop
    right = np.array(
        [
            -1j,
            0.62 * w - 0.87j,
            0.96 * w - 0.48j,
            w - 0.08j,
            0.96 * w + 0.28j,
            complex(jaw, 0.64 + 0.6 * drop),
            complex(0.60 * jaw, 0.91 * low),
            1j * low,
        ]
    )
    return smooth(close_shape(right), closed=True, pieces=4)


def draw_behind(canvas: Canvas, look: Look) -> None:
    """Draws hair behind the head, neck, shoulders and ears."""
    if look.hair_style == "long":
        canvas.fill(_LOCKS, look.hair, flat=True)
    elif look.hair_style == "bun":
        canvas.fill(draw_oval(0.0, -1.18, 0.3), darken(look.hair, 0.9), flat=True)
    canvas.fill(_NECK, darken(look.skin, 0.72), flat=True)
    canvas.fill(_SHIRT, look.cloth, flat=True)
    for side in (-1, 1):
        canvas.fill(draw_oval(side * (look.width + 0.01), 0.05, 0.09, 0.17), darken(look.skin, 0.88), flat=True)


def draw_hair(canvas: Canvas, look: Look) -> None:
    """Draws hair over the forehead."""
    if look.hair_style == "none":
        return
    w = look.width
    crown = np.array([1.03 * w - 0.12j, 1.09 * w - 0.52j, 0.85 * w - 0.95j, 0.4 * w - 1.15j, -1.2j])
    if look.hair_style == "side":
        line = np.array([0.93 * w - 0.5j, 0.45 - 0.80j, 0.1 - 0.76j, -0.35 - 0.62j, -0.93 * w - 0.40j])
    else:
        low = 0.30 if look.hair_style == "long" else 0.46
        half = np.array([0.93 * w - low * 1j, 0.6 * w - 0.70j, -0.80j])
        line = np.concatenate([half, mirror(half[-2::-1])])
    outline = np.concatenate([smooth(np.concatenate([mirror(crown), crown[-2::-1]])), smooth(line)])
    canvas.fill(outline, look.hair, flat=True)


def draw_beard(canvas: Canvas, look: Look, drop: float) -> None:
    """Draws a beard from ear to ear, under the nose too."""
    outline = draw_outline(look, drop)
    lower = outline[outline.imag > 0.22]
    rim = lower[np.argsort(np.arctan2(lower.real, lower.imag - 0.2))][::-1]
    edge = np.array([look.width + 0.12j, 0.62 + 0.42j, 0.42 + 0.50j, 0.26 + 0.40j, 0.1 + 0.37j, 0.38j])
    shape = np.concatenate([rim, smooth(np.concatenate([mirror(edge), edge[-2::-1]]))])
    canvas.fill(shape, mix(look.skin, look.hair, 0.75 * look.beard), flat=True)


def draw_glasses(canvas: Canvas, look: Look, y: float) -> None:
    """Glasses around eyes at a height."""
    for side in (-1, 1):
        rim = draw_oval(side * look.eye_gap * 1.02, y + 0.015, 0.24, 0.19)
        canvas.stroke(np.append(rim, rim[0]), _FRAMES, 0.024)
        temple = np.array([look.eye_gap + 0.24 + 1j * (y - 0.02), look.width + 1j * (y - 0.05)])
        canvas.stroke(mirror(temple, side), _FRAMES, 0.024)
    bridge = np.array(
        [complex(-look.eye_gap + 0.23, y - 0.02), 1j * (y - 0.05), complex(look.eye_gap - 0.23, y - 0.02)]
    )
    canvas.stroke(bridge, _FRAMES, 0.024)
