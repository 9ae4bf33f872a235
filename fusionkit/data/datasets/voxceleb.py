"""VoxCeleb: celebrities who speak in interviews, for networks that learn what a voice is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.readers.files import expand_path
from fusionkit.data.readers.sound.audio import AUDIO_SUFFIXES, load_audio, read_header
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Dataset, ModalityInfo, Row

_SHOWN = 20


@DATASETS.register("voxceleb")
class VoxCeleb(Dataset):
    """Utterances cut from videos of many speakers: who speaks?

    Modality: ``audio``, a wave. Target: ``speaker``, a class per speaker, named as the folders are. The group is the
    video, as ``id10001/1zcIwhmdeo4``: utterances of one video share a room, a microphone and a day, by which a network
    would know them, so no video is on both sides of a fold. Speakers are, since they are the classes.

    Args:
        root: The folder that holds ``id10001/VIDEO/00001.wav`` for every speaker, video and utterance; ``.m4a``,
            ``.flac`` and other sound formats serve as well. Above it may be the folders ``wav`` or ``aac`` and ``dev``
            or ``test`` of the download.
        least_videos: Speakers with fewer videos are left out: with one, a speaker is only trained or only tested.
        sample_rate: Samples per second that all sound is resampled to.

    Raises:
        DataError: The folder is missing, files lie elsewhere, an utterance stands twice, or fewer than two speakers
            are left; the problems are counted.

    Source:
        Nagrani, Chung and Zisserman 2017, https://doi.org/10.21437/Interspeech.2017-950; VoxCeleb2: Chung, Nagrani and
        Zisserman 2018, https://doi.org/10.21437/Interspeech.2018-1929.
    """

    group_name = "video"

    def __init__(
        self,
        *,
        root: str,
        least_videos: Annotated[int, Field(gt=0)] = 2,
        sample_rate: Annotated[int, Field(gt=0)] = 16000,
    ) -> None:
        folder = expand_path(root)
        self.sample_rate = sample_rate
        found = _find_utterances(folder)
        videos: dict[str, set[str]] = {}
        for speaker, video, _ in found:
            videos.setdefault(speaker, set()).add(video)
        kept = sorted(speaker for speaker, of in videos.items() if len(of) >= least_videos)
        if len(kept) < 2:
            message = f"{len(kept)} of {len(videos)} speakers have {least_videos} videos or more"
            raise DataError([Problem(str(folder), message, "two at least; lower least_videos, or add speakers")])
        chosen = {key: path for key, path in found.items() if len(videos[key[0]]) >= least_videos}
        self._files = tuple(chosen.values())
        self.modalities = {"audio": ModalityInfo((), float(sample_rate))}
        self.classes = {"speaker": tuple(kept)}
        self.rows = [
            Row("/".join(key), f"{key[0]}/{key[1]}", None, {"speaker": key[0]}, path.relative_to(folder).as_posix())
            for key, path in chosen.items()
        ]

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Loads the wave ``(length,)``."""
        place = f"{self.rows[index].place}: audio"
        return {"audio": load_audio(self._files[index], place, rate=self.sample_rate)}

    def length(self, index: int, modality: str) -> int:
        """Elements of a wave, read from the header of its file; compressed files are decoded for it."""
        return read_header(self._files[index]).count_samples(self.sample_rate)


def _find_utterances(root: Path) -> Mapping[tuple[str, str, str], Path]:
    """Finds the files by speaker, video and utterance, in the order of these names."""
    problems: list[Problem] = []
    found: dict[tuple[str, str, str], Path] = {}
    strange: list[str] = []
    for path in sorted(path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES):
        parts = path.relative_to(root).parts
        if len(parts) < 3 or not (parts[-3].startswith("id") and parts[-3][2:].isdecimal()):
            strange.append("/".join(parts))
            continue
        key = (parts[-3], parts[-2], path.stem)
        if key in found:
            other = found[key].relative_to(root).as_posix()
            problems.append(Problem("/".join(parts), f"is the same utterance as {other}", "remove one of them"))
        found[key] = path
    if len(problems) > _SHOWN:
        problems[_SHOWN:] = [Problem(str(root), f"{len(problems)} utterances stand twice altogether")]
    if strange:
        message = f"{len(strange)} sound files are no id10001/VIDEO/00001.wav, such as {strange[0]}"
        problems.append(Problem(str(root), message, "point root at the folder of the id... folders"))
    elif not found:
        what = "holds no sound files" if root.is_dir() else "no such folder"
        problems.append(Problem(str(root), what, "point root at the folder of id10001/VIDEO/00001.wav"))
    if problems:
        raise DataError(problems, source="voxceleb")
    return {key: found[key] for key in sorted(found)}
