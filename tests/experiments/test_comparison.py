"""Comparisons: equal tuning inside training parts, a budget, tests corrected for their number, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_folders import card_of, comparison_of, pair_of, record_of
from small_experiments import recipe_text
from typer.testing import CliRunner

from fusionkit.cli import app
from fusionkit.config.components.specs import FoldsSpec
from fusionkit.config.recipe import build_component, load_recipe
from fusionkit.data.folds import ActorPairs, Nested
from fusionkit.data.sources import Datasets
from fusionkit.errors import DataError, RecipeError, RunError
from fusionkit.experiments import budget as budgets
from fusionkit.experiments import load_comparison, load_experiment, open_comparison
from fusionkit.experiments.agenda import make_agenda
from fusionkit.experiments.comparison import compare_columns
from fusionkit.experiments.job import Failure
from fusionkit.experiments.prerequisites import load_recipes
from fusionkit.experiments.specs.comparison import RangeSpec, TuningSpec, draw_trial
from fusionkit.experiments.tuning import choose, describe_choices, plan_trials
from fusionkit.interfaces import Row
from fusionkit.report.text.comparison import conditions, heading, in_order, last_line, ranking_rows
from fusionkit.storage.records.card import Card
from fusionkit.storage.run_folder import RunFolder

COMPARISON: dict[str, Any] = {
    "schema": 1,
    "recipe": "recipe.yaml",
    "budget": {"epochs": 2},
    "tuning": {
        "trials": 2,
        "search": {"train.optimizer.lr": {"low": 1e-3, "high": 1e-1, "scale": "log"}},
        "within": {"type": "group_kfold", "folds": 2},
    },
    "variants": {
        "ensemble": {"overrides": ["train.strategy=unimodal"]},
        "concat": {},
        "mrpn": {"overrides": ["model.fusion=mrpn"]},
    },
}


@pytest.fixture
def comparison(tmp_path: Path):
    """Writes the recipe and a comparison with other keys, and gives the path of the latter."""

    def write(**changes: Any) -> Path:
        (tmp_path / "recipe.yaml").write_text(recipe_text(epochs=9))
        path = tmp_path / "comparison.yaml"
        kept = {key: value for key, value in (COMPARISON | changes).items() if value is not None}
        path.write_text(json.dumps(kept))
        return path

    return write


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A comparison that has run: its file, its folder and its results."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "recipe.yaml").write_text(recipe_text(epochs=9))
    path = folder / "comparison.yaml"
    path.write_text(json.dumps(COMPARISON))
    return path, folder / "out", open_comparison(path, folder / "out").run(processes=1).plain()


# Nested folds


def rows_of(groups: int) -> list[Row]:
    return [
        Row(f"clip{group}-{take}", f"{group:02}", None, {}, "") for group in range(1, groups + 1) for take in (1, 2)
    ]


@pytest.mark.parametrize("fold", [0, 1, "A5,6"])
def test_nothing_of_the_outer_test_part_is_in_an_inner_fold(fold: int | str) -> None:
    rows, outer = rows_of(6), FoldsSpec(type="actor_pairs")
    within = FoldsSpec.model_validate({"type": "leave_one_group_out"})

    inner = Nested(folds=outer, fold=fold, within=within).split(rows)

    splits = {split.name: split for split in ActorPairs().split(rows)}
    chosen = splits[fold] if isinstance(fold, str) else list(splits.values())[fold]
    assert len(inner) == 4
    for split in inner:
        assert {*split.train, *split.test} == set(chosen.train)


def test_an_outer_fold_that_there_is_not_is_named_with_those_that_there_are() -> None:
    nested = Nested(folds=FoldsSpec(type="actor_pairs"), fold="A7,8")
    with pytest.raises(DataError, match=r"no fold 'A7,8'; a position from 0 to 2, or a name; known: A1,2"):
        nested.split(rows_of(6))


# The search


def test_variants_try_the_same_values_and_a_key_of_one_moves_no_other() -> None:
    search = {"train.optimizer.lr": {"low": 1e-4, "high": 1e-1, "scale": "log"}, "model.dropout": (0.0, 0.3)}
    tuning = TuningSpec.model_validate(
        {"trials": 5, "search": search, "also": {"ogm_ge": {"train.balancer.alpha": {"low": 0.1, "high": 0.9}}}}
    )

    for trial in range(5):
        plain, more = draw_trial(tuning, "concat", trial), draw_trial(tuning, "ogm_ge", trial)
        assert more[: len(plain)] == plain
        assert len(more) == (3 if trial else 0)
    assert len({draw_trial(tuning, "concat", trial) for trial in range(5)}) == 5
    assert draw_trial(tuning, "concat", 0) == ()


def test_another_seed_of_the_tuning_draws_other_values() -> None:
    search = {"train.optimizer.lr": {"low": 1e-4, "high": 1e-1, "scale": "log"}}
    first, second = (TuningSpec.model_validate({"trials": 2, "search": search, "seed": seed}) for seed in (0, 1))
    assert draw_trial(first, "a", 1) != draw_trial(second, "a", 1)


def test_a_range_covers_its_ends_evenly_in_its_own_scale() -> None:
    linear, log = RangeSpec(low=1.0, high=3.0), RangeSpec(low=1e-4, high=1e-2, scale="log")
    whole = RangeSpec(low=1, high=3)

    assert [linear.at(share) for share in (0.0, 0.5, 1.0)] == [1.0, 2.0, 3.0]
    assert [log.at(share) for share in (0.0, 0.5, 1.0)] == [1e-4, 1e-3, 1e-2]
    drawn = [whole.at(share) for share in np.linspace(0, 1, 301)[:-1]]
    assert {value: drawn.count(value) for value in (1, 2, 3)} == {1: 100, 2: 100, 3: 100}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": None}, "budget: missing"),
        ({"budget": {"epochs": 2, "minutes": 1.0}}, "a budget is epochs, or minutes; one of them"),
        (
            {"tuning": {"trials": 1, "search": {"model.dropout": [0.0]}}},
            "tuning.trials: a number of at least 2 is expected, given 1",
        ),
        ({"tuning": {"trials": 2}}, "nothing is searched for this variant; name keys under tuning.search"),
        (
            {"tuning": {"trials": 2, "search": {"model.dropuot": [0.1]}}},
            "tuning.search.model.dropuot: unknown key; did you mean 'dropout'",
        ),
        (
            {"tuning": {"trials": 2, "search": {"model.dropout": [0.1, 1.5]}}},
            "tuning.search.model.dropout: a number below 1.0 is expected, given 1.5",
        ),
        ({"tuning": {"trials": 2, "search": {"data.batch_size": [2, 4]}}}, "every variant sees the same data"),
        ({"tuning": {"trials": 2, "search": {"train.epochs": [2, 4]}}}, "the budget says how many"),
        ({"tuning": {"trials": 2, "search": {"train.seed": [2, 4]}}}, "seeds are no setting"),
        (
            {"tuning": {"trials": 2, "search": {"model.dropout": {"low": 0.3, "high": 0.1}}}},
            "low 0.3 is not below high 0.1",
        ),
        (
            {"tuning": {"trials": 2, "search": {"model.dropout": {"low": 0.0, "high": 0.1, "scale": "log"}}}},
            "low 0 has no logarithm",
        ),
        (
            {"tuning": {"trials": 2, "search": {"model.fusion.of": ["gated"]}}},
            "tuning.search.model.fusion.of (variant 'ensemble' and 1 more): ",
        ),
        (
            {"tuning": {"trials": 2, "search": {"model.dropout": [0.1]}, "also": {"mrpm": {"model.dropout": [0.1]}}}},
            "tuning.also.mrpm: no variant that trains; did you mean 'mrpn'",
        ),
    ],
)
def test_what_is_wrong_with_a_comparison_is_said_before_anything_runs(comparison, changes, message) -> None:
    with pytest.raises(RecipeError) as caught:
        load_comparison(comparison(**changes))
    assert message in str(caught.value)


def test_a_comparison_is_no_experiment_and_no_recipe(comparison) -> None:
    with pytest.raises(RecipeError, match="is a comparison, not an experiment; run it with `fusionkit compare`"):
        load_experiment(comparison())
    with pytest.raises(RecipeError, match="is a comparison, not a recipe; run it with `fusionkit compare`"):
        load_recipe(comparison())


def test_what_is_no_comparison_is_called_what_it_is_with_the_command_that_runs_it(comparison, tmp_path: Path) -> None:
    experiment = comparison(budget=None, tuning=None)
    with pytest.raises(RecipeError, match="is an experiment, not a comparison; run it with `fusionkit experiment`"):
        load_comparison(experiment)
    with pytest.raises(RecipeError, match="is a recipe, not a comparison; run it with `fusionkit train`"):
        load_comparison(tmp_path / "recipe.yaml")
    with pytest.raises(RecipeError, match="is a recipe, not an experiment; run it with `fusionkit train`"):
        load_experiment(tmp_path / "recipe.yaml")


def test_a_range_without_room_is_one_problem(comparison) -> None:
    search = {"model.dropout": {"low": 0.3, "high": 0.1}}
    with pytest.raises(RecipeError) as caught:
        load_comparison(comparison(tuning={"trials": 2, "search": search}))
    assert [problem.message for problem in caught.value.problems] == ["low 0.3 is not below high 0.1"]


def test_films_of_a_comparison_are_found_like_those_of_an_experiment(comparison) -> None:
    assert len(load_recipes(comparison())) == 3


# Trials and what they choose


def test_trials_train_and_judge_inside_the_training_part_of_their_fold(comparison, tmp_path: Path) -> None:
    experiment, spec = load_comparison(comparison())
    agenda = make_agenda(experiment, tmp_path / "out", Datasets(), tuned=None)
    assert spec.tuning is not None

    trials = plan_trials(agenda, spec.tuning, Datasets())

    assert len(trials) == 3 * 3 * 2  # folds, variants, trials
    dataset = build_component(experiment.first_recipe.data.dataset)
    tested = {fold.name: set(fold.test) for fold in agenda.folds}
    for trial in trials:
        assert len(trial.jobs) == 2  # inner folds
        for job in trial.jobs:
            recipe = load_recipe(job.recipe)
            splits = {split.name: split for split in build_component(recipe.data.folds).split(dataset.rows)}
            split = splits[str(recipe.data.fold)]
            assert not {*split.train, *split.test} & tested[trial.fold]
    assert len({job.folder for trial in trials for job in trial.jobs}) == len(trials) * 2


def test_the_best_trial_by_inner_folds_is_chosen_and_of_equal_ones_the_first(comparison, tmp_path, monkeypatch) -> None:
    values = {0: (0.5, 0.7), 1: (0.8, 0.6), 2: (0.9, 0.5), 3: (1.0, 0.2)}  # means 0.6, 0.7, 0.7, 0.6
    changed = {**COMPARISON["tuning"], "trials": 4}
    experiment, spec = load_comparison(comparison(tuning=changed))
    agenda = make_agenda(experiment, tmp_path / "out", Datasets(), tuned=None)
    assert spec.tuning is not None
    trials = plan_trials(agenda, spec.tuning, Datasets())

    def card(job: Any) -> Any:
        number, inner = int(Path(job.folder).parent.name), 0 if job.fold.endswith("fold1") else 1
        figure = {"value": values[number][inner], "low": None, "high": None}
        branch = {"trained": "", "samples": 1, "metrics": {"accuracy": figure}}
        return Card.model_validate(card_of("label", branches=dict.fromkeys(("fused", "ensemble"), branch)))

    monkeypatch.setattr("fusionkit.experiments.tuning.read_card", card)
    chosen = choose(agenda, trials, [])
    assert {choice.trial for choice in chosen.values()} == {1}
    assert next(iter(chosen.values())).values == pytest.approx((0.6, 0.7, 0.7, 0.6))
    assert next(iter(chosen.values())).overrides == draw_trial(spec.tuning, "concat", 1)

    # A trial that failed is not chosen, and where all did, the recipe stays as it is.
    broken = [Failure(trial.jobs[0], "no") for trial in trials if trial.number == 1]
    assert {choice.trial for choice in choose(agenda, trials, broken).values()} == {2}
    every = [Failure(trial.jobs[1], "no") for trial in trials]
    assert {choice.trial for choice in choose(agenda, trials, every).values()} == {0}


def test_a_variant_is_tuned_by_the_branch_that_its_column_reads(comparison, tmp_path, monkeypatch) -> None:
    late = {"overrides": ["train.strategy=late_fusion"]}
    variants = {"late": late, "posture": {**late, "branch": "posture"}, "average": {"of": "late", "branch": "ensemble"}}
    experiment, spec = load_comparison(comparison(variants=variants))
    agenda = make_agenda(experiment, tmp_path / "out", Datasets(), tuned=None)
    assert spec.tuning is not None
    trials = plan_trials(agenda, spec.tuning, Datasets())

    def card(job: Any) -> Any:
        number = int(Path(job.folder).parent.name)
        values = {"fused": 0.5 + number / 10, "posture": 0.5 - number / 10, "ensemble": 0.5}
        branches = {
            name: {"trained": name, "samples": 1, "metrics": {"accuracy": {"value": value, "low": None, "high": None}}}
            for name, value in values.items()
        }
        return Card.model_validate(card_of("label", branches=branches))

    monkeypatch.setattr("fusionkit.experiments.tuning.read_card", card)
    chosen = choose(agenda, trials, [])

    assert {(variant, choice.trial, choice.branch) for (variant, _), choice in chosen.items()} == {
        ("late", 1, "fused"),
        ("posture", 0, "posture"),
    }
    columns = [{"name": each.name, "runs": each.runs, "branch": each.branch} for each in experiment.columns]
    choices = [each.plain() for each in describe_choices(chosen)]
    of = comparison_of(budget={"epochs": 2}, tuning=spec.tuning.model_dump(mode="json"), choices=choices)
    assert conditions(record_of({"comparison": of, **table_of(*columns)}))[2:] == (
        "average reads the ensemble branch of late, whose settings the fused branch chose: it was not "
        "tuned for itself.",
        "ensemble (log) reads the ensemble (log) branch of late, whose settings the fused branch chose: it was not "
        "tuned for itself.",
    )


def test_a_metric_that_an_average_of_networks_does_not_have_is_refused_before_anything_runs(
    comparison, tmp_path
) -> None:
    experiment, spec = load_comparison(comparison(metric="loss"))
    agenda = make_agenda(experiment, tmp_path / "out", Datasets(), tuned=None)
    assert spec.tuning is not None
    with pytest.raises(
        RecipeError, match="an average of networks has no loss, so no trial of ensemble could be chosen"
    ):
        plan_trials(agenda, spec.tuning, Datasets())


def test_runs_of_settings_that_more_trials_no_longer_choose_are_refused_in_these_words(finished) -> None:
    path, out, results = finished
    experiment, _ = load_comparison(path, ["train.epochs=2"])
    choices = {(each["variant"], each["fold"]): each["overrides"] for each in results["comparison"]["choices"]}
    assert make_agenda(experiment, out, Datasets(), tuned=choices)
    cell = next(iter(choices))
    with pytest.raises(RunError, match=r"holds runs of settings that their trials no longer choose \(.*0\); choose"):
        make_agenda(experiment, out, Datasets(), tuned={**choices, cell: ["train.optimizer.lr=0.5"]})


def test_a_run_has_the_setting_that_its_trials_chose_and_the_epochs_of_the_budget(finished) -> None:
    _, out, results = finished
    choices = {(each["variant"], each["fold"]): each for each in results["comparison"]["choices"]}
    assert len(choices) == 9

    for (variant, fold), choice in choices.items():
        recipe = RunFolder.open(out / "runs" / variant / fold / "0").recipe
        stated = {text.partition("=")[0]: json.loads(text.partition("=")[2]) for text in choice["overrides"]}
        assert recipe.train.epochs == 2
        assert recipe.train.optimizer.options["lr"] == stated.get("train.optimizer.lr", 1e-3)
        best = max(value for value in choice["values"])
        assert choice["values"][choice["trial"]] == best
        cards = [
            json.loads(file.read_text())["targets"]["label"]["branches"]
            for file in sorted((out / "trials" / variant / fold / str(choice["trial"])).glob("*/metrics.json"))
        ]
        branch = "ensemble" if variant == "ensemble" else "fused"
        assert best == pytest.approx(np.mean([card[branch]["metrics"]["accuracy"]["value"] for card in cards]))


def test_started_again_it_trains_nothing_and_a_new_variant_alone(finished, tmp_path: Path) -> None:
    path, out, results = finished
    before = {file: file.stat().st_mtime_ns for file in out.rglob("weights.safetensors")}
    added = path.with_name("added.yaml")
    added.write_text(
        json.dumps(COMPARISON | {"variants": {**COMPARISON["variants"], "sum": {"overrides": ["model.fusion=sum"]}}})
    )

    again = open_comparison(path, out).run(processes=1).plain()
    more = open_comparison(added, out).run(processes=1).plain()

    assert again["summary"] == results["summary"]
    assert {file: file.stat().st_mtime_ns for file in before} == before
    new = {file.relative_to(out).parts[1] for file in out.rglob("weights.safetensors") if file not in before}
    assert new == {"sum"}
    assert more["summary"]["mrpn"]["by_fold"] == results["summary"]["mrpn"]["by_fold"]


def test_trials_of_another_budget_are_refused(finished) -> None:
    path, out, _ = finished
    with pytest.raises(RunError, match="holds runs of another recipe"):
        open_comparison(path, out, ["budget.epochs=3"]).run(processes=1)


def test_without_tuning_runs_are_as_their_recipes_stand(comparison, tmp_path: Path) -> None:
    results = open_comparison(comparison(tuning=None), tmp_path / "out").run(processes=1).plain()

    assert results["comparison"]["choices"] == []
    assert not (tmp_path / "out" / "trials").exists()
    assert conditions(record_of(results))[1] == "Nothing was tuned: every variant is as its recipe stands."


# The budget


def test_a_budget_of_time_gives_each_variant_the_epochs_that_fit_and_keeps_them(
    comparison, tmp_path, monkeypatch
) -> None:
    seconds = {"concat": 2.0, "mrpn": 5.0}
    monkeypatch.setattr(budgets, "time_epoch", lambda of, _: seconds.get(of.model.fusion.type, 1.0))
    experiment, spec = load_comparison(comparison(budget={"minutes": 0.5}))

    timed = budgets.apply_budget(experiment, spec, tmp_path, Datasets())
    assert {name: recipe.train.epochs for name, recipe in timed.recipes.items()} == {
        "ensemble": 15,  # its fusion is concat as well
        "concat": 15,
        "mrpn": 6,
    }

    seconds["mrpn"] = 1.0  # a quicker day changes nothing that was begun
    assert budgets.apply_budget(experiment, spec, tmp_path, Datasets()).recipes["mrpn"].train.epochs == 6
    with pytest.raises(RunError, match=r"is of 0\.5 minutes, now 1; choose another folder"):
        budgets.apply_budget(*load_comparison(comparison(budget={"minutes": 1.0})), tmp_path, Datasets())
    seconds["mrpn"] = 40.0
    with pytest.raises(RecipeError, match=r"one epoch of 'mrpn' takes 0\.67 minutes, more than the 0\.5 of a run"):
        budgets.apply_budget(experiment, spec, tmp_path / "other", Datasets())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"minutes": 0.5}', "epochs: missing"),
        ('{"minutes": 0.5, "epochs": {"concat": "many"}}', r"epochs\.concat"),
        ('{"minutes": 0.5, "epochs": {"concat": 0}}', r"epochs\.concat"),
        ('{"minutes": 0.5, "epochs": {"concat": true}}', r"epochs\.concat"),
        ('{"format": 1, "runs": []}', r"it is no budget of time \(no minutes, epochs\)"),
    ],
)
def test_a_damaged_or_foreign_budget_is_told(comparison, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "budget.json").write_text(text)
    with pytest.raises(RunError, match=rf"budget\.json: is damaged; {told}.*; remove it, or choose another folder"):
        budgets.apply_budget(*load_comparison(comparison(budget={"minutes": 0.5})), tmp_path, Datasets())


def test_a_budget_of_a_newer_version_is_refused(comparison, tmp_path: Path) -> None:
    (tmp_path / "budget.json").write_text('{"format": 2, "hours": 1}')
    with pytest.raises(RunError, match=r"budget\.json: a budget of time of format 2; this version reads format 1"):
        budgets.apply_budget(*load_comparison(comparison(budget={"minutes": 0.5})), tmp_path, Datasets())


def test_a_budget_of_an_earlier_version_is_read_and_written_with_its_format(comparison, tmp_path: Path) -> None:
    epochs = {"ensemble": 3, "concat": 4, "mrpn": 5}
    (tmp_path / "budget.json").write_text(json.dumps({"minutes": 0.5, "epochs": epochs}))

    of = budgets.apply_budget(*load_comparison(comparison(budget={"minutes": 0.5})), tmp_path, Datasets())

    assert {name: recipe.train.epochs for name, recipe in of.recipes.items()} == epochs
    assert json.loads((tmp_path / "budget.json").read_text()) == {"format": 1, "minutes": 0.5, "epochs": epochs}


# Statistics


def test_gains_over_one_modality_alone_are_corrected_for_the_number_of_fused_columns() -> None:
    values = {"a": {"1": 0.1, "2": 0.3}, "b": {"1": 0.2, "2": 0.2}, "c": {"1": 0.2, "2": 0.1}}
    branches = {"a": "fused", "b": "fused", "c": "ensemble"}
    results = table_of(*({"name": name, "branch": branch, "runs": name} for name, branch in branches.items()))
    results["folds"] = [{"name": name, "test": 1, "train": 4} for name in "12"]
    over = {"folds": 2, "difference": {"mean": 0.0, "low": None, "high": None}, "wilcoxon_p": None, "t_p": None}
    for name, of in values.items():
        alone = {**over, "modality": "x", "alone": 0.1, "corrected_t_p": 0.03}
        results["summary"][name] |= {"by_fold": of, "mean": 0.1, "over_alone": alone}
    assert compare_columns(record_of(results))["over_alone"] == {"a": 0.06, "b": 0.06}
    results["summary"]["b"]["over_alone"] = None
    assert compare_columns(record_of(results))["over_alone"] == {"a": 0.03}


# What is told


def table_of(*columns: dict[str, Any]) -> dict[str, Any]:
    """Results whose columns have no values."""
    nothing = {"by_fold": {}, **dict.fromkeys(("mean", "low", "high", "inferior", "compared_folds")), "against": {}}
    summary = {column["name"]: dict(nothing) for column in columns}
    return {"columns": list(columns), "summary": summary, "rows": []}


def told(pairs: list[dict[str, Any]], *, every: int = 0) -> dict[str, Any]:
    """Results whose last line reads these comparisons with the first column."""
    pairs = [pair_of(pair.pop("column"), "ensemble", **pair) for pair in map(dict, pairs)]
    sure = [{**pairs[0], "holm_p": 0.01}] * every if pairs else []
    return {
        "metric": "accuracy",
        "higher_is_better": True,
        "folds": [{"name": "f1"}, {"name": "f2"}],
        **table_of(*({"name": name, "branch": "fused", "runs": name} for name in ("ensemble", "mrpn"))),
        "comparison": comparison_of(against_first=pairs, pairs=sure, pairs_compared=len(sure) + 3),
    }


def test_the_last_line_names_what_is_larger_than_noise_and_nothing_else() -> None:
    def pair(name: str, difference: float, holm_p: float | None) -> dict[str, Any]:
        return {"column": name, "difference": difference, "p": holm_p, "holm_p": holm_p}

    some = told([pair("mrpn", 0.041, 0.01), pair("sum", 0.02, 0.4), pair("film", -0.05, 0.049)], every=1)
    none = told([pair("mrpn", 0.041, 0.06)])
    one_fold = told([pair("mrpn", 0.041, None)])

    assert last_line(record_of(some)) == (
        "Larger than noise against ensemble, 3 comparisons allowed for: mrpn (+4.1), film (-5.0); the other is within "
        "it. Of all 4 pairs of columns 1 differs by more than noise."
    )
    assert last_line(record_of(none)).startswith(
        "No difference from ensemble is larger than noise, the one comparison with it"
    )
    assert (
        last_line(record_of({**one_fold, "folds": [{"name": "f1"}]})) == "One fold cannot tell a difference from noise."
    )
    assert (
        last_line(record_of(told([]))) == "No other column has a fold in common with ensemble, so nothing can be said."
    )


def test_a_difference_without_spread_is_not_said_to_be_within_noise() -> None:
    same = {"column": "mrpn", "difference": 0.041, "p": None, "holm_p": None}
    tested = {"column": "sum", "difference": 0.02, "p": 0.4, "holm_p": 0.4}
    cannot = "Whether noise explains the difference of mrpn cannot be told: it has no spread over folds."

    assert last_line(record_of(told([same]))) == cannot
    assert last_line(record_of(told([same, tested]))) == (
        f"No difference from ensemble is larger than noise, the one comparison with it allowed for. {cannot} Of all 3 "
        "pairs of columns none is shown to differ by more than noise."
    )


def test_one_column_and_one_pair_are_not_counted_up() -> None:
    only = told([])
    del only["columns"][1], only["summary"]["mrpn"]
    pair = told([{"column": "mrpn", "difference": 0.041, "p": 0.4, "holm_p": 0.4}])
    pair["comparison"]["pairs_compared"] = 1

    assert last_line(record_of(only)) == "ensemble is the only column, so nothing is compared."
    assert last_line(record_of(pair)).endswith("the one comparison with it allowed for.")


def test_where_less_is_better_the_verdict_and_the_heading_say_so() -> None:
    pairs = [
        {"column": "mrpn", "difference": -0.041, "p": 0.01, "holm_p": 0.02},
        {"column": "sum", "difference": 0.02, "p": 0.01, "holm_p": 0.02},
    ]
    results = {**told(pairs), "metric": "mae", "higher_is_better": False, "target": "age"}

    assert "allowed for: mrpn (-0.0410, better), sum (+0.0200, worse)." in last_line(record_of(results))
    assert heading(record_of(results)) == "mae of age; lower is better, differences are from ensemble"
    assert heading(record_of({**results, "metric": "accuracy", "higher_is_better": True})).startswith(
        "accuracy of age, %; higher"
    )


def test_columns_stand_best_first_with_their_difference_from_the_first(finished) -> None:
    _, _, results = finished

    rows = ranking_rows(record_of(results))

    means = [results["summary"][name]["mean"] for name in in_order(record_of(results))]
    assert means == sorted(means, reverse=True)
    assert [row[0] for row in rows] == in_order(record_of(results))
    by_name = {row[0]: row for row in rows}
    assert by_name["ensemble"][2:7] == ("-",) * 5
    gain = 100 * (results["summary"]["mrpn"]["mean"] - results["summary"]["ensemble"]["mean"])
    assert by_name["mrpn"][2] == f"{gain:+.1f}"


def test_costs_are_those_of_recipes_as_they_stand_whatever_was_tuned(finished, monkeypatch) -> None:
    path, out, results = finished
    measured: list[Any] = []
    name = "fusionkit.experiments.comparison.measure_costs"
    monkeypatch.setattr(name, lambda agenda, datasets: measured.append(agenda) or {})

    open_comparison(path, out).run(processes=1)

    assert any(choice["overrides"] for choice in results["comparison"]["choices"])
    assert {job.recipe.train.optimizer.options["lr"] for job in measured[0].jobs} == {1e-3}


def test_costs_are_of_every_variant(finished) -> None:
    _, _, results = finished
    costs = results["comparison"]["cost"]

    assert set(costs) == {"ensemble", "concat", "mrpn"}
    assert costs["mrpn"]["parameters"] > costs["concat"]["parameters"]
    assert all(cost["epoch_seconds"] > 0 and cost["memory"] > 0 for cost in costs.values())
    assert costs["concat"]["run_seconds"] == pytest.approx(2 * costs["concat"]["epoch_seconds"])


# The command


def test_the_command_prints_the_ranking_and_ends_with_the_honest_line(finished) -> None:
    path, out, _ = finished

    said = CliRunner().invoke(app, ["compare", str(path), "--out", str(out), "--processes", "1"])

    assert said.exit_code == 0
    assert "p Holm" in said.output
    assert all(len(line) <= 80 for line in said.stdout.splitlines() if not line.startswith(("Figures", "As", "Open")))
    end = " ".join(said.stdout.split("Open this page")[1].split())
    assert "noise" in end
    page = (out / "report.html").read_text()
    assert "Comparison" in page
    assert "What was tuned" in page
    assert {file.name for file in (out / "figures").glob("*.png")} >= {"comparison.png", "cost.png"}
    assert "p Holm" in (out / "report.md").read_text()


def test_a_dry_run_counts_trials_and_runs_and_writes_nothing(comparison, tmp_path: Path) -> None:
    out = tmp_path / "out"

    said = CliRunner().invoke(app, ["compare", str(comparison()), "--out", str(out), "--dry-run", "--json"])

    assert said.exit_code == 0
    cost = json.loads(said.stdout)
    assert cost["runs"] == 3 * 3 * 2 * 2 + 3 * 3  # folds, variants, trials, inner folds; and the runs
    assert not out.exists()


def test_the_schema_of_comparisons_knows_their_own_keys() -> None:
    said = CliRunner().invoke(app, ["schema", "--comparison"])

    assert said.exit_code == 0
    assert {"budget", "tuning", "variants", "overrides"} <= set(json.loads(said.stdout)["properties"])
