"""Pretrained networks as encoders: what transformers itself computes, whatever else is in the batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_networks import AUDIO, CONFIGS, GIVEN, TEXT, VIDEO, VISION, encoder_of, extractor_of, options_of, save
from torch import Tensor

from fusionkit.config.components.registry import ENCODERS
from fusionkit.errors import RecipeError, RunError, ShapeError
from fusionkit.models.encoders.pretrained.checkpoints import CHECKPOINTS, Checkpoint
from fusionkit.models.encoders.pretrained.families import FAMILIES, TOWERS
from fusionkit.models.encoders.pretrained.images import Images
from fusionkit.models.encoders.pretrained.mel import KaldiMel, WhisperMel
from fusionkit.nn.jagged import Jagged
from fusionkit.testing import check_encoder

pytestmark = pytest.mark.xdist_group("transformers")

pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install fusionkit-multimodal[transformers]"
)

_STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
CLOSE = {"atol": 2e-5, "rtol": 2e-5}


def build(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    encoder = encoder_of(name)
    return ENCODERS.build(encoder, GIVEN[encoder][0], **options_of(name, **options)).eval()


def draw(encoder: str, *lengths: int, dtype: torch.dtype = torch.float32) -> Jagged:
    shape, generator = GIVEN[encoder][0], torch.Generator().manual_seed(sum(lengths))
    if encoder == "hf_text":
        return Jagged.from_sizes(torch.randint(0, 40, (sum(lengths),), generator=generator), lengths)
    if encoder == "hf_audio":
        return Jagged.from_sizes(torch.randn(sum(lengths), generator=generator).to(dtype) * 0.2 + 0.1, lengths)
    return Jagged.from_sizes(torch.rand(sum(lengths), *shape, generator=generator).to(dtype), lengths)


def test_every_family_has_a_tiny_network() -> None:
    tried = {of["model_type"] for of in CONFIGS.values()} | {TOWERS.get(of["model_type"]) for of in CONFIGS.values()}

    assert set(FAMILIES) | set(TOWERS) == tried - {None}


@pytest.mark.parametrize("layers", ["last", 2, "weighted"])
@pytest.mark.parametrize("name", CONFIGS)
def test_encoders_of_pretrained_networks_keep_their_promises(name: str, layers: Any) -> None:
    if name == "swin" and layers != "last":
        pytest.skip("its layers have several widths, and none can be chosen")
    encoder = encoder_of(name)
    shape, lengths = GIVEN[encoder]

    check_encoder(ENCODERS.get(encoder).cls, shape, options_of(name, layers=layers), lengths=lengths)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in VISION])
@settings(max_examples=8)
@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any))
def test_a_sample_does_not_depend_on_those_that_it_is_padded_with(name: str, lengths: list[int]) -> None:
    encoder, built = encoder_of(name), build(name).double()
    sizes = [size * (23 if encoder == "hf_audio" else 1) for size in lengths]
    samples = draw(encoder, *sizes, dtype=torch.float64)

    with torch.no_grad():
        together = built(samples)
        for row, size in enumerate(sizes):
            if size:
                alone = built(samples[[row]]).values
                torch.testing.assert_close(together[row], alone, atol=1e-10, rtol=1e-10)


def test_a_long_clip_is_encoded_window_by_window() -> None:
    encoder = build("wav2vec2", window_seconds=0.05).double()
    wave = draw("hf_audio", 2000, dtype=torch.float64)
    scaled = (wave.values - wave.values.mean()) / (wave.values.var(correction=0) + 1e-7).sqrt()
    encoder.waves.normalize = False
    parts = [encoder(Jagged.from_sizes(part, [len(part)])).values for part in scaled.split(800)]
    encoder.waves.normalize = True

    torch.testing.assert_close(encoder(wave).values, torch.cat(parts), atol=1e-10, rtol=0)


def own_inputs(name: str, encoder: Any, elements: Tensor) -> dict[str, Tensor]:
    """What transformers' own network is given of a sample that fills one window."""
    if name in TEXT:
        return {"input_ids": elements[None]}
    if name in AUDIO:
        given = extractor_of(name)(elements.numpy(), sampling_rate=16_000, return_tensors="pt")
        return dict(given)
    images = encoder.images(elements)
    if name in VISION:
        return {"pixel_values": images}
    return {"pixel_values_videos" if name == "vjepa2" else "pixel_values": images[None]}


def own_vectors(name: str, hidden: Tensor, encoder: Any) -> Tensor:
    """What an encoder makes of the hidden states of transformers' own network."""
    if name in VISION:
        return hidden[:, encoder.before :].mean(dim=1)
    (tokens,) = hidden
    if name == "ast":
        return tokens[2:].unflatten(0, (2, 5)).mean(dim=0)
    if name == "timesformer":
        return tokens[1:].unflatten(0, (4, 3)).mean(dim=0)
    return tokens.unflatten(0, (2, 4)).mean(dim=1) if name in VIDEO else tokens


WINDOWS = {"hf_audio": 400, "hf_vision": 3, "hf_video": 4, "hf_text": 20}


@pytest.mark.parametrize("name", CONFIGS)
def test_an_encoder_of_a_folder_gives_what_transformers_itself_computes(name: str, tmp_path: Path) -> None:
    own, encoder = save(name, tmp_path), encoder_of(name)
    length = {"whisper": 3200, "ast": 2800, "timesformer": 3}.get(name, WINDOWS[encoder])
    sample = draw(encoder, length)
    pool = {"pool": "mean"} if name in VISION else {}
    for layers in ("last", 1, 2, "weighted"):
        if name == "swin" and layers != "last":
            continue
        built = ENCODERS.build(encoder, GIVEN[encoder][0], model=str(tmp_path), layers=layers, **pool).eval()
        with torch.no_grad():
            output = own(**own_inputs(name, built, sample.values), output_hidden_states=True)
            states = output.hidden_states
            if layers == "last":
                expected = output.last_hidden_state
            elif layers == "weighted":
                if name in ("whisper", "modernbert"):  # their last one is behind the norm
                    norm = FAMILIES[CONFIGS[name]["model_type"]].norm
                    states = (*states[:-1], before_norm(own, norm, own_inputs(name, built, sample.values)))
                expected = torch.stack(states).mean(dim=0)
            else:
                expected = states[layers]
            computed = built(sample).values
        torch.testing.assert_close(computed, own_vectors(name, expected, built), atol=1e-4, rtol=1e-4)


def before_norm(own: Any, norm: str, inputs: dict[str, Tensor]) -> Tensor:
    """What goes into the last normalisation of a network, for those that give its output as the last hidden state."""
    kept: list[Tensor] = []
    handle = own.get_submodule(norm).register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    own(**inputs)
    handle.remove()
    return kept[0]


def test_a_long_clip_takes_the_memory_of_a_window_and_little_is_padded() -> None:
    encoder = build("hubert", window_seconds=0.05)
    seen: list[tuple[int, ...]] = []
    encode = encoder.encode_windows
    encoder.encode_windows = lambda windows, sizes: seen.append(tuple(windows.shape)) or encode(windows, sizes)
    with torch.no_grad():
        pieces = list(encoder.encode_pieces(draw("hf_audio", 40_000), 1600))
        assert len(pieces) == len(seen) == 25
        assert set(seen) == {(2, 800)}
        seen.clear()
        encoder(draw("hf_audio", 100, 790, 110, 780, 105, 400))

    assert seen == [(3, 110), (1, 400), (2, 790)]  # those of like lengths together


@pytest.mark.parametrize("name", VISION)
def test_by_itself_a_network_of_images_pools_as_its_authors_do(name: str, tmp_path: Path) -> None:
    own = save(name, tmp_path)
    encoder = ENCODERS.build("hf_vision", (3, 20, 24), model=str(tmp_path)).eval()
    sample = draw("hf_vision", 2)
    with torch.no_grad():
        output = own(pixel_values=encoder.images(sample.values))
        expected = output.last_hidden_state[:, 0] if name == "vit" else output.pooler_output

        torch.testing.assert_close(encoder(sample).values, expected, **CLOSE)


def waves() -> Tensor:
    time = torch.arange(16_000) / 16_000
    speechlike = torch.sin(2 * torch.pi * 220 * time) * torch.exp(-((time - 0.5) ** 2) / 0.02)
    noise = 0.01 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    return torch.stack([speechlike + noise, 30 * noise, torch.cat([speechlike[:8000], torch.zeros(8000)])])


def test_the_spectrogram_of_whisper_is_that_of_its_extractor() -> None:
    import transformers

    extractor = transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=1)
    expected = extractor(list(waves().numpy()), sampling_rate=16_000, return_tensors="pt").input_features

    torch.testing.assert_close(WhisperMel(80, 16_000, 400, 160)(waves()), expected, atol=1e-4, rtol=0)


def test_the_spectrogram_of_ast_is_that_of_its_extractor() -> None:
    import transformers

    extractor = transformers.ASTFeatureExtractor(max_length=98, do_normalize=False)
    expected = extractor(list(waves().numpy()), sampling_rate=16_000, return_tensors="pt").input_values

    computed = KaldiMel(128, 16_000)(waves())
    torch.testing.assert_close(computed, expected, atol=0.02, rtol=0)  # a quiet band beside a loud one has few digits
    assert (computed - expected).abs().mean() < 1e-4


PROCESSORS = {
    "CLIPImageProcessor": {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}},
    "BitImageProcessor": {"size": {"shortest_edge": 32}, "crop_size": {"height": 24, "width": 24}},
    "SiglipImageProcessor": {"size": {"height": 24, "width": 24}},
    "ViTImageProcessor": {"size": {"height": 24, "width": 24}},
    "VideoMAEImageProcessor": {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}},
    "DINOv3ViTImageProcessor": {"size": {"height": 24, "width": 24}},
}


@pytest.mark.parametrize("shape", [(40, 61), (17, 17), (90, 30)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_images_are_prepared_as_the_processor_does_but_for_a_grey_level(name: str, shape: tuple[int, int]) -> None:
    import transformers

    processor = getattr(transformers, name)(**PROCESSORS[name])
    said = json.loads(processor.to_json_string())
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, *shape), dtype=torch.uint8, generator=generator)
    own = processor([image.numpy() for image in images], return_tensors="pt")["pixel_values"].reshape(2, 3, 24, 24)
    prepared = Images((3, *shape), said, size=24, normal=((0.0,), (1.0,)), channels=3, source="x")(images)

    level = 1 / 255 / min(said["image_std"])
    assert (prepared - own).abs().max() < 1.3 * level  # the processor rounds twice
    assert (prepared - own).abs().mean() < 0.4 * level


def test_images_are_what_torch_makes_of_them_in_double_precision() -> None:
    said = {"size": {"shortest_edge": 30}, "crop_size": 24, "resample": 3, "image_mean": [0.1, 0.2, 0.3]}
    said |= {"image_std": [0.5, 0.6, 0.7], "do_center_crop": True}
    image = torch.rand(1, 3, 50, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 4 + 0.4
    resized = torch.nn.functional.interpolate(image, size=(30, 48), mode="bicubic", antialias=True)
    expected = (resized[..., 3:27, 12:36].clamp(0, 1) - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor(
        [0.5, 0.6, 0.7]
    )[:, None, None]
    prepared = Images((3, 50, 80), said, size=1, normal=((0.0,), (1.0,)), channels=3, source="x").double()(image)

    np.testing.assert_allclose(prepared.numpy(), expected.numpy(), atol=1e-6)


def test_a_grey_image_is_seen_as_one_of_three_equal_channels() -> None:
    torch.manual_seed(0)
    grey = ENCODERS.build("hf_vision", (1, 20, 24), **options_of("vit")).eval()
    torch.manual_seed(0)
    coloured = ENCODERS.build("hf_vision", (3, 20, 24), **options_of("vit")).eval()
    image = torch.rand(2, 1, 20, 24)

    expected = coloured(Jagged.from_sizes(image.expand(-1, 3, -1, -1), [2])).values
    torch.testing.assert_close(grey(Jagged.from_sizes(image, [2])).values, expected)


@pytest.mark.parametrize("name", ["wavlm", "whisper", "clip", "swin", "videomae", "modernbert"])
def test_activations_that_are_computed_again_give_the_same_gradients(name: str) -> None:
    gradients = []
    for recomputes in (False, True):
        encoder = build(name).train()
        if recomputes:
            encoder.recompute_activations()
            assert encoder.network.is_activation_checkpointing
        torch.manual_seed(3)
        encoder(draw(encoder_of(name), *GIVEN[encoder_of(name)][1])).values.square().sum().backward()
        gradients.append([each.grad for each in encoder.parameters() if each.requires_grad])

    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_an_encoder_starts_from_a_file_of_its_own_state_and_of_a_larger_network(tmp_path: Path) -> None:
    save("hubert", tmp_path / "hub")
    built = ENCODERS.build("hf_audio", (), model=str(tmp_path / "hub"), layers=2).eval()
    save_file(built.state_dict(), tmp_path / "encoder.safetensors")
    wave = draw("hf_audio", 900)

    for file in (tmp_path / "encoder.safetensors", tmp_path / "hub" / "model.safetensors"):
        again = build("hubert", layers=2, weights=str(file))
        assert torch.equal(again(wave).values, built(wave).values)


def test_files_that_are_missing_or_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    save("bert", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    with pytest.raises(RunError, match=r"hf_text: weights .*nowhere.safetensors do not exist; `pretrained` takes"):
        build("bert", weights=str(tmp_path / "nowhere.safetensors"))
    cut = {name: of for name, of in tensors.items() if "layer.1" not in name}
    save_file(cut, tmp_path / "cut.safetensors")
    with pytest.raises(RunError, match=r"cut.safetensors lacks tensors of this network: encoder.layer.1.* more"):
        build("bert", weights=str(tmp_path / "cut.safetensors"))
    save_file({**tensors, "bert.encoder.layer.0.output.dense.bias": torch.zeros(3)}, tmp_path / "odd.safetensors")
    with pytest.raises(RunError, match=r"odd.safetensors is of another network: .*dense.bias has shape \(3,\)"):
        build("bert", weights=str(tmp_path / "odd.safetensors"))
    (tmp_path / "damaged.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(RunError, match=r"damaged.safetensors is not a safetensors file, or damaged"):
        build("bert", weights=str(tmp_path / "damaged.safetensors"))


def test_a_folder_without_safetensors_is_refused_and_no_pickle_is_read(tmp_path: Path) -> None:
    save("bert", tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()

    with pytest.raises(RecipeError, match=r"holds no model.safetensors nor .*index.json; other formats can run code"):
        ENCODERS.build("hf_text", (), model=str(tmp_path))


def test_shards_are_read_by_their_index_and_only_beside_it(tmp_path: Path) -> None:
    own = save("bert", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: tensors[name] for name in some}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, some in parts.items() for name in some}}))
    ids = draw("hf_text", 7)
    with torch.no_grad():
        expected = own(input_ids=ids.values[None]).last_hidden_state[0]
        torch.testing.assert_close(ENCODERS.build("hf_text", (), model=str(tmp_path)).eval()(ids).values, expected)
    index.write_text(json.dumps({"weight_map": {"x": "../secret.safetensors"}}))
    with pytest.raises(RecipeError, match="lists no safetensors files beside it"):
        ENCODERS.build("hf_text", (), model=str(tmp_path))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "llama"}, r"is of the type 'llama'; hf_text knows bert, distilbert, .*xlm-roberta"),
        ({"model_type": "vit"}, r"is a network for vision \(vit\); take hf_vision"),
        ({"hidden_size": 3}, "states no model_type"),
        ({"model_type": "bert", "hidden_size": 7, "num_attention_heads": 2}, "cannot be built"),
        ({"model_type": "bert", "hidden_size": "wide"}, "cannot be built"),
        ([1, 2], "holds no mapping"),
        ("{", "cannot be read"),
    ],
)
def test_a_config_that_is_none_of_ours_is_refused_by_name(config: Any, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))

    with pytest.raises(RecipeError, match=sentence):
        ENCODERS.build("hf_text", (), model=str(tmp_path), weights="none")


@pytest.mark.parametrize(
    ("name", "preparation", "sentence"),
    [
        ("wavlm", {"sampling_rate": "fast"}, "states sampling_rate 'fast', which is no positive whole number"),
        ("whisper", {"hop_length": 0}, "states hop_length 0, which is no positive whole number"),
        ("ast", {"mean": [1]}, "cannot be built"),
        ("vit", {"image_mean": "grey"}, "cannot be built"),
        ("vit", {"image_std": [0.0]}, r"states deviations \[0.0\] for 3 channels"),
        ("vit", {"image_mean": [0.1, 0.2]}, r"states means \[0.1, 0.2\] for 3 channels"),
        ("vit", {"resample": 0}, "resamples by Pillow's filter 0; 1, 2 and 3 are known"),
        ("vit", {"size": {"longest_edge": 3}}, "states the size {'longest_edge': 3}"),
        ("videomae", {"crop_size": [3]}, r"states the size \[3\]"),
    ],
)
def test_a_preparation_that_cannot_be_is_refused_by_name(name: str, preparation: Any, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        build(name, architecture={"config": CONFIGS[name], "preparation": preparation})


def test_no_code_of_a_stranger_is_named_by_what_is_kept_of_a_config(tmp_path: Path) -> None:
    harmful = {
        "auto_map": {"AutoModel": "evil--model.Model"},
        "attn_implementation": "stranger/kernel",
        "_attn_implementation": "stranger/kernel",
        "_name_or_path": "/home/somebody/secret",
        "quantization_config": {"quant_method": "unknown"},
        "is_decoder": True,
        "unheard_of": {"a": 1},
    }
    (tmp_path / "config.json").write_text(json.dumps({**CONFIGS["bert"], **harmful}))
    cls = ENCODERS.get("hf_text").cls
    kept = cls.complete({"model": str(tmp_path), "revision": None, "architecture": None})["architecture"]["config"]
    encoder = ENCODERS.build("hf_text", (), model=str(tmp_path), weights="none")

    assert not kept.keys() & (harmful.keys() - {"is_decoder", "unheard_of"})
    assert encoder.network.config._attn_implementation in ("sdpa", "eager")
    assert not encoder.network.config.is_decoder
    assert not hasattr(encoder.network.config, "unheard_of")


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("bert", {"layers": 4}, "layers: bert has 3 layers, none of the number 4; 1 to 3, last or weighted"),
        ("swin", {"layers": 1}, "layers: the layers of swin have several widths"),
        ("whisper", {"sample_rate": 8000}, "sample_rate: whisper hears 16000 samples per second, not 8000"),
        ("whisper", {"window_seconds": 3.0}, r"window_seconds: 3.0 s are no window of whisper; leave it out for 0.2 s"),
        ("swin", {"pool": "class"}, "pool: the network has no class token; take own or mean"),
        ("videomae", {"frames": 8}, "frames: videomae takes windows of 4 frames, not of 8"),
        ("vjepa2", {"frames": 3}, "frames: vjepa2 takes windows of multiples of 2 frames, not of 3"),
        ("roberta", {"window": 23}, "window: roberta has 22 positions, too few for windows of 23"),
        ("bert", {"architecture": {"layers": 3}}, "architecture: is none; leave it out: a training writes it"),
    ],
)
def test_an_option_that_does_not_fit_the_network_is_refused(name: str, options: Any, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        build(name, **options)


@pytest.mark.parametrize(("encoder", "shape"), [("hf_audio", (2,)), ("hf_text", (1,)), ("hf_video", (2, 8, 8))])
def test_an_element_of_another_kind_is_refused(encoder: str, shape: tuple[int, ...]) -> None:
    name = {"hf_audio": "wavlm", "hf_text": "bert", "hf_video": "videomae"}[encoder]
    with pytest.raises(ShapeError, match=r"an element of shape \(.*\) is not"):
        ENCODERS.build(encoder, shape, **options_of(name))


def test_an_id_of_padding_inside_a_text_moves_no_position(tmp_path: Path) -> None:
    own = save("roberta", tmp_path)
    ids = torch.tensor([5, 1, 7, 1, 9])  # 1 is that of padding, which the network itself would not count
    with torch.no_grad():
        expected = own(input_ids=ids[None], position_ids=torch.arange(2, 7)[None]).last_hidden_state[0]
        computed = ENCODERS.build("hf_text", (), model=str(tmp_path)).eval()(Jagged.from_sizes(ids, [5])).values

    torch.testing.assert_close(computed, expected, **CLOSE)


def test_whisper_takes_shorter_windows_and_the_first_of_its_positions(tmp_path: Path) -> None:
    own = save("whisper", tmp_path)
    encoder = ENCODERS.build("hf_audio", (), model=str(tmp_path), window_seconds=0.1).eval()
    wave = draw("hf_audio", 1600 + 320)

    assert encoder.window == 1600
    assert torch.equal(encoder.network.embed_positions.weight, own.embed_positions.weight[:5])
    own.embed_positions = torch.nn.Embedding.from_pretrained(own.embed_positions.weight[:5])
    own.config.max_source_positions = 5
    with torch.no_grad():
        expected = own(encoder.waves.mel(wave.values[None, :1600])).last_hidden_state[0]
        torch.testing.assert_close(encoder(wave).values[:5], expected, **CLOSE)


def test_v_jepa_takes_windows_of_fewer_frames() -> None:
    encoder = build("vjepa2", frames=2)

    assert encoder(draw("hf_video", 5)).sizes == (3,)


def test_a_model_that_was_not_downloaded_names_the_command_that_fetches_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RecipeError, match=r"(?s)HF_HUB_OFFLINE is set.*hf download ann/voices --revision v1`") as told:
        ENCODERS.build("hf_audio", (), model="ann/voices", revision="v1")
    assert str(told.value).startswith("hf_audio: model: ann/voices was not downloaded")
    with pytest.raises(RecipeError, match=r"there is no folder .*nowhere/to/be"):
        ENCODERS.build("hf_audio", (), model="./nowhere/to/be")


def test_what_was_downloaded_is_used_without_asking_and_its_commit_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    commit = "a" * 40
    snapshot = tmp_path / "models--ann--voices" / "snapshots" / commit
    save("wavlm", snapshot)
    (tmp_path / "models--ann--voices" / "refs").mkdir()
    (tmp_path / "models--ann--voices" / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.file_download, "HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    cls = ENCODERS.get("hf_audio").cls
    completed = cls.complete({"model": "ann/voices", "revision": None, "architecture": None})
    wave = draw("hf_audio", 400)

    assert completed["revision"] == commit
    of_hub = ENCODERS.build("hf_audio", (), **completed).eval()(wave).values
    of_folder = ENCODERS.build("hf_audio", (), model=str(snapshot)).eval()(wave).values
    assert torch.equal(of_hub, of_folder)


def test_without_transformers_the_extra_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("transformers.models.bert")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(RecipeError, match=r"hf_text needs the package transformers.*\[transformers\]"):
        build("bert")


def test_transformers_is_imported_only_where_a_network_is_built() -> None:
    code = "import sys, fusionkit.models.encoders; sys.exit('transformers' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.data
def test_a_real_whisper_gives_what_transformers_gives(real_data: Path) -> None:
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    folder = real_data / "weights" / "whisper_tiny_turn"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    generator = torch.Generator().manual_seed(0)
    wave = 0.05 * torch.randn(59_200, generator=generator).cumsum(0).sin()
    own = WhisperEncoder.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    features = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    encoder = ENCODERS.build("hf_audio", (), model=str(folder)).eval()
    with torch.no_grad():
        expected = own(features).last_hidden_state[0, :185]
        computed = encoder(Jagged.from_sizes(wave, [len(wave)])).values

    assert computed.shape == (185, 384)
    torch.testing.assert_close(computed, expected, atol=2e-3, rtol=1e-3)


_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_SMALL = {"hidden_size": 384, "num_attention_heads": 6}
_SENTENCES = {"model_type": "bert", "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
_MULTILINGUAL = {"vocab_size": 250_002, "max_position_embeddings": 514, "type_vocab_size": 1}
#: The architectures of the checkpoints that are listed, as their papers and configs state them.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "microsoft/wavlm-base-plus": {"model_type": "wavlm"},
    "microsoft/wavlm-base": {"model_type": "wavlm"},
    "microsoft/wavlm-large": {"model_type": "wavlm", **_LARGE, **_STABLE},
    "facebook/hubert-base-ls960": {"model_type": "hubert"},
    "facebook/wav2vec2-base": {"model_type": "wav2vec2"},
    "facebook/mms-300m": {"model_type": "wav2vec2", **_LARGE, **_STABLE},
    "facebook/mms-1b": {
        "model_type": "wav2vec2",
        "hidden_size": 1280,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "intermediate_size": 5120,
        **_STABLE,
    },
    "openai/whisper-tiny": {
        "model_type": "whisper",
        "d_model": 384,
        "encoder_layers": 4,
        "encoder_attention_heads": 6,
        "encoder_ffn_dim": 1536,
    },
    "openai/whisper-small": {
        "model_type": "whisper",
        "d_model": 768,
        "encoder_layers": 12,
        "encoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
    },
    "MIT/ast-finetuned-audioset-10-10-0.4593": {"model_type": "audio-spectrogram-transformer"},
    "facebook/dinov2-small": {"model_type": "dinov2", **_SMALL, "image_size": 518, "patch_size": 14},
    "facebook/dinov2-base": {"model_type": "dinov2", "image_size": 518, "patch_size": 14},
    "facebook/dinov2-with-registers-base": {
        "model_type": "dinov2_with_registers",
        "num_register_tokens": 4,
        "image_size": 518,
        "patch_size": 14,
    },
    "facebook/dinov3-vits16-pretrain-lvd1689m": {
        "model_type": "dinov3_vit",
        **_SMALL,
        "intermediate_size": 1536,
        "num_register_tokens": 4,
    },
    "facebook/dinov3-vitb16-pretrain-lvd1689m": {
        "model_type": "dinov3_vit",
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "num_register_tokens": 4,
    },
    "openai/clip-vit-base-patch32": {"model_type": "clip_vision_model"},
    "openai/clip-vit-base-patch16": {"model_type": "clip_vision_model", "patch_size": 16},
    "openai/clip-vit-large-patch14": {"model_type": "clip_vision_model", "patch_size": 14, **_LARGE},
    "google/siglip-base-patch16-224": {"model_type": "siglip_vision_model"},
    "google/siglip2-base-patch16-224": {"model_type": "siglip_vision_model"},
    "google/vit-base-patch16-224": {"model_type": "vit"},
    "microsoft/swin-tiny-patch4-window7-224": {"model_type": "swin"},
    "MCG-NJU/videomae-base": {"model_type": "videomae"},
    "MCG-NJU/videomae-base-finetuned-kinetics": {"model_type": "videomae"},
    "MCG-NJU/videomae-large-finetuned-kinetics": {"model_type": "videomae", **_LARGE},
    "sentence-transformers/all-MiniLM-L6-v2": {**_SENTENCES, "num_hidden_layers": 6},
    "BAAI/bge-small-en-v1.5": {**_SENTENCES, "num_hidden_layers": 12},
    "intfloat/multilingual-e5-small": {**_SENTENCES, "num_hidden_layers": 12, "vocab_size": 250_037},
    "answerdotai/ModernBERT-base": {"model_type": "modernbert"},
    "FacebookAI/xlm-roberta-base": {"model_type": "xlm-roberta", **_MULTILINGUAL},
}


@pytest.mark.slow
@pytest.mark.parametrize("listed", CHECKPOINTS, ids=lambda each: each.model)
def test_a_checkpoint_that_is_listed_has_the_size_that_is_said(listed: Checkpoint) -> None:
    shape = (3, 224, 224) if listed.encoder in ("hf_vision", "hf_video") else ()
    with torch.device("meta"):
        encoder = ENCODERS.build(
            listed.encoder,
            shape,
            model=listed.model,
            weights="none",
            architecture={"config": ARCHITECTURES[listed.model]},
        )
    parameters = sum(each.numel() for each in encoder.parameters())

    assert round(parameters / 1e6, 1) == pytest.approx(listed.millions)
    assert encoder.out_shape == (listed.features,)
