"""Documents of an exported network: what its file is given and answers, and how near that is to the network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from fusionkit.interfaces import TargetKind
from fusionkit.storage.records.document import Document, Part
from fusionkit.storage.records.inputs import Inputs

MODEL_FILE = "model.json"
"""The file that makes a folder an exported network."""

NO_RUN = "is an exported network; name the run that it was exported from"
"""The end of a message where a run is wanted."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.]{0,99}$")]
"""A file in the folder itself."""


def is_export(folder: Path) -> bool:
    """Says whether a folder is an exported network."""
    return os.path.isfile(folder / MODEL_FILE)


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
        numbers: How many numbers a prediction holds; 0 of classes and labels.
    """

    kind: TargetKind
    classes: list[str] = Field([])
    numbers: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _holds_something(self) -> ExportedTarget:
        if bool(self.classes) == (self.kind == "numbers") or bool(self.numbers) != (self.kind == "numbers"):
            raise ValueError("a target has classes, labels or numbers, as its kind says")
        return self


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
        sha256: By file, its hash.
        networks: The number of networks in the graph, which answers by their mean.
        fusion: The fusion, as recipes call it.
        main: The branch that stands for the network.
        modalities: By modality, in the order of the graph's inputs.
        targets: By target.
        outputs: The answers, in the order of the graph's outputs.
        inputs: How samples stand in files and tables, as the run's ``inputs.json`` says it.
        preparation: How films and sounds are prepared before they are modalities; None where there are none.
        about: Where the network comes from.
    """

    title: ClassVar[str] = "a description of an exported network"
    remedy: ClassVar[str] = "export the run again with `fusionkit export`"
    formats: ClassVar[tuple[int, ...]] = (2,)

    fusionkit: str
    engine: Literal["onnx", "torch"]
    graph: FileName
    quantized: FileName | None = None
    compiled: FileName | None = None
    sha256: dict[FileName, str]
    networks: int = Field(ge=1)
    fusion: str
    main: str
    modalities: dict[str, ExportedModality] = Field(min_length=1)
    targets: dict[str, ExportedTarget] = Field(min_length=1)
    outputs: list[ExportedOutput] = Field(min_length=1)
    inputs: Inputs
    preparation: dict[str, Any] | None = None
    about: dict[str, Any] = Field({})

    @model_validator(mode="after")
    def _fits_itself(self) -> ExportedModel:
        described = {name: (of.shape, of.rate) for name, of in self.inputs.modalities.items()}
        if described != {name: (of.shape, of.rate) for name, of in self.modalities.items()}:
            raise ValueError("inputs: other modalities, shapes or rates than those of the graph")
        branches = {each.branch for each in self.outputs}
        wanted = {(branch, target) for branch in branches for target in self.targets}
        stated = [(each.branch, each.target) for each in self.outputs]
        if set(stated) != wanted or len(stated) != len(wanted):
            raise ValueError("outputs: every branch answers to every target once")
        if self.main not in branches:
            raise ValueError(f"main: no output is of the branch {self.main!r}")
        for name in filter(None, (self.graph, self.quantized, self.compiled)):
            if name not in self.sha256:
                raise ValueError(f"sha256: lacks {name}")
        return self


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
        weights_sha256: The hashes of the runs' weights, one for each network; none where they are no runs'.
        proofs: One for every file.
        quantization: What weights of 8 bits save and cost; None where there are none.
        notes: What a reader must know.
    """

    title: ClassVar[str] = "a card of an exported network"
    remedy: ClassVar[str] = "export the run again with `fusionkit export`"
    formats: ClassVar[tuple[int, ...]] = (2,)

    time: str
    versions: dict[str, str]
    weights_sha256: list[str] = Field([])
    proofs: list[Proof] = Field(min_length=1)
    quantization: Quantization | None = None
    notes: list[str] = Field([])
