"""The diagnosis of one target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionkit.evaluation.diagnosis.outputs import Observed
from fusionkit.evaluation.diagnosis.probe import probe
from fusionkit.evaluation.diagnosis.samples import calibration, disagreement, find_rescued_and_hurt
from fusionkit.evaluation.diagnosis.scores import Answer, Judge
from fusionkit.evaluation.diagnosis.shapley import shapley_shares
from fusionkit.evaluation.diagnosis.subsets import MOST_MODALITIES, Subset, name_of, without
from fusionkit.inference.branches import CONSTANT, ENSEMBLE, ENSEMBLE_LOG, ENSEMBLES, FUSED
from fusionkit.inference.scoring import average_present, multiply_present
from fusionkit.models.build import FusionModel
from fusionkit.storage.records.diagnosis import Constant, DiagnosedTarget, Fusing, Probe, Shapley, Single
from fusionkit.storage.records.document import describe_measures, figure

ALONE, OWN_HEAD, PROBE = "trained alone", "its own head", "linear head on its frozen encoder"
"""Sources of the answer of a single modality, the best first."""


@dataclass(frozen=True)
class Seen:
    """A network's training and test samples as it sees them, and their groups."""

    train: Observed
    test: Observed
    train_groups: tuple[str, ...]
    test_groups: tuple[str, ...]


def describe_target(
    model: FusionModel, target: str, seen: Seen, alone: Mapping[str, Seen], resamples: int
) -> DiagnosedTarget:
    """Describes a target as `fusionkit.evaluation.diagnosis.diagnosis` does.

    Args:
        model: The network, on the CPU.
        target: The target.
        seen: What it sees.
        alone: By modality, what the network that was trained on it alone sees; it may be this one.
        resamples: Resamples of the bootstrap intervals.
    """
    test, everything = seen.test, model.modalities
    judge = Judge(model.head(target), test.targets[target], seen.test_groups, resamples)
    said = {
        subset: Answer(of[target], torch.ones_like(judge.known), name_of(subset)) for subset, of in test.fused.items()
    }
    fused = said[everything]
    heads = {name: Answer(test.unimodal[name][target], test.present[name], OWN_HEAD) for name in test.unimodal}
    probes = {name: _probe(judge, seen, name, target) for name in everything}
    lone = {name: _lone(of, test, name, target) for name, of in alone.items()}
    lone_probes = {name: _lone_probe(judge, of, test, name, target) for name, of in alone.items() if of is not seen}
    singles = {
        name: answer for name in everything if (answer := lone.get(name) or heads.get(name) or probes[name]) is not None
    }
    scores = {subset: judge.score(answer) for subset, answer in said.items()}
    best = _best(judge, singles)
    rivals = {} if best is None else {"best_single": singles[best]}
    if len(singles) > 1:
        rivals |= _ensembles(judge, singles)
    constant = _constant(judge, seen, target)
    gains = {f"over_{name}": judge.gain(fused, rival) for name, rival in rivals.items()}
    ensembles = {name: figure(judge.score(rivals[name])) if name in rivals else None for name in ENSEMBLES}
    measures, metric = describe_measures(judge.head.measures), judge.head.measure(judge.head.score)
    return DiagnosedTarget(
        score=metric.name,
        higher_is_better=metric.higher_is_better,
        kind=judge.kind,
        measures=measures,
        samples=len(judge.rows(fused)),
        groups=judge.groups(fused),
        fused=figure(scores[everything]),
        subsets={name_of(subset): figure(score) for subset, score in scores.items()},
        shapley=None if len(everything) > MOST_MODALITIES else _shapley(everything, scores),
        drop={name: judge.gain(fused, said[without(everything, name)]) for name in everything if len(everything) > 1},
        singles={
            name: Single(source=answer.source, score=figure(judge.score(answer))) for name, answer in singles.items()
        },
        constant=Constant(score=figure(judge.score(constant)), over=judge.gain(fused, constant)),
        fusing=Fusing(best_single=best, **gains),
        probe={
            name: _compared(judge, answer, heads.get(name), lone.get(name), lone_probes.get(name))
            for name, answer in probes.items()
            if answer is not None
        },
        classes=judge.class_gains(fused, singles[best]) if best is not None and judge.kind == "classes" else {},
        rivals={name: find_rescued_and_hurt(judge, fused, rival, test.sample_ids) for name, rival in rivals.items()},
        calibration=calibration(
            judge, {FUSED: fused, **singles, **{name: of for name, of in rivals.items() if name != "best_single"}}
        ),
        disagreement=disagreement(judge, fused, singles),
        **ensembles,
    )


def _shapley(modalities: Sequence[str], scores: Mapping[Subset, float]) -> Shapley:
    shares = {name: figure(share) for name, share in shapley_shares(modalities, scores).items()}
    return Shapley(empty=figure(scores[()]), all=figure(scores[tuple(modalities)]), shares=shares)


def _best(judge: Judge, singles: Mapping[str, Answer]) -> str | None:
    """Returns the modality with the best score by itself; None where none has one."""
    scores = {name: judge.sign * judge.score(answer) for name, answer in singles.items()}
    defined = {name: score for name, score in scores.items() if not math.isnan(score)}
    return max(defined, key=lambda name: defined[name], default=None)


def _ensembles(judge: Judge, singles: Mapping[str, Answer]) -> dict[str, Answer]:
    """Pools the answers of single modalities that a sample has: averaged, and by the average of logarithms."""
    spoken = {name: answer.spoken for name, answer in singles.items()}
    said = {name: answer.distribution.double() for name, answer in singles.items()}
    sources = ", ".join(dict.fromkeys(answer.source for answer in singles.values()))
    anyone = torch.stack(list(spoken.values())).any(dim=0)
    return {
        ENSEMBLE: Answer(average_present(said, spoken), anyone, f"average: {sources}"),
        ENSEMBLE_LOG: Answer(multiply_present(said, spoken, judge.kind), anyone, f"product: {sources}"),
    }


def _constant(judge: Judge, seen: Seen, target: str) -> Answer:
    """Returns the best answer of the training part that looks at no sample."""
    wanted = seen.train.targets[target]
    scores = judge.head.constant(wanted[judge.head.find_known(wanted)])
    said = judge.head.distribution(scores[None]).expand(len(judge.targets), -1)
    return Answer(said, torch.ones_like(judge.known), CONSTANT)


def _probe(judge: Judge, seen: Seen, modality: str, target: str) -> Answer | None:
    """Trains a linear head on the modality's frozen encoder."""
    rows = seen.train.present[modality].nonzero().flatten()
    said = probe(
        judge,
        seen.train.features[modality][rows],
        seen.train.targets[target][rows],
        [seen.train_groups[row] for row in rows.tolist()],
        seen.test.features[modality],
    )
    return None if said is None else Answer(said, seen.test.present[modality], PROBE)


def _lone(there: Seen, test: Observed, modality: str, target: str) -> Answer:
    """Returns the answer of the network trained alone, in the order of this network's test samples."""
    rows = _rows(there.test, test)
    return Answer(there.test.unimodal[modality][target][rows], there.test.present[modality][rows], ALONE)


def _lone_probe(judge: Judge, there: Seen, test: Observed, modality: str, target: str) -> Answer | None:
    answer = _probe(judge, there, modality, target)
    if answer is None:
        return None
    rows = _rows(there.test, test)
    return Answer(answer.distribution[rows], answer.spoken[rows], answer.source)


def _rows(there: Observed, here: Observed) -> Tensor:
    place = {name: position for position, name in enumerate(there.sample_ids)}
    return torch.tensor([place[name] for name in here.sample_ids])


def _compared(
    judge: Judge, answer: Answer, head: Answer | None, lone: Answer | None, lone_probe: Answer | None
) -> Probe:
    """Sets a linear head on a frozen encoder beside all else that was trained on the modality."""
    others = {"own_head": head, "alone": lone, "alone_probe": lone_probe}
    return Probe(
        score=figure(judge.score(answer)),
        kept=None if lone_probe is None else judge.gain(answer, lone_probe),
        **{name: None if each is None else figure(judge.score(each)) for name, each in others.items()},
    )
