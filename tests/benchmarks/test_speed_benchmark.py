"""The benchmark of speed: its figures on known times, its schema, the gates that have no noise, and its results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fusionkit.nn import jagged

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "speed"))

import measure  # noqa: E402 - it lies beside its own modules
import networks  # noqa: E402
import peak  # noqa: E402
import peer_networks  # noqa: E402
import plain  # noqa: E402
import records  # noqa: E402
import roofline  # noqa: E402
import rounds  # noqa: E402
from rows import ROWS, encoders, gpu, padding, scaling  # noqa: E402
from rows import memory as memory_rows  # noqa: E402
from rows import options as option_rows  # noqa: E402
from rows.registry import Entry, NotMeasuredError, Place  # noqa: E402

CPU = Place(torch.device("cpu"), 1)
TOY = networks.Size((32, 32), (32, 32), 16, 2, 9, 4)
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("speed_*.json"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only the test moves."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("fusionkit.nn.timer.time.perf_counter", lambda: clock.now)
    return clock


def taking(clock: SimpleNamespace, *seconds: float, done: list[tuple[str, int]], name: str) -> rounds.Work:
    """Work that takes these seconds, one after the other."""
    left = iter(seconds)

    def work(turn: int) -> None:
        done.append((name, turn))
        clock.now += next(left)

    return work


def row_of(**changed: Any) -> dict[str, Any]:
    """A row as a result file has it."""
    number = {"what": "a count", "measured": {"value": 1.0}, "target": {"figure": "value", "sign": "<=", "limit": 1.0}}
    return {"title": "a title", "measurements": [number], "seconds": 0.5, "made": {}, **changed}


def checked(**rows: Any) -> records.SpeedResult:
    """A result file of these rows, read."""
    return records.SpeedResult.model_validate_json(json.dumps({"kind": "speed", "device": "cpu", "rows": rows}))


def test_ours_stands_on_both_sides_of_theirs_and_rounds_of_warming_up_do_not_count(clock: SimpleNamespace) -> None:
    done: list[tuple[str, int]] = []
    ours = taking(clock, 90, 91, 2, 4, 3, 3, 5, 5, done=done, name="ours")
    theirs = taking(clock, 92, 2, 4, 4, done=done, name="theirs")

    found = rounds.compare(ours, theirs, CPU.device, rounds=3)

    assert done == [(name, turn) for turn in (-1, 0, 1, 2) for name in ("ours", "theirs", "ours")]
    assert found.rounds == [(2, 2, 4), (3, 4, 3), (5, 4, 5)]
    assert (found.median, found.ours, found.theirs) == (1.25, 3, 4)
    assert found.low == 0.75
    assert found.high == 1.5
    assert found.noise.median == 1


def test_a_machine_that_grows_steadily_slower_favours_neither_of_two_equal_things(clock: SimpleNamespace) -> None:
    def work(_: int) -> None:
        clock.now += 1 + clock.now / 100

    found = rounds.compare(work, work, CPU.device, rounds=5)

    assert found.noise.high < 1
    assert found.median == pytest.approx(1, abs=1e-3)


def test_several_works_are_timed_from_the_last_to_the_first_in_every_second_round(clock: SimpleNamespace) -> None:
    done: list[tuple[str, int]] = []
    works = [taking(clock, *(size,) * 3, done=done, name=f"{size}") for size in (1, 2)]

    found = rounds.time_works(works, CPU.device, rounds=2)

    assert found == [[1, 2], [1, 2]]
    assert done == [("2", -1), ("1", -1), ("1", 0), ("2", 0), ("2", 1), ("1", 1)]


def test_the_interval_is_that_of_the_medians_of_rounds_drawn_with_replacement() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 10.0]
    draws = np.random.default_rng(1).choice(values, (200_000, 5))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])

    assert rounds.interval(values) == {"median": 3.0, "low": low, "high": high}
    assert rounds.interval([2.0, 2.0, 2.0]) == {"median": 2.0, "low": 2.0, "high": 2.0}


def test_the_slope_of_times_that_grow_with_a_power_is_that_power() -> None:
    seconds = np.array([[3.0 * size**1.5 for size in (8, 16, 32)], [1.0 * size**1.5 for size in (8, 16, 32)]])
    assert scaling.slope((8, 16, 32), seconds) == pytest.approx(1.5)


def test_the_least_gain_is_where_throughput_falls_most() -> None:
    # clips per second: 2, 4, 3.2 and 2, 4, 3.2
    seconds = np.array([[1.0, 1.0, 2.5], [1.0, 1.0, 2.5]])
    assert scaling.least_gain((2, 4, 8), seconds) == pytest.approx(0.8)


def test_a_right_result_is_read_and_says_whether_its_target_is_met() -> None:
    (measurement,) = checked(F_pad=row_of()).rows["F_pad"].measurements
    assert measurement.met is True
    missed = measurement.model_copy(update={"measured": records.Number(value=1.0000001)})
    assert missed.met is False
    assert measurement.model_copy(update={"target": None}).met is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (row_of(measurements=[]), "a row is measured or says why it is not"),
        (row_of(not_measured="no GPU"), "a row is measured or says why it is not"),
        (row_of(seconds=-1), "greater than or equal to 0"),
        (row_of(surprise=1), "Extra inputs are not permitted"),
        (row_of(measurements=[{"what": "a count", "measured": {"value": float("nan")}}]), "finite number"),
        (row_of(measurements=[{"what": "", "measured": {"value": 1.0}}]), "at least 1 character"),
        (row_of(measurements=[{"what": "a count", "measured": {"value": "1"}}]), "valid number"),
        (row_of(measurements=[{"what": "a ratio", "measured": {"median": 1.0, "low": 1.0}}]), "Field required"),
        (
            row_of(
                measurements=[{"what": "x", "measured": {"value": 1.0}, "target": {"figure": "value", "sign": "<="}}]
            ),
            "Field required",
        ),
    ],
)
def test_a_wrong_row_is_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        checked(F_pad=row)


def test_a_result_of_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValidationError, match="'cpu' or 'cuda'"):
        records.SpeedResult.model_validate_json('{"kind": "speed", "device": "abacus", "rows": {}}')


def test_a_row_that_cannot_be_measured_says_why_and_leaves_the_others_of_the_file(tmp_path: Path) -> None:
    def cannot(_: Place) -> list[records.Measurement]:
        raise NotMeasuredError("there is no such thing here")

    def can(_: Place) -> list[records.Measurement]:
        return [records.Measurement(what="a count", measured=records.Number(value=2.0))]

    for name, work in (("F_pad", can), ("F_fuse", cannot)):
        *_, row = measure.measure_row(Entry("title", work, ("cpu",)), CPU)
        path = measure.write_row(name, row, "cpu", tmp_path)

    found = records.SpeedResult.model_validate_json(path.read_bytes())
    assert path.name == "speed_cpu.json"
    assert list(found.rows) == ["F_fuse", "F_pad"]  # in the order of the table
    assert found.rows["F_fuse"].not_measured == "there is no such thing here"
    assert found.rows["F_pad"].measurements[0].measured == records.Number(value=2.0)
    assert "MISSED" not in measure.describe(found.rows["F_pad"].measurements[0])


def test_every_line_of_a_row_is_written_as_soon_as_it_is_measured(tmp_path: Path, monkeypatch: Any) -> None:
    def stops(_: Place) -> Iterator[records.Measurement]:
        yield records.Measurement(what="the first", measured=records.Number(value=1.0))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure.measure_all({"F_pad": Entry("title", stops, ("cpu",))}, CPU, tmp_path)

    found = records.SpeedResult.model_validate_json((tmp_path / "speed_cpu.json").read_bytes())
    assert [each.what for each in found.rows["F_pad"].measurements] == ["the first"]
    assert found.rows["F_pad"].made["complete"] is False
    assert found.rows["F_pad"].made["rounds"] == 1
    assert found.rows["F_pad"].made["processor"]


def test_a_row_that_cannot_go_on_says_what_it_lacks_and_is_not_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stops(_: Place) -> Iterator[records.Measurement]:
        yield records.Measurement(what="the first", measured=records.Number(value=1.0))
        raise NotMeasuredError("the second needs a compiler")

    measure.measure_all({"F_pad": Entry("title", stops, ("cpu",))}, CPU, tmp_path)

    row = records.SpeedResult.model_validate_json((tmp_path / "speed_cpu.json").read_bytes()).rows["F_pad"]
    assert (row.made["complete"], row.made["stopped"]) == (False, "the second needs a compiler")
    assert "not measured: the second needs a compiler" in capsys.readouterr().out


def test_no_row_is_begun_when_the_time_is_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = Place(CPU.device, 1, minutes=0.0)
    measure.measure_all({"F_pad": Entry("title", lambda _: pytest.fail("it was begun"), ("cpu",))}, late, tmp_path)
    assert "F_pad: not begun" in capsys.readouterr().out
    assert not (tmp_path / "speed_cpu.json").exists()


def test_a_gpu_measures_first_what_it_is_there_for() -> None:
    rows = list(measure.rows_for("cuda", ()))
    assert rows[0] == "T_gpu"
    assert sorted(rows) == sorted(name for name, entry in ROWS.items() if "cuda" in entry.devices)
    assert list(measure.rows_for("cpu", ("F_pad", "R_fuse"))) == ["R_fuse", "F_pad"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["F_fad"], "no row F_fad; there are R_fuse"),
        (["T_gpu", "--device", "cpu"], "T_gpu: not measured on cpu"),
        (["--rounds", "0", "F_pad"], "--rounds 0: at least one"),
        (["--device", "mps"], "invalid choice: 'mps'"),
        *([] if torch.cuda.is_available() else [(["--device", "cuda"], "device 'cuda': this machine has none")]),
    ],
)
def test_a_mistake_is_said_before_anything_is_measured(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        measure.main([*arguments, "--out", str(tmp_path)])
    assert message in capsys.readouterr().err + str(stopped.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_result_that_is_there_is_valid_and_names_known_rows_with_their_titles(path: Path) -> None:
    result = records.SpeedResult.model_validate_json(path.read_bytes())
    assert path.stem == f"speed_{result.device}"
    for name, row in result.rows.items():
        assert row.title == ROWS[name].title
        assert result.device in ROWS[name].devices


def test_fusion_adds_at_most_half_a_percent_to_the_arithmetic_of_the_encoders() -> None:
    (measurement,) = encoders.fused_flops(CPU)
    assert measurement.measured.value <= 1.005
    assert measurement.measured.value > 1
    assert measurement.met


@pytest.mark.parametrize("lacking", [False, True])
def test_exactly_the_elements_of_a_batch_enter_the_encoders(lacking: bool) -> None:
    measurement = padding.entering_at(TOY, CPU, lacking=lacking, what="toy")
    assert measurement.measured.value == 1.0
    assert measurement.met
    assert measurement.more["entering"] == measurement.more["in the batch"]
    assert min(measurement.more["entering"].values()) > 0
    assert measurement.more["of the padded batch"] < 0.95


def test_half_of_the_clips_lack_a_modality_where_they_are_to() -> None:
    (batch,) = networks.clips(replace(TOY, clips=8), CPU.device, sets=1, lacking=True)
    assert [size > 0 for size in batch["audio"].sizes] == [True, False, True, True, True, False, True, True]
    assert [size > 0 for size in batch["video"].sizes] == [True, True, True, False, True, True, True, False]


def test_usual_lengths_are_those_of_evenly_drawn_clips_in_order() -> None:
    drawn = np.random.default_rng(0).integers(30, 151, (100_000, 8))
    assert networks.usual_lengths(networks.FULL) == pytest.approx(np.sort(drawn, axis=1).mean(axis=0), abs=1)


def test_the_plain_padded_network_says_the_same_and_is_refused_where_it_does_not() -> None:
    model, other = networks.mrpn(TOY), plain.PlainNetwork(TOY.hidden)
    (batch,) = networks.clips(TOY, CPU.device, sets=1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
    other.take_weights(model)

    padding.refuse_difference(model, other, batch)

    with torch.no_grad():
        other.branches["audio"].dense.bias += 1
    with pytest.raises(AssertionError):
        padding.refuse_difference(model, other, batch)


def test_the_peak_counts_what_is_alive_at_once_and_not_what_came_after_a_release() -> None:
    numbers, size = 250_000, 1_000_000

    def work() -> torch.Tensor:
        first = torch.ones(numbers)
        second = first + 1  # two at once
        del first
        third = second + 1  # two again
        del second
        return third

    before = torch.ones(numbers)
    assert peak.peak_bytes(work, CPU.device) == pytest.approx(2 * size, abs=100)
    assert peak.peak_bytes(lambda: before.add(1).add_(1), CPU.device) == pytest.approx(size, abs=100)
    assert peak.peak_bytes(lambda: before.add_(1), CPU.device) < 100
    assert peak.sum_bytes([before, before[1:]]) == size


def test_the_peak_of_a_backward_pass_holds_every_activation_that_it_needs() -> None:
    x = torch.ones(250_000, requires_grad=True)

    def work() -> None:
        x.exp().exp().exp().sum().backward()

    # three kept results, and the gradient by which the last of them is multiplied into a new one
    assert peak.peak_bytes(work, CPU.device) == pytest.approx(4e6, abs=1e3)


def test_the_roofline_of_a_prediction_has_the_arithmetic_of_its_layers() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, bias=False), torch.nn.Flatten(), torch.nn.Linear(144, 5))
    seconds = []
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), roofline.Roofline(roofline.Rates(matmul=1.0, convolution=1.0, bandwidth=1e12)) as line:
            network(torch.zeros(3, 2, 8, 8))
        seconds.append(line.seconds)
    assert seconds == pytest.approx([2 * 3 * (36 * 4 * 9 * 2 + 144 * 5)] * 2, rel=1e-6)


def test_what_a_cuda_graph_holds_makes_no_numbers_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    (batch,) = networks.clips(TOY, CPU.device, sets=1)
    rest = gpu.Rest(TOY, {name: of.sizes for name, of in batch.items()}, CPU.device).train()
    monkeypatch.setattr(jagged, "make_indices", lambda *_: pytest.fail("numbers come from the host"))
    fused, *branches = rest(*(torch.randn(of.total, networks.WIDTH) for of in batch.values()))
    assert fused.shape == (4, networks.CLASSES)
    assert len(branches) == 2


def test_the_roofline_of_a_product_is_its_arithmetic_or_its_traffic_whichever_takes_longer() -> None:
    a, b = torch.ones(10, 20), torch.ones(20, 30)
    with roofline.Roofline(roofline.Rates(matmul=100.0, convolution=50.0, bandwidth=1e12)) as line:
        a @ b
    assert line.seconds == pytest.approx(2 * 10 * 20 * 30 / 100)
    with roofline.Roofline(roofline.Rates(matmul=1e12, convolution=1e12, bandwidth=8.0)) as line:
        a @ b
        a.view(20, 10)  # moves nothing
        a + a
    assert line.seconds == pytest.approx((200 + 600 + 300) * 4 / 8 + (200 + 200 + 200) * 4 / 8, rel=1e-6)


def test_the_rates_of_a_device_are_measured() -> None:
    found = roofline.measure_rates(CPU.device, torch.float32, scale=32)
    assert min(found.matmul, found.convolution, found.bandwidth) > 0


def test_a_prediction_of_a_long_film_in_pieces_takes_no_more_than_one_of_a_short_film() -> None:
    size = replace(TOY, video=(64, 64))  # a few such frames outweigh the copy of weights that a CPU convolves with
    in_pieces = memory_rows.prediction_memory_at(size, CPU, frames=16, chunk=8)
    at_once = memory_rows.prediction_memory_at(size, CPU, frames=16, chunk=64)
    assert in_pieces.measured.value <= 1.05
    assert at_once.measured.value > 2


def test_a_step_of_memory_and_one_of_padding_are_measured_at_toy_size() -> None:
    memory = memory_rows.step_memory_at(TOY, CPU)
    weights = sum(each.numel() for each in networks.bare_encoders().parameters()) * 4
    assert memory.measured.value > 1
    assert memory.more["bytes"]["encoders"] > 4 * weights  # weights, gradients and two moments
    time = padding.padded_time_at(TOY, CPU)
    assert len(time.measured.rounds) == 1
    assert 0 < time.more["elements / padded elements: the limit"] < 1


def test_a_stream_is_given_a_fifteenth_of_what_a_prediction_of_its_window_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []

    def made(size: networks.Size) -> Any:
        model = networks.mrpn(size)
        model.branch("video").encoders[0].register_forward_pre_hook(lambda _, values: given.append(values[0].total))
        return model

    monkeypatch.setattr(option_rows, "mrpn", made)
    found = option_rows.compare_stream(CPU, TOY)
    assert given == [90, *[6, 90, 6] * 2]  # the window is filled; then ours, theirs, ours, once to warm up
    assert len(found.measured.rounds) == 1


def test_a_budget_and_the_path_of_an_lstm_are_measured() -> None:
    budget = option_rows._budget()
    largest, usual = budget.more["frames"]
    assert 0 < largest <= 720 < usual  # eight clips of ninety frames, which is the mean of 30 and 150
    assert budget.measured.value == pytest.approx(largest / usual)
    path = option_rows._path(CPU)
    assert path.what.startswith("LSTM, padded / packed")
    assert len(path.measured.rounds) == 1


def test_the_network_by_hand_has_every_layer_of_ours() -> None:
    peer = peer_networks.BY_HAND
    ours, (by_hand, predict) = peer.build_ours(), peer.make()
    sizes = [sorted(p.numel() for p in module.parameters()) for module in (ours, by_hand)]
    # Ours normalises the halves of 512 features one by one, and learns what stands for a modality that is missing.
    assert sum(sizes[0]) - sum(of.numel() for of in ours.placeholders.values()) == sum(sizes[1])
    assert predict(peer.inputs(4, torch.Generator().manual_seed(0))).shape == (4, 8)


def test_throughput_is_measured_in_every_way_and_a_way_that_fails_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways = [gpu.WAYS[0], replace(gpu.WAYS[2], name="broken"), gpu.WAYS[-1]]
    measure_case = gpu.measure_case

    def breaking(case: gpu.Case, *given: Any) -> records.Measurement:
        if case.way.name == "broken":
            raise RuntimeError("out of memory")
        return measure_case(case, *given)

    monkeypatch.setattr(gpu, "measure_case", breaking)
    monkeypatch.setattr(gpu, "WARM_UP", 0)

    *found, whole = gpu.measure_all(CPU, gpu.TOY, ways)

    assert [each.what.split(":")[0] for each in found] == [
        f"{what}, {way.name}" for way in (ways[0], ways[2]) for what in ("training", "prediction")
    ]
    for each in found:
        assert each.more["clips per second of N2"] == pytest.approx(2 / each.measured.theirs)
        assert each.more["frames per second of N2"] == pytest.approx(8 / each.measured.theirs)
    assert whole.measured == records.Number(value=4)
    assert whole.met is False
    assert set(whole.more["not measured"].values()) == {"RuntimeError: out of memory"}
