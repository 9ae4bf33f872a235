"""What a recipe may say: frozen records, and how a file and overrides become one.

Nothing here knows a component: `type:` is a name and its options are plain data until `fusionkit.recipe` looks them
up. So a recipe can be read and printed without building anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from fusionkit.errors import Problem, RecipeError
from fusionkit.findings import Finding, Place, findings, shown
from fusionkit.strict_yaml import MAX_DEPTH, Document, read_yaml

ComponentCheck = Callable[[str, str, Mapping[str, Any]], tuple[Mapping[str, Any], Sequence[Finding]]]
"""``check(kind, name, options)`` gives the completed options and what is wrong with them."""


class Record(BaseModel):
    """A frozen record without unknown keys or silent conversions."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        validate_default=True,  # so that defaults are completed like what a recipe writes
        revalidate_instances="always",
    )


def _refusal(message: str, remedy: str) -> PydanticCustomError:
    kind: Any = "component_missing" if message == "missing" else "component"
    return PydanticCustomError(kind, "{message}", {"message": message, "remedy": remedy})


class ComponentSpec(Record):
    """A component by name, with its options beside it; a bare name takes every default."""

    model_config = ConfigDict(extra="allow")
    kind: ClassVar[str]
    type: str

    @property
    def options(self) -> dict[str, Any]:
        """The options as plain data."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _from_bare_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"type": value}
        if isinstance(value, Mapping) and "type" not in value:
            raise _refusal("no component is named", f"write type: and the name of a component ({cls.kind})")
        if not isinstance(value, Mapping | ComponentSpec):
            remedy = "write its name, or a mapping of type: and its options"
            raise _refusal(f"a component ({cls.kind}) is expected, given {shown(value)}", remedy)
        return value

    @model_validator(mode="after")
    def _checked(self, info: ValidationInfo) -> Self:
        check: ComponentCheck | None = (info.context or {}).get("check")
        if check is None:
            return self
        completed, found = check(self.kind, self.type, self.options)
        if found:
            raise ValidationError.from_exception_data(
                self.type,
                [
                    InitErrorDetails(type=_refusal(message, remedy), loc=place, input=None)
                    for place, message, remedy in found
                ],
            )
        return self.model_copy(update=dict(completed))


class EncoderSpec(ComponentSpec):
    """An encoder."""

    kind = "encoder"


class AggregatorSpec(ComponentSpec):
    """An aggregator."""

    kind = "aggregator"


class FusionSpec(ComponentSpec):
    """A fusion."""

    kind = "fusion"


class LossHeadSpec(ComponentSpec):
    """A loss head."""

    kind = "loss_head"


class BalancerSpec(ComponentSpec):
    """A balancer."""

    kind = "balancer"


class StrategySpec(ComponentSpec):
    """A strategy."""

    kind = "strategy"


class TransformSpec(ComponentSpec):
    """A transform."""

    kind = "transform"


class DatasetSpec(ComponentSpec):
    """A dataset."""

    kind = "dataset"


class FoldsSpec(ComponentSpec):
    """A protocol of folds."""

    kind = "folds"


class OptimizerSpec(ComponentSpec):
    """An optimizer."""

    kind = "optimizer"


class SchedulerSpec(ComponentSpec):
    """A schedule of the learning rate."""

    kind = "scheduler"


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Chain = Annotated[tuple[EncoderSpec, ...], Field(min_length=1), BeforeValidator(_as_tuple)]
"""One encoder, or several that follow each other."""

Transforms = Annotated[tuple[TransformSpec, ...], BeforeValidator(_as_tuple)]
"""No, one or several transforms."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
"""A name of a modality or target: it becomes part of term names and file names."""


class DataSpec(Record):
    """Which samples, divided how, in batches of what size."""

    dataset: DatasetSpec = Field(description="Where the samples come from.")
    folds: FoldsSpec = Field(FoldsSpec(type="holdout"), description="How samples are divided into train and test.")
    fold: int | str = Field(0, description="Which fold one run trains and reports: its position or its name.")
    batch_size: int = Field(16, gt=0, description="Samples per batch and process.")
    budget: int | None = Field(
        None, gt=0, description="Elements of the longest modality per batch, instead of a number of samples."
    )
    workers: int = Field(0, ge=0, description="Processes that load data; results do not depend on it.")
    cache: bool = Field(False, description="Keep every loaded sample in memory.")
    allow_group_overlap: bool = Field(
        False, description="Accept a group on both sides of a split; every result is then labelled speaker-dependent."
    )


class ModalitySpec(Record):
    """One modality, from its elements to its feature vector."""

    shape: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(
        None, description="Shape of one element; taken from the dataset when left out."
    )
    transforms: Transforms = Field((), description="What happens to a sample on the CPU before it is packed.")
    encoder: Chain = Field((EncoderSpec(type="identity"),), description="Elements to elements; several chain.")
    aggregator: AggregatorSpec = Field(AggregatorSpec(type="mean"), description="A sequence to one vector.")


class ModelSpec(Record):
    """The network: modalities, their fusion, and targets."""

    modalities: dict[Name, ModalitySpec] = Field(min_length=1, description="Modalities, in the order of fusion.")
    fusion: FusionSpec = Field(FusionSpec(type="mrpn"), description="One vector per modality to one vector.")
    unimodal_heads: bool = Field(True, description="A loss head per modality and target, active in training.")
    targets: dict[Name, LossHeadSpec] = Field(min_length=1, description="What is predicted, and with which loss.")
    fused_hidden: Annotated[int, Field(gt=0)] | None = Field(
        128, description="Hidden width of the Scoring of the fused branch; null for one dense unit."
    )
    unimodal_hidden: Annotated[int, Field(gt=0)] | None = Field(
        None, description="The same for uni-modal branches; null for one dense unit, as in eqs. (8) and (9)."
    )
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Share of normalised features dropped in training.")

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        for what, names, own in (
            ("modality", self.modalities, {"fused", "fusion", "ensemble", "training"}),
            ("target", self.targets, {"training"}),
        ):
            if taken := own & set(names):
                raise ValueError(f"the name {min(taken)!r} is the library's own; call the {what} something else")
        return self


class TrainSpec(Record):
    """How the network learns."""

    strategy: StrategySpec = Field(StrategySpec(type="end_to_end"), description="The order in which parts learn.")
    balancer: BalancerSpec = Field(BalancerSpec(type="multi_term"), description="Loss terms to one total.")
    optimizer: OptimizerSpec = Field(OptimizerSpec(type="adamw"), description="The optimizer.")
    scheduler: SchedulerSpec = Field(SchedulerSpec(type="constant"), description="The learning rate over time.")
    warmup: float = Field(0.0, ge=0.0, lt=1.0, description="Share of the steps in which the rate rises linearly.")
    epochs: int = Field(60, gt=0, description="Epochs of every stage.")
    clip_norm: float | None = Field(None, gt=0.0, description="Largest norm of the gradient.")
    accumulate: int = Field(1, gt=0, description="Batches per optimizer step.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = Field(
        "32-true", description="Precision of the computation."
    )
    select: Literal["last", "best", "inner"] = Field(
        "last",
        description="Which epoch is kept: the last; the best on the held-out part itself (as the paper may have done; "
        "the result says so); or the best on groups that are set aside from the training part.",
    )
    inner_fraction: float = Field(0.2, gt=0.0, lt=1.0, description="Share of training groups set aside by inner.")
    patience: int | None = Field(
        None, gt=0, description="Epochs without a better validation loss after which a stage stops; not with last."
    )
    checkpoint_seconds: float = Field(60.0, ge=0.0, description="Least time between two resumable checkpoints.")
    seed: int = Field(0, ge=0, description="Seed of weights, order of samples and augmentation.")

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> Self:
        if self.patience is not None and self.select == "last":
            raise ValueError("patience needs a validation set: choose select: inner (or best)")
        return self


class Recipe(Record):
    """One experiment, complete in itself."""

    version: Literal[1] = Field(alias="schema", description="Version of this format.")
    plugins: tuple[str, ...] = Field((), description="Modules of your own components, imported before anything else.")
    data: DataSpec
    model: ModelSpec
    train: TrainSpec = Field(TrainSpec(), description="How the network learns.")

    def plain(self) -> dict[str, Any]:
        """The recipe as plain data, every default written out."""
        return self.model_dump(mode="json", by_alias=True)


R = TypeVar("R", bound=BaseModel)


def read_document(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> tuple[Document, str]:
    """A file or mapping as plain data with overrides applied, and its name for messages.

    Raises:
        RecipeError: The file cannot be read, is not YAML, or an override cannot be applied.
    """
    if isinstance(source, Mapping):
        problems: list[Problem] = []
        document, name = Document(_plain(source, (), problems), {}), ""
    else:
        name = str(source)
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise RecipeError([Problem("", f"cannot be read ({reason})")], source=name) from None
        document, problems = read_yaml(text, name), []
    if not isinstance(document.value, dict):
        given = "an empty document" if document.value is None else shown(document.value)
        raise RecipeError([Problem("", f"a mapping of keys is expected, given {given}")], source=name)
    overridden: dict[Place, str] = {}
    problems += [problem for text in overrides if (problem := _override(document.value, text, overridden))]
    if problems:
        raise RecipeError(problems, source=name)
    return replace(document, overridden=overridden), name


def parse(record: type[R], document: Document, name: str, check: ComponentCheck | None = None) -> R:
    """Plain data as a checked record.

    Raises:
        RecipeError: Every problem of the data, with place, value and remedy.
    """
    try:
        return record.model_validate_json(json.dumps(document.value), context={"check": check})
    except ValidationError as error:
        found = findings(error, document.value, lambda place: _known_keys(record, place))
        problems = [Problem(written_place(path, document), message, remedy) for path, message, remedy in found]
        raise RecipeError(problems, source=name) from None


def written_place(path: Place, document: Document) -> str:
    """A key path as messages show it, with the line or the override that it comes from."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    for end in range(len(path), 0, -1):
        if path[:end] in document.overridden:
            return f"override {document.overridden[path[:end]]!r}: {place}"
        if path[:end] in document.lines:
            return f"line {document.lines[path[:end]]}: {place}"
    return place


def _plain(value: Any, place: Place, problems: list[Problem]) -> Any:
    """Mappings as dicts, sequences as lists, everything else that is no plain value a problem."""
    if isinstance(value, str):
        return _text(value, place, problems)
    if value is None or isinstance(value, bool | int | float):
        return value
    if len(place) >= MAX_DEPTH:
        problems.append(Problem(written_place(place, Document(None, {})), f"nested deeper than {MAX_DEPTH} levels"))
        return None
    if isinstance(value, Mapping):
        texts = [_text(str(key), place, problems) for key in value]
        return {key: _plain(value, (*place, key), problems) for key, value in zip(texts, value.values(), strict=True)}
    if isinstance(value, list | tuple):
        return [_plain(item, (*place, index), problems) for index, item in enumerate(value)]
    message = f"a value of type {type(value).__name__} is no plain data"
    where = written_place(place, Document(None, {}))
    problems.append(Problem(where, message, "a spec holds numbers, text, lists and mappings"))
    return None


def _text(text: str, place: Place, problems: list[Problem]) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        problems.append(Problem(written_place(place, Document(None, {})), f"{text!r} is not Unicode text"))
    return text


def _override(tree: dict[str, Any], text: str, overridden: dict[Place, str]) -> Problem | None:
    path, separator, value_text = text.partition("=")
    keys = path.split(".")
    where = f"override {text!r}"
    if not separator or not all(keys):
        return Problem(where, "is not key.path=value", "for example train.epochs=10")
    try:
        value = read_yaml(value_text, where).value
    except RecipeError as error:
        return Problem(where, str(error.problems[0]))
    node: Any = tree
    place: Place = ()
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        slot: Any = key
        if isinstance(node, list):
            if key not in map(str, range(len(node))):
                return Problem(where, f"{key!r} is no position in a list of {len(node)}", "positions count from 0")
            slot = int(key)
        place = (*place, slot)
        if following is None:
            node[slot] = value
            overridden[place] = text
            return None
        below = node[slot] if isinstance(node, list) else node.get(key)
        if isinstance(below, str):
            below = {"type": below}  # a bare name is a component that takes every default
        elif below is None:
            below = {}
            overridden.setdefault(place, text)
        elif not isinstance(below, dict | list):
            return Problem(where, f"{key!r} holds {shown(below)}, which has no keys")
        node[slot] = below
        node = below
    return None


def _known_keys(record: type[BaseModel], path: Place) -> list[str]:
    fields: Any = record  # a record, or the annotation of a mapping of records
    for part in path:
        found = getattr(fields, "model_fields", {}).get(part)
        annotation = found.annotation if found else fields
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields = annotation
        else:
            arguments = getattr(annotation, "__args__", ())
            fields = arguments[-1] if arguments else fields
    if isinstance(fields, type) and issubclass(fields, BaseModel):
        return [field.alias or name for name, field in fields.model_fields.items()]
    return []
