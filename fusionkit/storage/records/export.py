"""Documents of an exported network: what its file is given and answers, and how near that is to the network."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from fusionkit.interfaces import TargetKind
from fusionkit.storage.records.document import Document, Part


class ExportedModality(Part):
    """One modality, as the graph is given it: raw elements, before any transform.

    Args:
        shape: The shape of an element.
        rate: Elements per second; None where they are no samples of time.
        dtype: The dtype of an element, by NumPy's name.
        input: The name of the graph's input of elements, ``(batch, time, *shape)``.
        length_input: The name of its input of lengths, ``(batch,)`` int64; 0 means that a sample lacks the modality.
        transforms: The transforms inside the graph, with their options.
    """

    shape: list[int]
    rate: float | None
    dtype: str
    input: str
    length_input: str
    transforms: list[dict[str, Any]] = Field([])


class ExportedTarget(Part):
    """One target.

    Args:
        kind: One class of several, any number of labels, or numbers.
        classes: Its classes or labels, in the order of probabilities; empty for numbers.
    """

    kind: TargetKind
    classes: list[str] = Field([])


class ExportedOutput(Part):
    """One answer of the graph.

    Args:
        branch: The branch: ``fused``, a modality, or an ensemble.
        target: The target.
        distribution: The name of the output of probabilities, or of numbers in the target's unit.
        prediction: The name of the output of predictions: the place of a class, labels, or numbers.
    """

    branch: str
    target: str
    distribution: str
    prediction: str


class ExportedModel(Document):
    """The facts that a program has to know of an exported network, ``model.json``.

    Args:
        fusionkit: The version that exported it.
        engine: What runs the graph.
        graph: The file of the graph.
        quantized: The file of the graph with weights of 8 bits; None where there is none.
        compiled: The file of machine code; None where there is none.
        main: The branch that stands for the network.
        modalities: By modality, in the order of the graph's inputs.
        targets: By target.
        outputs: The answers, in the order of the graph's outputs.
        preparation: How films and sounds are prepared before they are modalities; None where there are none.
        about: Where the network comes from.
    """

    title: ClassVar[str] = "a description of an exported network"
    remedy: ClassVar[str] = "export the run again with `fusionkit export`"

    fusionkit: str
    engine: Literal["onnx", "torch"]
    graph: str
    quantized: str | None = None
    compiled: str | None = None
    main: str
    modalities: dict[str, ExportedModality] = Field(min_length=1)
    targets: dict[str, ExportedTarget] = Field(min_length=1)
    outputs: list[ExportedOutput] = Field(min_length=1)
    preparation: dict[str, Any] | None = None
    about: dict[str, Any] = Field({})


class Difference(Part):
    """The largest differences of an answer from the network's.

    Args:
        largest: In probabilities, or in the target's unit.
        relative: Over the network's answer, see `Proof`.
    """

    largest: float
    relative: float


class Proof(Part):
    """The comparison of an exported file with the network.

    A relative difference is over the largest probability of a sample's classes, over the more probable of a label and
    its absence, or over the larger of a number and its spread in training.

    Args:
        file: The file.
        runs_on: The program that ran it, with its version.
        samples: Samples that were compared.
        subsets: Subsets of the modalities that were tried.
        all_subsets: Non-empty subsets that there are.
        batch_sizes: The sizes of the batches.
        lengths: By modality, the lengths that were tried, in elements before the transforms.
        elements: What the elements were.
        limit: The relative difference that is not exceeded; None where differences are only measured.
        differences: By output.
        by_subset: The largest relative difference by subset, its modalities joined by ``+``.
    """

    file: str
    runs_on: str
    samples: int
    subsets: int
    all_subsets: int
    batch_sizes: list[int]
    lengths: dict[str, list[int]]
    elements: str
    limit: float | None
    differences: dict[str, Difference]
    by_subset: dict[str, float]

    @property
    def largest(self) -> float:
        """The largest relative difference."""
        return max(each.relative for each in self.differences.values())


class QuantizedMetrics(Part):
    """The metrics of a target on the test part, before and after.

    Args:
        exact: Of the graph with weights of 32 bits.
        quantized: Of the graph with weights of 8 bits.
    """

    exact: dict[str, float | None]
    quantized: dict[str, float | None]


class Quantization(Part):
    """The price of weights of 8 bits.

    Args:
        bytes_exact: The size of the graph with weights of 32 bits.
        bytes_quantized: The size of the other.
        speed_ratio: Its time over that of the other, on one thread; below 1 it is faster.
        samples: Samples of the test part that both answered; 0 where the test part was not at hand.
        metrics: By target, of the main branch; empty without the test part.
        note: What a reader must know.
    """

    bytes_exact: int
    bytes_quantized: int
    speed_ratio: float
    samples: int
    metrics: dict[str, QuantizedMetrics] = Field({})
    note: str = ""


class ExportCard(Document):
    """The card of an exported network, ``card.json``: the proof that its files answer as the network does.

    Args:
        time: When it was exported.
        versions: Versions of the programs that took part.
        weights_sha256: The hash of the run's weights; None where it is no run's.
        proofs: One for every file.
        quantization: What weights of 8 bits save and cost; None where there are none.
        notes: What a reader must know.
    """

    title: ClassVar[str] = "a card of an exported network"
    remedy: ClassVar[str] = "export the run again with `fusionkit export`"

    time: str
    versions: dict[str, str]
    weights_sha256: str | None = None
    proofs: list[Proof] = Field(min_length=1)
    quantization: Quantization | None = None
    notes: list[str] = Field([])
