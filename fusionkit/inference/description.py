"""The description of what networks say: records of answers, and the columns of their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fusionkit.inference.answers import Answer, TargetAnswer, describe_value, name_columns
from fusionkit.inference.branches import CONSTANT, TrainedBranches
from fusionkit.inference.calibration.calibrator import Calibrator
from fusionkit.inference.scoring import ByBranch, HeadCopies, find_spoken
from fusionkit.interfaces import Batch


@dataclass(frozen=True)
class Said:
    """Answers of the networks of a predictor to a batch, on the CPU.

    Args:
        distributions: By branch and target, averaged over the networks; a row of a branch that says nothing of a
            sample means nothing.
        present: By modality, which samples have it.
        features: By modality the normalised features, of the first network.
    """

    distributions: ByBranch
    present: Mapping[str, Tensor]
    features: Mapping[str, Tensor]


class Description:
    """Answers in the words of the targets.

    Args:
        heads: The loss heads, for classes and kinds.
        branches: The branches that are trained.
        main: The branch that answers.
        modalities: The modalities, in the order of the network.
        calibrator: The calibration.
    """

    def __init__(
        self,
        heads: HeadCopies,
        branches: TrainedBranches,
        main: str,
        modalities: Sequence[str],
        calibrator: Calibrator,
    ) -> None:
        self._heads, self._branches, self._main = heads, branches, main
        self._modalities, self._calibrator = tuple(modalities), calibrator

    def describe(self, batch: Batch, said: Said, *, branches: bool, level: float | None) -> list[Answer]:
        """Describes what is said of a batch as records."""
        main = self._main
        spoken = {branch: find_spoken(branch, said.present).tolist() for branch in said.distributions}
        wanted = {branch: of for branch, of in said.distributions.items() if branches or branch == main}
        by_branch = {branch: self._describe_branch(branch, of, said.present, level) for branch, of in wanted.items()}
        further = self._calibrator.remark(main, said.present, said.features, level)
        masks = {name: mask.tolist() for name, mask in said.present.items()}
        answers = []
        for row, name in enumerate(batch.sample_ids):
            remarks, failure = batch.said.get(name, ((), ""))
            present = tuple(modality for modality, mask in masks.items() if mask[row])
            if not failure and not (present and spoken[main][row]):
                failure = self._describe_absence(present)
            if failure:
                answers.append(Answer(name, present=present, notes=remarks, failure=failure))
                continue
            others = {
                branch: {target: of[row] for target, of in described.items()}
                for branch, described in by_branch.items()
                if branch != main and spoken[branch][row]
            }
            own = {target: of[row] for target, of in by_branch[main].items()}
            answers.append(Answer(name, own, present, others, (*remarks, *further[row])))
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
            for target in self._heads.targets:
                columns += name_columns(f"{prefix}{target}", self._heads.find(target, None), level=level)
        return [*columns, "present", "notes", "failure"]

    def _describe_branch(
        self, branch: str, said: Mapping[str, Tensor], present: Mapping[str, Tensor], level: float | None
    ) -> dict[str, list[TargetAnswer]]:
        described = {}
        for target, values in said.items():
            head = self._heads.find(target, None)
            predicted, rows = head.predict(values).tolist(), values.double().tolist()
            described[target] = [
                TargetAnswer(
                    describe_value(head, value), dict(zip(head.classes, row, strict=False)) if head.classes else {}
                )
                for value, row in zip(predicted, rows, strict=True)
            ]
            if level is not None:
                where = {"branch": branch, "target": target}
                described[target] = self._calibrator.refine_answers(
                    head, described[target], values, **where, present=present, level=level
                )
        return described
