"""The best accuracies of synthetic views are what they are said to be, and the samples are of that distribution."""

import re
from itertools import chain, combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from fusionkit.cli import main
from fusionkit.config.components.registry import DATASETS
from fusionkit.config.recipe import build_component, load_recipe
from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.data.datasets.gaussian_optimum import Warp, compute_equidistant_accuracy
from fusionkit.data.datasets.gaussian_views import GaussianView, GaussianViews
from fusionkit.errors import DataError

ROOT = Path(__file__).parents[2]
PLAIN = {"easy": {}, "hard": {}}
THREE = {"u": {"missing": 0.3}, "v": {"features": 11, "warp": 2.0}, "w": {"missing": 0.6, "warp": 0.5}}


def subsets(names):
    return list(chain.from_iterable(combinations(names, count) for count in range(len(names) + 1)))


def loaded(data):
    """By modality, the vectors of all samples with zeros for a missing one, and which samples have them."""
    samples = [data.load(index) for index in range(len(data.rows))]
    return {
        name: (
            torch.cat([sample.get(name, torch.zeros(1, *info.shape)) for sample in samples]),
            np.array([name in sample for sample in samples]),
        )
        for name, info in data.modalities.items()
    }


def latent(data):
    """By modality, what the samples were before the warp, and which samples have it."""
    return {name: (data._warps[name].undo(x).double().numpy(), has) for name, (x, has) in loaded(data).items()}


def bayes(data, samples, seen):
    """The accuracy of Bayes' rule on the samples themselves, written from the model's densities."""
    classes = len(data.classes["label"])
    labels = np.array([data.classes["label"].index(row.targets["label"]) for row in data.rows])
    log_likelihood = np.zeros((len(labels), classes))
    for name, (z, has) in samples.items():
        if name in seen:
            means = np.sqrt(data.squared_distances[name] / 2) * np.eye(classes)
            log_density = -0.5 * ((z[:, None, :classes] - means) ** 2).sum(axis=2)
            log_likelihood += np.where((has & (z[:, classes] > 0))[:, None], log_density, 0.0)
    best = log_likelihood == log_likelihood.max(axis=1, keepdims=True)
    return (best[np.arange(len(labels)), labels] / best.sum(axis=1)).mean()


@pytest.mark.parametrize("distance", [0.0, 0.3, 1.0, 2.5, 7.0])
def test_of_two_classes_the_best_accuracy_is_the_normal_distribution_at_half_their_distance(distance):
    assert compute_equidistant_accuracy(2, distance) == pytest.approx(norm.cdf(distance / 2), abs=1e-12)


@pytest.mark.parametrize("classes", [3, 4, 10])
@pytest.mark.parametrize("distance", [0.0, 1.0, 3.5, 20.0])
def test_of_more_classes_the_best_accuracy_is_the_integral_over_the_noise_of_the_true_one(classes, distance):
    nodes, weights = np.polynomial.legendre.leggauss(400)
    z = 12.0 * nodes
    integral = 12.0 * (weights * norm.pdf(z) * norm.cdf(z + distance / np.sqrt(2)) ** (classes - 1)).sum()

    assert compute_equidistant_accuracy(classes, distance) == pytest.approx(integral, abs=1e-12)
    if not distance:
        assert integral == pytest.approx(1 / classes, abs=1e-12)


@pytest.mark.parametrize("strength", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("features", [3, 8])
def test_a_warp_is_undone_whatever_its_strength(features, strength):
    warp = Warp(features, strength, torch.Generator().manual_seed(1))
    vectors = 3 * torch.randn(200, features, generator=torch.Generator().manual_seed(2))

    assert torch.allclose(warp.undo(warp(vectors)), vectors, atol=1e-4)
    lengths_stay = torch.allclose(warp(vectors).norm(dim=1), vectors.norm(dim=1), rtol=1e-4)
    assert lengths_stay == (strength == 0.0)


def test_a_warp_is_the_one_that_its_formula_says():
    generator = torch.Generator().manual_seed(3)
    warp = Warp(5, 1.3, generator)
    x = wanted = np.random.default_rng(0).normal(size=(7, 5))
    for rotation, waves in zip(warp._rotations[:3], warp._waves, strict=True):
        assert np.allclose(rotation.T @ rotation, np.eye(5), atol=1e-6)
        assert np.allclose(np.linalg.norm(waves, axis=0), 1.5, atol=1e-6)
        wanted = wanted @ rotation.double().numpy()
        bent = wanted[:, 2:] + 1.3 * np.sin(wanted[:, :2] @ waves.double().numpy())
        wanted = np.concatenate([wanted[:, :2], bent / np.sqrt(1 + 1.3**2 / 2)], axis=1)
    wanted = wanted @ warp._rotations[3].double().numpy()
    warp._rotations, warp._waves = [r.double() for r in warp._rotations], [w.double() for w in warp._waves]

    assert np.allclose(warp(torch.from_numpy(x)).numpy(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "classes"),
    [
        ({}, 4),
        ({"imbalance": 4.0, "fuzziness": 0.25}, 4),
        ({"imbalance": 0.2, "distance": 2.0, "fuzziness": 0.4}, 2),
        ({"modalities": THREE, "imbalance": 1.5, "fuzziness": 0.2}, 5),
    ],
)
def test_best_accuracy_is_that_of_bayes_rule_on_the_samples_themselves(options, classes):
    names = [f"c{n}" for n in range(classes)]
    data = DATASETS.build("gaussian_views", classes=names, groups=5, samples=2000 // classes, seed=7, **options)
    samples = latent(data)

    for seen in subsets(data.modalities):
        best = data.compute_best_accuracy(seen)
        error = np.sqrt(best * (1 - best) / len(data.rows))
        assert bayes(data, samples, seen) == pytest.approx(best, abs=4 * error)


@pytest.mark.parametrize("imbalance", [0.05, 1.0, 19.0])
def test_squared_distances_add_up_and_follow_the_imbalance_so_that_the_fused_optimum_stays(imbalance):
    data = DATASETS.build("gaussian_views", modalities=THREE | PLAIN, distance=3.0, imbalance=imbalance)
    parts = list(data.squared_distances.values())

    assert sum(parts) == pytest.approx(9.0, abs=1e-12)
    assert [first / second for first, second in pairwise(parts)] == pytest.approx([imbalance] * 4)
    whole = DATASETS.build("gaussian_views", modalities=PLAIN, distance=3.0, imbalance=imbalance)
    assert whole.compute_best_accuracy() == pytest.approx(compute_equidistant_accuracy(4, 3.0), abs=1e-12)


@pytest.mark.parametrize("options", [{"distance": 0.0}, {"fuzziness": 1.0}])
def test_where_nothing_is_shown_chance_is_the_best(options):
    data = DATASETS.build("gaussian_views", **options)
    assert data.compute_best_accuracy() == pytest.approx(0.25, abs=1e-12)
    assert DATASETS.build("gaussian_views").compute_best_accuracy([]) == pytest.approx(0.25, abs=1e-12)


def test_the_best_accuracy_knows_that_no_sample_lacks_every_modality():
    made = {"u": {"missing": 0.9}, "v": {"missing": 0.8}}
    data = DATASETS.build("gaussian_views", modalities=made, distance=2.0, classes=["a", "b"], imbalance=1.0)
    one, both = norm.cdf(np.sqrt(2) / 2), norm.cdf(1.0)
    none_by_chance = 0.9 * 0.8

    assert data.compute_best_accuracy() == pytest.approx(
        0.1 * 0.2 * both + (0.1 * 0.8 + 0.9 * 0.2 + none_by_chance) * one, abs=1e-12
    )
    has_u = 0.1 + none_by_chance / 2
    assert data.compute_best_accuracy(["u"]) == pytest.approx(has_u * one + (1 - has_u) * 0.5, abs=1e-12)


def test_samples_lack_modalities_at_their_rate_and_never_all():
    data = DATASETS.build("gaussian_views", modalities=THREE, groups=5, samples=100)
    has = {name: present for name, (_, present) in loaded(data).items()}

    assert np.mean(has["u"]) == pytest.approx(0.7, abs=0.04)
    assert np.mean(has["w"]) == pytest.approx(0.4, abs=0.04)
    assert all(has["v"])
    made = {"u": {"missing": 0.9}, "v": {"missing": 0.9}}
    scarce = DATASETS.build("gaussian_views", modalities=made, groups=2, samples=100)
    assert all(scarce.load(index) for index in range(len(scarce.rows)))
    assert [len(scarce.load(3).get(name, ())) for name in made] == [scarce.length(3, name) for name in made]


def test_a_fuzzy_sample_says_so_and_shows_a_class_that_does_not_depend_on_its_own():
    data = DATASETS.build(
        "gaussian_views", modalities={"m": {"warp": 1.0}}, distance=40.0, fuzziness=0.4, groups=2, samples=500
    )
    z, _ = latent(data)["m"]
    labels = np.array([data.classes["label"].index(row.targets["label"]) for row in data.rows])
    fuzzy, shown = z[:, 4] < 0, z[:, :4].argmax(axis=1)

    assert np.allclose(np.abs(z[:, 4]), 1.0, atol=1e-4)
    assert np.mean(fuzzy) == pytest.approx(0.4, abs=0.03)
    assert (shown[~fuzzy] == labels[~fuzzy]).all()
    assert np.mean(shown[fuzzy] == labels[fuzzy]) == pytest.approx(0.25, abs=0.05)


def test_samples_depend_on_seed_and_position_and_not_on_what_was_loaded_before():
    first, again, other = (DATASETS.build("gaussian_views", groups=3, samples=2, seed=seed) for seed in (1, 1, 2))
    for index in (20, 0, 20):
        assert all(torch.equal(values, again.load(index)[name]) for name, values in first.load(index).items())
    assert not torch.equal(first.load(0)["easy"], other.load(0)["easy"])
    assert not torch.equal(first.load(0)["easy"], first.load(8)["easy"])


def test_a_linear_map_finds_the_classes_of_an_easy_view_and_not_all_of_a_hard_one():
    data = DATASETS.build("gaussian_views", groups=2, samples=500)
    labels = np.array([data.classes["label"].index(row.targets["label"]) for row in data.rows])
    found = {}
    for name, (x, _) in loaded(data).items():
        inputs = np.concatenate([x.double().numpy(), np.ones((len(labels), 1))], axis=1)
        half = len(labels) // 2
        weights = np.linalg.lstsq(inputs[:half], np.eye(4)[labels[:half]], rcond=None)[0]
        found[name] = np.mean((inputs[half:] @ weights).argmax(axis=1) == labels[half:])

    assert found["easy"] == pytest.approx(data.compute_best_accuracy(["easy"]), abs=0.03)
    assert found["hard"] < data.compute_best_accuracy(["hard"]) - 0.04


def test_options_that_cannot_be_are_refused_together():
    with pytest.raises(DataError) as caught:
        GaussianViews(modalities={"m": GaussianView(features=3)}, classes=["a", "b", "a"])
    assert "classes: ['a', 'b', 'a']; at least two different classes" in str(caught.value)
    assert "modalities.m.features: 3 numbers cannot hold 3 classes and whether the sample is clear; 4 or more" in str(
        caught.value
    )
    with pytest.raises(DataError, match="modalities: there are 0; name 1 to 8"):
        GaussianViews(modalities={})


def test_a_modality_that_is_not_there_has_no_best_accuracy():
    with pytest.raises(ValueError, match=r"no modality 'hrad'; did you mean 'hard'\?"):
        DATASETS.build("gaussian_views").compute_best_accuracy(["easy", "hrad"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.dataset.imbalance=0", "data.dataset.imbalance: a number of at least 0.001 is expected, given 0"),
        ("data.dataset.modalities.hard.features=4", "4 numbers cannot hold 4 classes"),
    ],
)
def test_wrong_options_of_a_recipe_end_in_words(tmp_path, capsys, override, message):
    with pytest.raises(SystemExit) as ended:
        main(["train", "comparison/views", "--out", str(tmp_path / "run"), override])

    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_page_and_the_recipe_state_the_best_accuracies_of_every_setting():
    page = (ROOT / "docs" / "explanation" / "known_optimum.md").read_text(encoding="utf-8")
    path = find_recipe("comparison/views")
    rows = re.findall(r"^\| `(data\.\S+)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)

    assert len(rows) == 6
    for override, *stated in rows:
        data = build_component(load_recipe(path, [override]).data.dataset)
        best = [f"{100 * data.compute_best_accuracy(names):.1f}" for names in (["easy"], ["hard"], ["easy", "hard"])]
        assert stated == best
        line = next(line for line in path.read_text(encoding="utf-8").splitlines() if f"{override} " in line)
        assert re.findall(r"([\d.]+) %", line) == ([] if override.endswith("fuzziness=0") else best)


def test_the_code_of_the_page_says_what_can_be_reached(capsys):
    page = (ROOT / "docs" / "explanation" / "known_optimum.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "known_optimum.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0] == "['easy'] 0.71"
