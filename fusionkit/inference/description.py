"""The description of what networks say: records of answers, and the columns of their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fusionkit.inference.answers import Answer, AnsweredTarget, TargetAnswer, describe_value, name_column, name_columns
from fusionkit.inference.backend import Said
from fusionkit.inference.branches import CONSTANT, TrainedBranches
from fusionkit.inference.calibration.calibrator import Calibrator
from fusionkit.inference.scoring import find_spoken
from fusionkit.interfaces import Batch

_BEYOND = "its elements are far from those of the training"


class Description:
    """Answers in the words of the targets.

    Args:
        targets: The targets.
        branches: The branches that are trained.
        main: The branch that answers.
        modalities: The modalities, in the order of the network.
        calibrator: The calibration.
    """

    def __init__(
        self,
        targets: Mapping[str, AnsweredTarget],
        branches: TrainedBranches,
        main: str,
        modalities: Sequence[str],
        calibrator: Calibrator,
    ) -> None:
        self._targets, self._branches, self._main = targets, branches, main
        self._modalities, self._calibrator = tuple(modalities), calibrator

    def describe(self, batch: Batch, said: Said, *, branches: bool, level: float | None) -> list[Answer]:
        """Describes what is said of a batch as records."""
        main = self._main
        spoken = {branch: find_spoken(branch, said.present).tolist() for branch in said.distributions}
        wanted = [branch for branch in said.distributions if branches or branch == main]
        by_branch = {branch: self._describe_branch(branch, said, level) for branch in wanted}
        finite = {branch: _find_finite(said.distributions[branch]) for branch in wanted}
        further = self._calibrator.remark(main, said.present, said.features, level)
        masks = {name: mask.tolist() for name, mask in said.present.items()}
        answers = []
        for row, name in enumerate(batch.sample_ids):
            remarks, failure = batch.said.get(name, ((), ""))
            present = tuple(modality for modality, mask in masks.items() if mask[row])
            if not failure and not (present and spoken[main][row]):
                failure = self._describe_absence(present)
            if not failure and not finite[main][row]:
                failure = f"is answered by numbers that are not finite; {_BEYOND}"
            if failure:
                answers.append(Answer(name, present=present, notes=remarks, failure=failure))
                continue
            others = {
                branch: {target: of[row] for target, of in described.items()}
                for branch, described in by_branch.items()
                if branch != main and spoken[branch][row] and finite[branch][row]
            }
            lost = [branch for branch in wanted if branch != main and spoken[branch][row] and not finite[branch][row]]
            own = {target: of[row] for target, of in by_branch[main].items()}
            odd = tuple(f"{branch}: answers by numbers that are not finite; {_BEYOND}" for branch in lost)
            answers.append(Answer(name, own, present, others, (*remarks, *further[row], *odd)))
        return answers

    def _describe_absence(self, present: Sequence[str]) -> str:
        if present and self._main in self._modalities:
            return f"has no {self._main}, by which the branch {self._main} answers"
        return f"holds nothing that the network answers by ({', '.join(self._modalities)})"

    def list_columns(self, *, branches: bool, level: bool) -> list[str]:
        """Lists the columns of a table of answers, see `Answer.row`."""
        names = [name for name in self._branches.names if name != CONSTANT]
        prefixes = ["", *(f"{name}/" for name in names if branches and name != self._main)]
        columns = ["id"]
        for prefix in prefixes:
            for name, target in self._targets.items():
                columns += name_columns(f"{prefix}{name}" if prefix else name_column(name), target, level=level)
        return [*columns, "present", "notes", "failure"]

    def _describe_branch(self, branch: str, said: Said, level: float | None) -> dict[str, list[TargetAnswer]]:
        described = {}
        for name, values in said.distributions[branch].items():
            target, predicted = self._targets[name], said.predictions[branch][name]
            described[name] = [
                TargetAnswer(
                    describe_value(target, value),
                    dict(zip(target.classes, row, strict=False)) if target.classes else {},
                )
                for value, row in zip(predicted.tolist(), values.double().tolist(), strict=True)
            ]
            if level is not None:
                where = {"branch": branch, "target": name}
                described[name] = self._calibrator.refine_answers(
                    described[name], values, predicted, **where, present=said.present, level=level
                )
        return described


def _find_finite(said: Mapping[str, Tensor]) -> list[bool]:
    """Tells of which samples every number is finite: elements beyond all measure overflow within a network."""
    rows = [values.reshape(len(values), -1).isfinite().all(dim=1) for values in said.values()]
    finite: list[bool] = torch.stack(rows).all(dim=0).tolist()
    return finite
