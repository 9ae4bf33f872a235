"""Synthetic signals: no modality alone can tell all classes apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.config.schema import Seed
from fusionkit.data.seeds import make_generator
from fusionkit.errors import DataError, Problem, suggest_names
from fusionkit.interfaces import Dataset, ModalityInfo, RawTarget, Row

Name = Annotated[str, Field(min_length=1)]
MOST_SAMPLES = 10**6
"""Made samples at most, together."""


class SyntheticModality(BaseModel):
    """One made modality.

    Args:
        confuses: Pairs of classes that look the same in this modality; what is confused with one class is confused
            with all that are confused with it.
        noise: Standard deviation of the noise on every number; the signal has a root mean square of about one.
        features: Numbers per element.
        min_length: The fewest elements of a sample.
        max_length: The most elements of a sample; 1 makes the modality a static vector.
        missing: The share of samples that lack the modality; no sample lacks all.
        rate: Elements per second; None for a static vector, or where it does not matter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    confuses: tuple[tuple[Name, Name], ...] = ()
    noise: Annotated[float, Field(ge=0)] = 0.5
    features: Annotated[int, Field(ge=1, le=10**9)] = 4
    min_length: Annotated[int, Field(ge=1, le=10**9)] = 20
    max_length: Annotated[int, Field(ge=1, le=10**9)] = 40
    missing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rate: Annotated[float, Field(gt=0)] | None = None


FOUR_CLASSES = ["rest", "walk", "run", "jump"]
THREE_MODALITIES = {
    "motion": SyntheticModality(confuses=(("rest", "walk"),), features=6, rate=20.0),
    "sound": SyntheticModality(confuses=(("run", "jump"),), features=3, min_length=30, max_length=60, rate=30.0),
    "posture": SyntheticModality(confuses=(("walk", "run"), ("rest", "jump")), features=8, min_length=1, max_length=1),
}


@DATASETS.register("synthetic")
class Synthetic(Dataset):
    r"""Signals made from a seed: each modality confuses some classes, and all together confuse none.

    .. math::
        x_t = a \left( u_c + \sqrt{2}\, v_c \sin(2 \pi f_c t + \varphi) \right) + o_g + \sigma z_t

    In every modality the class c (or what it is confused with) has a direction u, a second direction v that swings at
    f cycles per element, and each group g its own offset o. The amplitude a is between 0.5 and 1.5, and the phase
    random, for each sample. A static vector has no swing. Samples are made when they are loaded, each from the seed and
    its own position, and are never stored. The target is ``label``, and with `regression` also ``strength``, the
    amplitude a.

    Args:
        modalities: By modality, what it confuses, its noise, features, lengths and missing share.
        classes: The classes.
        groups: How many groups (actors) there are, named ``01``, ``02``, ... .
        samples: Samples per class and group.
        group_offset: Standard deviation of a group's offset; 0 makes all groups alike.
        regression: Whether the amplitude is a second target, ``strength``.
        seed: The seed of everything.

    Example:
        >>> data = Synthetic(groups=2, samples=1)
        >>> len(data.rows), data.load(0)["posture"].shape
        (8, torch.Size([1, 8]))
    """

    def __init__(
        self,
        *,
        modalities: Mapping[Name, SyntheticModality] = THREE_MODALITIES,
        classes: Sequence[Name] = FOUR_CLASSES,
        groups: Annotated[int, Field(ge=1)] = 8,
        samples: Annotated[int, Field(ge=1)] = 5,
        group_offset: Annotated[float, Field(ge=0)] = 0.3,
        regression: bool = False,
        seed: Seed = 0,
    ) -> None:
        _check(modalities, classes, groups * samples * len(classes))
        self._made, self._seed, self._group_offset = dict(modalities), seed, group_offset
        self.modalities = {name: ModalityInfo((made.features,), made.rate) for name, made in modalities.items()}
        self.classes = {"label": tuple(classes)}
        self._looks = {name: _find_looks(made.confuses, classes) for name, made in modalities.items()}
        cases = [
            (f"{group + 1:02}", label, take) for group in range(groups) for label in classes for take in range(samples)
        ]
        self.rows = [
            Row(
                id=f"{group}-{label}-{take + 1}",
                group=group,
                part=None,
                targets=self._make_targets(position, label, regression),
                place=f"synthetic sample {position}",
            )
            for position, (group, label, take) in enumerate(cases)
        ]

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Makes one sample."""
        return {name: self._make(index, name) for name in self._made if name not in self._draw_lacking(index)}

    def length(self, index: int, modality: str) -> int:
        """Elements of a modality of a sample, without making it."""
        return 0 if modality in self._draw_lacking(index) else self._draw_length(index, modality)

    def _make_targets(self, index: int, label: str, regression: bool) -> Mapping[str, RawTarget | None]:
        return {"label": label, "strength": self._draw_strength(index)} if regression else {"label": label}

    def _make(self, index: int, modality: str) -> Tensor:
        made, row = self._made[modality], self.rows[index]
        look = self._looks[modality][str(row.targets["label"])]
        prototype = make_generator(self._seed, "look", modality, look)
        direction, swing = (_draw_direction(made.features, prototype) for _ in range(2))
        cycles = float(torch.rand((), generator=prototype)) * 0.15 + 0.05
        offset = torch.randn(made.features, generator=make_generator(self._seed, "group", modality, str(row.group)))
        generator = make_generator(self._seed, "sample", modality, str(index))
        length = self._draw_length(index, modality)
        signal = direction.expand(length, -1)
        phase = 2 * math.pi * float(torch.rand((), generator=generator))
        if made.max_length > 1:
            waves = torch.sin(2 * math.pi * cycles * torch.arange(length) + phase)
            signal = signal + math.sqrt(2) * waves[:, None] * swing
        noise = made.noise * torch.randn(length, made.features, generator=generator)
        return self._draw_strength(index) * signal + self._group_offset * offset + noise

    def _draw_strength(self, index: int) -> float:
        return 0.5 + float(torch.rand((), generator=make_generator(self._seed, "strength", str(index))))

    def _draw_length(self, index: int, modality: str) -> int:
        made = self._made[modality]
        generator = make_generator(self._seed, "length", modality, str(index))
        return int(torch.randint(made.min_length, made.max_length + 1, (), generator=generator))

    def _draw_lacking(self, index: int) -> frozenset[str]:
        draws = torch.rand(len(self._made), generator=make_generator(self._seed, "missing", str(index))).tolist()
        margins = {name: draw - made.missing for (name, made), draw in zip(self._made.items(), draws, strict=True)}
        lacking = frozenset(name for name, margin in margins.items() if margin < 0)
        # Where chance takes every modality, the one that came closest to staying stays.
        return lacking if len(lacking) < len(margins) else lacking - {max(margins, key=lambda name: margins[name])}


def _draw_direction(features: int, generator: torch.Generator) -> Tensor:
    """Draws a random direction whose numbers have a root mean square of one."""
    drawn = torch.randn(features, generator=generator)
    return drawn / drawn.square().mean().sqrt()


def _find_looks(confuses: Sequence[tuple[str, str]], classes: Sequence[str]) -> Mapping[str, str]:
    """Finds, for every class, the first of all classes that it cannot be told apart from."""
    look = {name: name for name in classes}
    for first, second in confuses:
        merged = {look[first], look[second]}
        earliest = next(name for name in classes if name in merged)
        look = {name: earliest if shown in merged else shown for name, shown in look.items()}
    return look


def refuse_too_many(samples: int) -> list[Problem]:
    """Says what is wrong with a number of samples; each is a row in memory."""
    if samples <= MOST_SAMPLES:
        return []
    remedy = f"at most {MOST_SAMPLES:,}; lower groups or samples"
    return [Problem("groups, samples and classes", f"make {samples:,} samples together", remedy)]


def _check(modalities: Mapping[str, SyntheticModality], classes: Sequence[str], samples: int) -> None:
    problems = refuse_too_many(samples)
    if not modalities:
        problems.append(Problem("modalities", "is empty", "name at least one modality"))
    if len(set(classes)) != len(classes) or len(classes) < 2:
        problems.append(Problem("classes", f"{list(classes)}", "at least two different classes"))
    for name, made in modalities.items():
        place = f"modalities.{name}"
        if made.min_length > made.max_length:
            problems.append(Problem(place, f"min_length {made.min_length} exceeds max_length {made.max_length}"))
        unknown = sorted({label for pair in made.confuses for label in pair} - set(classes))
        problems += [
            Problem(f"{place}.confuses", f"unknown class {label!r}", suggest_names(label, classes)) for label in unknown
        ]
    if problems:
        raise DataError(problems)
