"""The format of experiment files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from fusionkit.config.components.specs import Record
from fusionkit.config.schema import Name, Seed, Version
from fusionkit.errors import Problem, suggest_names
from fusionkit.experiments.specs.published import ReferenceSpec
from fusionkit.storage.files import folder_name

VariantName = str
"""A name of a variant: letters, digits, blanks and ``._+-``; it heads a column and names a folder."""

LONGEST_VARIANT_NAME = 200
"""The most characters of a variant's name: file systems allow 255 bytes, and names of files are made of it."""


class VariantSpec(Record):
    """One column of the table: a recipe with overrides of its own, or a branch of another variant's runs."""

    overrides: tuple[str, ...] = Field((), description="Changes to the recipe, each key.path=value.")
    of: VariantName | None = Field(None, description="Read another variant's runs instead of training.")
    branch: Name | None = Field(
        None, description="What is read: fused, ensemble or a modality; fused where it is trained when left out."
    )
    alone: VariantName | None = Field(
        None,
        description="The variant whose separately trained uni-modal networks a fused one must beat; the experiment's "
        "first when left out. For experiments that train them in several ways, each to be compared with its own.",
    )

    @model_validator(mode="after")
    def _trains_or_reads(self) -> Self:
        if self.of is not None and self.overrides:
            raise ValueError("a variant has overrides and trains, or reads the runs `of` another; not both")
        if self.of is not None and self.branch is None:
            raise ValueError("a variant that reads the runs `of` another says which branch: a modality, or ensemble")
        return self


class ExperimentSpec(Record):
    """Variants of one recipe, over folds and seeds."""

    version: Version = Field(alias="schema", description="Version of this format.")
    recipe: str = Field(description="The recipe: a path relative to this file, or the name of a shipped one.")
    overrides: tuple[str, ...] = Field(
        (), description="Changes to the recipe of every variant, each key.path=value; a variant's own come after them."
    )
    pretraining: dict[str, str] = Field(
        {},
        description="By run folder, a recipe (a path relative to this file, or the name of a shipped one) that is "
        "trained into it first, where an encoder of the experiment is to start from a file in that folder which is not "
        "there yet.",
    )
    variants: dict[VariantName, VariantSpec] = Field(
        {},
        description="Columns of the table, in order; the first is what the others are compared with. Left out, they "
        "are the usual ones: the ensemble, each modality alone, late fusion, N0, N1, N2, of the recipe's own fusion.",
    )
    folds: Literal["all"] | Annotated[tuple[int | str, ...], Field(min_length=1)] = Field(
        "all", description="Folds by position or name."
    )
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, description="Seeds of every fold.")
    target: Name | tuple[Name, ...] | None = Field(
        None, description="The target that is compared, or several, each in a part of the report; all when left out."
    )
    metric: str | None = Field(None, description="The metric that is compared; the loss head's own when left out.")
    paper: ReferenceSpec | None = Field(None, description="Published numbers to stand beside ours.")

    @model_validator(mode="after")
    def _variants_can_name_folders(self) -> Self:
        for name in self.variants:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._+-]*", name):
                raise ValueError(
                    f"variant {name!r}: a name is letters, digits, blanks and ._+-, no sign or blank first"
                )
            if len(name) > LONGEST_VARIANT_NAME:
                raise ValueError(f"variant {name!r}: a name has at most {LONGEST_VARIANT_NAME} characters")
        folders = [folder_name(name).lower() for name in self.variants]
        for name, folder in zip(self.variants, folders, strict=True):
            if folders.count(folder) > 1:
                raise ValueError(f"variant {name!r}: another one would share its folder {folder!r}; rename one")
        return self

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[Seed, ...]) -> tuple[Seed, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed stands twice")
        return seeds


def find_misread(variants: Mapping[str, VariantSpec], listed: Collection[str]) -> list[Problem]:
    """Lists variants that read the runs of another that there is not, or that trains nothing itself.

    Args:
        variants: The variants.
        listed: Names of all variants of the file, those among them with mistakes of their own.
    """
    problems = []
    for name, variant in variants.items():
        if variant.of is None:
            continue
        if variant.of not in listed:
            remedy = suggest_names(variant.of, listed)
            problems.append(Problem(f"variants.{name}.of", f"no variant {variant.of!r} to read", remedy))
        elif variant.of in variants and variants[variant.of].of is not None:
            message = f"{variant.of!r} reads the runs of another itself"
            problems.append(Problem(f"variants.{name}.of", message, f"name {variants[variant.of].of!r}"))
    return problems
