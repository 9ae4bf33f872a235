"""The inputs of a trained network, ``inputs.json``: all that has to be known of them where its dataset is not."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fusionkit.storage.records.document import Document, Part


class InputModality(Part):
    """One modality, as the network is given it before its transforms.

    Args:
        shape: The shape of an element.
        rate: Elements per second; None where they are no samples of time.
        pixels: Whether its elements are images of bytes, or of numbers in 0..1, as files of images are read.
        columns: The columns that held it in the table of the training: one of files, or those of its numbers.
        of_numbers: Whether these hold numbers.
        whole: Whether all of these numbers were whole, and were given as such.
        fill: By column what stands in for an empty cell of a vector; behind the numbers it has a mark for each.
        marked: The columns that had empty cells; the mark of another is always zero.
        tensor: Which tensor of a safetensors file; None where it holds only one.
    """

    shape: list[int]
    rate: float | None = None
    pixels: bool = False
    columns: list[str] = Field([])
    of_numbers: bool = False
    whole: bool = False
    fill: list[float] | None = None
    marked: list[str] = Field([])
    tensor: str | None = None


class Inputs(Document):
    """The modalities of a network, and how samples of them stand in files and tables.

    Args:
        modalities: By modality, in the order of the network.
        films: Whether ``video`` and ``audio`` are prepared from films and sounds, by the recipe's ``data.prepare``.
        film: The column of films in a table.
        sound: The column of sounds in a table.
        id: The column of names in a table; None where rows are numbered.
        group: The column of groups in a table of labelled samples.
        targets: By target, its columns in such a table.
        missing: Texts that mark a missing value in a table; None for the usual ones.
    """

    title: ClassVar[str] = "a description of inputs"
    remedy: ClassVar[str] = "restore it from a copy, or remove it where the data of the training are still there"

    modalities: dict[str, InputModality] = Field(min_length=1)
    films: bool = False
    film: str = "film"
    sound: str = "sound"
    id: str | None = None
    group: str | None = None
    targets: dict[str, list[str]] = Field({})
    missing: list[str] | None = None
