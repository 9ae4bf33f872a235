"""The list of what a shared folder holds, ``fusionkit.json``: networks, and the hashes of their weights."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fusionkit.storage.records.document import Document, Part

MemberName = Annotated[str, Field(pattern=r"^(\.|network_[0-9]{1,4})$")]
"""The folder of a network: the shared folder itself, or one within it."""


class Member(Part):
    """A network.

    Args:
        weights_sha256: The hash of its weights.
        fold: The fold of its training.
        seed: The seed of its training.
    """

    weights_sha256: str
    fold: str
    seed: int


class Publication(Document):
    """The networks of a shared folder.

    Args:
        branch: The branch that answers.
        members: By folder, the networks, which answer together.
        versions: The versions that shared them.
    """

    title: ClassVar[str] = "a shared network"
    remedy: ClassVar[str] = "download it again, or ask its author"

    branch: str
    members: dict[MemberName, Member] = Field(min_length=1)
    versions: dict[str, str]
