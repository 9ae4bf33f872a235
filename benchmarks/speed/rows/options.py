"""Options that are meant to save time or memory: each with, beside the same without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from networks import (
    FRAMES_PER_SEGMENT,
    FULL,
    SETS,
    SMALL,
    WIDTH,
    Size,
    bare_encoders,
    branch,
    clips,
    lengths,
    mrpn,
    network,
    noise,
    targets,
    usual_lengths,
)
from peak import peak_bytes
from records import Measurement, Number, Target
from rounds import Work, compare
from torch import nn
from torch._dynamo.utils import counters

from fusionkit.config.components.registry import OPTIMIZERS
from fusionkit.data.loading.batching import EpochBatches
from fusionkit.inference.stream import Stream
from fusionkit.interfaces import count_at_once
from fusionkit.models.aggregators.final_state import FinalState
from fusionkit.nn.jagged import Jagged
from rows.encoders import encoders_alone, learn, loss_of, size_at
from rows.registry import NotMeasuredError, Place, row

BATCHES = 200
STREAMED = 90
"""Frames of the window of a stream: three seconds."""
FACES = {"type": "conv2d", "channels": [8, 16, 32]}


@row("C", "compiled encoders: graphs over 200 batches of random lengths, and time / not compiled")
def compiled(place: Place) -> Sequence[Measurement]:
    """Counts how often batches of random lengths are compiled anew, and measures what it gains."""
    size = size_at(place)
    batches, wanted = clips(size, place.device), targets(size, place.device)
    plain, faster = (mrpn(size).to(place.device).train() for _ in range(2))
    faster.compile_encoders()
    works = [_steps(model, batches, wanted) for model in (faster, plain)]
    try:
        graphs = count_graphs(place)
        measured = compare(*works, place.device, rounds=place.rounds, warm_up=len(batches))
    except Exception as error:  # whatever a compiler of another machine says
        raise NotMeasuredError(f"compiling failed: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    target = Target(figure="median", sign="<", limit=1.0) if place.large else None
    return [graphs, Measurement(what=f"compiled / not; {size.describe()}", measured=measured, target=target)]


def count_graphs(place: Place) -> Measurement:
    """Counts the graphs that training, validation and prediction on batches of random lengths compile, by encoder."""
    shapes = {"face": [1, 40, 40], "hand": [1, 32, 48]}
    model = network({name: branch(shape, FACES, 32) for name, shape in shapes.items()}).to(place.device)
    model.compile_encoders()
    generator = torch.Generator().manual_seed(0)
    wanted = {"emotion": torch.arange(4, device=place.device)}
    counters.clear()
    for turn in range(BATCHES):
        drawn = {name: torch.randint(1, 40, (4,), generator=generator).tolist() for name in shapes}
        batch = {name: noise(drawn[name], shapes[name], generator).to(place.device) for name in shapes}
        if turn % 3 == 0:
            learn(model.train(), lambda batch=batch: loss_of(model, batch, wanted))
            continue
        with torch.no_grad() if turn % 3 == 1 else torch.inference_mode():
            model.eval()(batch)
    what = f"of each of two encoders, over {BATCHES} batches of 4 to 156 images: training, validation, prediction"
    graphs = counters["stats"]["unique_graphs"] / len(shapes)
    return Measurement(
        what=what,
        measured=Number(value=graphs),
        unit="graphs",
        target=Target(figure="value", sign="<=", limit=3),
        more={"recompilations": graphs - 1},
    )


def _steps(model: nn.Module, batches: Sequence[dict[str, Jagged]], wanted: dict[str, torch.Tensor]) -> Work:
    return lambda turn: learn(model, lambda: loss_of(model, batches[turn % len(batches)], wanted))


@row("O", "each option that is meant to save time or memory: with it / without it")
def options(place: Place) -> Sequence[Measurement]:
    """Measures precision, layout, updates, the LSTM's path, batches by budget, kept activations, and predictions."""
    size = size_at(place)
    return [
        _precision(place, size),
        _layout(place, size),
        *_fused(place, size),
        _path(place),
        _budget(),
        *_recomputed(place, size),
        *_in_pieces(place),
        compare_stream(place, size),
    ]


def _precision(place: Place, size: Size) -> Measurement:
    model, wanted = mrpn(size).to(place.device).train(), targets(size, place.device)
    batches = clips(size, place.device)

    def half(turn: int) -> None:
        with torch.autocast(place.device.type, dtype=torch.bfloat16):
            terms = list(model.losses(model(batches[turn % len(batches)]), wanted).values())
        learn(model, lambda: torch.stack(terms).sum().float())

    measured = compare(half, _steps(model, batches, wanted), place.device, rounds=place.rounds)
    return Measurement(
        what=f"precision bf16-mixed / 32-true, forward and backward; {size.describe()}", measured=measured
    )


def _layout(place: Place, size: Size) -> Measurement:
    last, first = (bare_encoders().to(place.device).train() for _ in range(2))
    first = first.to(memory_format=torch.contiguous_format)
    batches = clips(size, place.device)
    works = [
        lambda turn, model=model: learn(model, lambda: encoders_alone(model, batches[turn % len(batches)]))
        for model in (last, first)
    ]
    measured = compare(*works, place.device, rounds=place.rounds)
    what = f"weights of the bare encoders with channels last / first, forward and backward; {size.describe()}"
    return Measurement(what=what, measured=measured)


def _fused(place: Place, size: Size) -> Iterator[Measurement]:
    tiny = network({name: branch([3], "mlp", 32) for name in ("accelerometer", "gyroscope")})
    for told, model in (("two ResNet-18", mrpn(size)), ("two small sensor branches", tiny)):
        parameters = list(model.to(place.device).parameters())
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 1e-3)
        fused, plain = (OPTIMIZERS.build("adamw", fused=fused).make(parameters) for fused in (True, False))
        measured = compare(
            lambda _, optimizer=fused: optimizer.step(),
            lambda _, optimizer=plain: optimizer.step(),
            place.device,
            rounds=5 * place.rounds,
        )
        yield Measurement(what=f"AdamW's update, fused / not; {told}", measured=measured)


def _path(place: Place) -> Measurement:
    """Times the LSTM by the path that this device takes, beside the other one."""
    lstm = FinalState("lstm", WIDTH, FULL.hidden, layers=1, dropout=0.0, bidirectional=False).to(place.device).train()
    generator = torch.Generator().manual_seed(0)
    drawn = [noise(lengths(FULL, turn), (WIDTH,), generator).to(place.device) for turn in range(SETS)]
    ways = {"padded": lstm.read_padded, "packed": lstm.read_packed}
    taken, other = ("packed", "padded") if place.device.type == "cuda" else ("padded", "packed")
    measured = compare(
        *(lambda turn, way=ways[name]: learn(lstm, lambda: way(drawn[turn % SETS]).sum()) for name in (taken, other)),
        place.device,
        rounds=place.rounds,
    )
    what = f"LSTM, {taken} / {other}, forward and backward; {FULL.clips} clips of {FULL.shortest} to {FULL.longest}"
    return Measurement(what=f"{what} vectors of {WIDTH}", measured=measured)


def _budget() -> Measurement:
    """Compares the largest batch of an epoch by budget with that by a number of clips: the same on average."""
    frames = [length for turn in range(64) for length in lengths(FULL, turn)]
    budget = FULL.clips * (FULL.shortest + FULL.longest) // 2
    settings = {"seed": 0, "shuffle": True}
    cut = (
        EpochBatches(range(len(frames)), budget=budget, lengths={"video": frames}, **settings),
        EpochBatches(range(len(frames)), batch_size=FULL.clips, **settings),
    )
    largest, usual = (max(sum(frames[index] for index in batch) for batch in batches.plan(0)) for batches in cut)
    told = f"{len(frames)} clips of {FULL.shortest} to {FULL.longest} frames"
    what = f"frames of the largest batch, budget: {budget} / batch_size: {FULL.clips}; {told}"
    return Measurement(what=what, measured=Number(value=largest / usual), more={"frames": [largest, usual]})


def _recomputed(place: Place, size: Size) -> Iterator[Measurement]:
    batches, wanted = clips(size, place.device), targets(size, place.device)
    again, kept = mrpn(size).to(place.device).train(), mrpn(size).to(place.device).train()
    for name in again.modalities:
        again.branch(name).encoders[0].recompute_activations()
    works = [_steps(model, batches, wanted) for model in (again, kept)]
    measured = compare(*works, place.device, rounds=place.rounds)
    yield Measurement(what=f"time of recompute / kept activations; {size.describe()}", measured=measured)
    (batch,) = clips(size, place.device, sets=1, frames=usual_lengths(size))
    for model in (again, kept):
        model.zero_grad()  # what a step frees of the one before it would be taken off its own
    found = [
        peak_bytes(lambda model=model: learn(model, lambda: loss_of(model, batch, wanted)), place.device)
        for model in (again, kept)
    ]
    more = {"bytes beyond weights and inputs": dict(zip(("recompute", "kept"), found, strict=True))}
    what = f"memory of the same two; {size.describe()}"
    yield Measurement(what=what, measured=Number(value=found[0] / found[1]), more=more)


def _in_pieces(place: Place) -> Iterator[Measurement]:
    side, frames = (FULL.video[0], 6000) if place.large else (SMALL.video[0], 600)
    film = torch.randn(frames, 1, side, side, generator=torch.Generator().manual_seed(0)).to(place.device)
    clip = {"video": Jagged.from_sizes(film, [frames])}
    size = Size((side, side), SMALL.audio, SMALL.hidden, frames, frames, 1)
    whole = mrpn(size, chunk=frames).to(place.device).eval()
    for chunk in (32, 128, None):
        model = mrpn(size, chunk=chunk).to(place.device).eval()
        measured = compare(_predicts(model, clip), _predicts(whole, clip), place.device, rounds=place.rounds)
        told = f"chunk: {chunk}" if chunk else f"chunk: null ({count_at_once((1, side, side))} at once)"
        what = f"prediction of a film of {frames} frames of {side} x {side}, {told} / all at once"
        yield Measurement(what=what, measured=measured)


def _predicts(model: nn.Module, clip: dict[str, Jagged]) -> Callable[[int], None]:
    def predict(_: int) -> None:
        with torch.inference_mode():
            model(clip)

    return predict


def compare_stream(place: Place, size: Size) -> Measurement:
    """Times the next frames and segment of a stream, beside a prediction of its whole window."""
    model = mrpn(size).to(place.device).eval()
    batches = clips(size, place.device, frames=[STREAMED])
    portion = {"video": FRAMES_PER_SEGMENT, "audio": 1}
    stream = Stream(model, window={name: batches[0][name].total for name in portion})
    for name, window in batches[0].items():
        stream.push(name, window.values)

    def goes_on(turn: int) -> None:
        for name, count in portion.items():
            stream.push(name, batches[turn % len(batches)][name].values[:count])
        stream.predict()

    def predicts_all(turn: int) -> None:
        _predicts(model, batches[turn % len(batches)])(turn)

    measured = compare(goes_on, predicts_all, place.device, rounds=place.rounds)
    video, audio = (" x ".join(map(str, of)) for of in (size.video, size.audio))
    what = f"prediction of a stream's next {portion['video']} frames of {video} and segment of {audio}"
    return Measurement(what=f"{what} / of its whole window of {STREAMED} frames anew, ResNet-18", measured=measured)
