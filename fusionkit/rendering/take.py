"""One take: what is said, how it is said, and how the face goes along with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fusionkit.rendering.actors import Actor, make_generator
from fusionkit.rendering.camera import Camera
from fusionkit.rendering.canvas import Pose
from fusionkit.rendering.emotions import ACTIONS
from fusionkit.rendering.expressions import Expression, express
from fusionkit.rendering.face import Motion
from fusionkit.rendering.looks import Studio
from fusionkit.rendering.statements import Syllable
from fusionkit.rendering.voice import CONTROL_RATE, Speech, speak


@dataclass(frozen=True)
class Take:
    """One performance, before it is recorded.

    Args:
        actor: Who plays.
        expression: What is shown.
        speech: What is heard.
        studio: Light and framing.
        poses: Where the head is, frame by frame.
        motions: What the face does, frame by frame.
        size: Width and height of the frames, pixels.
        frame_rate: Frames per second.
        seed: Draws the sensor's noise.
    """

    actor: Actor
    expression: Expression
    speech: Speech
    studio: Studio
    poses: tuple[Pose, ...]
    motions: tuple[Motion, ...]
    size: tuple[int, int]
    frame_rate: int
    seed: tuple[str, ...]

    def draw_frames(self) -> Iterator[np.ndarray]:
        """Yields the frames, ``(height, width, 3)``, uint8, one after another."""
        camera = self.make_camera()
        for pose, motion in zip(self.poses, self.motions, strict=True):
            yield camera.take(pose, motion)

    def make_camera(self) -> Camera:
        """Makes the camera that records it."""
        return Camera(self.actor.look, self.studio, self.size, make_generator(0, *self.seed))


def perform(
    actor: Actor,
    emotion: str,
    intensity: str,
    statement: Sequence[Syllable],
    take: str,
    *,
    seed: int = 0,
    size: tuple[int, int] = (192, 144),
    head: float = 0.41,
    frame_rate: int = 25,
    seconds: float = 1.8,
    sound_rate: int = 48000,
    ambiguity: float = 1.0,
) -> Take:
    """Plays an emotion once.

    Args:
        actor: Who plays.
        emotion: One of `expressions.EMOTIONS`.
        intensity: ``low``, ``normal`` or ``strong``.
        statement: What is said.
        take: The clip's name: two takes of one name and seed are the same.
        seed: The seed of everything.
        size: Width and height of the frames, pixels.
        head: Half height of the head, in heights of the frame.
        frame_rate: Frames per second.
        seconds: Length at the neutral tempo.
        sound_rate: Samples of sound per second.
        ambiguity: See `expressions.express`.
    """
    expression = express(emotion, intensity, actor.manner, make_generator(seed, take, "expression"), ambiguity)
    speech = speak(
        statement,
        expression.voice,
        actor.speaker,
        make_generator(seed, take, "voice"),
        seconds=seconds,
        rate=sound_rate,
    )
    generator = make_generator(seed, take, "film")
    studio = Studio.draw(generator, head)
    count = max(1, math.floor(speech.seconds * frame_rate))
    time = (np.arange(count) + 0.5) / frame_rate
    poses = _draw_poses(studio, expression, size, time, generator)
    motions = _draw_motions(expression, speech, time, generator)
    return Take(actor, expression, speech, studio, poses, motions, size, frame_rate, (str(seed), take, "sensor"))


def _draw_poses(
    studio: Studio,
    expression: Expression,
    size: tuple[int, int],
    time: np.ndarray,
    generator: np.random.Generator,
) -> tuple[Pose, ...]:
    """Draws a head that is never quite still."""
    width, height = size
    sway = [_draw_drift(time, generator) for _ in range(6)]
    nod = 0.10 * float(expression.face[ACTIONS.index("head_down")])
    scale = studio.size * height
    return tuple(
        Pose(
            x=width * studio.centre[0] + 0.03 * scale * sway[0][i],
            y=height * studio.centre[1] + 0.025 * scale * sway[1][i] + 0.3 * nod * scale,
            scale=scale * (1 + 0.012 * sway[2][i]),
            roll=studio.tilt + 0.025 * sway[3][i],
            yaw=studio.turn + 0.035 * sway[4][i],
            pitch=nod + 0.03 * sway[5][i],
        )
        for i in range(len(time))
    )


def _draw_motions(
    expression: Expression, speech: Speech, time: np.ndarray, generator: np.random.Generator
) -> tuple[Motion, ...]:
    """Moves the face: the expression comes, stays and goes, the mouth follows the voice, the eyes blink and wander."""
    level = _draw_strength(time, generator)
    flutter = np.stack([_draw_drift(time, generator) for _ in ACTIONS], axis=1)
    heights = np.clip(level[:, None] * expression.face + 0.035 * flutter, 0.0, 1.4)
    control = (np.arange(len(speech.opening)) + 0.5) / CONTROL_RATE
    opening = np.interp(time, control, speech.opening)
    rounding = np.interp(time, control, speech.rounding)
    blink = _draw_blinks(time, generator)
    gaze = 0.25 * _draw_drift(time, generator), 0.2 * _draw_drift(time, generator)
    return tuple(
        Motion(
            dict(zip(ACTIONS, heights[i].tolist(), strict=True)),
            float(opening[i]),
            float(rounding[i]),
            float(blink[i]),
            (float(gaze[0][i]), float(gaze[1][i])),
        )
        for i in range(len(time))
    )


def _draw_strength(time: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draws how much of the expression shows, from 0.2 before the onset to 1 at the apex and part of the way back."""
    end = float(time[-1])
    onset, rise = generator.uniform(0.0, 0.15) * end, generator.uniform(0.12, 0.3) * end
    offset, fall = generator.uniform(0.7, 0.95) * end, generator.uniform(0.15, 0.35) * end
    coming, going = (_ease((time - start) / length) for start, length in ((onset, rise), (offset, fall)))
    return np.asarray((0.2 + 0.8 * coming) * (1 - 0.6 * going))


def _ease(share: np.ndarray) -> np.ndarray:
    inside = np.clip(share, 0.0, 1.0)
    return np.asarray(inside**2 * (3 - 2 * inside))


def _draw_blinks(time: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Shuts the eyes for about a seventh of a second, about every three seconds."""
    shut = np.zeros_like(time)
    for moment in generator.uniform(0, time[-1], size=int(generator.poisson(time[-1] / 3))):
        shut = np.maximum(shut, np.clip(1.3 - np.abs(time - moment) / 0.07, 0.0, 1.0))
    return shut


def _draw_drift(time: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draws a slow random movement with a standard deviation of about 1."""
    hertz, phase = generator.uniform(0.2, 1.3, size=3), generator.uniform(0, 2 * math.pi, size=3)
    return np.asarray(np.sin(2 * math.pi * np.outer(time, hertz) + phase).sum(axis=1) * math.sqrt(2 / 3))
