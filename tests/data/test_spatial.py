"""Images that are mirrored, turned, scaled, shifted and brightened."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.data.transforms import Spatial, spatial
from fusionkit.errors import DataError, RecipeError

NEUTRAL = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
STILL = {"flip": 0.0, "rotation": 0.0, "scale": 0.0, "translation": 0.0}
UNSHADED = {"brightness": 0.0, "contrast": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def restated(image: np.ndarray, parameters: list[float]) -> np.ndarray:
    """The formulas, pixel by pixel: which place of the image comes here, interpolated, then brightness and contrast."""
    mirrored, degrees, scale, right, down, brightness, contrast = parameters
    channels, height, width = image.shape
    result = np.empty_like(image)
    turn = np.deg2rad(degrees)
    # x to the right, y upwards, from the middle of the image
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    mirror = np.diag([-1.0 if mirrored else 1.0, 1.0])
    back = np.linalg.inv(scale * rotation @ mirror)
    for row in range(height):
        for column in range(width):
            here = np.array([column - (width - 1) / 2, (height - 1) / 2 - row])
            x, y = back @ (here - [right * width, -down * height])
            u = min(max(x + (width - 1) / 2, 0), width - 1)
            v = min(max((height - 1) / 2 - y, 0), height - 1)
            left, top = min(math.floor(u), width - 2), min(math.floor(v), height - 2)
            for k in range(channels):
                corner = image[k, top : top + 2, left : left + 2]
                result[k, row, column] = [1 - (v - top), v - top] @ corner @ [1 - (u - left), u - left]
    return np.clip(contrast * (result - 0.5) + 0.5 + brightness, 0, 1)


PARAMETERS = {
    "mirrored": [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    "turned": [0.0, 30.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    "larger": [0.0, 0.0, 1.3, 0.0, 0.0, 0.0, 1.0],
    "shifted": [0.0, 0.0, 1.0, 0.2, -0.1, 0.0, 1.0],
    "brighter, with more contrast": [0.0, 0.0, 1.0, 0.0, 0.0, 0.2, 1.4],
    "all of it": [1.0, -25.0, 0.8, -0.15, 0.3, -0.1, 0.6],
}


@pytest.mark.parametrize("case", PARAMETERS)
@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 5, 9)])
def test_every_pixel_comes_from_where_the_formula_says(case: str, shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).uniform(0, 1, shape)
    parameters = torch.tensor([PARAMETERS[case]], dtype=torch.float64)
    result = Spatial(shape, None).apply(torch.from_numpy(image)[None], parameters)[0].numpy()
    assert np.allclose(result, restated(image, PARAMETERS[case]), rtol=1e-12, atol=1e-12)


def test_a_positive_angle_turns_counter_clockwise_and_shifts_are_to_the_right_and_down() -> None:
    frame = torch.zeros(1, 1, 5, 5)
    frame[0, 0, 2, 4] = 1  # in the middle of the right side
    turned = Spatial((1, 5, 5), None).apply(frame, torch.tensor([[0.0, 90.0, 1.0, 0.0, 0.0, 0.0, 1.0]]))
    assert turned[0, 0].argmax() == 2  # in the middle of the upper side
    shifted = Spatial((1, 5, 5), None).apply(frame, torch.tensor([[0.0, 0.0, 1.0, -0.4, 0.2, 0.0, 1.0]]))
    assert shifted[0, 0].argmax() == 3 * 5 + 2


def test_bytes_stay_bytes_rounded_and_clipped() -> None:
    image = torch.randint(256, (4, 3, 6, 7), generator=seeded(), dtype=torch.uint8)
    parameters = torch.tensor([PARAMETERS["all of it"], PARAMETERS["brighter, with more contrast"]]).repeat(2, 1)
    result = Spatial((3, 6, 7), None).apply(image, parameters)
    assert result.dtype == torch.uint8
    for frame, row, values in zip(image, parameters.tolist(), result, strict=True):
        expected = 255 * restated(frame.double().numpy() / 255, row)
        assert np.abs(values.double().numpy() - expected).max() <= 0.5 + 1e-3
    assert {0, 255} <= set(result.unique().tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_point_numbers_keep_their_dtype_and_range(dtype: torch.dtype) -> None:
    images = torch.rand(5, 3, 8, 8, generator=seeded()).to(dtype)
    transform = Spatial((3, 8, 8), None, brightness=0.5)
    result = transform(images, seeded(2), training=True)
    assert result.dtype == dtype
    assert not torch.equal(result, images)
    assert 0 <= float(result.min()) <= float(result.max()) <= 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, STILL, UNSHADED])
def test_parameters_that_change_nothing_change_no_bit(dtype: torch.dtype, options: dict[str, float]) -> None:
    images = torch.rand(3, 3, 11, 7, generator=seeded(), dtype=torch.float64)
    images = (255 * images).to(dtype) if dtype == torch.uint8 else images.to(dtype)
    result = Spatial((3, 11, 7), None, **options).apply(images, torch.tensor([NEUTRAL] * 3))
    assert torch.equal(result, images)


def test_with_every_option_at_zero_nothing_changes() -> None:
    images = torch.rand(3, 3, 11, 7, generator=seeded())
    assert torch.equal(Spatial((3, 11, 7), None, **STILL, **UNSHADED)(images, seeded(), training=True), images)


def test_one_draw_moves_all_frames_of_a_clip_alike_and_the_switch_draws_for_each() -> None:
    clip = Spatial((3, 8, 8), None).draw(20, seeded())
    assert (clip == clip[0]).all()
    frames = Spatial((3, 8, 8), None, per_frame=True).draw(20, seeded())
    assert all((frames[:, column] != frames[0, column]).any() for column in range(7))


@given(st.integers(0, 10_000))
def test_draws_stay_in_the_ranges_that_the_options_state(seed: int) -> None:
    options = {"rotation": 20.0, "scale": 0.2, "translation": 0.1, "brightness": 0.3, "contrast": 0.4}
    drawn = Spatial((3, 8, 8), None, per_frame=True, **options).draw(50, seeded(seed)).double()
    middle = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    reach = torch.tensor([20.0, 0.2, 0.1, 0.1, 0.3, 0.4])
    assert ((drawn[:, 1:] - middle).abs() <= reach + 1e-6).all()
    assert set(drawn[:, 0].tolist()) <= {0.0, 1.0}


def test_draws_fill_their_ranges_evenly_and_mirror_as_often_as_asked() -> None:
    drawn = Spatial((3, 8, 8), None, per_frame=True, flip=0.3, rotation=20.0).draw(20000, seeded())
    assert float(drawn[:, 0].mean()) == pytest.approx(0.3, abs=0.015)
    counts = np.histogram(drawn[:, 1].numpy(), bins=10, range=(-20, 20))[0]
    assert counts.sum() == 20000
    assert np.abs(counts - 2000).max() < 200


def test_an_option_set_to_zero_changes_no_other_draw() -> None:
    everything = Spatial((3, 8, 8), None, flip=1.0).draw(1, seeded(5))[0]
    without = Spatial((3, 8, 8), None, flip=0.0, rotation=0.0, contrast=0.0).draw(1, seeded(5))[0]
    assert without[[0, 1, 6]].tolist() == [0.0, 0.0, 1.0]
    assert torch.equal(without[2:6], everything[2:6])


def test_memory_is_bounded_by_chunks_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    transform = Spatial((2, 6, 5), None, per_frame=True)
    frames = torch.randint(256, (23, 2, 6, 5), generator=seeded(), dtype=torch.uint8)
    parameters = transform.draw(23, seeded())
    whole, sizes = transform.apply(frames, parameters), list[int]()
    transformed = Spatial._transform

    def counting(self: Spatial, images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return transformed(self, images, rows)

    monkeypatch.setattr(spatial, "_CHUNK", 5 * 60 + 7)
    monkeypatch.setattr(Spatial, "_transform", counting)
    assert torch.equal(transform.apply(frames, parameters), whole)
    assert sizes == [5, 5, 5, 5, 3]


@pytest.mark.gpu
def test_a_gpu_computes_what_the_cpu_computes() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    transform = Spatial((3, 48, 48), None, per_frame=True)
    frames = torch.randint(256, (200, 3, 48, 48), generator=seeded(), dtype=torch.uint8)
    parameters = transform.draw(200, seeded())
    there = transform.apply(frames.cuda(), parameters.cuda()).cpu().int()
    difference = (there - transform.apply(frames, parameters).int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 0.01


def test_elements_that_are_no_images_are_refused_in_words() -> None:
    with pytest.raises(DataError, match=r"spatial: elements of shape \(8,\) are no images; it is for elements"):
        Spatial((8,), 30.0)
    with pytest.raises(DataError, match="spatial: images of int16; they are of uint8, or of floating-point"):
        Spatial((1, 2, 2), None).apply(torch.zeros(1, 1, 2, 2, dtype=torch.int16), torch.tensor([NEUTRAL]))


def test_an_option_out_of_its_range_is_refused() -> None:
    from fusionkit.config.components.registry import TRANSFORMS

    with pytest.raises(RecipeError, match="scale"):
        TRANSFORMS.build("spatial", (3, 8, 8), None, scale=1.0)
