"""New samples as a dataset: their names, and how many elements they have before anything is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_predictors import make_film_predictor, make_predictor
from written_films import steps, tone, write_film, write_sound

from fusionkit import Predictor
from fusionkit.data.recordings import Recordings, dataset, find_recordings

MODALITIES: dict[str, Any] = {
    "motion": {"shape": [3], "encoder": "mlp", "aggregator": "mean"},
    "voice": {"shape": [], "encoder": [{"type": "log_mel", "bands": 4}], "aggregator": "mean"},
}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return make_predictor(MODALITIES, {"motion": 10.0, "voice": 16000.0})


def test_every_sample_has_a_name_of_its_own_whatever_names_are_stated(predictor: Predictor) -> None:
    table = _Frame([{"motion": np.full((2, 3), step), "name": name} for step, name in enumerate(["a", "a (2)", "a"])])
    inputs = predictor.inputs.model_copy(update={"id": "name"})
    inputs.modalities["motion"].columns[:] = ["motion"]
    recordings = Recordings(find_recordings(table, inputs), inputs)

    assert [row.id for row in recordings.rows] == ["a", "a (2)", "a (3)"]


def test_one_sample_is_named_after_its_files_where_it_has_nothing_else(predictor: Predictor, tmp_path: Path) -> None:
    walk, said = tmp_path / "walk.npy", tmp_path / "said.npy"
    np.save(walk, np.zeros((2, 3)))
    np.save(said, np.zeros(900))

    def name(**given: object) -> list[str]:
        return [each.id for each in find_recordings(given, predictor.inputs)]

    assert name(motion=walk, voice=None) == ["walk"]
    assert name(motion=str(walk), voice=said) == ["walk+said"]
    assert name(motion=np.zeros((2, 3)), voice=said) == ["0"]
    assert name() == ["0"]


class _Frame:
    """A table in memory, as polars has one."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows, self.columns, self.shape = rows, list(rows[0]), (len(rows), len(rows[0]))

    def to_dicts(self) -> list[dict[str, Any]]:
        return self._rows


def test_elements_are_counted_without_decoding(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_film(tmp_path / "spoken.mp4", steps(12), wave=tone(1.3))
    write_film(tmp_path / "silent.mp4", steps(9))
    write_sound(tmp_path / "voice.wav", tone(0.7))
    films = make_film_predictor()
    given = [
        tmp_path / "spoken.mp4",
        {"film": tmp_path / "silent.mp4", "sound": tmp_path / "voice.wav"},
        tmp_path / "voice.wav",
    ]
    recordings = Recordings(find_recordings(given, films.inputs), films.inputs, films.steps.prepare)
    loaded = [recordings.load(index) for index in range(3)]

    def refuse(*_: object) -> None:
        raise AssertionError("a film or file was decoded to count")

    monkeypatch.setattr(dataset, "prepare_clip", refuse)
    monkeypatch.setattr(dataset, "read_media", refuse)
    for index, of in enumerate(loaded):
        for name, slack in (("video", 1), ("audio", 1600)):  # a header rounds to a frame of the coding
            assert abs(recordings.length(index, name) - len(of.get(name, ()))) <= slack
    sound = Recordings(find_recordings([{"voice": tmp_path / "voice.wav"}], predictor.inputs), predictor.inputs)
    assert [sound.length(0, name) for name in ("motion", "voice")] == [0, 11200]


def test_arrays_that_may_not_be_written_are_taken_without_a_word(predictor: Predictor) -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    frozen = np.frombuffer(values.tobytes(), np.float32).reshape(4, 3)

    assert not frozen.flags.writeable
    assert predictor.predict({"motion": frozen})[0] == predictor.predict({"motion": values})[0]


def test_hidden_folders_hold_no_samples(predictor: Predictor, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "day", tmp_path / ".trash"):
        folder.mkdir(exist_ok=True)
        np.save(folder / "walk.npy", np.zeros((4, 3), np.float32))

    assert [each.id for each in find_recordings(tmp_path, predictor.inputs)] == ["day/walk", "walk"]


def test_batches_by_budget_answer_as_batches_by_size(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", steps(12), wave=tone(1.2))
    write_film(tmp_path / "b.mp4", steps(9), wave=tone(0.9))
    films = make_film_predictor()

    by_budget = films.request(tmp_path, budget=14_500)

    assert [len(batch.sample_ids) for batch in by_budget.read()] == [1, 1]
    answers = [answer for batch in films.answer(by_budget) for answer in batch]
    for one, other in zip(answers, films.predict(tmp_path), strict=True):
        said, expected = (torch.tensor(list(each.targets["mood"].probabilities.values())) for each in (one, other))
        assert torch.allclose(said, expected, atol=1e-5)
