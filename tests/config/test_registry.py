"""Components by name: what registration refuses, and how a user's own component comes in."""

from __future__ import annotations

import importlib.metadata
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import BaseModel, Field, create_model

from fusionkit.config import plugins
from fusionkit.config.components import registry as registries
from fusionkit.config.components.registry import ENCODERS, REGISTRIES, SCHEDULERS, Component
from fusionkit.config.components.signature import make_options
from fusionkit.config.components.specs import EncoderSpec
from fusionkit.config.json_schema import make_json_schema
from fusionkit.config.plugins import load_entry_points
from fusionkit.config.recipe import load_recipe
from fusionkit.errors import RecipeError
from fusionkit.interfaces import Encoder, Schedule
from fusionkit.nn.jagged import Jagged

RECIPE: dict[str, Any] = {
    "schema": 1,
    "data": {"dataset": "synthetic"},
    "model": {"modalities": {"a": {"shape": [3]}}, "targets": {"y": "regression"}},
}


@pytest.fixture(autouse=True)
def registered_as_before():
    """Puts every registry back to what it held."""
    kept = {kind: dict(registry._components) for kind, registry in REGISTRIES.items() if registry.names()}
    yield
    for kind, components in kept.items():
        REGISTRIES[kind]._components.clear()
        REGISTRIES[kind]._components.update(components)


class Kept(Encoder):
    """Returns its input.

    Args:
        width: Width of
            nothing.
        mode: A mode.
    """

    def __init__(
        self, in_shape: tuple[int, ...], *, width: Annotated[int, Field(gt=0)] = 3, mode: Literal["x", "y"] = "x"
    ) -> None:
        super().__init__()
        self.width, self.mode, self.out_shape = width, mode, in_shape

    def forward(self, elements: Jagged) -> Jagged:
        return elements


def test_a_class_with_future_annotations_is_registered_with_its_options():
    assert ENCODERS.register("kept")(Kept) is Kept
    component = ENCODERS.get("kept")
    assert component.cls is Kept
    assert component.summary == "Returns its input."
    assert component.descriptions == {"width": "Width of nothing.", "mode": "A mode."}
    assert component.check({}) == ({"width": 3, "mode": "x"}, [])
    assert ENCODERS.build("kept", (2,), width=5).width == 5
    assert "kept" in ENCODERS
    assert "kept" in ENCODERS.names()


@pytest.mark.parametrize(
    ("options", "place", "message", "remedy"),
    [
        ({"widht": 3}, ("widht",), "unknown option", "did you mean 'width'?"),
        ({"width": 0}, ("width",), "a number above 0 is expected, given 0", ""),
        ({"width": "3"}, ("width",), "a whole number is expected, given '3'", ""),
        ({"width": None}, ("width",), "a whole number is expected, given null", ""),
        ({"width": float("nan")}, ("width",), "a whole number is expected, given nan", ""),
        ({"mode": "z"}, ("mode",), "'x' or 'y' is expected, given 'z'", ""),
        ({"mode": ["x"]}, ("mode",), "'x' or 'y' is expected, given ['x']", ""),
    ],
)
def test_a_wrong_option_is_named_with_value_and_remedy(options, place, message, remedy):
    ENCODERS.register("kept")(Kept)
    assert ENCODERS.get("kept").check(options) == ({}, [(place, message, remedy)])
    with pytest.raises(RecipeError, match=r"^kept\."):
        ENCODERS.build("kept", (2,), **options)


def test_options_that_are_no_plain_data_are_refused():
    ENCODERS.register("kept")(Kept)
    with pytest.raises(RecipeError, match="kept: the options are no plain data"):
        ENCODERS.build("kept", (2,), width=torch.zeros(1))


def test_an_unknown_name_is_refused_with_the_closest_one():
    with pytest.raises(RecipeError, match="encoder: unknown encoder 'mpl'; did you mean 'mlp'"):
        ENCODERS.build("mpl", (2,))


def test_a_taken_name_is_refused_and_the_first_class_stays():
    first = ENCODERS.get("mlp").cls
    with pytest.raises(ValueError, match=r"encoder 'mlp' is taken by fusionkit\.models\.encoders\.mlp\.Mlp; choose"):
        ENCODERS.register("mlp")(Kept)
    assert ENCODERS.get("mlp").cls is first


def test_the_same_class_from_a_module_that_is_executed_again_replaces_itself():
    ENCODERS.register("kept")(Kept)
    again = type("Kept", (Kept,), {"__module__": Kept.__module__, "__qualname__": "Kept"})
    assert ENCODERS.register("kept")(again) is ENCODERS.get("kept").cls


@pytest.mark.parametrize("name", ["", "Mlp", "my-encoder", "1st", "a.b", "os.system"])
def test_a_name_that_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match="a name is lower case letters, digits and underscores"):
        ENCODERS.register(name)


@pytest.mark.parametrize("thing", [torch.nn.Linear, 5, lambda in_shape: None, Schedule])
def test_what_is_no_subclass_of_the_interface_is_refused(thing):
    with pytest.raises(TypeError, match=r"encoder 'mine': .* is no subclass of Encoder"):
        ENCODERS.register("mine")(thing)


def test_a_class_that_leaves_a_method_out_is_refused():
    class Half(Encoder):
        def __init__(self, in_shape: tuple[int, ...]) -> None: ...

    with pytest.raises(TypeError, match="Half does not implement forward"):
        ENCODERS.register("half")(Half)


def schedule(constructor: Any, **also: Any) -> type[Schedule]:
    return type("Own", (Schedule,), {"__init__": constructor, "factor": lambda self, progress, losses: 1.0, **also})


def variadic(self, *arguments: int) -> None: ...
def keywords(self, **options: int) -> None: ...
def untyped(self, *, width=3) -> None: ...
def positional(self, width: int = 3) -> None: ...
def named_type(self, *, type: str = "x") -> None: ...
def underscored(self, *, _width: int = 3) -> None: ...
def unknown_type(self, *, width: NotImportedAnywhere = 3) -> None: ...  # type: ignore[name-defined]
def tensor(self, *, weight: torch.Tensor) -> None: ...
def wrong_default(self, *, width: int = "three") -> None: ...  # type: ignore[assignment]
def out_of_bounds(self, *, width: Annotated[int, Field(gt=0)] = 0) -> None: ...


@pytest.mark.parametrize(
    ("constructor", "message"),
    [
        (variadic, "parameter 'arguments' is variadic; a signature is a schema, so name every option"),
        (keywords, "parameter 'options' is variadic"),
        (untyped, "parameter 'width' has no type; annotate it"),
        (
            positional,
            r"the parameters before \* are \['width'\], wired by the model they are \[\]; options stand after",
        ),
        (named_type, "parameter 'type' cannot be an option"),
        (underscored, "parameter '_width' cannot be an option"),
        (unknown_type, "a type of the constructor is not known"),
        (tensor, "an option has a type that a recipe cannot state"),
        (wrong_default, "the default of 'width' is none that a recipe may set"),
        (out_of_bounds, "the default of 'width' is none that a recipe may set"),
    ],
)
def test_a_constructor_that_is_no_schema_is_refused(constructor, message):
    with pytest.raises(TypeError, match=f"scheduler 'own': {message}"):
        SCHEDULERS.register("own")(schedule(constructor))
    assert "own" not in SCHEDULERS


def test_an_encoder_without_the_wired_shape_is_refused():
    class Shapeless(Encoder):
        def __init__(self, *, width: int = 3) -> None: ...

        def forward(self, elements: Jagged) -> Jagged:
            return elements

    with pytest.raises(TypeError, match=r"before \* are \[\], wired by the model they are \['in_shape'\]"):
        ENCODERS.register("shapeless")(Shapeless)


def test_an_option_may_have_a_name_that_records_use_themselves():
    def constructor(self, *, copy: int = 1, json: bool = False, name: str = "x", options: tuple[int, ...] = ()) -> None:
        self.given = (copy, json, name, options)

    SCHEDULERS.register("own")(schedule(constructor))
    assert SCHEDULERS.build("own", copy=2, name="y", options=(1,)).given == (2, False, "y", (1,))
    recipe = load_recipe({**RECIPE, "train": {"scheduler": {"type": "own", "copy": 3, "options": [4]}}})
    assert recipe.train.scheduler.options == {"copy": 3, "json": False, "name": "x", "options": [4]}
    assert load_recipe(recipe) == recipe


class Inner(BaseModel):
    """A record."""

    size: int = 1


Other = create_model("Inner", name=(str, ""))


def test_records_of_one_name_in_two_components_do_not_clash_in_the_schema():
    def first(self, *, inner: Inner = Inner()) -> None: ...  # noqa: B008
    def second(self, *, inner: Other = Other()) -> None: ...  # noqa: B008

    SCHEDULERS.register("first")(schedule(first))
    SCHEDULERS.register("second")(schedule(second))
    definitions = make_json_schema()["$defs"]
    assert set(definitions["scheduler.first.Inner"]["properties"]) == {"size"}
    assert set(definitions["scheduler.second.Inner"]["properties"]) == {"name"}


PLUGIN = '''
from __future__ import annotations

import torch
from fusionkit import ENCODERS
from fusionkit.interfaces import Encoder
from fusionkit.nn.jagged import Jagged


@ENCODERS.register("{name}")
class Doubled(Encoder):
    """Twice its input.

    Args:
        times: How often.
    """

    def __init__(self, in_shape: tuple[int, ...], *, times: int = 1) -> None:
        super().__init__()
        self.out_shape = in_shape

    def forward(self, elements: Jagged) -> Jagged:
        return elements.with_values(2 * elements.values)
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module that can be imported in this test only."""

    def write(module: str, body: str) -> str:
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(body), encoding="utf-8")
        return module

    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield write
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


def recipe_with(encoder: object, module: str) -> dict[str, Any]:
    model = {**RECIPE["model"], "modalities": {"a": {"shape": [3], "encoder": encoder}}}
    return {**RECIPE, "plugins": [module], "model": model}


def test_a_component_of_a_listed_plugin_is_found_completed_hinted_and_in_the_schema(plugin):
    module = plugin("doubled_plugin", PLUGIN.format(name="doubled"))
    assert "doubled" not in ENCODERS
    recipe = load_recipe(recipe_with("doubled", module))
    assert recipe.model.modalities["a"].encoder[0].options == {"times": 1}
    assert "doubled" in ENCODERS.names()
    with pytest.raises(RecipeError, match="unknown encoder 'doubld'; did you mean 'doubled'"):
        load_recipe(recipe_with("doubld", module))
    with pytest.raises(RecipeError, match="unknown option; did you mean 'times'"):
        load_recipe(recipe_with({"type": "doubled", "time": 2}, module))
    titles = [entry.get("title") for entry in make_json_schema()["$defs"]["EncoderSpec"]["anyOf"]]
    assert "doubled" in titles


def test_a_plugin_that_takes_a_name_of_the_library_is_a_problem_of_the_recipe(plugin):
    module = plugin("clashing_plugin", PLUGIN.format(name="mlp"))
    with pytest.raises(RecipeError, match=r"plugins\[0\].*ValueError: encoder 'mlp' is taken by fusionkit"):
        load_recipe(recipe_with("mlp", module))


def test_a_name_of_the_library_is_taken_before_the_library_has_loaded_it(plugin, monkeypatch):
    home = PLUGIN.format(name="own").replace(
        "from fusionkit import ENCODERS", "from fusionkit.config.components.registry import ENCODERS"
    )
    unread = registries.Registry(EncoderSpec, Encoder, plugin("not_loaded_yet", home))
    monkeypatch.setattr(registries, "ENCODERS", unread)
    with pytest.raises(ValueError, match=r"encoder 'own' is taken by not_loaded_yet\.Doubled"):
        unread.register("own")(Kept)


class FakeEntryPoint(importlib.metadata.EntryPoint):
    """One that needs no installed package."""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Pretends that modules are installed as plugins and that no registry was read yet."""

    def pretend(*modules: str) -> None:
        found = [FakeEntryPoint(name=module, value=module, group="fusionkit.plugins") for module in modules]
        monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == "fusionkit.plugins" else [])
        load_entry_points.cache_clear()
        monkeypatch.setattr(ENCODERS, "_loaded", False)

    yield pretend
    load_entry_points.cache_clear()


def test_a_component_of_an_installed_plugin_is_found_by_its_name(plugin, installed):
    installed(plugin("installed_plugin", PLUGIN.format(name="installed")))
    assert "installed" in ENCODERS.names()


def test_every_installed_plugin_that_fails_is_named_each_time(plugin, installed):
    installed(plugin("failing_a", "1 / 0"), plugin("failing_b", "def"))
    for _ in range(2):
        with pytest.raises(RecipeError) as error:
            ENCODERS.names()
        first, second = map(str, error.value.problems)
        assert first.startswith("installed plugin 'failing_a' (failing_a): fails while it is imported (ZeroDivision")
        assert second.startswith("installed plugin 'failing_b' (failing_b): fails while it is imported (SyntaxError")
        assert first.endswith("; update or uninstall its package")


def test_every_kind_has_components_whose_options_are_described():
    for registry in REGISTRIES.values():
        assert registry.names()
        for component in registry:
            assert component.summary
            assert set(component.options.model_fields) <= set(component.descriptions), component.name


class Keeper:
    """Keeps what it is given, for somebody to change."""

    wired = ()

    def __init__(self, *, values: list[int]) -> None:
        self.values = values


def test_components_of_the_same_options_share_nothing_that_one_of_them_may_change():
    component = Component("keeper", Keeper, make_options("optimizer", "keeper", Keeper))

    first, second = component.build(values=[1]), component.build(values=[1])
    first.values.append(2)

    assert second.values == [1]
    assert component.build(values=[1]).values == [1]


def test_a_kind_is_called_as_its_record_in_recipes():
    kinds = "encoder aggregator fusion loss_head balancer strategy transform dataset folds detector optimizer scheduler"

    assert list(REGISTRIES) == kinds.split()
    assert {kind: registry.kind for kind, registry in REGISTRIES.items()} == {kind: kind for kind in kinds.split()}
