"""What a run leaves is read as it was written, or refused with the file's name, whatever became of its bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from damage import altered, as_text, damaged
from report_folders import log, record_of, results_of, write_results
from small_runs import recipe as small_recipe
from small_runs import run_of, same_bits
from torch import nn
from trials import Trials
from written_films import Films, spec_for, tone, write_sound

from fusionkit.config.recipe import load_recipe
from fusionkit.data.films import PreparedDataset, prepare
from fusionkit.data.films.cache import read_clip, read_record, write_clip
from fusionkit.data.films.records import ClipRecord
from fusionkit.evaluation import card, verification
from fusionkit.interfaces import Clip
from fusionkit.models.encoders.weights import load_weights
from fusionkit.report.pages import comparison, experiment, gallery
from fusionkit.report.pages.blocks import Missing
from fusionkit.report.pages.experiment import write_report
from fusionkit.storage import trusted_runs
from fusionkit.storage.experiment_folder import ExperimentFolder
from fusionkit.storage.records.card import Card
from fusionkit.storage.run_folder import RunFolder
from fusionkit.storage.tensor_files import read_tensors, write_tensors

STATE = {
    "model/weight": torch.arange(12.0).reshape(3, 4),
    "model/counted": torch.tensor(7),
    "optimizer/0/step": torch.tensor(2.0),
    "best/bias": torch.zeros(4, dtype=torch.float16),
}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run with its card, and what an evaluation of it finds again."""
    run = run_of(tmp_path_factory.mktemp("runs") / "run", epochs=1)
    card.evaluate(run, resamples=10)
    return SimpleNamespace(run=run, card=run.read_card().plain(), found=card.make_card(run, resamples=10))


def test_damaged_weights_and_checkpoints_are_never_taken_for_whole(trials: Trials, tmp_path: Path) -> None:
    file, metadata = tmp_path / "checkpoint.safetensors", {"format": "a", "state": json.dumps({"epoch": 3})}
    write_tensors(file, STATE, metadata)
    whole = file.read_bytes()

    def read() -> None:
        tensors, text = read_tensors(file)
        assert same_bits(tensors, STATE)
        assert text == metadata

    for chance in trials.cases(300):
        file.write_bytes(damaged(whole, chance))
        trials.attempt(read, names=file)
    assert trials.refused > 0


def test_damaged_clips_are_never_taken_for_whole(trials: Trials, tmp_path: Path) -> None:
    file, tensors = tmp_path / "clip.safetensors", {"audio": torch.arange(40.0)}
    write_clip(file, ClipRecord("a", "prepared", "", "center", (), {"audio": 40}, ()), tensors)
    whole = file.read_bytes()

    def read() -> None:
        assert same_bits(read_clip(file, whole=True), tensors)

    for chance in trials.cases(100):
        file.write_bytes(damaged(whole, chance))
        trials.attempt(read, names=file)
        assert read_record(file) is None or same_bits(read_clip(file, whole=True), tensors)
    assert trials.refused > 0


def test_damaged_weights_of_an_encoder_are_read_or_refused_with_their_name(trials: Trials, tmp_path: Path) -> None:
    network, file = nn.Linear(4, 3), tmp_path / "encoder.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)
    whole = file.read_bytes()
    for chance in trials.cases(100):
        file.write_bytes(damaged(whole, chance))
        trials.attempt(lambda: load_weights(network, str(file), source="audio"), names=file)
    assert 0 < trials.refused < trials.tried


def test_a_log_of_damaged_bytes_is_read_or_refused_with_its_name(trials: Trials, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    whole = b"".join(as_text(record) + b"\n" for record in log(("audio", "video")))
    for chance in trials.cases(100):
        (tmp_path / "log.jsonl").write_bytes(damaged(whole, chance))
        trials.attempt(run.log.read, names="log.jsonl")
    assert 0 < trials.refused < trials.tried


@pytest.mark.parametrize("how", ["bytes", "values"])
def test_a_card_in_which_anything_is_altered_is_held_against_the_run_or_refused_with_its_name(
    trials: Trials, tmp_path: Path, evaluated: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(verification, "make_card", lambda *_, **__: evaluated.found)
    file = tmp_path / "metrics.json"
    for chance in trials.cases(100):
        whole: Mapping[str, Any] = evaluated.card
        file.write_bytes(damaged(as_text(whole), chance) if how == "bytes" else as_text(altered(whole, chance, 2)))
        trials.attempt(lambda: verification.verify(file, evaluated.run.path), names=file)
    assert 0 < trials.refused < trials.tried


def test_results_of_damaged_bytes_are_read_or_refused_with_their_name(trials: Trials, tmp_path: Path) -> None:
    file = write_results(tmp_path, results_of(folds=("A",))) / "results.json"
    whole = file.read_bytes()
    for chance in trials.cases(100):
        file.write_bytes(damaged(whole, chance))
        trials.attempt(lambda: ExperimentFolder.open(tmp_path), names=file)
    assert 0 < trials.refused < trials.tried


def test_a_report_of_results_in_which_anything_is_altered_is_written_or_refused_with_their_name(
    trials: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (experiment, gallery, comparison):  # drawing takes a second
        monkeypatch.setattr(module, "picture", lambda *_, what, **__: Missing(what, "not here"))
    whole = results_of(folds=("A",))
    for chance in trials.cases(40):
        file = write_results(tmp_path, altered(whole, chance, chance.choice((1, 1, 2)))) / "results.json"
        trials.attempt(lambda: write_report(tmp_path), names=file)
    assert 0 < trials.refused < trials.tried


def test_a_note_of_an_own_run_is_believed_as_it_was_written_alone(
    trials: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("schema: 1\n")
    trusted_runs.note_run(tmp_path, recipe)
    (file,) = (tmp_path / "state").rglob("*.json")
    whole = file.read_bytes()

    def read(content: bytes) -> None:
        try:
            same = json.loads(content) == json.loads(whole)
        except ValueError:
            same = False
        assert trusted_runs.is_noted(tmp_path, recipe) == same

    assert trusted_runs.is_noted(tmp_path, recipe)
    for chance in trials.cases(60):
        content = damaged(whole, chance) if chance.random() < 0.5 else as_text(altered(json.loads(whole), chance))
        file.write_bytes(content)
        trials.attempt(lambda content=content: read(content))


@pytest.mark.parametrize("name", ["environment.json", "recipe.yaml"])
def test_a_run_in_which_a_document_is_damaged_is_gone_on_with_or_refused_with_its_name(
    trials: Trials, tmp_path: Path, name: str
) -> None:
    recipe = load_recipe(small_recipe())
    file = RunFolder.create(tmp_path / "run", recipe, data="a").path / name
    whole = file.read_bytes()
    for chance in trials.cases(60):
        file.write_bytes(damaged(whole, chance))
        trials.attempt(lambda: RunFolder.create(tmp_path / "run", recipe, data="a"), names=tmp_path / "run")
    assert 0 < trials.refused < trials.tried


def test_an_environment_in_which_anything_is_altered_stands_in_a_card_or_is_refused_with_its_name(
    trials: Trials, tmp_path: Path, evaluated: SimpleNamespace
) -> None:
    run = RunFolder.create(tmp_path / "run", load_recipe(small_recipe()), data="a")
    file = run.path / "environment.json"
    whole = json.loads(file.read_bytes())

    def read() -> None:
        run.is_of_other_data("a")
        made = Card.model_validate({**evaluated.card, "training": run.environment.plain()}, strict=True)
        run.write_card(made)
        assert run.read_card().training.device == made.training.device

    for chance in trials.cases(100):
        file.write_bytes(as_text(altered(whole, chance, chance.choice((1, 1, 3)))))
        trials.attempt(read, names=file)
    assert 0 < trials.refused < trials.tried


def test_a_damaged_list_of_prepared_clips_changes_no_clip(trials: Trials, tmp_path: Path) -> None:
    films = Films({f"c{n}": Clip(None, write_sound(tmp_path / f"c{n}.wav", tone(1.0 + n / 10))) for n in range(2)})
    spec = spec_for(tmp_path / "cache")
    file = prepare(films, spec, kind="films", processes=1).folder / "manifest.json"
    whole = file.read_bytes()

    def read() -> None:
        prepared = PreparedDataset(films, spec, kind="films")
        prepared.require_prepared()
        assert [len(prepared.load(index)["audio"]) for index in range(len(prepared.rows))] == [16000, 17600]

    for chance in trials.cases(60):
        content = damaged(whole, chance) if chance.random() < 0.5 else as_text(altered(json.loads(whole), chance, 2))
        file.write_bytes(content)
        trials.attempt(read)


def test_the_card_of_an_experiment_s_run_is_read_or_refused_with_its_name(
    trials: Trials, tmp_path: Path, evaluated: SimpleNamespace
) -> None:
    results = results_of(folds=("A",))
    folder = ExperimentFolder(tmp_path, record_of({**results, "target": "label"}))
    run = tmp_path / results["rows"][0]["run"]
    run.mkdir(parents=True)
    (run / "environment.json").write_text("{}")
    (run / "recipe.yaml").write_text("schema: 1\n")
    for chance in trials.cases(100):
        (run / "metrics.json").write_bytes(as_text(altered(evaluated.card, chance, 3)))
        trials.attempt(folder.compared_target, names="metrics.json")
    assert 0 < trials.refused < trials.tried
