"""What a training promises: stages, frozen parts, rates, selection, the log, and a stop at the first bad number."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import epochs_of, recipe, run_of, same_bits, steps_of, weights_of
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.config.components.specs import DatasetSpec
from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import DataSpec
from fusionkit.data.assembly import assemble
from fusionkit.data.sources import Datasets
from fusionkit.errors import DataError, RecipeError, RunError, TrainingError
from fusionkit.interfaces import Balancer, GradientScale, Step
from fusionkit.models.build import build
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train
from fusionkit.training.log import Journal

RATE = 0.01
SGD = {"type": "sgd", "lr": RATE}


def of(weights: Mapping[str, Tensor], modality: str) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key.startswith(f"branches.{modality}.")}


@pytest.fixture
def bad_from_step_four() -> Iterator[None]:
    """A balancer whose total, and one whose gradient, is no number from the fourth step on."""

    class BadTotal(Balancer):
        def __init__(self, modalities: tuple[str, ...], targets: tuple[str, ...]) -> None:
            super().__init__()

        def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
            factor = 1.0 if step.step < 4 else math.nan
            return {name: term * factor for name, term in terms.items()}

    class BadGradient(BadTotal):
        def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
            return terms

        def gradient_scales(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, GradientScale]:
            return {"posture": GradientScale(math.inf if step.step >= 4 else 1.0)}

    BALANCERS.names()
    BALANCERS.register("bad_total")(BadTotal)
    BALANCERS.register("bad_gradient")(BadGradient)
    yield
    for name in ("bad_total", "bad_gradient"):
        del BALANCERS._components[name]


def test_the_same_seed_gives_the_same_weights_and_another_seed_gives_others(tmp_path: Path) -> None:
    first, again, other = (run_of(tmp_path / str(n), seed=seed) for n, seed in enumerate((1, 1, 2)))

    assert same_bits(weights_of(first), weights_of(again))
    assert first.sha256_of_weights() == again.sha256_of_weights()
    assert first.log.read() == again.log.read()
    assert not same_bits(weights_of(first), weights_of(other))


def test_workers_do_not_change_the_numbers(tmp_path: Path) -> None:
    alone = run_of(tmp_path / "0", epochs=1)
    helped = run_of(tmp_path / "1", epochs=1, data={"workers": 1})

    assert same_bits(weights_of(alone), weights_of(helped))


def test_late_fusion_leaves_the_separately_trained_branches_bit_for_bit_as_they_were(tmp_path: Path) -> None:
    separate = weights_of(run_of(tmp_path / "unimodal", strategy="unimodal"))
    late = run_of(tmp_path / "late", strategy="late_fusion")

    for modality in ("motion", "posture"):
        assert same_bits(of(weights_of(late), modality), of(separate, modality))
    assert "branches.motion.norm.running_mean" in separate
    fused = [key for key in separate if key.startswith("heads.")]
    assert not any(torch.equal(weights_of(late)[key], separate[key]) for key in fused if key.endswith("weight"))
    assert {record["stage"]: set(record["terms"]) for record in steps_of(late)} == {
        "motion": {"motion/label"},
        "posture": {"posture/label"},
        "fusion": {"fused/label"},
    }


def test_a_unimodal_training_touches_nothing_but_its_branch(tmp_path: Path) -> None:
    weights = weights_of(run_of(tmp_path, strategy={"type": "unimodal", "modality": "motion"}))

    torch.manual_seed(0)
    start = build(assemble(load_recipe(recipe())).recipe).state_dict()
    changed = {key for key in start if not torch.equal(start[key], weights[key])}

    assert changed
    assert changed <= set(of(start, "motion"))


def test_a_batch_in_which_nobody_has_the_modality_teaches_nothing_and_stops_nothing(tmp_path: Path) -> None:
    run = run_of(tmp_path, strategy={"type": "unimodal", "modality": "motion"}, data={"batch_size": 1})

    losses = [record["loss"] for record in steps_of(run)]
    assert 0.0 in losses
    assert any(loss > 0.0 for loss in losses)


def test_the_log_holds_every_loss_term_of_every_step(tmp_path: Path) -> None:
    run = run_of(tmp_path)

    assert [record["step"] for record in steps_of(run)] == list(range(1, len(steps_of(run)) + 1))
    for record in steps_of(run):
        assert set(record["terms"]) == {"fused/label", "motion/label", "posture/label"}
        assert record["loss"] == pytest.approx(sum(record["terms"].values()), rel=1e-5)
    assert [record["epoch"] for record in epochs_of(run)] == [0, 1, 2]
    for record in epochs_of(run):
        losses = [step["loss"] for step in steps_of(run) if step["epoch"] == record["epoch"]]
        assert record["training"] == pytest.approx(sum(losses) / len(losses), rel=1e-9)
    assert list(run.tensorboard.glob("events.*"))


def test_the_rate_is_the_optimizers_times_warm_up_times_schedule(tmp_path: Path) -> None:
    run = run_of(tmp_path, optimizer=SGD, scheduler="cosine", warmup=0.25, epochs=4)

    steps = steps_of(run)
    for number, record in enumerate(steps):
        warm = min(1.0, (number + 1) / len(steps) / 0.25)
        cosine = 0.5 * (1.0 + math.cos(math.pi * number / len(steps)))
        assert record["lr"] == pytest.approx(RATE * warm * cosine, rel=1e-9)


def test_a_plateau_of_the_validation_loss_lowers_the_rate(tmp_path: Path) -> None:
    options = {"optimizer": {"type": "sgd", "lr": 1e-12}, "scheduler": {"type": "plateau", "patience": 1}}
    run = run_of(tmp_path, select="inner", epochs=5, **options)

    first_of_epoch = {record["epoch"]: record["lr"] for record in reversed(steps_of(run))}
    validation = [record["validation"] for record in epochs_of(run)]
    expected, best, waited, rate = [], math.inf, 0, 1e-12
    for loss in validation:
        expected.append(rate)
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited > 1:
            rate, waited = rate / 2, 0
    assert [first_of_epoch[epoch] for epoch in range(5)] == pytest.approx(expected)


def test_the_selected_epoch_is_the_one_with_the_lowest_validation_loss_and_its_weights_are_kept(tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": {"type": "sgd", "lr": 0.3}, "select": "inner"}
    run = run_of(tmp_path / "long", epochs=8, **options)

    losses = [record["validation"] for record in epochs_of(run)]
    selected = losses.index(min(losses))
    assert selected < 7, "the case is chosen so that the last epoch is not the best"
    assert json.loads(run.load_weights()[1]["stages"])[0]["selected"] == selected
    short = run_of(tmp_path / "short", epochs=selected + 1, **options)
    assert same_bits(weights_of(run), weights_of(short))


def test_patience_ends_a_stage_that_many_epochs_after_its_best(tmp_path: Path) -> None:
    run = run_of(tmp_path, optimizer={"type": "sgd", "lr": 0.3}, select="inner", patience=2, epochs=50)

    losses = [record["validation"] for record in epochs_of(run)]
    assert len(losses) == losses.index(min(losses)) + 3


def test_every_stage_of_late_fusion_selects_its_own_epoch(tmp_path: Path) -> None:
    run = run_of(tmp_path, strategy="late_fusion", optimizer={"type": "sgd", "lr": 0.3}, select="inner", epochs=6)

    for stage in json.loads(run.load_weights()[1]["stages"]):
        losses = [record["validation"] for record in epochs_of(run) if record["stage"] == stage["name"]]
        assert stage["selected"] == losses.index(min(losses))
        assert stage["losses"] == pytest.approx(losses)


def test_the_validation_loss_is_a_mean_over_samples_whatever_the_batches(tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": {"type": "sgd", "lr": 1e-12}, "select": "inner", "epochs": 1}
    options["strategy"] = {"type": "unimodal", "modality": "motion"}
    model = {"dropout": 0.0}

    whole = epochs_of(run_of(tmp_path / "1", data={"batch_size": 100}, model=model, **options))
    assembly = assemble(load_recipe(recipe(data={"batch_size": 3}, model=model, **options)))
    network = build(assembly.recipe)
    network.load_state_dict(weights_of(run_of(tmp_path / "2", data={"batch_size": 100}, model=model, **options)))

    losses = []
    for index in assembly.validation_ids:
        batch = next(assembly.loader([index], training=False))
        if batch.inputs["motion"].sizes[0]:
            output = network.eval()(batch.inputs, unimodal=True)
            losses.append(network.losses(output, batch.targets)["motion/label"].item())
    assert whole[0]["validation"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_train_to_finite_losses(tmp_path: Path, precision: str) -> None:
    run = run_of(tmp_path, precision=precision, select="inner", data={"batch_size": 3, "cache": False})

    assert all(math.isfinite(record["loss"]) for record in steps_of(run))
    assert all(math.isfinite(record["validation"]) for record in epochs_of(run))


def test_half_precision_without_a_gpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'16-mixed' needs a CUDA device"):
        run_of(tmp_path, precision="16-mixed")


@pytest.mark.parametrize(
    ("balancer", "named"),
    [
        ("bad_total", "the total of the weighted loss terms is not finite"),
        ("bad_gradient", r"the gradient of branches\.posture\..* are not finite"),
    ],
)
def test_the_first_number_that_is_not_finite_stops_the_training_and_names_the_samples(
    tmp_path: Path, bad_from_step_four: None, balancer: str, named: str
) -> None:
    with pytest.raises(TrainingError, match=named) as caught:
        run_of(tmp_path / "run", balancer=balancer, checkpoint_seconds=0.0)

    assembly = assemble(load_recipe(recipe(balancer=balancer)))
    batches = [list(assembly.loader(assembly.train_ids, training=True, epoch=epoch)) for epoch in range(2)]
    bad = [batch for epoch in batches for batch in epoch][4]
    assert "step 4" in str(caught.value)
    assert f"samples of this step: {', '.join(bad.sample_ids)};" in str(caught.value)


def test_a_training_that_stopped_at_a_bad_number_leaves_the_checkpoint_of_the_step_before(
    tmp_path: Path, bad_from_step_four: None
) -> None:
    with pytest.raises(TrainingError):
        run_of(tmp_path / "run", balancer="bad_total", checkpoint_seconds=0.0)

    from fusionkit.storage.run_folder import RunFolder

    run = RunFolder.open(tmp_path / "run")
    checkpoint = run.checkpoints.load()
    assert checkpoint is not None
    assert json.loads(checkpoint[1]["state"])["position"]["total_steps"] == 4
    assert all(tensor.isfinite().all() for tensor in checkpoint[0].values())
    assert not run.finished


def test_a_loss_that_diverges_names_its_terms(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"stage joint, epoch \d+, step \d+: the (loss term|gradient)"):
        run_of(tmp_path, optimizer={"type": "sgd", "lr": 1e30}, epochs=20)


def test_a_finished_run_returns_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    monkeypatch.setattr("fusionkit.training.trainer.build", lambda *_: pytest.fail("a network was built"))

    again = run_of(tmp_path / "run")

    assert again.finished
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_run_folder_of_another_recipe_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    run_of(tmp_path / "run", epochs=1)

    with pytest.raises(RunError, match=r"train\.epochs \(1 there, 2 given\)"):
        run_of(tmp_path / "run", epochs=2)


def test_the_stored_recipe_builds_the_network_without_its_data(tmp_path: Path) -> None:
    run = run_of(tmp_path, epochs=1)

    model = build(run.recipe.model)

    model.load_state_dict(weights_of(run))
    assert model.head("label").out_features == 4


def test_overrides_are_applied(tmp_path: Path) -> None:
    run = train(recipe(), tmp_path / "run", ["train.epochs=1"], accelerator="cpu")

    assert len(epochs_of(run)) == 1


def test_the_bar_shows_stages_and_losses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(recipe(strategy="late_fusion"), tmp_path / "run", progress=True, accelerator="cpu")

    shown = capsys.readouterr().err
    for text in ("motion", "posture", "fusion", "9/9"):
        assert text in shown


def test_without_selection_nothing_is_held_back_and_nothing_validates() -> None:
    assembly = assemble(load_recipe(recipe()))

    assert assembly.validation_ids == ()
    assert assembly.selection_label == "last epoch"
    assert not set(assembly.train_ids) & set(assembly.test_ids)


def test_inner_selection_sees_whole_groups_of_the_training_part_only() -> None:
    assembly = assemble(load_recipe(recipe(select="inner")))

    group = {row.id: row.group for row in assembly.dataset.rows}
    train_groups, validation_groups, test_groups = (
        {group[name] for name in ids} for ids in (assembly.train_ids, assembly.validation_ids, assembly.test_ids)
    )
    assert validation_groups
    assert not validation_groups & (train_groups | test_groups)
    assert set(assembly.train_ids) | set(assembly.validation_ids) == set(assembly.split.train)


def test_selection_on_the_reported_data_says_so() -> None:
    assembly = assemble(load_recipe(recipe(select="best")))

    assert assembly.validation_ids == assembly.test_ids
    assert assembly.selection_label == "selected on the reported data"


def test_a_fold_is_picked_by_position_or_name_and_an_unknown_one_lists_the_names() -> None:
    def fold(which: int | str) -> str:
        data = {"folds": "actor_pairs", "fold": which}
        return assemble(load_recipe(recipe(data=data))).split.name

    assert fold(1) == fold("A3,4") == "A3,4"
    for unknown in (2, -1, "A9,10"):
        with pytest.raises(RecipeError, match=r"no fold .*a position from 0 to 1, or one of: A1,2, A3,4"):
            fold(unknown)


def test_bad_targets_of_every_row_are_reported_before_training(tmp_path: Path) -> None:
    rows = ["x,label,actor", "1.0,calm,a", "2.0,joy,a", "3.0,happy,b", "4.0,rage,b"]
    (tmp_path / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    table = {"type": "manifest", "path": str(tmp_path / "table.csv"), "modalities": {"x": ["x"]}}
    given = recipe(
        data={"dataset": {**table, "targets": ["label"], "group": "actor"}},
        model={
            "modalities": {"x": {}},
            "targets": {"label": {"type": "classification", "classes": ["calm", "happy"]}},
        },
    )

    with pytest.raises(DataError) as caught:
        train(given, tmp_path / "run", accelerator="cpu")

    assert "joy" in str(caught.value)
    assert "rage" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_runs_of_an_experiment_share_a_dataset() -> None:
    spec = load_recipe(recipe()).data

    datasets = Datasets()
    assert datasets.open(spec) is datasets.open(load_recipe(recipe(epochs=9)).data)


def test_data_that_changed_between_two_trainings_are_read_anew(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    spec = DataSpec(dataset=DatasetSpec(type="manifest", path=str(table), modalities={"x": ["a"]}, targets=["y"]))

    table.write_text("a,y\n1,0\n")
    before = Datasets().open(spec)
    table.write_text("a,y\n1,0\n2,1\n")

    assert len(before.rows) == 1
    assert len(Datasets().open(spec).rows) == 2


def test_a_target_that_no_training_sample_states_is_refused_before_training(tmp_path: Path) -> None:
    lines = [f"{index},g{index % 4}," for index in range(8)]
    (tmp_path / "table.csv").write_text("\n".join(["a,who,y", *lines]) + "\n")
    given = recipe()
    given["data"] = {
        "dataset": {
            "type": "manifest",
            "path": str(tmp_path / "table.csv"),
            "modalities": {"x": ["a"]},
            "targets": ["y"],
            "group": "who",
        },
        "folds": {"type": "group_kfold", "folds": 2},
    }
    given["model"] = {"modalities": {"x": {}}, "targets": {"y": {"type": "classification", "classes": ["0", "1"]}}}

    with pytest.raises(DataError, match="target y: none of the 4 training samples states it"):
        train(given, tmp_path / "run", accelerator="cpu")

    assert not (tmp_path / "run").exists()


def test_the_progress_line_is_legible_in_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terms = {"fused/label": 0.018, "motion/label": 0.25, "posture/label": 1.5, "sound/label": 2.5}

    with Journal(RunFolder(tmp_path), records=0, step=0, progress=True, active=True) as journal:
        journal.stage("joint", 300_000, 179_999)
        journal.step({"epoch": 59, "terms": terms})

    captured = capsys.readouterr()
    assert captured.out == ""  # machines may read what the command prints
    assert "180000/300000" in captured.err
    assert " left epoch 59  fused/label 0.018" in captured.err
    assert max(map(len, captured.err.splitlines())) <= 80


def test_a_network_that_cannot_be_built_leaves_no_run_that_its_mended_recipe_would_be_refused_for(
    tmp_path: Path,
) -> None:
    wrong = recipe(epochs=1)
    wrong["model"]["modalities"]["motion"]["encoder"] = "conv2d"
    with pytest.raises(RecipeError, match="is not an image"):
        train(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert train(recipe(epochs=1), tmp_path / "run").finished
