"""Reading documents: files, mappings and overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusionkit.config.components.specs import FusionSpec
from fusionkit.config.documents import read_document
from fusionkit.config.recipe import check_document
from fusionkit.config.schema import ModelSpec, TrainSpec
from fusionkit.errors import RecipeError

SMALL = "data: {batch_size: 4}\nchain:\n  - one\n  - {type: two, hop: 1}\nbare: lstm\nnothing:\n"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def refusal(source, overrides=()) -> list[str]:
    with pytest.raises(RecipeError) as error:
        read_document(source, overrides)
    return [str(problem) for problem in error.value.problems]


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("data.batch_size=8", ("data", "batch_size"), 8),
        ("data.lr=1e-3", ("data", "lr"), 1e-3),
        ("data.x=[1, {a: b}]", ("data", "x"), [1, {"a": "b"}]),
        ("data.x=a=b", ("data", "x"), "a=b"),
        ("data.x=null", ("data", "x"), None),
        ("data.x=''", ("data", "x"), ""),
        ("chain.1.hop=2", ("chain", 1, "hop"), 2),
        ("chain.0=three", ("chain", 0), "three"),
        ("chain.0.size=3", ("chain", 0), {"type": "one", "size": 3}),
        ("bare.hidden=3", ("bare",), {"type": "lstm", "hidden": 3}),
        ("nothing.below.it=3", ("nothing",), {"below": {"it": 3}}),
        ("new.key=3", ("new",), {"key": 3}),
    ],
)
def test_an_override_sets_the_value_of_its_key_path(small, override, path, value):
    node, _ = read_document(small, [override])
    found = node.value
    for key in path:
        found = found[key]
    assert found == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.batch_size", "is not key.path=value; for example train.epochs=10"),
        ("=3", "is not key.path=value"),
        ("data..x=3", "is not key.path=value"),
        ("data.x=", "gives no value; data.x=null takes the default, data.x='\"\"' is an empty text"),
        ("data.x= ", "gives no value"),
        ("chain.2=x", "'2' is no position in a list of 2; positions count from 0"),
        ("chain.-1=x", "'-1' is no position in a list of 2"),
        ("chain.²=x", "'²' is no position in a list of 2"),
        ("data.batch_size.x=1", "'batch_size' holds 4, which has no keys"),
        ("data.x=[1", "not YAML"),
        ("data.x=!!int 3", "the tag"),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(small, override, message):
    (problem,) = refusal(small, [override])
    assert problem.startswith(f"override {override!r}: ")
    assert message in problem


def test_all_overrides_that_cannot_be_applied_are_named_at_once(small):
    assert len(refusal(small, ["a", "data.batch_size=3", "chain.9=1", "b"])) == 3


def test_an_override_of_a_value_with_an_alias_changes_one_place(tmp_path):
    path = tmp_path / "aliases.yaml"
    path.write_text("a: &x {k: 1}\nb: *x\n", encoding="utf-8")
    assert read_document(path, ["a.k=2"])[0].value == {"a": {"k": 2}, "b": {"k": 1}}


def test_a_mapping_that_is_given_is_not_changed_by_overrides():
    given = {"a": {"b": [1]}}
    assert read_document(given, ["a.b.0=2"])[0].value == {"a": {"b": [2]}}
    assert given == {"a": {"b": [1]}}


def test_tuples_and_number_keys_of_a_mapping_become_plain_data():
    assert read_document({"a": (1, 2.5), 3: None})[0].value == {"a": [1, 2.5], "3": None}


def test_every_value_of_a_mapping_that_is_no_plain_data_is_reported_with_its_place():
    assert refusal({"a": {1, 2}, "b": [{"c": Path("x")}], "d": "\ud800"}) == [
        "a: a value of type set is no plain data; a spec holds numbers, text, lists and mappings",
        "b[0].c: a value of type PosixPath is no plain data; a spec holds numbers, text, lists and mappings",
        "d: '\\ud800' is not Unicode text",
    ]


def test_a_mapping_that_contains_itself_is_refused():
    circle: dict[str, object] = {}
    circle["a"] = circle
    assert "nested deeper than 32 levels" in refusal(circle)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a mapping of keys is expected, given an empty document"),
        (b"- 1\n", "a mapping of keys is expected, given [1]"),
        (b"word", "a mapping of keys is expected, given 'word'"),
        (b"a: \xff", "cannot be read (not UTF-8 text)"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_with_its_name(tmp_path, content, message):
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as error:
        read_document(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert ("begin with schema: 1, then data, model and train" in str(error.value)) == (b"a: " not in content)


def test_a_missing_file_and_a_folder_are_refused_with_their_names(tmp_path):
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "none.yaml")[0]
    assert "cannot be read (Is a directory)" in refusal(tmp_path)[0]
    assert "cannot be read" in refusal("nul\0.yaml")[0]


def test_a_component_spec_gives_its_options_as_plain_data():
    spec = FusionSpec.model_validate({"type": "gated", "width": 3, "options": [1], "kind": "x"})
    assert spec.type == "gated"
    assert spec.options == {"width": 3, "options": [1], "kind": "x"}
    assert FusionSpec.model_validate("gated") == FusionSpec(type="gated")


def test_specs_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        TrainSpec().epochs = 3  # type: ignore[misc]


def problems_of(record, value) -> str:
    with pytest.raises(RecipeError) as error:
        check_document(record, read_document(value)[0])
    return str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 1.5}, "epochs: a whole number is expected, given 1.5"),
        ({"epochs": True}, "epochs: a whole number is expected, given true"),
        ({"epochs": "3"}, "epochs: a whole number is expected, given '3'"),
        ({"epochs": None}, "epochs: a whole number is expected, given null"),
        ({"epochs": 0}, "epochs: a number above 0 is expected, given 0"),
        ({"seed": -1}, "seed: a number of at least 0 is expected, given -1"),
        ({"warmup": 1}, "warmup: a number below 1.0 is expected, given 1"),
        ({"warmup": float("nan")}, "warmup: a finite number is expected, given nan"),
        ({"warmup": float("inf")}, "warmup: a finite number is expected, given inf"),
        ({"warmup": "x" * 99}, "warmup: a number is expected, given 'xxxx"),
        ({"select": "bets"}, "select: 'last', 'best' or 'inner' is expected, given 'bets'; did you mean 'best'?"),
        ({"epoch": 3}, "epoch: unknown key; did you mean 'epochs'?"),
        ({"patience": 3}, "patience needs a validation set: choose select: inner (or best)"),
        ({"optimizer": None}, "optimizer: a component (optimizer) is expected, given null; write its name, or"),
        ({"optimizer": ["adamw"]}, "optimizer: a component (optimizer) is expected, given ['adamw']; write its name"),
        (
            {"optimizer": {"lr": 0.1}},
            "optimizer: no component is named; write type: and the name of a component (`fusionkit list optimizer`)",
        ),
        ({"optimizer": {"type": 3}}, "optimizer.type: text is expected, given 3"),
    ],
)
def test_a_wrong_value_is_reported_with_place_value_and_what_is_expected(given, message):
    assert message in problems_of(TrainSpec, given)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1st", "modalities.1st: '1st' is no name; a name is letters, digits and underscores, a letter first"),
        ("a.b", "'a.b' is no name"),
        ("a/b", "'a/b' is no name"),
        ("training", "the name 'training' is the library's own; call the modality something else"),
        ("fused", "the name 'fused' is the library's own; call the modality something else"),
    ],
)
def test_a_modality_needs_a_name_that_term_names_and_files_can_hold(name, message):
    assert message in problems_of(ModelSpec, {"modalities": {name: {}}, "targets": {"y": "regression"}})


def test_a_target_may_not_take_a_name_of_the_library():
    model = {"modalities": {"a": {}}, "targets": {"training": "regression"}}
    assert "the name 'training' is the library's own; call the target something else" in problems_of(ModelSpec, model)


def test_a_model_without_modalities_or_targets_is_refused():
    text = problems_of(ModelSpec, {"modalities": {}})
    assert "modalities: 0 entries are too few: at least 1" in text
    assert "targets: missing; this key has no default" in text


def test_a_value_that_fits_no_member_of_a_union_is_one_problem():
    from fusionkit.config.schema import DataSpec

    text = problems_of(DataSpec, {"dataset": "synthetic", "fold": 1.5})
    assert text == "fold: a whole number or text is expected, given 1.5"
