"""What goes wrong while data are loaded: which sample, which file, what to do; never a traceback, never a wait."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import recipe, run_of
from torch import Tensor

from fusionkit.cli import main
from fusionkit.data.datasets.synthetic import Synthetic
from fusionkit.data.loading.batching import EpochBatches
from fusionkit.data.loading.failures import Failure
from fusionkit.data.loading.loader import make_loader
from fusionkit.data.loading.processes import describe_death
from fusionkit.data.loading.samples import Samples
from fusionkit.data.loading.transfer import Parcel
from fusionkit.errors import DataError, FusionKitError, TrainingError
from fusionkit.interfaces import Batch, Dataset, ModalityInfo, Row, Transform
from fusionkit.nn.jagged import Jagged

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
BAD = 3


class Faulty(Dataset):
    """Six samples; one does what it is told."""

    def __init__(self, fault: Any) -> None:
        self.rows = [Row(f"clip_{i}", None, None, {}, f"films.csv, row {i + 2}") for i in range(6)]
        self.modalities = {"wave": ModalityInfo(())}
        self.fault = fault

    def load(self, index: int) -> Mapping[str, Tensor]:
        if index == BAD:
            return self.fault()
        return {"wave": torch.zeros(3)}


def raises(error: BaseException) -> Any:
    def fault() -> Any:
        raise error

    return fault


def load(fault: Any, workers: int, **options: Any) -> list[Batch]:
    dataset = Faulty(fault)
    samples = Samples(dataset, [row.id for row in dataset.rows])
    order = EpochBatches(samples.indices, seed=0, batch_size=2, shuffle=False)
    return list(make_loader(samples, order, workers=workers, **options))


PLACE = "films.csv, row 5 (sample clip_3)"
MEND = "mend the file or the code that reads it, or leave the sample out"
RAISED: dict[str, tuple[Any, str]] = {
    "an error of a library": (raises(KeyError("rate")), f"{PLACE}: load raised KeyError: 'rate' ("),
    "an error of a file": (
        raises(FileNotFoundError(errno.ENOENT, "No such file or directory", "/clips/3.wav")),
        "load raised FileNotFoundError: [Errno 2] No such file or directory: '/clips/3.wav' (",
    ),
    "an assertion without words": (raises(AssertionError()), f"{PLACE}: load raised AssertionError ("),
    "an error of ours without a place": (raises(FusionKitError("no sound")), f"{PLACE}: no sound"),
    "an error of ours with one": (raises(DataError("/clips/3.wav: clip_3 is cut off")), "/clips/3.wav: clip_3 is cut"),
    "memory": (raises(MemoryError()), f"{PLACE}: load takes more memory than there is; take a shorter piece"),
    "torch's memory": (lambda: torch.zeros(10**17), f"{PLACE}: load takes more memory than there is; take"),
    "nothing": (lambda: None, f"{PLACE}: load returned NoneType; a mapping of modalities to tensors is expected"),
    "an array": (lambda: {"wave": [1.0]}, f"{PLACE}: load returned list as 'wave'; a tensor (length, *shape) is exp"),
    "a number": (lambda: {"wave": torch.tensor(1.0)}, f"{PLACE}: load returned a number as 'wave'; a tensor (length"),
    "complex numbers": (
        lambda: {"wave": torch.ones(3, dtype=torch.complex64)},
        f"{PLACE}: load returned 'wave' as complex numbers; give real and imaginary part side by side, as "
        "torch.view_as_real(values) does",
    ),
    "a sparse tensor": (
        lambda: {"wave": torch.ones(3).to_sparse()},
        f"{PLACE}: load returned 'wave' as a sparse tensor; give a dense one, values.to_dense()",
    ),
    "another shape": (
        lambda: {"wave": torch.zeros(2, 2)},
        "films.csv, row 5: wave: elements of shape (2,), the dataset states",
    ),
    "no number": (
        lambda: {"wave": torch.tensor([torch.nan])},
        "films.csv, row 5: wave: all 1 numbers are NaN or infinite",
    ),
}


@pytest.mark.parametrize("case", RAISED)
def test_what_a_dataset_raises_or_returns_is_told_with_the_sample_and_its_place(case: str) -> None:
    fault, said = RAISED[case]
    with pytest.raises(DataError) as error:
        load(fault, 0)
    assert said in str(error.value)
    if "raised" in said:
        assert f"{__file__}, line " in str(error.value)
        assert str(error.value).endswith(f"; {MEND}")


@pytest.mark.parametrize(
    ("sample", "place", "said", "told"),
    [
        ("8", "", "cannot decode frame 18 of 24", "sample 8: cannot decode frame 18 of 24"),
        ("8", "t.csv, row 9", "cannot decode frame 8 of 24", "t.csv, row 9 (sample 8): cannot decode frame 8 of 24"),
        ("8", "t.csv, row 8", "t.csv, row 81 has none", "t.csv, row 8 (sample 8): t.csv, row 81 has none"),
        ("8", "t.csv, row 9", "t.csv, row 9: no film", "t.csv, row 9: no film"),
        ("clip_7", "/films/clip_7.mp4", "no sound", "/films/clip_7.mp4: no sound"),
        ("clip_7", "/films/clip_71.mp4", "no sound", "/films/clip_71.mp4 (sample clip_7): no sound"),
    ],
)
def test_a_sample_is_named_whatever_numbers_stand_in_an_error(sample: str, place: str, said: str, told: str) -> None:
    dataset = Faulty(raises(DataError(said)))
    dataset.rows = [Row(sample if i == BAD else f"other_{i}", None, None, {}, place) for i in range(6)]
    samples = Samples(dataset, [sample])
    with pytest.raises(DataError) as error:
        list(make_loader(samples, EpochBatches(samples.indices, seed=0, batch_size=1)))
    assert str(error.value) == told


def test_a_worker_sends_the_same_words_and_no_traceback() -> None:
    fault, _ = RAISED["an error of a library"]
    told = []
    for workers in (0, 1):
        with pytest.raises(DataError) as error:
            load(fault, workers)
        told.append(str(error.value))
    assert told[0] == told[1]
    assert "Traceback" not in told[0]


def test_a_transform_that_raises_is_told_with_its_modality_and_sample() -> None:
    class Breaks(Transform):
        def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
            raise IndexError("out of range")

    dataset = Faulty(dict)
    samples = Samples(dataset, ["clip_1"], transforms={"wave": [Breaks()]})
    order = EpochBatches(samples.indices, seed=0, batch_size=2)
    with pytest.raises(DataError, match=r"\(sample clip_1\): a transform of wave raised IndexError: out of range"):
        list(make_loader(samples, order))


def test_lengths_that_cannot_be_counted_are_told_with_the_sample() -> None:
    dataset = Faulty(raises(ValueError("no header")))
    with pytest.raises(DataError, match=r"row 5 \(sample clip_3\): length raised ValueError: no header"):
        Samples(dataset, ["clip_3"]).count_elements()


ENDS: dict[str, tuple[Any, type[FusionKitError], str]] = {
    "killed": (
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        TrainingError,
        r"was ended by signal 9 \(SIGKILL\) while loading it; the system does that where memory runs out: lower data.w",
    ),
    "exits": (lambda: os._exit(3), DataError, "ended with exit status 3 while loading it; code that reads data must"),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_worker_that_ends_is_told_with_the_sample_that_it_was_loading(case: str) -> None:
    fault, kind, said = ENDS[case]
    with pytest.raises(kind, match=rf"films.csv, row 5 \(sample clip_3\): the worker process \d+ {said}"):
        load(fault, 1)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGBUS, "shared memory is full: give more, such as docker run --shm-size=8g, or set data.workers: 0"),
        (signal.SIGSEGV, "the library that reads it crashed: leave the sample out, or convert its file"),
    ],
)
def test_every_end_has_its_remedy(number: int, said: str) -> None:
    told = describe_death({7: -number, 8: -number}, {7: (PLACE, 1.0)})
    assert isinstance(told, DataError)
    first, second = told.problems
    assert str(first).startswith(f"{PLACE}: the worker process 7 was ended by signal {int(number)} (")
    assert first.remedy == second.remedy == said
    assert str(second).startswith("data.workers: the worker process 8 ")


def test_a_worker_that_hangs_is_told_after_the_time_of_the_recipe_and_ended() -> None:
    before, mine = time.monotonic(), set(multiprocessing.active_children())
    with pytest.raises(DataError, match=r"row 5 \(sample clip_3\): the worker process \d+ has been loading it for 0 s"):
        load(lambda: time.sleep(1000), 1, timeout_seconds=0.4)
    assert time.monotonic() - before < 30
    for process in set(multiprocessing.active_children()) - mine:
        process.join(30)
        assert process.exitcode == -signal.SIGKILL


def test_the_death_of_a_worker_is_raised_where_a_batch_is_waited_for_and_not_in_the_middle_of_a_step() -> None:
    dataset = Faulty(lambda: {"wave": torch.zeros(3)})
    samples = Samples(dataset, [row.id for row in dataset.rows])
    order = EpochBatches(samples.indices, seed=0, batch_size=2, shuffle=False)
    mine = set(multiprocessing.active_children())
    batches = iter(make_loader(samples, order, workers=1))
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - mine
    os.kill(worker.pid or 0, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid or 0, os.WEXITED | os.WNOWAIT)  # a step, in which PyTorch's handler would raise
    with pytest.raises(TrainingError, match=rf"the worker process {worker.pid} was ended by signal 9 \(SIGKILL\)"):
        next(batches)


def test_a_worker_that_dies_with_the_lock_of_the_others_keeps_nobody_waiting() -> None:
    dataset = Faulty(lambda: os._exit(3))
    samples = Samples(dataset, [row.id for row in dataset.rows])
    loader: Any = make_loader(samples, EpochBatches(samples.indices, seed=0, batch_size=1, shuffle=False), workers=1)
    batches = iter(loader)
    for _ in range(BAD - 1):  # the next one but one is loaded ahead, and ends the worker
        next(batches)
    while not loader.crew.list_dead():
        time.sleep(0.01)
    loader._iterator._workers_done_event._cond.acquire(timeout=1)  # as a process that was killed within it
    with pytest.raises(DataError, match="ended with exit status 3"):
        next(batches)
    thrown_away = threading.Thread(target=loader._iterator._shutdown_workers, daemon=True)
    thrown_away.start()
    thrown_away.join(30)

    assert not thrown_away.is_alive()


def test_a_batch_without_room_in_shared_memory_is_told_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensor: Tensor) -> Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(Tensor, "share_memory_", full)
    batch = Batch({"wave": Jagged.from_sizes(torch.zeros(3000), (1000, 2000))}, {}, ("a", "b"))
    sent = pickle.loads(pickle.dumps(Parcel(batch)))
    assert isinstance(sent, Failure)
    assert "data.workers: a batch of 2 samples, 12,000 bytes, does not fit into the shared memory" in str(sent.error)
    assert "No space left on device" in str(sent.error)
    assert str(sent.error).endswith("lower data.batch_size or data.budget, or set data.workers: 0")

    dataset = Faulty(dict)
    dataset.load = lambda index: {"wave": torch.zeros(5000)}  # type: ignore[method-assign]
    samples = Samples(dataset, [row.id for row in dataset.rows])
    order = EpochBatches(samples.indices, seed=0, batch_size=2)
    with pytest.raises(TrainingError, match="does not fit into the shared memory"):
        next(iter(make_loader(samples, order, workers=1)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("runs") / "run", data={"cache": False}, epochs=1).path


@pytest.mark.parametrize("command", ["train", "evaluate", "diagnose", "stress"])
def test_every_command_that_loads_ends_with_the_sample_and_status_2(
    command: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(dataset: Synthetic, index: int) -> Any:
        raise EOFError("ends early")

    monkeypatch.setattr(Synthetic, "load", load)
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe(data={"cache": False})))
    arguments = [str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")] if command == "train" else [str(run)]
    with pytest.raises(SystemExit) as status:
        main([command, *arguments])
    assert status.value.code == 2
    said = capsys.readouterr().err
    assert "load raised EOFError: ends early" in said
    assert "sample" in said
    assert "Traceback" not in said
