"""Components by name: the signature of a class is the schema of its options."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from fusionkit import interfaces
from fusionkit.errors import Problem, RecipeError, did_you_mean

T = TypeVar("T", bound=ABC)
C = TypeVar("C")

ENTRY_POINT_GROUP = "fusionkit.plugins"


@dataclass(frozen=True)
class Component(Generic[T]):
    """A registered class and the checked form of its options."""

    name: str
    cls: type[T]
    options: type[BaseModel]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.cls) or "").split("\n", 1)[0]

    @property
    def descriptions(self) -> Mapping[str, str]:
        """What the docstring's ``Args:`` says of each option."""
        return _described_arguments(inspect.getdoc(self.cls) or "")

    def problems(self, options: Mapping[str, Any], place: str) -> list[Problem]:
        """Everything that is wrong with the options that a recipe gives."""
        return self._check(options, place)[1]

    def complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with every default written out, as plain data.

        Raises:
            RecipeError: An option is unknown, missing, or of a wrong type or value.
        """
        return dict(self._checked(options).model_dump(mode="json"))

    def build(self, *wired: Any, **options: Any) -> T:
        """Constructs the component from what the model wires and what the recipe sets.

        Raises:
            RecipeError: An option is unknown, missing, or of a wrong type or value.
        """
        checked = self._checked(options)
        return self.cls(*wired, **{name: getattr(checked, name) for name in type(checked).model_fields})

    def _checked(self, options: Mapping[str, Any]) -> BaseModel:
        checked, problems = self._check(options, self.name)
        if checked is None:
            raise RecipeError(problems)
        return checked

    def _check(self, options: Mapping[str, Any], place: str) -> tuple[BaseModel | None, list[Problem]]:
        try:
            return self.options.model_validate_json(json.dumps(dict(options), default=str)), []
        except ValidationError as error:
            return None, problems_of(error, place, known={"": [*self.options.model_fields]})


class Registry(Generic[T]):
    """The components of one kind.

    Args:
        kind: The kind as a singular noun, for messages.
        interface: The class that components implement.
        home: The package that holds fusionkit's own; imported when a name is first looked up.
    """

    def __init__(self, kind: str, interface: type[T], home: str) -> None:
        self.kind, self.interface, self.home = kind, interface, home
        self._components: dict[str, Component[T]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[type[C]], type[C]]:
        """Registers the decorated class under a name.

        Raises:
            TypeError: The class does not implement the interface, or its constructor has ``*args``, ``**kwargs``, an
                untyped parameter, or other wired parameters than its kind.
            ValueError: The name is taken or is no name.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{self.kind} {name!r}: a name is lower case letters, digits and underscores")

        def add(cls: type[C]) -> type[C]:
            # A module that is executed again (python -m, a notebook cell) brings the same class anew: that is no clash.
            taken = self._components.get(name)
            if taken is not None and (taken.cls.__module__, taken.cls.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise ValueError(
                    f"{self.kind} {name!r} is taken by {taken.cls.__module__}.{taken.cls.__qualname__}; choose another"
                )
            if not (inspect.isclass(cls) and issubclass(cls, self.interface)):
                raise TypeError(f"{self.kind} {name!r}: {cls!r} is no subclass of {self.interface.__name__}")
            self._components[name] = Component(name, cls, _options_model(self.kind, name, cls))
            return cls

        return add

    def get(self, name: str) -> Component[T]:
        """The component of a name.

        Raises:
            RecipeError: There is none.
        """
        self._load()
        if name not in self._components:
            raise RecipeError([self.unknown(name, self.kind)])
        return self._components[name]

    def unknown(self, name: str, place: str) -> Problem:
        """The problem of a name that is not registered."""
        return Problem(place, f"unknown {self.kind} {name!r}", did_you_mean(name, self.names()))

    def build(self, name: str, *wired: Any, **options: Any) -> T:
        """Constructs the component of a name.

        Raises:
            RecipeError: There is none, or an option is wrong.
        """
        return self.get(name).build(*wired, **options)

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        self._load()
        return tuple(sorted(self._components))

    def __iter__(self) -> Iterator[Component[T]]:
        return iter([self._components[name] for name in self.names()])

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._components

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            importlib.import_module(self.home)
            load_entry_points()


ENCODERS: Registry[interfaces.Encoder] = Registry("encoder", interfaces.Encoder, "fusionkit.encoders")
AGGREGATORS: Registry[interfaces.Aggregator] = Registry("aggregator", interfaces.Aggregator, "fusionkit.aggregators")
FUSIONS: Registry[interfaces.Fusion] = Registry("fusion", interfaces.Fusion, "fusionkit.fusions")
LOSS_HEADS: Registry[interfaces.LossHead] = Registry("loss_head", interfaces.LossHead, "fusionkit.loss_heads")
BALANCERS: Registry[interfaces.Balancer] = Registry("balancer", interfaces.Balancer, "fusionkit.balancers")
STRATEGIES: Registry[interfaces.Strategy] = Registry("strategy", interfaces.Strategy, "fusionkit.strategies")
TRANSFORMS: Registry[interfaces.Transform] = Registry("transform", interfaces.Transform, "fusionkit.transforms")
DATASETS: Registry[interfaces.Dataset] = Registry("dataset", interfaces.Dataset, "fusionkit.datasets")
FOLDS: Registry[interfaces.Folds] = Registry("folds", interfaces.Folds, "fusionkit.data.folds")
OPTIMIZERS: Registry[interfaces.OptimizerRecipe] = Registry(
    "optimizer", interfaces.OptimizerRecipe, "fusionkit.optimization"
)
SCHEDULERS: Registry[interfaces.Schedule] = Registry("scheduler", interfaces.Schedule, "fusionkit.optimization")

REGISTRIES: Mapping[str, Registry[Any]] = {
    registry.kind: registry
    for registry in (
        ENCODERS,
        AGGREGATORS,
        FUSIONS,
        LOSS_HEADS,
        BALANCERS,
        STRATEGIES,
        TRANSFORMS,
        DATASETS,
        FOLDS,
        OPTIMIZERS,
        SCHEDULERS,
    )
}
"""Every registry by its kind."""


def import_plugins(modules: Sequence[str]) -> list[Problem]:
    """Imports the modules that a user listed under ``plugins:``; what cannot be imported is reported."""
    problems = []
    for index, module in enumerate(modules):
        try:
            importlib.import_module(module)
        except ImportError as error:
            remedy = "a plugin is a module that Python can import from here (installed, or on PYTHONPATH)"
            problems.append(Problem(f"plugins[{index}]", f"cannot import {module!r} ({error})", remedy))
        except (TypeError, ValueError) as error:
            problems.append(Problem(f"plugins[{index}]", f"{module!r} could not register: {error}"))
    return problems


_entry_points_loaded = False


def load_entry_points() -> None:
    """Imports installed plugins, those of the entry-point group ``fusionkit.plugins``, once."""
    global _entry_points_loaded
    if not _entry_points_loaded:
        _entry_points_loaded = True
        for entry_point in entry_points(group=ENTRY_POINT_GROUP):
            entry_point.load()


def problems_of(
    error: ValidationError, place: str, known: Mapping[str, Sequence[str]] | None = None
) -> list[Problem]:
    """Pydantic's findings in our words.

    Args:
        error: The findings.
        place: The key path that the checked mapping stands at; empty at the top.
        known: Names that would be right, by the dotted place of the mapping they belong to.
    """
    known = known or {}
    problems = []
    for item in error.errors(include_url=False):
        path = place
        parent = ""
        for part in item["loc"]:
            parent = path
            path = f"{path}[{part}]" if isinstance(part, int) else f"{path}.{part}".lstrip(".")
        context = item.get("ctx", {})
        if isinstance(context.get("problem"), Problem):
            problems.append(context["problem"])
        elif item["type"] == "extra_forbidden":
            names = known.get(parent[len(place) :].lstrip("."), ())
            problems.append(Problem(path, "unknown key", did_you_mean(str(item["loc"][-1]), names)))
        elif item["type"] == "missing":
            problems.append(Problem(path, "missing", "this key has no default"))
        else:
            message = item["msg"].removeprefix("Value error, ")
            problems.append(Problem(path, f"{message[0].lower()}{message[1:]}, given {item['input']!r}"))
    return problems


def _options_model(kind: str, name: str, cls: type) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    hints = get_type_hints(cls.__init__, include_extras=True)
    wired = []
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        where = f"{kind} {name!r}: parameter {parameter.name!r}"
        if cls.__init__ is object.__init__:
            break
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"{where} is variadic; a signature is a schema, so name every option")
        if parameter.name not in hints:
            raise TypeError(f"{where} has no type; annotate it")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            wired.append(parameter.name)
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    _check_wired(kind, name, cls, tuple(wired))
    described = _described_arguments(inspect.getdoc(cls) or "")
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())
    model: type[BaseModel] = create_model(f"{name}_options", __config__=config, **fields)
    for option, field in model.model_fields.items():
        field.description = described.get(option)
    model.model_rebuild(force=True)
    return model


def _check_wired(kind: str, name: str, cls: Any, wired: tuple[str, ...]) -> None:
    expected = tuple(cls.wired)
    if kind == "fusion" and cls.reads_sequences:
        expected = (*expected, "sequence_features")
    if wired != expected:
        raise TypeError(
            f"{kind} {name!r}: the parameters before * are {list(wired)}, wired by the model they are "
            f"{list(expected)}; options stand after *"
        )


def _described_arguments(docstring: str) -> dict[str, str]:
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", docstring, flags=re.MULTILINE)
    described: dict[str, str] = {}
    current = ""
    for line in section.group(1).splitlines() if section else []:
        head = re.match(r"    (\w+): (.*)", line)
        if head:
            current = head.group(1)
            described[current] = head.group(2).strip()
        elif current and line.strip():
            described[current] += " " + line.strip()
    return described
