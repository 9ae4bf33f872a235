"""New samples in the batches in which a network is given them: transformed as in evaluation, each for itself."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from fusionkit.data.loading.batching import Draw, EpochBatches
from fusionkit.data.loading.collation import Sample, make_batch
from fusionkit.data.loading.feed import Feed
from fusionkit.data.loading.samples import Samples
from fusionkit.data.readers.arrays import ARRAY_SUFFIXES
from fusionkit.data.recordings import Recording, Recordings
from fusionkit.data.recordings.search import describe_error
from fusionkit.errors import DataError, Problem
from fusionkit.execution.workers import count_processors
from fusionkit.inference.input_steps import InputSteps
from fusionkit.interfaces import Batch
from fusionkit.nn.jagged import Jagged

_SECONDS_HERE = 1.0
"""Seconds of reading in this process, after which it pays to start another one: that takes a few tenths of a second."""


class Requests:
    """New samples, in order, as batches; one that cannot be used is in its batch, with the reason in place of inputs.

    Args:
        recordings: The samples.
        steps: The way of samples to the network.
        batch_size: Samples of a batch; with `budget` left out too, the size or budget of the steps.
        budget: Instead, elements of the longest modality of a batch.
        workers: Processes that read and prepare ahead; answers do not depend on it. None leaves the choice: films are
            prepared by all processors, sounds and images read by one process. Arrays and numbers, whose readers cannot
            crash, are read in this process, until so many of them have come that another one pays.

    Attributes:
        places: Where the samples are stated.
        renamed: How many samples have a number behind their name, since others have the name too.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        steps: InputSteps,
        *,
        batch_size: int | None = None,
        budget: int | None = None,
        workers: int | None = 0,
    ) -> None:
        if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
            raise DataError([Problem("workers", f"{workers!r} is no number of processes", "give 0 or more, or None")])
        self.places = [each.place for each in recordings]
        self._asked = recordings, (batch_size, budget, steps.inputs.plain())
        begins_here = workers is None and all(map(_holds_no_media, recordings))
        self._seconds_here = _SECONDS_HERE if begins_here else 0.0
        self._steps = steps
        self._workers = (count_processors() if steps.inputs.films else 1) if workers is None else workers
        dataset = Recordings(recordings, steps.inputs, steps.prepare)
        self._samples, self.renamed = _Readable(dataset, steps), dataset.renamed
        if batch_size is None and budget is None:
            batch_size, budget = (None, steps.budget) if steps.budget else (steps.batch_size, None)
        self._batches = EpochBatches(
            self._samples.indices,
            seed=steps.seed,
            batch_size=batch_size,
            budget=budget,
            lengths=self._samples.count_elements() if budget else None,
            shuffle=False,
        )

    @cached_property
    def identity(self) -> str:
        """A hash of what is asked: of values every number, of files their names."""
        recordings, options = self._asked
        digest = hashlib.sha256(repr(options).encode(errors="surrogateescape"))
        for each in recordings:
            values = {name: given for name, given in each.given.items() if isinstance(given, Tensor)}
            shapes = {name: (given.dtype, given.shape) for name, given in values.items()}
            plain = replace(each, given={name: of for name, of in each.given.items() if name not in values})
            digest.update(repr((plain, shapes)).encode(errors="surrogateescape"))
            for given in values.values():
                digest.update(given.contiguous().numpy().data)
        return digest.hexdigest()

    def __len__(self) -> int:
        """Samples."""
        return len(self._samples)

    def locate(self, failure: str) -> Problem:
        """Says of the only sample why it could not be used, with its place where the reason does not name it."""
        return Problem("" if self.places[0] in failure else self.places[0], failure)

    def count_batches(self, samples: int) -> int:
        """Counts the batches that the first so many samples fill; the last of them may be cut short."""
        whole = 0
        for batch in self._batches.plan(0):
            if len(batch) > samples:
                break
            samples -= len(batch)
            whole += 1
        return whole

    def count_samples(self, batches: int) -> int:
        """Counts the samples of the first so many batches."""
        return sum(map(len, self._batches.plan(0)[:batches]))

    def read(self, start: int = 0) -> Iterator[Batch]:
        """Reads the batches, from one of them on.

        Where a process that reads dies or hangs, the samples of its batch are read one by one, each by a process of its
        own: the one that does it again is told, and the others go on.
        """
        while start < len(self._batches.plan(0)):
            try:
                for batch in self._read_from(start):
                    yield batch
                    start += 1
                return
            except DataError:
                for index in self._batches.plan(0)[start]:
                    yield self._read_alone(index)
                start += 1

    def _read_from(self, start: int) -> Iterator[Batch]:
        """Reads the batches, the first of them here where that is quicker than to start a process."""
        here, left = self._feed(self._batches, start, workers=0), self._seconds_here
        while left > 0:
            begin = time.perf_counter()
            batch = next(here, None)
            if batch is None:
                return
            left -= time.perf_counter() - begin
            start += 1
            yield batch
        if start < len(self._batches.plan(0)):
            yield from self._feed(self._batches, start, workers=self._workers)

    def _feed(self, batches: EpochBatches, start: int, *, workers: int) -> Iterator[Batch]:
        seconds = self._steps.timeout_seconds
        return Feed(self._samples, batches, workers=workers, timeout_seconds=seconds).read_epoch(0, start)

    def _read_alone(self, index: int) -> Batch:
        alone = EpochBatches([index], seed=0, batch_size=1, shuffle=False)
        try:
            return next(self._feed(alone, 0, workers=self._workers))
        except DataError as error:
            return make_batch([self._samples.make_failure(index, describe_error(error))], self._samples.element_shapes)


def _holds_no_media(recording: Recording) -> bool:
    """Tells that nothing of a sample is decoded by a library that a damaged file could crash."""
    files = [given for given in recording.given.values() if isinstance(given, Path)]
    return recording.clip is None and all(file.suffix.lower() in ARRAY_SUFFIXES for file in files)


class _Readable(Samples):
    """Samples of which one that cannot be read says why."""

    def __init__(self, dataset: Recordings, steps: InputSteps) -> None:
        super().__init__(
            dataset,
            [row.id for row in dataset.rows],
            modalities=steps.modalities,
            transforms=steps.transforms,
            seed=steps.seed,
            whole_numbers=steps.whole_numbers,
        )
        self._recordings = dataset

    def __getitem__(self, draw: Draw) -> Sample:
        try:
            sample = super().__getitem__(draw)
        except DataError as error:
            return self.make_failure(draw.index, describe_error(error))
        return replace(sample, remarks=self._recordings.take_remarks(draw.index))

    def make_failure(self, index: int, reason: str) -> Sample:
        """Makes the sample in place of one that cannot be used."""
        remarks = self._recordings.take_remarks(index)
        return Sample(self._recordings.rows[index].id, {}, {}, remarks=remarks, failure=reason)


def split_batch(batch: Batch) -> Iterator[Batch]:
    """Yields a batch of each sample."""
    values = {name: packed.unbind() for name, packed in batch.inputs.items()}
    for row, name in enumerate(batch.sample_ids):
        inputs = {modality: Jagged.from_list([of[row]]) for modality, of in values.items()}
        yield Batch(inputs, {}, (name,), said={name: batch.said[name]} if name in batch.said else {})
