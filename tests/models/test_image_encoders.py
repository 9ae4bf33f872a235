"""Encoders of images: bytes, sizes, and weights that were trained before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import fusionkit
from fusionkit import build, load_recipe
from fusionkit.config.components.registry import ENCODERS
from fusionkit.config.initial_weights import drop_weights, list_weight_files
from fusionkit.errors import RecipeError, RunError, ShapeError
from fusionkit.models.encoders import Conv2d
from fusionkit.models.encoders.pixels import Pixels
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.tensor_files import write_tensors

OPTIONS = {"timm": {"model": "test_resnet"}, "conv2d": {"channels": [4, 6]}}


def encoder_of(name: str, channels: int, **options: object):
    return ENCODERS.build(name, (channels, 32, 32), **OPTIONS[name], **options)


def images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", OPTIONS)
def test_bytes_are_scaled_to_one_and_floats_are_taken_as_they_are(name: str) -> None:
    encoder, given = encoder_of(name, 3).eval(), images(4, 3, 32, 32)
    of_bytes = encoder(Jagged.from_sizes(given, [3, 1])).values
    of_floats = encoder(Jagged.from_sizes(given.float() / 255, [3, 1])).values
    assert torch.equal(of_bytes, of_floats)
    assert not torch.allclose(of_bytes, encoder(Jagged.from_sizes(given.float(), [3, 1])).values)


def test_mean_and_deviation_of_a_channel_act_after_the_scaling() -> None:
    given = images(2, 3, 4, 5)
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.25, 2.0])
    expected = (given.numpy() / 255 - mean[:, None, None]) / std[:, None, None]
    computed = Pixels(3, tuple(mean), tuple(std)).double()(given)
    assert computed.dtype == torch.float64
    np.testing.assert_allclose(computed.numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_deviation_of_zero_and_too_few_means_are_refused_together(name: str) -> None:
    with pytest.raises(RecipeError, match=r"(?s)2 numbers for 3 channels.*0.0 is not positive"):
        encoder_of(name, 3, mean=[0.1, 0.2], std=[0.0])


def test_conv2d_is_convolution_normalisation_relu_and_maximum_and_the_mean_of_what_is_left() -> None:
    encoder = Conv2d((2, 6, 5), channels=(3,)).double().eval()
    norm = encoder.network[0][1]
    norm.weight.data, norm.bias.data = torch.tensor([-1.5, 0.5, 1.0]).double(), torch.tensor([0.1, 0.2, -0.3]).double()
    norm.running_mean, norm.running_var = (
        torch.tensor([0.1, 0.0, -0.2]).double(),
        torch.tensor([1.0, 2.0, 0.5]).double(),
    )
    given = torch.randn(1, 2, 6, 5, generator=torch.Generator().manual_seed(1)).double()

    image = np.pad(given[0].numpy(), ((0, 0), (1, 1), (1, 1)))
    kernel = encoder.network[0][0].weight.detach().numpy()
    maps = np.zeros((3, 6, 5))
    for row in range(6):
        for column in range(5):
            maps[:, row, column] = (kernel * image[:, row : row + 3, column : column + 3]).sum(axis=(1, 2, 3))
    scale, shift = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
    maps = (maps - mean[:, None, None]) / np.sqrt(variance + norm.eps)[:, None, None]
    maps = np.maximum(0, maps * scale[:, None, None] + shift[:, None, None])
    pooled = maps[:, :, :4].reshape(3, 3, 2, 2, 2).max(axis=(2, 4))

    encoded = encoder(Jagged.from_sizes(given, [1])).values[0].detach().numpy()
    np.testing.assert_allclose(encoded, pooled.mean(axis=(1, 2)), atol=1e-12)


def test_conv2d_takes_the_multiply_adds_that_its_docs_state() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        Conv2d((1, 48, 48)).eval()(Jagged.from_sizes(torch.zeros(1, 1, 48, 48), [1]))
    by_formula = sum(
        (48 >> block) ** 2 * 9 * narrow * wide
        for block, (narrow, wide) in enumerate([(1, 16), (16, 32), (32, 64), (64, 128)])
    )
    assert counter.get_total_flops() / 2 == by_formula
    assert round(by_formula / 1e6, 1) == 8.3


def test_conv2d_refuses_what_is_no_image_too_small_or_without_a_centre() -> None:
    with pytest.raises(ShapeError, match="a wave becomes images by spectrogram"):
        Conv2d((8,))
    with pytest.raises(ShapeError, match="4 blocks halve 48 x 9 to nothing; 3 blocks"):
        Conv2d((1, 48, 9))
    with pytest.raises(RecipeError, match=r"(?s)no block.*4 is even"):
        Conv2d((1, 48, 48), channels=(), kernel=4)


@pytest.mark.parametrize("name", OPTIONS)
def test_weights_come_back_from_an_encoders_own_file_and_from_its_networks(name: str, tmp_path: Path) -> None:
    trained, given = encoder_of(name, 1).eval(), Jagged.from_sizes(images(2, 1, 32, 32), [2])
    write_tensors(tmp_path / "sealed.safetensors", trained.state_dict(), {"modality": "face"})
    save_file(trained.network.state_dict(), tmp_path / "plain.safetensors")
    for file in ("sealed", "plain"):
        loaded = encoder_of(name, 1, weights=str(tmp_path / f"{file}.safetensors")).eval()
        assert torch.equal(loaded(given).values, trained(given).values)


@pytest.mark.parametrize("name", OPTIONS)
def test_grey_weights_serve_colour_images_and_colour_weights_grey_ones(name: str, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    grey = images(2, 1, 32, 32)
    for channels in (1, 3):
        trained = encoder_of(name, channels).double().eval()
        save_file(trained.state_dict(), file)
        other = 4 - channels
        with pytest.raises(ShapeError, match=f"images of {channels} channels, these have {other}; set adapt_channels"):
            encoder_of(name, other, weights=str(file))
        adapted = encoder_of(name, other, weights=str(file), adapt_channels=True).double().eval()
        expected = trained(Jagged.from_sizes(grey.expand(-1, channels, -1, -1), [2])).values
        computed = adapted(Jagged.from_sizes(grey.expand(-1, other, -1, -1), [2])).values
        assert torch.allclose(computed, expected, atol=1e-5)  # the adapted kernel passed through single precision


@pytest.mark.parametrize("name", OPTIONS)
def test_weights_that_a_shipped_recipe_makes_are_asked_for_with_its_command(name: str) -> None:
    with pytest.raises(
        RunError,
        match=r"do not exist; make it with `fusionkit train aver/pretrain_fer2013 --out runs/pretrain_fer2013`",
    ):
        encoder_of(name, 1, weights="runs/pretrain_fer2013/encoder_face.safetensors")
    with pytest.raises(RunError, match=r"do not exist; an encoder is what `train.export: \[modality\]` leaves"):
        encoder_of(name, 1, weights="elsewhere/encoder_face.safetensors")


def test_a_network_whose_own_weights_are_loaded_at_once_needs_no_file_of_pretrained_ones() -> None:
    file = Path("nowhere/encoder_face.safetensors")
    starts = {"face": {**OPTIONS["timm"], "weights": str(file)}, "scene": {**OPTIONS["conv2d"], "weights": str(file)}}
    starts["page"] = {"model": "resnet18.a1_in1k", "pretrained": True}
    types = {"face": "timm", "scene": "conv2d", "page": "timm"}
    recipe = load_recipe(
        {
            "schema": 1,
            "data": {"dataset": "synthetic"},
            "model": {
                "modalities": {
                    name: {"shape": [1, 32, 32], "encoder": {"type": types[name], **options}}
                    for name, options in starts.items()
                },
                "targets": {"label": {"type": "classification", "classes": ["a", "b"]}},
            },
        }
    )
    assert list(list_weight_files(recipe)) == [file, file]
    build(drop_weights(recipe))  # and nothing is fetched
    kept = drop_weights(recipe, [file]).model.modalities
    assert [kept[name].encoder[0].options["weights"] for name in starts] == [None, None, None]
    assert kept["page"].encoder[0].options["pretrained"]  # a file is wanted, not timm's own weights
    with pytest.raises(RecipeError, match="do not exist"):
        build(recipe.model.model_copy(update={"modalities": {"face": recipe.model.modalities["face"]}}))


def test_an_altered_file_of_weights_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    write_tensors(file, encoder_of("conv2d", 1).state_dict(), {})
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="does not match its sha256"):
        encoder_of("conv2d", 1, weights=str(file))


def test_kernels_with_channels_innermost_say_the_same_and_are_saved_as_ever(tmp_path: Path) -> None:
    encoder = {"type": "conv2d", "channels": [4, 6]}
    spec = {
        "modalities": {"face": {"shape": [1, 16, 16], "encoder": encoder}},
        "targets": {"mood": {"type": "classification", "classes": ["low", "high"]}},
    }
    torch.manual_seed(0)
    model = fusionkit.build(spec).double().eval()
    given = {"face": Jagged.from_sizes(torch.randn(3, 1, 16, 16).double(), [2, 1])}
    before, state = model(given).fused["mood"], {key: value.clone() for key, value in model.state_dict().items()}

    assert model.channels_last() is model
    kernels = [parameter for parameter in model.parameters() if parameter.ndim == 4]

    for kernel in kernels:  # of one channel too, whose strides are all that says it
        _, channels, height, width = kernel.shape
        assert kernel.stride() == (channels * height * width, 1, channels * width, channels)
    torch.testing.assert_close(model(given).fused["mood"], before, rtol=0, atol=1e-12)
    write_tensors(tmp_path / "weights.safetensors", model.state_dict(), {})
    for key, value in load_file(tmp_path / "weights.safetensors").items():
        assert torch.equal(value, state[key])
