"""Time by the clock: a device is waited for on both sides of work, and parts add up to the whole."""

from __future__ import annotations

import itertools

import pytest
import torch

from fusionkit.nn import timer
from fusionkit.nn.timer import REST, Timer, label_nothing, read_clock, time_work

GPU = torch.device("cuda")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done in its order: the clock read, a device waited for; a look at the clock takes a second."""
    done, clock = list[str](), itertools.count()

    def read() -> float:
        done.append("clock")
        return float(next(clock))

    monkeypatch.setattr(timer.time, "perf_counter", read)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: done.append(f"wait for {device}"))
    return done


def test_a_device_has_done_what_it_was_given_before_the_clock_is_read_on_both_sides_of_work(done: list[str]) -> None:
    assert time_work(lambda: done.append("work"), GPU) == 1.0
    assert done == ["wait for cuda", "clock", "work", "wait for cuda", "clock"]


def test_a_cpu_is_not_waited_for(done: list[str]) -> None:
    read_clock(torch.device("cpu"))
    assert done == ["clock"]


def test_every_part_is_waited_for_and_all_of_them_add_up_to_the_whole(done: list[str]) -> None:
    parts = Timer(GPU)  # at 0
    with parts.label("outer"), parts.label("inner"):  # at 1 and 2, until 3 and 4
        pass
    parts.book()  # at 5

    assert done == ["wait for cuda", "clock"] * 6
    assert parts.seconds == {REST: 1.0 + 1.0, "outer": 1.0 + 1.0, "inner": 1.0}
    assert sum(parts.seconds.values()) == 5.0


def test_the_time_of_a_part_is_that_of_the_innermost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])
    monkeypatch.setattr("fusionkit.nn.timer.time.perf_counter", lambda: next(now))

    parts = Timer(torch.device("cpu"))
    with parts.label("outer"):  # at 1
        parts.enter("inner")  # at 3
        parts.leave()  # at 6
    parts.book()  # at 15, and the outer one ended at 10

    assert parts.seconds == {REST: 1.0 + 5.0, "outer": 2.0 + 4.0, "inner": 3.0}


def test_a_part_ends_where_an_error_leaves_it(done: list[str]) -> None:
    parts = Timer(torch.device("cpu"))
    with pytest.raises(ValueError, match="here"), parts.label("outer"):
        raise ValueError("here")
    parts.book()

    assert parts.seconds == {REST: 2.0, "outer": 1.0}


def test_a_profiler_sees_parts_by_their_labels_and_nothing_of_what_is_not_timed() -> None:
    parts = Timer(torch.device("cpu"))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        with parts.label("the part"):
            torch.ones(2)
        with label_nothing("no part"):
            torch.ones(2)

    names = {event.name for event in found.events()}
    assert "the part" in names
    assert "no part" not in names
