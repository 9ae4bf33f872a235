"""Live use of a trained network: elements arrive in portions, and each of them is encoded once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fusionkit.errors import ShapeError, suggest_names
from fusionkit.inference.element_checks import (
    NEVER,
    State,
    check_dtype,
    check_numbers,
    check_shape,
    check_state,
    pack_alone,
    read_state,
    refuse_training,
)
from fusionkit.inference.ring import Ring
from fusionkit.inference.stream_options import check_options
from fusionkit.inference.timeline.encoded import EncodedElements
from fusionkit.inference.timeline.windows import OfWindow, Windows
from fusionkit.interfaces import ModelOutput
from fusionkit.models.branch import Branch
from fusionkit.models.network import FusionModel
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.tensor_checks import check_finite


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

    **Seconds.** With a window in seconds and `rates`, elements have times: `push` is told those of the first, and the
    scores are of all that lies in the last seconds before the newest element of any modality. A modality that stopped
    falls out of the window and is missing. Elements are encoded at the prediction that first reads them.

    Calls from several threads, such as a camera's and a microphone's, need a lock of yours around each.

    Args:
        model: The network.
        window: By modality, of how many last elements the scores are; None for all since the last `reset`, which keep
            growing. A modality that is left out is missing. Or one number: seconds.
        rates: By modality, elements per second, where the window is in seconds; None of a static vector, of which the
            last one stands. A modality that is left out is missing.
        transforms: By modality, what is done to the elements of the window, ``(kept, *element)``, at each prediction,
            on the device of the network, or where they were pushed if the window is in seconds; of such a modality the
            elements are kept, in whatever dtype they are pushed, and nothing is encoded ahead.

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
        window: Mapping[str, int | None] | float,
        rates: Mapping[str, float | None] | None = None,
        transforms: Mapping[str, OfWindow] | None = None,
    ) -> None:
        transforms = {} if transforms is None else transforms
        check_options(model, window, rates, transforms)
        self._model = model
        self._lines: dict[str, _Line] = {}
        self._windows: Windows | None = None
        if isinstance(window, Mapping):
            self._lines = {
                name: _Line(name, model.branch(name), most, transforms.get(name)) for name, most in window.items()
            }
        else:
            assert rates is not None
            encoders = {name: [EncodedElements(name, model.branch(name))] for name in model.modalities}
            self._windows = Windows(encoders, rates, float(window), transforms)
        for name in transforms:
            self._check_name("transforms", name)

    @property
    def counts(self) -> dict[str, int]:
        """The number of elements that the next prediction reads, by modality."""
        if self._windows is not None:
            return self._windows.count()
        return {name: line.kept.count for name, line in self._lines.items()}

    @property
    def cut(self) -> dict[str, int]:
        """The number of elements that were cut off since others of their time had been pushed, by modality."""
        return {} if self._windows is None else self._windows.cut

    def push(self, modality: str, elements: Tensor, *, at: float | None = None) -> None:
        """Takes the next elements of a modality; of more than its window only the last are moved and encoded.

        Args:
            modality: The modality.
            elements: ``(new, *element)`` in the order of time, on any device; copied, so that a buffer may be reused.
                Those on a GPU are not looked at for NaN, which would wait for it: one such number spoils every score
                as long as the window holds it.
            at: Seconds of the first of them, where the window is in seconds; the end of those before when left out.
                Stamps may be wrong by a twentieth of a second or half an element: elements so near to the end of those
                before follow them. Later ones leave a gap. Of those that reach back, what is there already is cut
                off.

        Raises:
            ShapeError: An unknown modality or one without a window, or elements of another shape or dtype than the
                network takes, or of another dtype than those before.
            DataError: Numbers that will be in the window are NaN or infinite, of elements on the CPU; or all elements
                lie before the end of those that were pushed.
            FusionKitError: The network, or an encoder that would run, is in training mode, or its weights, precision
                or device changed since elements were encoded.
        """
        line = self._find_line("push", modality)
        if line is None:
            assert self._windows is not None
            self._windows.push(modality, elements, at)
            return
        if at is not None:
            remedy = "give the stream window=3.0 and the rates of its modalities for windows in seconds"
            raise ShapeError(f"push: at is given, but the window of {modality!r} is in elements; {remedy}")
        refuse_training(self._model, line.ahead)
        with torch.inference_mode():
            line.take(elements)

    def predict(self, *, unimodal: bool = False, at: float | None = None) -> ModelOutput:
        """Scores what is in the windows now, as a batch of one; `FusionModel.head` makes distributions of it.

        Args:
            unimodal: Score the uni-modal branches as well.
            at: The end of a window in seconds; the end of the newest element when left out. What left the window of
                that one is forgotten, so an earlier end sees less.

        Raises:
            ShapeError: Nothing was pushed yet, nothing lies in the window, or a transform returns elements that the
                network was not built for.
            FusionKitError: The network or a part of it is in training mode, or its weights, precision or device
                changed since elements were encoded.
        """
        refuse_training(self._model, [self._model])
        if not any(self.counts.values()):
            known = ", ".join(self._names)
            raise ShapeError(f"predict: nothing was pushed yet; push elements of any of {known}")
        with torch.inference_mode():
            if self._windows is not None:
                return self._model.score_sequences(self._windows.encode(at)[0], unimodal=unimodal)
            sequences = {name: self._encode_sequence(name) for name in self._model.modalities}
            return self._model.score_sequences(sequences, unimodal=unimodal)

    def reset(self, *modalities: str) -> None:
        """Forgets all elements, or those of some modalities: after a cut, a change of weights, or a camera's loss.

        Raises:
            ShapeError: An unknown modality, or one without a window.
        """
        lines = [self._find_line("reset", name) for name in modalities or self._names]
        if self._windows is not None:
            self._windows.reset(*modalities)
        for line in lines:
            if line is not None:
                line.forget()

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(self.counts)

    def _find_line(self, where: str, modality: str) -> _Line | None:
        """Finds the line of a modality; None where windows are in seconds."""
        self._check_name(where, modality)
        return self._lines.get(modality)

    def _check_name(self, where: str, modality: str) -> None:
        if modality in self._names:
            return
        if modality in self._model.branches:
            raise ShapeError(f"{where}: {modality!r} has no window; state one when the stream is made")
        raise ShapeError(f"{where}: unknown modality {modality!r}; {suggest_names(modality, self._names)}")

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
        self._state = NEVER

    def take(self, elements: Tensor) -> None:
        # All checks come before the elements are kept: a refused push leaves the stream as it was.
        check_shape(self._name, elements, self._branch)
        state = self._check_state()
        if self._transform is None:
            check_numbers(self._name, elements, self._branch)
        check_dtype(self._name, elements, self._dtype)
        newest = elements if self._most is None else elements[-self._most :]
        if newest.is_floating_point() and newest.is_cpu:
            check_finite(newest, self._name)
        newest = newest.to(self._branch.norm.weight.device)
        if not len(newest):
            return
        encoded = self._branch.encode(pack_alone(newest), stop=len(self.ahead))
        self.kept.append(encoded.values)
        self._dtype, self._state = elements.dtype, state

    def encode(self) -> Jagged:
        self._check_state()
        elements = self.kept.elements()
        if self._transform is not None:
            elements = self._transform(elements)
            check_shape(self._name, elements, self._branch)
            check_numbers(self._name, elements, self._branch)
        return self._branch.encode(pack_alone(elements), start=len(self.ahead))

    def _check_state(self) -> State:
        state = read_state(self._branch, self.ahead)
        if self.kept.count:
            check_state(self._name, self._state, state)
        return state
