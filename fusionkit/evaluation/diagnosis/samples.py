"""Single samples: which ones fusing rescues and hurts, where modalities disagree, and how sure answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fusionkit.evaluation.diagnosis.scores import Answer, Judge
from fusionkit.models.loss_heads.class_metrics import expected_calibration_error
from fusionkit.models.loss_heads.number_metrics import as_columns
from fusionkit.storage.records.diagnosis import Calibration, Disagreement, Rescued
from fusionkit.storage.records.document import figure

MOST_NAMED = 20


def find_rescued_and_hurt(judge: Judge, fused: Answer, rival: Answer, sample_ids: Sequence[str]) -> Rescued:
    """Samples that the fused network tells right and a rival wrong, and the other way round.

    Numbers are neither: there the fused network is nearer to the truth, or farther from it.

    Args:
        judge: The target.
        fused: The fused network's answer.
        rival: The other one's.
        sample_ids: All test samples.

    Returns:
        Counts of ``samples``, ``rescued`` and ``hurt``, their shares, and at most `MOST_NAMED` of each by name.
    """
    rows = judge.rows(fused, rival)
    if judge.kind != "numbers":
        ours, theirs = judge.right(fused, rows), judge.right(rival, rows)
        rescued, hurt = ours & ~theirs, theirs & ~ours
    else:
        ours, theirs = judge.distance(fused, rows), judge.distance(rival, rows)
        rescued, hurt = ours < theirs, ours > theirs
    named = [[sample_ids[row] for row in rows[mask].tolist()][:MOST_NAMED] for mask in (rescued, hurt)]
    return Rescued(
        samples=len(rows),
        rescued=int(rescued.sum()),
        hurt=int(hurt.sum()),
        rescued_share=figure(_mean(rescued)),
        hurt_share=figure(_mean(hurt)),
        rescued_samples=named[0],
        hurt_samples=named[1],
    )


def disagreement(judge: Judge, fused: Answer, singles: Mapping[str, Answer]) -> Disagreement | None:
    """Judges fusing on samples where single modalities do not say the same; None with fewer than two of them.

    Args:
        judge: The target.
        fused: The fused network's answer.
        singles: By modality, the answer of that modality by itself.

    Returns:
        ``samples`` that every modality answers, and the share on which they ``disagree``. Of classes and labels the
        share that the fused network tells right where they ``agree``, where ``one_right`` of them or more is right
        among others that are wrong, and where they disagree and ``all_wrong`` are. Of numbers ``near`` and ``far``:
        the fused network's mean absolute error on the half of the samples where modalities are nearer together, and on
        the other.
    """
    if len(singles) < 2:
        return None
    rows = judge.rows(fused, *singles.values())
    if judge.kind != "numbers":
        said = torch.stack([_prediction(judge, each, rows) for each in singles.values()])
        differ = (said != said[0]).flatten(2).any(dim=2).any(dim=0)
        right = torch.stack([judge.right(each, rows) for each in singles.values()]).any(dim=0)
        ours = judge.right(fused, rows)
        return Disagreement(
            samples=len(rows),
            disagree=figure(_mean(differ)),
            agree=figure(_mean(ours[~differ])),
            one_right=figure(_mean(ours[differ & right])),
            all_wrong=figure(_mean(ours[differ & ~right])),
        )
    numbers = torch.stack([judge.numbers(each, rows) for each in singles.values()])
    apart = (numbers.amax(dim=0) - numbers.amin(dim=0)).mean(dim=1)
    error = judge.distance(fused, rows)
    far = apart > apart.median() if len(rows) else torch.zeros(0, dtype=torch.bool)
    return Disagreement(
        samples=len(rows),
        disagree=figure(_mean(apart)),
        near=figure(_mean(error[~far])),
        far=figure(_mean(error[far])),
    )


def calibration(judge: Judge, answers: Mapping[str, Answer]) -> dict[str, Calibration]:
    """Measures how far answers are from what they claim.

    Args:
        judge: The target.
        answers: By branch.

    Returns:
        By branch its ``source``; of classes the expected calibration error ``ece`` and ``surplus``, the mean confidence
        minus the share that is right (positive is too sure); of labels and numbers ``surplus``, the mean of what is
        said minus the mean of what is true.
    """
    found: dict[str, Calibration] = {}
    for name, answer in answers.items():
        rows = judge.rows(answer)
        said, wanted = answer.distribution[rows].double(), judge.targets[rows]
        if judge.kind == "classes":
            sure = said.amax(dim=1) - judge.right(answer, rows).double()
            found[name] = Calibration(
                source=answer.source,
                ece=figure(expected_calibration_error(said, wanted)),
                surplus=figure(_mean(sure)),
            )
        else:
            said = judge.numbers(answer, rows) if judge.kind == "numbers" else said
            surplus = (said - as_columns(wanted).double()).nanmean() if len(rows) else torch.tensor(torch.nan)
            found[name] = Calibration(source=answer.source, surplus=figure(float(surplus)))
    return found


def _prediction(judge: Judge, answer: Answer, rows: Tensor) -> Tensor:
    said = judge.head.predict(answer.distribution[rows])
    return said[:, None] if said.ndim == 1 else said


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else float("nan")
