from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import recipe

from fusionkit.config.components.registry import TRANSFORMS
from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.errors import DataError

OPTIONS = {"time_slice": {"min_seconds": 0.5}, "gaussian_noise": {"sigma": 0.5}}
NAMES = [name for name in TRANSFORMS.names() if name != "spatial"]  # which takes images only


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_every_transform_keeps_element_shape_dtype_and_its_input(name: str, shape: tuple[int, ...]) -> None:
    transform = TRANSFORMS.build(name, shape, 10.0, **OPTIONS.get(name, {}))
    values = torch.randn((30, *shape), generator=seeded())
    kept = values.clone()
    for training in (True, False):
        result = transform(values, seeded(), training=training)
        assert result.shape[1:] == shape
        assert result.dtype == values.dtype
        assert 0 < len(result) <= 30
        assert torch.equal(values, kept)


@pytest.mark.parametrize("name", NAMES)
def test_every_transform_draws_from_its_generator_only_and_not_in_evaluation(name: str) -> None:
    transform = TRANSFORMS.build(name, (2,), 10.0, **OPTIONS.get(name, {}))
    values = torch.randn(30, 2, generator=seeded())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = transform(values, seeded(3), training=True)
    assert torch.equal(first, transform(values, seeded(3), training=True))
    assert torch.equal(torch.get_rng_state(), before)
    generator = seeded(3)
    state = generator.get_state()
    transform(values, generator, training=False)
    assert torch.equal(generator.get_state(), state)


@given(st.integers(1, 40), st.integers(0, 1000))
def test_a_time_slice_is_contiguous_and_at_least_as_long_as_asked(length: int, seed: int) -> None:
    transform = TRANSFORMS.build("time_slice", (), 10.0, min_seconds=1.0)
    result = transform(torch.arange(float(length)), seeded(seed), training=True).tolist()
    assert min(10, length) <= len(result) <= length
    assert result == list(np.arange(len(result)) + result[0])


def test_time_slices_reach_every_length_and_every_place() -> None:
    transform = TRANSFORMS.build("time_slice", (), 10.0, min_seconds=0.2)
    seen = {
        (int(result[0]), len(result))
        for seed in range(300)
        for result in [transform(torch.arange(4.0), seeded(seed), training=True)]
    }
    assert seen == {(start, length) for length in (2, 3, 4) for start in range(5 - length)}


def test_a_time_mask_is_one_stretch_of_zeros_of_at_most_half_the_sample() -> None:
    transform = TRANSFORMS.build("time_mask", (), 10.0, max_seconds=1.0)
    widths = set()
    for seed in range(200):
        zeros = (transform(torch.ones(8), seeded(seed), training=True) == 0).nonzero().flatten().tolist()
        assert zeros == list(range(zeros[0], zeros[0] + len(zeros))) if zeros else True
        widths.add(len(zeros))
    assert widths == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("name", ["time_slice", "time_mask"])
def test_a_transform_in_seconds_refuses_a_modality_without_a_rate(name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: the modality has no rate"):
        TRANSFORMS.build(name, (), None)


def test_standardize_gives_every_channel_mean_0_and_deviation_1_and_a_constant_one_zeros() -> None:
    values = np.random.default_rng(0).normal(3, 5, (50, 3))
    values[:, 1] = 7
    result = TRANSFORMS.build("standardize", (3,), None)(torch.from_numpy(values), seeded(), training=False).numpy()
    expected = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    assert np.allclose(result, expected, rtol=1e-12, atol=1e-12)
    assert not result[:, 1].any()


def test_standardize_makes_a_constant_wave_zero_whatever_its_mean_rounds_to() -> None:
    transform = TRANSFORMS.build("standardize", (), None)
    assert transform(torch.full((30_001,), 0.1), seeded(), training=False).abs().max() < 1e-6


def test_standardize_over_a_whole_sample_keeps_the_proportions_of_its_channels() -> None:
    values = np.random.default_rng(0).normal(3, 5, (1, 4))
    transform = TRANSFORMS.build("standardize", (4,), None, per_channel=False)
    result = transform(torch.from_numpy(values), seeded(), training=True).numpy()
    assert np.allclose(result, (values - values.mean()) / values.std(), rtol=1e-12)


def test_gaussian_noise_has_the_deviation_asked_for_and_is_off_in_evaluation() -> None:
    transform = TRANSFORMS.build("gaussian_noise", (), None, sigma=0.3)
    noise = transform(torch.zeros(20000), seeded(), training=True)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert not transform(torch.zeros(5), seeded(), training=False).any()


@given(st.floats(0.3, 8.0), st.floats(-0.5, 0.5), st.floats(0.2, 2.0), st.integers(0, 1000))
def test_modalities_cut_together_begin_and_end_at_the_same_instants(
    seconds: float, longer: float, shortest: float, seed: int
) -> None:
    rates = (30.0, 16000.0)
    lengths = [
        max(1, round(rate * duration)) for rate, duration in zip(rates, (seconds, seconds + longer), strict=True)
    ]
    slices = []
    for rate, length in zip(rates, lengths, strict=True):
        transform = TRANSFORMS.build("time_slice", (), rate, min_seconds=shortest, together=True)
        result = transform(torch.arange(length), seeded(seed), training=True)
        assert len(result) >= min(length, round(shortest * rate))
        assert torch.equal(result, torch.arange(int(result[0]), int(result[-1]) + 1))
        slices.append((int(result[0]) / rate, (int(result[-1]) + 1) / rate))
    apart = abs(lengths[0] / rates[0] - lengths[1] / rates[1])
    for first, second in zip(*slices, strict=True):
        assert abs(first - second) <= apart + sum(1 / rate for rate in rates)


def test_slices_cut_together_reach_both_ends_and_all_lengths() -> None:
    transform = TRANSFORMS.build("time_slice", (), 10.0, min_seconds=1.0, together=True)
    seen = [transform(torch.arange(30), seeded(seed), training=True) for seed in range(2000)]
    assert {len(result) for result in seen} == set(range(10, 31))
    assert {int(result[0]) for result in seen} >= set(range(20))
    assert {int(result[-1]) for result in seen} >= set(range(10, 30))


def test_slices_drawn_independently_are_those_of_published_results() -> None:
    transform = TRANSFORMS.build("time_slice", (), 10.0, min_seconds=1.0)
    drawn = [transform(torch.arange(40), seeded(seed), training=True) for seed in range(5)]
    lengths = [int(torch.randint(10, 41, (), generator=seeded(seed))) for seed in range(5)]
    assert [len(result) for result in drawn] == lengths
    assert not transform.together


def test_a_slice_and_a_subsample_of_a_mapped_clip_are_views_of_it(tmp_path: Path) -> None:
    path = tmp_path / "frames.npy"
    np.save(path, np.arange(60 * 12, dtype=np.uint8).reshape(60, 3, 2, 2))
    values = torch.from_numpy(np.load(path, mmap_mode="r+"))
    chain = [TRANSFORMS.build("time_slice", (3, 2, 2), 30.0, together=together) for together in (False, True)]
    chain.append(TRANSFORMS.build("subsample", (3, 2, 2), 30.0, every=7))
    for training in (True, False):
        for transform in chain:
            result = transform(values, seeded(1), training=training)
            assert result.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()


@given(st.integers(1, 50), st.integers(1, 9))
def test_a_subsample_keeps_every_kth_element_from_any_phase_in_training_and_from_0_else(
    length: int, every: int
) -> None:
    transform = TRANSFORMS.build("subsample", (), None, every=every)
    values = torch.arange(length)
    assert torch.equal(transform(values, seeded(), training=False), values[::every])
    drawn = {tuple(transform(values, seeded(seed), training=True).tolist()) for seed in range(100)}
    assert drawn == {tuple(range(phase, length, every)) for phase in range(min(every, length))}


def test_seconds_are_seconds_also_behind_a_subsample() -> None:
    changed = recipe()
    changed["data"]["dataset"]["modalities"]["motion"]["rate"] = 12.0
    changed["model"]["modalities"]["motion"]["transforms"] = [
        {"type": "time_slice", "min_seconds": 0.25},
        {"type": "subsample", "every": 4},
        {"type": "time_mask", "max_seconds": 1.0},
    ]
    before, _, behind = assemble(load_recipe(changed))._transforms("motion")
    assert (before._shortest, behind._longest) == (3, 3)
