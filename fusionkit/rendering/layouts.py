"""Rendered films in the folders and under the names of RAVDESS and CREMA-D."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from fusionkit.errors import DataError, Problem, RunError, suggest_names
from fusionkit.execution.workers import Death, run_jobs
from fusionkit.rendering.actors import make_generator
from fusionkit.rendering.emotions import EMOTIONS
from fusionkit.rendering.films import FilmSettings, Recording, Scene, record
from fusionkit.rendering.statements import CREMA_D_STATEMENTS, RAVDESS_STATEMENTS
from fusionkit.storage.files import as_json, guard_write, read_json, write_file

RENDERER = 2
"""Raised whenever the same settings would give other films."""

SETTINGS_FILE = "rendered.json"
CREMA_D_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
CREMA_D_LEVELS = {"LO": "low", "MD": "normal", "HI": "strong", "XX": "normal"}
_CREMA_D_FOLDERS = {"film.flv": "VideoFlash", "film.mp4": "VideoFlash", "wave.wav": "AudioWAV"}
_RAVDESS_FORMS = {1: "film.mp4", 2: "silent.mp4", 3: "wave.wav"}

Progress = Callable[[int, int], None]
"""Called after every file that is written, with how many are there and how many there will be."""


@dataclass(frozen=True)
class RenderedFolder:
    """The result of rendering a folder.

    Args:
        root: The folder.
        files: Every file that was asked for, in order.
        written: How many of them this call wrote; the others were there.
    """

    root: Path
    files: tuple[Path, ...]
    written: int


def render_ravdess(
    root: str | os.PathLike[str],
    *,
    actors: Iterable[int] = range(1, 25),
    emotions: Sequence[str] = EMOTIONS,
    intensities: Sequence[int] = (1, 2),
    statements: Sequence[int] = (1, 2),
    repetitions: Sequence[int] = (1, 2),
    modalities: Sequence[int] = (1,),
    settings: FilmSettings | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> RenderedFolder:
    """Renders films in the layout of RAVDESS: ``Video_Speech_Actor_07/Actor_07/01-01-03-02-01-01-07.mp4``.

    A clip is drawn from the seed and its own name: it does not depend on what else is rendered, nor on how many
    processes there are. Files that are there are kept; so a call that was stopped goes on, and actors can be added.

    Args:
        root: The folder, new, empty or rendered with the same settings.
        actors: 1 to 24; odd ones are male.
        emotions: Some of the eight.
        intensities: 1 (normal), 2 (strong); neutral is never strong.
        statements: 1 (kids), 2 (dogs).
        repetitions: 1, 2.
        modalities: 1 (film with sound, H.264 and AAC), 2 (without), 3 (sound alone, ``Actor_07/03-...wav``).
        settings: What all films of the folder share; None takes every default.
        processes: How many render at a time.
        progress: Told after every file.

    Raises:
        DataError: An argument is outside its range, or the folder holds something else.
        RunError: A file cannot be written, or a process died.
    """
    actors, settings = tuple(actors), settings or FilmSettings()
    taken: dict[str, tuple[Sequence[object], Iterable[object]]] = {
        "actors": (actors, range(1, 25)),
        "emotions": (emotions, EMOTIONS),
        "intensities": (intensities, (1, 2)),
        "statements": (statements, (1, 2)),
        "repetitions": (repetitions, (1, 2)),
        "modalities": (modalities, (1, 2, 3)),
    }
    _check(taken, settings, processes)
    scenes = [
        make_ravdess_scene(actor, emotion, intensity, statement, repetition, modalities=modalities)
        for actor, emotion, intensity, statement, repetition in product(
            actors, emotions, intensities, statements, repetitions
        )
        if not (emotion == "neutral" and intensity == 2)
    ]
    return _render(Path(root).expanduser(), "ravdess", scenes, settings, processes=processes, progress=progress)


def make_ravdess_scene(
    actor: int, emotion: str, intensity: int, statement: int, repetition: int, *, modalities: Sequence[int] = (1,)
) -> Scene:
    """Makes a clip of RAVDESS from the numbers in its name.

    Example:
        >>> make_ravdess_scene(7, "happy", 1, 2, 1).files
        (('Video_Speech_Actor_07/Actor_07/01-01-03-01-02-01-07.mp4', 'film.mp4'),)
    """
    codes = (1, EMOTIONS.index(emotion) + 1, intensity, statement, repetition, actor)
    clip = "-".join(f"{code:02}" for code in codes)
    return Scene(
        name=clip,
        actor=f"{actor:02}",
        sex="male" if actor % 2 else "female",
        emotion=emotion,
        intensity=("normal", "strong")[intensity - 1],
        statement=RAVDESS_STATEMENTS[statement],
        files=tuple((_name_ravdess_file(modality, clip), _RAVDESS_FORMS[modality]) for modality in modalities),
    )


def _name_ravdess_file(modality: int, clip: str) -> str:
    actor = f"Actor_{clip[-2:]}"
    folder = actor if modality == 3 else f"Video_Speech_{actor}/{actor}"
    return f"{folder}/{modality:02}-{clip}.{'wav' if modality == 3 else 'mp4'}"


def render_crema_d(
    root: str | os.PathLike[str],
    *,
    actors: Iterable[int] = range(1001, 1092),
    emotions: Sequence[str] = tuple(CREMA_D_EMOTIONS),
    sentences: Sequence[str] = tuple(CREMA_D_STATEMENTS),
    sound: bool = True,
    container: str = "flv",
    settings: FilmSettings | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> RenderedFolder:
    """Renders films in the layout of CREMA-D: ``VideoFlash/1001_IEO_ANG_HI.flv``, ``AudioWAV/1001_IEO_ANG_HI.wav``.

    As there, IEO is said at the levels LO, MD and HI and everything else at XX. ``VideoDemographics.csv`` has the
    columns of the real one; ages are made up, race and ethnicity unknown.

    Args:
        root: The folder, new, empty or rendered with the same settings.
        actors: 1001 to 1091; odd ones are male.
        emotions: Some of ANG, DIS, FEA, HAP, NEU, SAD.
        sentences: Some of the twelve codes.
        sound: Whether the sound is written to ``AudioWAV`` too.
        container: ``flv`` (Sorenson H.263 and MP3) or ``mp4`` (H.264 and AAC).
        settings: As for `render_ravdess`.
        processes: As for `render_ravdess`.
        progress: As for `render_ravdess`.

    Raises:
        DataError: An argument is outside its range, or the folder holds something else.
        RunError: A file cannot be written, or a process died.
    """
    actors, settings = tuple(actors), settings or FilmSettings()
    taken: dict[str, tuple[Sequence[object], Iterable[object]]] = {
        "actors": (actors, range(1001, 1092)),
        "emotions": (emotions, CREMA_D_EMOTIONS),
        "sentences": (sentences, CREMA_D_STATEMENTS),
        "container": ((container,), ("flv", "mp4")),
    }
    _check(taken, settings, processes)
    forms = (f"film.{container}", "wave.wav") if sound else (f"film.{container}",)
    scenes = [
        _make_crema_d_scene(actor, sentence, emotion, level, forms)
        for actor, sentence, emotion in product(actors, sentences, emotions)
        for level in (("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",))
    ]
    folder = Path(root).expanduser()
    rendered = _render(folder, "crema_d", scenes, settings, processes=processes, progress=progress)
    _write_demographics(folder, settings.seed)
    return rendered


def _make_crema_d_scene(actor: int, sentence: str, emotion: str, level: str, files: Sequence[str]) -> Scene:
    clip = f"{actor}_{sentence}_{emotion}_{level}"
    return Scene(
        name=clip,
        actor=str(actor),
        sex="male" if actor % 2 else "female",
        emotion=CREMA_D_EMOTIONS[emotion],
        intensity=CREMA_D_LEVELS[level],
        statement=CREMA_D_STATEMENTS[sentence],
        files=tuple((f"{_CREMA_D_FOLDERS[form]}/{clip}.{form.split('.')[1]}", form) for form in files),
    )


def _write_demographics(folder: Path, seed: int) -> None:
    """Writes the table of everyone who appears in the folder."""
    actors = sorted({path.name[:4] for path in (folder / "VideoFlash").glob("1*_*.*")})
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(["ActorID", "Age", "Sex", "Race", "Ethnicity"])
    for actor in actors:
        age = int(make_generator(seed, "age", actor).integers(20, 75))
        writer.writerow([int(actor), age, "Male" if int(actor) % 2 else "Female", "Unknown", "Unknown"])
    write_file(folder / "VideoDemographics.csv", text.getvalue().encode())


def _check(
    taken: Mapping[str, tuple[Sequence[object], Iterable[object]]], settings: FilmSettings, processes: int
) -> None:
    """Raises with everything that is wrong with the arguments."""
    problems = settings.find_problems()
    for place, (values, allowed) in taken.items():
        known = [str(value) for value in allowed]
        if not values:
            problems.append(Problem(place, "is empty", "name one at least"))
        for value in values:
            if str(value) not in known:
                problems.append(Problem(place, f"{value!r} is not one of them", suggest_names(str(value), known)))
        if len(set(values)) != len(values):
            problems.append(Problem(place, "names something twice"))
    if processes < 1:
        problems.append(Problem("processes", f"{processes} is less than 1"))
    if problems:
        raise DataError(problems)


def _render(
    root: Path,
    layout: str,
    scenes: Sequence[Scene],
    settings: FilmSettings,
    *,
    processes: int,
    progress: Progress | None,
) -> RenderedFolder:
    """Records what is not there yet, each file in one piece."""
    _claim_folder(root, layout, settings)
    files = tuple(root / path for scene in scenes for path, _ in scene.files)
    for folder in {file.parent for file in files}:
        guard_write(folder, partial(folder.mkdir, parents=True, exist_ok=True))
    # A file that is there is whole, since each is written in one piece.
    absent = [replace(scene, files=tuple(f for f in scene.files if not (root / f[0]).exists())) for scene in scenes]
    missing = [scene for scene in absent if scene.files]
    there = len(files) - sum(len(scene.files) for scene in missing)
    written = 0

    def write_recordings(scene: Scene, recordings: list[Recording] | Death) -> None:
        nonlocal written
        if isinstance(recordings, Death):
            raise RunError(
                f"{root}: the process that rendered {scene.name} ended with exit status {recordings.status}; "
                "the same call again goes on from there"
            )
        for path, data in recordings:
            write_file(root / path, data)
            written += 1
            if progress is not None:
                progress(there + written, len(files))

    run_jobs(missing, partial(record, settings=settings), processes, write_recordings)
    return RenderedFolder(root, files, written)


def _claim_folder(root: Path, layout: str, settings: FilmSettings) -> None:
    """Writes down what the folder holds, or finds that it holds something else."""
    stated: dict[str, Any] = {"renderer": RENDERER, "layout": layout, **asdict(settings), "size": list(settings.size)}
    file = root / SETTINGS_FILE
    if file.exists():
        try:
            found = read_json(file)
        except RunError as error:
            remedy = "choose another folder or delete it"
            raise DataError([Problem(str(root), f"holds films of unknown settings: {error}", remedy)]) from error
        differing = [key for key in sorted({*stated, *found}) if stated.get(key) != found.get(key)]
        if differing:
            told = ", ".join(f"{key} {found.get(key)!r}, now {stated.get(key)!r}" for key in differing)
            raise DataError([Problem(str(root), f"was rendered with {told}", "choose another folder or delete it")])
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        remedy = "films are rendered into a new or empty folder"
        raise DataError([Problem(str(root), f"holds something that was not rendered (no {SETTINGS_FILE})", remedy)])
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot be made ({error.strerror})"
        raise DataError([Problem(str(root), message, "name a folder that can be written")]) from error
    # Before any film, so that a call that is killed can be gone on with.
    write_file(file, as_json(stated))
