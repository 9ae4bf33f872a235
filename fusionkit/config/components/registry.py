"""Components by name, of each kind a registry."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, ValidationError

from fusionkit import interfaces
from fusionkit.config.components.signature import make_options, read_arguments
from fusionkit.config.components.specs import (
    AggregatorSpec,
    BalancerSpec,
    ComponentSpec,
    DatasetSpec,
    DetectorSpec,
    EncoderSpec,
    FoldsSpec,
    FusionSpec,
    LossHeadSpec,
    OptimizerSpec,
    SchedulerSpec,
    StrategySpec,
    TransformSpec,
)
from fusionkit.config.plugins import load_entry_points
from fusionkit.config.validation import Finding, list_findings
from fusionkit.errors import Problem, RecipeError, suggest_names

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
        """The description of each option, from the docstring's ``Args:``."""
        return read_arguments(inspect.getdoc(self.cls) or "")

    def check(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
        """Returns the options as plain data with every default written out, and everything that is wrong with them."""
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
            return _check_options(self.options, text), []
        except ValidationError as error:
            return None, [_finding(found) for found in list_findings(error, json.loads(text), self._known)]

    def _known(self, place: tuple[str | int, ...]) -> Sequence[str]:
        return () if place else tuple(self.options.model_fields)


@lru_cache(maxsize=1024)
def _check_options(record: type[BaseModel], text: str) -> BaseModel:
    """Checks options; what has passed once is trusted, whoever builds from the same recipe again."""
    return record.model_validate_json(text, context={"check": check_component})


class Registry(Generic[T]):
    """The components of one kind.

    Args:
        spec: What a recipe says of such a component; messages call the kind as it does.
        interface: The class that components implement.
        home: The package that holds fusionkit's own; imported when a name is first looked up.
    """

    def __init__(self, spec: type[ComponentSpec], interface: type[T], home: str) -> None:
        self.kind, self.home = spec.kind, home
        self.interface: type[Any] = interface
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
            self._components[name] = Component(name, cast(type[T], cls), make_options(self.kind, name, cls))
            return cls

        return add

    def get(self, name: str) -> Component[T]:
        """Finds the component of a name.

        Raises:
            RecipeError: There is none.
        """
        self._load()
        if name not in self._components:
            raise RecipeError([self.unknown(name, self.kind)])
        return self._components[name]

    def unknown(self, name: str, place: str) -> Problem:
        """Describes the problem of a name that is not registered."""
        return Problem(place, f"unknown {self.kind} {name!r}", suggest_names(name, self.names()))

    def build(self, name: str, /, *wired: Any, **options: Any) -> T:
        """Constructs the component of a name.

        Raises:
            RecipeError: There is none, or an option is wrong.
        """
        return self.get(name).build(*wired, **options)

    def names(self) -> tuple[str, ...]:
        """Lists all names, sorted."""
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


ENCODERS = Registry(EncoderSpec, interfaces.Encoder, "fusionkit.models.encoders")
AGGREGATORS = Registry(AggregatorSpec, interfaces.Aggregator, "fusionkit.models.aggregators")
FUSIONS = Registry(FusionSpec, interfaces.Fusion, "fusionkit.models.fusions")
LOSS_HEADS = Registry(LossHeadSpec, interfaces.LossHead, "fusionkit.models.loss_heads")
BALANCERS = Registry(BalancerSpec, interfaces.Balancer, "fusionkit.training.balancers")
STRATEGIES = Registry(StrategySpec, interfaces.Strategy, "fusionkit.training.strategies")
TRANSFORMS = Registry(TransformSpec, interfaces.Transform, "fusionkit.data.transforms")
DATASETS = Registry(DatasetSpec, interfaces.Dataset, "fusionkit.data.datasets")
FOLDS = Registry(FoldsSpec, interfaces.Folds, "fusionkit.data.folds")
DETECTORS = Registry(DetectorSpec, interfaces.FaceDetector, "fusionkit.data.films.detectors")
OPTIMIZERS = Registry(OptimizerSpec, interfaces.OptimizerRecipe, "fusionkit.training.optimizers")
SCHEDULERS = Registry(SchedulerSpec, interfaces.Schedule, "fusionkit.training.optimizers")

REGISTRIES: Mapping[str, Registry[Any]] = {
    each.kind: each for each in list(globals().values()) if isinstance(each, Registry)
}
"""Every registry by its kind."""


def check_component(kind: str, name: str, options: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Finding]]:
    """Returns the options of a component with every default, or what is wrong with them."""
    registry = REGISTRIES[kind]
    if name not in registry:
        problem = registry.unknown(name, kind)
        return {}, [(("type",), problem.message, problem.remedy)]
    return registry.get(name).check(options)


def _finding(found: Finding) -> Finding:
    place, message, remedy = found
    if len(place) == 1 and message == "unknown key":
        return place, "unknown option", remedy if remedy != "none is known" else "it has no options"
    if len(place) == 1 and message == "missing":
        return place, message, "this option has no default"
    return found
