"""Batches that are copied ahead of their steps: in which order, how many, and that nothing else changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import recipe, same_bits, steps_of, train_until, weights_of
from torch import Tensor

from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.data.loading.prefetch import StreamLane, choose_lane, fetch_ahead, list_tensors
from fusionkit.data.transforms import Spatial
from fusionkit.errors import DataError
from fusionkit.interfaces import Batch
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import Profile, train
from fusionkit.training.step.part_names import DATA, MOVE


class Notes:
    """A lane that copies in its turn and notes what is asked of it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.notes: list[str] = []
        self._seconds = seconds

    def begin(self, batch: Batch) -> Batch:
        self.notes.append(f"begin {' '.join(batch.sample_ids)}")
        time.sleep(self._seconds)
        return batch.copy_to("cpu")

    def arrive(self, batch: Batch) -> None:
        self.notes.append(f"arrive {' '.join(batch.sample_ids)}")


def batch_of(name: str) -> Batch:
    spatial = Spatial((1, 4, 4), None, rotation=30.0)
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(len(name)))
    parameters = spatial.draw(3, torch.Generator().manual_seed(1)).contiguous()
    return Batch(
        {"face": Jagged.from_sizes(images, (2, 1)), "wave": Jagged.from_sizes(torch.arange(4.0), (4, 0))},
        {"label": torch.tensor([0, 1])},
        (name,),
        {"face": ((spatial, parameters),)},
    )


def loaded(names: str, notes: list[str], broken: str = "") -> Iterator[Batch]:
    for name in names:
        notes.append(f"load {name}")
        if name == broken:
            raise DataError(f"{name}: is damaged")
        yield batch_of(name)


def test_the_next_batch_is_begun_behind_the_wait_for_this_one_and_before_its_step() -> None:
    lane = Notes()
    for batch in fetch_ahead(loaded("abc", lane.notes), lane):
        lane.notes.append(f"step {batch.sample_ids[0]}")
    expected = "load a, begin a, arrive a, load b, begin b, step a, arrive b, load c, begin c, step b, arrive c, step c"
    assert ", ".join(lane.notes) == expected


def test_no_more_than_one_batch_is_taken_ahead_and_none_before_the_first_is_asked_for() -> None:
    lane = Notes()
    batches = fetch_ahead(loaded("abcde", lane.notes), lane)
    assert lane.notes == []
    for asked in range(1, 4):
        next(batches)
        assert sum(note.startswith("load") for note in lane.notes) == asked + 1


@pytest.mark.parametrize("names", ["", "a", "abcd"])
def test_every_batch_comes_once_in_its_order_with_what_is_pending(names: str) -> None:
    for name, batch in zip(names, list(fetch_ahead(loaded(names, []), Notes())), strict=True):
        alone = batch_of(name)
        assert batch.sample_ids == (name,)
        assert batch.pending.keys() == alone.pending.keys()
        for found, wanted in zip(list_tensors(batch), list_tensors(alone), strict=True):
            assert torch.equal(found, wanted)
        moved, expected = batch.to("cpu").inputs["face"].values, alone.to("cpu").inputs["face"].values
        assert torch.equal(moved, expected)


@pytest.mark.parametrize("broken", ["a", "b", "c"])
def test_what_cannot_be_loaded_is_told_when_its_turn_has_come(broken: str) -> None:
    learnt = list[str]()

    def learn() -> None:
        for batch in fetch_ahead(loaded("abc", [], broken), Notes()):
            learnt.extend(batch.sample_ids)

    with pytest.raises(DataError, match=f"{broken}: is damaged"):
        learn()
    assert learnt == [name for name in "abc" if name < broken]


@pytest.mark.parametrize("device", [None, torch.device("cpu"), torch.device("mps")])
def test_where_no_stream_can_copy_nothing_is_between_loader_and_step(device: torch.device | None) -> None:
    assert choose_lane(device) is None
    opened = assemble(load_recipe(recipe()))
    feed = opened.feed(opened.train_ids, training=True, device=device)
    assert type(feed.read_epoch(0)) is type(iter(feed._loader))


def test_a_stream_waits_for_the_copies_and_all_memory_is_kept_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = list[str]()

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            notes.append(f"{self.name} waits for {other.name}")

    def within(stream: Stream) -> AbstractContextManager[None]:
        notes.append(f"within {stream.name}")
        return nullcontext()

    kept = list[tuple[int, str]]()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("copies"))
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("steps"))
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: kept.append((id(tensor), stream.name)))

    lane = StreamLane(torch.device("cpu"))
    batch = lane.begin(batch_of("a"))
    assert notes == ["within copies"]
    lane.arrive(batch)

    assert notes == ["within copies", "steps waits for copies"]
    everything = [batch.targets["label"], batch.pending["face"][0][1]]
    everything += [tensor for value in batch.inputs.values() for tensor in (value.values, value.lengths)]
    assert sorted(kept) == sorted((id(tensor), "steps") for tensor in everything)


OPTIONS: dict[str, Any] = {
    "data": {"batch_size": 2},
    "accumulate": 2,
    "select": "inner",
    "checkpoint_seconds": 0.0,
}


def with_lanes(monkeypatch: pytest.MonkeyPatch, lane: Callable[[], Notes] = Notes) -> list[Notes]:
    """Gives every feed of a known device a lane from now on."""
    made = list[Notes]()

    def lane_for(device: torch.device | None) -> Notes | None:
        made.extend([] if device is None else [lane()])
        return None if device is None else made[-1]

    monkeypatch.setattr("fusionkit.data.loading.feed.choose_lane", lane_for)
    return made


def test_a_training_whose_batches_are_copied_ahead_is_bit_for_bit_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = train(recipe(**OPTIONS), tmp_path / "alone", accelerator="cpu")
    lanes = with_lanes(monkeypatch)
    copied = train(recipe(**OPTIONS), tmp_path / "ahead", accelerator="cpu")

    assert same_bits(weights_of(copied), weights_of(alone))
    assert (copied.path / "log.jsonl").read_bytes() == (alone.path / "log.jsonl").read_bytes()
    assert [bool(lane.notes) for lane in lanes] == [True, True]  # training and validation


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_stopped_with_a_batch_ahead_and_resumed_none_is_lost_or_repeated(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_lanes(monkeypatch)
    whole = train(recipe(**OPTIONS), tmp_path / "whole", accelerator="cpu")
    train_until(monkeypatch, stop, recipe(**OPTIONS), tmp_path / "run")
    resumed = train(recipe(**OPTIONS), tmp_path / "run", accelerator="cpu")

    assert len(steps_of(whole)) > stop
    assert same_bits(weights_of(resumed), weights_of(whole))
    assert (resumed.path / "log.jsonl").read_bytes() == (whole.path / "log.jsonl").read_bytes()


def profile_of(out: Path) -> tuple[RunFolder, Profile]:
    profile = Profile()
    return train(recipe(data={"batch_size": 2}, epochs=4), out, accelerator="cpu", profile=profile), profile


def test_a_profile_tells_copies_ahead_as_moving_and_counts_the_same_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, usual = profile_of(tmp_path / "alone")
    with_lanes(monkeypatch, lambda: Notes(seconds=0.05))
    ahead_of, profile = profile_of(tmp_path / "ahead")

    (stage,), (before,) = profile.stages, usual.stages
    parts = {each.part: each.seconds for each in stage.parts if each.modality is None}
    assert (stage.skipped, stage.steps) == (before.skipped, before.steps)
    assert parts[MOVE] >= 0.05 * 0.7  # the first batch of an epoch is begun with the second, the last has none to begin
    assert parts[DATA] < 0.05
    assert sum(each.seconds for each in stage.parts) == pytest.approx(stage.step_seconds)
    assert same_bits(weights_of(ahead_of), weights_of(alone))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_batches_that_are_copied_ahead_hold_what_was_loaded() -> None:
    device = torch.device("cuda")
    lane = choose_lane(device)
    assert isinstance(lane, StreamLane)
    pinned = (batch_of(name).pin_memory() for name in "abcdefgh")
    for name, batch in zip("abcdefgh", fetch_ahead(pinned, lane), strict=True):
        torch.rand(2000, 2000, device=device) @ torch.rand(2000, 2000, device=device)  # work beside the next copy
        for found, wanted in zip(list_tensors(batch), list_tensors(batch_of(name)), strict=True):
            assert found.device.type == "cuda"
            assert torch.equal(found.cpu(), wanted)
