"""The shape of a card, as far as experiments and reports read it; cards of earlier versions have it too."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, model_validator


class _Protocol(BaseModel):
    split_hash: str
    label: str
    folds: dict[str, Any]


class _Selection(BaseModel):
    label: str


class _Training(BaseModel):
    device: str
    commit: str | None


class _Figure(BaseModel):
    value: float | None
    low: float | None = None
    high: float | None = None


class _Where(BaseModel):
    metrics: dict[str, float | None]


class _Branch(BaseModel):
    trained: str
    samples: int
    metrics: dict[str, _Figure]
    where: dict[str, _Where] = {}
    confusion: list[list[int]] | None = None


class _Target(BaseModel):
    type: str
    kind: str | None = None
    classes: list[str] | None
    branches: dict[str, _Branch]

    @model_validator(mode="after")
    def _confusions_are_square(self) -> Self:
        size = len(self.classes or ())
        for name, branch in self.branches.items():
            if branch.confusion is not None and [len(row) for row in branch.confusion] != [size] * size:
                raise ValueError(f"the confusion matrix of {name!r} is not of {size} rows and columns, one a class")
        return self


class _Said(BaseModel):
    confusion: list[list[int]] | None = None


class _TargetKind(BaseModel):
    type: str
    kind: str | None = None
    classes: list[str] | None
    branches: dict[str, _Said] | None = None

    @model_validator(mode="after")
    def _says_its_kind(self) -> Self:
        if self.kind is None and self.branches is None:
            raise ValueError("neither a kind nor branches, which tell it, are there")
        return self


class TargetsShape(BaseModel):
    """What is read of a card to know what its targets are."""

    targets: dict[str, _TargetKind]


class CardShape(BaseModel):
    """What is read of a card to compare it with others."""

    protocol: _Protocol
    selection: _Selection
    training: _Training
    targets: dict[str, _Target]
    notes: list[str] = []
