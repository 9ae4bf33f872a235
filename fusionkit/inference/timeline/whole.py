"""The timeline of a whole recording: an answer every so many seconds, each of the seconds before."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fusionkit.data.loading.batching import Draw
from fusionkit.data.loading.samples import Samples
from fusionkit.data.recordings import Recording, Recordings, find_recordings
from fusionkit.errors import DataError, Problem
from fusionkit.inference.timeline.records import Faces, Instant, Span, Timeline
from fusionkit.inference.timeline.window_answers import answer_window, check_hidden, make_windows
from fusionkit.inference.timeline.windows import check_seconds

if TYPE_CHECKING:
    from fusionkit.inference.predictor import Predictor

MOST_INSTANTS = 1_000_000

MOST_FACES = 14
"""Face crops that are kept of a film, for a strip in a figure."""

_ALMOST = 0.1
"""Share of a step: a sound is often a little longer than its picture, which is worth no answer of its own."""

_NEARLY = 1e-3
"""Elements, as in windows; seconds that a rounding adds are none."""


def make_timeline(
    predictor: Predictor,
    inputs: object,
    *,
    every: float = 0.2,
    window: float = 3.0,
    branches: bool = False,
    without: Collection[str] = (),
) -> Timeline:
    r"""Answers to a recording over time.

    .. math::
        y(T) = \mathrm{predict}(\{x_{m,i} : T - w \le i / r_m < T\}), \qquad T = d, 2d, \ldots, \mathrm{end}

    An answer is what `Predictor.predict` answers to the prepared recording cut to its window, to rounding; to the bit
    where encoders are given the same elements at once. What encoders say of single elements is computed once. At the
    beginning windows are shorter. Modalities without a rate, which are static vectors, are in every window.

    Args:
        predictor: What answers.
        inputs: One sample, as `Predictor.predict` takes it.
        every: Seconds d from one answer to the next; the last comes at the end.
        window: Seconds w that each answer is of.
        branches: Answer by every trained branch as well.
        without: Modalities that are hidden from the network, as if they were missing.

    Raises:
        ShapeError: Seconds are no numbers above 0.
        DataError: The inputs are none or several samples, cannot be used, or have no time; or there is no modality of a
            name that is to be hidden.
    """
    check_seconds("every", every)
    check_seconds("window", window)
    check_hidden(predictor, without)
    recording = _find_one(predictor, inputs)
    sample = read_sample(predictor, recording)
    rates = {name: predictor.inputs.modalities[name].rate for name in sample.inputs}
    duration = _find_duration(sample.inputs, rates, recording.place)
    windows = make_windows(predictor, window)
    pushed = dict.fromkeys(sample.inputs, 0)
    instants = []
    for time in list_instants(duration, every):
        for name, values in sample.inputs.items():
            rate, done = rates[name], pushed[name]
            end = len(values) if rate is None else min(len(values), math.ceil(time * rate - _NEARLY))
            if end > done:
                windows.push(name, values[done:end], None if rate is None else done / rate)
                pushed[name] = end
        stop = min(time, duration)
        answer = answer_window(predictor, windows, sample.name, stop, branches=branches, without=without)
        instants.append(Instant(time, answer))
    return Timeline(
        sample.name,
        tuple(instants),
        tuple(predictor.list_columns(branches=branches)),
        every,
        window,
        duration,
        {name: _find_spans(values, rates[name], duration) for name, values in sample.inputs.items()},
        {target: of.classes for target, of in predictor.targets.items()},
        sample.notes,
        None if recording.clip is None else recording.clip.film,
        _choose_faces(sample, duration),
    )


@dataclass(frozen=True)
class PreparedSample:
    """A sample as networks are given it, before its transforms.

    Args:
        name: Its name.
        inputs: By modality that it has, its elements.
        notes: What a user should know of it.
        face_rate: Face crops per second of its film; None where there is none.
        boxes: Where the face is in each of these, see `Faces`.
    """

    name: str
    inputs: Mapping[str, Tensor]
    notes: tuple[str, ...]
    face_rate: float | None
    boxes: Tensor | None


def read_sample(predictor: Predictor, recording: Recording) -> PreparedSample:
    """Reads and prepares a sample.

    Raises:
        DataError: It cannot be used.
    """
    steps = predictor.steps
    recordings = Recordings([recording], steps.inputs, steps.prepare)
    samples = Samples(
        recordings,
        [recordings.rows[0].id],
        modalities=steps.modalities,
        whole_numbers=steps.whole_numbers,
    )
    inputs = samples[Draw(0, 0)].inputs
    filmed = recording.clip is not None and "video" in inputs
    rate = predictor.inputs.modalities["video"].rate if filmed else None
    return PreparedSample(recordings.rows[0].id, inputs, recordings.take_remarks(0), rate, recordings.boxes)


def list_instants(duration: float, every: float) -> list[float]:
    """Lists the instants of a recording: every so many seconds, and its end; one that is all but the end is the end.

    Raises:
        DataError: There are more than a million.

    Example:
        >>> list_instants(1.0, 0.3)
        [0.3, 0.6, 0.9, 1.0]
    """
    if duration / every > MOST_INSTANTS:
        message = f"{duration / every:,.0f} instants in {duration:g} s are more than {MOST_INSTANTS:,}"
        raise DataError([Problem("every", message, f"give {duration / MOST_INSTANTS:.2g} or more")])
    # A sum of many steps would drift; what is shown is rounded to microseconds.
    whole = [round(place * every, 6) for place in range(1, math.floor(duration / every + 1e-9) + 1)]
    rest = duration - whole[-1] if whole else duration
    return [*(whole[:-1] if whole and rest < _ALMOST * every else whole), duration]


def _find_one(predictor: Predictor, inputs: object) -> Recording:
    found = [inputs] if isinstance(inputs, Recording) else find_recordings(inputs, predictor.inputs)
    if len(found) != 1:
        message = f"hold {len(found)} samples; a timeline is of one"
        raise DataError([Problem("inputs", message, "give the path of a film, or a mapping of modalities")])
    return found[0]


def _find_duration(inputs: Mapping[str, Tensor], rates: Mapping[str, float | None], place: str) -> float:
    """Finds the seconds of a recording; refuses sequences that have no time."""
    problems = [
        Problem(
            f"{place}: {name}",
            f"{len(values)} elements without a rate have no time",
            "state the rate of the modality in the dataset's options before you train",
        )
        for name, values in inputs.items()
        if rates[name] is None and len(values) > 1
    ]
    seconds = [len(values) / rate for name, values in inputs.items() if (rate := rates[name]) is not None]
    if not problems and not seconds:
        message = "has no modality with a rate, so it does not last"
        problems.append(Problem(place, message, "call predict, which gives one answer"))
    if problems:
        raise DataError(problems)
    return max(seconds)


def _choose_faces(sample: PreparedSample, duration: float) -> Faces | None:
    """Chooses the crops at the middles of even parts of a recording, and copies them, so that the others are freed."""
    if sample.face_rate is None:
        return None
    crops, rate = sample.inputs["video"], sample.face_rate
    part = duration / min(MOST_FACES, len(crops))
    middles = [(place + 0.5) * part for place in range(min(MOST_FACES, len(crops)))]
    filmed = [at for at in middles if at - part <= (len(crops) - 1) / rate]  # a sound may go on behind its film
    chosen = torch.tensor([min(len(crops) - 1, round(at * rate)) for at in filmed])
    return Faces(crops[chosen], tuple(filmed), rate, sample.boxes)


def _find_spans(values: Tensor, rate: float | None, duration: float) -> tuple[Span, ...]:
    return ((0.0, duration if rate is None else len(values) / rate),)
