"""A calibration applied to answers: calibrated probabilities, and sets or intervals of a level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fusionkit.errors import RunError
from fusionkit.inference.answers import TargetAnswer
from fusionkit.inference.calibration.conformal import count_needed_groups, find_threshold
from fusionkit.inference.calibration.novelty import Familiar, find_unfamiliar, read_novelty
from fusionkit.inference.calibration.temperature import apply_temperature
from fusionkit.storage.calibration_file import read_calibration
from fusionkit.storage.records.calibration import CalibratedTarget, Calibration, Learned
from fusionkit.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Refined:
    """Calibrated answers to samples.

    Args:
        probabilities: Calibrated ones; numbers as they are.
        sets: Of classes and labels, which of them the set of each sample holds.
        limits: Of numbers, the lower and the upper limits.
        own: Which samples have a threshold that was learned on samples of the same modalities alone.
    """

    probabilities: Tensor
    sets: Tensor | None
    limits: tuple[Tensor, Tensor] | None
    own: Tensor


def name_subsets(branch: str, present: Mapping[str, Tensor]) -> list[str]:
    """Names, for every sample, the modalities that a branch answers by: its own, or all that the sample has."""
    if branch in present:
        return [branch] * len(present[branch])
    masks = {name: mask.tolist() for name, mask in present.items()}
    samples = len(next(iter(present.values())))
    return ["+".join(name for name, mask in masks.items() if mask[row]) for row in range(samples)]


def order_subsets(names: Iterable[str]) -> list[str]:
    """Orders names of subsets, each once, those of more modalities first."""
    return sorted(set(names), key=lambda name: (-name.count("+"), name))


def refine(of: CalibratedTarget, said: Tensor, predicted: Tensor, subsets: Sequence[str], level: float) -> Refined:
    """Makes calibrated probabilities and sets or intervals of what a branch says of samples.

    A set of classes always holds the predicted one: that makes it no smaller than its level asks for, and never empty.

    Args:
        of: The calibration of the target in the branch.
        said: The distribution of each sample.
        predicted: What is predicted by these.
        subsets: The modalities of each sample, as `name_subsets` names them.
        level: The level, which the calibration supports.
    """
    learned = {subset: find_learned(of, subset, level) for subset in set(subsets)}
    thresholds = {subset: find_threshold(each.scores, each.weights, level) for subset, each in learned.items()}
    threshold = torch.tensor([thresholds[subset] for subset in subsets], dtype=torch.float64)[:, None]
    own = torch.tensor([learned[subset] is not of.everything for subset in subsets], dtype=torch.bool)
    if of.kind == "numbers":
        centres = predicted.double().reshape(len(said), -1)
        reach = threshold * torch.tensor(of.spread, dtype=torch.float64)
        return Refined(said.double(), None, (centres - reach, centres + reach), own)
    temperature = torch.tensor([_find_temperature(of, subset) for subset in subsets], dtype=torch.float64)
    held = 1 - said.double() <= threshold
    if of.kind == "classes":
        held = held.scatter(1, predicted.long()[:, None], True)
    return Refined(apply_temperature(of.kind, said, temperature), held, None, own)


def find_learned(of: CalibratedTarget, subset: str, level: float) -> Learned:
    """Finds what sets of samples with some modalities are made by: such samples, or all where their groups are few."""
    own = of.subsets.get(subset)
    return own if own is not None and own.groups >= count_needed_groups(level) else of.everything


class Calibrator:
    """A calibration in use.

    Args:
        calibration: What was learned; None of a run that was not calibrated.
        place: The run, for messages.
        why_none: Why there is none; where that is left out, the run was not calibrated.
        familiar: By modality what its features were like in training.
    """

    def __init__(
        self,
        calibration: Calibration | None,
        place: str,
        why_none: str = "",
        familiar: Mapping[str, Familiar] | None = None,
    ) -> None:
        self.calibration, self._place, self._familiar = calibration, place, familiar or {}
        self._why_none = why_none or "the network was not calibrated; `fusionkit calibrate` does it"

    @property
    def origin(self) -> str | None:
        """The samples that it was learned on; None where there is no calibration."""
        return None if self.calibration is None else self.calibration.describe_origin()

    @property
    def highest_level(self) -> float | None:
        """The highest level that the groups of every calibrated branch give; None where there is no calibration."""
        if self.calibration is None:
            return None
        targets = [of for branch in self.calibration.branches.values() for of in branch.values()]
        return _find_highest_level(min(of.everything.groups for of in targets))

    def require_level(self, branch: str, level: float) -> None:
        """Refuses a level that the calibration of a branch cannot give.

        Raises:
            RunError: There is no calibration, none of that branch, the level is none, or there were too few groups.
        """
        if self.calibration is not None:
            refuse_no_level(level)
        if said := self.explain_refusal(branch, level):
            raise RunError(f"{self._place}: {said}")

    def explain_refusal(self, branch: str, level: float) -> str:
        """Explains why the calibration of a branch cannot give a level between 0 and 1; empty where it can.

        No place of this machine is named, so that clients of a server may be told.
        """
        if self.calibration is None:
            return self._why_none
        targets = self.calibration.branches.get(branch)
        if targets is None:
            return f"the branch {branch!r} is not calibrated; calibrated: {', '.join(self.calibration.branches)}"
        groups = min(of.everything.groups for of in targets.values())
        if groups >= count_needed_groups(level):
            return ""
        message = f"sets of level {level:g} need a calibration on {count_needed_groups(level)} groups"
        return f"{message}, this one had {groups}; the highest level is {_find_highest_level(groups):g}"

    def refine_answers(
        self,
        answers: Sequence[TargetAnswer],
        said: Tensor,
        predicted: Tensor,
        *,
        branch: str,
        target: str,
        present: Mapping[str, Tensor],
        level: float,
    ) -> list[TargetAnswer]:
        """Returns answers with calibrated probabilities, and with sets or intervals.

        Args:
            answers: The answers.
            said: The distributions that they were made of.
            predicted: What is predicted by these.
            branch: The branch that answers.
            target: The target.
            present: By modality, which samples have it.
            level: The level, see `require_level`.
        """
        learned = self._find(branch, target)
        refined = refine(learned, said, predicted, name_subsets(branch, present), level)
        if refined.limits is not None:
            limits = zip(*(side.tolist() for side in refined.limits), strict=True)
            return [
                replace(answer, interval=tuple(zip(low, high, strict=True)))
                for answer, (low, high) in zip(answers, limits, strict=True)
            ]
        masks = torch.zeros_like(said) if refined.sets is None else refined.sets
        return [
            replace(
                answer,
                probabilities=dict(zip(learned.classes, row, strict=True)),
                set=tuple(name for name, held in zip(learned.classes, mask, strict=True) if held),
            )
            for answer, row, mask in zip(answers, refined.probabilities.tolist(), masks.tolist(), strict=True)
        ]

    def remark(
        self, branch: str, present: Mapping[str, Tensor], features: Mapping[str, Tensor], level: float | None
    ) -> list[tuple[str, ...]]:
        """Says of every sample which sets were learned on other modalities as well, and where it is unlike all others.

        Args:
            branch: The branch that answers.
            present: By modality, which samples have it.
            features: By modality, the normalised features.
            level: The level; nothing is said where none is asked for.
        """
        if self.calibration is None or level is None:
            return [()] * len(next(iter(present.values())))
        remarks, targets = list[tuple[str, ...]](), self.calibration.branches[branch].items()
        strange = find_unfamiliar(self._familiar, features, present)
        for subset, modalities in zip(name_subsets(branch, present), strange, strict=True):
            of_all = [target for target, of in targets if find_learned(of, subset, level) is of.everything]
            said = [f"{', '.join(of_all)}: calibrated over all modalities together, not for {subset} alone"] * bool(
                of_all
            )
            said += [
                f"{name}: unlike the training, farther than every sample of the calibration" for name in modalities
            ]
            remarks.append(tuple(said))
        return remarks

    def _find(self, branch: str, target: str) -> CalibratedTarget:
        if self.calibration is None or target not in self.calibration.branches.get(branch, {}):
            raise RunError(f"{self._place}: {target} is not calibrated in the branch {branch!r}; calibrate it again")
        return self.calibration.branches[branch][target]


def find_calibrator(runs: Sequence[RunFolder]) -> Calibrator:
    """Finds the calibration of a run; several together have none.

    Raises:
        RunError: It is damaged, or of other weights.
    """
    if len(runs) > 1:
        why = "several networks answer together, whose mean nobody calibrated; load one run by fold and seed"
        return Calibrator(None, str(runs[0].path), why)
    return Calibrator(read_calibration(runs[0]), str(runs[0].path), familiar=read_novelty(runs[0]))


def refuse_no_level(level: float) -> None:
    """Refuses a level that is no share.

    Raises:
        RunError: It is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise RunError(f"level {level:g}: is no share between 0 and 1, such as 0.9")


def _find_highest_level(groups: int) -> float:
    return math.floor(1000 * groups / (groups + 1)) / 1000


def _find_temperature(of: CalibratedTarget, subset: str) -> float:
    own = of.subsets.get(subset)
    temperature = own.temperature if own is not None and own.temperature is not None else of.everything.temperature
    return 1.0 if temperature is None else temperature
