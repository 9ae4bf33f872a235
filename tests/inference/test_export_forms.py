"""Forms compute on padded sequences what components compute on packed ones, inside graphs as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from component_examples import (
    AGGREGATOR_EXAMPLES,
    ENCODER_EXAMPLES,
    FUSION_EXAMPLES,
    LOSS_HEAD_EXAMPLES,
    TRANSFORM_EXAMPLES,
)
from tiny_networks import GIVEN as PRETRAINED
from torch import Tensor, nn

from fusionkit import Jagged
from fusionkit.config.components.registry import AGGREGATORS, ENCODERS, FUSIONS, LOSS_HEADS, TRANSFORMS, Registry
from fusionkit.errors import ExportError
from fusionkit.inference.export import REFUSED, find_form, register_form
from fusionkit.inference.export.forms import Engine, Padded
from fusionkit.inference.export.forms.registry import _FORMS
from fusionkit.inference.export.onnx_file import OnnxSession, write_graph
from fusionkit.inference.export.tracing import trace
from fusionkit.interfaces import Aggregator, ElementEncoder, Encoder, Fusion, Transform
from fusionkit.models.aggregators import MeanPooling

Compare = Callable[[int, Sequence[int]], tuple[Tensor, Tensor]]
Answers = list[Tensor]

WIDTHS = {"audio": 4, "video": 3}
NESTED: list[tuple[str, dict[str, Any]]] = [
    ("mrpn", {"of": {"type": "mrpn", "of": {"type": "bottleneck", "width": 4, "heads": 2}}}),
]
BATCHES: list[tuple[int, ...]] = [(5, 0, 3), (1,), (7, 2, 0, 1, 7)]
WAVES: list[tuple[int, ...]] = [(201, 0, 100), (17,), (400, 81, 0, 1, 160)]
CLOSE = {"atol": 2e-5, "rtol": 2e-5}


def build(registry: Registry[Any], name: str, *wired: Any, options: Mapping[str, Any]) -> Any:
    """A component in evaluation mode, whose every parameter and statistic is a number of its own."""
    torch.manual_seed(0)
    built = registry.build(name, *wired, **options)
    if isinstance(built, nn.Module):
        for key, tensor in built.state_dict().items():
            if tensor.is_floating_point() and "running" in key:
                tensor.copy_(torch.rand(tensor.shape) + 0.5)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(torch.randn(tensor.shape) / 5)
        built.eval()
    return built


def draw(lengths: Sequence[int], shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(lengths))
    if dtype == torch.uint8:
        return [torch.randint(0, 256, (n, *shape), generator=generator, dtype=dtype) for n in lengths]
    return [3 * torch.randn(n, *shape, generator=generator) + 1 for n in lengths]


def pad(samples: Sequence[Tensor], longest: int) -> Padded:
    """Pads with what no result may depend on."""
    padded = torch.full((len(samples), longest, *samples[0].shape[1:]), 99).to(samples[0].dtype)
    for row, sample in enumerate(samples):
        padded[row, : len(sample)] = sample
    return Padded(padded, torch.tensor([len(sample) for sample in samples]))


class Graph(nn.Module):
    """Forms of many components, all of which are given sequences of the same lengths."""

    def __init__(self, forms: Sequence[nn.Module], kind: str) -> None:
        super().__init__()
        self.forms, self.kind = nn.ModuleList(forms), kind

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        outputs: list[Tensor] = []
        given = [Padded(*arrays[place : place + 2]) for place in range(0, len(arrays), 2)]
        if self.kind == "fusion":
            present = {name: of.lengths > 0 for name, of in zip(WIDTHS, given, strict=True)}
            sequences = dict(zip(WIDTHS, given, strict=True))
            features = {name: of.fill().values.sum(dim=1) for name, of in sequences.items()}
            return tuple(form(features, present, sequences) for form in self.forms)
        for form, sequence in zip(self.forms, given, strict=True):
            if self.kind == "aggregator":
                outputs.append(form(sequence.keep_one()))
            elif self.kind == "head":
                outputs += form(sequence.fill().values.sum(dim=1))
            else:
                outputs += form(sequence)
        return tuple(outputs)


class Distribute(nn.Module):
    """A loss head as graphs use it."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        distribution = self.head.distribution(self.head(features))
        return distribution, self.head.predict(distribution)


class Kind:
    """The examples of a kind, and graphs of all of them at once."""

    def __init__(self, kind: str, components: Sequence[Any], inputs: Sequence[tuple[tuple[int, ...], torch.dtype]]):
        self.kind, self.components, self.inputs = kind, components, inputs

    def forms(self, engine: Engine) -> list[nn.Module]:
        if self.kind == "head":
            return [Distribute(head) for head in self.components]
        return [find_form(component, engine) for component in self.components]

    def batches(self) -> list[list[list[Tensor]]]:
        """By batch and input, samples: waves are long, and their lengths are the same by batch."""
        lengths = [zip(*pair, strict=True) for pair in zip(BATCHES, WAVES, strict=True)]
        return [
            [
                draw([wave if shape in ((), (1,)) and self.kind == "encoder" else n for n, wave in of], shape, dtype)
                for shape, dtype in self.inputs
            ]
            for of in map(list, lengths)
        ]

    def arrays(self, samples: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        return [array for of in samples for array in pad(of, max(len(each) for each in of) + 1)]

    def expected(self, samples: Sequence[Sequence[Tensor]]) -> Answers:
        """What the components themselves say, in the order of a graph's outputs."""
        if self.kind == "fusion":
            return self._fused(samples)
        answers: Answers = []
        for component, of in zip(self.components, samples, strict=True):
            if self.kind == "head":
                answers += Distribute(component)(torch.stack([each.sum(0) for each in of]))
            elif self.kind == "transform":
                generator = torch.Generator()
                answers += _as_padded([component(e, generator, training=False) if len(e) else e for e in of])
            elif self.kind == "aggregator":
                rows = [row for row, each in enumerate(of) if len(each)]
                summary = component(Jagged.from_list([of[row] for row in rows]))
                answers.append(
                    torch.full((len(of), summary.shape[1]), torch.nan).index_copy(0, torch.tensor(rows), summary)
                )
            else:
                answers += _as_padded(component(Jagged.from_list(of)).unbind())
        return answers

    def _fused(self, samples: Sequence[Sequence[Tensor]]) -> Answers:
        sequences = {name: Jagged.from_list(of) for name, of in zip(WIDTHS, samples, strict=True)}
        features = {name: torch.stack([each.sum(0) for each in of]) for name, of in zip(WIDTHS, samples, strict=True)}
        present = {name: of.present for name, of in sequences.items()}
        return [
            fusion(features, present, sequences) if fusion.reads_sequences else fusion(features, present)
            for fusion in self.components
        ]


def _as_padded(samples: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    padded = pad(samples, max(len(sample) for sample in samples))
    return padded.values, padded.lengths


def check(kind: Kind, run: Callable[[list[Tensor]], Sequence[Tensor]]) -> None:
    for samples in kind.batches():
        expected, given = kind.expected(samples), list(run(kind.arrays(samples)))
        assert len(given) == len(expected)
        place = 0
        for component in kind.components:
            pair = kind.kind in ("encoder", "transform")
            for wanted, found in zip(
                expected[place : place + 1 + (pair or kind.kind == "head")], given[place:], strict=False
            ):
                name = type(component).__name__
                if pair and wanted.ndim > 1:  # elements, of which padding is not read
                    lengths = expected[place + 1]
                    assert torch.equal(given[place + 1], lengths), name
                    for row, length in enumerate(lengths.tolist()):
                        torch.testing.assert_close(found[row, :length], wanted[row, :length], **CLOSE, msg=name)
                elif wanted.is_floating_point():
                    known = ~wanted.isnan()
                    assert found.shape == wanted.shape, name
                    torch.testing.assert_close(found[known], wanted[known], **CLOSE, msg=name)
                else:
                    assert torch.equal(found, wanted), name
            place += 1 + (pair or kind.kind == "head")


def encoders() -> Kind:
    built = [build(ENCODERS, name, shape, options=options) for name, shape, options, _ in ENCODER_EXAMPLES]
    dtypes = [torch.uint8 if torch.uint8 in (of.whole_numbers or ()) else torch.float32 for of in built]
    return Kind("encoder", built, [(of[1], dtype) for of, dtype in zip(ENCODER_EXAMPLES, dtypes, strict=True)])


def aggregators() -> Kind:
    built = [build(AGGREGATORS, name, 5, options=options) for name, options in AGGREGATOR_EXAMPLES]
    return Kind("aggregator", built, [((5,), torch.float32)] * len(built))


def fusions(*, of_sequences: bool = False) -> Kind:
    wired = {name: (WIDTHS, WIDTHS) if FUSIONS.get(name).cls.reads_sequences else (WIDTHS,) for name in FUSIONS.names()}
    every = [build(FUSIONS, name, *wired[name], options=options) for name, options in FUSION_EXAMPLES + NESTED]
    built = [fusion for fusion in every if fusion.reads_sequences == of_sequences]
    return Kind("fusion", built, [((width,), torch.float32) for width in WIDTHS.values()])


def fusions_of_sequences() -> Kind:
    return fusions(of_sequences=True)


def heads() -> Kind:
    built = []
    for name, _, options in LOSS_HEAD_EXAMPLES:
        blocks = ((2, 3),) if LOSS_HEADS.get(name).cls.reads_blocks else ()
        built.append(build(LOSS_HEADS, name, 5, None, *blocks, options=options))
    return Kind("head", built, [((5,), torch.float32)] * len(built))


def transforms() -> Kind:
    built = [build(TRANSFORMS, name, shape, 2.0, options=options) for name, shape, options, _ in TRANSFORM_EXAMPLES]
    return Kind("transform", built, [(shape, dtype) for _, shape, _, dtype in TRANSFORM_EXAMPLES])


KINDS = {each.__name__: each for each in (encoders, aggregators, fusions, fusions_of_sequences, heads, transforms)}


#: Torch takes a minute for so many; some of them stand in the networks of `test_export`.
SLOW = ("fusions", "fusions_of_sequences")


@pytest.mark.parametrize("kind", KINDS)
def test_the_form_of_every_component_answers_as_the_component_does(kind: str) -> None:
    of = KINDS[kind]()

    with torch.no_grad():
        graph = Graph(of.forms("torch"), of.kind)
        check(of, lambda arrays: graph(*arrays))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in SLOW else kind for kind in KINDS]
)
def test_a_graph_of_onnx_of_every_component_answers_as_the_component_does(kind: str, tmp_path: Path) -> None:
    of = KINDS[kind]()
    graph = Graph(of.forms("onnx"), of.kind)
    example = of.arrays(_example(of))
    inputs = [f"x{place}" for place in range(len(example))]
    outputs = [f"y{place}" for place in range(len(of.expected(_example(of))))]
    write_graph(trace(graph, example), tmp_path / "graph.onnx", inputs, outputs)
    session = OnnxSession(tmp_path / "graph.onnx", threads=1)

    def run(arrays: list[Tensor]) -> list[Tensor]:
        given = {name: of.numpy() for name, of in zip(inputs, arrays, strict=True)}
        return [torch.from_numpy(np.asarray(each)) for each in session(given)]

    with torch.no_grad():
        check(of, run)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_of_torch_export_of_every_component_answers_as_the_component_does(kind: str) -> None:
    of = KINDS[kind]()
    program = trace(Graph(of.forms("torch"), of.kind), of.arrays(_example(of))).module()

    with torch.no_grad():
        check(of, lambda arrays: program(*arrays))


def _example(kind: Kind) -> list[list[Tensor]]:
    """Sequences that are long enough for encoders that shorten them."""
    waves = [shape in ((), (1,)) and kind.kind == "encoder" for shape, _ in kind.inputs]
    return [draw([400, 0, 200] if wave else [19, 0, 9], *of) for wave, of in zip(waves, kind.inputs, strict=True)]


def test_at_most_five_components_are_refused_and_every_other_one_has_an_example_here() -> None:
    examples = (ENCODER_EXAMPLES, AGGREGATOR_EXAMPLES, FUSION_EXAMPLES, LOSS_HEAD_EXAMPLES, TRANSFORM_EXAMPLES)
    tried = {example[0] for of in examples for example in of} | set(PRETRAINED)  # in test_pretrained_runs
    own = {
        component.name: component.cls.__name__
        for registry in (ENCODERS, AGGREGATORS, FUSIONS, LOSS_HEADS, TRANSFORMS)
        for component in registry
        if component.cls.__module__.startswith("fusionkit.")
    }

    assert len(REFUSED) <= 5
    assert {name for name, cls in own.items() if cls not in REFUSED} <= tried


class Halved(ElementEncoder):
    out_shape = (3,)

    def encode(self, values: Tensor) -> Tensor:
        return values / 2


class WeighedMean(MeanPooling):
    def forward(self, sequence: Jagged) -> Any:
        return 2 * super().forward(sequence)


class Neighbours(Encoder):
    out_shape = (3,)

    def forward(self, elements: Jagged) -> Jagged:
        return elements


class OfSequences(Fusion):
    reads_sequences = True

    def forward(self, features: Any, present: Any, sequences: Any = None) -> Tensor:
        return next(iter(features.values()))


def test_an_element_encoder_of_ones_own_needs_no_form() -> None:
    form = find_form(Halved(), "onnx")

    assert form(Padded(torch.ones(2, 3, 3), torch.tensor([3, 1]))).values.eq(0.5).all()


@pytest.mark.parametrize("component", [Neighbours(), OfSequences(), WeighedMean(3)])
def test_what_has_no_form_is_refused_by_name_with_what_to_do(component: Any) -> None:
    with pytest.raises(
        ExportError, match=f"{type(component).__name__} cannot be exported: .*register_form.*fusionkit.load"
    ):
        find_form(component, "onnx")


def test_a_component_of_ones_own_is_given_a_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusionkit.inference.export.forms.registry._FORMS", dict(_FORMS))

    @register_form(Neighbours)
    def make(encoder: Neighbours, engine: Engine) -> nn.Module:
        return nn.Identity()

    assert isinstance(find_form(Neighbours(), "torch"), nn.Identity)
    assert not isinstance(MeanPooling(3), Aggregator | Transform) or find_form(MeanPooling(3), "torch")
