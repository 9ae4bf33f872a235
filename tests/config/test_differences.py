"""What tells two recipes apart: results must depend on every key that counts, and on no key that does not."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel
from small_runs import recipe

from fusionkit.config.components.registry import BALANCERS, REGISTRIES
from fusionkit.config.differences import find_differences
from fusionkit.config.field_marks import ANY_ORDER, NO_RESULT
from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.interfaces import Balancer, Step

ORDERED = {
    "dataset gaussian_views modalities",  # the first is the easiest
    "dataset synthetic modalities",  # one draw for each decides which are missing
    "recipe ModelSpec modalities",  # their order in the fusion, and that in which weights are drawn
    "recipe ModelSpec targets",
}
"""Mappings whose order counts."""


def differences(there: Any, given: Any) -> list[str]:
    return find_differences(load_recipe(there), load_recipe(given))


def turned(options: Any, *place: str) -> Any:
    """The recipe with the keys of a mapping in the other order."""
    changed = copy.deepcopy(options)
    *above, last = place
    holder = changed
    for key in above:
        holder = holder[key]
    holder[last] = dict(reversed(holder[last].items()))
    return changed


@pytest.mark.parametrize("place", [("model", "modalities"), ("model", "targets"), ("data", "dataset", "modalities")])
def test_the_order_of_modalities_and_targets_counts(place: tuple[str, ...]) -> None:
    options = recipe(model={"targets": {"label": "classification", "again": "classification"}})
    first, second = ("label", "again") if place[-1] == "targets" else ("motion", "posture")

    found = differences(options, turned(options, *place))

    assert found == [f"{'.'.join(place)} ({first}, {second} in this order there, {second}, {first} given)"]


@pytest.mark.parametrize("place", [(), ("model",), ("data", "dataset"), ("model", "modalities", "motion")])
def test_the_order_of_the_keys_of_records_and_components_does_not_count(place: tuple[str, ...]) -> None:
    options = recipe(data={"fold": 0})
    options["model"]["modalities"]["motion"] = {"encoder": {"type": "mlp", "dropout": 0.1}, "aggregator": "mean"}

    other = turned({"all": options}, "all", *place)["all"]

    assert list(other) != list(options) or place
    assert differences(options, other) == []


def test_mappings_that_are_looked_up_by_name_may_be_written_in_any_order() -> None:
    weights = {"type": "multi_term", "weights": {"motion": 0.5, "posture": 2.0}}
    options = recipe(balancer=weights)
    options["data"]["dataset"] = {
        "type": "manifest",
        "path": "samples.csv",
        "modalities": {"motion": ["a", "b"], "posture": "file"},
        "targets": {"label": "emotion", "again": "mood"},
    }

    other = turned(turned(options, "data", "dataset", "modalities"), "data", "dataset", "targets")
    other = turned(other, "train", "balancer", "weights")

    assert differences(options, other) == []
    other["data"]["dataset"]["modalities"]["motion"] = ["b", "a"]
    assert differences(options, other) == [
        'data.dataset.modalities.motion[0] ("a" there, "b" given)',
        'data.dataset.modalities.motion[1] ("b" there, "a" given)',
    ]


@pytest.mark.parametrize("order", [None, ANY_ORDER], ids=["without a mark", "marked"])
def test_the_order_in_a_mapping_of_a_users_component_counts_unless_it_is_marked(order: Any) -> None:
    hint: Any = dict[str, float] if order is None else Annotated[dict[str, float], order]

    class Ranking(Balancer):
        def __init__(self, modalities: tuple[str, ...], targets: tuple[str, ...], *, ranks: hint) -> None:
            super().__init__()

        def weigh(self, terms: Mapping[str, Any], step: Step) -> Mapping[str, Any]:
            return terms

    Ranking.__init__.__annotations__["ranks"] = hint
    BALANCERS.names()
    BALANCERS.register("ranking")(Ranking)
    try:
        options = recipe(balancer={"type": "ranking", "ranks": {"motion": 1.0, "posture": 2.0}})
        found = differences(options, turned(options, "train", "balancer", "ranks"))
    finally:
        del BALANCERS._components["ranking"]

    assert bool(found) == (order is None)


def test_what_results_do_not_depend_on_may_differ_wherever_it_stands() -> None:
    options = recipe()
    other = recipe(
        data={"workers": 2, "cache": False, "prepare": {"cache": "elsewhere"}},
        checkpoint_seconds=1.0,
        export=["motion"],
    )

    assert differences(options, other) == []
    assert differences(other, options) == []
    other["data"]["prepare"]["frame_rate"] = 25.0
    assert differences(options, other) == ["data.prepare.frame_rate (30.0 there, 25.0 given)"]


def test_every_key_that_differs_is_told_with_its_place_and_both_values() -> None:
    options, other = recipe(), recipe(epochs=7, optimizer="sgd")
    other["model"]["modalities"]["motion"]["encoder"] = {"type": "mlp", "dropout": 0.5}

    found = differences(options, other)

    assert "train.epochs (3 there, 7 given)" in found
    assert 'train.optimizer.type ("adamw" there, "sgd" given)' in found
    assert "model.modalities.motion.encoder[0].dropout (0.0 there, 0.5 given)" in found
    assert len(found) == len({text.partition(" ")[0] for text in found})


def mappings_of(record: type[BaseModel], name: str) -> Iterator[tuple[str, Any]]:
    for key, field in record.model_fields.items():
        annotation = str(field.annotation)
        if "dict[" in annotation or "Mapping[" in annotation:
            yield f"{name} {key}", field


def records_in(record: type[BaseModel]) -> set[type[BaseModel]]:
    """A record and all records of the recipe format that it leads to."""
    found, waiting = set[type[BaseModel]](), [record]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            held: list[Any] = [field.annotation for field in each.model_fields.values()]
            while held:
                annotation = held.pop()
                held += get_args(annotation)
                if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                    waiting.append(annotation)
    return found


def test_of_every_mapping_it_is_decided_whether_its_order_counts() -> None:
    fields = [pair for each in records_in(Recipe) for pair in mappings_of(each, f"recipe {each.__name__}")]
    for kind, registry in REGISTRIES.items():
        for component in registry:
            if component.cls.__module__.startswith("fusionkit."):
                fields += mappings_of(component.options, f"{kind} {component.name}")

    assert {name for name, field in fields if ANY_ORDER not in field.metadata} == ORDERED
    assert len(fields) > len(ORDERED) + 5


def marked(record: type[BaseModel]) -> set[str]:
    return {
        f"{each.__name__}.{name}"
        for each in records_in(record)
        for name, field in each.model_fields.items()
        if NO_RESULT in field.metadata
    }


def test_these_fields_are_held_to_change_no_result() -> None:
    """Each is shown to: the first five where trainings are stopped and go on, the last where clips are prepared."""
    assert marked(Recipe) == {
        "DataSpec.workers",
        "DataSpec.timeout_seconds",
        "DataSpec.cache",
        "TrainSpec.checkpoint_seconds",
        "TrainSpec.export",
        "PrepareSpec.cache",
    }
