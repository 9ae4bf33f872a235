"""Real voices with real faces: RAVDESS clips and FER2013 faces of the same emotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.config.schema import Seed
from fusionkit.data.datasets.fer2013 import Fer2013
from fusionkit.data.datasets.ravdess_names import EMOTIONS, INTENSITIES, STATEMENTS, RavdessName
from fusionkit.data.datasets.ravdess_sound import RavdessSound
from fusionkit.data.splits import make_sort_key
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Dataset, ModalityInfo, Row

FACE_OF: Mapping[str, str] = {
    "neutral": "neutral",
    "calm": "neutral",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fearful": "fear",
    "disgust": "disgust",
    "surprised": "surprise",
}
"""Emotion of the faces that go with a voice; FER2013 has no calm faces."""

PARTS = ("train", "test")


@DATASETS.register("ravdess_fer2013")
class RavdessFer2013(Dataset):
    """Spoken RAVDESS clips, each with faces of FER2013 that tell the same emotion: two real, fuzzy modalities.

    As AV-MNIST pairs images of digits with spoken ones. Modalities: ``audio``, a wave, and ``face``, a sequence of grey
    faces ``(1, 48, 48)`` uint8, of people who are not the actor. Target: ``emotion`` (RAVDESS's eight); calm and
    neutral voices share the neutral faces, so that only the voice can tell them apart. The group is the actor.

    Every clip is two samples: ``CLIP/train`` with faces of FER2013's training part, and ``CLIP/test`` with faces of its
    test part. Under the folds ``with_parts`` a network learns from the former of some actors and is reported on the
    latter of others: both sources keep their own split, in every fold. Training faces that are, byte for byte, a test
    face are left out.

    Which faces a clip has depends on the seed and its name alone, not on which other clips there are. The faces of an
    emotion and part are put into one drawn order and dealt round, actor by actor: no face is dealt twice before all
    were, and none twice to the clips of one actor while an emotion has faces enough for it. Disgust has so few (397 to
    train on) that several actors share one: with ``train.select: inner`` the actors set aside show faces that were
    trained on, so take ``last``.

    Args:
        sound: The folder of RAVDESS's sound, as for ``ravdess_sound``.
        faces_root: FER2013, as the root of ``fer2013``.
        faces: Faces per clip.
        seed: Which faces a clip has.
        sample_rate: Samples per second that all sound is resampled to.

    Raises:
        DataError: Sound or faces are missing or wrong, or an emotion has fewer faces than a clip needs.

    Source:
        Livingstone and Russo 2018, https://doi.org/10.1371/journal.pone.0196391; Goodfellow et al. 2013,
        https://doi.org/10.1007/978-3-642-42051-1_16; the pairing after AV-MNIST, Vielzeuf et al. 2018,
        https://doi.org/10.1007/978-3-030-11024-6_44. Ours: sequences of faces, and both splits kept.
    """

    group_name = "speaker"

    def __init__(
        self,
        *,
        sound: str,
        faces_root: str,
        faces: Annotated[int, Field(gt=0)] = 4,
        seed: Seed = 0,
        sample_rate: Annotated[int, Field(gt=0)] = 16000,
    ) -> None:
        self._sound = RavdessSound(root=sound, sample_rate=sample_rate)
        self._pictures = Fer2013(root=faces_root, twins="drop")
        pools = _shuffle(self._pictures.rows, seed)
        _check_pools(pools, faces)
        self.modalities = {
            "audio": self._sound.modalities["audio"],
            "face": ModalityInfo(self._pictures.modalities["face"].shape),
        }
        self.classes = {"emotion": EMOTIONS}
        self.notes = self._sound.notes
        self.rows: list[Row] = []
        self._faces: list[tuple[int, ...]] = []
        for row, name in zip(self._sound.rows, self._sound.names, strict=True):
            for part in PARTS:
                self.rows.append(
                    Row(f"{row.id}/{part}", row.group, part, {"emotion": row.targets["emotion"]}, row.place)
                )
                self._faces.append(deal(pools[part, FACE_OF[name.emotion]], name, faces))

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Loads the wave ``(length,)`` and the faces ``(faces, 1, 48, 48)``."""
        pictures = [self._pictures.load(face)["face"] for face in self._faces[index]]
        return {**self._sound.load(index // len(PARTS)), "face": torch.cat(pictures)}

    def length(self, index: int, modality: str) -> int:
        """Elements of a modality."""
        return len(self._faces[index]) if modality == "face" else self._sound.length(index // len(PARTS), modality)

    def list_faces(self, index: int) -> tuple[str, ...]:
        """Lists the names of a sample's faces in FER2013."""
        return tuple(self._pictures.rows[face].id for face in self._faces[index])


def deal(pool: Sequence[int], name: RavdessName, count: int) -> tuple[int, ...]:
    """Deals faces to a clip: the clips of all actors sit in a fixed row, and each is dealt the next ones, round."""
    voices = [emotion for emotion in EMOTIONS if FACE_OF[emotion] == FACE_OF[name.emotion]]
    seats = len(voices) * len(INTENSITIES) * len(STATEMENTS) * 2
    seat = voices.index(name.emotion)
    for place, choices in (
        (INTENSITIES.index(name.intensity), len(INTENSITIES)),
        (STATEMENTS.index(name.statement), len(STATEMENTS)),
        (name.repetition - 1, 2),
    ):
        seat = seat * choices + place
    first = ((name.actor - 1) * seats + seat) * count
    return tuple(pool[(first + position) % len(pool)] for position in range(count))


def _shuffle(rows: Sequence[Row], seed: int) -> Mapping[tuple[str, str], list[int]]:
    """Shuffles the positions of faces by part and emotion, in orders that the order of files does not change."""
    pools: dict[tuple[str, str], list[int]] = {(part, emotion): [] for part in PARTS for emotion in FACE_OF.values()}
    for position, row in sorted(enumerate(rows), key=lambda item: make_sort_key(item[1].id)):
        pools[str(row.part), str(row.targets["emotion"])].append(position)
    generator = torch.Generator().manual_seed(seed)
    return {
        key: [pool[place] for place in torch.randperm(len(pool), generator=generator).tolist()]
        for key, pool in pools.items()
    }


def _check_pools(pools: Mapping[tuple[str, str], Sequence[int]], faces: int) -> None:
    problems = [
        Problem(f"fer2013, {part}, {emotion}", f"{len(pool)} faces, a clip needs {faces}", f"faces: {len(pool)}")
        for (part, emotion), pool in pools.items()
        if len(pool) < faces
    ]
    if problems:
        raise DataError(problems, source="ravdess_fer2013")
