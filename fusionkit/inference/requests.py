"""New samples in the batches in which a network is given them: transformed as in evaluation, each for itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fusionkit.data.loading.batching import Draw, EpochBatches
from fusionkit.data.loading.collation import Sample, make_batch
from fusionkit.data.loading.feed import Feed
from fusionkit.data.loading.samples import Samples
from fusionkit.data.recordings import Recording, Recordings
from fusionkit.data.recordings.search import describe_problems
from fusionkit.errors import DataError
from fusionkit.inference.input_steps import InputSteps
from fusionkit.interfaces import Batch
from fusionkit.nn.jagged import Jagged


class Requests:
    """New samples, in order, as batches; one that cannot be used is in its batch, with the reason in place of inputs.

    Args:
        recordings: The samples.
        steps: The way of samples to the network.
        batch_size: Samples of a batch; with `budget` left out too, the size or budget of the steps.
        budget: Instead, elements of the longest modality of a batch.
        workers: Processes that read and prepare ahead; answers do not depend on it.

    Attributes:
        places: Where the samples are stated.
        identity: A hash of what is asked.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        steps: InputSteps,
        *,
        batch_size: int | None = None,
        budget: int | None = None,
        workers: int = 0,
    ) -> None:
        self.places = [each.place for each in recordings]
        described = [recordings, batch_size, budget, steps.inputs.plain()]
        self.identity = hashlib.sha256(repr(described).encode(errors="surrogateescape")).hexdigest()
        self._steps, self._workers = steps, workers
        self._samples = _Readable(Recordings(recordings, steps.inputs, steps.prepare), steps)
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

    def __len__(self) -> int:
        """Samples."""
        return len(self._samples)

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
                for batch in self._feed(self._batches, start):
                    yield batch
                    start += 1
                return
            except DataError:
                for index in self._batches.plan(0)[start]:
                    yield self._read_alone(index)
                start += 1

    def _feed(self, batches: EpochBatches, start: int = 0) -> Iterator[Batch]:
        workers, seconds = self._workers, self._steps.timeout_seconds
        return Feed(self._samples, batches, workers=workers, timeout_seconds=seconds).read_epoch(0, start)

    def _read_alone(self, index: int) -> Batch:
        alone = EpochBatches([index], seed=0, batch_size=1, shuffle=False)
        try:
            return next(self._feed(alone))
        except DataError as error:
            return make_batch(
                [self._samples.make_failure(index, describe_problems(error.problems))], self._samples.element_shapes
            )


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
            return self.make_failure(draw.index, describe_problems(error.problems) or str(error))
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
