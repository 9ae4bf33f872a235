"""The options of a stream, checked before it is made."""

from __future__ import annotations

from collections.abc import Mapping

from fusionkit.errors import FusionKitError, ShapeError
from fusionkit.inference.timeline.windows import check_seconds
from fusionkit.interfaces import Transform
from fusionkit.models.inputs import refuse_unknown
from fusionkit.models.network import FusionModel


def check_options(model: object, window: object, rates: object, transforms: object) -> None:
    """Refuses options of `Stream` that are none.

    Raises:
        FusionKitError: The model is no `FusionModel`.
        ShapeError: A window, a rate or a transform is wrong, or of no modality of the model.
    """
    if not isinstance(model, FusionModel):
        remedy = "build one from the recipe of a run with fusionkit.build, and load its weights with load_state_dict"
        raise FusionKitError(f"model: a FusionModel is expected, given {type(model).__name__}; {remedy}")
    seconds = rates is not None and not isinstance(window, Mapping)
    if rates is not None and not seconds:
        raise ShapeError("rates: are for windows in seconds, and this window is in elements; give window=3.0")
    what, sizes, example = ("rates", rates, "30.0") if seconds else ("window", window, "90")
    for name, given, of in ((what, sizes, example), ("transforms", transforms, "function")):
        if not isinstance(given, Mapping):
            remedy = f"give one by modality: {{{model.modalities[0]!r}: {of}}}"
            if name == "window":
                remedy += ", or a number of seconds and rates"
            raise ShapeError(f"{name}: a mapping is expected, given {given!r}; {remedy}")
    assert isinstance(sizes, Mapping)
    assert isinstance(transforms, Mapping)
    if not sizes:
        raise ShapeError(f"{what}: no modality is given; known: {', '.join(model.modalities)}")
    refuse_unknown(what, sizes, model.modalities)
    if seconds:
        check_seconds("window", window)
        _check_rates(sizes)
    else:
        _check_windows(sizes)
    _check_transforms(transforms)


def _check_rates(rates: Mapping[str, object]) -> None:
    for name, rate in rates.items():
        if rate is not None:
            check_seconds(f"rates: {name!r}", rate, "elements per second, or None for a static vector")


def _check_windows(windows: Mapping[str, object]) -> None:
    for name, most in windows.items():
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            remedy = "a whole number of at least 1, or None for all elements"
            raise ShapeError(f"window: {name!r} has {most!r} elements; give {remedy}")


def _check_transforms(transforms: Mapping[str, object]) -> None:
    for name, transform in transforms.items():
        if isinstance(transform, Transform):  # which needs a generator beside the window
            remedy = "give lambda window: transform(window, torch.Generator(), training=False)"
            raise ShapeError(f"transforms: {name!r} is the {type(transform).__name__} of a recipe itself; {remedy}")
        if not callable(transform):
            raise ShapeError(f"transforms: {name!r} is {transform!r}; give a function of the window's elements")
