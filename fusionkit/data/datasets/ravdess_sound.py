"""The sound of RAVDESS alone: files of modality 03, or of any other that a sound file is named after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.datasets.film_files import MediaFile, MediaTree, find_media
from fusionkit.data.datasets.ravdess_names import EMOTIONS, INTENSITIES, SEXES, STATEMENTS, RavdessName, parse_name
from fusionkit.data.readers.sound.audio import AUDIO_SUFFIXES, load_audio, read_header
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Dataset, ModalityInfo, Row

_WANTED = "03-01-EE-II-SS-RR-AA.wav, or is above it"
_CHANNELS = {"speech": (1,), "song": (2,), "both": (1, 2)}
_SHOWN = 20


@DATASETS.register("ravdess_sound")
class RavdessSound(Dataset):
    """RAVDESS as sound alone: a wave per clip, for the audio networks (AM) of the paper.

    Modality: ``audio``, a wave. Targets: ``emotion`` (eight), ``intensity`` (normal, strong), ``statement`` (kids,
    dogs) and ``sex`` (male, female). The group is the actor, as ``07``.

    Args:
        root: The folder of ``03-CC-EE-II-SS-RR-AA.wav`` (or another sound format); folders within it, such as
            ``Actor_07``, are searched too.
        channel: ``speech``, ``song`` or ``both``.
        sample_rate: Samples per second that all sound is resampled to.

    Raises:
        DataError: The folder holds no sound, names are wrong, or a clip stands twice; the problems are counted.

    Source:
        Livingstone and Russo 2018, https://doi.org/10.1371/journal.pone.0196391.
    """

    group_name = "speaker"

    def __init__(
        self,
        *,
        root: str,
        channel: Literal["speech", "song", "both"] = "speech",
        sample_rate: Annotated[int, Field(gt=0)] = 16000,
    ) -> None:
        self.sample_rate = sample_rate
        tree = find_media(root, _WANTED, AUDIO_SUFFIXES)
        found = _find_sounds(tree, _CHANNELS[channel])
        self.names = tuple(found)
        self._files = tuple(file.path for file in found.values())
        self.modalities = {"audio": ModalityInfo((), float(sample_rate))}
        self.classes = {"emotion": EMOTIONS, "intensity": INTENSITIES, "statement": STATEMENTS, "sex": SEXES}
        self.rows = [Row(name.clip, name.group, None, name.targets, file.place) for name, file in found.items()]
        self.notes = tuple(tree.notes)

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Loads the wave ``(length,)``."""
        place = f"{self.rows[index].place}: audio"
        return {"audio": load_audio(self._files[index], place, rate=self.sample_rate)}

    def length(self, index: int, modality: str) -> int:
        """Elements of a wave, read from the header of its file."""
        return read_header(self._files[index]).count_samples(self.sample_rate)


def _find_sounds(tree: MediaTree, channels: tuple[int, ...]) -> Mapping[RavdessName, MediaFile]:
    """Finds the sound files of some channels, clip by clip in the order of their names.

    Raises:
        DataError: There are none, names are wrong, a clip stands twice, or something cannot be read.
    """
    problems = list(tree.problems)
    found: dict[str, tuple[RavdessName, MediaFile]] = {}
    for file in tree.files:
        name = parse_name(file.name, file.place, problems)
        if name is None:
            continue
        if name.clip in found:
            problems.append(Problem(file.place, f"is the same clip as {found[name.clip][1].place}"))
        elif name.channel in channels:
            found[name.clip] = (name, file)
    if len(problems) > _SHOWN:
        problems[_SHOWN:] = [Problem(str(tree.root), f"{len(problems)} files are wrong altogether")]
    if not found and not problems:
        what = "; ".join(("holds no sound of the wanted channel", *tree.notes))
        problems.append(Problem(str(tree.root), what, f"root is the folder that holds {_WANTED}"))
    if problems:
        raise DataError(problems, source="ravdess_sound")
    return {name: file for _, (name, file) in sorted(found.items(), key=lambda item: _make_key(item[1][0]))}


def _make_key(name: RavdessName) -> tuple[int, str]:
    return name.actor, name.clip
