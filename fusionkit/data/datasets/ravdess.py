"""RAVDESS: actors who speak two statements with eight emotions, filmed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.datasets.film_counts import count_clips
from fusionkit.data.datasets.film_files import (
    MediaFile,
    OtherFiles,
    describe_no_clip,
    find_media,
    read_names,
    refuse_twins,
    refuse_unprepared,
)
from fusionkit.data.datasets.ravdess_names import CHANNELS, EMOTIONS, INTENSITIES, SEXES, STATEMENTS, WHOLE, RavdessName
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Clip, Dataset, Row

Channel = Literal["speech", "song"]
Sound = Literal["either", "film", "file"]

_FILM, _SILENT_FILM, _SOUND = 1, 2, 3
_WANTED = "RAVDESS's zip archives (Video_Speech_Actor_01.zip, ...) or what was unpacked from them"

_Take = dict[int, list[MediaFile]]
"""The files of one take by modality; more than one of a modality is a mistake."""


@DATASETS.register("ravdess")
class Ravdess(Dataset):
    """RAVDESS as it is distributed: films and sounds of 24 actors, 1,440 takes of speech.

    Every take is one row, whichever of its files are there: film with sound (01), silent film (02), sound alone (03).
    Its id is the name without the modality, as ``01-06-02-01-02-12``. The film is 01, or 02 where that is missing; what
    is missing altogether is a missing modality. Targets: ``emotion`` (eight), ``intensity`` (normal, strong),
    ``statement`` (kids, dogs) and ``sex`` (male, female). The group is the actor, as ``07``.

    Films are prepared once (`fusionkit prepare`); then ``video`` is a sequence of face crops and ``audio`` a wave.

    Args:
        root: The folder of the download, in any arrangement: zip archives that are read without being unpacked,
            folders unpacked from them, all files in one folder, or a mixture.
        channels: ``speech``, ``song`` or both.
        sound: Where the sound is from: the film's own, else the sound file (``either``), or only one of the two:
            ``film`` or ``file``.
        other_files: Films and sounds whose names are none of RAVDESS: ``refuse`` them, or ``ignore`` them.

    Raises:
        DataError: The root or every clip is missing, an archive is damaged, names are wrong, or files stand twice.
            Actors that are incomplete or missing are no error: `notes` counts them.

    Source:
        Livingstone and Russo 2018, https://doi.org/10.1371/journal.pone.0196391; films and sounds:
        https://doi.org/10.5281/zenodo.1188976.
    """

    group_name = "speaker"

    def __init__(
        self,
        *,
        root: str,
        channels: Annotated[list[Channel], Field(min_length=1)] = ["speech"],  # noqa: B006 - a recipe states a list
        sound: Sound = "either",
        other_files: OtherFiles = "refuse",
    ) -> None:
        tree = find_media(root, _WANTED)
        named, ignored, strange = read_names(tree.files, _parse_name, other_files)
        problems, notes = [*tree.problems, *strange], [*tree.notes, *ignored]
        takes, names = _gather_takes(named, channels)
        left = sum(CHANNELS[name.channel - 1] not in channels for _, name in named)
        if left:
            notes.append(f"{left:,} files of other channels are left out; `channels` names those that are read")
        copies = [files for take in takes.values() for files in take.values()]
        problems += refuse_twins(copies, "keep one of them, or point root at the folder that holds each once")
        if sound == "file":
            problems += _refuse_without_file(takes)
        self.clips = {
            clip: found for clip in sorted(takes) if (found := _make_clip(takes[clip], sound)) != Clip(None, None)
        }
        if not self.clips and not problems:
            problems.append(describe_no_clip(tree, f"clip of {' or '.join(channels)}", _WANTED))
        if problems:
            raise DataError(problems, source=str(tree.root))
        self.modalities = {}
        self.classes = {"emotion": EMOTIONS, "intensity": INTENSITIES, "statement": STATEMENTS, "sex": SEXES}
        self.rows = [
            Row(clip, names[clip].group, None, names[clip].targets, _find_place(takes[clip])) for clip in self.clips
        ]
        self.notes = (*_count_clips(names, self.clips), *_describe_sources(takes, self.clips), *notes)

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Refuses: a film is prepared before it is loaded."""
        raise refuse_unprepared(self.rows[index])


def _parse_name(file: MediaFile) -> RavdessName:
    name = RavdessName.parse(file.name)
    if file.is_film == (name.modality == _SOUND):
        kind, says = ("film", "sound alone (03)") if file.is_film else ("sound", f"a film ({name.modality:02})")
        raise ValueError(f"{file.path.name!r} is a {kind} by its ending, but its name says {says}")
    return name


def _gather_takes(
    named: Sequence[tuple[MediaFile, RavdessName]], channels: Sequence[str]
) -> tuple[dict[str, _Take], dict[str, RavdessName]]:
    takes: dict[str, _Take] = defaultdict(lambda: defaultdict(list))
    names = {}
    for file, name in named:
        if CHANNELS[name.channel - 1] in channels:
            takes[name.clip][name.modality].append(file)
            names[name.clip] = name
    return takes, names


def _make_clip(take: _Take, sound: Sound) -> Clip:
    """Makes the clip of a take from its film and its sound; of neither where `sound` leaves nothing of it."""
    films = take.get(_FILM) or take.get(_SILENT_FILM) or []
    files = take.get(_SOUND, [])
    own = bool(take.get(_FILM))
    if sound == "film" or (sound == "either" and own):
        files = []
    return Clip(films[0].path if films else None, files[0].path if files else None)


def _refuse_without_file(takes: Mapping[str, _Take]) -> list[Problem]:
    lacking = [clip for clip in sorted(takes) if not takes[clip].get(_SOUND)]
    if not lacking:
        return []
    message = f"{len(lacking):,} takes have no sound file, such as {lacking[0]}"
    return [Problem("", message, "unpack Audio_Speech_Actors_01-24.zip beside the films, or set sound: either")]


def _find_place(take: _Take) -> str:
    return next(take[modality][0].place for modality in (_FILM, _SILENT_FILM, _SOUND) if take.get(modality))


def _count_clips(names: Mapping[str, RavdessName], clips: Mapping[str, Clip]) -> list[str]:
    notes = []
    for number, channel in enumerate(CHANNELS, start=1):
        spoken = [(names[clip].group, names[clip].emotion) for clip in clips if names[clip].channel == number]
        if spoken:
            notes += count_clips(f"{channel} clips", spoken, WHOLE[channel], EMOTIONS)
    return notes


def _describe_sources(takes: Mapping[str, _Take], clips: Mapping[str, Clip]) -> list[str]:
    """Says what the films and the sounds are, and how many clips lack them."""
    films, sounds = Counter[str](), Counter[str]()
    for name, clip in clips.items():
        own = bool(takes[name].get(_FILM))
        films["none" if clip.film is None else "with sound (01)" if own else "silent (02)"] += 1
        sounds["a sound file (03)" if clip.sound is not None else "the film's own" if own else "none"] += 1
    said = [
        f"{what}: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items()))
        for what, kinds in (("films", films), ("sounds", sounds))
    ]
    absent = len(takes) - len(clips)
    return said + ([f"{absent:,} takes are sound files alone, which sound: film leaves out"] if absent else [])
