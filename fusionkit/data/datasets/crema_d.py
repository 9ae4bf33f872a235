"""CREMA-D: actors who speak twelve sentences with six emotions, filmed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.datasets.crema_d_names import (
    BROKEN,
    EMOTIONS,
    LEVELS,
    SENTENCES,
    SILENT,
    CremaDName,
    count_distributed_clips,
)
from fusionkit.data.datasets.film_counts import count_clips, join_ranges
from fusionkit.data.datasets.film_files import (
    MediaFile,
    MediaTree,
    OtherFiles,
    describe_no_clip,
    find_media,
    read_names,
    refuse_twins,
    refuse_unprepared,
)
from fusionkit.data.readers.tables import read_float, read_table
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Clip, Dataset, RawTarget, Row

SEXES = ("male", "female")
DEMOGRAPHICS = "VideoDemographics.csv"

Sound = Literal["wav", "film"]
BrokenFilms = Literal["mend", "drop", "keep"]

_WANTED = "CREMA-D's VideoFlash/ and AudioWAV/"
_Files = Mapping[str, Sequence[MediaFile]]
"""By clip its films, or its sounds; more than one of them is a mistake."""


@DATASETS.register("crema_d")
class CremaD(Dataset):
    """CREMA-D as it is distributed: 7,442 films and sounds of 91 actors.

    A clip is a row where its film or its wav is there; the other is a missing modality then. Its id is its name, as
    ``1001_IEO_ANG_HI``. Targets: ``emotion`` (anger, disgust, fear, happy, neutral, sad: the words of its authors),
    ``level`` (low, medium, high; known of "It's eleven o'clock" alone), ``sentence`` (twelve codes), and, where the
    demographics are there, ``sex`` (male, female) and ``age`` (years, a number). The group is the actor, as ``1001``.

    Films are prepared once (`fusionkit prepare`); then ``video`` is a sequence of face crops and ``audio`` a wave.

    Args:
        root: The folder of the download: ``VideoFlash/*.flv`` (or films of another format, such as mp4, in any folder),
            ``AudioWAV/*.wav`` and ``VideoDemographics.csv``; zip archives are read without being unpacked.
        films: The folder under the root whose films are read, where films stand in several.
        sounds: The folder under the root whose sounds are read, where sounds stand in several.
        demographics: The table of the actors; without it ``VideoDemographics.csv`` under the root, if it is there.
        sound: Which sound is taken where there are two: the ``wav``, which the authors made for computing, or the
            ``film``'s own.
        broken: Clips that the authors list as broken: ``mend`` them with their wav where that helps and drop the
            others, ``drop`` them all, or ``keep`` them as they are. Films that had no sound before December 2020 are
            broken where the sound would be theirs.
        other_files: Films and sounds whose names are none of CREMA-D: ``refuse`` them, or ``ignore`` them.

    Raises:
        DataError: The root or every clip is missing, an archive is damaged, names are wrong, files stand twice, or the
            demographics lack an actor. Clips that are missing or broken are no error: `notes` tells of them.

    Source:
        Cao et al. 2014, https://doi.org/10.1109/TAFFC.2014.2336244; films, sounds and what is wrong with them:
        https://github.com/CheyneyComputerScience/CREMA-D.
    """

    group_name = "speaker"

    def __init__(
        self,
        *,
        root: str,
        films: str | None = None,
        sounds: str | None = None,
        demographics: str | None = None,
        sound: Sound = "wav",
        broken: BrokenFilms = "mend",
        other_files: OtherFiles = "refuse",
    ) -> None:
        tree = find_media(root, _WANTED)
        problems, files = list(tree.problems), _choose(tree, films, sounds)
        named, ignored, strange = read_names(files, lambda file: CremaDName.parse(file.name), other_files)
        pictures, waves, names = _split_sides(named)
        problems += strange
        for sides, option in ((pictures, "films"), (waves, "sounds")):
            problems += refuse_twins(sides.values(), f"keep one of them, or say which folder counts: {option}: FOLDER")
        self.clips, amended = _make_clips(pictures, waves, sound, broken)
        spoken = [(names[clip].actor, EMOTIONS[names[clip].emotion]) for clip in self.clips]
        actors = _read_actors(tree.root / DEMOGRAPHICS, demographics, {actor for actor, _ in spoken}, problems)
        # Where there are problems, they are why there is no clip.
        if not self.clips and not problems:
            problems.append(describe_no_clip(tree, "clip", _WANTED))
        if problems:
            raise DataError(problems, source=str(tree.root))
        self.modalities = {}
        self.classes = {
            "emotion": tuple(EMOTIONS.values()),
            "level": tuple(level for level in LEVELS.values() if level is not None),
            "sentence": tuple(sorted(SENTENCES)),
        } | ({"sex": SEXES} if actors else {})
        self.rows = [
            Row(
                clip,
                names[clip].actor,
                None,
                _list_targets(names[clip], actors),
                (pictures.get(clip) or waves[clip])[0].place,
            )
            for clip in self.clips
        ]
        unknown = (
            [] if actors else [f"sex and age are not known: there is no {DEMOGRAPHICS}, which comes with the films"]
        )
        counts = count_clips("clips", spoken, count_distributed_clips(), self.classes["emotion"])
        self.notes = (*counts, _describe_sources(self.clips), *amended, *unknown, *tree.notes, *ignored)

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Refuses: a film is prepared before it is loaded."""
        raise refuse_unprepared(self.rows[index])


def _choose(tree: MediaTree, films: str | None, sounds: str | None) -> list[MediaFile]:
    """Chooses the films and the sounds that lie under the folders that the recipe names.

    Raises:
        DataError: A folder holds none.
    """
    chosen: list[MediaFile] = []
    problems = []
    for option, folder, is_film in (("films", films, True), ("sounds", sounds, False)):
        kind = [file for file in tree.files if file.is_film == is_film]
        within = [file for file in kind if folder is None or file.place.startswith(folder.strip("/") + "/")]
        if folder is not None and not within:
            folders = sorted({file.place.rpartition("/")[0] or "." for file in kind})
            known = f"they stand in {', '.join(folders[:5])}" if folders else f"there are no {option} at all"
            problems.append(Problem(option, f"{folder!r} holds no {option}", known))
        chosen += within
    if problems:
        raise DataError(problems, source=str(tree.root))
    return chosen


def _split_sides(named: Sequence[tuple[MediaFile, CremaDName]]) -> tuple[_Files, _Files, dict[str, CremaDName]]:
    """Splits files into the films and the sounds of every clip, and reads what its name says."""
    films: dict[str, list[MediaFile]] = defaultdict(list)
    sounds: dict[str, list[MediaFile]] = defaultdict(list)
    names = {}
    for file, name in named:
        (films if file.is_film else sounds)[name.clip].append(file)
        names[name.clip] = name
    return films, sounds, names


def _make_clips(films: _Files, sounds: _Files, sound: Sound, broken: BrokenFilms) -> tuple[dict[str, Clip], list[str]]:
    """Makes every clip of its film and its sound, and says what was done about those that are broken."""
    clips: dict[str, Clip] = {}
    notes = []
    silent = Counter[str]()
    for name in sorted({*films, *sounds}):
        film = films[name][0].path if name in films else None
        wave = sounds[name][0].path if name in sounds else None
        clip = Clip(film, None if sound == "film" and film is not None else wave)
        if broken != "keep" and name in BROKEN:
            fault = BROKEN[name]
            if broken == "mend" and fault.sound_is_good and wave is not None:
                clips[name] = Clip(None, wave)
            done = "its wav is used alone" if name in clips else "it is left out"
            notes.append(f"{name}: {fault.film}; {done}")
        elif film is None or broken == "keep" or name not in SILENT:
            clips[name] = clip
        elif clip.sound is not None or broken == "mend":
            clips[name] = Clip(film, wave)
            silent["have the wav as their sound" if wave else "have no wav to mend them with"] += 1
        else:
            silent["are left out"] += 1
    notes += [
        f"of the 28 films that had no sound before December 2020, {count} {done}" for done, count in silent.items()
    ]
    return clips, notes


def _read_actors(
    beside: Path, given: str | None, actors: set[str], problems: list[Problem]
) -> dict[str, dict[str, RawTarget]]:
    """Reads sex and age of every actor; nothing where no table is named and none lies beside the films."""
    if given is None and not beside.is_file():
        return {}
    try:
        table = read_table(str(beside) if given is None else given)
    except DataError as error:
        problems += error.problems
        return {}
    missing = [column for column in ("ActorID", "Sex", "Age") if column not in table.columns]
    if missing:
        remedy = "the authors' table has ActorID, Age, Sex, Race and Ethnicity"
        problems.append(Problem(str(table.path), f"has no column {', '.join(missing)}", remedy))
        return {}
    read: dict[str, dict[str, RawTarget]] = {}
    for row in table.rows:
        actor, sex = str(row.cells.get("ActorID", "")), str(row.cells.get("Sex", "")).lower()
        age = read_float(row.cells.get("Age", ""))
        if sex not in SEXES:
            problems.append(Problem(f"{row.place}: Sex", f"{sex!r}", "Male or Female"))
        if age is None:
            problems.append(Problem(f"{row.place}: Age", f"{row.cells.get('Age', '')!r}", "a number of years"))
        if actor in read:
            problems.append(Problem(row.place, f"actor {actor} stands twice"))
        read[actor] = {"sex": sex, "age": age or 0.0}
    if lacking := sorted(actors - set(read)):
        message = f"lacks {len(lacking)} of {len(actors)} actors: {join_ranges(lacking)}"
        problems.append(Problem(str(table.path), message, "download it again"))
    return read


def _list_targets(name: CremaDName, actors: Mapping[str, Mapping[str, RawTarget]]) -> Mapping[str, RawTarget | None]:
    stated: dict[str, RawTarget | None] = {
        "emotion": EMOTIONS[name.emotion],
        "level": LEVELS[name.level],
        "sentence": name.sentence,
    }
    return stated | dict(actors[name.actor]) if actors else stated


def _describe_sources(clips: Mapping[str, Clip]) -> str:
    """Says how many clips have films, and where their sound is from."""
    waves = sum(clip.sound is not None for clip in clips.values())
    films = sum(clip.film is not None for clip in clips.values())
    return (
        f"films: {films:,} of {len(clips):,} clips; sounds: {waves:,} wavs, {len(clips) - waves:,} of the film itself"
    )
