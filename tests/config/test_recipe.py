"""Recipes: every problem at once, every default written out, nothing run because a recipe names it."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import jsonschema
import pytest

from fusionkit.config.components.registry import REGISTRIES
from fusionkit.config.components.specs import ComponentSpec, EncoderSpec, OptimizerSpec
from fusionkit.config.documents import read_document
from fusionkit.config.json_schema import make_json_schema
from fusionkit.config.recipe import check_document, load_recipe
from fusionkit.config.schema import MOST_EPOCHS, ModelSpec, PrepareSpec, Recipe
from fusionkit.config.yaml import read_yaml, write_yaml
from fusionkit.errors import RecipeError

SHIPPED = sorted(
    path
    for path in (Path(__file__).parents[2] / "recipes").rglob("*.yaml")
    if "\nvariants:" not in path.read_text(encoding="utf-8")
)

GOOD = """\
schema: 1
data:
  dataset: synthetic
  batch_size: 4
model:
  modalities:
    audio:
      shape: [8]
      encoder: [identity, {type: mlp, hidden: [8]}]
      aggregator: lstm
    video: {shape: [4]}
  targets:
    emotion: {type: classification, classes: [calm, happy]}
train:
  optimizer: {type: adamw, lr: 1e-3}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def problems_of(path: Path, text: str, overrides=()) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        load_recipe(path, overrides)
    assert str(error.value).startswith(f"{path}: ")
    return [str(problem) for problem in error.value.problems]


def test_a_recipe_with_mistakes_reports_all_of_them_with_line_place_value_and_remedy(good):
    text = """\
schema: 1
plugins: [a_module_that_is_not_there]
data:
  dataset: synthetic
  batch_size: 0
model:
  modalities:
    audio:
      encoder: [identity, {type: mpl, hidden: [8]}, {type: mlp, hidden: [8, -1], dropuot: 0.5}]
      aggregator: {type: lstm, hidden: wide}
  fusion: os.system
  targets:
    emotion: classification
train:
  optimizer: {type: adamw, lr: .nan}
  epochs: ten
moodel: 3
"""
    assert problems_of(good, text) == [
        "line 2: plugins[0]: cannot import 'a_module_that_is_not_there' "
        "(No module named 'a_module_that_is_not_there'); "
        "a plugin is a module that Python can import from here (installed, or on PYTHONPATH)",
        "line 5: data.batch_size: a number above 0 is expected, given 0",
        "line 9: model.modalities.audio.encoder[1].type: unknown encoder 'mpl'; did you mean 'mlp'?",
        "line 9: model.modalities.audio.encoder[2].hidden[1]: a number above 0 is expected, given -1",
        "line 9: model.modalities.audio.encoder[2].dropuot: unknown option; did you mean 'dropout' or 'out'?",
        "line 10: model.modalities.audio.aggregator.hidden: a whole number is expected, given 'wide'",
        "line 11: model.fusion: unknown fusion 'os.system'; known: " + ", ".join(REGISTRIES["fusion"].names()),
        "line 15: train.optimizer.lr: a finite number is expected, given nan",
        "line 16: train.epochs: a whole number is expected, given 'ten'",
        "line 17: moodel: unknown key; did you mean 'model'?",
    ]


@pytest.mark.parametrize("version", ["true", "1.0", "'1'", "2", "null"])
def test_a_schema_is_the_whole_number_1(good, version):
    (problem,) = problems_of(good, GOOD, [f"schema={version}"])
    assert "schema: 1 is expected, given " in problem
    assert ("write it without quotation marks" in problem) == ("'" in version)


def test_a_recipe_and_a_log_know_the_same_most_epochs(good):
    (problem,) = problems_of(good, GOOD, [f"train.epochs={MOST_EPOCHS + 1}"])
    assert problem.endswith("train.epochs: a number of at most 10000000 is expected, given 10000001")


def test_a_wrong_override_is_named_in_place_of_a_line(good):
    problems = problems_of(good, GOOD, ["train.optimizer.lr=fast", "model.fusion.width=3", "train.epochs=0"])
    assert [problem.split(";")[0] for problem in problems] == [
        "override 'model.fusion.width=3': model.fusion.width: unknown option",
        "override 'train.optimizer.lr=fast': train.optimizer.lr: a number is expected, given 'fast'",
        "override 'train.epochs=0': train.epochs: a number above 0 is expected, given 0",
    ]


def test_an_option_without_default_that_is_left_out_is_reported(good):
    text = GOOD.replace("dataset: synthetic", "dataset: manifest")
    assert "line 3: data.dataset.path: missing; this option has no default" in problems_of(good, text)


def test_a_bare_name_takes_every_default_and_defaults_are_written_out(good):
    recipe = load_recipe(good)
    aggregator = recipe.model.modalities["audio"].aggregator
    assert aggregator.options == REGISTRIES["aggregator"].get("lstm").check({})[0]
    assert aggregator.options
    assert recipe.model.modalities["video"].encoder == (EncoderSpec(type="identity"),)
    assert recipe.train.optimizer.options == REGISTRIES["optimizer"].get("adamw").check({"lr": 1e-3})[0]
    assert recipe.data.folds.options == REGISTRIES["folds"].get(recipe.data.folds.type).check({})[0]
    assert recipe.train.strategy.type == "end_to_end"


def test_one_encoder_and_a_chain_of_one_are_the_same(good):
    one = load_recipe(good, ["model.modalities.audio.encoder={type: mlp, hidden: [8]}"])
    chain = load_recipe(good, ["model.modalities.audio.encoder=[{type: mlp, hidden: [8]}]"])
    assert one == chain


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("train.optimizer.lr=0.5", "train.optimizer"),
        ("train.scheduler.floor=0.5", None),
        ("data.folds.seed=3", "data.folds"),
        ("data.prepare.face.detector.upsample=2", "data.prepare.face.detector"),
        ("model.fusion.of={type: gated}", "model.fusion"),
        ("model.fusion.of.type=gated", "model.fusion"),
        ("model.modalities.video.aggregator.bias=true", None),
    ],
)
def test_an_option_of_a_component_that_is_left_to_its_default_keeps_the_defaults_name(good, override, place):
    good.write_text(GOOD[: GOOD.index("train:")], encoding="utf-8")
    default = load_recipe(good).plain()
    default["data"]["prepare"] = PrepareSpec().model_dump(mode="json")
    if place is None:  # the default has no such option: the message is of the component, not that none is named
        (problem,) = problems_of(good, good.read_text(encoding="utf-8"), [override])
        assert f"{override.partition('=')[0]}: unknown option" in problem
        return
    changed = load_recipe(good, [override]).plain()
    for key in place.split("."):
        default, changed = default[key], changed[key]
    assert changed["type"] == default["type"]
    assert changed != default


def test_an_option_of_a_component_in_a_component_keeps_the_defaults_name(good):
    folds = "data.folds={type: nested, folds: {type: group_kfold}, fold: 0}"
    within = load_recipe(good, [folds, "data.folds.within.seed=3"]).data.folds.options["within"]
    assert (within["type"], within["seed"]) == ("holdout", 3)


def test_a_mapping_without_a_name_is_refused_whether_a_file_or_an_override_says_it(good):
    message = "train.optimizer: no component is named"
    assert message in problems_of(good, GOOD.replace("type: adamw, ", ""))[0]
    assert message in problems_of(good, GOOD, ["train.optimizer={lr: 0.5}"])[0]


def test_a_mistyped_encoder_is_one_problem(good):
    problems = problems_of(good, GOOD, ["model.modalities.video.encoder=mpl"])
    assert [problem.partition("; ")[0].partition(": ")[2] for problem in problems] == [
        "model.modalities.video.encoder: unknown encoder 'mpl'"
    ]


def test_an_override_turns_a_bare_name_into_a_component_with_options(good):
    recipe = load_recipe(good, ["model.modalities.audio.aggregator.hidden=7", "model.modalities.audio.encoder.1.out=5"])
    assert recipe.model.modalities["audio"].aggregator.options["hidden"] == 7
    assert recipe.model.modalities["audio"].encoder[1].options["out"] == 5


@pytest.mark.parametrize("path", [None, *SHIPPED], ids=lambda path: "written here" if path is None else path.stem)
def test_a_recipe_that_is_written_out_is_read_back_as_the_same_recipe(good, tmp_path, path):
    recipe = load_recipe(path or good)
    copied = tmp_path / "copy.yaml"
    copied.write_text(write_yaml(recipe.plain()), encoding="utf-8")
    assert load_recipe(copied) == recipe
    assert load_recipe(recipe) == recipe
    assert load_recipe(recipe.plain()) == recipe


def test_shipped_recipes_are_found():
    assert SHIPPED


@pytest.mark.parametrize("name", ["os.system", "subprocess:run", "antigravity", "__import__", "this"])
@pytest.mark.parametrize("place", ["model.fusion", "train.optimizer", "data.dataset", "model.modalities.audio.encoder"])
def test_nothing_is_imported_because_a_recipe_names_it(good, name, place):
    before = set(sys.modules)
    with pytest.raises(RecipeError, match="unknown"):
        load_recipe(good, [f"{place}={{type: '{name}', command: 'true'}}"])
    assert not {"antigravity", "this"} & (set(sys.modules) - before)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1 / 0", "fails while it is imported (ZeroDivisionError: division by zero); mend the module"),
        ("def broken(:", "fails while it is imported (SyntaxError: "),
        ("undefined_name", "fails while it is imported (NameError: name 'undefined_name' is not defined)"),
        ("import not_installed_anywhere", "(No module named 'not_installed_anywhere')"),
    ],
)
def test_a_plugin_that_fails_is_a_problem_among_the_others(good, tmp_path, monkeypatch, body, message):
    (tmp_path / "failing_plugin.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_plugin", raising=False)
    problems = problems_of(good, GOOD + "  epochs: 0\nplugins:\n  - failing_plugin\n")
    assert problems[0].startswith("line 18: plugins[0]: ")
    assert message in problems[0]
    assert problems[1] == "line 16: train.epochs: a number above 0 is expected, given 0"


@pytest.mark.parametrize("name", ["", ".relative", "my plugin", "my-plugin.py"])
def test_a_plugin_that_is_no_module_name_is_refused(good, name):
    problems = problems_of(good, GOOD + f"plugins: [{name!r}]\n")
    assert problems == [f"line 16: plugins[0]: {name!r} is no module name; write it as in an import statement"]


def test_plugins_that_are_no_list_of_names_are_refused(good):
    assert problems_of(good, GOOD + "plugins: mine\n") == ["line 16: plugins: a list is expected, given 'mine'"]
    assert problems_of(good, GOOD + "plugins: [3]\n") == ["line 16: plugins[0]: text is expected, given 3"]


def test_unhashable_types_and_nested_nan_are_refused_in_place(good):
    problems = problems_of(
        good, GOOD, ["model.fusion={type: [a]}", "model.modalities.video.encoder={type: mlp, hidden: [.inf]}"]
    )
    assert problems[0].endswith("model.modalities.video.encoder.hidden[0]: a whole number is expected, given inf")
    assert problems[1].endswith("model.fusion.type: text is expected, given ['a']")


def test_a_part_of_a_recipe_is_checked_and_completed_alone():
    model = check_document(ModelSpec, read_document({"modalities": {"a": {}}, "targets": {"y": "regression"}})[0])
    assert model.targets["y"].options
    assert model.fusion.type == "mrpn"


def valid(schema: object, document: object) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(document)


@pytest.fixture(scope="module")
def schema() -> dict[str, object]:
    made = make_json_schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return made


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_conform_to_the_schema_as_they_stand_and_written_out(schema, path):
    assert valid(schema, read_yaml(path.read_text(encoding="utf-8"), "").value)
    assert valid(schema, load_recipe(path).plain())


def test_the_schema_takes_what_the_loader_takes_and_refuses_what_it_refuses(schema, good):
    whole = read_yaml(GOOD, "").value
    assert valid(schema, whole)
    for override in (
        "model.fusion=nothing_like_it",
        "model.modalities.audio.encoder={type: mlp, hidden: x}",
        "model.modalities.audio.encoder={type: mlp, hiden: [3]}",
        "model.modalities.audio.encoder=[{type: mlp, hiden: [3]}]",
        "model.modalities.audio.encoder=[]",
        "model.modalities.audio.aggregator={type: lstm, hidden: 0}",
        "train.optimizer={lr: 1.0}",
        "train.epochs=0",
        "train.epochs=10000001",
        "schema=true",
        "data.dataset=manifest",
        "modl=3",
    ):
        document = read_document(copy.deepcopy(whole), [override])[0].value
        assert not valid(schema, document), override
        with pytest.raises(RecipeError):
            load_recipe(document)
    for override in (
        "model.modalities.audio.encoder={type: mlp, hidden: [3]}",
        "model.modalities.audio.encoder=identity",
        "model.modalities.audio.transforms=[]",
        "model.fused_hidden=null",
    ):
        document = read_document(copy.deepcopy(whole), [override])[0].value
        assert valid(schema, document), override
        load_recipe(document)


def test_the_schema_names_every_component_and_every_option(schema):
    definitions = schema["$defs"]
    for spec in ComponentSpec.__subclasses__():
        if spec.kind not in REGISTRIES:
            continue
        listed = {entry["title"]: entry for entry in definitions[spec.__name__]["anyOf"] if "title" in entry}
        assert set(listed) == set(REGISTRIES[spec.kind].names())
        for component in REGISTRIES[spec.kind]:
            assert set(listed[component.name]["properties"]) == {"type", *component.options.model_fields}


def test_every_reference_of_the_schema_leads_somewhere(schema):
    text = json.dumps(schema)
    references = {part.split('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}
    assert references <= set(schema["$defs"])
    assert references


def test_a_recipe_is_hashable_text_for_its_run(good):
    assert json.loads(json.dumps(load_recipe(good).plain()))["schema"] == 1
    assert isinstance(load_recipe(good), Recipe)
    assert isinstance(load_recipe(good).train.optimizer, OptimizerSpec)
