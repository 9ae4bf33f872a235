"""One new sample: what is given of each modality, before anything of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from fusionkit.interfaces import Clip

Given = Tensor | Path
"""A modality of a sample: its elements, or the file that holds them."""


@dataclass(frozen=True)
class Recording:
    """A sample without targets.

    Args:
        id: Its name.
        place: Where it is stated, for messages.
        given: By modality; one that is left out is missing.
        clip: The film and sound that ``video`` and ``audio`` are prepared from; None where there are none.
        remarks: What a user should know of it, where that is known before anything is read.
        wrong: Why it cannot be used, where that is known before anything is read; empty where it is not.
    """

    id: str
    place: str
    given: Mapping[str, Given] = field(default_factory=dict)
    clip: Clip | None = None
    remarks: tuple[str, ...] = ()
    wrong: str = ""
