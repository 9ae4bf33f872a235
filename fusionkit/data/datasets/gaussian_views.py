"""Made views of a class whose best achievable accuracies, alone and fused, are known."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.config.schema import Seed
from fusionkit.data.datasets.gaussian_optimum import Warp, compute_equidistant_accuracy
from fusionkit.data.datasets.synthetic import refuse_too_many
from fusionkit.data.seeds import make_generator
from fusionkit.errors import DataError, Problem, suggest_names
from fusionkit.interfaces import Dataset, ModalityInfo, Row

Name = Annotated[str, Field(min_length=1)]


class GaussianView(BaseModel):
    """One modality of `gaussian_views`.

    Args:
        features: Numbers of a vector, more than there are classes; those that are not needed are noise.
        warp: How far the vectors are bent. At 0 a linear encoder finds the classes, at 1 a small network with some
            thousand samples finds most of them, at 2 it takes many more. The best accuracy does not depend on it.
        missing: The share of samples that lack the modality; no sample lacks all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    features: Annotated[int, Field(ge=3, le=10**9)] = 8
    warp: Annotated[float, Field(ge=0)] = 0.0
    missing: Annotated[float, Field(ge=0, lt=1)] = 0.0


FOUR_CLASSES = ["a", "b", "c", "d"]
EASY_AND_HARD = {"easy": GaussianView(), "hard": GaussianView(warp=1.0)}
MOST_MODALITIES = 8


@DATASETS.register("gaussian_views")
class GaussianViews(Dataset):
    r"""Vectors made from a seed, with a known limit of what any classifier can do, alone and fused.

    .. math::
        x_m = T_m\!\left(\frac{d_m}{\sqrt 2}\, e_{c_m} + z,\; s_m,\; z'\right), \qquad
        d_1^2 + \dots + d_M^2 = d^2, \qquad d_m^2 / d_{m+1}^2 = r

    Given the class c, the modalities are independent. A clear sample of modality m (s = 1) shows the class:
    :math:`c_m = c`. A fuzzy one (s = -1, in a share q of the samples, in each modality for itself) shows a class that
    is drawn without regard to c, and so tells nothing. That it is fuzzy can be seen: s is one of the numbers. z and z'
    are standard normal. T is a fixed map that can be undone (`Warp`), so that it makes learning hard and loses nothing.

    The total distance d says how far the classes are apart in all modalities together, the imbalance r how unequally
    the squared distance is divided, the fuzziness q how often a modality should be left out. `compute_best_accuracy` is
    exact. Compare fusions and balancers by what is left to it. Fuzziness that could not be seen has no such closed
    form and is not offered. The target is ``label``. Groups are only names: nothing in a sample depends on them
    but which numbers were drawn, so a part of any groups is a sample of the same distribution.

    Args:
        modalities: By modality, its features, warp and missing share; at most eight.
        classes: The classes, all as frequent.
        distance: The distance d between two classes in all modalities together, in standard deviations of the noise.
        imbalance: The ratio r of each modality's squared distance to that of the next; 1 makes all equally telling,
            4 makes shares of 0.8 and 0.2 of two, 1/4 turns them round.
        fuzziness: The share q of fuzzy samples in each modality.
        groups: How many groups there are, named ``01``, ``02``, ... .
        samples: Samples per class and group.
        seed: The seed of everything.

    Raises:
        DataError: Fewer than two classes, no modality or too many, or too few features for the classes.

    Example:
        >>> data = GaussianViews(groups=2, samples=1)
        >>> len(data.rows), data.load(0)["easy"].shape
        (8, torch.Size([1, 8]))
        >>> [round(data.compute_best_accuracy(names), 3) for names in (["easy"], ["hard"], ["easy", "hard"])]
        [0.767, 0.767, 0.903]
    """

    def __init__(
        self,
        *,
        modalities: Mapping[Name, GaussianView] = EASY_AND_HARD,
        classes: Sequence[Name] = FOUR_CLASSES,
        distance: Annotated[float, Field(ge=0)] = 3.5,
        imbalance: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0,
        fuzziness: Annotated[float, Field(ge=0, le=1)] = 0.0,
        groups: Annotated[int, Field(ge=1)] = 40,
        samples: Annotated[int, Field(ge=1)] = 50,
        seed: Seed = 0,
    ) -> None:
        _check(modalities, classes, groups * samples * len(classes))
        self._views, self._seed, self._fuzziness = dict(modalities), seed, fuzziness
        self.modalities = {name: ModalityInfo((view.features,)) for name, view in modalities.items()}
        self.classes = {"label": tuple(classes)}
        parts = [imbalance**-position for position in range(len(modalities))]
        self.squared_distances = {
            name: distance**2 * part / sum(parts) for name, part in zip(modalities, parts, strict=True)
        }
        self._warps = {
            name: Warp(view.features, view.warp, make_generator(self._seed, "warp", name))
            for name, view in modalities.items()
        }
        self._per_group = len(classes) * samples
        self._blocks: dict[int, Mapping[str, tuple[Tensor, Tensor]]] = {}
        cases = [
            (f"{group + 1:02}", label, take) for group in range(groups) for label in classes for take in range(samples)
        ]
        self.rows = [
            Row(f"{group}-{label}-{take + 1}", group, None, {"label": label}, f"gaussian_views sample {position}")
            for position, (group, label, take) in enumerate(cases)
        ]

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Loads a sample, made with all of its group."""
        group, position = divmod(index, self._per_group)
        block = self._draw_block(group)
        return {name: vectors[position : position + 1] for name, (vectors, has) in block.items() if has[position]}

    def length(self, index: int, modality: str) -> int:
        """Returns 1, or 0 where the sample lacks the modality."""
        group, position = divmod(index, self._per_group)
        return int(self._draw_block(group)[modality][1][position])

    def compute_best_accuracy(self, modalities: Collection[str] | None = None) -> float:
        r"""Computes the accuracy of the best of all classifiers that see these modalities, expected over samples.

        .. math::
            A_S = \sum_{B \subseteq S} P(B)\, P_K\!\left(\sqrt{\textstyle\sum_{m \in B} d_m^2}\right)

        B are those modalities of S that a sample has and that are clear in it. The rest tell nothing, and it can be
        seen which they are, so the best classifier knows B; independent Gaussian modalities add their squared
        distances, and :math:`P_K` is `compute_equidistant_accuracy`. Nothing of B leaves the chance of 1/K.

        Args:
            modalities: What the classifier sees; all of them where it is left out.

        Raises:
            ValueError: There is no such modality.
        """
        seen = tuple(self._views if modalities is None else modalities)
        for name in seen:
            if name not in self._views:
                raise ValueError(f"no modality {name!r}; {suggest_names(name, self._views)}")
        chances: dict[frozenset[str], float] = {}
        for present, chance in self._count_presence().items():
            showing = present & set(seen)
            for clear in _list_subsets(showing):
                fuzzy = len(showing) - len(clear)
                likely = chance * (1 - self._fuzziness) ** len(clear) * self._fuzziness**fuzzy
                chances[clear] = chances.get(clear, 0.0) + likely
        count = len(self.classes["label"])
        return math.fsum(
            chance * compute_equidistant_accuracy(count, math.sqrt(sum(self.squared_distances[name] for name in clear)))
            for clear, chance in chances.items()
            if chance > 0
        )

    def _count_presence(self) -> Mapping[frozenset[str], float]:
        """Computes, for every set of modalities, how likely a sample has just those."""
        missing = {name: view.missing for name, view in self._views.items()}
        chances = {
            present: math.prod(1 - share if name in present else share for name, share in missing.items())
            for present in _list_subsets(frozenset(missing))
        }
        # Where chance takes every modality, each is as likely to stay.
        none = chances.pop(frozenset())
        for name in missing:
            chances[frozenset([name])] += none / len(missing)
        return chances

    def _draw_block(self, group: int) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Draws by modality the vectors of a group's samples, and which samples have them."""
        if group not in self._blocks:
            # A group at a time, because a generator per sample would cost more than training on it.
            count = self._per_group
            draws = torch.rand(count, len(self._views), generator=make_generator(self._seed, "missing", str(group)))
            has = draws >= torch.tensor([view.missing for view in self._views.values()])
            stays = torch.randint(len(self._views), (count,), generator=make_generator(self._seed, "stays", str(group)))
            has[torch.arange(count), stays] |= ~has.any(dim=1)
            vectors = {name: self._make(name, group) for name in self._views}
            self._blocks[group] = {name: (vectors[name], has[:, n]) for n, name in enumerate(vectors)}
        return self._blocks[group]

    def _make(self, name: str, group: int) -> Tensor:
        generator = make_generator(self._seed, "samples", name, str(group))
        classes = len(self.classes["label"])
        labels = torch.arange(classes).repeat_interleave(self._per_group // classes)
        fuzzy = torch.rand(len(labels), generator=generator) < self._fuzziness
        shown = torch.where(fuzzy, torch.randint(classes, labels.shape, generator=generator), labels)
        vectors = torch.randn(len(labels), self._views[name].features, generator=generator)
        vectors[torch.arange(len(labels)), shown] += math.sqrt(self.squared_distances[name] / 2)
        vectors[:, classes] = torch.where(fuzzy, -1.0, 1.0)
        return self._warps[name](vectors)


def _list_subsets(names: frozenset[str]) -> list[frozenset[str]]:
    return [frozenset(some) for count in range(len(names) + 1) for some in combinations(sorted(names), count)]


def _check(modalities: Mapping[str, GaussianView], classes: Sequence[str], samples: int) -> None:
    problems = refuse_too_many(samples)
    if not 0 < len(modalities) <= MOST_MODALITIES:
        problems.append(Problem("modalities", f"there are {len(modalities)}", f"name 1 to {MOST_MODALITIES}"))
    if len(set(classes)) != len(classes) or len(classes) < 2:
        problems.append(Problem("classes", f"{list(classes)}", "at least two different classes"))
    problems += [
        Problem(
            f"modalities.{name}.features",
            f"{view.features} numbers cannot hold {len(classes)} classes and whether the sample is clear",
            f"{len(classes) + 1} or more",
        )
        for name, view in modalities.items()
        if view.features <= len(classes)
    ]
    if problems:
        raise DataError(problems)
