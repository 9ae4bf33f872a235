"""Loaders: batches of samples, made here or by worker processes that load ahead."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from fusionkit.data.loading.batching import Draw, EpochBatches
from fusionkit.data.loading.collation import Sample, make_batch
from fusionkit.data.loading.failures import Failure, find_place
from fusionkit.data.loading.processes import Crew, Watch, describe_death, describe_hang, wait_for_workers
from fusionkit.data.loading.samples import Samples
from fusionkit.data.loading.transfer import Parcel, prepare_worker
from fusionkit.errors import FusionKitError, TrainingError
from fusionkit.execution.workers import leave_signals_to_parent
from fusionkit.interfaces import Batch, DeviceTransform, Transform
from fusionkit.nn.memory import explain_full_memory, is_full, make_sized_batch_error

FEWER_AHEAD = "lower data.batch_size or data.budget, or data.workers: each holds batches of its own"


def make_loader(
    samples: Samples,
    batches: EpochBatches,
    *,
    workers: int = 0,
    pin_memory: bool = False,
    timeout_seconds: float | None = None,
) -> DataLoader[Sample]:
    """Makes a loader that yields a `Batch` for each entry of `batches`; call ``batches.set_epoch`` before each epoch.

    Transforms of kind `DeviceTransform` are computed by `Batch.to`, on the device that it is given. Its iterators raise
    `DataError` with the names of the samples where loading fails or a worker hangs or crashes, and `TrainingError`
    where memory runs out or a worker is killed.

    Args:
        samples: The samples.
        batches: Which samples form a batch, by position in the dataset.
        workers: Processes that load ahead; the numbers are the same for any of them, 0 included.
        pin_memory: Copy batches to page-locked memory, for transfers to a GPU.
        timeout_seconds: How long a batch of the workers is waited for; None for ever.
    """
    return _Loader(samples, batches, workers=workers, pin_memory=pin_memory, timeout_seconds=timeout_seconds)


class _Loader(DataLoader[Sample]):
    """A loader whose iterators name the samples of what goes wrong."""

    def __init__(
        self,
        samples: Samples,
        batches: EpochBatches,
        *,
        workers: int,
        pin_memory: bool,
        timeout_seconds: float | None,
    ) -> None:
        self.samples, self.seconds = samples, timeout_seconds or 0.0
        self.watch = Watch(workers) if workers else None
        self.crew = Crew() if workers else None
        transforms = {name: _choose_device_transforms(chain) for name, chain in samples.transforms.items()}
        super().__init__(
            samples if self.watch is None else _WatchedSamples(samples, self.watch),
            batch_sampler=_Draws(batches),
            collate_fn=functools.partial(
                _collate_with_pending,
                element_shapes=samples.element_shapes,
                transforms=transforms,
                send=workers > 0,
            ),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=_begin_worker,
            timeout=self.seconds if workers else 0.0,
            # The loader draws a seed for its workers: from here, so that the process's own generator stays untouched.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Any:
        if self.crew is None:
            return super().__iter__()
        begun = super().__iter__()
        self.crew.gather()
        return _Batches(self, begun)

    def translate(self, error: RuntimeError) -> FusionKitError | None:
        """Translates an error of PyTorch's loader, with the samples; None where it is no error of loading."""
        assert self.watch is not None
        assert self.crew is not None
        dataset = self.samples.dataset
        begun = {pid: (find_place(dataset, index), since) for pid, (index, since) in self.watch.list_begun().items()}
        if dead := self.crew.list_dead():
            self._end_workers()
            return describe_death(dead, begun)
        if str(error).startswith("DataLoader timed out"):
            self._end_workers()
            return describe_hang(self.seconds, begun)
        if is_full(error):
            return TrainingError(f"data.workers: batches that wait do not fit into memory; {FEWER_AHEAD}")
        return None

    def _end_workers(self) -> None:
        """Ends all workers, where one of them is dead or hangs.

        One that is killed may hold the lock of the event by which PyTorch tells the others to end, and would be waited
        for without end when the loader is thrown away. So the event is one that nobody else holds.
        """
        assert self.crew is not None
        self.crew.end()
        iterator: Any = self._iterator
        if iterator is not None:
            iterator._workers_done_event = threading.Event()


class _Batches(Iterator[Batch]):
    """The batches of an epoch from worker processes."""

    def __init__(self, loader: _Loader, batches: Iterator[Batch | Failure]) -> None:
        self._loader, self._batches = loader, batches

    def __next__(self) -> Batch:
        try:
            with wait_for_workers():
                self._refuse_to_wait_for_the_dead()
                batch = next(self._batches)
        except RuntimeError as error:
            told = self._loader.translate(error)
            if told is None:
                raise
            raise told from error
        if isinstance(batch, Failure):
            raise batch.error
        return batch

    def _refuse_to_wait_for_the_dead(self) -> None:
        """Raises what PyTorch does not say again: a worker may have died while nobody waited."""
        assert self._loader.crew is not None
        if self._loader.crew.list_dead():
            raise RuntimeError("a worker process has ended")


class _WatchedSamples(TorchDataset[Sample]):
    """The samples in a worker, which writes down what it loads, and sends what went wrong in place of a batch.

    PyTorch would send the error's text with its traceback, as a text.
    """

    def __init__(self, samples: Samples, watch: Watch) -> None:
        self._samples, self._watch = samples, watch

    def __len__(self) -> int:
        return len(self._samples)

    def __getitems__(self, draws: Sequence[Draw]) -> list[Sample] | Failure:
        loaded = []
        try:
            for draw in draws:
                with self._watch.note_loading(draw.index):
                    loaded.append(self._samples[draw])
        except FusionKitError as error:
            return Failure(error)
        return loaded


class _Draws(torch.utils.data.Sampler[list[Draw]]):
    """The batches with their epoch, which so reaches the workers."""

    def __init__(self, batches: EpochBatches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self._batches.list_draws(self._batches.epoch)[self._batches.start :])

    def __len__(self) -> int:
        return len(self._batches)


def _collate_with_pending(
    samples: Sequence[Sample] | Failure,
    element_shapes: Mapping[str, tuple[int, ...]],
    transforms: Mapping[str, tuple[DeviceTransform, ...]],
    send: bool,
) -> Batch | Parcel | Failure:
    """Collates a batch with the transforms that its device is to compute, to be sent to another process or not."""
    if isinstance(samples, Failure):
        return samples
    try:
        with explain_full_memory(lambda: _refuse_too_large(samples)):
            batch = make_batch(samples, element_shapes)
    except FusionKitError as error:
        if send:
            return Failure(error)
        raise
    pending = {}
    for name, steps in transforms.items():
        drawn = [sample.drawn[name] for sample in samples if sample.drawn.get(name)]
        if drawn:
            pending[name] = tuple(zip(steps, map(torch.cat, zip(*drawn, strict=True)), strict=True))
    batch = replace(batch, pending=pending)
    return Parcel(batch) if send else batch


def _refuse_too_large(samples: Sequence[Sample]) -> FusionKitError:
    ids = tuple(sample.id for sample in samples)
    names = dict.fromkeys(name for sample in samples for name in sample.inputs)
    sizes = {name: [len(each.inputs.get(name, ())) for each in samples] for name in names}
    return make_sized_batch_error("loading", ids, sizes, "this machine", FEWER_AHEAD)


def _begin_worker(worker: int) -> None:
    leave_signals_to_parent()
    torch.set_num_threads(1)
    prepare_worker()


def _choose_device_transforms(chain: Sequence[Transform]) -> tuple[DeviceTransform, ...]:
    return tuple(transform for transform in chain if isinstance(transform, DeviceTransform))
