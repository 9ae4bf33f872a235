"""Live use of a trained network: elements arrive in portions, and each of them is encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain

import torch
from torch import Tensor

from fusionkit.branch import Branch
from fusionkit.errors import FusionKitError, ShapeError, did_you_mean
from fusionkit.inputs import refuse_other_precision, refuse_unknown
from fusionkit.interfaces import ModelOutput
from fusionkit.jagged import Jagged
from fusionkit.network import FusionModel

OfWindow = Callable[[Tensor], Tensor]
"""Elements of a window, ``(kept, *element)``, to what the network is given of them."""


class Stream:
    r"""What a network says of the last elements of a live recording: frames of a camera, blocks of sound, sensor rows.

    .. math::
        \mathrm{predict}() = \mathrm{model}(\{m: x_m[-w_m:]\})

    to rounding, however the elements :math:`x_m` were portioned; :math:`w_m` is the window. A modality of which nothing
    was pushed is missing, as in the model. What encoders that take every element by itself (`ElementEncoder`) say of an
    element is computed once and kept as long as the window holds the element, so a prediction costs what aggregators,
    fusion and heads cost.

    **Which encoders run when.** Of a chain, the encoders before the first that sees neighbours (`conv1d`, `log_mel`,
    `spectrogram`) run at a push. That one and all behind it run at every prediction, over what is kept before it: of a
    wave that becomes a spectrogram the samples are kept, and nothing is gained but the bookkeeping.

    **Transforms of a recipe are not part of a network**, so a stream computes none by itself. Those of augmentation do
    nothing in evaluation. Of ``subsample`` push every k-th element; what needs a whole clip, such as ``standardize``,
    is given as `transforms` and then sees the window as its clip.

    The network has to be in evaluation mode. In training mode it is refused, not put into evaluation mode and back: a
    training that goes on would change the weights that elements were encoded by. What is kept is stale once those
    weights change: `reset` the stream then. Changes by an optimizer, by ``load_state_dict`` and of running statistics
    are noticed and refused.

    Calls from several threads, such as a camera's and a microphone's, need a lock of yours around each.

    Args:
        model: The network.
        window: By modality, of how many last elements the scores are; None for all since the last `reset`, which keep
            growing. A modality that is left out is missing.
        transforms: By modality, what is done to the elements of the window, ``(kept, *element)``, at each prediction,
            on the device of the network; of such a modality the elements are kept and nothing is encoded ahead.

    Raises:
        ShapeError: No window, an unknown modality, a window that is no whole number of at least 1, or a transform of a
            modality without a window.

    Example:
        >>> from fusionkit import build
        >>> model = build({
        ...     "modalities": {"face": {"shape": [4], "encoder": "mlp"}, "voice": {"shape": [], "encoder": "log_mel"}},
        ...     "targets": {"emotion": {"type": "classification", "classes": ["calm", "happy", "sad"]}},
        ... })
        >>> stream = Stream(model.eval(), window={"face": 90, "voice": 48_000})
        >>> stream.push("face", torch.zeros(6, 4))
        >>> stream.push("voice", torch.zeros(3_200))
        >>> stream.predict().fused["emotion"].shape
        torch.Size([1, 3])
        >>> stream.counts
        {'face': 6, 'voice': 3200}
    """

    def __init__(
        self,
        model: FusionModel,
        *,
        window: Mapping[str, int | None],
        transforms: Mapping[str, OfWindow] | None = None,
    ) -> None:
        transforms = transforms or {}
        if not window:
            raise ShapeError(f"window: no modality is given; known: {', '.join(model.modalities)}")
        refuse_unknown("window", window, model.modalities)
        for name, most in window.items():
            if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
                remedy = "a whole number of at least 1, or None for all elements"
                raise ShapeError(f"window: {name!r} has {most!r} elements; give {remedy}")
        self._model = model
        self._lines = {
            name: _Line(name, model.branch(name), most, transforms.get(name)) for name, most in window.items()
        }
        for name in transforms:
            self._line("transforms", name)

    @property
    def counts(self) -> dict[str, int]:
        """How many elements the next prediction reads, by modality."""
        return {name: line.kept.count for name, line in self._lines.items()}

    def push(self, modality: str, elements: Tensor) -> None:
        """Takes the next elements of a modality; of more than its window only the last are moved and encoded.

        Args:
            modality: The modality.
            elements: ``(new, *element)`` in the order of time, on any device; copied, so that a buffer may be reused.

        Raises:
            ShapeError: An unknown modality or one without a window, or elements of another shape or precision than the
                network's, or of another dtype than those before.
            FusionKitError: The network is in training mode, or its weights changed since elements were encoded.
        """
        line = self._line("push", modality)
        self._refuse_training()
        with torch.inference_mode():
            line.take(elements)

    def predict(self, *, unimodal: bool = False) -> ModelOutput:
        """Scores of what is in the windows now, a batch of one; `FusionModel.head` makes probabilities of them.

        Args:
            unimodal: Score the uni-modal branches as well.

        Raises:
            ShapeError: Nothing was pushed yet, or a transform returns elements that the network was not built for.
            FusionKitError: The network is in training mode, or its weights changed since elements were encoded.
        """
        self._refuse_training()
        if not any(self.counts.values()):
            raise ShapeError(f"predict: nothing was pushed yet; push elements of any of {', '.join(self._lines)}")
        with torch.inference_mode():
            sequences = {name: self._sequence(name) for name in self._model.modalities}
            return self._model.from_sequences(sequences, unimodal=unimodal)

    def reset(self, *modalities: str) -> None:
        """Forgets all elements, or those of some modalities: after a cut, a change of weights, or a camera's loss.

        Raises:
            ShapeError: An unknown modality, or one without a window.
        """
        for line in [self._line("reset", name) for name in modalities or self._lines]:
            line.forget()

    def _line(self, where: str, modality: str) -> _Line:
        if modality in self._lines:
            return self._lines[modality]
        if modality in self._model.branches:
            raise ShapeError(f"{where}: {modality!r} has no window; state one when the stream is made")
        raise ShapeError(f"{where}: unknown modality {modality!r}; {did_you_mean(modality, self._lines)}")

    def _refuse_training(self) -> None:
        if self._model.training:
            raise FusionKitError("the network is in training mode; call its eval() before it is used in a stream")

    def _sequence(self, modality: str) -> Jagged:
        if modality in self._lines and self._lines[modality].kept.count:
            return self._lines[modality].sequence()
        branch = self._model.branch(modality)
        return branch.encode(Jagged.empty(1, branch.in_shape, like=branch.norm.weight))


class _Line:
    """One modality of a stream.

    Args:
        name: The modality.
        branch: Its branch.
        most: Its window.
        transform: What is done to the window before the branch sees it.
    """

    def __init__(self, name: str, branch: Branch, most: int | None, transform: OfWindow | None) -> None:
        self._name, self._branch, self._most, self._transform = name, branch, most, transform
        self._ahead = branch.element_wise if transform is None else 0
        self.forget()

    def forget(self) -> None:
        self.kept = _Last(self._most)
        self._dtype: torch.dtype | None = None
        self._weights: tuple[tuple[int, int], ...] = ()

    def take(self, elements: Tensor) -> None:
        self._check(elements)
        if self._dtype not in (None, elements.dtype):
            remedy = "push elements of one dtype, or reset the stream first"
            raise ShapeError(f"{self._name}: elements are {elements.dtype}, those before {self._dtype}; {remedy}")
        weights = self._unchanged_weights()
        newest = elements if self._most is None else elements[-self._most :]
        newest = newest.to(self._branch.norm.weight.device)
        if not len(newest):
            return
        encoded = self._branch.encode(_alone(newest), stop=self._ahead)
        self.kept.append(encoded.values)
        self._dtype, self._weights = elements.dtype, weights

    def sequence(self) -> Jagged:
        self._unchanged_weights()
        elements = self.kept.elements()
        if self._transform is not None:
            elements = self._transform(elements)
            self._check(elements)
        return self._branch.encode(_alone(elements), start=self._ahead)

    def _check(self, elements: Tensor) -> None:
        shape = self._branch.in_shape
        if not isinstance(elements, Tensor):
            raise ShapeError(f"{self._name}: a tensor is expected, given {type(elements).__name__}")
        if elements.ndim != len(shape) + 1 or tuple(elements.shape[1:]) != shape:
            expected = f"(new, {', '.join(map(str, shape))})" if shape else "(new,)"
            one = "; a single element is given as element[None]" if tuple(elements.shape) == shape else ""
            raise ShapeError(f"{self._name}: elements of shape {tuple(elements.shape)} are not {expected}{one}")
        refuse_other_precision(self._name, elements.dtype, self._branch.norm.weight.dtype)

    def _unchanged_weights(self) -> tuple[tuple[int, int], ...]:
        """Where the weights are by which elements are encoded ahead, and how often each was changed."""
        weights = _versions(self._branch.encoders[: self._ahead])
        if self.kept.count and weights != self._weights:
            raise FusionKitError(
                f"{self._name}: the weights of its encoders changed since elements were encoded by them; reset the "
                "stream and push anew"
            )
        return weights


class _Last:
    """The last elements of a sequence in a ring that grows as they do, until it holds so many.

    Args:
        most: How many; None for all.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._ring: Tensor | None = None
        self._first = self.count = 0

    def append(self, new: Tensor) -> None:
        """Copies elements behind the others, no more than the ring may hold."""
        total = self.count + len(new)
        count = total if self._most is None else min(self._most, total)
        ring = self._ring = self._grown(count, new)
        end = (self._first + self.count) % len(ring)
        before, behind = new[: len(ring) - end], new[len(ring) - end :]
        ring[end : end + len(before)] = before
        ring[: len(behind)] = behind
        self._first, self.count = (self._first + total - count) % len(ring), count

    def elements(self) -> Tensor:
        """A copy of all, in their order, which later ones do not change."""
        assert self._ring is not None
        end = self._first + self.count
        return torch.cat([self._ring[self._first : end], self._ring[: max(0, end - len(self._ring))]])

    def _grown(self, count: int, like: Tensor) -> Tensor:
        if self._ring is not None and count <= len(self._ring):
            return self._ring
        size = max(count, 2 * self.count)
        ring = like.new_empty((size if self._most is None else min(size, self._most), *like.shape[1:]))
        if self._ring is not None:
            ring[: self.count] = self._ring[: self.count]  # none is dropped before the ring has its full size
        return ring


def _alone(elements: Tensor) -> Jagged:
    return Jagged.from_sizes(elements, (len(elements),))


def _versions(encoders: Iterable[torch.nn.Module]) -> tuple[tuple[int, int], ...]:
    tensors = chain.from_iterable(chain(encoder.parameters(), encoder.buffers()) for encoder in encoders)
    return tuple((each.data_ptr(), 0 if each.is_inference() else each._version) for each in tensors)
