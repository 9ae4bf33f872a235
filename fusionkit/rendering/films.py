"""The settings that all films of a folder share, and takes that become the bytes of files."""

from __future__ import annotations

from dataclasses import dataclass

from fusionkit.errors import Problem
from fusionkit.rendering.actors import Actor
from fusionkit.rendering.codecs import encode_film, encode_wave
from fusionkit.rendering.statements import pronounce
from fusionkit.rendering.take import Take, perform


@dataclass(frozen=True)
class FilmSettings:
    """The settings that all films of one folder share.

    Args:
        size: Width and height, pixels; even, at least 32.
        head: Half height of the head, in heights of the frame, 0.1 to 0.8; from about 0.55 on it is a close-up that
            needs no detector of faces.
        frame_rate: Frames per second, 1 to 120.
        seconds: Length of a clip spoken at the neutral tempo, 0.5 to 60.
        sound_rate: Samples of sound per second, a multiple of 200 from 8,000 to 48,000.
        ambiguity: How much a face or a voice alone leaves open: 0 nothing, 1 about as much as with people.
        seed: The seed of everything.
    """

    size: tuple[int, int] = (192, 144)
    head: float = 0.41
    frame_rate: int = 25
    seconds: float = 1.8
    sound_rate: int = 48000
    ambiguity: float = 1.0
    seed: int = 0

    def find_problems(self) -> list[Problem]:
        """Finds what is wrong with them."""
        found = []
        if len(self.size) != 2 or any(side < 32 or side % 2 for side in self.size):
            found.append(Problem("size", f"{self.size} is not two even numbers from 32", "try (192, 144)"))
        if not 0.1 <= self.head <= 0.8:
            found.append(Problem("head", f"{self.head} is outside 0.1..0.8"))
        if not 1 <= self.frame_rate <= 120:
            found.append(Problem("frame_rate", f"{self.frame_rate} is outside 1..120"))
        if not 0.5 <= self.seconds <= 60:
            found.append(Problem("seconds", f"{self.seconds} is outside 0.5..60"))
        if not 8000 <= self.sound_rate <= 48000 or self.sound_rate % 200:
            found.append(
                Problem("sound_rate", f"{self.sound_rate} is no multiple of 200 from 8000 to 48000", "try 48000")
            )
        if not 0 <= self.ambiguity <= 3:
            found.append(Problem("ambiguity", f"{self.ambiguity} is outside 0..3"))
        return found


@dataclass(frozen=True)
class Scene:
    """A take to be recorded, and the files that it becomes.

    Args:
        name: The clip's name, without what its files differ in.
        actor: The actor's name.
        sex: ``male`` or ``female``.
        emotion: One of `expressions.EMOTIONS`.
        intensity: ``low``, ``normal`` or ``strong``.
        statement: What is said, as `statements.pronounce` reads it.
        files: Path within the folder and form of each file: ``film.mp4``, ``film.flv`` (pictures and sound),
            ``silent.mp4`` or ``wave.wav``.
    """

    name: str
    actor: str
    sex: str
    emotion: str
    intensity: str
    statement: str
    files: tuple[tuple[str, str], ...]

    def play(self, settings: FilmSettings) -> Take:
        """Plays the take, not yet recorded."""
        actor = Actor.cast(self.actor, self.sex, seed=settings.seed, ambiguity=settings.ambiguity)
        return perform(
            actor,
            self.emotion,
            self.intensity,
            pronounce(self.statement),
            self.name,
            seed=settings.seed,
            size=settings.size,
            head=settings.head,
            frame_rate=settings.frame_rate,
            seconds=settings.seconds,
            sound_rate=settings.sound_rate,
            ambiguity=settings.ambiguity,
        )


Recording = tuple[str, bytes]
"""The path of a file within the folder, and what it holds."""


def record(scene: Scene, settings: FilmSettings) -> list[Recording]:
    """Records the files of a scene, in memory."""
    take = scene.play(settings)
    frames = list(take.draw_frames()) if any(form != "wave.wav" for _, form in scene.files) else []
    recordings = []
    for path, form in scene.files:
        if form == "wave.wav":
            data = encode_wave(take.speech.wave, settings.sound_rate)
        else:
            kind, container = form.split(".")
            heard = take.speech.wave if kind == "film" else None
            data = encode_film(frames, settings.frame_rate, heard, settings.sound_rate, container)
        recordings.append((path, data))
    return recordings
