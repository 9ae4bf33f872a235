"""What the speed benchmark's rows of loop, data and spectrograms compare: two ways to the same numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from small_runs import same_bits, weights_of

from fusionkit.data.assembly import assemble
from fusionkit.models.build import build
from fusionkit.models.encoders import Spectrogram
from fusionkit.nn.jagged import Jagged
from fusionkit.training import train

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"
sys.path.insert(0, str(SPEED))

import materials  # noqa: E402
from rows import data, spectrograms, training  # noqa: E402

CPU = torch.device("cpu")


def test_the_bare_loop_trains_bit_for_bit_the_weights_of_train(tmp_path: Path) -> None:
    """So both sides of R_loop do the same work."""
    recipe = materials.sensor_recipe("train.epochs=2", "train.scheduler=constant", "data.batch_size=40")
    run = train(recipe, tmp_path / "run", accelerator="cpu")
    assembly = assemble(recipe)
    torch.manual_seed(recipe.train.seed)
    model = build(assembly.recipe, assembly.dataset)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    training.learn_bare(assembly, model, CPU)

    assert same_bits(weights_of(run), model.state_dict())
    assert not same_bits(before, model.state_dict())


def test_steps_are_stamped_whoever_makes_them_and_only_within() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    with training.note_steps(CPU) as moments:
        for _ in range(3):
            optimizer.step()
    optimizer.step()

    assert len(moments) == 3
    assert moments == sorted(moments)


def test_a_step_is_a_mean_inside_epochs_without_the_first_of_them() -> None:
    warm_up, second, third = [0.0, 5.0, 9.0], [100.0, 101.0, 102.0], [200.0, 203.0, 206.0]

    assert training.seconds_of_a_step([*warm_up, *second, *third], 3) == pytest.approx((2 + 6) / 4)


def test_the_first_fed_step_does_not_count_and_no_more_batches_are_taken_than_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([10.0, 11.0, 13.0])
    monkeypatch.setattr("fusionkit.nn.timer.time.perf_counter", lambda: next(clock))
    learnt: list[int] = []

    assert data.seconds_of_a_step(iter(range(9)), 3, learnt.append, CPU) == pytest.approx(1.5)  # type: ignore[arg-type]
    assert learnt == [0, 1, 2]


def test_columns_that_touch_no_segment_edge_are_the_same_bits_either_way() -> None:
    wave = Jagged.from_sizes(torch.randn(40_000, generator=torch.Generator().manual_seed(0)), [24_000, 16_000])
    sliced, alone = (Spectrogram((), mode=mode, standardize=False) for mode in ("slice", "per_segment"))
    inner = spectrograms.inner_columns(sliced)
    outer = sorted(set(range(250)) - set(inner))

    assert inner == list(range(4, 247))  # windows of 512 samples every 64, in segments of 16,000
    assert spectrograms.equal_columns(sliced(wave).values, alone(wave).values, inner).all()
    assert not spectrograms.equal_columns(sliced(wave).values, alone(wave).values, outer).all()
