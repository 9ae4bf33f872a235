"""The last seconds of all modalities, whatever their rates and clocks, as encoded sequences for networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from fusionkit.errors import ShapeError, suggest_names
from fusionkit.inference.element_checks import check_dtype
from fusionkit.inference.timeline.elements import TimedElements
from fusionkit.inference.timeline.encoded import WindowEncoder
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.tensor_checks import check_finite

OfWindow = Callable[[Tensor], Tensor]
"""Elements of a window, ``(kept, *element)``, to what the network is given of them."""


class Windows:
    r"""Elements of several modalities by their times, and what networks make of those in a window.

    .. math::
        W_m(T) = \{x_{m,i} : T - w \le t_{m,i} < T\}

    Args:
        encoders: By modality of the networks, what encodes it for each of them.
        rates: By modality, elements per second; None of a static vector. A modality that is left out is missing.
        seconds: The window w; None for all since the last reset, which keep growing.
        transforms: By modality, what is done to the elements of a window.
    """

    def __init__(
        self,
        encoders: Mapping[str, Sequence[WindowEncoder]],
        rates: Mapping[str, float | None],
        seconds: float | None,
        transforms: Mapping[str, OfWindow],
    ) -> None:
        self.encoders, self._rates, self._seconds, self._transforms = encoders, rates, seconds, transforms
        self._dtypes: dict[str, torch.dtype] = {}
        # An element may end behind the end of the window that holds it, by as much as it lasts.
        self._longest = max((1 / rate for rate in rates.values() if rate is not None), default=0.0)
        self._elements = {name: TimedElements(name, rate) for name, rate in rates.items()}

    @property
    def newest(self) -> float | None:
        """The end of the newest element of any modality, in seconds; None before the first."""
        return max((each.end for each in self._elements.values() if each.end is not None), default=None)

    @property
    def cut(self) -> dict[str, int]:
        """Elements that were cut off since others of their time had been pushed, by modality."""
        return {name: each.cut for name, each in self._elements.items()}

    def count(self, at: float | None = None) -> dict[str, int]:
        """Counts the elements of the window, by modality."""
        start, stop = self._find_edges(at)
        return {name: each.count(start, stop) for name, each in self._elements.items()}

    def push(self, modality: str, elements: Tensor, at: float | None) -> None:
        """Takes a copy of elements of a modality.

        Raises:
            ShapeError: An unknown modality, or elements of another shape or dtype than the network takes, or than
                those before.
            DataError: Numbers on the CPU are NaN or infinite, or all elements lie before those pushed.
        """
        line = self._find("push", modality)
        self.encoders[modality][0].check(elements, transformed=modality in self._transforms, pushed=True)
        check_dtype(modality, elements, self._dtypes.get(modality))
        if at is not None and not math.isfinite(at):
            raise ShapeError(f"{modality}: at is {at}; give the seconds of the first element")
        if elements.is_floating_point() and elements.is_cpu:
            check_finite(elements, modality)
        line.push(elements, at)
        self._dtypes[modality] = elements.dtype
        if self._seconds is not None and self.newest is not None:
            line.drop_before(self.newest - self._seconds - self._longest)

    def encode(self, at: float | None = None, without: Collection[str] = ()) -> list[dict[str, Jagged]]:
        """Encodes the window for each network.

        Args:
            at: Its end in seconds; the end of the newest element when left out. What left the window of that one is
                forgotten, so an earlier end sees less.
            without: Modalities that are hidden.

        Raises:
            ShapeError: A transform returns elements that the network was not built for.
            FusionKitError: A network changed since elements were encoded.
        """
        start, stop = self._find_edges(at)
        sequences: list[dict[str, Jagged]] = [{} for _ in next(iter(self.encoders.values()))]
        with torch.inference_mode():
            for name, encoders in self.encoders.items():
                hidden = name in without or name not in self._elements
                found = None if hidden else self._elements[name].read(start, stop)
                chosen = None if found is None else self._transform(name, found[1])
                for of, encoder in zip(sequences, encoders, strict=True):
                    if found is None or chosen is None:
                        of[name] = encoder.make_empty()
                    else:
                        of[name] = encoder.encode(*found, chosen)
        return sequences

    def reset(self, *modalities: str) -> None:
        """Forgets all elements, or those of some modalities."""
        for name in modalities or tuple(self._elements):
            self._find("reset", name)
            self._elements[name] = TimedElements(name, self._rates[name])
            self._dtypes.pop(name, None)
            for encoder in self.encoders[name]:
                encoder.forget()

    def _transform(self, name: str, elements: Tensor) -> Tensor:
        if name not in self._transforms:
            return elements
        written = elements._version
        chosen = self._transforms[name](elements)
        if elements._version != written:
            chosen = chosen.clone()  # in the place of the window, but no longer the elements that were pushed
        self.encoders[name][0].check(chosen, transformed=True, pushed=False)
        return chosen

    def _find_edges(self, at: float | None) -> tuple[float, float]:
        newest = self.newest
        stop = at if at is not None else math.inf if newest is None else newest
        return (-math.inf if self._seconds is None or stop == math.inf else stop - self._seconds), stop

    def _find(self, where: str, modality: str) -> TimedElements:
        if modality not in self._elements:
            raise ShapeError(f"{where}: no window for {modality!r}; {suggest_names(modality, self._elements)}")
        return self._elements[modality]


def check_seconds(what: str, given: object, meaning: str = "seconds") -> None:
    """Refuses what is no number above 0.

    Raises:
        ShapeError: It is none.
    """
    fine = isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given) and given > 0
    if not fine:
        raise ShapeError(f"{what} is {given!r}; give a number above 0: {meaning}")
