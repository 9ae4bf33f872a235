"""The signature of a component is the schema of its options."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError


def make_options(kind: str, name: str, cls: type) -> type[BaseModel]:
    """Makes the record of a component's options from the parameters of its constructor that stand after ``*``.

    Raises:
        TypeError: The constructor has ``*args``, ``**kwargs``, an untyped parameter, a type or default that a recipe
            cannot state, or other wired parameters than its kind.
    """
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
    return _record_of(where, name, fields, read_arguments(inspect.getdoc(cls) or ""))


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


def read_arguments(docstring: str) -> dict[str, str]:
    """Reads what the ``Args:`` of a docstring say of each parameter."""
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
