"""A training with augmentation draws the same after a stop, and with any number of workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import same_bits, steps_of, train_until, weights_of
from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.transforms import Spatial, TimeSlice
from fusionkit.interfaces import Dataset, ModalityInfo, Row
from fusionkit.training import train

FRAMES_PER_SECOND, SAMPLES_PER_SECOND = 10, 50
RECIPE: dict[str, Any] = {
    "schema": 1,
    "data": {"dataset": {"type": "flickering"}, "batch_size": 3, "folds": {"type": "holdout"}},
    "model": {
        "modalities": {
            "video": {
                "transforms": [
                    {"type": "time_slice", "min_seconds": 0.5, "together": True},
                    {"type": "subsample", "every": 2},
                    {"type": "spatial", "rotation": 30.0},
                ],
                "encoder": {"type": "conv2d", "channels": [4]},
            },
            "audio": {
                "transforms": ["standardize", {"type": "time_slice", "min_seconds": 0.5, "together": True}],
                "encoder": {"type": "conv1d", "channels": [4], "kernel": 5, "stride": 3},
            },
        },
        "targets": {"label": "classification"},
    },
    "train": {"epochs": 2, "checkpoint_seconds": 0.0, "optimizer": {"type": "adamw", "lr": 0.01}},
}


@pytest.fixture(autouse=True)
def flickering() -> Iterator[None]:
    """Twelve clips of small grey images with a wave."""

    class Flickering(Dataset):
        def __init__(self) -> None:
            self.modalities = {
                "video": ModalityInfo((1, 9, 9), float(FRAMES_PER_SECOND)),
                "audio": ModalityInfo((), float(SAMPLES_PER_SECOND)),
            }
            self.rows = [Row(f"{n:02}", f"{n % 6}", None, {"label": "ab"[n // 6]}, f"clip {n}") for n in range(12)]
            self.classes = {"label": ("a", "b")}

        def load(self, index: int) -> Mapping[str, Tensor]:
            generator, seconds = torch.Generator().manual_seed(index), 1 + index % 3
            images = torch.randint(256, (FRAMES_PER_SECOND * seconds, 1, 9, 9), generator=generator, dtype=torch.uint8)
            return {"video": images, "audio": torch.randn(SAMPLES_PER_SECOND * seconds, generator=generator)}

    DATASETS.names()
    DATASETS.register("flickering")(Flickering)
    yield
    del DATASETS._components["flickering"]


def changed(**data: Any) -> dict[str, Any]:
    return {**RECIPE, "data": {**RECIPE["data"], **data}}


@pytest.mark.parametrize("stop", [1, 3])
def test_killed_and_resumed_the_augmentation_draws_what_it_would_have_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    whole = train(RECIPE, tmp_path / "whole", accelerator="cpu")
    assert len(steps_of(whole)) > stop
    train_until(monkeypatch, stop, RECIPE, tmp_path / "run")
    resumed = train(RECIPE, tmp_path / "run", accelerator="cpu")

    assert same_bits(weights_of(resumed), weights_of(whole))
    assert (resumed.path / "log.jsonl").read_bytes() == (whole.path / "log.jsonl").read_bytes()


def test_face_and_voice_are_cut_at_the_same_instants_and_images_change_in_training_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, moved = list[tuple[float, float]](), list[int]()
    slice_, apply = TimeSlice.__call__, Spatial.apply

    def cutting(self: TimeSlice, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
        result = slice_(self, values, generator, training=training)
        if training:
            rate = SAMPLES_PER_SECOND if values.ndim == 1 else FRAMES_PER_SECOND
            start = (result.storage_offset() - values.storage_offset()) / (values.stride(0) * rate)
            cut.append((start, start + len(result) / rate))
        return result

    def applying(self: Spatial, values: Tensor, parameters: Tensor) -> Tensor:
        moved.append(len(values))
        return apply(self, values, parameters)

    monkeypatch.setattr(TimeSlice, "__call__", cutting)
    monkeypatch.setattr(Spatial, "apply", applying)
    run = train(RECIPE, tmp_path / "run", accelerator="cpu")

    assert len(moved) == len(steps_of(run))  # a batch of training each, and none of testing
    faces, voices = cut[::2], cut[1::2]
    for face, voice in zip(faces, voices, strict=True):
        assert face == pytest.approx(voice, abs=1 / FRAMES_PER_SECOND + 1 / SAMPLES_PER_SECOND)
    assert len(set(faces)) > len(faces) / 2


@pytest.mark.slow
def test_with_any_number_of_workers_the_augmentation_is_the_same(tmp_path: Path) -> None:
    runs = [train(changed(workers=workers), tmp_path / str(workers), accelerator="cpu") for workers in (0, 2)]
    assert same_bits(*map(weights_of, runs))
