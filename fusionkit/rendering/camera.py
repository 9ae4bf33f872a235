"""A film camera: drawn people, lit, framed and recorded with the noise of a sensor."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from fusionkit.rendering.canvas import DETAIL, Canvas, Pose
from fusionkit.rendering.face import Motion, draw_person, measure_jaw_drop
from fusionkit.rendering.head import draw_outline
from fusionkit.rendering.looks import Look, Studio

_STEPS = 64  # of the map of light, per half head


class Camera:
    """Takes pictures of one actor in one studio.

    Args:
        look: The actor's.
        studio: The take's.
        size: Width and height of the frame, pixels.
        generator: Draws the sensor's noise.
    """

    def __init__(self, look: Look, studio: Studio, size: tuple[int, int], generator: np.random.Generator) -> None:
        self._look, self._studio, self._size = look, studio, size
        width, height = size
        rows = np.linspace(0, 1, height * DETAIL)[:, None, None]
        upper, lower = (np.array(colour) for colour in studio.backdrop)
        wall = upper * (1 - rows) + lower * rows + np.zeros((1, width * DETAIL, 1))
        self._wall = Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8))
        self._light = _make_light_map(look, studio)
        self._grain = studio.noise * generator.standard_normal((height + 61, width + 67), dtype=np.float32)
        self._places = np.meshgrid(np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5)
        self._offsets = generator

    def take(self, pose: Pose, motion: Motion) -> np.ndarray:
        """Takes one frame, ``(height, width, 3)``, uint8."""
        image = self._wall.copy()
        draw_person(Canvas(image, pose), self._look, motion)
        mask = Image.new("L", image.size)
        Canvas(mask, pose).fill(draw_outline(self._look, measure_jaw_drop(motion)), 255, flat=True)
        frame = np.asarray(image.reduce(DETAIL), dtype=np.float32)
        skin = np.asarray(mask.reduce(DETAIL), dtype=np.float32) * np.float32(1 / 255)
        shade = (1 + skin * (self._place_light(pose) - 1)) * np.float32(self._studio.exposure)
        tint = np.asarray(self._studio.tint, dtype=np.float32)
        lit = frame * shade[:, :, None] * tint + self._draw_noise()[:, :, None]
        picture: np.ndarray = np.clip(lit, 0, 255).astype(np.uint8)
        return picture

    def _draw_noise(self) -> np.ndarray:
        """Draws a window into the take's grain: as good as fresh noise, at no cost."""
        width, height = self._size
        down, right = int(self._offsets.integers(61)), int(self._offsets.integers(67))
        return self._grain[down : down + height, right : right + width]

    def _place_light(self, pose: Pose) -> np.ndarray:
        """Places the map of light as the head is placed in the frame."""
        x, y = (self._places[0] - np.float32(pose.x)), (self._places[1] - np.float32(pose.y))
        cosine, sine = np.float32(math.cos(pose.roll) / pose.scale), np.float32(math.sin(pose.roll) / pose.scale)
        u, v = cosine * x + sine * y - np.float32(0.6 * pose.yaw), cosine * y - sine * x - np.float32(0.6 * pose.pitch)
        rows, columns = self._light.shape
        row = np.clip((v + 1.3) * _STEPS, 0, rows - 1).astype(np.int32)
        column = np.clip((u + 1.1) * _STEPS, 0, columns - 1).astype(np.int32)
        seen: np.ndarray = self._light[row, column]
        return seen


def _make_light_map(look: Look, studio: Studio) -> np.ndarray:
    """Computes the light on every place of the head, which is an ellipsoid with sockets, cheeks and a nose."""
    v, u = np.mgrid[-1.3 : 1.3 : 1 / _STEPS, -1.1 : 1.1 : 1 / _STEPS]
    x, y = u / (look.width * 1.12), v / 1.2
    z = np.sqrt(np.maximum(0.06, 1 - x**2 - y**2))
    normal = np.stack([x, y, z]) / np.sqrt(x**2 + y**2 + z**2)
    lit = np.maximum(0.0, np.tensordot(np.array(studio.light), normal, axes=1))
    shade = 1 - studio.contrast + 1.12 * studio.contrast * lit / 0.85

    def light_spot(x0: float, y0: float, across: float, down: float) -> np.ndarray:
        return np.asarray(np.exp(-(((u - x0) / across) ** 2) - ((v - y0) / down) ** 2))

    slope = 0.10 * studio.light[0] / 0.5
    for side in (-1, 1):
        shade -= 0.17 * light_spot(side * look.eye_gap, -0.10, 0.21, 0.11)
        shade += 0.06 * light_spot(side * 0.38, 0.22, 0.16, 0.14)
        shade += side * slope * light_spot(side * 0.09, 0.08, 0.07, 0.22)
    shade += 0.09 * light_spot(0, 0.08, 0.05, 0.2) + 0.05 * light_spot(0, -0.55, 0.3, 0.2)
    shade -= 0.10 * light_spot(0, 0.72, 0.16, 0.05) + 0.08 * light_spot(0, 0.34, 0.12, 0.05)
    freckles = np.random.default_rng(look.texture).standard_normal(shade.shape)
    return (shade * (1 + 0.02 * freckles)).astype(np.float32)
