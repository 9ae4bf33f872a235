"""Encoders against restatements in NumPy, and at the borders of samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fusionkit.config.components.registry import ENCODERS
from fusionkit.errors import RecipeError, RunError, ShapeError
from fusionkit.models.encoders import Conv1d, LogMel, Mlp, Spectrogram, TimmImage
from fusionkit.models.encoders.gaps import lay_out
from fusionkit.nn.jagged import Jagged


def sequences(*lengths, shape=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sum(lengths), *shape, generator=generator, dtype=torch.float64)
    return Jagged.from_sizes(values, lengths)


def array(tensor):
    return tensor.detach().numpy()


def convolution_by_loops(x, weight, bias, stride):
    length, kernel = len(x), weight.shape[2]
    out = np.tile(bias, (math.ceil(length / stride), 1))
    for t in range(len(out)):
        for j in range(kernel):
            position = t * stride + j - (kernel - 1) // 2
            if 0 <= position < length:
                out[t] += weight[:, :, j] @ x[position]
    return out


@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (4, 3), (3, 1), (1, 1), (6, 6), (2, 2)])
def test_conv1d_is_the_convolution_of_each_sample_alone_with_zeros_around_it(kernel, stride):
    encoder = Conv1d((3,), channels=(4, 2), kernel=kernel, stride=stride, norm="none", activation="tanh").double()
    batch = sequences(7, 1, 0, 12, 2, 6, shape=(3,))

    encoded = encoder(batch)

    for sample, result in zip(batch.unbind(), encoded.unbind(), strict=True):
        x = array(sample)
        if len(x):
            for layer in encoder.convolutions:
                x = np.tanh(convolution_by_loops(x, array(layer.weight), array(layer.bias), stride))
        assert len(result) == len(x)
        if len(x):
            np.testing.assert_allclose(array(result), x, rtol=0, atol=1e-12)


def test_conv1d_with_batch_norm_takes_its_statistics_from_the_packed_elements():
    encoder = Conv1d((2,), channels=(3,), kernel=3, stride=2).double()
    batch = sequences(5, 0, 8, shape=(2,))

    encoded = array(encoder(batch).values)

    weight = array(encoder.convolutions[0].weight)
    x = np.concatenate([convolution_by_loops(array(s), weight, np.zeros(3), 2) for s in batch.unbind() if len(s)])
    normalised = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    np.testing.assert_allclose(encoded, np.maximum(normalised, 0), rtol=0, atol=1e-12)


def test_conv1d_sends_no_gradient_from_one_sample_to_another():
    encoder = Conv1d((2,), channels=(3, 3), kernel=5, stride=2, norm="layer").double()
    batch = sequences(6, 9, 4, shape=(2,))
    values = batch.values.requires_grad_()

    encoder(batch)[1].sum().backward()

    own = values.grad.abs().sum(dim=1) > 0
    assert own[6:15].all()
    assert not own[:6].any()
    assert not own[15:].any()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
    width=st.integers(1, 7),
    stride=st.integers(1, 7),
    data=st.data(),
)
def test_no_window_of_the_long_sequence_covers_two_samples(sizes, width, stride, data):
    centre = data.draw(st.integers(0, width - 1))
    owners = Jagged.from_sizes(torch.arange(1, len(sizes) + 1).repeat_interleave(torch.tensor(sizes)), sizes)
    layout = lay_out(sizes, width, centre, stride)

    windows = layout.gather(layout.spread(owners).unfold(0, width, stride))

    assert list(windows.sizes) == [math.ceil(size / stride) for size in sizes]
    for owner, mine in enumerate(windows.unbind(), start=1):
        assert set(mine.flatten().tolist()) <= {0, owner}
        for t, window in enumerate(mine):
            inside = [0 <= t * stride + j - centre < sizes[owner - 1] for j in range(width)]
            assert (window == owner).tolist() == inside


def test_conv1d_refuses_a_stride_that_skips_elements_and_images():
    with pytest.raises(RecipeError, match="stride: 4 exceeds the kernel 3"):
        Conv1d((2,), kernel=3, stride=4)
    with pytest.raises(RecipeError, match="channels: no convolution"):
        Conv1d((2,), channels=())
    with pytest.raises(ShapeError, match="not a vector of channels"):
        Conv1d((3, 8, 8))


def test_mlp_is_dense_units_with_a_linear_last_one():
    encoder = Mlp((2, 2), hidden=(5,), out=3, activation="tanh").double()
    batch = sequences(4, 3, shape=(2, 2))

    encoded = array(encoder(batch).values)

    first, last = encoder.units[0], encoder.units[-1]
    hidden = np.tanh(array(batch.values).reshape(7, 4) @ array(first.weight).T + array(first.bias))
    np.testing.assert_allclose(encoded, hidden @ array(last.weight).T + array(last.bias), rtol=0, atol=1e-12)


def test_feature_norm_refuses_elements_that_are_no_vectors():
    with pytest.raises(ShapeError, match="put an encoder that makes vectors"):
        ENCODERS.build("feature_norm", (2, 3))


def spectrum_by_loops(wave, window, hop):
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    padded = np.concatenate([np.zeros(window // 2), wave, np.zeros(window)])
    return np.stack([np.fft.rfft(padded[start : start + window] * hann) for start in range(0, len(wave), hop)])


@pytest.mark.parametrize("scale", ["magnitude", "power", "log"])
@pytest.mark.parametrize("window", [32, 31])
def test_spectrogram_columns_are_the_transform_of_each_standardised_clip_alone(scale, window):
    encoder = Spectrogram((), window=window, hop=8, segment_seconds=None, scale=scale, floor=1e-3)
    batch = sequences(100, 7, 0, 64)

    encoded = encoder(batch)

    assert encoded.sizes == (13, 1, 0, 8)
    for sample, result in zip(batch.unbind(), encoded.unbind(), strict=True):
        wave = array(sample)
        if len(wave):
            power = np.abs(spectrum_by_loops((wave - wave.mean()) / wave.std(), window, 8)[:, : window // 2]) ** 2
            expected = {"magnitude": np.sqrt(power), "power": power, "log": np.log(np.maximum(power, 1e-3))}[scale]
            np.testing.assert_allclose(array(result), expected, rtol=0, atol=1e-10)


def test_the_defaults_make_the_papers_segments():
    wave = torch.randn(2 * 16_000 + 5_000, generator=torch.Generator().manual_seed(1))

    segments = Spectrogram(())(Jagged.from_sizes(wave, [len(wave)]))

    assert segments.element_shape == (1, 256, 250)
    assert segments.total == 1 + (len(wave) - 16_000) // 3_200


def test_slices_of_one_transform_equal_a_transform_per_segment_bit_for_bit_away_from_edges():
    options = {"segment_seconds": 1.0, "segment_hop_seconds": 0.2, "scale": "power"}
    batch = sequences(40_000, 18_000).to(torch.float32)

    sliced = Spectrogram((), **options)(batch)
    alone = Spectrogram((), mode="per_segment", **options)(batch)

    edge = 512 // 64 // 2
    assert sliced.sizes == alone.sizes == (8, 1)
    assert torch.equal(sliced.values[..., edge:-edge], alone.values[..., edge:-edge])
    assert not torch.equal(sliced.values, alone.values)


def test_segments_are_the_columns_they_name():
    options = {"sample_rate": 800, "window": 32, "hop": 8, "scale": "power"}
    batch = sequences(201, 90, 0, 80)

    columns = Spectrogram((), segment_seconds=None, **options)(batch)
    segments = Spectrogram((), segment_seconds=0.1, segment_hop_seconds=0.03, **options)(batch)

    assert segments.sizes == (1 + (201 - 80) // 24, 1, 0, 1)
    for sample, own in zip(columns.unbind(), segments.unbind(), strict=True):
        for k, segment in enumerate(own):
            assert torch.equal(segment[0], sample[3 * k : 3 * k + 10].T)


def test_a_clip_shorter_than_a_segment_is_padded_with_its_own_mean():
    options = {"sample_rate": 800, "window": 32, "hop": 8, "segment_seconds": 0.1, "scale": "power"}
    clip = sequences(30)
    standardised = (clip.values - clip.values.mean()) / clip.values.std(correction=0)
    padded = Jagged.from_sizes(torch.nn.functional.pad(standardised, (0, 50)), [80])

    short = Spectrogram((), **options)(clip)
    whole = Spectrogram((), standardize=False, **options)(padded)

    torch.testing.assert_close(short.values, whole.values, rtol=0, atol=1e-12)


def test_silence_is_centred_and_not_blown_up():
    options = {"sample_rate": 800, "window": 32, "hop": 8, "segment_seconds": None, "scale": "power"}
    silence = Jagged.from_sizes(torch.full((300,), 0.1), [300])

    assert Spectrogram((), **options)(silence).values.max() < 1e-8


def test_a_segment_that_is_no_whole_number_of_hops_is_refused_with_the_nearest_that_is():
    with pytest.raises(RecipeError, match=r"segment_hop_seconds: 0.123 s are 30.75 hops .* the nearest is 0.124 s"):
        Spectrogram((), segment_hop_seconds=0.123)


def test_a_hop_longer_than_the_window_and_a_stereo_wave_are_refused():
    with pytest.raises(RecipeError, match="hop: 600 exceeds the window 512"):
        Spectrogram((), hop=600)
    with pytest.raises(ShapeError, match="not a sample of a mono wave"):
        Spectrogram((2,))


def test_spectrograms_keep_no_graph_unless_the_wave_asks_for_one():
    options = {"sample_rate": 800, "window": 32, "hop": 8, "segment_seconds": 0.1}
    batch = sequences(100)
    assert not Spectrogram((), **options)(batch).values.requires_grad
    batch.values.requires_grad_()
    Spectrogram((), **options)(batch).values.sum().backward()
    assert batch.values.grad.isfinite().all()


def test_log_mel_bands_are_triangles_on_the_mel_scale():
    encoder = LogMel((), bands=6, sample_rate=8000, window=128, hop=32, floor=1e-4).double()
    batch = sequences(500, 90)

    encoded = encoder(batch)

    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 8) / 2595) - 1)
    bins = np.linspace(0, 4000, 65)[:, None]
    rising, falling = (bins - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - bins) / np.diff(edges)[1:]
    filters = np.maximum(0, np.minimum(rising, falling))
    for sample, result in zip(batch.unbind(), encoded.unbind(), strict=True):
        wave = array(sample)
        power = np.abs(spectrum_by_loops((wave - wave.mean()) / wave.std(), 128, 32)) ** 2
        # torchaudio computes its filters in single precision.
        np.testing.assert_allclose(array(result), np.log(np.maximum(power @ filters, 1e-4)), rtol=0, atol=1e-3)


def test_mixed_precision_does_not_reach_the_powers_of_a_spectrum():
    encoder, batch = LogMel((), bands=6, sample_rate=8000, window=128, hop=32), sequences(500).to(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = encoder(batch)
    assert torch.equal(mixed.values, encoder(batch).values)


def test_more_mel_bands_than_bins_can_fill_and_edges_out_of_order_are_refused():
    with pytest.raises(RecipeError, match="contain no bin; fewer bands or a longer window"):
        LogMel((), bands=128, window=256)
    with pytest.raises(RecipeError, match=r"low < high <= 8000.0 Hz"):
        LogMel((), low=500.0, high=400.0)


@pytest.fixture
def small():
    return TimmImage((1, 32, 32), model="test_resnet")


def test_timm_weights_are_loaded_from_a_file_with_and_without_the_encoders_prefix(small, tmp_path):
    save_file(small.network.state_dict(), tmp_path / "network.safetensors")
    save_file(small.state_dict(), tmp_path / "encoder.safetensors")
    images = torch.randn(2, 1, 32, 32)
    for file in ("network.safetensors", "encoder.safetensors"):
        loaded = TimmImage((1, 32, 32), model="test_resnet", weights=str(tmp_path / file)).eval()
        assert torch.equal(loaded.network(images), small.eval().network(images))


def test_timm_weights_that_lack_or_add_tensors_are_refused_by_name(small, tmp_path):
    tensors = small.network.state_dict()
    del tensors["conv1.0.weight"]
    save_file({**tensors, "fc.bias": torch.zeros(7)}, tmp_path / "w.safetensors")
    with pytest.raises(RunError, match=r"missing: conv1.0.weight; unexpected: fc.bias"):
        TimmImage((1, 32, 32), model="test_resnet", weights=str(tmp_path / "w.safetensors"))


def test_timm_weights_of_another_kernel_are_refused_with_both_shapes(small, tmp_path):
    tensors = small.network.state_dict()
    save_file({**tensors, "conv1.0.weight": torch.zeros(8, 1, 5, 5)}, tmp_path / "w.safetensors")
    with pytest.raises(ShapeError, match=r"has shape \(8, 1, 5, 5\), the network's is \(\d+, 1, 3, 3\)"):
        TimmImage((1, 32, 32), model="test_resnet", weights=str(tmp_path / "w.safetensors"))


def test_timm_weights_that_are_missing_or_damaged_are_refused(small, tmp_path):
    with pytest.raises(RunError, match="do not exist"):
        TimmImage((1, 32, 32), model="test_resnet", weights=str(tmp_path / "none.safetensors"))
    file = tmp_path / "w.safetensors"
    save_file(small.network.state_dict(), file)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(RunError, match="is not a safetensors file, or damaged"):
        TimmImage((1, 32, 32), model="test_resnet", weights=str(file))


def test_timm_names_the_nearest_model_and_fetches_no_other_configuration():
    with pytest.raises(RecipeError, match=r"timm has no model 'resnet81'; did you mean .*'resnet18'"):
        TimmImage((3, 32, 32), model="resnet81")
    with pytest.raises(RecipeError, match="timm has no model 'hf-hub:someone/model'"):
        TimmImage((3, 32, 32), model="hf-hub:someone/model")


def test_timm_refuses_other_channels_vectors_and_two_sources_of_weights():
    with pytest.raises(ShapeError, match="in_channels is 1, but the images have 3 channels"):
        TimmImage((3, 32, 32), in_channels=1)
    with pytest.raises(ShapeError, match="not an image"):
        TimmImage((3,))
    with pytest.raises(RecipeError, match="choose one"):
        TimmImage((3, 32, 32), weights="w.safetensors", pretrained=True)


def test_timm_declares_the_width_behind_a_hidden_unit_of_the_head():
    encoder = TimmImage((1, 32, 32), model="mobilenetv3_small_050").eval()
    with torch.no_grad():
        assert encoder(Jagged.from_sizes(torch.zeros(1, 1, 32, 32), [1])).element_shape == encoder.out_shape


def test_timm_trains_on_a_single_image_whose_maps_have_shrunk_to_a_point(small):
    before = {name: value.clone() for name, value in small.network.named_buffers()}
    small.train()(Jagged.from_sizes(torch.randn(1, 1, 32, 32), [1])).values.sum().backward()
    assert all(torch.equal(before[name], value) for name, value in small.network.named_buffers())
    assert all(module.training for module in small.modules())


def test_every_encoder_of_ours_says_which_whole_numbers_it_takes():
    own = {each.name: each.cls for each in ENCODERS if each.cls.__module__.startswith("fusionkit.")}
    assert len(own) >= 8
    taken = {name: cls.whole_numbers for name, cls in own.items()}
    images, ids = dict.fromkeys(("conv2d", "timm", "hf_vision", "hf_video"), (torch.uint8,)), (torch.int64, torch.int32)
    assert taken == {**dict.fromkeys(own, ()), **images, "hf_text": ids}
