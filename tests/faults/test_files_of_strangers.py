"""Weights and arrays that somebody sent are data: what they would run is not run."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fusionkit.data.readers.media import ReadOptions, read_media
from fusionkit.errors import FusionKitError
from fusionkit.models.encoders.weights import load_weights
from fusionkit.storage.run_folder import RunFolder
from fusionkit.storage.tensor_files import read_tensors


class Canary:
    """Unpickled, it leaves a file."""

    def __init__(self, nest: Path) -> None:
        self.nest = nest

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.nest), "w")


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    """One that sings when it is let out."""
    bird = Canary(tmp_path / "sung")
    pickle.loads(pickle.dumps(bird)).close()
    assert bird.nest.exists()
    bird.nest.unlink()
    return bird


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "model.pth", "model.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_for_weights_is_refused_by_name_and_not_run(
    tmp_path: Path, canary: Canary, name: str, zipped: bool
) -> None:
    file = tmp_path / name
    torch.save({"weight": canary}, file, _use_new_zipfile_serialization=zipped)

    with pytest.raises(FusionKitError, match=name):
        load_weights(nn.Linear(2, 2), str(file), source="audio")
    with pytest.raises(FusionKitError, match=name):
        read_tensors(file)

    assert not canary.nest.exists()


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "weights.safetensors", "predictions.safetensors"])
def test_a_pickle_in_a_run_is_refused_by_name_and_not_run(tmp_path: Path, canary: Canary, name: str) -> None:
    (tmp_path / "recipe.yaml").write_text("schema: 1\n")
    (tmp_path / name).write_bytes(pickle.dumps({"state": canary}))
    run = RunFolder(tmp_path)
    read = {"checkpoint": run.checkpoints.load, "weights": run.load_weights, "predictions": run.read_predictions}

    with pytest.raises(FusionKitError, match=name):
        read[name.split(".", maxsplit=1)[0]]()

    assert not canary.nest.exists()


def test_an_array_of_objects_is_refused_by_name_and_not_run(tmp_path: Path, canary: Canary) -> None:
    np.save(tmp_path / "a.npy", np.array([canary], dtype=object), allow_pickle=True)

    with pytest.raises(FusionKitError, match=r"a\.npy"):
        read_media(tmp_path / "a.npy", ReadOptions())

    assert not canary.nest.exists()
