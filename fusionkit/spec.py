"""What a recipe may say: frozen records, and how a file and overrides become one.

Nothing here knows a component: `type:` is a name and its options are plain data until `fusionkit.recipe` looks them
up. So a recipe can be read and printed without building anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from fusionkit.errors import Problem, RecipeError, did_you_mean
from fusionkit.strict_yaml import Document, read_yaml

Finding = tuple[tuple[str | int, ...], str, str]
"""A place below a component, what is wrong there, and what would be right."""

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
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _checked(self, info: ValidationInfo) -> Self:
        check: ComponentCheck | None = (info.context or {}).get("check")
        if check is None:
            return self
        completed, findings = check(self.kind, self.type, self.options)
        if findings:
            raise ValidationError.from_exception_data(
                self.type,
                [
                    InitErrorDetails(
                        type=PydanticCustomError("component", "{message}", {"message": message, "remedy": remedy}),
                        loc=place,
                        input=None,
                    )
                    for place, message, remedy in findings
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


Chain = Annotated[tuple[EncoderSpec, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
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
        taken = {"fused", "fusion", "ensemble"} & set(self.modalities)
        if taken:
            raise ValueError(f"the name {min(taken)!r} is the library's own; call the modality something else")
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
        document, name = Document(json.loads(json.dumps(dict(source), default=_refuse)), {}), ""
    else:
        name = str(source)
        try:
            document = read_yaml(Path(source).read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise RecipeError([Problem("", f"cannot be read ({reason})")], source=name) from None
    if not isinstance(document.value, dict):
        given = "an empty document" if document.value is None else type(document.value).__name__
        raise RecipeError([Problem("", f"a mapping of keys is expected, found {given}")], source=name)
    problems = [problem for text in overrides if (problem := _override(document.value, text))]
    if problems:
        raise RecipeError(problems, source=name)
    return document, name


def parse(record: type[R], document: Document, name: str, check: ComponentCheck | None = None) -> R:
    """Plain data as a checked record.

    Raises:
        RecipeError: Every problem of the data, with place, value and remedy.
    """
    try:
        return record.model_validate_json(json.dumps(document.value), context={"check": check})
    except ValidationError as error:
        problems = [_problem(item, record, document) for item in error.errors(include_url=False)]
        raise RecipeError(problems, source=name) from None


def _refuse(value: object) -> None:
    raise RecipeError(f"a spec holds plain data (numbers, text, lists, mappings), given a {type(value).__name__}")


def _override(tree: dict[str, Any], text: str) -> Problem | None:
    path, separator, value_text = text.partition("=")
    keys = path.split(".")
    if not separator or not all(keys):
        return Problem(f"override {text!r}", "is not key.path=value", "for example train.epochs=10")
    try:
        value = read_yaml(value_text, f"override {text!r}").value
    except RecipeError as error:
        return Problem(f"override {text!r}", str(error.problems[0]))
    node: Any = tree
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        slot: Any = key
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                return Problem(f"override {text!r}", f"{key!r} is no position in a list of {len(node)}")
            slot = int(key)
        if following is None:
            node[slot] = value
            return None
        below = node[slot] if isinstance(node, list) else node.get(key)
        if isinstance(below, str):
            below = {"type": below}  # a bare name is a component that takes every default
        elif below is None:
            below = {}
        elif not isinstance(below, dict | list):
            return Problem(f"override {text!r}", f"{key!r} holds {below!r}, which has no keys")
        node[slot] = below
        node = below
    return None


def _problem(item: Any, record: type[BaseModel], document: Document) -> Problem:
    path = _as_written(item["loc"], document.value)
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    line = next((document.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in document.lines), None)
    place = f"line {line}: {place}" if line else place
    if item["type"] == "component":
        return Problem(place, item["ctx"]["message"], item["ctx"]["remedy"])
    if item["type"] == "extra_forbidden":
        return Problem(place, "unknown key", did_you_mean(str(path[-1]), _known_keys(record, path[:-1])))
    if item["type"] == "missing":
        return Problem(place, "missing", "this key has no default")
    message = item["msg"].removeprefix("Value error, ")
    given = "" if isinstance(item["input"], dict | list | tuple) else f", given {item['input']!r}"
    return Problem(place, f"{message[0].lower()}{message[1:]}{given}")


def _as_written(loc: Sequence[str | int], tree: Any) -> tuple[str | int, ...]:
    """Drops what validation adds to a place: positions in a chain of one that was written without a list."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(part, int) and not isinstance(tree, list):
            continue
        path.append(part)
        if isinstance(tree, dict):
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
    return tuple(path)


def _known_keys(record: type[BaseModel], path: Sequence[str | int]) -> list[str]:
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
