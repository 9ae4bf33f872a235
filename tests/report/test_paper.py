"""Published numbers: what an experiment file may say of them, and how a report sets ours beside them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from report_folders import record_of, results_of
from small_experiments import write_experiment_file

from fusionkit.config.yaml import read_yaml
from fusionkit.data.sources import Datasets
from fusionkit.errors import RecipeError
from fusionkit.experiments import load_experiment
from fusionkit.experiments.agenda import make_agenda
from fusionkit.report.pages.sections import paper_section
from fusionkit.report.text.paper import better_singles_of_paper, contradictions, fold_table, mean_table, paper_sentences
from fusionkit.report.text.published import read_published
from fusionkit.storage.records.results import StatedExperiment

RECIPES = Path(__file__).parents[2] / "recipes" / "aver"

PAPER = {
    "source": "Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, Table 2",
    "unit": "percent",
    "folds": {
        "N2": {"A1,2": 97.5, "A3,4": 92.1, "A9,10": 86.5},
        "VM": {"A1,2": 86.6, "A9,10": 87.3},
        "AM": {"A1,2": 71.6},
    },
    "values": {"late fusion": 81.6},
    "also": [{"source": "the same paper, Table 4", "values": {"N2": 90.8, "late fusion": 81.6}}],
    "remarks": ["The paper does not say which epoch it reports."],
}


def paper_of(**changes):
    results = results_of(paper={**PAPER, **changes})
    return results, read_published(record_of(results).experiment)


def cells(table):
    return {row[0]: dict(zip(table.header[1:], row[1:], strict=True)) for row in table.rows}


def test_means_are_those_stated_or_those_of_the_folds_in_the_metrics_unit():
    _, found = paper_of()
    assert found.means["N2"] == pytest.approx((0.975 + 0.921 + 0.865) / 3, abs=1e-12)
    assert found.means["late fusion"] == pytest.approx(0.816, abs=1e-12)
    assert found.folds["N2"]["A3,4"] == pytest.approx(0.921, abs=1e-12)
    assert found.stated == {"late fusion"}
    as_shares = read_published(record_of(results_of(paper={"source": "x", "values": {"N2": 0.9147}})).experiment)
    assert as_shares.means == {"N2": 0.9147}
    assert read_published(record_of({}).experiment) is None


def test_the_papers_tables_have_the_means_that_are_known_of_them():
    known = {  # computed by hand from the folds that the paper prints
        "ravdess_table_2": {"late fusion": 81.60, "N0": 87.56, "N1": 89.82, "N2": 91.47},
        "crema_d_table_3": {"late fusion": 76.84, "N0": 78.37, "N1": 77.01, "N2": 80.59},
    }
    for name, means in known.items():
        stated = read_yaml((RECIPES / f"{name}.yaml").read_text(), name).value["paper"]
        found = read_published(StatedExperiment(variants={}, paper=stated))
        assert {each: round(100 * value, 2) for each, value in found.means.items()} == pytest.approx(means, abs=0.006)


def test_folds_stand_beside_each_other_and_what_was_not_run_is_not_measured():
    results, found = paper_of()
    table = cells(fold_table(record_of(results), found))
    assert list(table) == ["A1,2", "A3,4", "A9,10", "A5,6"]
    assert table["A1,2"]["N2, paper"] == "97.5"
    assert table["A1,2"]["N2, ours"] == f"{100 * results['summary']['N2']['by_fold']['A1,2']:.1f}"
    assert (table["A9,10"]["N2, ours"], table["A9,10"]["N2, paper"]) == ("not measured", "86.5*")
    assert table["A5,6"]["N2, paper"] == "-"


def test_folds_where_a_single_modality_is_better_are_marked_in_ours_and_in_the_papers():
    results, found = paper_of()
    results["summary"]["N2"]["inferior"] = {"A1,2": "audio"}
    assert better_singles_of_paper(record_of(results), found) == {"N2": {"A9,10": ("VM", 0.873, 0.865)}}
    assert cells(fold_table(record_of(results), found))["A1,2"]["N2, ours"].endswith("*")
    text = " ".join(paper_sentences(record_of(results), found))
    assert "In the paper's own numbers a single modality is better: N2 in A9,10 (VM 87.3 against 86.5)." in text
    assert "In ours a single modality is better: N2 in A1,2 (audio)." in text


def test_a_fused_network_of_the_paper_is_judged_against_the_uni_modal_ones_of_its_own_kind():
    results, found = paper_of(folds={"N2": {"A1,2": 80.0}, "late fusion": {"A1,2": 80.0}, "VM": {"A1,2": 90.0}})
    assert set(better_singles_of_paper(record_of(results), found)) == {"N2", "late fusion"}
    for column in results["columns"]:
        if column["name"] == "AM":
            column["runs"] = "without augmentation"
        if column["name"] == "N2":
            column["alone"] = "without augmentation"
    assert set(better_singles_of_paper(record_of(results), found)) == {"late fusion"}


def test_means_stand_beside_every_source_and_are_compared_over_the_folds_of_both():
    results, found = paper_of()
    row = cells(mean_table(record_of(results), found))["N2"]
    ours = results["summary"]["N2"]["by_fold"]
    there = np.mean([ours["A1,2"], ours["A3,4"]])
    assert row["ours, all our folds"] == f"{100 * results['summary']['N2']['mean']:.1f}"
    assert (row["Chang and Skarbek 2021, Table 2"], row["the same paper, Table 4"]) == ("92.0", "90.8")
    assert row["folds of both"] == "2 of 3"
    assert (row["ours there"], row["paper there"]) == (f"{100 * there:.1f}", "94.8")
    assert row["difference"] == f"{100 * (there - (0.975 + 0.921) / 2):+.1f}"


def test_contradictions_of_the_paper_are_shown_and_agreement_is_not():
    results, found = paper_of()
    sentences = contradictions(record_of(results), found)
    assert sentences == (
        "N2: 92.03 (the mean of the folds of Chang and Skarbek 2021, Table 2), 90.80 (the same paper, Table 4).",
    )
    _, stated = paper_of(values={"N2": 92.0}, also=[])
    assert contradictions(record_of(results), stated) == ()  # 92.03 rounds to it
    _, wrong = paper_of(values={"N2": 93.0}, also=[])
    assert contradictions(record_of(results), wrong) == (
        "N2: 93.00 (Chang and Skarbek 2021, Table 2), 92.03 (the mean of the folds of Chang and Skarbek 2021, "
        "Table 2).",
    )


def test_selection_missing_folds_and_remarks_stand_under_the_tables():
    results, found = paper_of()
    text = " ".join(paper_sentences(record_of(results), found))
    assert "Ours: speaker-independent, epoch: last epoch, 1 seed a fold." in text
    assert "Folds of the paper that were not run here: A9,10." in text
    assert "Folds that the paper does not have: A5,6." in text
    assert "In ours a single modality is better: nowhere." in text
    assert text.endswith("The paper does not say which epoch it reports.")


def test_without_uni_modal_folds_nobody_can_tell_where_a_single_modality_is_better_in_the_paper():
    results, found = paper_of(folds={"N2": {"A1,2": 97.5}})
    assert any(
        "nobody can tell whether a single modality is better" in sentence
        for sentence in paper_sentences(record_of(results), found)
    )
    results, found = paper_of(folds={"N2": {"A1,2": 97.5}, "VM": {"A1,2": 90.0}})
    assert "In the paper's own numbers no single modality is better than a fused network." in paper_sentences(
        record_of(results), found
    )


def test_only_means_are_published():
    results = results_of(paper={"source": "Table 4", "values": {"N2": 0.908}})
    titles = [block.kind for block in paper_section(record_of(results)).blocks]
    assert titles.count("table") == 1
    assert (
        cells(mean_table(record_of(results), read_published(record_of(results).experiment)))["N2"]["Table 4"] == "90.8"
    )


# What a file may say

EXPERIMENT = """
schema: 1
recipe: recipe.yaml
variants:
  late fusion: {overrides: [train.strategy=late_fusion]}
  N2: {}
paper: """


@pytest.fixture
def experiment(tmp_path):
    return lambda paper: write_experiment_file(tmp_path, EXPERIMENT + paper)


def test_all_wrong_names_are_told_at_once(experiment):
    paper = (
        "{source: x, values: {N3: 1}, folds: {lat fusion: {fold1: 0.5}, N2: {}}, also: [{source: y, values: {M: 1}}]}"
    )
    with pytest.raises(RecipeError) as caught:
        load_experiment(experiment(paper))
    text = str(caught.value)
    assert "4 problems" in text
    assert "paper.values.N3: no variant of the experiment; known: N2, late fusion" in text
    assert "paper.folds.lat fusion: no variant of the experiment; did you mean 'late fusion'?" in text
    assert "paper.also[0].values.M" in text
    assert "paper.folds.N2: no fold is given" in text


@pytest.mark.parametrize(
    ("paper", "said"),
    [
        ("{source: x}", "paper needs numbers"),
        ("{source: x, valuse: {N2: 1}}", "did you mean 'values'"),
        ("{source: x, values: {N2: 1}, unit: per cent}", "unit"),
        ("{values: {N2: 1}}", "source"),
    ],
)
def test_a_paper_without_source_or_numbers_is_refused(experiment, paper, said):
    with pytest.raises(RecipeError, match=said):
        load_experiment(experiment(paper))


@pytest.mark.parametrize(
    ("paper", "said"),
    [
        (
            "{source: x, values: {N2: 91.5}}",
            "paper.values.N2: given 91.5; accuracy is between 0 and 1 here; write unit: per",
        ),
        ("{source: x, unit: percent, folds: {N2: {fold1: 915}}}", "paper.folds.N2.fold1: given 915"),
        (
            "{source: x, folds: {N2: {A1: 0.9}}}",
            "paper.folds: none of A1 is a fold; the protocol's folds are fold1, fold2, fold3",
        ),
    ],
)
def test_numbers_that_cannot_be_are_told_before_anything_runs(experiment, tmp_path, paper, said):
    with pytest.raises(RecipeError, match=re.escape(said)):
        make_agenda(load_experiment(experiment(paper)), tmp_path / "out", Datasets())


def test_folds_of_the_paper_that_are_not_at_hand_are_accepted(experiment, tmp_path):
    paper = "{source: x, unit: percent, folds: {N2: {fold1: 90, fold9: 80}}}"
    agenda = make_agenda(load_experiment(experiment(paper)), tmp_path / "out", Datasets())
    assert agenda.experiment.spec.paper.folds["N2"] == {"fold1": 90.0, "fold9": 80.0}


def test_a_variant_names_the_networks_alone_that_it_must_beat(experiment):
    path = experiment("null")
    text = path.read_text().replace("N2: {}", "N2: {alone: other}\n  other: {overrides: [train.strategy=unimodal]}")
    path.write_text(text)
    columns = {column.name: column.alone for column in load_experiment(path).columns}
    assert columns == {
        **dict.fromkeys(("constant", "ensemble (log)", "late fusion", "other"), "late fusion"),
        "N2": "other",
    }
    path.write_text(text.replace("{alone: other}", "{alone: N2}"))
    with pytest.raises(RecipeError, match="'N2' trains no uni-modal networks alone; known: late fusion, other"):
        load_experiment(path)
