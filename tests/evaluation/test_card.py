"""A run's card: figures, intervals, the ensemble, absence, and whether the figures hold."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
from small_runs import run_of

from fusionkit import build, load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.errors import DataError, Problem, RunError
from fusionkit.evaluation import evaluate, trained_branches, verify
from fusionkit.evaluation.bootstrap import bootstrap_limits, draw_counts, resample_metrics
from fusionkit.inference.scoring import average_present
from fusionkit.models.loss_heads import Classification, Multilabel, Ordinal, Regression
from fusionkit.storage.run_folder import RunFolder

CLASSES = ("rest", "walk", "run")


def recipe(strategy="late_fusion", *, missing=0.3, **train):
    modalities = {
        "motion": {"features": 3, "min_length": 2, "max_length": 4, "missing": missing},
        "posture": {"features": 4, "min_length": 1, "max_length": 1, "missing": missing},
    }
    return load_recipe(
        {
            "schema": 1,
            "data": {
                "dataset": {
                    "type": "synthetic",
                    "modalities": modalities,
                    "classes": list(CLASSES),
                    "groups": 6,
                    "samples": 2,
                    "regression": True,
                },
                "folds": {"type": "group_kfold", "folds": 2},
            },
            "model": {
                "modalities": {"motion": {}, "posture": {}},
                "fusion": "concat",
                "targets": {"label": "classification", "strength": "regression"},
                "fused_hidden": 4,
            },
            "train": {"strategy": strategy, **train},
        }
    )


def finished_run(folder, *, seed=0, **options):
    """A run whose weights are drawn, not trained."""
    chosen = recipe(**options)
    run = RunFolder.create(folder, chosen)
    torch.manual_seed(seed)
    run.save_weights(build(assemble(chosen).recipe).state_dict(), {})
    return run


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    run = finished_run(tmp_path_factory.mktemp("runs") / "run")
    return run, evaluate(run, device="cpu").plain()


def predictions_of(run):
    tensors, metadata = run.read_predictions()
    arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    return arrays, json.loads(metadata["samples"]), json.loads(metadata["groups"])


def test_a_card_says_how_its_figures_came_about(evaluated):
    run, card = evaluated
    assert card["format"] == 2
    assert card["protocol"]["fold"] == "fold1"
    assert card["protocol"]["label"] == "group-independent"
    assert (card["protocol"]["train"], card["protocol"]["validation"], card["protocol"]["test"]) == (18, 0, 18)
    assert len(card["protocol"]["split_hash"]) == 64
    assert card["protocol"]["test_groups"] == sorted(set(predictions_of(run)[2]), key=int)
    assert card["selection"] == {"rule": "last", "label": "last epoch"}
    assert card["recipe"] == run.recipe.plain()
    assert card["weights_sha256"] == run.sha256_of_weights()
    assert card["versions"]["torch"] == torch.__version__
    assert card["device"] == "cpu"
    assert {"commit", "time", "platform", "training", "seed", "recipe_sha256"} <= set(card)
    assert card["targets"]["label"]["classes"] == list(CLASSES)
    assert run.read_card().plain() == card


def test_every_trained_branch_is_reported_and_says_how_it_was_trained(evaluated):
    _, card = evaluated
    for target in ("label", "strength"):
        trained = {name: branch["trained"] for name, branch in card["targets"][target]["branches"].items()}
        assert trained == {
            "fused": "fused",
            "motion": "alone",
            "posture": "alone",
            "ensemble": "average of networks trained alone",
            "ensemble (log)": "product of networks trained alone",
            "constant": "constant answer of the training part",
        }


@pytest.mark.parametrize(
    ("strategy", "names", "main"),
    [
        ("end_to_end", ("fused", "motion", "posture"), "fused"),
        ("unimodal", ("motion", "posture", "ensemble", "ensemble (log)"), "ensemble"),
        ({"type": "unimodal", "modality": "posture"}, ("posture",), "posture"),
        ("late_fusion", ("fused", "motion", "posture", "ensemble", "ensemble (log)"), "fused"),
    ],
)
def test_the_branches_of_a_card_follow_from_the_strategy(tmp_path, strategy, names, main):
    run = finished_run(tmp_path / "run", strategy=strategy)
    branches = trained_branches(run.recipe)
    assert branches.names == (*names, "constant")
    assert branches.main == main
    assert tuple(evaluate(run, device="cpu", resamples=2).plain()["targets"]["label"]["branches"]) == branches.names


def test_figures_are_those_of_the_stored_predictions_over_the_samples_that_have_the_modality(evaluated):
    run, card = evaluated
    stored, samples, _ = predictions_of(run)
    assert len(samples) == card["protocol"]["test"] == len(set(samples))
    wanted = stored["target/label"]
    assert 0 < stored["present/motion"].sum() < len(samples)
    for branch, has in {
        "fused": np.ones(len(samples), bool),
        "motion": stored["present/motion"] > 0,
        "posture": stored["present/posture"] > 0,
        "ensemble": (stored["present/motion"] + stored["present/posture"]) > 0,
    }.items():
        said = stored[f"distribution/label/{branch}"]
        described = card["targets"]["label"]["branches"][branch]
        np.testing.assert_array_equal(np.isnan(said).any(axis=1), ~has)
        predicted = said[has].argmax(axis=1)
        assert described["samples"] == has.sum()
        assert described["metrics"]["accuracy"]["value"] == pytest.approx((predicted == wanted[has]).mean(), abs=1e-12)
        confusion = np.zeros((3, 3), int)
        np.add.at(confusion, (wanted[has].astype(int), predicted), 1)
        assert described["confusion"] == confusion.tolist()
    error = np.abs(stored["distribution/strength/fused"][:, 0] - stored["target/strength"]).mean()
    assert card["targets"]["strength"]["branches"]["fused"]["metrics"]["mae"]["value"] == pytest.approx(
        error, abs=1e-12
    )


def test_the_ensemble_averages_the_modalities_that_a_sample_has(evaluated):
    run, _ = evaluated
    stored, samples, _ = predictions_of(run)
    for row in range(len(samples)):
        said = [
            stored[f"distribution/label/{name}"][row]
            for name in ("motion", "posture")
            if stored[f"present/{name}"][row]
        ]
        np.testing.assert_allclose(stored["distribution/label/ensemble"][row], np.mean(said, axis=0), rtol=0, atol=1e-7)


def test_a_sample_without_any_modality_gives_the_ensemble_nothing_to_average():
    said = {"a": torch.tensor([[0.2, 0.8]]), "b": torch.tensor([[0.6, 0.4]])}
    nobody = {"a": torch.tensor([False]), "b": torch.tensor([False])}
    assert average_present(said, nobody).tolist() == [[0.0, 0.0]]


def test_the_fused_branch_is_also_judged_on_the_samples_of_each_modality_that_some_lack(evaluated):
    run, card = evaluated
    stored, _, _ = predictions_of(run)
    right = stored["distribution/label/fused"].argmax(axis=1) == stored["target/label"]
    for branch in ("motion", "posture"):
        has = stored[f"present/{branch}"] > 0
        where = card["targets"]["label"]["branches"]["fused"]["where"][branch]
        assert where["samples"] == has.sum()
        assert where["metrics"]["accuracy"] == pytest.approx(right[has].mean(), abs=1e-12)


def test_nothing_stands_under_where_when_no_modality_is_missing(tmp_path):
    card = evaluate(finished_run(tmp_path / "run", missing=0.0), device="cpu", resamples=2).plain()
    assert card["targets"]["label"]["branches"]["fused"]["where"] == {}


def test_intervals_resample_whole_groups(evaluated):
    run, card = evaluated
    stored, _, groups = predictions_of(run)
    right = stored["distribution/label/fused"].argmax(axis=1) == stored["target/label"]
    names = sorted(set(groups))
    assert card["intervals"]["units"] == len(names) == 3
    counts = draw_counts(len(names), 1000, 0).numpy()
    assert (counts.sum(axis=1) == len(names)).all()
    rows_of = [np.flatnonzero(np.array(groups) == name) for name in names]
    drawn = []
    for resample in counts:
        rows = np.concatenate([np.tile(rows, int(times)) for rows, times in zip(rows_of, resample, strict=True)])
        drawn.append(right[rows].mean())
    figure = card["targets"]["label"]["branches"]["fused"]["metrics"]["accuracy"]
    np.testing.assert_allclose([figure["low"], figure["high"]], np.quantile(drawn, [0.025, 0.975]), rtol=0, atol=1e-12)
    assert figure["low"] <= figure["value"] <= figure["high"]


def test_the_interval_of_the_loss_resamples_the_losses():
    head = Regression(1, None)
    losses = torch.rand(9, generator=torch.Generator().manual_seed(3)).double()
    groups = [f"g{index // 2}" for index in range(9)]
    low, high = bootstrap_limits(head, torch.zeros(9, 1), torch.zeros(9), groups, losses)["loss"]
    counts = draw_counts(5, 1000, 0).numpy()
    weights = counts[:, [index // 2 for index in range(9)]]
    drawn = (weights * losses.numpy()).sum(axis=1) / weights.sum(axis=1)
    np.testing.assert_allclose([low, high], np.quantile(drawn, [0.025, 0.975]), rtol=0, atol=1e-12)


def test_a_single_group_has_no_interval():
    assert bootstrap_limits(Regression(1, None), torch.zeros(4, 1), torch.zeros(4), ["a"] * 4) == {}


@pytest.mark.parametrize("head", [Classification(1, None, classes=CLASSES), Ordinal(1, None, classes=CLASSES)])
def test_metrics_of_all_resamples_at_once_equal_the_heads_own_one_by_one(head):
    generator = torch.Generator().manual_seed(1)
    said = torch.rand(20, 3, generator=generator).softmax(dim=1)
    targets = torch.randint(2, (20,), generator=generator)
    said[4:, 2] = 0.0
    targets[:4] = 2  # of one group alone, so that some resamples neither have nor predict the class
    group_of = torch.arange(20) // 4
    counts = draw_counts(5, 50, 0)
    together = resample_metrics(head, said, targets, counts, group_of)
    for position, resample in enumerate(counts):
        rows = torch.repeat_interleave(torch.arange(20), resample.long()[group_of])
        for name, value in head.metrics(said[rows], targets[rows]).items():
            assert float(together[name][position]) == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("head", [Regression(1, None, outputs=2), Multilabel(1, None, labels=("a", "b"))])
def test_heads_without_a_fast_path_are_resampled_one_by_one(head):
    said, targets = torch.rand(6, 2), torch.tensor([[0.0, 1.0]] * 3 + [[1.0, 0.0]] * 3)
    groups = [f"g{index}" for index in range(6)]
    limits = bootstrap_limits(head, said, targets, groups, resamples=20)
    assert set(limits) <= set(head.metrics(said, targets))
    assert limits


def test_an_evaluation_again_gives_the_same_figures(evaluated):
    run, card = evaluated
    again = evaluate(run, device="cpu").plain()
    assert again["targets"] == card["targets"]


def test_a_network_of_double_precision_is_evaluated_against_the_constant_answer(tmp_path):
    card = evaluate(run_of(tmp_path, precision="64-true", epochs=1), resamples=10).plain()

    branches = card["targets"]["label"]["branches"]
    assert all(branches[name]["metrics"]["loss"]["value"] > 0.0 for name in ("fused", "constant"))


def test_an_unfinished_run_is_not_evaluated(tmp_path):
    run = RunFolder.create(tmp_path / "run", recipe())
    with pytest.raises(RunError, match="has not finished"):
        evaluate(run, device="cpu")


def test_a_verified_card_holds_and_its_file_is_left_alone(evaluated):
    run, _ = evaluated
    before = run.card_file.read_bytes()
    report = verify(run.card_file, device="cpu")
    assert report.holds
    assert report.broken == ()
    assert {"recipe_sha256", "weights_sha256", "protocol.split_hash"} <= {item.what for item in report.findings}
    assert "targets.label.branches.ensemble.metrics.accuracy.value" in {item.what for item in report.findings}
    assert run.card_file.read_bytes() == before


@pytest.mark.parametrize(
    ("label", "holds"), [("speaker-independent", True), ("speaker-dependent", False), ("pump-independent", False)]
)
def test_a_card_from_when_every_group_was_called_a_speaker_holds(evaluated, tmp_path, label, holds):
    run, card = evaluated
    assert card["protocol"]["label"] == "group-independent"
    older = tmp_path / "metrics.json"
    older.write_text(json.dumps({**card, "protocol": {**card["protocol"], "label": label}}))

    broken = [finding.what for finding in verify(older, run.path, device="cpu").broken]

    assert broken == ([] if holds else ["protocol.label"])


def test_verify_tells_weights_that_were_exchanged(tmp_path):
    run = finished_run(tmp_path / "run")
    evaluate(run, device="cpu", resamples=2)
    torch.manual_seed(99)
    run.save_weights(build(assemble(run.recipe).recipe).state_dict(), {})
    broken = {finding.what for finding in verify(run.path, device="cpu").broken}
    assert "weights_sha256" in broken
    assert any(name.startswith("targets.") for name in broken)
    assert "recipe_sha256" not in broken


def test_verify_tells_weights_that_were_damaged(tmp_path):
    run = finished_run(tmp_path / "run")
    evaluate(run, device="cpu", resamples=2)
    file = run.path / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    report = verify(run.path, device="cpu")
    assert not report.holds
    assert "damaged" in report.broken[0].found


def moved_by(amount):
    return lambda values: values + amount


def without_the_last(values):
    return values[:-1].clone()


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("distribution/label/fused", moved_by(0.25), "54 of 54 numbers differ, by up to 0.25"),
        ("distribution/label/fused", without_the_last, r"torch.float32 of shape \(18, 3\)"),
        ("distribution/strength/ensemble", None, r"torch.float32 of shape \(18, 1\)"),
        ("target/label", lambda values: (values + 1) % 3, "18 of 18 numbers differ, by up to [12]"),
        ("present/motion", torch.logical_not, "18 of 18 numbers differ, by up to 1"),
        ("feature/posture", torch.zeros_like, "numbers differ, by up to"),
        ("something/else", lambda _: torch.zeros(2), "None"),
    ],
)
def test_verify_tells_predictions_that_were_altered(evaluated, tmp_path, name, change, found):
    run, _ = evaluated
    folder = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    tensors, about = folder.read_predictions()
    altered = {key: tensor for key, tensor in tensors.items() if key != name}
    if change is not None:
        altered[name] = change(tensors.get(name))
    folder.write_predictions(altered, about)

    (broken,) = verify(folder.path, device="cpu").broken

    assert broken.what == f"predictions: {name}"
    assert re.fullmatch(f".*({found}).*", str(broken.found))


def test_verify_tells_predictions_of_other_samples_and_such_as_are_damaged_or_gone(evaluated, tmp_path):
    run, _ = evaluated
    folder = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    tensors, about = folder.read_predictions()
    file = folder.path / "predictions.safetensors"

    folder.write_predictions(tensors, {**about, "samples": json.dumps(["another"] * 18)})
    assert [each.what for each in verify(folder.path, device="cpu").broken] == ["predictions: samples"]
    file.write_bytes(file.read_bytes()[:-1])
    assert "is damaged" in verify(folder.path, device="cpu").broken[0].found
    file.unlink()
    (broken,) = verify(folder.path, device="cpu").broken
    assert (broken.what, str(broken.found)) == ("predictions", f"{file}: no such file")


def test_verify_wants_no_predictions_of_a_branch_that_the_card_does_not_know(evaluated, tmp_path):
    run, card = evaluated
    folder = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    tensors, about = folder.read_predictions()
    folder.write_predictions({key: of for key, of in tensors.items() if not key.endswith("/ensemble")}, about)
    older = json.loads(json.dumps(card))
    for target in older["targets"].values():
        del target["branches"]["ensemble"]
    (tmp_path / "card.json").write_text(json.dumps(older))

    broken = {finding.what for finding in verify(tmp_path / "card.json", folder.path, device="cpu").broken}

    assert not {what for what in broken if what.startswith("predictions")}


@pytest.mark.parametrize(
    ("place", "value", "broken"),
    [
        (
            ("targets", "label", "branches", "fused", "metrics", "accuracy", "value"),
            0.999,
            "targets.label.branches.fused.metrics.accuracy.value",
        ),
        (
            ("targets", "label", "branches", "fused", "metrics", "accuracy", "low"),
            "0.5",
            "targets.label.branches.fused.metrics.accuracy.low",
        ),
        (("targets", "label", "branches", "motion", "samples"), 1, "targets.label.branches.motion.samples"),
        (("targets", "label", "branches", "fused", "confusion"), [[9]], "targets.label.branches.fused.confusion"),
        (("protocol", "split_hash"), "0" * 64, "protocol.split_hash"),
        (("protocol", "label"), "group-dependent", "protocol.label"),
        (("selection", "label"), "selected by hand", "selection.label"),
        (("recipe", "train", "epochs"), 999, "recipe.train.epochs"),
        (("seed",), 7, "seed"),
        (("seed",), 10**400, "seed"),
        (("recipe_sha256",), "0" * 64, "recipe_sha256"),
    ],
)
def test_verify_tells_a_statement_that_was_altered(evaluated, tmp_path, place, value, broken):
    run, card = evaluated
    altered = json.loads(json.dumps(card))
    node = altered
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    (tmp_path / "card.json").write_text(json.dumps(altered))
    assert [finding.what for finding in verify(tmp_path / "card.json", run.path, device="cpu").broken] == [broken]


@pytest.mark.parametrize("key", ["metrics", "samples"])
def test_verify_tells_a_statement_that_was_removed(evaluated, tmp_path, key):
    run, card = evaluated
    altered = json.loads(json.dumps(card))
    del altered["targets"]["label"]["branches"]["fused"][key]
    (tmp_path / "card.json").write_text(json.dumps(altered))
    broken = verify(tmp_path / "card.json", run.path, device="cpu").broken
    assert broken
    assert all(finding.what.startswith(f"targets.label.branches.fused.{key}") for finding in broken)
    assert all(finding.stated is None for finding in broken)


def earlier_card(card):
    """The card as the first version of format 1 would have been."""
    made = json.loads(json.dumps(card)) | {"format": 1}
    del made["protocol"]["test_groups"]
    for target in made["targets"].values():
        del target["kind"], target["measures"], target["branches"]["constant"], target["branches"]["ensemble (log)"]
    return made


@pytest.mark.parametrize(
    "place",
    [
        (),
        ("protocol", "split_hash"),
        ("targets", "label", "score"),
        ("targets", "label", "branches", "ensemble"),
        ("targets", "label", "branches", "ensemble", "metrics", "ece"),
        ("targets", "label", "branches", "ensemble", "where", "motion", "metrics", "uar"),
        ("targets", "strength"),
        ("weights_sha256",),
    ],
)
def test_a_card_of_format_1_makes_every_statement_that_the_format_had(evaluated, tmp_path, place):
    run, card = evaluated
    earlier = node = earlier_card(card)
    for key in place[:-1]:
        node = node[key]
    if place:
        del node[place[-1]]
    (tmp_path / "card.json").write_text(json.dumps(earlier))

    broken = verify(tmp_path / "card.json", run.path, device="cpu").broken

    assert bool(broken) == bool(place)
    of = ".".join(place)
    assert all(each.what.startswith(of) and each.stated is None for each in broken)


ENVIRONMENTS = [{}, {"commit": 5}, {"device": None}, {"torch": None}, {"data": 5}]


@pytest.mark.parametrize("change", ENVIRONMENTS, ids=str)
def test_a_damaged_environment_is_a_finding_of_verify_and_an_error_of_evaluate(evaluated, tmp_path, change):
    run = RunFolder(shutil.copytree(evaluated[0].path, tmp_path / "run"))
    file = run.path / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change} if change else {}))

    (broken,) = verify(run.path, device="cpu").broken
    assert f"environment.json: is damaged; {next(iter(change), 'device')}: " in broken.found
    with pytest.raises(RunError, match=r"environment\.json: is damaged; "):
        evaluate(run, device="cpu")


def test_an_environment_of_an_earlier_version_says_less(evaluated, tmp_path):
    run = RunFolder(shutil.copytree(evaluated[0].path, tmp_path / "run"))
    (run.path / "environment.json").write_text('{"device": "cpu", "commit": null}')

    assert evaluate(run, device="cpu", resamples=2).training.plain() == {"device": "cpu", "commit": None}


def test_a_run_of_other_data_is_neither_evaluated_nor_verified(tmp_path):
    chosen = recipe()
    run = RunFolder.create(tmp_path / "run", chosen, data=assemble(chosen).data_hash)
    torch.manual_seed(0)
    run.save_weights(build(assemble(chosen).recipe).state_dict(), {})
    evaluate(run, device="cpu", resamples=2)
    card, file = run.card_file.read_bytes(), run.path / "recipe.yaml"
    file.write_text(file.read_text().replace("groups: 6", "groups: 8"))

    edited = RunFolder.open(run.path)
    with pytest.raises(RunError, match="run: its data have changed since it was trained"):
        evaluate(edited, device="cpu", resamples=2)
    (broken,) = verify(run.path, device="cpu").broken

    assert edited.recipe.data.dataset.options["groups"] == 8
    assert run.card_file.read_bytes() == card
    assert broken.what == "training.data"
    assert broken.stated == run.environment.data


def test_verify_refuses_what_is_no_card(evaluated, tmp_path):
    run, _ = evaluated
    with pytest.raises(RunError, match=r"metrics\.json: there is no card; name a run folder that holds one"):
        verify(tmp_path)
    (tmp_path / "card.json").write_text('{"accuracy": 1}')
    with pytest.raises(RunError, match=r"is no card; a card is the metrics\.json of a run"):
        verify(tmp_path / "card.json", run.path)
    (tmp_path / "card.json").write_text('{"format": true, "targets": {}}')
    with pytest.raises(RunError, match="of format True"):
        verify(tmp_path / "card.json", run.path)
    (tmp_path / "card.json").write_text('{"format": 7, "targets": {}}')
    with pytest.raises(RunError, match="format 7"):
        verify(tmp_path / "card.json", run.path)


def test_a_relative_path_that_leads_nowhere_says_where_it_starts(evaluated, monkeypatch):
    problems = [Problem("samples.csv", "no such file"), Problem("/data/samples.csv", "no such file")]

    def refuse(*_):
        raise DataError(problems)

    monkeypatch.setattr("fusionkit.evaluation.card.assemble", refuse)
    with pytest.raises(DataError) as refused:
        evaluate(evaluated[0], device="cpu", resamples=2)

    relative, absolute = refused.value.problems
    assert str(relative).startswith("samples.csv: no such file; a relative path in a recipe starts where the command")
    assert absolute == problems[1]
