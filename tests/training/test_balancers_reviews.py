"""Balancers that look at the network between epochs, against their equations in NumPy, in float64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from balancer_steps import balancer_of, numbers, review_of, step_of, tensor, terms_of

from fusionkit.errors import TrainingError
from fusionkit.interfaces import EpochPlan, Step

EXACT = {"abs": 1e-12, "rel": 0}

# relearning: Wei 2024

# Two heaps along the first feature; the second feature is constant, as a dead unit is.
HEAPS = np.array([[0.0, 7.0], [0.1, 7.0], [10.0, 7.0], [10.1, 7.0]])
LEARNED, MIXED, HALF = [0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]


def features_step(audio: Any, video: Any, **targets: Any) -> Step:
    return step_of(targets, features={"audio": audio, "video": video})


def test_relearning_unlearns_by_the_gap_of_purities_between_training_and_held_out_samples():
    balancer = balancer_of("relearning", ("audio", "video"), ("mood",), strength=2.0, every=3)
    # audio: heaps are the classes in training (purity 1), half of them held out (1/2); video: 3/4 and 1
    training = [features_step(HEAPS, HEAPS[[0, 2, 1, 3]], mood=LEARNED)]
    held_out = [features_step(HEAPS[[0, 2, 1, 3]], HEAPS, mood=LEARNED)]
    plan = balancer.before_epoch(review_of(training, held_out, epoch=3))
    assert plan.relearn == pytest.approx({"audio": np.tanh(2.0 * 0.5), "video": np.tanh(2.0 * 0.5)}, **EXACT)
    training = [features_step(HEAPS, HEAPS, mood=HALF)]
    held_out = [features_step(HEAPS[[0, 2, 1, 3]], HEAPS, mood=LEARNED)]
    plan = balancer.before_epoch(review_of(training, held_out, epoch=3))
    assert plan.relearn == pytest.approx({"audio": np.tanh(2.0 * (3 / 4 - 1 / 2)), "video": np.tanh(2.0 / 4)}, **EXACT)
    assert plan.repeats == ()
    same = balancer.before_epoch(review_of(training, training, epoch=3))
    assert same.relearn == {"audio": 0.0, "video": 0.0}
    terms = terms_of(fused__mood=2.0, audio__mood=5.0)
    assert balancer.weigh(terms, training[0]) is terms


def test_relearning_scales_every_feature_to_the_same_range_before_it_clusters():
    balancer = balancer_of("relearning", ("audio",), ("mood",), strength=1.0, every=1)
    # the second feature tells the classes apart, by a thousandth of what the first differs by chance
    rows = np.array([[0.0, 0.0], [900.0, 0.1], [300.0, 1.0], [1000.0, 0.9]])
    wide = [step_of({"mood": LEARNED}, features={"audio": rows * [1.0, 10.0]})]
    lost = [step_of({"mood": MIXED}, features={"audio": HEAPS[[0, 1, 2, 3]]})]
    scaled = 2 * (rows - rows.min(axis=0)) / (rows.max(axis=0) - rows.min(axis=0)) - 1
    pairs = ([0, 1], [2, 3]), ([0, 2], [1, 3]), ([0, 3], [1, 2])

    def spread(parts: Sequence[Sequence[int]]) -> float:
        return sum(float(((scaled[part] - scaled[part].mean(axis=0)) ** 2).sum()) for part in parts)

    best = min(pairs, key=spread)
    expected = sum(np.bincount(np.array(LEARNED)[part]).max() for part in best) / 4
    plan = balancer.before_epoch(review_of(wide, lost, epoch=1))
    assert plan.relearn == pytest.approx({"audio": np.tanh(expected - 0.5)}, **EXACT)
    assert spread(best) < min(spread(parts) for parts in ([[0], [1, 2, 3]], [[1], [0, 2, 3]], [[2], [0, 1, 3]]))


def test_relearning_counts_samples_that_have_the_modality_and_a_class_and_averages_targets():
    balancer = balancer_of("relearning", ("audio", "video"), ("mood", "sex", "age"), strength=1.0, every=1)
    rows = np.vstack([HEAPS, HEAPS[:2]])  # the last two would be of the wrong class
    wanted = {"mood": [*LEARNED, 1, -1], "sex": [*MIXED, -1, -1], "age": [1.0] * 6}
    here = {"audio": [True, True, True, True, False, True], "video": [False] * 6}
    training = [
        step_of(
            {name: of[part] for name, of in wanted.items()},
            features={"audio": rows[part], "video": rows[part]},
            present={name: of[part] for name, of in here.items()},
        )
        for part in (slice(0, 3), slice(3, 6))
    ]
    held_out = [
        step_of(
            {"mood": LEARNED, "sex": HALF, "age": [np.nan] * 4},
            features={"audio": HEAPS[[0, 2, 1, 3]], "video": HEAPS},
        )
    ]
    plan = balancer.before_epoch(review_of(training, held_out, epoch=1))
    # mood: 1 against 1/2; sex: 1/2 against 3/4; video has no training sample
    assert plan.relearn == pytest.approx({"audio": np.tanh((0.5 + 0.25) / 2)}, **EXACT)
    with pytest.raises(TrainingError, match="relearning: clusters are compared with classes, and no target"):
        balancer.before_epoch(review_of([step_of({"age": [1.0]}, features={"audio": [[1.0]]})], held_out, epoch=1))


def test_relearning_diagnoses_when_it_is_due_and_not_for_ever():
    balancer = balancer_of("relearning", ("audio", "video"), ("mood",), every=20, times=3)
    steps = [features_step(HEAPS, HEAPS, mood=LEARNED)]
    due = [epoch for epoch in range(100) if balancer.before_epoch(review_of(steps, steps, epoch=epoch)).relearn]
    assert due == [20, 40, 60]
    assert balancer_of("relearning", ("audio",), ("mood",)).held_out


# g_blend_online: Wang 2020


class Trials:
    """Losses of every branch on one sample, before and within each branch's trial."""

    def __init__(self, before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> None:
        self.losses, self.after, self.calls = dict(before), after, list[tuple[str, int]]()

    @contextmanager
    def trial(self, branch: str, epochs: int) -> Iterator[None]:
        kept = dict(self.losses)
        self.calls.append((branch, epochs))
        self.losses = dict.fromkeys(kept, (99.0, 99.0)) | {branch: self.after[branch]}
        yield
        self.losses = kept

    def steps(self, place: int) -> list[Step]:
        """Numbers 0 and a score of the root of the loss, so that the squared error is the loss."""
        rows = {name: [[float(np.sqrt(abs(of[place])))]] for name, of in self.losses.items()}
        unimodal = {name: {"age": of} for name, of in rows.items() if name != "fused"}
        return [step_of({"age": [0.0]}, fused={"age": rows["fused"]}, unimodal=unimodal)]

    def review(self, epoch: int) -> Any:
        made = review_of(epoch=epoch, trial=self.trial)
        return made.__class__(
            made.epoch,
            made.epochs,
            made.trains,
            made.branches,
            lambda samples: iter(self.steps(("training", "held_out").index(samples))),
            self.trial,
        )


BEFORE = {"fused": (1.0, 1.2), "audio": (1.5, 1.6), "video": (2.0, 2.1)}
AFTER = {"fused": (0.5, 0.9), "audio": (0.3, 1.5), "video": (1.0, 2.2)}  # video's held-out loss rises


def test_g_blend_online_weighs_branches_by_what_a_training_of_each_alone_gains_and_overfits():
    balancer = balancer_of("g_blend_online", ("audio", "video"), ("age",), every=4)
    terms = terms_of(fused__age=2.0, audio__age=3.0, video__age=5.0)
    equal = {"fused/age": 2.0 / 3, "audio/age": 1.0, "video/age": 5.0 / 3}
    assert numbers(balancer.weigh(terms, step_of({"age": [0.0]}))) == pytest.approx(equal, **EXACT)

    trials = Trials(BEFORE, AFTER)
    assert balancer.before_epoch(trials.review(8)) == EpochPlan()

    z = {}
    for name, (t0, v0) in BEFORE.items():
        t1, v1 = AFTER[name]
        z[name] = max(0.0, v0 - v1) / ((v1 - t1) - (v0 - t0)) ** 2
    assert z["fused"] > z["audio"] > z["video"] == 0.0
    expected = {f"{name}/age": z[name] / sum(z.values()) * terms[f"{name}/age"].item() for name in BEFORE}
    assert numbers(balancer.weigh(terms, step_of({"age": [0.0]}))) == pytest.approx(expected, **EXACT)
    assert sorted(trials.calls) == [("audio", 4), ("fused", 4), ("video", 4)]

    alone = terms_of(audio__age=3.0)
    assert balancer.weigh(alone, step_of({"age": [0.0]})) is alone


def test_g_blend_online_keeps_its_weights_where_no_branch_generalises_and_estimates_when_it_is_due():
    balancer = balancer_of("g_blend_online", ("audio", "video"), ("age",), every=4)
    balancer.before_epoch(Trials(BEFORE, AFTER).review(0))
    kept = balancer.weights.clone()
    worse = {name: (t, v + 1.0) for name, (t, v) in BEFORE.items()}
    balancer.before_epoch(Trials(BEFORE, worse).review(4))
    assert balancer.weights.tolist() == kept.tolist()
    balancer.before_epoch(review_of(epoch=5))  # would be refused a trial
    balancer.before_epoch(review_of(epoch=8, branches=("fused",)))
    steady = {name: (t - 0.5, v - 0.5) for name, (t, v) in BEFORE.items()}  # gains without any overfitting
    balancer.before_epoch(Trials(BEFORE, AFTER | {"audio": steady["audio"]}).review(8))
    assert balancer.weights.tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)
    assert balancer.held_out


def test_g_blend_online_takes_means_over_samples_that_count_and_sums_over_targets():
    balancer = balancer_of("g_blend_online", ("audio",), ("mood", "age"), every=1)

    def steps(scale: float) -> list[Step]:
        parts = []
        for ages, here in (([0.0, 0.0, np.nan], [True, False, True]), ([0.0], [True])):
            rows = np.arange(1.0, 1.0 + len(ages))[:, None] * scale
            moods = np.repeat([[scale, 0.0]], len(ages), axis=0)
            scores = {"age": rows, "mood": moods}
            wanted = {"age": ages, "mood": [0, -1, 0][: len(ages)]}
            parts.append(step_of(wanted, fused=scores, unimodal={"audio": scores}, present={"audio": here}))
        return parts

    def loss(scale: float, ages: Sequence[float]) -> float:
        return float(np.mean([(age * scale) ** 2 for age in ages]) + np.log(1 + np.exp(-scale)))

    scales = {"training": 1.0, "held_out": 2.0}

    @contextmanager
    def trial(branch: str, epochs: int) -> Iterator[None]:
        kept = dict(scales)
        scales.update({"training": 0.4, "held_out": 1.5} if branch == "audio" else {"training": 0.9, "held_out": 1.4})
        yield
        scales.update(kept)

    made = review_of(branches=("audio", "fused"), trial=trial)
    review = made.__class__(0, 9, made.trains, made.branches, lambda samples: iter(steps(scales[samples])), trial)
    balancer.before_epoch(review)

    z = {}
    for branch, ages, (t, v) in (("fused", [1, 2, 1], (0.9, 1.4)), ("audio", [1, 1], (0.4, 1.5))):
        before, after = (loss(1.0, ages), loss(2.0, ages)), (loss(t, ages), loss(v, ages))
        z[branch] = (before[1] - after[1]) / ((after[1] - after[0]) - (before[1] - before[0])) ** 2
    expected = [z["fused"] / sum(z.values()), z["audio"] / sum(z.values())]
    assert balancer.weights.tolist() == pytest.approx(expected, **EXACT)


# sample_valuation: Wei 2024

RIGHT, WRONG = [1.0, 0.0], [0.0, 1.0]


def repeats_of(balancer: Any, *steps: Step, epoch: int = 5) -> Counter[tuple[str, tuple[str, ...]]]:
    plan = balancer.before_epoch(review_of(steps, epoch=epoch))
    assert plan.relearn == {}
    return Counter((repeat.sample_id, repeat.modalities) for repeat in plan.repeats)


def valued(table: dict[tuple[str, ...], list[bool]], **options: Any) -> Step:
    """A step whose samples are of class 0, and which of them each subset predicts rightly."""
    count = len(next(iter(table.values())))

    def scores_of(modalities: Sequence[str]) -> dict[str, Any]:
        return {"mood": tensor([RIGHT if right else WRONG for right in table[tuple(modalities)]])}

    names = sorted({name for subset in table for name in subset})
    present = {name: [True] * count for name in names} | options.pop("present", {})
    return step_of({"mood": options.pop("mood", [0] * count)}, present=present, scores_of=scores_of)


def test_sample_valuation_repeats_a_sample_with_what_contributes_little_to_it():
    table = {
        ("audio",): [True, True, False, True, False],
        ("video",): [True, False, False, False, False],
        ("audio", "video"): [True, True, True, False, False],
    }
    balancer = balancer_of("sample_valuation", ("audio", "video"), ("mood",))
    expected = Counter[tuple[str, tuple[str, ...]]]()
    for row in range(5):
        a, v, both = table["audio",][row], table["video",][row], 2 * table["audio", "video"][row]
        for name, share in (("audio", (a + both - v) / 2), ("video", (v + both - a) / 2)):
            expected[f"sample{row}", (name,)] = {0.5: 1, 0.0: 2, -0.5: 3}.get(share, 0)
    found = repeats_of(balancer, valued(table))
    assert found == +expected
    assert set(found.values()) == {1, 2, 3}
    assert found["sample3", ("video",)] == 3  # it only misleads
    assert not any(name == "sample0" for name, _ in found)
    slow = balancer_of("sample_valuation", ("audio", "video"), ("mood",), rate=1.0)
    assert repeats_of(slow, valued(table))["sample3", ("video",)] == 2  # 3/2, rounded


def test_sample_valuation_shares_the_value_of_three_modalities_by_shapley_over_those_that_a_sample_has():
    rng = np.random.default_rng(1)
    names = ("a", "b", "c")
    subsets = [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), names]
    table = {subset: list(rng.random(12) < 0.5) for subset in subsets}
    here = {"a": [True] * 12, "b": [row % 3 != 1 for row in range(12)], "c": [row % 4 != 1 for row in range(12)]}
    balancer = balancer_of("sample_valuation", names, ("mood",))
    found = repeats_of(balancer, valued(table, present=here, mood=[0] * 11 + [-1]))

    expected = Counter[tuple[str, tuple[str, ...]]]()
    for row in range(11):  # the last has no class
        players = [name for name in names if here[name][row]]
        if len(players) < 2:
            continue
        gains: dict[str, list[float]] = {name: [] for name in players}
        for order in permutations(players):  # the mean over all orders of joining is Shapley's share
            worth = 0.0
            for place, name in enumerate(order):
                joined = tuple(n for n in names if n in order[: place + 1])
                now = len(joined) * table[joined][row]
                gains[name].append(now - worth)
                worth = now
        for name in players:
            share = np.mean(gains[name])
            expected[f"sample{row}", (name,)] = int(np.floor(2 * (1 - share) + 0.5 + 1e-9)) if share < 1 else 0
    assert found == +expected
    assert not any(name in ("sample1", "sample11") for name, _ in found)  # one modality only, no class


def test_sample_valuation_waits_for_its_epochs_and_leaves_stages_without_fusion_and_single_modalities_alone():
    table = {("audio",): [True], ("video",): [False], ("audio", "video"): [False]}
    balancer = balancer_of("sample_valuation", ("audio", "video"), ("mood",), warmup=2)
    assert not repeats_of(balancer, valued(table), epoch=1)
    assert repeats_of(balancer, valued(table), epoch=2)
    assert balancer.before_epoch(review_of([valued(table)], epoch=2, branches=("audio",))) == EpochPlan()
    single = balancer_of("sample_valuation", ("audio",), ("mood",))
    assert single.before_epoch(review_of([valued({("audio",): [False]})], epoch=9)) == EpochPlan()
    terms = terms_of(fused__mood=2.0)
    assert balancer.weigh(terms, valued(table)) is terms
    numbers_only = step_of({"age": [1.0]}, present={"audio": [True], "video": [True]})
    with pytest.raises(TrainingError, match="sample_valuation: a prediction is right or wrong for classes"):
        balancer.before_epoch(review_of([numbers_only], epoch=2))


def test_sample_valuation_averages_targets_that_have_classes():
    def scores_of(modalities: Sequence[str]) -> dict[str, Any]:
        mood = RIGHT if "audio" in modalities else WRONG
        return {"mood": tensor([mood]), "sex": tensor([RIGHT]), "age": tensor([[0.0]])}

    present = {"audio": [True], "video": [True]}
    step = step_of({"mood": [0], "sex": [0], "age": [3.0]}, present=present, scores_of=scores_of)
    balancer = balancer_of("sample_valuation", ("audio", "video"), ("mood", "sex", "age"))
    # v(a) = 1, v(v) = 1/2, v(av) = 2: shares 5/4 and 3/4, so one repeat of video (2 * 1/4, rounded)
    assert repeats_of(balancer, step) == Counter({("sample0", ("video",)): 1})
