"""Contract tests of encoders, aggregators and fusions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.config.components.registry import AGGREGATORS, ENCODERS, FUSIONS
from fusionkit.interfaces import Aggregator, Encoder, Fitted, Fusion
from fusionkit.interfaces.elements import takes_whole_numbers_only
from fusionkit.nn.jagged import Jagged
from fusionkit.testing.promises import SEED, build, check_module, draw_normal, find_component, is_close, promise


def check_encoder(
    cls: type[Encoder],
    in_shape: tuple[int, ...] = (8,),
    options: Mapping[str, Any] | None = None,
    *,
    lengths: Sequence[int] = (5, 1, 0, 3),
) -> None:
    """Checks every promise of an encoder.

    It is registered and described; declares its output's shape; keeps empty samples empty and others not; lets no
    sample see another; gives the same in pieces; trains on a batch of one; sends finite gradients to every parameter;
    and copies, saves and computes in double precision as a module should. One that takes whole numbers only, such as
    ids, is given 0 and 1. One that is fitted works before and after it, learns the same however its samples are
    batched, nothing where there are none, and has all that it learned in its state.

    Args:
        cls: The encoder's class.
        in_shape: Shape of an element that it can encode.
        options: Options as a recipe would set them.
        lengths: Elements of the samples of the example, at least one of them zero.

    Raises:
        ContractError: A promise is broken.
    """
    component = find_component(ENCODERS, cls)
    name = component.name
    encoder: Encoder = build(component, in_shape, options=options)

    ids = takes_whole_numbers_only(encoder, in_shape)

    def example(dtype: torch.dtype) -> Jagged:
        values = draw_normal(sum(lengths), *in_shape, dtype=dtype)
        return Jagged.from_sizes(values if ids is None else (values > 0).to(ids), lengths)

    def run(module: nn.Module, dtype: torch.dtype) -> Tensor:
        encoded: Jagged = module(example(dtype))
        return encoded.values

    encoded = encoder(example(torch.float32))
    promise(len(encoded) == len(lengths), f"{name}: there are as many samples after encoding as before")
    promise(
        encoded.element_shape == tuple(encoder.out_shape),
        f"{name}: out_shape {tuple(encoder.out_shape)} is the shape of an encoded element, {encoded.element_shape}",
    )
    for before, after in zip(lengths, encoded.sizes, strict=True):
        promise((before == 0) == (after == 0), f"{name}: empty samples stay empty, others do not: {before} -> {after}")
    check_module(name, lambda: build(component, in_shape, options=options), run)
    if isinstance(encoder, Fitted):
        _check_fit(name, encoder, lambda: build(component, in_shape, options=options), example(torch.float32))

    # In double precision, so that a difference is one sample that sees another, and no rounding.
    encoder.double().eval()
    samples = example(torch.float64)
    together = encoder(samples)
    for index, size in enumerate(lengths):
        if size:
            alone = encoder(samples[[index]]).values
            promise(
                is_close(alone, together[index]), f"{name}: in evaluation a sample alone gives what it gives in a batch"
            )
    for most in (1, 2):
        with torch.no_grad():
            pieces = list(encoder.encode_pieces(samples, most))
        sizes = [sum(of_sample) for of_sample in zip(*(piece.sizes for piece in pieces), strict=True)]
        whole = torch.cat([piece.values for piece in pieces])
        promise(
            tuple(sizes) == together.sizes and is_close(whole, together.values),
            f"{name}: in pieces of at most {most} elements it gives what it gives at once",
        )
    shortest = min((size, index) for index, size in enumerate(lengths) if size)[1]
    alone = encoder.train()(samples[[shortest]]).values
    promise(alone.isfinite().all(), f"{name}: it trains on a batch of one short sample")


def _check_fit(name: str, encoder: Encoder, make: Callable[[], Encoder], samples: Jagged) -> None:
    """Checks what an encoder learns from the training part, and leaves it fitted."""
    assert isinstance(encoder, Fitted)
    named = dict(encoder.named_buffers())
    unknown = [each for each in encoder.learned if each not in named]
    promise(not unknown, f"{name}: what it learns is in buffers of its own, also {unknown}")
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    nobody = Jagged.empty(2, samples.element_shape, like=samples.values)
    encoder.fit(lambda: [nobody])
    unchanged = all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    promise(unchanged, f"{name}: where no training sample has the modality, what it learned stays as it is")
    encoder.fit(lambda: [samples])
    other = make()
    assert isinstance(other, Fitted)
    other.fit(lambda: (samples[[index]] for index in range(len(samples))))
    for key in encoder.learned:
        same = is_close(getattr(other, key), getattr(encoder, key), tolerance=1e-6)
        promise(same, f"{name}: what it learns does not depend on how the samples are batched, also {key}")
    fresh = make()
    fresh.load_state_dict(encoder.state_dict())
    first = encoder.eval()(samples).values
    promise(first.isfinite().all(), f"{name}: once fitted, its output is finite")
    promise(
        is_close(fresh.eval()(samples).values, first),
        f"{name}: a fresh component with the state of a fitted one computes the same",
    )


def check_aggregator(
    cls: type[Aggregator],
    in_features: int = 8,
    options: Mapping[str, Any] | None = None,
    *,
    lengths: Sequence[int] = (5, 1, 3),
) -> None:
    """Checks every promise of an aggregator.

    It is registered and described; declares its width; lets no sample see another, also not through padding; trains
    on a batch of one; sends finite gradients to every parameter; and copies, saves and computes in double precision
    as a module should.

    Args:
        cls: The aggregator's class.
        in_features: Width of an element.
        options: Options as a recipe would set them.
        lengths: Elements of the samples of the example, all positive.

    Raises:
        ContractError: A promise is broken.
    """
    component = find_component(AGGREGATORS, cls)
    name = component.name
    aggregator: Aggregator = build(component, in_features, options=options)

    def example(dtype: torch.dtype) -> Jagged:
        return Jagged.from_sizes(draw_normal(sum(lengths), in_features, dtype=dtype), lengths)

    def run(module: nn.Module, dtype: torch.dtype) -> Tensor:
        summary: Tensor = module(example(dtype))
        return summary

    shape = tuple(run(aggregator, torch.float32).shape)
    wanted = (len(lengths), aggregator.out_features)
    promise(shape == wanted, f"{name}: the output is (batch, out_features) = {wanted}, it is {shape}")
    check_module(name, lambda: build(component, in_features, options=options), run)

    # In double precision, so that a difference is one sample that sees another, and no rounding.
    aggregator.double().eval()
    samples = example(torch.float64)
    together = aggregator(samples)
    for index in range(len(lengths)):
        alone = aggregator(samples[[index]])[0]
        promise(
            is_close(alone, together[index]), f"{name}: in evaluation a sample alone gives what it gives in a batch"
        )
    alone = aggregator.train()(Jagged.from_sizes(samples.values[:1], [1]))
    promise(alone.isfinite().all(), f"{name}: it trains on a batch of one sample of one element")


def check_fusion(
    cls: type[Fusion],
    in_features: Mapping[str, int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Checks every promise of a fusion.

    It is registered and described; declares its width; works with every modality present, with some absent and with
    one absent from the whole batch; what stands in the place of an absent modality changes no other sample, in
    training neither; lets no sample see another in evaluation; trains on a batch of one; sends finite gradients to
    every parameter; and copies, saves and computes in double precision as a module should.

    Args:
        cls: The fusion's class.
        in_features: Width of each modality; three modalities when left out.
        options: Options as a recipe would set them.

    Raises:
        ContractError: A promise is broken.
    """
    component = find_component(FUSIONS, cls)
    name = component.name
    widths = dict(in_features or {"audio": 4, "video": 3, "text": 5})
    wired = (widths, widths) if cls.reads_sequences else (widths,)
    example = _Example(widths, reads_sequences=cls.reads_sequences)
    fusion: Fusion = build(component, *wired, options=options)

    shape = tuple(example.run(fusion).shape)
    wanted = (example.batch, fusion.out_features)
    promise(shape == wanted, f"{name}: the output is (batch, out_features) = {wanted}, it is {shape}")
    check_module(
        name, lambda: build(component, *wired, options=options), lambda module, dtype: example.run(module, dtype=dtype)
    )
    fusion.double()
    _check_absence(name, fusion, example)
    fusion.eval()
    for absent in ((), (1, 4)):
        together = example.run(fusion, absent=absent, dtype=torch.float64)
        for row in range(example.batch):
            alone = example.run(fusion, absent=absent, rows=[row], dtype=torch.float64)
            promise(
                is_close(alone[0], together[row]),
                f"{name}: in evaluation a sample alone gives what it gives in a batch",
            )
    alone = example.run(fusion.train(), rows=[0], dtype=torch.float64)
    promise(alone.isfinite().all(), f"{name}: it trains on a batch of one")


def _check_absence(name: str, fusion: Fusion, example: _Example) -> None:
    absent = (1, 4)
    others = [row for row in range(example.batch) if row not in absent]
    outputs = []
    for placeholder in (0.0, 7.0):
        torch.manual_seed(SEED)
        copied = copy.deepcopy(fusion).train()
        outputs.append(example.run(copied, absent=absent, placeholder=placeholder, dtype=torch.float64)[others])
    promise(
        is_close(outputs[0], outputs[1]),
        f"{name}: in training, what stands in the place of an absent modality changes no other sample",
    )
    everywhere = tuple(range(example.batch))
    output = example.run(copy.deepcopy(fusion).train(), absent=everywhere, dtype=torch.float64)
    promise(output.isfinite().all(), f"{name}: a modality may be absent from the whole batch")


class _Example:
    """Features of six samples; the first modality can be absent from some."""

    batch = 6

    def __init__(self, widths: Mapping[str, int], *, reads_sequences: bool) -> None:
        self.widths, self.reads_sequences = widths, reads_sequences
        self.first = next(iter(widths))

    def run(
        self,
        fusion: nn.Module,
        *,
        absent: Sequence[int] = (),
        placeholder: float = 0.5,
        rows: Sequence[int] = range(batch),
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        features = {m: draw_normal(self.batch, width, dtype=dtype, seed=width) for m, width in self.widths.items()}
        present: dict[str, Tensor | None] = dict.fromkeys(self.widths)
        sizes = {m: [1 + (row + len(m)) % 3 for row in range(self.batch)] for m in self.widths}
        if absent:
            here = torch.tensor([row not in absent for row in range(self.batch)])
            features[self.first] = features[self.first].masked_fill(~here[:, None], placeholder)
            present[self.first] = here[list(rows)]
            sizes[self.first] = [0 if row in absent else size for row, size in enumerate(sizes[self.first])]
        sequences = {
            m: Jagged.from_sizes(draw_normal(sum(sizes[m]), width, dtype=dtype), sizes[m])[list(rows)]
            for m, width in self.widths.items()
        }
        chosen = {m: feature[list(rows)] for m, feature in features.items()}
        fused: Tensor = fusion(chosen, present, sequences if self.reads_sequences else None)
        return fused
