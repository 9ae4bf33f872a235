"""A drawn face: brows, eyes, lids, nose and mouth that move with the actions of an expression and with speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fusionkit.rendering.canvas import Canvas, close_shape, darken, mirror, mix, smooth
from fusionkit.rendering.head import draw_beard, draw_behind, draw_glasses, draw_hair, draw_outline, draw_oval
from fusionkit.rendering.looks import Colour, Look

_ACROSS = np.linspace(-1.0, 1.0, 15)
_LEVEL = 1 - _ACROSS**2
_EYE_Y, _BROW_Y, _NOSE_Y, _MOUTH_Y = -0.05, -0.30, 0.26, 0.53
_WHITE: Colour = (237.0, 233.0, 226.0)


@dataclass(frozen=True)
class Motion:
    """The face at one moment.

    Args:
        actions: Every action of `expressions.ACTIONS`, 0 to about 1.3.
        opening: How far speech opens the mouth, 0 to about 1.
        rounding: Lips, spread (-1) to rounded (1).
        blink: 0 (eyes as the actions say) to 1 (shut).
        gaze: Where the eyes look, to the right and down, -1 to 1.
    """

    actions: Mapping[str, float]
    opening: float = 0.0
    rounding: float = 0.0
    blink: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)


def measure_jaw_drop(motion: Motion) -> float:
    """Measures how far the chin goes down."""
    a = motion.actions
    return 0.13 * a["jaw_drop"] + 0.05 * motion.opening - 0.015 * a["chin_raise"]


def draw_person(canvas: Canvas, look: Look, motion: Motion) -> None:
    """Draws head and shoulders, from the back to the front."""
    drop = measure_jaw_drop(motion)
    draw_behind(canvas, look)
    canvas.fill(draw_outline(look, drop), look.skin, flat=True)
    if look.beard:
        draw_beard(canvas, look, drop)
    _draw_upper_folds(canvas, look, motion.actions)
    _draw_lower_folds(canvas, look, motion.actions)
    for side in (-1, 1):
        _draw_eye(canvas, look, motion, side)
    _draw_nose(canvas, look, motion.actions)
    _draw_mouth(canvas, look, motion)
    for side in (-1, 1):
        _draw_brow(canvas, look, motion.actions, side)
    draw_hair(canvas, look)
    if look.glasses:
        draw_glasses(canvas, look, _EYE_Y)


def _draw_upper_folds(canvas: Canvas, look: Look, a: Mapping[str, float]) -> None:
    """Lines on the forehead, between the brows and on the bridge of the nose, where skin is pushed together."""
    forehead = min(1.0, 0.9 * a["outer_brow_raise"] * a["inner_brow_raise"] + 0.35 * a["inner_brow_raise"])
    if forehead > 0.15:
        for y, half in ((-0.60, 0.30), (-0.50, 0.38)):
            canvas.stroke(half * _ACROSS + 1j * (y - 0.03 * _LEVEL), _shade_fold(look, forehead), 0.016)
    frown = min(1.0, a["brow_lower"] + 0.5 * a["nose_wrinkle"])
    for side in (-1, 1):
        if frown > 0.2:
            furrow = np.array([0.055 - 0.40j, 0.045 - 0.32j, 0.06 - 0.24j])
            canvas.stroke(mirror(furrow, side), _shade_fold(look, frown), 0.022)
        if a["nose_wrinkle"] > 0.2:
            for height in (-0.12j, -0.05j):
                line = np.array([0.015, 0.095 - 0.045j]) + height
                canvas.stroke(mirror(line, side), _shade_fold(look, a["nose_wrinkle"]), 0.02)


def _draw_lower_folds(canvas: Canvas, look: Look, a: Mapping[str, float]) -> None:
    """Lines under the eyes, from the nose to the corners of the mouth, below these and on the chin."""
    squeezed = min(1.0, a["cheek_raise"] + 0.5 * a["lid_tighten"])
    cheek = min(1.0, 0.8 * a["lip_corner_pull"] + 0.9 * a["nose_wrinkle"] + 0.6 * a["upper_lip_raise"])
    for side in (-1, 1):
        if squeezed > 0.25:
            bag = look.eye_gap + np.array([-0.13 + 0.07j, 0.105j, 0.15 + 0.055j])
            canvas.stroke(mirror(smooth(bag), side), _shade_fold(look, squeezed), 0.02)
        if cheek > 0.15:
            wide = 0.10 * a["lip_corner_pull"]
            fold = np.array([0.17 + 0.20j, 0.27 + 0.5 * wide + 0.32j, 0.34 + wide + (0.50 - wide) * 1j])
            canvas.stroke(mirror(smooth(fold), side), _shade_fold(look, cheek), 0.024)
        if a["lip_corner_drop"] > 0.25:
            line = np.array([0.27 + 0.62j, 0.31 + 0.72j])
            canvas.stroke(mirror(line, side), _shade_fold(look, a["lip_corner_drop"]), 0.02)
    if a["chin_raise"] > 0.3:
        canvas.stroke(0.13 * _ACROSS + 1j * (0.79 - 0.03 * _LEVEL), _shade_fold(look, a["chin_raise"]), 0.024)


def _shade_fold(look: Look, strength: float) -> Colour:
    return darken(look.skin, 1 - 0.34 * min(1.0, strength))


def _draw_eye(canvas: Canvas, look: Look, motion: Motion, side: int) -> None:
    a = motion.actions
    upper = 0.082 * (1 + 0.70 * a["lid_raise"] - 0.80 * a["lid_droop"] - 0.20 * a["lid_tighten"])
    upper -= 0.002 * a["brow_lower"]
    lower = 0.046 * (1 + 0.25 * a["lid_raise"] - 0.75 * a["lid_tighten"] - 0.75 * a["cheek_raise"])
    upper = look.eye_size * max(0.008, upper * (1 - motion.blink))
    lower = look.eye_size * max(0.006, lower * (1 - motion.blink))
    # The outer half of the lid hangs in sorrow, brows that come down cover the inner half in anger.
    sorrow = 0.35 * a["lid_droop"] + 0.25 * a["inner_brow_raise"] * (1 - a["lid_raise"])
    anger = 0.5 * a["brow_lower"] * max(0.0, 1 - a["inner_brow_raise"])
    arch = _LEVEL**0.75
    top = -upper * arch * (1 - sorrow * _ACROSS + anger * np.minimum(_ACROSS, 0.3))
    bottom = lower * arch
    x = 0.158 * look.eye_size * _ACROSS
    place = complex(look.eye_gap, _EYE_Y) - 1j * look.eye_slant * _ACROSS

    def draw_band(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        edges = np.concatenate([x + 1j * above + place, (x + 1j * below + place)[::-1]])
        return mirror(edges, side)

    canvas.fill(draw_band(top - 0.05, top), darken(look.skin, 0.86))
    canvas.fill(draw_band(top, bottom), _WHITE)
    for radius, colour in ((0.082, look.iris), (0.042, (18.0, 15.0, 15.0))):
        disc = draw_oval(0.05 * motion.gaze[0] * side, 0.03 * motion.gaze[1] - 0.012, radius * look.eye_size)
        low, high = (np.interp(disc.real, x, edge) for edge in (top, bottom))
        seen = disc.real + 1j * np.clip(disc.imag, low, high) + complex(look.eye_gap, _EYE_Y)
        canvas.fill(mirror(seen, side), colour)
    canvas.fill(draw_band(top - 0.026, top), darken(look.hair, 0.5))
    canvas.stroke(mirror(x + 1j * bottom + place, side), darken(look.skin, 0.66), 0.012)
    crease = 0.95 * x + 1j * (np.minimum(top, -0.04) - 0.055) + place
    canvas.stroke(mirror(crease, side), darken(look.skin, 0.74), 0.012)


def _draw_brow(canvas: Canvas, look: Look, a: Mapping[str, float], side: int) -> None:
    inner = 0.15 * a["inner_brow_raise"] - 0.13 * a["brow_lower"] - 0.04 * a["nose_wrinkle"]
    middle = 0.06 * a["inner_brow_raise"] + 0.11 * a["outer_brow_raise"] - 0.09 * a["brow_lower"]
    outer = 0.15 * a["outer_brow_raise"] - 0.035 * a["brow_lower"]
    together = 0.055 * a["brow_lower"]
    up = np.array([look.brow_tilt + inner, 0.03 + 0.4 * inner + 0.6 * middle, 0.05 + middle, outer - 0.01])
    across = np.array([-0.175 - together, -0.05 - 0.5 * together, 0.07, 0.205])
    curve = smooth(complex(look.eye_gap, _BROW_Y - look.brow_height) + across - 1j * up, pieces=4)
    thick = 0.034j * look.brow_thick * np.linspace(1.0, 0.35, len(curve))
    shape = np.concatenate([curve - thick, (curve + thick)[::-1]])
    canvas.fill(mirror(shape, side), mix(look.skin, darken(look.hair, 0.75), 0.88))


def _draw_nose(canvas: Canvas, look: Look, a: Mapping[str, float]) -> None:
    base = _NOSE_Y * look.nose_length - 0.05 * a["nose_wrinkle"] - 0.02 * a["upper_lip_raise"]
    half = 0.125 * look.nose_width * (1 + 0.18 * a["nose_wrinkle"] + 0.08 * a["lip_corner_pull"])
    ridge = np.array([0.075 - 0.22j, 0.05 - 0.02j, complex(0.075, base - 0.10), complex(half, base - 0.02)])
    canvas.stroke(mirror(smooth(ridge)), darken(look.skin, 0.84), 0.03)
    canvas.stroke(smooth(ridge[1:]), darken(look.skin, 0.92), 0.02)
    under = np.array([-0.02j, half - 0.03j, 0.06 + 0.03j, 0.03j]) + 1j * base
    canvas.fill(smooth(close_shape(under), closed=True, pieces=3), darken(look.skin, 0.78))
    for side in (-1, 1):
        nostril = draw_oval(side * 0.066 * look.nose_width, base + 0.008, 0.034, 0.02)
        canvas.fill(nostril, darken(look.skin, 0.42))


def _draw_mouth(canvas: Canvas, look: Look, motion: Motion) -> None:
    a, press = motion.actions, min(1.0, motion.actions["lip_press"])
    x, upper, lower = _find_lip_edges(look, motion)
    gap = float((lower - upper).max())
    thin = (1 - 0.7 * press) * (1 - 0.35 * a["lip_stretch"]) * look.lip_thick
    full = np.sqrt(np.sqrt(_LEVEL)) * np.sqrt(_LEVEL)
    bow = 1 - 0.22 * np.exp(-((_ACROSS / 0.16) ** 2))
    above = upper - 0.052 * thin * full * bow - 0.004
    below = lower + (0.068 * thin + 0.02 * a["chin_raise"]) * full + 0.004
    lips = mix(look.skin, (170.0, 60.0, 62.0), 0.25 + 0.5 * look.rosy)

    def join_edges(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.concatenate([x + 1j * first, (x + 1j * second)[::-1]])

    canvas.fill(join_edges(above, lower), darken(lips, 0.86))
    canvas.fill(join_edges(upper, below), lips)
    canvas.fill(join_edges(upper, lower), (58.0, 18.0, 20.0))
    if gap > 0.14:
        tongue = lower - 0.4 * (lower - upper) * np.clip(1.2 - (1.6 * _ACROSS) ** 2, 0, 1)
        canvas.fill(join_edges(tongue, lower), (158.0, 70.0, 72.0))
    if gap > 0.03:
        teeth = min(1.0, a["lip_corner_pull"] + a["lip_stretch"] + a["upper_lip_raise"] + 0.5 * motion.opening)
        canvas.fill(join_edges(upper, np.minimum(lower, upper + 0.085 * teeth * _LEVEL)), _WHITE)
    canvas.stroke(x + 1j * upper, darken(lips, 0.5), 0.014)
    shadow = 0.55 * x + 1j * (below + 0.03)
    canvas.stroke(shadow[3:-3], darken(look.skin, 0.84), 0.024)


def _find_lip_edges(look: Look, motion: Motion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the mouth's opening: x from corner to corner, and y of the upper and the lower lip's inner edge."""
    a, press = motion.actions, min(1.0, motion.actions["lip_press"])
    rounding = motion.rounding * min(1.0, 0.4 + motion.opening)
    wide = 1 + 0.30 * a["lip_corner_pull"] + 0.26 * a["lip_stretch"] - 0.22 * a["jaw_drop"] - 0.10 * press
    gap = 0.075 * a["lip_corner_pull"] + 0.075 * a["lip_stretch"] + 0.04 * a["upper_lip_raise"]
    gap = gap * (1 - 0.8 * press) + 0.30 * a["jaw_drop"] + 0.20 * motion.opening * (1 - 0.35 * press)
    corner = 0.125 * a["lip_corner_drop"] - 0.14 * a["lip_corner_pull"] - look.mouth_curve + 0.02 * a["lip_stretch"]
    lift = 0.065 * a["upper_lip_raise"] + 0.035 * a["nose_wrinkle"] + 0.02 * a["lip_corner_pull"]
    centre = _MOUTH_Y + look.mouth_height - 0.03 * a["chin_raise"]
    # A stretched mouth is a box, others are bows.
    arch = 1 - np.abs(_ACROSS) ** (2.0 + 2.5 * min(1.0, a["lip_stretch"]))
    high = -0.32 * gap - lift
    low = max(high, 0.68 * gap - 0.03 * a["chin_raise"])
    upper = centre + high * arch + corner * (1 - arch)
    lower = centre + low * arch + corner * (1 - arch)
    return 0.245 * look.mouth_width * wide * (1 - 0.17 * rounding) * _ACROSS, upper, lower
