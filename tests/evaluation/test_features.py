"""Features of the reported samples: what a run keeps of them."""

from __future__ import annotations

import numpy as np
import torch
from small_runs import recipe

from fusionkit import build, load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.evaluation import evaluate, verify
from fusionkit.evaluation import features as kept_features
from fusionkit.evaluation.features import select_stored_features
from fusionkit.storage.run_folder import RunFolder


def evaluated(folder, **options):
    """A run whose weights are drawn, not trained, and its stored tensors."""
    chosen = load_recipe(recipe(**options))
    run = RunFolder.create(folder, chosen)
    torch.manual_seed(1)
    run.save_weights(build(assemble(chosen).recipe).state_dict(), {})
    evaluate(run, device="cpu", resamples=2)
    tensors, _ = run.read_predictions()
    return run, {name: values.double().numpy() for name, values in tensors.items()}


def test_a_run_keeps_the_features_that_fusion_read_and_what_it_made_of_them(tmp_path):
    run, kept = evaluated(tmp_path / "run", model={"fusion": "mrpn"})
    assembly = assemble(run.recipe)
    model = build(assembly.recipe).eval()
    model.load_state_dict(run.load_weights()[0])
    batch = next(iter(assembly.loader(assembly.test_ids, training=False)))
    with torch.inference_mode():
        output = model(batch.inputs)
    has = output.present["motion"].numpy()
    assert 0 < has.sum() < len(has)
    np.testing.assert_array_equal(np.isnan(kept["feature/motion"]).any(axis=1), ~has)
    np.testing.assert_allclose(kept["feature/motion"][has], output.features["motion"].numpy()[has], atol=2e-3)
    # eq. (6) in double precision, from the weights as they are stored
    state = {name: tensor.double().numpy() for name, tensor in run.load_weights()[0].items()}

    def normed(values, place):
        scale = state[f"{place}.weight"] / np.sqrt(state[f"{place}.running_var"] + 1e-5)
        return (values - state[f"{place}.running_mean"]) * scale + state[f"{place}.bias"]

    f = output.features["posture"].double().numpy()
    perceptron = "fusion.perceptrons.1"
    dense = f @ state[f"{perceptron}.dense.weight"].T + state[f"{perceptron}.dense.bias"]
    adapted = f + normed(1 / (1 + np.exp(-dense)), f"{perceptron}.norm")
    np.testing.assert_allclose(kept["adapted/posture"], adapted, atol=5e-3)
    width = f.shape[1]
    np.testing.assert_allclose(kept["feature/fused"][:, -width:], normed(adapted, "fusion.fusion.norms.1"), atol=1e-2)
    assert kept["feature_rows"].tolist() == list(range(len(has)))


def test_features_leave_a_card_as_it_was_and_verifiable(tmp_path):
    run, _ = evaluated(tmp_path / "run")
    assert verify(run.path, device="cpu").holds


def test_a_network_without_fused_branch_keeps_the_features_of_what_it_trained(tmp_path):
    _, kept = evaluated(tmp_path / "run", strategy={"type": "unimodal", "modality": "posture"})
    assert sorted(name for name in kept if name.startswith(("feature", "adapted"))) == [
        "feature/posture",
        "feature_rows",
    ]


def test_of_very_many_samples_evenly_spaced_ones_are_kept(monkeypatch):
    monkeypatch.setattr(kept_features, "MOST_SAMPLES", 5)
    features = torch.arange(41.0)[:, None]
    kept = select_stored_features({"a": features}, {"feature/fused": features}, {"a": torch.ones(41, dtype=torch.bool)})
    assert kept["feature_rows"].tolist() == [0, 10, 20, 30, 40]
    assert kept["feature/a"].flatten().tolist() == kept["feature/fused"].flatten().tolist() == [0, 10, 20, 30, 40]
