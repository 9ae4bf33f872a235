"""Documents that are damaged, too large or of another kind: one short error with the file's name, never a traceback."""

from __future__ import annotations

import json
import math
import random
import re
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
from report_folders import COLUMNS, log, record_of, results_of, write_results
from safetensors.torch import save_file
from small_runs import recipe

from fusionkit.cli import main
from fusionkit.config.recipe import load_recipe
from fusionkit.errors import SCREENFUL, DataError, Problem, RecipeError, RunError, suggest_names
from fusionkit.report.pages import comparison, experiment, gallery
from fusionkit.report.pages.blocks import Missing
from fusionkit.report.pages.experiment import write_report
from fusionkit.storage.experiment_folder import ExperimentFolder
from fusionkit.storage.files import MAX_JSON_DEPTH, read_json, read_within
from fusionkit.storage.run_folder import RunFolder
from fusionkit.storage.tensor_files import read_tensors

DEEP = b"[" * 100_000
DAMAGED = {
    "empty": b"",
    "null": b"null",
    "a list": b"[1]",
    "text": b'"x"',
    "binary": bytes(range(256)),
    "cut": b'{"targets": {"lab',
    "nested as deep as Python's stack": b'{"a": ' + DEEP + b"]" * 100_000 + b"}",
    "nested and not closed": b'{"a": ' + DEEP,
    "nested a little too deep": b'{"a": ' + b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH + b"}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a number of many digits": b'{"a": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_json_that_is_damaged_is_one_short_error_with_the_files_name(content, tmp_path):
    (tmp_path / "metrics.json").write_bytes(content)

    with pytest.raises(RunError, match=r"metrics\.json: ") as refused:
        read_json(tmp_path / "metrics.json")

    assert len(str(refused.value)) < 500


def test_json_nested_as_deep_as_the_limit_is_read(tmp_path):
    depth = MAX_JSON_DEPTH - 1
    (tmp_path / "a.json").write_text('{"a": ' + "[" * depth + "]" * depth + "}")

    assert read_json(tmp_path / "a.json")["a"] is not None


def test_json_that_is_too_large_or_no_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fusionkit.storage.files.MAX_JSON_BYTES", 100)
    (tmp_path / "a.json").write_text(json.dumps({"a": "x" * 100}))

    with pytest.raises(RunError, match=r"a\.json: is larger than the 100 bytes that such a file may hold"):
        read_json(tmp_path / "a.json")
    with pytest.raises(RunError, match=r"cannot be read \(Is a directory\)"):
        read_json(tmp_path)
    with pytest.raises(RunError, match=r"cannot be read \(File name too long\)"):
        read_json(tmp_path / ("n" * 300))


def test_a_file_is_read_whole_up_to_its_limit_and_no_further_in_parts_of_the_memory_that_it_takes(tmp_path):
    content = random.Random(0).randbytes(10 * 2**20 + 1)
    (tmp_path / "a").write_bytes(content)
    tracemalloc.start()
    try:
        assert read_within(tmp_path / "a", len(content)) == content
        with pytest.raises(RunError, match=r"larger than the 10,485,760 bytes"):
            read_within(tmp_path / "a", len(content) - 1)
        tracemalloc.reset_peak()
        (tmp_path / "a").write_bytes(b"small")
        assert read_within(tmp_path / "a", 2**40) == b"small"
        assert tracemalloc.get_traced_memory()[1] < len(content) + 2**25
    finally:
        tracemalloc.stop()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("schema: 1\n")
    return RunFolder(tmp_path / "run")


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_of_a_log_is_told_by_file_and_line(content, run):
    whole = [json.dumps(record).encode() for record in log(("audio", "video"))]
    (run.path / "log.jsonl").write_bytes(
        b"\n".join([whole[0], content.replace(b"\n", b"").replace(b"\r", b""), *whole])
    )

    with pytest.raises(RunError, match=r"log\.jsonl: line 2: "):
        run.log.read()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"step": None}, "step: a whole number is expected, given null"),
        ({"step": True}, "step: a whole number is expected, given true"),
        ({"stage": 3}, "stage: text is expected, given 3"),
        ({"epoch": "0"}, "epoch: a whole number is expected, given '0'"),
        ({"epoch": 10**12}, "epoch: a number of at most 10000000 is expected, given 1000000000000"),
        ({"training": math.nan}, "training: a finite number is expected, given nan"),
        ({"gradients": {"a": {"cosine": math.nan, "own_norm": 1, "fused_norm": 1}}}, "gradients.a.cosine: a finite"),
        ({"terms": 3}, "terms: a mapping of keys is expected, given 3"),
        ({"terms": {"fused/label": "x"}}, "terms.fused/label: a number is expected, given 'x'"),
        ({"validation_terms": {"a": [1]}}, "validation_terms.a: a number is expected, given [1]"),
        ({"training": {}}, "training: a number is expected, given a mapping"),
        ({"gradients": {"a": {"cosine": 0.5, "own_norm": 1}}}, "gradients.a.fused_norm: missing"),
        ({"gradients": {"a": 0.5}}, "gradients.a: a mapping of keys is expected, given 0.5"),
    ],
)
def test_a_value_of_another_kind_in_a_log_is_told_with_its_key(change, told, run):
    (run.path / "log.jsonl").write_text(json.dumps({**log(("audio", "video"))[0], **change}))

    with pytest.raises(RunError) as refused:
        run.log.read()

    assert str(refused.value).startswith(f"{run.path / 'log.jsonl'}: line 1: is damaged; {told}")


def test_a_log_as_trainings_write_it_is_read(run):
    (run.path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in log(("audio", "video"))))

    assert run.log.read() == log(("audio", "video"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 64, (2**60).to_bytes(8, "little"), (10).to_bytes(8, "little") + b'{"a": null', b"[" * 200],
)
def test_tensors_that_are_damaged_are_one_error_with_the_files_name(content, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(content)

    with pytest.raises(RunError, match=r"weights\.safetensors: is damaged and cannot be read"):
        read_tensors(tmp_path / "weights.safetensors")


def test_tensors_of_somebody_else_are_refused_by_name(tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path / "weights.safetensors")

    with pytest.raises(RunError, match=r"weights\.safetensors: carries no sha256"):
        read_tensors(tmp_path / "weights.safetensors")


def test_yaml_above_the_limit_is_refused_at_once(tmp_path):
    (tmp_path / "large.yaml").write_text("- a: 1\n" * 1_700_000)  # 12 MB
    started = time.process_time()

    with pytest.raises(RecipeError, match=r"large\.yaml: is larger than 1,000,000 bytes, so it is no recipe"):
        load_recipe(tmp_path / "large.yaml")

    assert time.process_time() - started < 0.5


def test_a_long_list_in_an_error_is_cut_at_a_screenful_and_says_how_many_more():
    problems = [Problem(f"row {number}", "is no number", "a number") for number in range(5000)]

    text = str(DataError(problems, source="table.csv"))

    assert len(text) <= SCREENFUL + 100
    assert text.startswith("table.csv: 5000 problems\n  - row 0: is no number; a number\n")
    assert text.endswith("  - row 29: is no number; a number\n  and 4970 more")
    assert len(DataError(problems).problems) == 5000


def test_problems_that_are_each_long_are_as_many_as_fit_a_screen_and_at_least_one():
    problems = [Problem("place", "x" * 5000, ", ".join(map(str, range(2000))))] * 10

    text = str(RecipeError(problems))

    assert SCREENFUL / 2 < len(text) <= SCREENFUL + 100
    assert "(4000 more characters)" in text
    assert text.endswith("\n  and 9 more") or text.endswith("\n  and 8 more")


def test_a_list_within_a_sentence_is_cut_behind_an_entry_and_counted():
    names = [f"modality{number}" for number in range(1000)]
    known = suggest_names("zzz", names)

    told = str(RunError(f"run: a run of another recipe; different: {'; '.join(names)}"))

    assert len(told) <= SCREENFUL + 20
    shown = told.split("different: ")[1].removesuffix(" more").rpartition(" and ")
    assert len(shown[0].split("; ")) + int(shown[2]) == 1000
    (problem,) = RecipeError([Problem("a", "unknown", known)]).problems
    assert len(str(problem)) < 1100


def test_a_name_of_a_third_of_a_million_letters_is_refused_in_few_words():
    plain = {"schema": 1, "data": {"dataset": "x" * 346_000}, "model": {}, "train": {}}

    with pytest.raises(RecipeError) as refused:
        load_recipe(plain)

    assert len(str(refused.value)) <= SCREENFUL + 100


def ended(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


OUTS = {"of 300 letters": "n" * 300, "a file": "file", "below a file": "file/below", "not to be written": "/proc/none"}


@pytest.mark.parametrize("out", OUTS.values(), ids=OUTS)
@pytest.mark.parametrize(
    "arguments", [("report", "results", "--out"), ("recipes", "copy", "quickstart/recipe", "--to")]
)
def test_a_folder_for_results_that_cannot_be_is_refused_by_name(arguments, out, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    write_results(Path("results"), results_of(dict.fromkeys(COLUMNS, ()), folds=()))

    assert ended(*arguments, out) == 2

    told = capsys.readouterr().err
    assert told.startswith("fusionkit: ")
    assert out.split("/")[0] in told
    assert Path("file").read_text() == "mine"


@pytest.mark.parametrize("out", OUTS.values(), ids=OUTS)
def test_a_run_in_a_folder_that_cannot_be_is_refused_by_name(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")

    assert not RunFolder(out).begun
    with pytest.raises(RunError, match=re.escape(out)):
        RunFolder.create(out, load_recipe(recipe()))

    assert Path("file").read_text() == "mine"


@pytest.mark.parametrize("name", ["n" * 300, "file", "file/below", "gone", "", "~nobody_of_this_name/run"])
@pytest.mark.parametrize("command", ["evaluate", "verify", "diagnose", "stress", "report", "check", "prepare"])
def test_a_path_that_cannot_be_opened_is_refused_by_name(command, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("not: [closed")

    assert ended(command, name) == 2

    assert capsys.readouterr().err.startswith("fusionkit: ")


def test_a_row_of_results_that_names_a_run_outside_of_the_folder_is_refused(tmp_path):
    results = record_of(results_of(folds=("A",)))
    for name in ("../other", "/etc", "runs/../../other"):
        folder = ExperimentFolder(tmp_path, results)
        with pytest.raises(RunError, match="is outside of the experiment's folder"):
            folder.run(name)


@pytest.mark.parametrize("name", ["", ".", "/etc", "..", "runs/../../x", "a\0b", "n" * 5000], ids=lambda name: name[:9])
def test_a_run_of_results_is_a_folder_below_theirs(name, tmp_path):
    results = results_of(folds=("A",))
    results["rows"][0]["run"] = name
    write_results(tmp_path, results)

    with pytest.raises(RunError, match=r"results\.json: is damaged; rows\[0\]\.run: ") as refused:
        ExperimentFolder.open(tmp_path)

    assert len(str(refused.value)) < 300


def test_a_run_of_results_whose_name_no_file_system_has_is_not_there(tmp_path):
    with pytest.raises(RunError, match=r"is not beside results\.json any more"):
        ExperimentFolder(tmp_path, record_of(results_of(folds=("A",)))).run("n" * 300)


OTHERS = [None, 3, -1.5, "x", [], {}, True, [[]], {"a": None}]


def places_of(value: object, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place of a document; of a list, those of its first entry."""
    keys = list(value) if isinstance(value, dict) else [0] if isinstance(value, list) and value else []
    return [place, *(below for key in keys for below in places_of(value[key], (*place, key)))]  # type: ignore[index]


def test_results_with_a_value_of_another_kind_anywhere_are_refused_or_reported(tmp_path, monkeypatch):
    """A report of them is written, or one error names the file; what is drawn is not drawn here."""
    for module in (experiment, gallery, comparison):
        monkeypatch.setattr(module, "picture", lambda *_, what, **__: Missing(what, "not here"))
    whole, generator, refused = results_of(folds=("A",)), random.Random(0), list[str]()
    places = places_of(whole)[1:]
    assert len(places) > 200
    for place in generator.sample(places, 60):
        changed = json.loads(json.dumps(whole))
        node = changed
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = generator.choice(OTHERS)
        write_results(tmp_path, changed)
        try:
            write_report(tmp_path)
        except RunError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all(each.startswith(str(tmp_path / "results.json")) for each in refused)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"columns": []}, "columns: there is none"),
        ({"summary": {}}, "columns and summary are not of the same names: late fusion, AM"),
        ({"seeds": "all"}, "seeds: a list is expected, given 'all'"),
        ({"rows": [3]}, "rows[0]: a mapping of keys is expected, given 3"),
        ({"confusion": {"classes": ["a"], "matrices": {"N2": [[1, 2]]}}}, "the matrix of 'N2' is not of 1 rows"),
        ({"confusion": {"classes": ["a"], "matrices": {"N2": [[10**30]]}}}, "confusion.matrices.N2[0][0]: "),
        ({"confusion": {"classes": ["a"], "matrices": {"N2": [[-1]]}}}, "confusion.matrices.N2[0][0]: "),
        ({"time": None}, "time: text is expected, given null"),
        ({"target": "../x"}, "target: text of the form ^[A-Za-z][A-Za-z0-9_]*$ is expected, given '../x'"),
        (
            {"recipes": {"a": {"model": {"modalities": {}, "targets": {"mood": {}}}}}},
            "target: no recipe has 'emotion'; they have mood",
        ),
    ],
)
def test_what_is_wrong_with_results_is_told_with_its_key(change, told, tmp_path):
    write_results(tmp_path, {**results_of(folds=("A",)), **change})

    with pytest.raises(RunError, match=r"results\.json: is damaged; ") as refused:
        ExperimentFolder.open(tmp_path)

    assert told in str(refused.value)
