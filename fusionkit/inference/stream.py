"""Live use of a trained network: elements arrive in portions, and each of them is encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from fusionkit.errors import FusionKitError, ShapeError, suggest_names
from fusionkit.inference.ring import Ring
from fusionkit.interfaces import ModelOutput, Transform
from fusionkit.models.branch import Branch
from fusionkit.models.inputs import refuse_other_numbers, refuse_unknown
from fusionkit.models.network import FusionModel
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.tensor_checks import check_finite

OfWindow = Callable[[Tensor], Tensor]
"""Elements of a window, ``(kept, *element)``, to what the network is given of them."""

_State = tuple[str, tuple[tuple[int, int], ...]]
"""State of the encoder: precision and device, then address and number of changes of each weight."""


class Stream:
    r"""A network at work on the last elements of a live recording: frames of a camera, blocks of sound, sensor rows.

    .. math::
        \mathrm{predict}() = \mathrm{model}(\{m: x_m[-w_m:]\})

    to rounding, however the elements :math:`x_m` were portioned; :math:`w_m` is the window. A modality without
    pushed elements is missing, as in the model. What encoders that take every element by itself (`ElementEncoder`) say
    of an element is computed once and kept as long as the window holds the element, so a prediction costs what
    aggregators, fusion and heads cost.

    **Which encoders run when.** Of a chain, the encoders before the first that sees neighbours (`conv1d`, `log_mel`,
    `spectrogram`) run at a push. That one and all behind it run at every prediction, over what is kept before it: of a
    wave that becomes a spectrogram the samples are kept, and nothing is gained but the bookkeeping.

    **Transforms of a recipe are not part of a network**, so a stream computes none by itself. Those of augmentation do
    nothing in evaluation. Of ``subsample`` push every k-th element; what needs a whole clip, such as ``standardize``,
    is given as `transforms` and then sees the window as its clip.

    The network has to be in evaluation mode, with all of its parts. In training mode it is refused, not put into
    evaluation mode and back: a training that goes on would change the weights that elements were encoded by. What is
    kept is stale once those weights change: `reset` the stream then. Changes by fusionkit's optimizers and torch's
    plain ones, by ``load_state_dict``, of running statistics, of precision and of device are noticed and refused. Not
    noticed is what torch itself does not count: steps of torch's fused optimizers that you made yourself, writing
    into ``parameter.data``, and any change of weights that were made in ``torch.inference_mode``.

    Calls from several threads, such as a camera's and a microphone's, need a lock of yours around each.

    Args:
        model: The network.
        window: By modality, of how many last elements the scores are; None for all since the last `reset`, which keep
            growing. A modality that is left out is missing.
        transforms: By modality, what is done to the elements of the window, ``(kept, *element)``, at each prediction,
            on the device of the network; of such a modality the elements are kept, in whatever dtype they are pushed,
            and nothing is encoded ahead.

    Raises:
        FusionKitError: The model is no `FusionModel`.
        ShapeError: No window, an unknown modality, a window that is no whole number of at least 1, a transform of a
            modality without a window, or one that is no function of the window.

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
        transforms = {} if transforms is None else transforms
        _check(model, window, transforms)
        self._model = model
        self._lines = {
            name: _Line(name, model.branch(name), most, transforms.get(name)) for name, most in window.items()
        }
        for name in transforms:
            self._find_line("transforms", name)

    @property
    def counts(self) -> dict[str, int]:
        """The number of elements that the next prediction reads, by modality."""
        return {name: line.kept.count for name, line in self._lines.items()}

    def push(self, modality: str, elements: Tensor) -> None:
        """Takes the next elements of a modality; of more than its window only the last are moved and encoded.

        Args:
            modality: The modality.
            elements: ``(new, *element)`` in the order of time, on any device; copied, so that a buffer may be reused.
                Those on a GPU are not looked at for NaN, which would wait for it: one such number spoils every score
                as long as the window holds it.

        Raises:
            ShapeError: An unknown modality or one without a window, or elements of another shape or dtype than the
                network takes, or of another dtype than those before.
            DataError: Numbers that will be in the window are NaN or infinite, of elements on the CPU.
            FusionKitError: The network, or an encoder that would run, is in training mode, or its weights, precision
                or device changed since elements were encoded.
        """
        line = self._find_line("push", modality)
        self._refuse_training(line.ahead)
        with torch.inference_mode():
            line.take(elements)

    def predict(self, *, unimodal: bool = False) -> ModelOutput:
        """Scores what is in the windows now, as a batch of one; `FusionModel.head` makes distributions of it.

        Args:
            unimodal: Score the uni-modal branches as well.

        Raises:
            ShapeError: Nothing was pushed yet, or a transform returns elements that the network was not built for.
            FusionKitError: The network or a part of it is in training mode, or its weights, precision or device
                changed since elements were encoded.
        """
        self._refuse_training([self._model])
        if not any(self.counts.values()):
            raise ShapeError(f"predict: nothing was pushed yet; push elements of any of {', '.join(self._lines)}")
        with torch.inference_mode():
            sequences = {name: self._encode_sequence(name) for name in self._model.modalities}
            return self._model.score_sequences(sequences, unimodal=unimodal)

    def reset(self, *modalities: str) -> None:
        """Forgets all elements, or those of some modalities: after a cut, a change of weights, or a camera's loss.

        Raises:
            ShapeError: An unknown modality, or one without a window.
        """
        for line in [self._find_line("reset", name) for name in modalities or self._lines]:
            line.forget()

    def _find_line(self, where: str, modality: str) -> _Line:
        if modality in self._lines:
            return self._lines[modality]
        if modality in self._model.branches:
            raise ShapeError(f"{where}: {modality!r} has no window; state one when the stream is made")
        raise ShapeError(f"{where}: unknown modality {modality!r}; {suggest_names(modality, self._lines)}")

    def _refuse_training(self, running: Iterable[nn.Module]) -> None:
        parts = chain.from_iterable(module.modules() for module in running)
        if self._model.training or any(part.training for part in parts):
            where = next(name for name, part in self._model.named_modules() if part.training)
            part = f"{where} of the network is" if where else "the network is"
            raise FusionKitError(f"{part} in training mode; call its eval() before you use it in a stream")

    def _encode_sequence(self, modality: str) -> Jagged:
        if modality in self._lines and self._lines[modality].kept.count:
            return self._lines[modality].encode()
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
        self.ahead = tuple(branch.encoders)[: branch.element_encoders if transform is None else 0]
        self.forget()

    def forget(self) -> None:
        self.kept = Ring(self._most)
        self._dtype: torch.dtype | None = None
        self._state: _State = ("", ())

    def take(self, elements: Tensor) -> None:
        # All checks come before the elements are kept: a refused push leaves the stream as it was.
        self._check_shape(elements)
        state = self._check_state()
        if self._transform is None:
            self._check_numbers(elements)
        if self._dtype not in (None, elements.dtype):
            remedy = "push elements of one dtype, or reset the stream first"
            raise ShapeError(f"{self._name}: elements are {elements.dtype}, those before {self._dtype}; {remedy}")
        newest = elements if self._most is None else elements[-self._most :]
        if newest.is_floating_point() and newest.is_cpu:
            check_finite(newest, self._name)
        newest = newest.to(self._branch.norm.weight.device)
        if not len(newest):
            return
        encoded = self._branch.encode(_pack_alone(newest), stop=len(self.ahead))
        self.kept.append(encoded.values)
        self._dtype, self._state = elements.dtype, state

    def encode(self) -> Jagged:
        self._check_state()
        elements = self.kept.elements()
        if self._transform is not None:
            elements = self._transform(elements)
            self._check_shape(elements)
            self._check_numbers(elements)
        return self._branch.encode(_pack_alone(elements), start=len(self.ahead))

    def _check_shape(self, elements: Tensor) -> None:
        shape = self._branch.in_shape
        if not isinstance(elements, Tensor):
            raise ShapeError(f"{self._name}: a tensor is expected, given {type(elements).__name__}")
        if elements.ndim != len(shape) + 1 or tuple(elements.shape[1:]) != shape:
            expected = f"(new, {', '.join(map(str, shape))})" if shape else "(new,)"
            one = "; a single element is given as element[None]" if tuple(elements.shape) == shape else ""
            raise ShapeError(f"{self._name}: elements of shape {tuple(elements.shape)} are not {expected}{one}")

    def _check_numbers(self, elements: Tensor) -> None:
        refuse_other_numbers(self._name, elements.dtype, self._branch.whole_numbers, self._branch.norm.weight)

    def _check_state(self) -> _State:
        weight = self._branch.norm.weight
        home, weights = f"{weight.dtype} on {weight.device}", _read_versions(self.ahead)
        if self.ahead and torch.is_autocast_enabled(weight.device.type):
            home += f" under autocast to {torch.get_autocast_dtype(weight.device.type)}"
        if self.kept.count:
            home_before, weights_before = self._state
            remedy = "reset the stream and push anew"
            if home != home_before:
                was = f"the network was {home_before} when elements were pushed, now it is {home}"
                raise FusionKitError(f"{self._name}: {was}; {remedy}")
            if weights != weights_before:
                was = "the weights of its encoders changed since elements were encoded by them"
                raise FusionKitError(f"{self._name}: {was}; {remedy}")
        return home, weights


def _check(model: object, window: object, transforms: object) -> None:
    if not isinstance(model, FusionModel):
        remedy = "build one from the recipe of a run with fusionkit.build, and load its weights with load_state_dict"
        raise FusionKitError(f"model: a FusionModel is expected, given {type(model).__name__}; {remedy}")
    for what, given, example in (("window", window, "90"), ("transforms", transforms, "function")):
        if not isinstance(given, Mapping):
            remedy = f"give one by modality: {{{model.modalities[0]!r}: {example}}}"
            raise ShapeError(f"{what}: a mapping is expected, given {given!r}; {remedy}")
    assert isinstance(window, Mapping)
    assert isinstance(transforms, Mapping)
    if not window:
        raise ShapeError(f"window: no modality is given; known: {', '.join(model.modalities)}")
    refuse_unknown("window", window, model.modalities)
    for name, most in window.items():
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            remedy = "a whole number of at least 1, or None for all elements"
            raise ShapeError(f"window: {name!r} has {most!r} elements; give {remedy}")
    for name, transform in transforms.items():
        if isinstance(transform, Transform):  # which needs a generator beside the window
            remedy = "give lambda window: transform(window, torch.Generator(), training=False)"
            raise ShapeError(f"transforms: {name!r} is the {type(transform).__name__} of a recipe itself; {remedy}")
        if not callable(transform):
            raise ShapeError(f"transforms: {name!r} is {transform!r}; give a function of the window's elements")


def _pack_alone(elements: Tensor) -> Jagged:
    return Jagged.from_sizes(elements, (len(elements),))


def _read_versions(encoders: Iterable[nn.Module]) -> tuple[tuple[int, int], ...]:
    tensors = chain.from_iterable(chain(encoder.parameters(), encoder.buffers()) for encoder in encoders)
    return tuple((each.data_ptr(), 0 if each.is_inference() else each._version) for each in tensors)
