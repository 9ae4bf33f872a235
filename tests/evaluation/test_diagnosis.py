"""What a diagnosis measures, against figures that are worked out here by hand or by NumPy."""

from __future__ import annotations

import copy
import itertools
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import recipe, run_of
from torch import Tensor

from fusionkit.config.components.registry import LOSS_HEADS
from fusionkit.data.assembly import assemble
from fusionkit.errors import RunError
from fusionkit.evaluation import evaluate
from fusionkit.evaluation.diagnosis import Diagnosis, Separate, check_recipes, diagnose, find_runs, merge, open_separate
from fusionkit.evaluation.diagnosis.diagnosis import OF_FEW_GROUPS
from fusionkit.evaluation.diagnosis.gradients import cosines_over_training
from fusionkit.evaluation.diagnosis.probe import probe
from fusionkit.evaluation.diagnosis.samples import calibration, disagreement, find_rescued_and_hurt
from fusionkit.evaluation.diagnosis.scores import Answer, Judge
from fusionkit.evaluation.diagnosis.separate import find_matching
from fusionkit.evaluation.diagnosis.shapley import shapley_shares
from fusionkit.evaluation.diagnosis.subsets import subsets_of
from fusionkit.interfaces import RawTarget
from fusionkit.models.loss_heads import Classification, Multilabel, Regression
from fusionkit.nn.layers import make_scoring
from fusionkit.report.pages.diagnosis import write_diagnosis
from fusionkit.storage.records.document import figure
from fusionkit.storage.run_folder import RunFolder
from fusionkit.testing import check_loss_head
from fusionkit.training import train

CLASSES = ("calm", "happy", "sad")
FOLDS = {"data": {"folds": {"type": "group_kfold", "folds": 2}, "batch_size": 4}}


def merged_of(*diagnoses):
    """Several diagnoses as one, all of them as plain data."""
    return merge([Diagnosis.model_validate(each) for each in diagnoses]).plain()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A joint network whose gradients were compared, the networks trained alone, and both of another fold."""
    folder = tmp_path_factory.mktemp("runs")
    other = {**FOLDS["data"], "fold": 1}
    return {
        "joint": run_of(folder / "joint" / "0", **FOLDS, gradient_cosines=1),
        "late": run_of(folder / "late" / "0", **FOLDS, strategy="late_fusion"),
        "joint 1": run_of(folder / "joint" / "1", data=other, gradient_cosines=1),
        "late 1": run_of(folder / "late" / "1", data=other, strategy="late_fusion"),
    }


@pytest.fixture(scope="module")
def found(runs: dict[str, RunFolder]) -> dict[str, Any]:
    return diagnose(runs["joint"], [open_separate(runs["late"])], device="cpu", resamples=50).plain()


def judge_of(targets: list[int], groups: str | None = None, resamples: int = 40) -> Judge:
    head = Classification(2, None, classes=CLASSES)
    return Judge(head, torch.tensor(targets), list(groups or map(str, range(len(targets)))), resamples)


def saying(classes: list[int], spoken: list[bool] | None = None, sure: float = 0.8) -> Answer:
    """An answer that gives its class a probability, and the two others the rest."""
    said = torch.full((len(classes), 3), (1 - sure) / 2)
    said[torch.arange(len(classes)), torch.tensor(classes)] = sure
    return Answer(said, torch.tensor(spoken or [True] * len(classes)), "test")


# Shapley shares and subsets


def test_shapley_shares_are_the_mean_over_all_orders_and_add_up() -> None:
    names = ("a", "b", "c", "d")
    rng = np.random.default_rng(0)
    value = {subset: float(rng.normal()) for subset in subsets_of(names)}

    shares = shapley_shares(names, value)

    expected = dict.fromkeys(names, 0.0)
    orders = list(itertools.permutations(names))
    for order in orders:
        for place, name in enumerate(order):
            before = tuple(each for each in names if each in order[:place])
            after = tuple(each for each in names if each in order[: place + 1])
            expected[name] += (value[after] - value[before]) / len(orders)
    assert shares == pytest.approx(expected, abs=1e-12)
    assert sum(shares.values()) == pytest.approx(value[names] - value[()], abs=1e-12)


def test_a_modality_that_never_changes_the_score_has_no_share() -> None:
    value = {subset: float("b" in subset) for subset in subsets_of(("a", "b"))}
    assert shapley_shares(("a", "b"), value) == {"a": 0.0, "b": 1.0}


def test_of_many_modalities_only_the_telling_subsets_are_asked_about() -> None:
    assert len(subsets_of("abcdefgh")) == 2**8
    sizes = [len(subset) for subset in subsets_of("abcdefghi")]
    assert sizes == [0, *[1] * 9, *[8] * 9, 9]


# Whole runs


def test_scores_are_those_of_the_cards(runs: dict[str, RunFolder], found: dict[str, Any]) -> None:
    joint = evaluate(runs["joint"], device="cpu", resamples=2).plain()["targets"]["label"]["branches"]
    late = evaluate(runs["late"], device="cpu", resamples=2).plain()["targets"]["label"]["branches"]
    of = found["targets"]["label"]

    assert of["fused"]["value"] == joint["fused"]["metrics"]["accuracy"]["value"]
    assert of["subsets"]["motion + posture"] == of["fused"]
    assert of["ensemble"]["value"] == late["ensemble"]["metrics"]["accuracy"]["value"]
    for name in ("motion", "posture"):
        assert of["singles"][name] == {"source": "trained alone", "score": of["probe"][name]["alone"]}
        assert of["probe"][name]["alone"]["value"] == late[name]["metrics"]["accuracy"]["value"]
        assert of["probe"][name]["own_head"]["value"] == joint[name]["metrics"]["accuracy"]["value"]


def test_subsets_are_what_the_network_says_of_samples_that_lack_the_rest(
    runs: dict[str, RunFolder], found: dict[str, Any]
) -> None:
    from fusionkit.data.assembly import assemble
    from fusionkit.inference.trained import load_network

    assembly = assemble(runs["joint"].recipe)
    model = load_network(runs["joint"], assembly.recipe).eval()
    of, right = found["targets"]["label"], dict.fromkeys(("none", "motion", "posture"), 0)
    for batch in assembly.loader(assembly.test_ids, training=False):
        for name in right:
            inputs = {key: value for key, value in batch.inputs.items() if key == name}
            if not inputs:
                like = batch.inputs["posture"]
                inputs = {"posture": type(like).empty(len(like), like.element_shape, like=like.values)}
            with torch.no_grad():
                said = model(inputs).fused["label"].argmax(dim=1)
            right[name] += int((said == batch.targets["label"]).sum())
    for name, count in right.items():
        assert of["subsets"][name]["value"] == pytest.approx(count / of["samples"], abs=1e-12)
    shares = of["shapley"]["shares"]
    total = of["shapley"]["all"]["value"] - of["shapley"]["empty"]["value"]
    assert sum(share["value"] for share in shares.values()) == pytest.approx(total, abs=1e-12)
    assert of["drop"]["motion"]["value"] == pytest.approx(
        of["fused"]["value"] - of["subsets"]["posture"]["value"], abs=1e-12
    )


def test_gradients_are_those_of_the_log_by_thirds(runs: dict[str, RunFolder], found: dict[str, Any]) -> None:
    told = [record["gradients"] for record in runs["joint"].log.read() if "gradients" in record]
    for name in ("motion", "posture"):
        cosines = np.array([each[name]["cosine"] for each in told])
        of = found["gradients"][name]
        assert of["steps"] == len(cosines)
        assert of["cosine"]["value"] == pytest.approx(cosines.mean(), abs=1e-12)
        assert of["negative"]["value"] == pytest.approx((cosines < 0).mean(), abs=1e-12)
        third = len(cosines) // 3
        assert len(cosines) == 3 * third
        means = [cosines[place * third : (place + 1) * third].mean() for place in range(3)]
        assert [each["value"] for each in of["thirds"].values()] == pytest.approx(means, abs=1e-12)
    assert cosines_over_training([{"step": 1, "terms": {}}]) is None


def test_time_is_that_of_the_network_with_and_without_each_modality(found: dict[str, Any]) -> None:
    cost = found["cost"]
    assert cost["all"]["value"] > 0
    assert set(cost["without"]) == {"motion", "posture"}
    assert all(each["value"] > 0 for each in cost["without"].values())
    assert all(each["low"] <= each["value"] <= each["high"] for each in cost["spared"].values())


def test_a_run_that_trained_its_modalities_alone_needs_no_other(runs: dict[str, RunFolder]) -> None:
    of = diagnose(runs["late"], device="cpu", resamples=5).plain()["targets"]["label"]
    assert {each["source"] for each in of["singles"].values()} == {"trained alone"}
    assert all(probe["kept"] is None for probe in of["probe"].values())


def test_without_networks_trained_alone_the_runs_own_heads_answer_and_without_heads_the_probe(tmp_path: Path) -> None:
    bare = run_of(tmp_path / "bare", model={"unimodal_heads": False})
    found = diagnose(bare, device="cpu", resamples=5).plain()
    of = found["targets"]["label"]
    assert {each["source"] for each in of["singles"].values()} == {"linear head on its frozen encoder"}
    assert found["gradients"] is None
    assert all(of["singles"][name]["score"] == of["probe"][name]["score"] for name in of["singles"])


def test_numbers_and_several_targets_are_diagnosed_with_gains_that_are_positive_where_errors_are_smaller(
    tmp_path: Path,
) -> None:
    options = recipe(epochs=2)
    options["data"]["dataset"]["regression"] = True
    options["model"]["targets"] = {"label": "classification", "strength": "regression"}
    found = diagnose(train(options, tmp_path / "run", accelerator="cpu"), device="cpu", resamples=20).plain()

    of = found["targets"]["strength"]
    assert set(found["targets"]) == {"label", "strength"}
    assert (of["score"], of["higher_is_better"], of["kind"]) == ("mae", False, "numbers")
    for name, other in (("motion", "posture"), ("posture", "motion")):
        expected = of["subsets"][other]["value"] - of["fused"]["value"]
        assert of["drop"][name]["value"] == pytest.approx(expected, abs=1e-6)
    counted = of["rivals"]["best_single"]
    assert counted["rescued"] + counted["hurt"] <= counted["samples"]
    assert of["disagreement"]["disagree"]["value"] > 0


# Judging


def test_a_gain_and_its_interval_are_paired_over_resampled_groups() -> None:
    groups = "aaabbccccd"
    targets = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    first, second = saying([0, 1, 2, 0, 0, 2, 0, 0, 2, 0]), saying([0, 0, 2, 1, 1, 0, 0, 1, 2, 1])
    judge = judge_of(targets, groups, resamples=200)

    gain = judge.gain(first, second)

    right = [(each.distribution.argmax(1).numpy() == targets).astype(float) for each in (first, second)]
    from fusionkit.evaluation.bootstrap import SEED, draw_counts

    counts = draw_counts(4, 200, SEED).numpy()
    weights = counts[:, [sorted(set(groups)).index(each) for each in groups]]
    drawn = (weights * (right[0] - right[1])).sum(1) / weights.sum(1)
    assert gain.value == pytest.approx(right[0].mean() - right[1].mean(), abs=1e-12)
    assert [gain.low, gain.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-12)
    assert gain.low < gain.high


def test_a_gain_is_over_the_samples_of_which_both_speak_and_the_target_is_known() -> None:
    judge = judge_of([0, 1, -1, 2])
    first = saying([0, 0, 0, 2], [True, True, True, False])
    assert judge.gain(first, saying([1, 1, 1, 1])).value == 0.0  # samples 0 and 1: one right each
    assert judge.score(first) == 0.5
    assert math.isnan(judge.score(saying([0] * 4, [False] * 4)))


def test_one_group_tells_no_interval() -> None:
    gain = judge_of([0, 1], "aa").gain(saying([0, 1]), saying([0, 0]))
    assert gain == figure(0.5)


def test_classes_that_fusing_hurts_are_told_by_recall() -> None:
    judge = judge_of([0, 0, 1, 1], "abab", resamples=100)
    found = judge.class_gains(saying([0, 0, 0, 0]), saying([0, 1, 1, 0]))
    assert set(found) == {"calm", "happy"}  # nobody is sad
    assert [found[name].gain.value for name in found] == [0.5, -0.5]
    assert [found[name].samples for name in found] == [2, 2]
    assert (found["calm"].gain.low, found["calm"].gain.high) == (0.0, 1.0)


def test_samples_are_rescued_and_hurt_by_name() -> None:
    found = find_rescued_and_hurt(
        judge_of([0, 1, 2, 0, -1]), saying([0, 1, 0, 1, 0]), saying([0, 0, 2, 1, 0]), ["a", "b", "c", "d", "e"]
    )
    assert (found.samples, found.rescued, found.hurt) == (4, 1, 1)
    assert (found.rescued_samples, found.hurt_samples) == (["b"], ["c"])
    assert found.hurt_share.value == 0.25


def test_of_numbers_nearer_and_farther_is_counted() -> None:
    judge = Judge(Regression(2, None), torch.tensor([0.0, 0.0, 0.0]), ["a", "b", "c"], 10)
    ours, theirs = (
        Answer(torch.tensor(values)[:, None], torch.ones(3, dtype=torch.bool), "test")
        for values in ([1.0, -1.0, 0.0], [-2.0, 0.5, 0.0])
    )
    found = find_rescued_and_hurt(judge, ours, theirs, ["a", "b", "c"])
    assert (found.rescued_samples, found.hurt_samples) == (["a"], ["b"])
    assert judge.gain(ours, theirs).value == pytest.approx(2.5 / 3 - 2 / 3)


@LOSS_HEADS.register("test_number_and_deviation")
class NumberAndDeviation(Regression):
    """A number by its Gaussian likelihood, and a standard deviation of it.

    Args:
        in_features: Width of the features.
        hidden: Width of the Scoring; None for one dense unit.
    """

    def __init__(self, in_features: int, hidden: int | None) -> None:
        super().__init__(in_features, hidden)
        self.scores, self.out_features = make_scoring(in_features, hidden, 2), 2

    def encode(self, value: RawTarget | None) -> Tensor:
        return torch.tensor(math.nan if value is None else float(value))  # type: ignore[arg-type]

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        wanted = self.scaling.scale(targets).to(scores.dtype)[:, 0]
        return scores[:, 1] + (wanted - scores[:, 0]).square() / (2 * (2 * scores[:, 1]).exp())

    def constant(self, targets: Tensor) -> Tensor:
        return torch.zeros(2)

    def distribution(self, scores: Tensor) -> Tensor:
        return torch.cat([self.scaling.unscale(scores[:, :1]), self.scaling.spread * scores[:, 1:].exp()], dim=1)

    def predict(self, distribution: Tensor) -> Tensor:
        return distribution[:, 0]

    def metrics(self, distribution: Tensor, targets: Tensor) -> Mapping[str, float]:
        distribution[:, 1]  # as those of a likelihood need it
        return super().metrics(distribution[:, :1], targets)


def test_numbers_with_deviations_are_compared_by_the_numbers_alone() -> None:
    judge = Judge(NumberAndDeviation(2, None), torch.tensor([0.0, 1.0, 2.0]), ["a", "b", "c"], 10)
    first, second = (
        Answer(torch.tensor(values), torch.ones(3, dtype=torch.bool), "test")
        for values in ([[1.0, 9.0], [1.0, 9.0], [1.5, 9.0]], [[0.5, 2.0], [3.0, 2.0], [3.0, 2.0]])
    )

    counted = find_rescued_and_hurt(judge, first, second, ["a", "b", "c"])
    apart = disagreement(judge, first, {"first": first, "second": second})

    assert judge.distance(first, torch.arange(3)).tolist() == [1.0, 0.0, 0.5]
    assert (counted.rescued_samples, counted.hurt_samples) == (["b", "c"], ["a"])
    assert calibration(judge, {"fused": first})["fused"].surplus.value == pytest.approx(0.5 / 3)
    assert apart is not None
    assert apart.disagree.value == pytest.approx((0.5 + 2.0 + 1.5) / 3)
    assert probe(judge, torch.zeros(3, 2), torch.zeros(3), list("abc"), torch.zeros(3, 2)) is None


@pytest.mark.parametrize("heads", [True, False])
def test_a_head_of_numbers_with_deviations_is_diagnosed_without_a_linear_head(tmp_path: Path, heads: bool) -> None:
    check_loss_head(NumberAndDeviation, [12.5, 40.0, 80.0])
    options = recipe(epochs=2, model={"unimodal_heads": heads})
    options["data"]["dataset"]["regression"] = True
    options["model"]["targets"] = {"strength": "test_number_and_deviation"}
    run = train(options, tmp_path / "run", accelerator="cpu")
    card = evaluate(run, device="cpu", resamples=5).plain()

    found = diagnose(run, device="cpu", resamples=5).plain()
    of = found["targets"]["strength"]

    assert of["probe"] == {}
    assert set(of["singles"]) == ({"motion", "posture"} if heads else set())
    assert of["fused"]["value"] == card["targets"]["strength"]["branches"]["fused"]["metrics"]["mae"]["value"]
    page = write_diagnosis(Diagnosis.model_validate(found), tmp_path / "page")
    assert "strength" in page.html.read_text()


def test_labels_are_right_where_every_stated_one_is() -> None:
    head = Multilabel(2, None, labels=("loud", "fast"))
    judge = Judge(head, torch.tensor([[1.0, 0.0], [1.0, torch.nan], [1.0, 1.0]]), ["a", "b", "c"], 10)
    said = Answer(torch.tensor([[0.9, 0.1], [0.9, 0.9], [0.9, 0.1]]), torch.ones(3, dtype=torch.bool), "test")
    assert judge.right(said, torch.arange(3)).tolist() == [True, True, False]


def test_where_modalities_disagree_the_fused_network_is_judged_apart() -> None:
    judge = judge_of([0, 1, 2, 0])
    singles = {"a": saying([0, 1, 0, 1]), "b": saying([0, 0, 1, 2])}  # agree; a right; both wrong; both wrong
    found = disagreement(judge, saying([0, 1, 2, 1]), singles)
    assert found is not None
    assert {key: getattr(found, key).value for key in ("disagree", "agree", "one_right", "all_wrong")} == {
        "disagree": 0.75,
        "agree": 1.0,
        "one_right": 1.0,
        "all_wrong": 0.5,
    }
    assert disagreement(judge, saying([0, 1, 2, 1]), {"a": singles["a"]}) is None


def test_calibration_is_confidence_minus_what_is_right() -> None:
    found = calibration(judge_of([0, 1, 2, 0]), {"fused": saying([0, 0, 0, 0], sure=0.75)})
    assert found["fused"].surplus.value == pytest.approx(0.75 - 0.5, abs=1e-6)
    assert found["fused"].ece.value == pytest.approx(0.25, abs=1e-6)


# The probe


def test_a_linear_head_reads_what_is_there_and_not_what_is_not() -> None:
    rng = np.random.default_rng(0)
    targets = torch.from_numpy(rng.integers(0, 3, 240))
    judge = judge_of(targets[120:].tolist())
    told = torch.nn.functional.one_hot(targets, 3) + 0.1 * torch.from_numpy(rng.normal(size=(240, 3)))
    noise = torch.from_numpy(rng.normal(size=(240, 3)))
    groups = [str(place % 6) for place in range(120)]
    for features, low, high in ((told, 0.99, 1.0), (noise, 0.2, 0.5)):
        said = probe(judge, features[:120], targets[:120], groups, features[120:])
        assert said is not None
        assert torch.allclose(said.sum(dim=1), torch.ones(120, dtype=torch.float64))
        assert low <= judge.score(Answer(said, torch.ones(120, dtype=torch.bool), "probe")) <= high


def test_of_numbers_it_is_ridge_regression_with_the_strength_that_held_out_groups_choose() -> None:
    rng = np.random.default_rng(1)
    given, wanted = rng.normal(size=(30, 4)) * 3 + 1, rng.normal(size=(30, 2))
    wanted[:, 1] = 1e-3 * (wanted[:, 1] + given @ [2.0, -1.0, 0.5, 3.0])  # of a small unit, and the one that is seen
    wanted[3, 0] = np.nan
    test = rng.normal(size=(5, 4))
    judge = Judge(Regression(4, None, outputs=2), torch.zeros(5, 2), list("abcde"), 10)
    groups = np.array(list("abc" * 10))

    said = probe(judge, *(torch.from_numpy(each) for each in (given, wanted)), list(groups), torch.from_numpy(test))

    scaled, asked = ((each - given.mean(0)) / given.std(0) for each in (given, test))

    def ridge(x: np.ndarray, y: np.ndarray, at: np.ndarray, strength: float) -> np.ndarray:
        columns = []
        for column in y.T:
            stated = ~np.isnan(column)
            a, b = x[stated] - x[stated].mean(0), column[stated] - column[stated].mean()
            weights = np.linalg.solve(a.T @ a + np.eye(x.shape[1]) / strength, a.T @ b)
            columns.append((at - x[stated].mean(0)) @ weights + column[stated].mean())
        return np.stack(columns, axis=1)

    def held_out(strength: float) -> float:
        return sum(
            np.nansum(
                (
                    ridge(scaled[groups != each], wanted[groups != each], scaled[groups == each], strength)
                    - wanted[groups == each]
                )
                ** 2
                / np.nanvar(wanted, axis=0)
            )
            for each in "abc"
        )

    best = min((0.001, 0.01, 0.1, 1.0), key=held_out)
    assert said is not None
    np.testing.assert_allclose(said.numpy(), ridge(scaled, wanted, asked, best), rtol=0, atol=1e-10)


def test_nothing_can_be_read_from_samples_of_a_single_class() -> None:
    judge = judge_of([0, 1])
    assert probe(judge, torch.zeros(3, 2), torch.tensor([1, 1, -1]), list("abc"), torch.zeros(2, 2)) is None


# Several runs


def test_figures_of_several_runs_are_means_over_folds(runs: dict[str, RunFolder], found: dict[str, Any]) -> None:
    separate = [open_separate(runs[name]) for name in ("late", "late 1")]
    other = diagnose(runs["joint 1"], separate, device="cpu", resamples=5).plain()
    merged = merged_of(found, other)

    values = [each["targets"]["label"]["fused"]["value"] for each in (found, other)]
    figure = merged["targets"]["label"]["fused"]
    assert figure["value"] == pytest.approx(np.mean(values), abs=1e-12)
    assert values[0] != values[1]
    half = 12.706204736174698 * np.std(values, ddof=1) / np.sqrt(2)  # Student's t of one degree of freedom
    assert figure["high"] - figure["value"] == pytest.approx(half, rel=1e-9)
    counts = [each["targets"]["label"]["samples"] for each in (found, other)]
    assert merged["targets"]["label"]["samples"] == sum(counts)
    assert [each["fold"] for each in merged["each"]] == [each["protocol"]["fold"] for each in (found, other)]
    assert merged_of(found) == found
    assert {run.path for run in find_runs([runs["joint"].path.parent])} == {runs["joint"].path, runs["joint 1"].path}


def test_runs_that_do_not_belong_together_are_refused(runs: dict[str, RunFolder], found: dict[str, Any]) -> None:
    with pytest.raises(RunError, match=r"is of the same fold and seed as .*; give runs of one variant, each once"):
        merged_of(found, found)
    late = diagnose(runs["late 1"], device="cpu", resamples=5).plain()
    with pytest.raises(RunError, match=r"is of another recipe than .* \(other train\.strategy\.type\); runs that"):
        merged_of(found, late)


def test_runs_that_differ_in_values_of_options_are_merged_and_a_note_says_so(
    found: dict[str, Any],
) -> None:
    found = copy.deepcopy(found)
    other = copy.deepcopy(found)
    other["protocol"] |= {"fold": "fold2", "split_hash": "other"}
    other["run"], other["recipe"]["model"]["dropout"] = "other", 0.3
    found["recipe"]["model"]["dropout"] = 0.1

    merged = merged_of(found, other)

    assert any(note.startswith("The runs differ in model.dropout, as those of a comp") for note in merged["notes"])
    assert OF_FEW_GROUPS in found["notes"]
    assert OF_FEW_GROUPS not in merged["notes"]  # its intervals are over folds
    other["recipe"]["data"]["batch_size"] = 77
    with pytest.raises(RunError, match=r"other data\.batch_size"):
        merged_of(found, other)


def test_classes_may_be_called_like_the_parts_of_a_figure(found: dict[str, Any]) -> None:
    one = copy.deepcopy(found)
    of = one["targets"]["label"]
    of["classes"] = dict(zip(("value", "low", "high"), of["classes"].values(), strict=False))
    other = copy.deepcopy(one)
    other["protocol"] |= {"fold": "fold2", "split_hash": "other"}

    merged = merged_of(one, other)["targets"]["label"]["classes"]

    assert list(merged) == list(of["classes"])
    assert {name: each["samples"] for name, each in merged.items()} == {
        name: 2 * each["samples"] for name, each in of["classes"].items()
    }


def test_of_several_networks_trained_alone_that_of_the_same_seed_is_taken(
    runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    late, other = runs["late"], run_of(tmp_path, **FOLDS, strategy="late_fusion", seed=7)
    joint = assemble(runs["joint"].recipe)

    found = find_matching(runs["joint"], joint, [open_separate(other), open_separate(late)])

    assert {each.run.path for each in found.values()} == {late.path}


# What is refused


def test_runs_whose_data_have_changed_are_refused(runs: dict[str, RunFolder], tmp_path: Path) -> None:
    for name in ("joint", "late"):
        copied = tmp_path / name
        shutil.copytree(runs[name].path, copied)
        told = json.loads((copied / "environment.json").read_text())
        (copied / "environment.json").write_text(json.dumps({**told, "data": "other"}))
    with pytest.raises(RunError, match="its data have changed since it was trained; train it again"):
        diagnose(RunFolder(tmp_path / "joint"), device="cpu")
    with pytest.raises(RunError, match="its data have changed since it was trained; train it again"):
        open_separate(RunFolder(tmp_path / "late"))


def test_networks_trained_alone_must_be_of_the_same_split_and_given_once(runs: dict[str, RunFolder]) -> None:
    with pytest.raises(RunError, match=r"of the networks trained alone none has that split: .*; give --alone a run of"):
        diagnose(runs["joint"], [open_separate(runs["late 1"])], device="cpu")
    late = open_separate(runs["late"])
    with pytest.raises(RunError, match=r"motion of fold .* was trained alone in .* too; give --alone one of them"):
        diagnose(runs["joint"], [late, late], device="cpu")
    with pytest.raises(RunError, match=r"trained no modality alone \(its strategy is end_to_end\); --alone wants"):
        open_separate(runs["joint"])


def test_a_run_without_fused_branch_is_no_run_to_diagnose(tmp_path: Path) -> None:
    run = run_of(tmp_path, strategy="unimodal")
    with pytest.raises(RunError, match=r"has no fused branch \(its strategy is unimodal\)"):
        diagnose(run, device="cpu")
    assert isinstance(open_separate(run), Separate)


def test_runs_of_several_variants_are_refused_with_the_folder_of_each():
    of = {name: {"data": {}, "model": {"fusion": {"type": name}}, "train": {"seed": 0}} for name in ("concat", "mrpn")}
    with pytest.raises(RunError, match=r"name the runs of one variant: out/runs/N1 or out/runs/N2$"):
        check_recipes({"out/runs/N1/fold1/0": of["concat"], "out/runs/N2/fold1/0": of["mrpn"]})
