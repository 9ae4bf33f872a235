"""Shapes of elements and classes of targets, taken from the dataset where a model spec leaves them out."""

from __future__ import annotations

from fusionkit.config.components.registry import ENCODERS
from fusionkit.config.components.specs import EncoderSpec, LossHeadSpec
from fusionkit.config.schema import ModalitySpec, ModelSpec
from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.interfaces import Dataset
from fusionkit.interfaces.written_numbers import class_names


def is_complete(spec: ModelSpec) -> bool:
    """Tells whether a spec states every shape of an element and every target's classes by itself."""
    return all(modality.shape is not None for modality in spec.modalities.values()) and not any(
        _lacks_classes(target) for target in spec.targets.values()
    )


def complete_model(spec: ModelSpec, dataset: Dataset) -> ModelSpec:
    """Takes from the dataset what a spec leaves out: shapes of elements and classes of targets.

    Encoders take what they are like from the files that they name, such as the config of a pretrained network.

    Raises:
        RecipeError: The dataset has no such modality or target, or another shape than the spec states.
    """
    problems = []
    stated = {target for row in dataset.rows for target in row.targets} | set(dataset.classes)
    modalities: dict[str, ModalitySpec] = {}
    for name, modality in spec.modalities.items():
        place = f"model.modalities.{name}"
        info = dataset.modalities.get(name)
        if info is None:
            remedy = suggest_names(name, dataset.modalities)
            problems.append(Problem(place, f"the dataset has no modality {name!r}", remedy))
            continue
        if modality.shape is not None and modality.shape != info.shape:
            message = f"{list(modality.shape)} contradicts the dataset, whose elements have shape {list(info.shape)}"
            problems.append(Problem(f"{place}.shape", message, "leave it out to take the dataset's"))
        encoders = _complete_encoders(modality.encoder, place, problems)
        modalities[name] = modality.model_copy(update={"shape": info.shape, "encoder": encoders})
    targets = {}
    for name, target in spec.targets.items():
        if name not in stated:
            remedy = suggest_names(name, stated)
            problems.append(Problem(f"model.targets.{name}", f"the dataset has no target {name!r}", remedy))
        elif _lacks_classes(target) and name in dataset.classes:
            key = _lacks_classes(target)
            if key == "classes" and len(dataset.classes[name]) == 1:
                problems.append(_single_valued(name, dataset))
            targets[name] = target.model_copy(update={key: list(dataset.classes[name])})
            continue
        elif _lacks_classes(target) == "classes" and (numbers := _numbers_of(name, dataset)):
            problems.append(_not_classes(name, numbers, dataset))
        targets[name] = target
    if problems:
        raise RecipeError(problems)
    return spec.model_copy(update={"modalities": modalities, "targets": targets})


def _complete_encoders(
    encoders: tuple[EncoderSpec, ...], place: str, problems: list[Problem]
) -> tuple[EncoderSpec, ...]:
    """Writes into encoders what files say that their options name, so that a run needs none of them."""
    completed = []
    for position, spec in enumerate(encoders):
        try:
            options = ENCODERS.get(spec.type).cls.complete(spec.options)
            completed.append(spec if options == spec.options else spec.model_copy(update=dict(options)))
        except RecipeError as error:
            problems += error.within(f"{place}.encoder[{position}]")
    return tuple(completed)


def _single_valued(target: str, dataset: Dataset) -> Problem:
    """Describes what is wrong with a target of one class, in words that name what the user gave: the data."""
    (only,) = dataset.classes[target]
    where = f" ({dataset.origins[target]})" if target in dataset.origins else ""
    message = f"the dataset's target {target!r} has one value only, {only!r}{where}: there is nothing to tell apart"
    remedy = "give data with two classes or more, or state them all under `classes:` where these data hold one of them"
    return Problem(f"model.targets.{target}", message, remedy)


def _numbers_of(target: str, dataset: Dataset) -> list[float]:
    """Returns the values of a target that are numbers and not whole."""
    values = (row.targets.get(target) for row in dataset.rows)
    return [value for value in values if isinstance(value, float) and not value.is_integer()]


def _not_classes(target: str, numbers: list[float], dataset: Dataset) -> Problem:
    """Describes what is wrong with classes that are to be read from a column of numbers."""
    where = f" ({dataset.origins[target]})" if target in dataset.origins else ""
    given = ", ".join(dict.fromkeys(class_names(number)[0] for number in numbers[:3]))
    message = f"the dataset's target {target!r} holds numbers such as {given}{where}, which are not taken for classes"
    remedy = f"list the classes as they are written, classes: [{given}, ...], or take regression"
    return Problem(f"model.targets.{target}", message, remedy)


def _lacks_classes(target: LossHeadSpec) -> str:
    """Returns the option by which a head wants to be told its classes or labels, if it is still empty."""
    return next((key for key in ("classes", "labels") if target.options.get(key) == []), "")
