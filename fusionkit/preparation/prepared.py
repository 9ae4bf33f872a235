"""A dataset of films as they were prepared."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Dataset, ModalityInfo
from fusionkit.spec import PrepareSpec


class Prepared(Dataset):
    """The clips of a dataset, loaded from its prepared cache: ``video``, face crops, and ``audio``, a wave.

    Args:
        dataset: The dataset that states the clips.
        spec: How they are prepared.
    """

    def __init__(self, dataset: Dataset, spec: PrepareSpec) -> None:
        self.rows, self.classes, self.clips, self.notes = dataset.rows, dataset.classes, dataset.clips, dataset.notes
        channels = 1 if spec.face.grey else 3
        self.modalities = {
            "video": ModalityInfo((channels, spec.face.size, spec.face.size), spec.frame_rate),
            "audio": ModalityInfo((), float(spec.sample_rate)),
        }

    def load(self, index: int) -> Mapping[str, Tensor]:
        """The prepared modalities of a clip."""
        raise DataError([Problem(self.rows[index].place, "is not prepared", "run `fusionkit prepare RECIPE`")])
