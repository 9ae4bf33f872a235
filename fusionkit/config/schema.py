"""The schema of recipes, as frozen records."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from fusionkit.config.components.specs import (
    AggregatorSpec,
    BalancerSpec,
    DatasetSpec,
    DetectorSpec,
    EncoderSpec,
    FoldsSpec,
    FusionSpec,
    LossHeadSpec,
    OptimizerSpec,
    Record,
    SchedulerSpec,
    StrategySpec,
    TransformSpec,
)
from fusionkit.config.field_marks import NO_RESULT


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Chain = Annotated[tuple[EncoderSpec, ...], Field(min_length=1), BeforeValidator(_as_tuple)]
"""One encoder, or several that follow each other."""

Transforms = Annotated[tuple[TransformSpec, ...], BeforeValidator(_as_tuple)]
"""No, one or several transforms."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
"""A name of a modality or target: it becomes part of term names and file names."""


def _refuse_other_kinds(value: object) -> object:
    """Refuses true and 1.0, which Python takes for 1."""
    if type(value) is not int:
        raise PydanticCustomError("literal_error", "", {"expected": "1"})
    return value


Version = Annotated[Literal[1], BeforeValidator(_refuse_other_kinds)]
"""The version of a format of recipes, experiments and comparisons."""

MOST_EPOCHS = 10_000_000
"""The most epochs of a stage, in recipes and in logs."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed that every generator of random numbers takes: NumPy's has 32 bits."""


class FaceSpec(Record):
    """The way from a film to a sequence of square face crops."""

    size: int = Field(112, gt=0, le=1024, description="Height and width of a crop in pixels.")
    grey: bool = Field(False, description="Keep brightness alone: one channel instead of red, green and blue.")
    detector: DetectorSpec = Field(DetectorSpec(type="dlib_hog"), description="What finds the faces.")
    every: int = Field(5, gt=0, description="Frames from one detection to the next; boxes between are interpolated.")
    margin: float = Field(
        0.2, ge=0.0, le=2.0, description="What is added to the face's box on every side, as a share of its side."
    )
    smoothing: float = Field(
        0.2, ge=0.0, description="Standard deviation, in seconds, of the Gaussian that smooths the boxes over time."
    )
    no_face: Literal["missing", "center", "drop", "fail"] = Field(
        "missing",
        description="A film without a face: its video is missing, is the middle of the image, the clip is dropped, or "
        "the preparation fails.",
    )
    several: Literal["largest", "central", "missing", "drop", "fail"] = Field(
        "largest", description="Several faces in a frame: the largest is followed, the most central, or as for no_face."
    )
    gaps: Literal["interpolate", "missing", "drop", "fail"] = Field(
        "interpolate", description="A face in some of the looked-at frames only, but in no less than least_seen."
    )
    least_seen: float = Field(
        0.5, gt=0.0, le=1.0, description="Share of the looked-at frames with a face below which a film has no face."
    )


class PrepareSpec(Record):
    """The way from films and sounds to what training reads."""

    cache: Annotated[str, NO_RESULT] = Field(
        "~/.cache/fusionkit", min_length=1, description="The folder of prepared clips; results do not depend on it."
    )
    frame_rate: float = Field(
        30.0, gt=0.0, le=1000.0, description="Frames per second; of a film with another or a varying rate the nearest."
    )
    sample_rate: int = Field(16000, gt=0, description="Samples of sound per second.")
    face: FaceSpec = Field(FaceSpec(), description="How faces are cut out.")
    damaged: Literal["drop", "missing", "fail"] = Field(
        "drop",
        description="A film or sound that is not there or cannot be read: the clip is dropped, the modality is "
        "missing, or the preparation fails.",
    )
    incomplete: Literal["keep", "missing", "drop", "fail"] = Field(
        "drop", description="A film or sound that holds less than its header promises, or breaks off: as for damaged."
    )
    no_sound: Literal["missing", "drop", "fail"] = Field(
        "missing", description="A film without sound, where the dataset states no file of it either."
    )
    silent: Literal["keep", "missing", "drop", "fail"] = Field(
        "keep", description="Sound that is never louder than a thousandth of full scale (-60 dB)."
    )


class DataSpec(Record):
    """The samples, how they are divided, and the size of batches."""

    dataset: DatasetSpec = Field(description="Where the samples come from.")
    prepare: PrepareSpec | None = Field(
        None, description="How films are prepared, where the dataset is of films; null takes the defaults below."
    )
    folds: FoldsSpec = Field(FoldsSpec(type="holdout"), description="How samples are divided into train and test.")
    fold: int | str = Field(0, description="Which fold one run trains and reports: its position or its name.")
    batch_size: int = Field(16, gt=0, description="Samples per batch and process.")
    budget: int | None = Field(
        None, gt=0, description="Elements of the longest modality per batch, instead of a number of samples."
    )
    workers: Annotated[int, NO_RESULT] = Field(
        0, ge=0, description="Processes that load data; results do not depend on it."
    )
    timeout_seconds: Annotated[float | None, NO_RESULT] = Field(
        600.0,
        gt=0,
        description="Seconds for which a batch of the workers is waited for before the sample that hangs is named and "
        "the command ends; null waits for ever. Without workers nothing can be timed out.",
    )
    cache: Annotated[bool, NO_RESULT] = Field(
        False, description="Keep every loaded sample in memory; results do not depend on it."
    )
    allow_group_overlap: bool = Field(
        False,
        description="Accept a group on both sides of a split; every result is then labelled so, as speaker-dependent.",
    )


class ModalitySpec(Record):
    """One modality, from its elements to its feature vector."""

    shape: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(
        None, description="Shape of one element; taken from the dataset when left out."
    )
    transforms: Transforms = Field(
        (), description="What happens to a sample before the encoder, in training at random."
    )
    encoder: Chain = Field((EncoderSpec(type="identity"),), description="Elements to elements; several chain.")
    aggregator: AggregatorSpec = Field(AggregatorSpec(type="mean"), description="A sequence to one vector.")
    chunk: int | None = Field(
        None,
        gt=0,
        description="Elements that an encoder is given at once in evaluation, so that a clip of any length fits into "
        "memory; null for as many as hold eight million numbers. It changes results by rounding only.",
    )
    recompute: bool = Field(
        False,
        description="Compute the encoders' activations again in the backward pass instead of keeping them: less memory "
        "for a third more time. The training is the same. Not with train.compile.",
    )


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
            ("modality", self.modalities, {"fused", "fusion", "ensemble", "constant", "training"}),
            ("target", self.targets, {"training"}),
        ):
            if taken := own & set(names):
                raise ValueError(f"the name {min(taken)!r} is the library's own; call the {what} something else")
        return self


class TrainSpec(Record):
    """The training of the network."""

    strategy: StrategySpec = Field(StrategySpec(type="end_to_end"), description="The order in which parts learn.")
    balancer: BalancerSpec = Field(BalancerSpec(type="multi_term"), description="Loss terms to one total.")
    optimizer: OptimizerSpec = Field(OptimizerSpec(type="adamw"), description="The optimizer.")
    scheduler: SchedulerSpec = Field(SchedulerSpec(type="constant"), description="The learning rate over time.")
    warmup: float = Field(0.0, ge=0.0, lt=1.0, description="Share of the steps in which the rate rises linearly.")
    epochs: int = Field(60, gt=0, le=MOST_EPOCHS, description="Epochs of every stage.")
    clip_norm: float | None = Field(None, gt=0.0, description="Largest norm of the gradient.")
    accumulate: int = Field(1, gt=0, description="Batches per optimizer step.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = Field(
        "32-true", description="Precision of the computation."
    )
    compile: bool = Field(
        False,
        description="Compile the encoders that take every element by itself, for any number of elements; it takes a "
        "minute or so at the start.",
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
    export: Annotated[tuple[Name, ...], NO_RESULT] = Field(
        (),
        description="Modalities whose last encoder is left as encoder_NAME.safetensors in the run folder, for the "
        "`weights` of encoders that are to start from it.",
    )
    gradient_cosines: int = Field(
        0,
        ge=0,
        description="Every how many steps the log is told, for every modality, the cosine between the gradients of its "
        "uni-modal and of the fused losses, for which the step makes two more backward passes; 0 for never. The "
        "training is the same with and without.",
    )
    checkpoint_seconds: Annotated[float, NO_RESULT] = Field(
        60.0, ge=0.0, description="Least time between two resumable checkpoints; results do not depend on it."
    )
    seed: Seed = Field(0, description="Seed of weights, order of samples and augmentation.")

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> Self:
        if self.patience is not None and self.select == "last":
            raise ValueError("patience needs a validation set: choose select: inner (or best)")
        return self


class Recipe(Record):
    """One experiment, complete in itself."""

    version: Version = Field(alias="schema", description="Version of this format.")
    plugins: tuple[str, ...] = Field((), description="Modules of your own components, imported before anything else.")
    data: DataSpec
    model: ModelSpec
    train: TrainSpec = Field(TrainSpec(), description="How the network learns.")

    @model_validator(mode="after")
    def _exports_are_modalities(self) -> Self:
        unknown = [name for name in self.train.export if name not in self.model.modalities]
        if unknown:
            known = ", ".join(self.model.modalities)
            raise ValueError(f"train.export names {', '.join(unknown)}, the modalities are {known}")
        return self

    @model_validator(mode="after")
    def _compiles_or_recomputes(self) -> Self:
        recomputed = [name for name, modality in self.model.modalities.items() if modality.recompute]
        if self.train.compile and recomputed:
            raise ValueError(
                f"train.compile does not go with recompute of {', '.join(recomputed)}; choose one of them: what is "
                "compiled chooses by itself what it computes again"
            )
        return self

    def of_run(self, fold: int | str, seed: int) -> Self:
        """Returns the recipe of one run, with its fold and its seed."""
        data, train = self.data.model_copy(update={"fold": fold}), self.train.model_copy(update={"seed": seed})
        return self.model_copy(update={"data": data, "train": train})

    def plain(self) -> dict[str, Any]:
        """Returns the recipe as plain data, every default written out."""
        return self.model_dump(mode="json", by_alias=True)
