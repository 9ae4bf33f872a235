"""What encoders learn from the training part: from no other sample, kept with the weights, the same after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import recipe, run_of, same_bits, train_until, weights_of
from torch import Tensor

import fusionkit
from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import Assembly, assemble
from fusionkit.nn.jagged import Jagged
from fusionkit.training import train

MODEL = {
    "modalities": {
        "motion": {"encoder": ["mlp", "scale", "mlp"]},
        "posture": {"encoder": [{"type": "scale"}, "mlp"]},
    }
}
LOCATION, SPREAD = (f"branches.posture.encoders.0.{name}" for name in ("location", "spread"))


def read(assembly: Assembly, ids: tuple[str, ...], modality: str) -> list[Tensor]:
    place_of = {row.id: place for place, row in enumerate(assembly.dataset.rows)}
    loaded = [assembly.dataset.load(place_of[name]) for name in ids]
    return [values[modality] for values in loaded if len(values.get(modality, ()))]


def postures(assembly: Assembly, ids: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return torch.cat(read(assembly, ids, "posture")).double().numpy()


@pytest.mark.parametrize("select", ["last", "inner", "best"])
def test_a_scale_is_learned_from_the_samples_that_are_trained_on_and_from_no_others(
    tmp_path: Path, select: str
) -> None:
    options = recipe(model=MODEL, select=select)
    assembly = assemble(load_recipe(options))
    expected = postures(assembly, assembly.train_ids)
    everybody = postures(assembly, (*assembly.split.train, *assembly.split.test))

    learned = weights_of(train(options, tmp_path / "run", accelerator="cpu"))

    np.testing.assert_allclose(learned[LOCATION].numpy(), expected.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(learned[SPREAD].numpy(), expected.std(axis=0), rtol=1e-5)
    assert np.abs(everybody.mean(axis=0) - expected.mean(axis=0)).min() > 1e-3


def test_an_encoder_in_the_middle_of_a_chain_learns_from_what_those_before_it_give(tmp_path: Path) -> None:
    options = recipe(model=MODEL)
    assembly = assemble(load_recipe(options))
    torch.manual_seed(assembly.recipe.train.seed)
    branch = fusionkit.build(assembly.recipe, assembly.dataset).branch("motion").eval()
    present = read(assembly, assembly.train_ids, "motion")
    with torch.no_grad():
        encoded = branch.encode(Jagged.from_list(present), stop=1).values.double().numpy()

    learned = weights_of(train(options, tmp_path / "run", accelerator="cpu"))

    place = "branches.motion.encoders.1"
    np.testing.assert_allclose(learned[f"{place}.location"].numpy(), encoded.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(learned[f"{place}.spread"].numpy(), encoded.std(axis=0), rtol=1e-4)


def test_a_stopped_training_goes_on_with_what_its_encoders_have_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = recipe(model=MODEL, checkpoint_seconds=0)
    whole = train(options, tmp_path / "whole", accelerator="cpu")
    train_until(monkeypatch, 1, options, tmp_path / "stopped")

    assert same_bits(weights_of(train(options, tmp_path / "stopped", accelerator="cpu")), weights_of(whole))


def test_a_trained_network_scales_new_samples_by_what_it_learned(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", model=MODEL)
    predictor = fusionkit.load(run.path, device="cpu")
    sample = torch.tensor([1.0, 2.0, 3.0, 4.0])
    learned = weights_of(run)

    scale = predictor.networks[0].branch("posture").encoders[0]

    scaled = (sample - learned[LOCATION]) / learned[SPREAD]
    assert torch.equal(scale(Jagged.from_list([sample[None]])).values[0], scaled)
    assert predictor.predict({"posture": sample})[0].targets["label"].probabilities


@pytest.mark.parametrize("by", ["deviation", "quartiles"])
def test_a_number_that_never_changes_is_centred_only(by: str) -> None:
    scale = fusionkit.build(
        {
            "modalities": {"posture": {"shape": [2], "encoder": {"type": "scale", "by": by}}},
            "targets": {"label": {"type": "classification", "classes": ["rest", "walk"]}},
        }
    ).branch("posture")
    values = torch.tensor([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0], [0.1, 8.0]])

    scale.fit_encoders(lambda: [Jagged.from_list([values[:3], values[3:]])])

    assert torch.equal(scale.encode(Jagged.from_list([values])).values[:, 0], torch.zeros(4))


def test_quartiles_bear_outliers_as_numpy_measures_them() -> None:
    values = torch.randn(101, 2, generator=torch.Generator().manual_seed(1))
    values[:20] = 1e6
    scale = fusionkit.models.encoders.Scale((2,), by="quartiles")

    scale.fit(lambda: [Jagged.from_list([part]) for part in values.split(7)])

    low, middle, high = np.quantile(values.double().numpy(), (0.25, 0.5, 0.75), axis=0)
    np.testing.assert_allclose(scale.location.numpy(), middle, rtol=1e-6)
    np.testing.assert_allclose(scale.spread.numpy(), (high - low) / 1.3489795, rtol=1e-6)
