"""Documents as records: what is written is read again, earlier versions too, and a damaged file is one error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_folders import card_of, results_of, write_results

from fusionkit.config.documents import check_shape
from fusionkit.errors import RunError
from fusionkit.storage.files import as_json
from fusionkit.storage.records.card import Card
from fusionkit.storage.records.comparison import Comparison
from fusionkit.storage.records.diagnosis import DiagnosedTarget, Gradients
from fusionkit.storage.records.document import figure, load_document, save_document
from fusionkit.storage.records.results import Results

MEASURED = Path(__file__).parents[2] / "benchmarks" / "results"
BY_KIND: dict[str, list[Path]] = {}
for file in sorted(MEASURED.glob("*.json")):
    BY_KIND.setdefault(json.loads(file.read_text()).get("kind", "experiment"), []).append(file)


def name_of(file: Path) -> str:
    return file.stem


@pytest.mark.parametrize("file", BY_KIND["experiment"], ids=name_of)
def test_results_of_every_experiment_that_was_measured_are_read_whole(file, tmp_path):
    record = load_document(Results, file)

    assert record.plain() == json.loads(file.read_text())
    save_document(tmp_path / "results.json", record)
    assert load_document(Results, tmp_path / "results.json") == record


@pytest.mark.parametrize("file", BY_KIND["comparison"], ids=name_of)
def test_comparisons_that_were_measured_are_read_whole(file):
    stated = json.loads(file.read_text())["comparison"]

    assert check_shape(Comparison, stated, str(file)).plain() == stated


@pytest.mark.parametrize("file", BY_KIND["diagnosis"], ids=name_of)
def test_diagnoses_that_were_measured_are_read_whole(file):
    for stated in json.loads(file.read_text())["variants"].values():
        for target in stated["targets"].values():
            assert check_shape(DiagnosedTarget, target, str(file)).plain() == target
        for found in (stated["gradients"] or {}).values():
            assert check_shape(Gradients, found, str(file)).plain() == found


@pytest.mark.parametrize(
    ("branches", "classes", "kind"),
    [
        ({"fused": {"trained": "fused", "samples": 0, "metrics": {}, "confusion": [[0]]}}, ["a"], "classes"),
        ({"fused": {"trained": "fused", "samples": 0, "metrics": {}}}, ["a"], "labels"),
        ({"fused": {"trained": "fused", "samples": 0, "metrics": {}}}, None, "numbers"),
    ],
)
def test_a_card_of_format_1_tells_what_its_target_is_by_its_matrices(branches, classes, kind, tmp_path):
    card = {**card_of("y", branches=branches, classes=classes), "format": 1}
    del card["targets"]["y"]["kind"]
    (tmp_path / "metrics.json").write_text(json.dumps(card))
    assert load_document(Card, tmp_path / "metrics.json").targets["y"].kind == kind

    (tmp_path / "metrics.json").write_text(json.dumps({**card, "format": 2}))
    with pytest.raises(RunError, match=r"metrics\.json: is damaged; targets\.y\.kind: missing"):
        load_document(Card, tmp_path / "metrics.json")


def test_every_key_that_is_wrong_is_told_at_once(tmp_path):
    results = results_of(folds=("A",))
    results["rows"][0]["seed"], results["summary"]["N2"]["mean"] = "x", "y"
    del results["time"]
    file = write_results(tmp_path, results) / "results.json"

    with pytest.raises(RunError) as refused:
        load_document(Results, file)

    told = str(refused.value)
    assert told.startswith(f"{file}: is damaged; ")
    assert all(each in told for each in ("rows[0].seed: ", "summary.N2.mean: ", "time: missing"))


def test_what_an_earlier_version_did_not_say_stays_unsaid(tmp_path):
    results = results_of(folds=("A",))
    assert "measures" not in results

    save_document(tmp_path / "results.json", Results.model_validate(results))

    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_a_document_of_a_later_version_is_not_overwritten_and_a_damaged_one_is(tmp_path):
    file, results = tmp_path / "results.json", Results.model_validate(results_of(folds=("A",)))
    file.write_text('{"format": 99, "new": 1}')

    with pytest.raises(RunError, match=r"results\.json: results of format 99, which a later version wrote, is kept; "):
        save_document(file, results)
    assert file.read_text() == '{"format": 99, "new": 1}'

    for damaged in ("{", '{"format": "x"}', '{"format": true}', "[]"):
        file.write_text(damaged)
        save_document(file, results)
        assert load_document(Results, file) == results


@pytest.mark.parametrize("stated", [True, 1.0, "1", None])
def test_a_format_is_a_whole_number(tmp_path, stated):
    file = write_results(tmp_path, results_of(folds=("A",)) | {"format": stated}) / "results.json"

    with pytest.raises(RunError, match=r"results of format .*; this version reads format 1"):
        load_document(Results, file)


def test_json_with_a_mark_of_byte_order_is_read(tmp_path):
    file = write_results(tmp_path, results_of(folds=("A",))) / "results.json"
    whole = load_document(Results, file)

    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    assert load_document(Results, file) == whole


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_no_figure(value):
    assert figure(value).plain() == {"value": None, "low": None, "high": None}


def test_json_holds_no_number_that_is_not_finite_and_names_what_is_no_text():
    written = as_json({"a": [float("nan"), float("-inf"), 1e-7], "b": (1, None)}, indent=None)
    assert json.loads(written, parse_constant=pytest.fail) == {"a": [None, None, 1e-7], "b": [1, None]}
    assert written.endswith(b"\n")

    with pytest.raises(RunError, match=r"cannot be written as JSON .*; give files names in UTF-8"):
        as_json({"file": "\udcff.wav"})
