"""The looks of an actor, and the studio of one take: light, framing, background, sensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]
"""Red, green, blue from 0 to 255."""

_SKINS: tuple[Colour, ...] = (
    (241, 206, 180),
    (229, 184, 150),
    (211, 161, 124),
    (181, 128, 92),
    (141, 95, 66),
    (104, 68, 48),
)
_HAIRS: tuple[Colour, ...] = ((36, 28, 25), (66, 44, 32), (102, 68, 42), (158, 116, 66), (120, 60, 36), (128, 124, 120))
_EYES: tuple[Colour, ...] = ((78, 52, 34), (62, 84, 58), (74, 102, 132), (52, 38, 30))


@dataclass(frozen=True)
class Look:
    """An actor's looks; lengths are in half heights of the head.

    Args:
        skin: Colour of the skin.
        hair: Colour of the hair.
        iris: Colour of the eyes.
        cloth: Colour of the shirt.
        hair_style: ``short``, ``side``, ``long``, ``bun`` or ``none``.
        beard: 0 (none) to 1 (full).
        glasses: Whether there are glasses.
        width: Half width of the head at the cheeks.
        jaw: Half width of the jaw, in half widths of the head.
        chin: How far the chin reaches below the usual place.
        eye_gap: Half distance of the eyes.
        eye_size: Factor on the eyes.
        eye_slant: How much higher the outer corner of the eye lies.
        brow_height: How much higher the brows lie.
        brow_thick: Factor on the thickness of the brows.
        brow_tilt: How much higher the inner ends of the brows lie.
        nose_width: Factor on the width of the nose.
        nose_length: Factor on its length.
        mouth_width: Factor on the mouth's width.
        mouth_curve: How much higher the corners of the mouth lie at rest.
        mouth_height: How much lower the mouth lies.
        lip_thick: Factor on the lips.
        rosy: How much redder the lips are than the skin, 0 to 1.
        texture: Seed of freckles and folds.
    """

    skin: Colour
    hair: Colour
    iris: Colour
    cloth: Colour
    hair_style: str
    beard: float
    glasses: bool
    width: float
    jaw: float
    chin: float
    eye_gap: float
    eye_size: float
    eye_slant: float
    brow_height: float
    brow_thick: float
    brow_tilt: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_curve: float
    mouth_height: float
    lip_thick: float
    rosy: float
    texture: int

    @classmethod
    def draw(cls, sex: str, generator: np.random.Generator) -> Look:
        """Draws someone of a sex."""
        male = sex == "male"
        styles = ("short", "side", "short", "none") if male else ("long", "bun", "long", "side")
        skin = _mix_series(_SKINS, generator)
        # A seed means its draws in this order: whatever is added is drawn last.
        z = generator.standard_normal(14)
        return cls(
            skin=skin,
            hair=_HAIRS[int(generator.integers(len(_HAIRS)))],
            iris=_EYES[int(generator.integers(len(_EYES)))],
            cloth=_make_colour(generator.uniform(40, 200, size=3)),
            hair_style=styles[int(generator.integers(len(styles)))],
            beard=float(generator.uniform(0.35, 0.9)) if male and generator.random() < 0.3 else 0.0,
            glasses=bool(generator.random() < 0.17),
            width=(0.745 if male else 0.715) + 0.025 * float(z[0]),
            jaw=(0.80 if male else 0.70) + 0.035 * float(z[1]),
            chin=(0.02 if male else -0.02) + 0.02 * float(z[2]),
            eye_gap=0.325 + 0.014 * float(z[3]),
            eye_size=(1.0 if male else 1.1) * math.exp(0.08 * z[4]),
            eye_slant=0.012 * float(z[5]),
            brow_height=(0.0 if male else 0.025) + 0.014 * float(z[6]),
            brow_thick=(1.15 if male else 0.75) * math.exp(0.15 * z[7]),
            brow_tilt=0.014 * float(z[8]),
            nose_width=(1.05 if male else 0.92) * math.exp(0.08 * z[9]),
            nose_length=math.exp(0.06 * z[10]),
            mouth_width=math.exp(0.06 * z[11]),
            mouth_curve=0.012 * float(z[12]),
            mouth_height=0.012 * float(z[13]),
            lip_thick=(0.9 if male else 1.15) * math.exp(0.12 * generator.standard_normal()),
            rosy=float(generator.uniform(0.2, 0.5) if male else generator.uniform(0.4, 0.9)),
            texture=int(generator.integers(2**31)),
        )


@dataclass(frozen=True)
class Studio:
    """The studio in which one take is filmed.

    Args:
        light: Direction of the light, to the right, down and towards the camera, of length 1.
        contrast: How dark the unlit side is, 0 to 1.
        exposure: Factor on every pixel.
        tint: Factor on red, green and blue.
        noise: Standard deviation of the sensor's noise, in grey levels.
        backdrop: Colour behind the actor, above and below.
        centre: Where the head is, in shares of the frame's width and height.
        size: Half height of the head in shares of the frame's height.
        tilt: Roll of the head, radians.
        turn: Yaw of the head, radians.
    """

    light: tuple[float, float, float]
    contrast: float
    exposure: float
    tint: Colour
    noise: float
    backdrop: tuple[Colour, Colour]
    centre: tuple[float, float]
    size: float
    tilt: float
    turn: float

    @classmethod
    def draw(cls, generator: np.random.Generator, head: float = 0.41) -> Studio:
        """Draws a take, with a head of about half a given height; a close-up leaves hair out rather than the chin."""
        direction = np.array([generator.normal(0, 0.22), generator.normal(-0.35, 0.1), 0.85])
        direction /= np.linalg.norm(direction)
        backdrop = generator.uniform(175, 225) + generator.normal(0, 5, size=3)
        up = min(0.25, max(0.0, 0.06 + 0.8 * (head - 0.41)))
        return cls(
            light=(float(direction[0]), float(direction[1]), float(direction[2])),
            contrast=float(generator.uniform(0.2, 0.4)),
            exposure=float(generator.uniform(0.92, 1.06)),
            tint=_make_colour(1 + np.array([0.03, 0.0, -0.03]) * generator.standard_normal()),
            noise=float(generator.uniform(1.5, 4.0)),
            backdrop=(_make_colour(backdrop), _make_colour(backdrop * generator.uniform(0.8, 0.95))),
            centre=(0.5 + head * float(generator.normal(0, 0.02)), 0.5 + head * float(generator.normal(-up, 0.02))),
            size=head * math.exp(0.025 * generator.standard_normal()),
            tilt=0.025 * float(generator.standard_normal()),
            turn=0.05 * float(generator.standard_normal()),
        )


def _make_colour(values: np.ndarray) -> Colour:
    return (float(values[0]), float(values[1]), float(values[2]))


def _mix_series(colours: tuple[Colour, ...], generator: np.random.Generator) -> Colour:
    """Mixes a colour on the way through a series of them."""
    place = generator.uniform(0, len(colours) - 1)
    lower = min(int(place), len(colours) - 2)
    first, second = np.array(colours[lower]), np.array(colours[lower + 1])
    return _make_colour(first + (place - lower) * (second - first))
