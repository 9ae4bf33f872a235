"""Forms of components: for each class, how it computes on padded sequences inside a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import nn

from fusionkit.errors import ExportError
from fusionkit.interfaces import Aggregator, DeviceTransform, Encoder, Fusion, Transform

Engine = Literal["onnx", "torch"]
"""The program that runs the graph: onnxruntime, or PyTorch."""

FormMaker = Callable[[Any, Engine], nn.Module]
"""Makes a form from a trained component."""

M = TypeVar("M", bound=FormMaker)

REFUSED: dict[str, str] = {}
"""By name, the components of fusionkit that have no form, and why."""

_METHODS = {Encoder: "forward", Aggregator: "forward", Fusion: "forward", Transform: "__call__"}


@dataclass(frozen=True)
class _Registered:
    make: FormMaker
    restates: bool


_FORMS: dict[type, _Registered] = {}


def register_form(kind: type, *, restates: bool = True) -> Callable[[M], M]:
    """Registers how a component of a class becomes a form.

    Forms by kind:

    - encoder, transform: `Padded` to `Padded`;
    - aggregator: `Padded`, whose lengths are all positive, to ``(batch, out_features)``;
    - fusion: features and presence by modality, and `Padded` sequences by modality, to ``(batch, out_features)``.

    Args:
        kind: The class.
        restates: Whether the form restates what the class computes. Then it does not serve a subclass that computes
            something else. A form that calls the component itself restates nothing.

    Example:
        >>> from fusionkit.models.encoders import Mlp
        >>> type(find_form(Mlp((3,)), "onnx")).__name__
        'ElementForm'
    """

    def add(make: M) -> M:
        _FORMS[kind] = _Registered(make, restates)
        return make

    return add


def find_form(component: object, engine: Engine) -> nn.Module:
    """Makes the form of a component.

    Raises:
        ExportError: Its class has none.
    """
    for each in type(component).__mro__:
        found = _FORMS.get(each)
        if found is not None and (not found.restates or _computes_alike(type(component), each)):
            return found.make(component, engine)
    name = type(component).__name__
    reason = REFUSED.get(name, "it has no form for a graph; `register_form` gives it one (docs/how_to/export.md)")
    raise ExportError(f"{name} cannot be exported: {reason}; `fusionkit.load` runs the network as it is")


def _computes_alike(cls: type, known: type) -> bool:
    """Says whether a class computes as the one does that a form is registered for."""
    method = next(name for kind, name in _METHODS.items() if issubclass(known, kind))
    return getattr(cls, method) is getattr(known, method)


class Unchanged(nn.Module):
    """The form of what changes nothing in evaluation."""

    def forward(self, sequence: Any) -> Any:
        """Returns its input."""
        return sequence


@register_form(DeviceTransform)
def _draws_in_training_only(transform: DeviceTransform, engine: Engine) -> nn.Module:
    return Unchanged()
