"""FER2013: grey faces of 48 x 48 pixels, found on the web and labelled with seven emotions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.datasets.fer2013_files import EMOTIONS, SIDE, USAGES, find_faces
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Dataset, ModalityInfo, Row

TestPart = Literal["both", "public", "private"]
_TEST_USAGES: Mapping[TestPart, tuple[str, ...]] = {
    "both": ("PublicTest", "PrivateTest"),
    "public": ("PublicTest",),
    "private": ("PrivateTest",),
}


@DATASETS.register("fer2013")
class Fer2013(Dataset):
    """Faces that tell one of seven emotions: 28,709 to train, 3,589 public and 3,589 private ones to test.

    Modality: ``face``, one element ``(1, 48, 48)`` of brightness from 0 to 255, uint8. Target: ``emotion`` (angry,
    disgust, fear, happy, sad, surprise, neutral, in Kaggle's order). Who a face belongs to is not known, so there are
    no groups; the parts are those of the competition, for the folds ``given``.

    Some pictures stand in it several times, with one label or with several: of the 7,178 test faces 522 are also, byte
    for byte, training faces. Published results count them; `twins` leaves them out of the training.

    Args:
        root: Kaggle's table ``fer2013.csv`` (``emotion,pixels,Usage``), the folder that holds
            ``train/<emotion>/Training_N.jpg`` and ``test/<emotion>/{PublicTest,PrivateTest}_N.jpg``, or an
            uncompressed tar of that folder, which is read in place.
        test: Which of the two test sets is the test part; the other is left out.
        twins: Training faces that are, byte for byte, a face of either test set: ``keep`` them, as published results
            do, or ``drop`` them.

    Raises:
        DataError: The root is missing or truncated, classes, names or numbers of pixels are wrong, or faces stand
            twice; every kind of problem with its count. Or the options leave a part without a face.

    Source:
        Goodfellow et al. 2013, Challenges in Representation Learning, https://doi.org/10.1007/978-3-642-42051-1_16.
    """

    def __init__(self, *, root: str, test: TestPart = "both", twins: Literal["keep", "drop"] = "keep") -> None:
        wanted = ("Training", *_TEST_USAGES[test])
        faces = find_faces(root)
        if twins == "drop":
            tested = {face.fingerprint for face in faces if face.usage != "Training"}
            faces = [face for face in faces if face.usage != "Training" or face.fingerprint not in tested]
        self._faces = [face for face in faces if face.usage in wanted]
        self._check_parts(root, test)
        self.modalities = {"face": ModalityInfo((1, SIDE, SIDE))}
        self.classes = {"emotion": EMOTIONS}
        self.rows = [
            Row(face.id, None, USAGES[face.usage], {"emotion": face.emotion}, face.place) for face in self._faces
        ]

    def _check_parts(self, root: str, test: TestPart) -> None:
        """Raises where the options leave a part without a face; `find_faces` has found some in both."""
        left = {USAGES[face.usage] for face in self._faces}
        problems = []
        if "train" not in left:
            message = "leaves no face of the train part: each is, byte for byte, a face of a test set"
            problems.append(Problem(f"{root}: twins: drop", message, "set twins: keep"))
        if "test" not in left:
            message = f"leaves no face of the test part: there is no {_TEST_USAGES[test][0]}"
            problems.append(
                Problem(f"{root}: test: {test}", message, "set test: both, or point root at the whole of it")
            )
        if problems:
            raise DataError(problems, source="fer2013")

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Loads the face ``(1, 1, 48, 48)`` uint8."""
        return {"face": self._faces[index].read()[None]}

    def length(self, index: int, modality: str) -> int:
        """Returns one element for each."""
        return 1
