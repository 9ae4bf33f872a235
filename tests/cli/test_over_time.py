"""The commands that answer over time: their files, their live view, and what they refuse."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import Event, Timer
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_predictors import make_film_predictor, make_predictor
from written_films import steps, tone, write_film, write_sound

import fusionkit
from fusionkit.cli import main
from fusionkit.cli.trained.view import draw_bars
from fusionkit.data.live.devices import Clock, Device, Signal
from fusionkit.data.live.lines import read_lines
from fusionkit.data.live.mailbox import Mailbox, Reading
from fusionkit.errors import DataError
from fusionkit.inference.answers import Answer, TargetAnswer
from fusionkit.inference.timeline.records import Instant
from fusionkit.inference.timeline.session import LiveSession
from fusionkit.storage.records.inputs import InputModality

SENSORS: dict[str, Any] = {
    "motion": {"shape": [2], "encoder": "mlp", "aggregator": "mean"},
    "level": {"shape": [], "encoder": "mlp", "aggregator": "max"},
}
RATES = {"motion": 20.0, "level": 5.0}


class Command:
    """Runs a command in this process, with a predictor in place of a run's."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        said = self._capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    use(monkeypatch, make_film_predictor())
    return Command(capsys)


def use(monkeypatch: pytest.MonkeyPatch, predictor: fusionkit.Predictor) -> None:
    monkeypatch.setattr("fusionkit.inference.load.load", lambda *_, **__: predictor)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "film.mp4", steps(12), wave=tone(1.2))


def test_a_timeline_becomes_a_table_a_figure_subtitles_and_a_film(command: Command, film: Path, tmp_path: Path) -> None:
    import av

    files = {end: tmp_path / f"said.{end}" for end in ("csv", "png", "vtt", "mp4")}
    options = [*("--out", files["csv"]), *("--figure", files["png"]), *("--vtt", files["vtt"])]

    status, out, _ = command("timeline", "run", str(film), *map(str, options), "--overlay", str(files["mp4"]))

    assert status == 0
    assert "film: 6 answers in 1.22 s" in out
    assert all(str(file) in out for file in files.values())
    lines = files["csv"].read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["time", "0.2", "0.4", "0.6", "0.8", "1.0", "1.216"]
    assert files["vtt"].read_text().startswith("WEBVTT\n\n00:00:00.200 --> ")
    assert files["png"].read_bytes()[:4] == b"\x89PNG"
    with av.open(str(files["mp4"])) as written:
        frames = [frame.pts * frame.time_base for frame in written.decode(video=0)]
        assert len(frames) == 12
        assert [round(float(at), 3) for at in frames] == [round(place / 10, 3) for place in range(12)]
    with av.open(str(files["mp4"])) as written:
        samples = sum(frame.samples for frame in written.decode(audio=0))
        assert samples / 16000 == pytest.approx(1.2, abs=0.15)  # AAC has whole blocks


def test_a_table_holds_the_same_in_every_format(command: Command, film: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    files = {end: tmp_path / f"said.{end}" for end in ("csv", "jsonl", "parquet")}
    for file in files.values():
        assert command("timeline", "run", str(film), "--every", "0.6", "--out", str(file))[0] == 0

    expected = make_film_predictor().timeline(film, every=0.6, window=3.0)
    with files["csv"].open(newline="") as stream:
        written = list(csv.DictReader(stream))
    table = parquet.read_table(files["parquet"])
    assert list(written[0]) == table.column_names == ["time", *expected.columns]
    assert [float(row["mood.calm"]) for row in written] == table["mood.calm"].to_pylist()
    assert table["time"].to_pylist() == [0.6, expected.duration]
    assert table["mood"].to_pylist() == [row["mood"] for row in expected.rows()]
    lines = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
    assert lines == expected.plain()
    expected.to_csv(tmp_path / "own.csv")
    assert (tmp_path / "own.csv").read_bytes() == files["csv"].read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_without_files_it_is_printed_and_with_json_it_is_data(command: Command, film: Path) -> None:
    status, out, _ = command("timeline", "run", str(film), "--every", "0.6")
    assert status == 0
    assert "seconds" in out
    assert "video, audio" in out
    assert max(map(len, out.splitlines())) <= 80

    status, out, _ = command("timeline", "run", str(film), "--every", "0.6", "--json")
    rows = json.loads(out)
    assert [row["time"] for row in rows] == [0.6, 1.216]
    assert set(rows[0]["targets"]["mood"]["probabilities"]) == {"calm", "happy", "sad"}


def test_predict_answers_over_time_when_it_is_asked_to(command: Command, film: Path, tmp_path: Path) -> None:
    status, out, _ = command("predict", "run", str(film), "--every", "0.6", "--json")
    assert status == 0
    assert json.loads(out) == json.loads(command("timeline", "run", str(film), "--every", "0.6", "--json")[1])

    status, out, _ = command("predict", "run", str(film), "--vtt", str(tmp_path / "said.vtt"))
    assert (status, (tmp_path / "said.vtt").exists()) == (0, True)
    status, _, err = command("predict", "run", str(film), "--window", "3", "--batch-size", "4")
    assert (status, err) == (
        2,
        "fusionkit: --batch-size: means nothing for answers over time, which are of one sample\n",
    )
    status, _, err = command("predict", "run", str(film), "--every", "0.2", "--set", "0.9")
    assert (status, err) == (
        2,
        "fusionkit: --set: was calibrated for whole samples, not for their windows; leave it out\n",
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--every", "0"], "every is 0.0; give a number above 0: seconds"),
        (["--window", "-1"], "window is -1.0; give a number above 0: seconds"),
        (["--out", "said.txt"], "said.txt: cannot write files that end in '.txt'; known: .csv, .jsonl, .parquet"),
        (["--figure", "said.gif"], "said.gif: a figure ends in .png, .svg, .pdf"),
        (["--vtt", "said.srt"], "said.srt: subtitles end in .vtt"),
        (["--overlay", "said.avi"], "said.avi: an overlay ends in .mp4, .mov, .mkv"),
        (["--out", "nowhere/said.csv"], "nowhere/said.csv: its folder is not there; make nowhere first"),
        (["--vtt", "nowhere/said.vtt"], "nowhere/said.vtt: there is no folder nowhere; make it first"),
        (["--vtt", "there.vtt"], "there.vtt: exists; give --overwrite, or another file"),
    ],
)
def test_mistakes_are_sentences_before_anything_is_computed(
    command: Command, film: Path, options: Sequence[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(film.parent)
    Path("there.vtt").write_text("")

    status, _, err = command("timeline", "run", str(film), *options)

    assert status == 2
    assert err.startswith(f"fusionkit: {sentence}")
    assert Path("there.vtt").read_text() == ""


def test_a_sound_has_a_timeline_but_no_overlay(command: Command, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "voice.wav", tone(1.0))

    status, _, _ = command("timeline", "run", str(sound), "--figure", str(tmp_path / "said.svg"))
    assert status == 0
    assert (tmp_path / "said.svg").read_text().count("<svg") == 1

    status, _, err = command("timeline", "run", str(sound), "--overlay", str(tmp_path / "said.mp4"))
    assert status == 2
    assert "voice has no film to be drawn on" in err
    assert not (tmp_path / "said.mp4").exists()


def test_files_stand_for_a_camera_and_a_microphone(command: Command, film: Path) -> None:
    options = ["--camera", str(film), "--microphone", str(film)]

    status, out, err = command("live", "run", *options, "--json", "--every", "0.3")

    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert 2 <= len(rows) <= 6
    assert rows[-1]["present"] == ["video", "audio"]
    assert rows[-1]["time"] == pytest.approx(1.2, abs=0.6)

    status, out, _ = command("live", "run", "--camera", str(film), "--microphone", "none", "--seconds", "0.5")
    assert status == 0
    assert "(video)" in out
    assert out.splitlines()[-1].split(" in ")[1].startswith("0.")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--camera", "/dev/no_camera"], "fusionkit: camera /dev/no_camera: cannot be opened"),
        (
            ["--camera", "FILM", "--microphone", "SILENT"],
            "fusionkit: microphone SILENT: gives no sound; name another one",
        ),
        (["--camera", "none", "--microphone", "none"], "fusionkit: there is no source; name a --camera or a --micro"),
        (["--every", "0", "--camera", "none"], "fusionkit: --every is 0.0; give a number above 0: seconds"),
    ],
)
def test_a_device_that_is_not_there_is_said(
    command: Command, film: Path, tmp_path: Path, options: Sequence[str], sentence: str
) -> None:
    silent = write_film(tmp_path / "silent.mp4", steps(5))
    names = {"FILM": str(film), "SILENT": str(silent)}

    status, _, err = command("live", "run", *(names.get(each, each) for each in options))

    assert status == 2
    assert err.startswith(sentence.replace("SILENT", str(silent)))


def test_sensors_are_lines_and_bad_ones_are_passed_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, make_predictor(SENSORS, RATES))
    lines = [{"t": 5.0 + place * 0.05, "motion": [1, 2]} for place in range(12)]
    texts = [json.dumps(line) for line in lines]
    texts[3:3] = [
        '{"t": 5.1, "motion": [1, 2, 3]}',
        "not json",
        '{"moton": [1, 2]}',
        "",
        '{"t": 5.1, "motion": [NaN, 1]}',
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*texts, '{"t": 5.6, "level": 0.5, "motion": [1, 2]}'])))

    status, out, err = Command(capsys)("live", "run", "--every", "0.2")

    assert status == 0
    assert "(motion, level)" in out
    assert "4 passed over" in out.splitlines()[-1]
    assert "line 4: motion: an array of shape (3,); one element is (2); give (time, 2); passed over" in err
    assert "line 5: is no JSON; a row is" in err
    assert "line 6: has no modality 'moton'; did you mean 'motion'" in err
    assert "line 8: motion: 1 of 2 numbers are NaN or infinite" in err

    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    status, _, err = Command(capsys)("live", "run")
    assert (status, err) == (1, "fusionkit: no source gave anything to answer to\n")
    status, _, err = Command(capsys)("live", "run", "--camera", "film.mp4")
    assert (status, err) == (2, "fusionkit: --camera: the network takes none; its modalities are motion, level\n")


def test_lines_have_the_times_of_their_own_clock() -> None:
    told: list[str] = []
    lines = [
        '{"t": 1000.0, "motion": [1]}',
        '{"t": 1000.1, "motion": [2]}',
        '{"t": true, "motion": 1}',
        "[1]",
        '{"t": 1}',
    ]

    stated = {"motion": InputModality(shape=[1], rate=20.0)}

    found = list(read_lines(lines, stated, Clock(), Event(), told.append))

    assert found[1].at - found[0].at == pytest.approx(0.1, abs=1e-6)
    assert found[0].at < 1
    assert told == [
        "line 3: has t = True, which is no number of seconds; passed over",
        'line 4: is no object; a row is {"t": 0.1, "motion": [...]}; passed over',
        'line 5: holds no modality; a row is {"t": 0.1, "motion": [...]}; passed over',
    ]


def test_a_line_that_is_waited_for_long_is_told() -> None:
    told, stop = list[str](), Event()
    lines = ['{"t": 1000, "motion": [1]}', '{"t": 61000, "motion": [1]}']

    def tell(sentence: str) -> None:
        told.append(sentence)
        stop.set()

    list(read_lines(lines, {"motion": InputModality(shape=[1], rate=20.0)}, Clock(), stop, tell))

    assert told == ["line 2: by its t it comes in 60,000 s, and is waited for; t are seconds"]


def test_lines_without_times_follow_each_other_at_their_rate() -> None:
    lines = [
        '{"motion": [1, 1]}',
        '{"motion": [[2, 2], [3, 3]]}',
        '{"motion": [4, 4]}',
        '{"level": [1, 2]}',
        '{"level": 3}',
    ]
    stated = {"motion": InputModality(shape=[2], rate=20.0), "level": InputModality(shape=[], rate=100.0)}

    found = list(read_lines(lines, stated, Clock(), Event(), print))

    assert [round(b.at - a.at, 2) for a, b in pairwise(found[:3])] == [0.05, 0.1]
    assert found[4].at - found[3].at == pytest.approx(0.02, abs=0.005)


def test_a_busy_network_drops_what_waits_too_long_and_does_not_fall_behind() -> None:
    predictor, clock = make_predictor(SENSORS, RATES), Clock()
    stream = predictor.stream(1.0)
    push = stream.push

    def push_slowly(modality: str, elements: Any, *, at: float | None = None) -> None:
        time.sleep(0.02)
        push(modality, elements, at=at)

    stream.push = push_slowly  # type: ignore[method-assign]
    session = LiveSession(stream, 0.1, clock, print)

    def hurry() -> Iterator[Signal]:
        for place in range(300):
            session.stop.wait(0.001)
            yield Signal("motion", place * 0.05, [[1.0, 2.0]], "a")

    instants = list(session.run([Reading("a", hurry, 5)]))

    assert session.dropped["a"] > 200
    assert session.problems == 0
    assert instants
    assert clock.now() < 5


def test_what_waits_is_bounded_and_what_is_dropped_is_counted() -> None:
    mailbox = Mailbox(3)
    for place in range(10):
        mailbox.put(Signal("motion", float(place), place, "test"))

    assert [signal.elements for signal in mailbox.take()] == [7, 8, 9]
    assert (mailbox.dropped, mailbox.take()) == (7, [])


def test_a_source_that_fails_is_told_and_the_others_go_on() -> None:
    told: list[str] = []
    predictor, clock = make_predictor(SENSORS, RATES), Clock()
    session = LiveSession(predictor.stream(1.0), 0.05, clock, told.append)

    def fail() -> Iterator[Signal]:
        yield Signal("level", 0.0, [1.0], "a")
        raise DataError("the plug was pulled")

    def go_on() -> Iterator[Signal]:
        for place in range(8):
            session.stop.wait(0.05)
            yield Signal("motion", place * 0.05, [[1.0, 2.0]], "b")
        yield Signal("motion", 0.0, [[1.0, 2.0]], "b")

    instants = list(session.run([Reading("a", fail, 9), Reading("b", go_on, 9)]))

    assert told[0] == "the plug was pulled; it goes on without"
    assert "b: motion: 1 elements from 0.000 s on come after" in told[1]
    assert session.problems == 2
    assert instants[-1].answer.present == ("motion", "level")
    assert len(instants) == session.answers >= 4


def test_a_window_goes_on_when_everything_stalls() -> None:
    predictor, clock = make_predictor(SENSORS, RATES), Clock()
    session = LiveSession(predictor.stream(0.5), 0.2, clock, print)

    def stall() -> Iterator[Signal]:
        yield Signal("motion", 0.0, [[1.0, 2.0]], "a")
        session.stop.wait(1.5)

    instants = list(session.run([Reading("a", stall, 9)]))

    assert instants[0].answer.present == ("motion",)
    assert "holds nothing" in instants[-1].answer.failure


def test_bars_fit_80_columns_and_say_what_is_missing() -> None:
    shares = {"calm": 0.25, "a class of a very long name": 0.75}
    answer = Answer("live", {"mood": TargetAnswer("a class of a very long name", shares)}, ("video",))
    drawn = draw_bars(Instant(2.0, answer), {"video": 75, "audio": 0}, {"camera 0": 1200}).plain.splitlines()

    assert all(len(line) <= 80 for line in drawn)
    assert drawn[0] == "mood: a class of a very long name (75 %)"
    assert drawn[1].startswith("calm             \u2588")
    assert drawn[1].count("\u2588") == 14
    assert drawn[1].endswith(" 25 %")
    assert drawn[-1] == "2.0 s: video 75, audio missing; camera 0: 1,200 dropped"


def use_camera(monkeypatch: pytest.MonkeyPatch, frames: Iterable[object]) -> None:
    """Puts a camera that gives some frames in place of those of the system."""
    container = SimpleNamespace(
        streams=SimpleNamespace(video=[SimpleNamespace(codec_context=object())], audio=[]),
        decode=lambda _: iter(frames),
        close=lambda: None,
    )
    monkeypatch.setattr(Device, "_open", lambda self: container)


def test_whatever_the_library_of_a_device_raises_is_told_and_ends_that_source_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def give_one_and_fail() -> Iterator[object]:
        yield SimpleNamespace(pts=0, time_base=Fraction(1, 1000))
        raise RuntimeError("the driver is gone")

    use_camera(monkeypatch, give_one_and_fail())
    reading = Reading("camera", lambda: Device("camera", "odd", "video").read(Clock(), Event()), 9)
    reading.start()
    reading.join(5)

    assert str(reading.failure) == "camera odd: fails (the driver is gone)"
    assert len(reading.mailbox.take()) == 1


def test_a_frame_without_a_stamp_plays_no_part_in_the_clock_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def frame(pts: int | None) -> SimpleNamespace:
        return SimpleNamespace(pts=pts, time_base=Fraction(1, 1000))

    use_camera(monkeypatch, [frame(None), frame(5_000_000), frame(5_000_040)])
    clock, stop = Clock(), Event()
    late = Timer(3.0, stop.set)  # where the frames of a camera are waited for until tomorrow
    late.start()

    times = [signal.at for signal in Device("camera", "odd", "video").read(clock, stop)]

    late.cancel()
    assert len(times) == 3
    assert times[2] - times[1] == pytest.approx(0.04)
    assert times[2] < 1.0


def test_a_device_of_a_file_gives_blocks_at_their_times(film: Path) -> None:
    device = Device("microphone", str(film), "audio")
    signals = list(device.read(Clock(), Event()))

    assert device.rate == 16000
    assert all(signal.elements.ndim == 1 for signal in signals)
    gaps = {round(b.at - a.at, 3) for a, b in pairwise(signals)}
    assert gaps == {0.064}
    assert torch.tensor([len(signal.elements) for signal in signals]).unique().tolist()[-1] == 1024
