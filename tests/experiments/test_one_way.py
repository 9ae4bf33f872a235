"""One way for the data: a recipe is read and checked once, a dataset is opened once, and runs are listed once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_experiments import recipe_text, write_experiment_file

from fusionkit.cli import main
from fusionkit.config import recipe as recipes
from fusionkit.config.components import registry as registries
from fusionkit.config.components.specs import DatasetSpec
from fusionkit.config.schema import DataSpec, Recipe
from fusionkit.data.sources import Datasets
from fusionkit.experiments import agenda as agendas
from fusionkit.experiments import load_experiment, study
from fusionkit.experiments.agenda import make_agenda
from fusionkit.experiments.job import Job, do
from fusionkit.models import build as networks

EXPERIMENT = """
schema: 1
recipe: recipe.yaml
variants:
  late fusion: {overrides: [train.strategy=late_fusion]}
  N2: {overrides: [model.fusion=mrpn]}
seeds: """


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what is read, checked, opened, built and listed from here on."""
    counts: Counter[str] = Counter()

    def count(module: Any, name: str, said: Callable[..., str | None]) -> None:
        real = getattr(module, name)

        def counting(*given: Any, **named: Any) -> Any:
            if (what := said(*given)) is not None:
                counts[what] += 1
            return real(*given, **named)

        monkeypatch.setattr(module, name, counting)

    registries._check_options.cache_clear()
    checked = registries._check_options.__wrapped__

    def check(record: Any, text: str) -> Any:
        counts[f"checked {record.__name__} {text}"] += 1
        return checked(record, text)

    monkeypatch.setattr(registries, "_check_options", registries.lru_cache(check))
    count(recipes, "parse", lambda record, *_: "recipes" if record is Recipe else None)
    count(networks, "_wire", lambda *_: "networks")
    count(study, "make_agenda", lambda *_: "agendas")
    count(Datasets, "_with_films", lambda *_: "datasets")
    return counts


def written(folder: Path, *, folds: int, seeds: int) -> Path:
    recipe = recipe_text(groups=max(folds, 6), samples=1, folds=folds, epochs=1)
    return write_experiment_file(folder, f"{EXPERIMENT}{list(range(seeds))}", recipe)


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code


def test_a_training_reads_one_recipe_and_builds_a_network_to_train_and_one_to_evaluate(
    counted: Counter[str], tmp_path: Path
) -> None:
    run("train", "quickstart/recipe", "--out", str(tmp_path / "run"), "train.epochs=1")

    assert counted["recipes"] == 1
    assert counted["networks"] == 2
    assert counted["datasets"] == 1


def test_an_experiment_of_48_runs_reads_a_recipe_per_variant_and_lists_its_runs_once(
    counted: Counter[str], tmp_path: Path
) -> None:
    path = written(tmp_path, folds=3, seeds=8)

    run("experiment", str(path), "--out", str(tmp_path / "out"), "--processes", "1")

    assert len(list((tmp_path / "out").rglob("weights.safetensors"))) == 48
    assert counted["recipes"] == 2
    assert counted["agendas"] == 1
    assert counted["datasets"] == 1
    assert counted["networks"] == 2 + 2 + 2 * 48  # to check and to time every variant, and what every run needs
    checks = {what: times for what, times in counted.items() if what.startswith("checked ")}
    assert len(checks) > 10
    assert set(checks.values()) == {1}


def test_the_runs_of_a_large_experiment_are_listed_at_once(tmp_path: Path) -> None:
    experiment = load_experiment(written(tmp_path, folds=5, seeds=100))

    begin = time.process_time()
    agenda = make_agenda(experiment, tmp_path / "out", Datasets())
    seconds = time.process_time() - begin

    assert len(agenda.jobs) == 1000
    assert seconds < 2


def test_runs_that_have_been_begun_are_held_against_their_recipes_by_reading_each_once(
    counted: Counter[str], tmp_path: Path
) -> None:
    experiment = load_experiment(written(tmp_path, folds=3, seeds=2))
    agenda = make_agenda(experiment, tmp_path / "out", Datasets())
    for job in agenda.jobs:
        job.run.create(job.folder, job.recipe)
    before = counted["recipes"]

    agendas.make_agenda(experiment, tmp_path / "out", Datasets())

    assert counted["recipes"] - before == len(agenda.jobs) == 12


def test_a_dataset_is_opened_once_for_the_same_options_and_anew_in_another_process() -> None:
    datasets, spec = Datasets(), DataSpec(dataset=DatasetSpec(type="synthetic"))

    kept, listed = datasets.open(spec.model_copy(update={"cache": True})), datasets.with_films("listed")

    assert datasets.open(spec) is datasets.open(spec) is listed.open(spec) is datasets.source(spec)
    assert kept is not datasets.open(spec)
    assert kept is datasets.open(spec.model_copy(update={"cache": True}))
    kind, given = listed.__reduce__()
    assert kind(*given).open(spec) is not datasets.open(spec)


def test_the_recipe_of_a_run_is_that_of_its_variant_with_its_fold_and_seed(tmp_path: Path) -> None:
    experiment = load_experiment(written(tmp_path, folds=3, seeds=2))

    for job in make_agenda(experiment, tmp_path / "out", Datasets()).jobs:
        written_out = ["model.targets.label.classes=[rest, walk]", "model.modalities.motion.shape=[3]"]
        changes = [
            *written_out,
            "model.modalities.posture.shape=[2]",
            f"data.fold={job.fold}",
            f"train.seed={job.seed}",
        ]
        assert job.recipe == recipes.load_recipe(experiment.recipes[job.variant], changes)


def test_a_worker_imports_the_plugins_of_its_recipe_before_it_trains(tmp_path: Path) -> None:
    experiment = load_experiment(written(tmp_path, folds=3, seeds=1))
    recipe = experiment.first_recipe.model_copy(update={"plugins": ("nowhere_to_be_found",)})

    failure = do(Job("late fusion", "fold1", 0, recipe, str(tmp_path / "run")), Datasets())

    assert failure is not None
    assert "cannot import 'nowhere_to_be_found'" in failure.error
    assert not (tmp_path / "run").exists()
