"""Targets of numbers are learned in units of their spread and predicted in their own unit."""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import math

import numpy as np
import pytest
import torch
from small_runs import recipe, same_bits, steps_of, weights_of

from fusionkit import build
from fusionkit.config.recipe import load_recipe
from fusionkit.config.yaml import write_yaml
from fusionkit.data.assembly import assemble
from fusionkit.errors import DataError, ShapeError
from fusionkit.evaluation import evaluate, verify
from fusionkit.models.loss_heads import Concordance, Regression
from fusionkit.storage.run_folder import RunFolder
from fusionkit.storage.tensor_files import read_tensors, write_tensors
from fusionkit.training import train
from fusionkit.training.log import Journal

NAN = math.nan
BUFFERS = ("scaling.location", "scaling.spread")


def head_of(loss, **options):
    kind = Concordance if loss == "concordance" else Regression
    return kind(3, None, **({} if loss == "concordance" else {"loss": loss}), **options)


def fitted(loss, targets, **options):
    head = head_of(loss, outputs=1 if targets.ndim == 1 else targets.shape[1], **options).double()
    head.fit_targets(targets)
    return head


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Location and spread

MILLIMETRES_AND_SHARES = np.array([40.0, 0.3]) + numbers(25, 2) * [20.0, 0.01]
MILLIMETRES_AND_SHARES[3, 0] = MILLIMETRES_AND_SHARES[[4, 7, 9], 1] = NAN


def restated_scale(y, robust):
    """Location and spread of a column, from its definition."""
    y = np.sort(y[~np.isnan(y)])
    if not robust:
        return y.sum() / len(y), math.sqrt(((y - y.sum() / len(y)) ** 2).sum() / len(y))
    places = [share * (len(y) - 1) for share in (0.25, 0.5, 0.75)]
    low, middle, high = (y[int(at)] + (at % 1) * (y[min(int(at) + 1, len(y) - 1)] - y[int(at)]) for at in places)
    return middle, (high - low) / 1.3489795003921634


@pytest.mark.parametrize("loss", ["mse", "l1", "huber", "concordance"])
def test_each_output_is_learned_in_its_own_spread_and_predicted_in_its_own_unit(loss):
    y, s = MILLIMETRES_AND_SHARES, numbers(25, 2, seed=1)
    head = fitted(loss, torch.from_numpy(y), **({"delta": 0.7} if loss == "huber" else {}))
    a, b = np.transpose([restated_scale(column, loss in ("l1", "huber")) for column in y.T])

    losses = head.loss(torch.from_numpy(s), torch.from_numpy(y)).numpy()

    r = s - (y - a) / b
    if loss == "concordance":
        stated, z = ~np.isnan(y), (y - a) / b
        mean_s, mean_z = (np.nanmean(np.where(stated, each, NAN), axis=0) for each in (s, z))
        var_s, var_z = (np.nanvar(np.where(stated, each, NAN), axis=0) for each in (s, z))
        shares = np.where(stated, r**2, 0.0) / (var_s + var_z + (mean_s - mean_z) ** 2)
        expected = (shares * len(y) / stated.sum(axis=0)).mean(axis=1)
    else:
        size = np.abs(r)
        rho = {"mse": r**2, "l1": size, "huber": np.where(size <= 0.7, r**2 / 2, 0.7 * (size - 0.35))}[loss]
        expected = np.nanmean(rho, axis=1)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(head.distribution(torch.from_numpy(s)).numpy(), a + b * s, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", ["l1", "huber"])
@pytest.mark.parametrize("wrong", [1e3, -1e9])
def test_a_fifth_of_outliers_does_not_spoil_the_scale_of_losses_that_bear_them(loss, wrong):
    y = 40.0 + 20.0 * numbers(200)
    y[:40] = wrong
    head = fitted(loss, torch.from_numpy(y))
    assert abs(float(head.scaling.location) - 40.0) < 10.0
    assert 15.0 < float(head.scaling.spread) < 50.0


def test_where_most_targets_are_one_number_the_others_say_the_spread():
    y = np.concatenate([np.zeros(80), np.linspace(10.0, 80.0, 20)])
    head = fitted("l1", torch.from_numpy(y))
    assert float(head.scaling.location) == 0.0
    assert float(head.scaling.spread) == pytest.approx(45.0 / 0.6744897501960817, rel=1e-12)


@pytest.mark.parametrize("loss", ["mse", "l1", "huber", "concordance"])
@pytest.mark.parametrize(
    "given",
    [
        pytest.param([0.1] * 7, id="a constant that no binary fraction is"),
        pytest.param([3e37] * 3, id="a constant so large that its square is not finite"),
        pytest.param([5.0], id="one sample"),
        pytest.param([NAN, 5.0, NAN], id="one known sample"),
        pytest.param([NAN, NAN], id="none"),
        pytest.param([1e9, 1e9 + 64, 1e9 + 128], id="an offset beside which the spread is nothing"),
        pytest.param([1e-30, 3e-30, 4e-30, 7e-30], id="a spread whose square is nothing"),
        pytest.param([1e-44, 3e-44, 4e-44], id="a spread that has no inverse"),
        pytest.param([-1e36, 0.0, 2e36, 3e36], id="a spread whose square is not finite"),
    ],
)
def test_odd_targets_have_finite_losses_gradients_and_predictions_near_them(loss, given):
    y = torch.tensor(given)
    head = head_of(loss)
    head.fit_targets(y)
    known = y[head.find_known(y)]
    scores = torch.tensor([[0.5]]).repeat(len(known), 1).requires_grad_()

    head.loss(scores, known).sum().backward()
    said = head.distribution(head.constant(y)[None])

    assert scores.grad.isfinite().all()
    assert head.scaling.spread.isfinite().all()
    assert head.scaling.spread > 0
    assert said.isfinite().all()
    if len(known):
        assert known.min() <= said <= known.max()
        assert head.scaling.scale(known).abs().max() < 10
        assert head.distribution(torch.full((1, 1), 3.0)).isfinite().all()


def test_a_constant_has_no_spread_by_rounding_either():
    y = torch.full((3,), 0.1, dtype=torch.float64)
    assert y.numpy().std() > 0  # since the mean of three tenths is none
    assert fitted("mse", y).scaling.spread.item() == 1.0


def test_one_output_that_no_sample_states_leaves_the_others_alone():
    head = fitted("mse", torch.tensor([[1.0, NAN], [3.0, NAN]]))
    assert head.scaling.location.tolist() == [2.0, 0.0]
    assert head.scaling.spread.tolist() == [1.0, 1.0]
    assert head.constant(torch.tensor([[1.0, NAN], [3.0, NAN]])).tolist() == [0.0, 0.0]


def test_a_recipe_may_switch_it_off_and_a_head_that_was_told_nothing_is_in_the_targets_unit():
    y = torch.tensor([10.0, 30.0, 50.0])
    told, untold = Regression(3, None, scale_targets=False), Regression(3, None)
    told.fit_targets(y)
    for head in (told, untold):
        assert head.loss(torch.tensor([[11.0], [30.0], [48.0]]), y).tolist() == [1.0, 0.0, 4.0]
        assert head.distribution(torch.tensor([[11.0]])).item() == 11.0
        assert head.constant(y).item() == 30.0


def test_targets_that_single_precision_does_not_hold_are_refused():
    with pytest.raises(ValueError, match=r"1e\+39 is not 1 finite number of single precision"):
        Regression(3, None).encode(1e39)


def told(loss, values, **options):
    """What a head says of a target of all samples; None where it takes it."""
    try:
        head_of(loss, **options).check_targets(values)
    except ValueError as error:
        return str(error)
    return None


SECONDS = 1.7e9 + 10 * numbers(80)


@pytest.mark.parametrize("loss", ["mse", "l1", "huber", "concordance"])
def test_an_offset_beside_which_single_precision_is_coarse_is_refused_for_each_output_by_itself(loss):
    assert told(loss, SECONDS.tolist()) == (
        "values near 1700000000 with a standard deviation of 8 cannot be learned, for targets are kept in single "
        "precision, whose numbers are 128 apart there; subtract an offset, such as 1700000000, from the column"
    )
    both = [
        (share, NAN if row % 3 else second)
        for row, (share, second) in enumerate(zip(numbers(80), SECONDS, strict=True))
    ]
    assert told(loss, both, outputs=2).startswith("number 2 of 2: values near 1700000000 with")
    assert told(loss, [None, *SECONDS, 0.0], outputs=1).startswith("values near 1700000000 with")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param((SECONDS - 1.7e9).tolist(), id="the offset subtracted"),
        pytest.param((1.7e9 + 1e5 * numbers(80)).tolist(), id="seconds of days"),
        pytest.param((2000 + 5 * numbers(80)).tolist(), id="years"),
        pytest.param([1e9 + 0.5] * 5, id="a constant that single precision does not hold"),
        pytest.param([0.3, 0.1 + 0.2] * 5, id="one number, computed in two ways"),
        pytest.param([0.0] * 9 + [1e9], id="an outlier"),
        pytest.param((1e-25 * numbers(80)).tolist(), id="small numbers"),
        pytest.param([5.0], id="one sample"),
        pytest.param([None, NAN], id="none"),
    ],
)
def test_targets_that_single_precision_tells_apart_are_taken(values):
    assert told("mse", values) is None


def test_a_column_with_too_large_an_offset_is_named_when_the_data_are_opened(tmp_path):
    lines = [
        f"{x},{y:.6f},{5 * x},g{index % 4}"
        for index, (x, y) in enumerate(zip(numbers(80, seed=1), SECONDS, strict=True))
    ]
    (tmp_path / "t.csv").write_text("\n".join(["x,when,depth,g", *lines]) + "\n")
    for stated, column in (("when", "column 'when'"), (["depth", "when"], "columns 'depth', 'when'")):
        dataset = {"type": "manifest", "path": str(tmp_path / "t.csv"), "modalities": {"x": ["x"]}}
        dataset |= {"targets": {"start": stated}, "group": "g"}
        head = {"type": "regression", "outputs": 1 if stated == "when" else 2}
        model = {"modalities": {"x": {"encoder": "mlp"}}, "targets": {"start": head}}
        given = {
            "schema": 1,
            "data": {"dataset": dataset, "folds": {"type": "group_kfold", "folds": 4}},
            "model": model,
        }
        with pytest.raises(DataError, match="values near 1700000000 with a standard deviation of") as caught:
            assemble(load_recipe(given))
        assert str(caught.value).startswith(f"target start ({tmp_path}/t.csv, {column}): ")


def test_a_head_that_encodes_in_its_own_way_is_not_asked_about_the_columns_precision():
    class FromAStart(Regression):
        def encode(self, value):
            return super().encode(None if value is None else value - 1.7e9)

    FromAStart(3, None).check_targets(SECONDS.tolist())


# The constant answer


@pytest.mark.parametrize("scale_targets", [True, False])
@pytest.mark.parametrize("loss", ["mse", "l1", "huber", "concordance"])
def test_the_constant_answer_is_the_number_of_the_least_loss(loss, scale_targets):
    y = torch.from_numpy(MILLIMETRES_AND_SHARES)
    head = fitted(loss, y, scale_targets=scale_targets)

    said = head.distribution(head.constant(y)[None])[0].numpy()

    if loss != "huber":
        best = np.nanmedian(y.numpy(), axis=0) if loss == "l1" else np.nanmean(y.numpy(), axis=0)
        np.testing.assert_allclose(said, best, rtol=1e-12)
    for output in (0, 1) if loss != "concordance" else ():
        alone = y.clone()
        alone[:, 1 - output] = NAN  # its own loss; no other constant has less
        known = alone[head.find_known(alone)]
        nearby = head.constant(y) + torch.linspace(-0.01, 0.01, 21, dtype=torch.float64)[:, None]
        losses = [float(head.loss(each.expand(len(known), -1), known).mean()) for each in nearby]
        assert losses[10] <= min(losses) + 1e-13


def test_the_constant_of_the_huber_loss_is_exact_in_sizes_of_any_order():
    rng = np.random.default_rng(3)
    for count, delta in ((1, 1.0), (2, 0.1), (2, 1e-18), (5, 3.0), (40, 0.2), (41, 50.0)):
        y = np.round(rng.normal(size=count) * 10, 1)
        head = Regression(3, None, loss="huber", delta=delta, scale_targets=False).double()
        c = float(head.constant(torch.from_numpy(y)))
        slope = np.clip(c - y, -delta, delta).sum()
        beside = [np.clip(c + shift - y, -delta, delta).sum() for shift in (-1e-9, 1e-9)]
        assert beside[0] <= 0 <= beside[1] or abs(slope) < 1e-12


# Weights


def test_the_scale_goes_where_the_network_goes_and_half_precision_does_not_round_it():
    y = torch.tensor([1001.0, 1003.0, 1008.0])
    head = Regression(3, None)
    head.fit_targets(y)
    kept = {name: head.state_dict()[name].clone() for name in BUFFERS}
    for narrow in (torch.bfloat16, torch.float16):
        other = copy.deepcopy(head).to(narrow)
        assert other.scores.weight.dtype == narrow
        assert same_bits({name: other.state_dict()[name] for name in BUFFERS}, kept)
        said = other.distribution(other(torch.zeros(1, 3, dtype=narrow)))
        assert said.dtype == torch.float32
        assert other.loss(other(torch.zeros(3, 3, dtype=narrow)), y).dtype == narrow
        assert other.to(torch.float32).distribution(head(torch.zeros(1, 3))).dtype == torch.float32
    assert copy.deepcopy(head).double().scaling.location.dtype == torch.float64
    fresh = Regression(3, None)
    fresh.load_state_dict(head.state_dict())
    assert same_bits(fresh.state_dict(), head.state_dict())
    assert head.to("meta").scaling.spread.is_meta


def test_weights_of_earlier_versions_load_as_a_network_in_the_targets_unit():
    old = {name: value for name, value in Regression(3, None).state_dict().items() if name not in BUFFERS}
    head = Regression(3, None)
    head.fit_targets(torch.tensor([10.0, 20.0]))

    head.load_state_dict({}, strict=False)
    assert head.scaling.location.item() == 15.0  # what is loaded in part says nothing of the scale
    with pytest.raises(RuntimeError, match=r"Missing key.* \"scaling.spread\""):
        head.load_state_dict({**old, "scaling.location": torch.zeros(1)})
    head.load_state_dict(old)

    assert (head.scaling.location.item(), head.scaling.spread.item()) == (0.0, 1.0)
    assert torch.equal(head.distribution(head(torch.ones(2, 3))), head(torch.ones(2, 3)))


# Networks


def network(**options):
    modalities = {"face": {"shape": [4], "encoder": "mlp"}, "voice": {"shape": [2], "encoder": "mlp"}}
    targets = {"mood": {"type": "classification", "classes": ["low", "high"]}, "age": {"type": "regression", **options}}
    return build({"modalities": modalities, "targets": targets})


def test_a_network_tells_the_targets_to_every_head_and_says_numbers_in_their_unit():
    model = network()
    model.fit_targets({"mood": torch.tensor([0, 1, -1]), "age": torch.tensor([20.0, NAN, 60.0])})

    for modality in (None, "face", "voice"):
        head = model.head("age", modality)
        assert (head.scaling.location.item(), head.scaling.spread.item()) == (40.0, 20.0)
    scores = model.eval()({"face": torch.zeros(1, 4)}).fused["age"]
    assert model.distribution_of("fused/age", scores).item() == pytest.approx(40.0 + 20.0 * scores.item(), rel=1e-6)
    model.fit_targets({"age": torch.tensor([NAN, NAN])})
    assert model.head("age").scaling.location.item() == 40.0


def test_targets_that_are_none_of_the_network_are_refused():
    with pytest.raises(ShapeError, match="targets: unknown target 'aeg'; did you mean 'age'"):
        network().fit_targets({"aeg": torch.zeros(3)})
    with pytest.raises(ShapeError, match=r"targets: age: targets of shape \(3, 2\) are given, \(samples,\) are expec"):
        network().fit_targets({"age": torch.zeros(3, 2)})
    with pytest.raises(ShapeError, match=r"targets: age: targets of shape \(3,\) are given, \(samples, 2\) are expec"):
        network(outputs=2).fit_targets({"age": torch.zeros(3)})


# Trainings


@pytest.fixture(scope="module")
def depths(tmp_path_factory):
    """A function from a column of targets to the recipe, over samples that show a class and a depth of 0 to 80 mm."""
    folder, rng = tmp_path_factory.mktemp("depths"), np.random.default_rng(0)
    depth, label = rng.uniform(0.0, 80.0, 48), rng.integers(0, 2, 48)
    depth[0] = 400.0  # of the part that is tested: nothing may be scaled by it
    parts = ["test"] * 16 + ["train"] * 32
    train = np.float32(depth[16:]).astype(np.float64)
    scaled = (np.float32(depth).astype(np.float64) - train.mean()) / train.std()
    seen = np.stack([depth / 30, label - 0.5, depth / 60 + label], axis=1) + 0.3 * rng.normal(size=(48, 3))
    with (folder / "samples.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "part", "a", "b", "c", "label", "depth", "scaled"])
        for row in range(48):
            names = (f"s{row}", parts[row])
            table.writerow([*names, *seen[row], ("low", "high")[label[row]], depth[row], scaled[row]])

    def recipe_of(column, **options):
        columns = {"sound": ["a", "b"], "sight": ["c"]}
        dataset = {"type": "manifest", "path": str(folder / "samples.csv"), "id": "id", "part": "part"}
        targets = {"label": "label", "depth": column}
        return load_recipe(
            {
                "schema": 1,
                "data": {"dataset": {**dataset, "modalities": columns, "targets": targets}, "folds": "given"},
                "model": {
                    "modalities": {"sound": {"encoder": "mlp"}, "sight": {"encoder": "mlp"}},
                    "targets": {"label": "classification", "depth": {"type": "regression", **options}},
                },
                "train": {"epochs": 4, "optimizer": {"type": "sgd", "lr": 0.003}},  # adamw enlarges rounding
            }
        )

    return recipe_of, train.mean(), train.std()


def test_a_target_in_its_own_unit_trains_as_the_same_one_scaled_by_hand(depths, tmp_path):
    recipe_of, mean, spread = depths
    own, by_hand = (
        train(recipe_of(column, scale_targets=column == "depth"), tmp_path / column, accelerator="cpu")
        for column in ("depth", "scaled")
    )

    told = [[record["loss"] for record in steps_of(run)] for run in (own, by_hand)]
    np.testing.assert_allclose(told[0], told[1], rtol=1e-5)
    state = weights_of(own)
    for name in ("heads.depth.", "branches.sound.heads.depth.", "branches.sight.heads.depth."):
        assert state[f"{name}scaling.location"].item() == pytest.approx(mean, rel=1e-6)  # of the training part alone
        assert state[f"{name}scaling.spread"].item() == pytest.approx(spread, rel=1e-6)

    cards = [evaluate(run, device="cpu", resamples=2).plain()["targets"] for run in (own, by_hand)]
    for branch in ("fused", "sound", "sight", "constant"):
        figures = [{target: card[target]["branches"][branch]["metrics"] for target in card} for card in cards]
        accuracies = [each["label"]["accuracy"]["value"] for each in figures]
        assert accuracies[0] == accuracies[1]
        assert figures[0]["depth"]["mae"]["value"] == pytest.approx(
            spread * figures[1]["depth"]["mae"]["value"], rel=1e-3
        )
        assert figures[0]["depth"]["r2"]["value"] == pytest.approx(figures[1]["depth"]["r2"]["value"], rel=1e-3)
    predictions, _ = own.read_predictions()
    assert predictions["distribution/depth/constant"].unique().item() == pytest.approx(mean, rel=1e-6)


OPTIONS = {
    "data": {"dataset": {**recipe()["data"]["dataset"], "regression": True}},
    "model": {"targets": {"label": "classification", "strength": "regression"}},
    "balancer": {"type": "umt"},  # whose teachers are trained first, from the weights to which the network returns
    "checkpoint_seconds": 1e9,  # after every stage
    "epochs": 1,
}


class Stopped(BaseException):
    """Stands for a process that is gone."""


def stop_in_the_second_stage(monkeypatch, options, out):
    told = Journal.step

    def tell(journal, record):
        told(journal, record)
        if record["stage"] == "teacher_posture":
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "step", tell)
        with pytest.raises(Stopped):
            train(options, out, accelerator="cpu")


def make_older(run):
    """Takes out of a run's folder what earlier versions did not write: the option and the buffers."""
    plain = run.written_recipe
    for target in plain["model"]["targets"].values():
        target.pop("scale_targets", None)
    (run.path / "recipe.yaml").write_text(write_yaml(plain))
    for name in ("checkpoint.safetensors", "weights.safetensors"):
        if (run.path / name).exists():
            tensors, about = read_tensors(run.path / name)
            kept = {key: value for key, value in tensors.items() if not key.endswith(BUFFERS)}
            assert len(kept) < len(tensors)
            write_tensors(run.path / name, kept, about)


@pytest.fixture(scope="module")
def unscaled(tmp_path_factory):
    options = copy.deepcopy(OPTIONS)
    options["model"]["targets"]["strength"] = {"type": "regression", "scale_targets": False}
    return recipe(**options), train(recipe(**options), tmp_path_factory.mktemp("unscaled"), accelerator="cpu")


def test_a_stopped_training_goes_on_in_the_scale_that_it_began_with(tmp_path, monkeypatch):
    whole = train(recipe(**OPTIONS), tmp_path / "whole", accelerator="cpu")
    stop_in_the_second_stage(monkeypatch, recipe(**OPTIONS), tmp_path / "resumed")
    resumed = train(recipe(**OPTIONS), tmp_path / "resumed", accelerator="cpu")

    assert same_bits(weights_of(resumed), weights_of(whole))
    wanted = assemble(load_recipe(recipe(**OPTIONS))).training_targets["strength"].double().numpy()
    state = weights_of(resumed)
    for head in ("heads.strength.", "branches.motion.heads.strength.", "branches.posture.heads.strength."):
        assert state[f"{head}scaling.location"].item() == pytest.approx(wanted.mean(), rel=1e-6)
        assert state[f"{head}scaling.spread"].item() == pytest.approx(wanted.std(), rel=1e-6)


def test_a_training_that_an_earlier_version_began_goes_on_unscaled(tmp_path, monkeypatch, unscaled):
    options, whole = unscaled
    stop_in_the_second_stage(monkeypatch, options, tmp_path)
    make_older(RunFolder.open(tmp_path))
    resumed = train(recipe(**OPTIONS), tmp_path, accelerator="cpu")
    assert same_bits(weights_of(resumed), weights_of(whole))


def test_a_run_of_an_earlier_version_is_evaluated_as_before_and_its_card_still_holds(tmp_path, unscaled):
    options, whole = unscaled
    card = evaluate(whole, device="cpu", resamples=2).plain()
    run = RunFolder.create(tmp_path / "run", assemble(load_recipe(options)).recipe, data=whole.environment.data)
    run.save_weights(*whole.load_weights())
    make_older(run)
    text = json.dumps(run.written_recipe, sort_keys=True, separators=(",", ":"))

    older = evaluate(run, device="cpu", resamples=2).plain()

    assert older["targets"] == card["targets"]
    assert "scale_targets" not in text
    assert older["recipe"] == run.written_recipe
    assert older["recipe_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert verify(run.path, device="cpu").holds
    assert train(recipe(**OPTIONS), run.path, accelerator="cpu").finished  # the same recipe to this version
