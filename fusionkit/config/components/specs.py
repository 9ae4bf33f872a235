"""Components as a recipe names them, a record per kind: a name, and options as plain data.

Nothing here knows a component: `fusionkit.config.components.registry` does. So a recipe can be read and printed
without building anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from fusionkit.config.documents import ComponentCheck
from fusionkit.config.validation import quote


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
    """A component by name, with its options beside it; a bare name takes every default.

    The class of a kind is called after it: a `LossHeadSpec` is of the kind ``loss_head``.
    """

    model_config = ConfigDict(extra="allow")
    kind: ClassVar[str] = ""
    type: str

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.kind = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__.removesuffix("Spec")).lower()

    @property
    def options(self) -> dict[str, Any]:
        """Returns the options as plain data."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _from_bare_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"type": value}
        if isinstance(value, Mapping) and "type" not in value:
            raise _refusal(
                "no component is named", f"write type: and the name of a component (`fusionkit list {cls.kind}`)"
            )
        if not isinstance(value, Mapping | ComponentSpec):
            remedy = "write its name, or a mapping of type: and its options"
            raise _refusal(f"a component ({cls.kind}) is expected, given {quote(value)}", remedy)
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


class AggregatorSpec(ComponentSpec):
    """An aggregator."""


class FusionSpec(ComponentSpec):
    """A fusion."""


class LossHeadSpec(ComponentSpec):
    """A loss head."""


class BalancerSpec(ComponentSpec):
    """A balancer."""


class StrategySpec(ComponentSpec):
    """A strategy."""


class TransformSpec(ComponentSpec):
    """A transform."""


class DatasetSpec(ComponentSpec):
    """A dataset."""


class FoldsSpec(ComponentSpec):
    """A protocol of folds."""


class DetectorSpec(ComponentSpec):
    """A face detector."""


class OptimizerSpec(ComponentSpec):
    """An optimizer."""


class SchedulerSpec(ComponentSpec):
    """A schedule of the learning rate."""
