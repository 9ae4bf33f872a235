"""The goodness of an answer, and by how much it is better than another one on the same samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionkit.evaluation.bootstrap import SEED, draw_counts, find_limits, resample_metrics
from fusionkit.interfaces import LossHead, TargetKind
from fusionkit.models.loss_heads.number_metrics import as_columns
from fusionkit.storage.records.diagnosis import ClassGain
from fusionkit.storage.records.document import Figure, figure


@dataclass(frozen=True)
class Answer:
    """Somebody's answer to the test samples.

    Args:
        distribution: As `LossHead.distribution` gives it, ``(samples, _)``.
        spoken: Of which samples it says anything.
        source: Whose answer it is.
    """

    distribution: Tensor
    spoken: Tensor
    source: str


class Judge:
    """Scores, gains and single samples of one target of a test part.

    Args:
        head: The loss head, for its metrics.
        targets: The encoded targets of all test samples.
        groups: The group of every sample.
        resamples: Resamples of whole groups for intervals.
    """

    def __init__(self, head: LossHead, targets: Tensor, groups: Sequence[str], resamples: int) -> None:
        self.head, self.targets, self.resamples = head, targets, resamples
        self.known = head.find_known(targets)
        self.sign = float(head.measure(head.score).sign)
        self._groups = groups

    @property
    def kind(self) -> TargetKind:
        """The kind of the target."""
        return self.head.kind

    def rows(self, *answers: Answer) -> Tensor:
        """Returns the samples that state the target and to which all these answer."""
        spoken = torch.stack([self.known, *(answer.spoken for answer in answers)]).all(dim=0)
        return spoken.nonzero().flatten()

    def groups(self, *answers: Answer) -> int:
        """Counts the groups of these samples."""
        return len({self._groups[row] for row in self.rows(*answers).tolist()})

    def score(self, answer: Answer) -> float:
        """Returns the score of an answer over the samples that it speaks of; NaN where there are none."""
        return self._score(answer, self.rows(answer))

    def gain(self, first: Answer, second: Answer) -> Figure:
        r"""Computes by how much the first answer is better than the second, over the samples that both speak of.

        .. math::
            g = \pm \bigl( v(\mathrm{first}) - v(\mathrm{second}) \bigr)

        with the sign that makes better positive, and the 2.5 % and 97.5 % quantiles over resamples of whole groups,
        the same for both. With fewer than two groups there are no limits; with few they are coarse and too narrow.
        """
        rows = self.rows(first, second)
        value = self.sign * (self._score(first, rows) - self._score(second, rows))
        return figure(value, find_limits(self._drawn(first, second, rows)))

    def class_gains(self, first: Answer, second: Answer) -> dict[str, ClassGain]:
        """Returns by class the recall of two answers and by how much the first is better, over what both speak of."""
        rows = self.rows(first, second)
        wanted = self.targets[rows]
        hits = [(self.head.predict(each.distribution[rows]) == wanted).double() for each in (first, second)]
        counted, found = self._counted(rows), {}
        for index, name in enumerate(self.head.classes):
            of = (wanted == index).double()
            if not of.sum():
                continue
            recalls = [float((each * of).sum() / of.sum()) for each in hits]
            drawn = torch.empty(0)
            if counted is not None:
                counts, group_of = counted
                sums = [
                    torch.zeros(counts.shape[1], dtype=torch.float64).index_add(0, group_of, values)
                    for values in ((hits[0] - hits[1]) * of, of)
                ]
                drawn = (counts @ sums[0]) / (counts @ sums[1])
            found[name] = ClassGain(
                samples=int(of.sum()),
                first=figure(recalls[0]),
                second=figure(recalls[1]),
                gain=figure(recalls[0] - recalls[1], find_limits(drawn)),
            )
        return found

    def right(self, answer: Answer, rows: Tensor) -> Tensor:
        """Tells which samples are told right: the class, or every stated label. Numbers are never simply right."""
        said, wanted = self.head.predict(answer.distribution[rows]), self.targets[rows]
        if self.kind == "classes":
            return said == wanted
        return ((said == (wanted == 1)) | wanted.isnan()).all(dim=1)

    def distance(self, answer: Answer, rows: Tensor) -> Tensor:
        """Returns the mean absolute error of each sample, over the numbers that it states."""
        return (self.numbers(answer, rows) - as_columns(self.targets[rows]).double()).abs().nanmean(dim=1)

    def numbers(self, answer: Answer, rows: Tensor) -> Tensor:
        """Returns the predicted numbers, a column per output; a distribution may hold more, such as deviations."""
        return as_columns(self.head.predict(answer.distribution[rows])).double()

    @property
    def says_more(self) -> bool:
        """True where distributions of numbers hold more than the numbers, which a linear head cannot give."""
        if self.kind != "numbers":
            return False
        with torch.no_grad():
            said = self.head.distribution(torch.zeros(1, self.head.out_features))
        return said.shape[1] != as_columns(self.targets).shape[1]

    def _score(self, answer: Answer, rows: Tensor) -> float:
        if not len(rows):
            return math.nan
        return float(self.head.metrics(answer.distribution[rows], self.targets[rows])[self.head.score])

    def _drawn(self, first: Answer, second: Answer, rows: Tensor) -> Tensor:
        counted = self._counted(rows)
        if counted is None:
            return torch.empty(0)
        counts, group_of = counted
        values: list[Mapping[str, Tensor]] = [
            resample_metrics(self.head, each.distribution[rows], self.targets[rows], counts, group_of)
            for each in (first, second)
        ]
        return self.sign * (values[0][self.head.score] - values[1][self.head.score])

    def _counted(self, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        groups = [self._groups[row] for row in rows.tolist()]
        place = {name: position for position, name in enumerate(sorted(set(groups)))}
        if len(place) < 2:
            return None
        return draw_counts(len(place), self.resamples, SEED), torch.tensor([place[group] for group in groups])
