"""Components by name: the signature of a class is the schema of its options."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import warnings
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError

from fusionkit import interfaces
from fusionkit.config.trust import ENTRY_POINT_GROUP
from fusionkit.config.validation import Finding, list_findings
from fusionkit.errors import Problem, RecipeError, did_you_mean

T = TypeVar("T", bound=ABC)
C = TypeVar("C")


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

    def check(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
        """The options as plain data with every default written out, and everything that is wrong with them."""
        checked, found = self._check(options)
        return (dict(checked.model_dump(mode="json")) if checked else {}), found

    def build(self, /, *wired: Any, **options: Any) -> T:
        """Constructs the component from what the model wires and what the recipe sets.

        Raises:
            RecipeError: An option is unknown, missing, or of a wrong type or value.
        """
        checked = self._checked(options).model_copy(deep=True)  # two components must not share a list
        return self.cls(*wired, **{name: getattr(checked, name) for name in type(checked).model_fields})

    def _checked(self, options: Mapping[str, Any]) -> BaseModel:
        checked, found = self._check(options)
        if checked is None:
            places = [".".join(map(str, (self.name, *place))) for place, _, _ in found]
            raise RecipeError([Problem(place, *rest) for place, (_, *rest) in zip(places, found, strict=True)])
        return checked

    def _check(self, options: Mapping[str, Any]) -> tuple[BaseModel | None, list[Finding]]:
        try:
            text = json.dumps(dict(options))
        except (TypeError, ValueError, RecursionError) as error:
            return None, [((), f"the options are no plain data ({error})", "numbers, text, lists and mappings are")]
        try:
            return _checked_options(self.options, text), []
        except ValidationError as error:
            return None, [_finding(found) for found in list_findings(error, json.loads(text), self._known)]

    def _known(self, place: tuple[str | int, ...]) -> Sequence[str]:
        return () if place else tuple(self.options.model_fields)


@lru_cache(maxsize=1024)
def _checked_options(record: type[BaseModel], text: str) -> BaseModel:
    """Checks options; what has passed once is trusted, whoever builds from the same recipe again."""
    return record.model_validate_json(text, context={"check": check_component})


class Registry(Generic[T]):
    """The components of one kind.

    Args:
        kind: The kind as a singular noun, for messages.
        interface: The class that components implement.
        home: The package that holds fusionkit's own; imported when a name is first looked up.
    """

    def __init__(self, kind: str, interface: type[Any], home: str) -> None:
        self.kind, self.interface, self.home = kind, interface, home
        self._components: dict[str, Component[T]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[type[C]], type[C]]:
        """Registers the decorated class under a name.

        Raises:
            TypeError: The class does not implement the interface, or its constructor has ``*args``, ``**kwargs``, an
                untyped parameter, a type or default that a recipe cannot state, or other wired parameters than its
                kind.
            ValueError: The name is taken or is no name.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{self.kind} {name!r}: a name is lower case letters, digits and underscores")

        def add(cls: type[C]) -> type[C]:
            # A module that is executed again (python -m, a notebook cell) brings the same class anew: that is no clash.
            if not (inspect.isclass(cls) and issubclass(cls, self.interface)):
                raise TypeError(f"{self.kind} {name!r}: {cls!r} is no subclass of {self.interface.__name__}")
            if missing := sorted(getattr(cls, "__abstractmethods__", ())):
                raise TypeError(f"{self.kind} {name!r}: {cls.__qualname__} does not implement {', '.join(missing)}")
            if missing := [each for each in getattr(self.interface, "declared", ()) if not hasattr(cls, each)]:
                raise TypeError(f"{self.kind} {name!r}: {cls.__qualname__} does not declare {', '.join(missing)}")
            if not cls.__module__.startswith("fusionkit."):
                importlib.import_module(self.home)  # so that fusionkit's own names are taken
            taken = self._components.get(name)
            if taken is not None and (taken.cls.__module__, taken.cls.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise ValueError(
                    f"{self.kind} {name!r} is taken by {taken.cls.__module__}.{taken.cls.__qualname__}; choose another"
                )
            self._components[name] = Component(name, cast(type[T], cls), _options_model(self.kind, name, cls))
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

    def build(self, name: str, /, *wired: Any, **options: Any) -> T:
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
            importlib.import_module(self.home)
            load_entry_points()
            self._loaded = True


ENCODERS: Registry[interfaces.Encoder] = Registry("encoder", interfaces.Encoder, "fusionkit.models.encoders")
AGGREGATORS: Registry[interfaces.Aggregator] = Registry(
    "aggregator", interfaces.Aggregator, "fusionkit.models.aggregators"
)
FUSIONS: Registry[interfaces.Fusion] = Registry("fusion", interfaces.Fusion, "fusionkit.models.fusions")
LOSS_HEADS: Registry[interfaces.LossHead] = Registry("loss_head", interfaces.LossHead, "fusionkit.models.loss_heads")
BALANCERS: Registry[interfaces.Balancer] = Registry("balancer", interfaces.Balancer, "fusionkit.training.balancers")
STRATEGIES: Registry[interfaces.Strategy] = Registry("strategy", interfaces.Strategy, "fusionkit.training.strategies")
TRANSFORMS: Registry[interfaces.Transform] = Registry("transform", interfaces.Transform, "fusionkit.data.transforms")
DATASETS: Registry[interfaces.Dataset] = Registry("dataset", interfaces.Dataset, "fusionkit.data.datasets")
FOLDS: Registry[interfaces.Folds] = Registry("folds", interfaces.Folds, "fusionkit.data.folds")
DETECTORS: Registry[interfaces.FaceDetector] = Registry(
    "detector", interfaces.FaceDetector, "fusionkit.data.films.detectors"
)
OPTIMIZERS: Registry[interfaces.OptimizerRecipe] = Registry(
    "optimizer", interfaces.OptimizerRecipe, "fusionkit.training.optimizers"
)
SCHEDULERS: Registry[interfaces.Schedule] = Registry("scheduler", interfaces.Schedule, "fusionkit.training.optimizers")

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
        DETECTORS,
        OPTIMIZERS,
        SCHEDULERS,
    )
}
"""Every registry by its kind."""


def check_component(kind: str, name: str, options: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Finding]]:
    """The options of a component with every default, or what is wrong with them."""
    registry = REGISTRIES[kind]
    if name not in registry:
        problem = registry.unknown(name, kind)
        return {}, [(("type",), problem.message, problem.remedy)]
    return registry.get(name).check(options)


def import_plugins(modules: Sequence[Any]) -> list[Problem]:
    """Imports the modules that a user listed under ``plugins:``; what cannot be imported is reported.

    A plugin is a user's own program, so whatever it raises is the user's to mend and listed with the other problems.
    """
    problems = []
    for index, module in enumerate(modules):
        if not isinstance(module, str):
            continue  # the spec reports what is no name
        place = f"plugins[{index}]"
        if not all(part.isidentifier() for part in module.split(".")):
            problems.append(Problem(place, f"{module!r} is no module name", "write it as in an import statement"))
            continue
        try:
            importlib.import_module(module)
        except ImportError as error:
            remedy = "a plugin is a module that Python can import from here (installed, or on PYTHONPATH)"
            problems.append(Problem(place, f"cannot import {module!r} ({error})", remedy))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            problems.append(Problem(place, f"{module!r} fails while it is imported ({reason})", "mend the module"))
    return problems


@cache
def load_entry_points() -> None:
    """Imports installed plugins, those of the entry-point group ``fusionkit.plugins``, once.

    Raises:
        RecipeError: Some cannot be imported; all of them are listed.
    """
    problems = []
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry_point.load()
        except Exception as error:
            place = f"installed plugin {entry_point.name!r} ({entry_point.value})"
            reason = f"fails while it is imported ({type(error).__name__}: {error})"
            problems.append(Problem(place, reason, "update or uninstall its package"))
    if problems:
        raise RecipeError(problems)


def _finding(found: Finding) -> Finding:
    place, message, remedy = found
    if len(place) == 1 and message == "unknown key":
        return place, "unknown option", remedy if remedy != "none is known" else "it has no options"
    if len(place) == 1 and message == "missing":
        return place, message, "this option has no default"
    return found


def _options_model(kind: str, name: str, cls: type) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    constructor: Any = cls.__init__  # type: ignore[misc]
    where = f"{kind} {name!r}"
    try:
        hints = get_type_hints(constructor, include_extras=True)
    except NameError as error:
        raise TypeError(f"{where}: a type of the constructor is not known ({error}); import it at run time") from None
    wired = []
    parameters = list(inspect.signature(constructor).parameters.values())[1:]
    for parameter in parameters if constructor is not object.__init__ else []:
        which = f"{where}: parameter {parameter.name!r}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"{which} is variadic; a signature is a schema, so name every option")
        if parameter.name not in hints:
            raise TypeError(f"{which} has no type; annotate it")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            wired.append(parameter.name)
            continue
        if parameter.name == "type" or parameter.name.startswith("_"):
            raise TypeError(f"{which} cannot be an option: `type` names the component, and names start with a letter")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    _check_wired(kind, name, cls, tuple(wired))
    return _record_of(where, name, fields, _described_arguments(inspect.getdoc(cls) or ""))


def _record_of(where: str, name: str, fields: dict[str, Any], described: Mapping[str, str]) -> type[BaseModel]:
    config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=(), validate_default=True
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an option may be called `copy` or `json`
            model: type[BaseModel] = create_model(f"{name}_options", __config__=config, **fields)
            for option, field in model.model_fields.items():
                field.description = described.get(option)
            model.model_rebuild(force=True)
        model.model_json_schema()
        model.model_validate({})
    except PydanticUserError as error:
        raise TypeError(f"{where}: an option has a type that a recipe cannot state ({error.message})") from None
    except ValidationError as error:
        wrong = [item for item in error.errors(include_url=False) if item["type"] != "missing"]
        if wrong:
            given, message = wrong[0]["loc"][0], wrong[0]["msg"]
            raise TypeError(f"{where}: the default of {given!r} is none that a recipe may set ({message})") from None
    return model


_FURTHER = {
    "fusion": ("reads_sequences", "sequence_features"),
    "loss_head": ("reads_blocks", "blocks"),
    "balancer": ("reads_widths", "in_features"),
}
"""By kind: the flag by which a component asks the model for one more wired parameter, and that parameter."""


def _check_wired(kind: str, name: str, cls: Any, wired: tuple[str, ...]) -> None:
    expected = tuple(cls.wired)
    flag, further = _FURTHER.get(kind, ("", ""))
    if flag and getattr(cls, flag):
        expected = (*expected, further)
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
