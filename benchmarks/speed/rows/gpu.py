"""Clips per second on a GPU, as shares of what the bare encoders reach and of what the device could do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import torch
from networks import FULL, WIDTH, Size, bare_encoders, branch, clips, mrpn, network, targets, usual_lengths
from records import Measurement, Number, Target
from roofline import Rates, Roofline, measure_rates
from rounds import compare
from torch import Tensor, nn

from fusionkit.interfaces import ModelOutput
from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged
from rows.encoders import encoders_alone, learn
from rows.registry import Place, row

SIZES = tuple(replace(FULL, video=(side, side), clips=16) for side in (112, 224))
TOY = (Size((32, 32), (32, 32), 16, 2, 6, 2),)
"""What a CPU carries, to see that this code runs."""

SHARE = 0.55
"""Of the time there is: no configuration is started later, so that other rows are measured too."""

WARM_UP = 3

Batch = Mapping[str, Jagged]


@dataclass(frozen=True)
class Way:
    """A way to run the networks.

    Args:
        name: For the table.
        bf16: Under autocast to bfloat16; else in 32 bits, in which products may be TF32.
        channels_last: The layout of the weights.
        compiled: Every encoder is compiled for the sizes of its batch.
        graphed: What follows the encoders is a CUDA graph for the lengths of the batch.
    """

    name: str
    bf16: bool = True
    channels_last: bool = True
    compiled: bool = False
    graphed: bool = False


WAYS = (
    Way("fp32 with TF32 allowed", bf16=False, channels_last=False),
    Way("bf16", channels_last=False),
    Way("bf16, channels_last"),
    Way("bf16, channels_last, encoders compiled", compiled=True),
    Way("bf16, channels_last, CUDA graphs after the encoders", graphed=True),
)


@dataclass(frozen=True)
class Case:
    """A way at a size, in training or in prediction.

    Args:
        way: The way.
        size: Sizes of a batch.
        training: Forward and backward pass; else the forward pass in evaluation.
        device: Where it runs.
    """

    way: Way
    size: Size
    training: bool
    device: torch.device

    def describe(self) -> str:
        """Returns the case in words."""
        return f"{'training' if self.training else 'prediction'}, {self.way.name}: {self.size.describe()}"

    def made(self, module: nn.Module) -> Any:
        """Brings a network to the device, laid out as the way asks."""
        module = module.to(self.device).train(self.training)
        layout = torch.channels_last if self.way.channels_last else torch.contiguous_format
        return module.to(memory_format=layout)

    def numbers(self) -> torch.autocast:
        """Sets the precision of a forward pass; a cache of autocast would keep a graph from being recorded."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.way.bf16, cache_enabled=False)

    def run(self, module: nn.Module, forward: Callable[[], Tensor]) -> object:
        """Makes both passes in training, the forward pass in prediction."""

        def precisely() -> Tensor:
            with self.numbers():
                return forward()

        if self.training:
            return learn(module, precisely)
        with torch.inference_mode():
            return precisely()


@row("T_gpu", "clips per second of N2 / of its bare timm encoders, and of what the device could do", devices=("cuda",))
def throughput(place: Place) -> Iterator[Measurement]:
    """Measures every way at every size, in training and prediction; one that fails says why and stops no other."""
    with tf32():
        yield from measure_all(
            place, SIZES if place.large else TOY, [way for way in WAYS if place.large or not way.graphed]
        )


@contextmanager
def tf32() -> Iterator[None]:
    """Lets products of 32-bit matrices be TF32, as convolutions may be by default."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def measure_all(place: Place, sizes: Sequence[Size], ways: Sequence[Way]) -> Iterator[Measurement]:
    """Measures all cases, and counts those that could be measured."""
    scale = 8192 if place.large else 64
    rates = {
        bf16: measure_rates(place.device, torch.bfloat16 if bf16 else torch.float32, scale=scale) for bf16 in (0, 1)
    }
    batches = {size: clips(size, place.device, frames=usual_lengths(size)) for size in sizes}
    cases = [Case(*each, place.device) for each in product(ways, sizes, (True, False))]
    failed: dict[str, str] = {}
    for case in cases:
        if place.is_late(SHARE):
            failed[case.describe()] = f"not started: {SHARE} of {place.minutes:g} minutes were over"
            continue
        try:
            found = measure_case(case, batches[case.size], rates[case.way.bf16], place.rounds)
        except Exception as error:
            failed[case.describe()] = f"{type(error).__name__}: {error}"
        else:
            yield found
    reached = {name: asdict(of) for name, of in zip(("fp32 with TF32 allowed", "bf16"), rates.values(), strict=True)}
    yield Measurement(
        what="configurations that were measured",
        measured=Number(value=len(cases) - len(failed)),
        target=Target(figure="value", sign=">=", limit=len(cases)),
        more={"not measured": failed, "operations and bytes per second of the device": reached},
    )


def measure_case(case: Case, batches: Sequence[Batch], rates: Rates, rounds: int) -> Measurement:
    """Measures the rate of the whole network as a share of that of its encoders, and of the roofline."""
    model, encoders = case.made(mrpn(case.size)), case.made(bare_encoders())
    if case.way.compiled:
        compile_encoders(model, encoders, case.device)
    wanted = targets(case.size, case.device)
    scores: Callable[[Batch], ModelOutput] = model
    learns: nn.Module = model
    if case.way.graphed:
        scores, rest = record_graph(case, model, batches[0])
        learns = nn.ModuleList([model, rest])

    def alone(turn: int) -> object:
        return case.run(encoders, lambda: encoders_alone(encoders, dict(batches[turn % len(batches)])))

    def whole(turn: int) -> object:
        def forward() -> Tensor:
            output = scores(batches[turn % len(batches)])
            if not case.training:
                return output.fused["emotion"]
            return torch.stack(list(model.losses(output, wanted).values())).sum()

        return case.run(learns, forward)

    more: dict[str, Any] = {}
    if not case.way.compiled:
        with Roofline(rates) as line:
            alone(0)
        more["seconds of the roofline"] = line.seconds
    measured = compare(alone, whole, case.device, rounds=rounds, warm_up=WARM_UP)
    for name, seconds in (("N2", measured.theirs), ("the bare encoders", measured.ours)):
        more[f"clips per second of {name}"] = case.size.clips / seconds
        more[f"frames per second of {name}"] = batches[0]["video"].total / seconds
        if not case.way.compiled:
            more[f"share of the roofline of {name}"] = line.seconds / seconds
    more["frames and segments of a batch"] = {name: of.total for name, of in batches[0].items()}
    more["ratio"] = "seconds of the bare encoders / seconds of N2, which is the rate of N2 / that of the bare encoders"
    return Measurement(
        what=case.describe(), measured=measured, target=Target(figure="median", sign=">=", limit=0.95), more=more
    )


def compile_encoders(model: FusionModel, encoders: nn.ModuleDict, device: torch.device) -> None:
    """Compiles both networks' encoders in place, and forgets what was compiled for others."""
    torch._dynamo.reset()
    backend = "inductor" if device.type == "cuda" else "eager"
    for module in [*encoders.values(), *(model.branch(name).encoders[0].network for name in model.modalities)]:
        module.compile(backend=backend, dynamic=False)


class Rest(nn.Module):
    """The rest of the network behind its encoders for given lengths, from sequences to scores.

    It is N2 over vectors as wide as a ResNet-18's, as a CUDA graph can hold it: its LSTMs read padded sequences, since
    packed ones ask the host for lengths.
    """

    def __init__(self, size: Size, lengths: Mapping[str, Sequence[int]], device: torch.device) -> None:
        super().__init__()
        self.model = network({name: branch([WIDTH], "identity", size.hidden) for name in lengths})
        self.batch = {
            name: Jagged.from_sizes(torch.empty(sum(sizes), WIDTH, device=device), sizes)
            for name, sizes in lengths.items()
        }
        for name, of in self.batch.items():
            _ = of.lengths  # made now: a recording refuses what comes from the host
            state = self.model.branch(name).aggregator.state
            state.forward = state.read_padded

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Returns the fused scores, and in training those of every modality."""
        pairs = zip(self.batch.items(), values, strict=True)
        output = self.model({name: of.with_values(each) for (name, of), each in pairs})
        return (output.fused["emotion"], *(of["emotion"] for of in output.unimodal.values()))


def record_graph(case: Case, model: FusionModel, batch: Batch) -> tuple[Callable[[Batch], ModelOutput], nn.Module]:
    """Records all behind the encoders as one CUDA graph; gives what scores with it, and that rest."""
    rest: Any = case.made(Rest(case.size, {name: of.sizes for name, of in batch.items()}, case.device))
    rest.requires_grad_(case.training)

    def encoded(given: Batch) -> list[Tensor]:
        return [model.branch(name).encoders[0](given[name]).values for name in model.modalities]

    if case.device.type == "cuda":
        with case.numbers():
            with torch.no_grad():
                samples = tuple(each.clone() for each in encoded(batch))
            samples = tuple(each.requires_grad_(case.training) for each in samples)
            rest = torch.cuda.make_graphed_callables(rest, samples, allow_unused_input=True)
    present = {name: of.present for name, of in batch.items()}

    def scores(given: Batch) -> ModelOutput:
        fused, *branches = rest(*encoded(given))
        unimodal = {name: {"emotion": each} for name, each in zip(model.modalities, branches, strict=False)}
        return ModelOutput({"emotion": fused}, unimodal, {}, present)

    return scores, rest
