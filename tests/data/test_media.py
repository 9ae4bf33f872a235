import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import save_file

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.datasets.fer2013_files import find_faces
from fusionkit.data.datasets.film_files import find_media
from fusionkit.data.datasets.manifest import Manifest
from fusionkit.data.readers.files import expand_path, find_existing
from fusionkit.data.readers.media import ReadOptions, describe_media, read_media
from fusionkit.data.readers.sound.audio import read_audio, read_header
from fusionkit.errors import DataError
from fusionkit.nn.tensor_checks import check_finite
from fusionkit.testing import check_dataset

PLAIN = ReadOptions()


def tone(length: int, channels: int = 1) -> np.ndarray:
    wave = 0.5 * np.sin(np.arange(length * channels) / 7).reshape(length, channels)
    return wave.astype(np.float32)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_sound_is_read_as_the_mean_of_its_channels(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, tone(500, 2), 8000, subtype="PCM_16")
    values = read_media(path, PLAIN)
    assert values.dtype == torch.float32
    assert np.allclose(values.numpy(), tone(500, 2).mean(axis=1), atol=2**-14)
    info = describe_media(path, PLAIN)
    assert (info.shape, info.rate, info.length) == ((), 8000.0, 500)


@pytest.mark.parametrize(
    ("own", "wanted"),
    # the last two share no divisor: their exact filter would need gigabytes
    [(48000, 16000), (8000, 16000), (44100, 16000), (16000, 16000), (44101, 16000), (16000, 44101)],
)
def test_resampling_keeps_the_tone_and_the_header_tells_its_length(tmp_path: Path, own: int, wanted: int) -> None:
    path = tmp_path / "a.wav"
    seconds = np.arange(own // 2 + 1) / own
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * seconds), own, subtype="FLOAT")
    options = ReadOptions(sample_rate=wanted)
    values = read_media(path, options)
    assert len(values) == describe_media(path, options).length
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(values)) / wanted)
    assert np.abs(values.numpy() - expected)[200:-200].max() < 5e-3


def test_a_truncated_wav_is_refused_though_soundfile_reads_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1000), 8000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:1044])
    assert len(soundfile.read(path)[0]) == 500
    with pytest.raises(DataError, match=r"a\.wav: is truncated: it holds 1000 of 2000 bytes of sound"):
        read_audio(path)


def test_a_truncated_wav_with_chunks_before_its_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1000), 8000, subtype="PCM_16")
    whole = path.read_bytes()
    extra = b"LIST" + struct.pack("<I", 5) + b"hello\0"
    path.write_bytes(whole[:36] + extra + whole[36:])
    assert len(read_audio(path)) == 1000
    path.write_bytes((whole[:36] + extra + whole[36:])[:-2])
    with pytest.raises(DataError, match="1998 of 2000 bytes"):
        read_header(path)


def test_a_wav_of_gsm_is_read_though_it_cannot_be_sought_in(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(3200), 8000, subtype="GSM610")

    values = read_audio(path)

    assert len(values) == read_header(path).frames >= 3200
    assert float(np.corrcoef(values[:3200].numpy(), tone(3200)[:, 0])[0, 1]) > 0.9
    path.write_bytes(path.read_bytes()[:-130])
    with pytest.raises(DataError, match="is truncated"):
        read_audio(path)


def test_a_truncated_flac_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 40000)
    soundfile.write(path, noise, 8000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"a\.flac: is (truncated|damaged)"):
        read_audio(path)


def test_a_reader_that_returns_fewer_samples_than_the_header_promises_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(1000), 8000)
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *given, **options: read(*given, frames=400, **options))
    with pytest.raises(DataError, match="is truncated: it holds 400 of 1000 samples"):
        read_audio(path)


def test_a_file_that_is_no_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    for content, message in ((b"", r"is empty \(0 bytes\)"), (b"RIFF", "cannot be read as sound")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"a\.wav: {message}"):
            read_audio(path)


def test_sound_that_holds_nan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    wave = tone(10)
    wave[3] = np.nan
    soundfile.write(path, wave, 8000, subtype="FLOAT")
    with pytest.raises(DataError, match="1 of 10 numbers are NaN or infinite"):
        read_media(path, PLAIN)


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((5,), "auto", (1, 5)),
        ((5,), "sequence", (5,)),
        ((7, 3), "auto", (7, 3)),
        ((7, 3), "static", (1, 7, 3)),
        ((), "auto", (1,)),
    ],
)
def test_an_array_is_a_sequence_or_one_element_by_its_layout(
    tmp_path: Path, shape: tuple[int, ...], layout: str, expected: tuple[int, ...]
) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype=np.int16).reshape(shape)
    options = ReadOptions(layout=layout, rate=25.0)
    np.save(tmp_path / "a.npy", array)
    save_file({"x": torch.from_numpy(array)}, tmp_path / "a.safetensors")
    for name in ("a.npy", "a.safetensors"):
        values = read_media(tmp_path / name, options)
        assert values.dtype == torch.int64
        assert tuple(values.shape) == expected
        assert np.array_equal(values.numpy().ravel(), array.ravel())
        info = describe_media(tmp_path / name, options)
        assert (info.length, *info.shape) == expected
        assert info.rate == (None if len(expected) > len(shape) else 25.0)


def test_a_safetensors_file_of_several_tensors_needs_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(2), "y": torch.ones(3)}, path)
    assert read_media(path, ReadOptions(tensor="y")).tolist() == [[1.0, 1.0, 1.0]]
    with pytest.raises(DataError, match="holds 2 tensors: say which with `tensor`; it holds x, y"):
        read_media(path, PLAIN)
    with pytest.raises(DataError, match="has no tensor 'z'; it holds x, y"):
        read_media(path, ReadOptions(tensor="z"))


def test_arrays_that_would_run_code_or_hold_no_numbers_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "words.npy", np.array(["a"]))
    np.save(tmp_path / "nan.npy", np.full(3, np.nan))
    (tmp_path / "cut.safetensors").write_bytes(b"\x05")
    for name, message in (
        ("objects.npy", "holds object, not real numbers"),
        ("words.npy", "not real numbers"),
        ("nan.npy", "all 3 numbers are NaN or infinite"),
        ("cut.safetensors", "cannot be read as safetensors"),
        ("absent.npy", "no such file"),
        ("a.txt", r"cannot read files that end in '\.txt'; known: \.aac"),
    ):
        with pytest.raises(DataError, match=message):
            read_media(tmp_path / name, PLAIN)


def test_an_image_is_one_element_of_channels_height_width_in_0_to_1(tmp_path: Path) -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 15
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    colour = read_media(tmp_path / "colour.png", PLAIN)
    assert np.allclose(colour.numpy()[0], pixels.transpose(2, 0, 1) / 255)
    assert describe_media(tmp_path / "colour.png", PLAIN).shape == (3, 2, 3)
    assert np.allclose(read_media(tmp_path / "grey.png", PLAIN).numpy()[0, 0], pixels[..., 0] / 255)


def test_images_that_are_damaged_or_deeper_than_8_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), dtype=np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    with pytest.raises(DataError, match="not of 8 bits"):
        read_media(tmp_path / "deep.png", PLAIN)
    with pytest.raises(DataError, match=r"cut\.png: cannot be read as an image"):
        read_media(tmp_path / "cut.png", PLAIN)


def test_paths_expand_home_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("CLIPS", "/clips")
    assert expand_path("~/x") == Path("/home/ada/x")
    assert expand_path("$CLIPS/x") == expand_path("${CLIPS}/x") == Path("/clips/x")


def test_a_variable_that_is_not_set_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPS", raising=False)
    with pytest.raises(DataError, match=r"\$CLIPS/x: the environment variable CLIPS is not set; set CLIPS to"):
        expand_path("$CLIPS/x")


def test_a_home_folder_of_nobody_is_refused_with_what_to_do() -> None:
    with pytest.raises(DataError, match=r"~nobody_at_all/x: no home folder of ~nobody_at_all is known; write the path"):
        expand_path("~nobody_at_all/x")


@pytest.mark.parametrize(
    "look",
    [find_existing, lambda path: find_media(path, "films"), find_faces],
    ids=["a file", "a folder of films", "faces"],
)
def test_a_name_that_the_system_refuses_is_said_with_its_reason(look: Callable[[str], object]) -> None:
    with pytest.raises(DataError, match=r"n{300}: cannot be read \(File name too long\); check its name, and the"):
        look("n" * 300)


def test_a_folder_in_place_of_a_file_is_said_to_be_one(tmp_path: Path) -> None:
    for name in ("a.npy", "a.png", "a.wav", "a.mp3", "a.m4a"):
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match="is a folder, not a file"):
            find_existing(tmp_path / name)
        with pytest.raises(DataError, match="is a folder, not a file"):
            read_media(tmp_path / name, ReadOptions())
        (tmp_path / "t.csv").write_text(f"file,y\n{name},a\n")
        with pytest.raises(DataError) as caught:
            DATASETS.build("manifest", path=str(tmp_path / "t.csv"), modalities={"m": "file"}, targets=["y"])
        place = f"{tmp_path}/t.csv, line 2: m: "  # the table is named once
        assert str(caught.value) == f"{place}is a folder, not a file: {tmp_path}/{name}"


def test_large_numbers_are_finite_although_their_sum_is_not() -> None:
    check_finite(torch.tensor([3e38, 3e38]), "here")
    with pytest.raises(DataError, match="here: 1 of 3 numbers are NaN or infinite"):
        check_finite(torch.tensor([3e38, 3e38, float("nan")]), "here")
    with pytest.raises(DataError, match="here: all 2 numbers are NaN or infinite"):
        check_finite(torch.tensor([float("inf"), float("-inf")]), "here")


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".npy"])
def test_a_file_without_elements_counts_as_missing_however_large_its_header(suffix: str, tmp_path: Path) -> None:
    for name in ("whole", "empty"):
        if suffix == ".npy":
            np.save(tmp_path / f"{name}.npy", np.zeros((3, 2), "f4"))
        else:
            soundfile.write(tmp_path / f"{name}{suffix}", 0.1 * np.ones(800, "f4"), 8000)
    empty = tmp_path / f"empty{suffix}"
    if suffix == ".wav":
        chunk = b"LIST" + struct.pack("<I", 6000) + bytes(6000)
        empty.write_bytes(empty.read_bytes()[:36] + chunk + b"data" + bytes(4))
    elif suffix == ".flac":  # states no samples, and pads its header
        info = empty.read_bytes()[8:21]  # 20 more bytes state no samples
        empty.write_bytes(b"fLaC\x00\x00\x00\x22" + info + b"\xf0" + bytes(20) + b"\x81\x00\x20\x00" + bytes(8192))
    else:
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }}{' ' * 8000}\n".encode()
        empty.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    assert empty.stat().st_size > 6000
    (tmp_path / "t.csv").write_text(f"x,label\nwhole{suffix},a\nempty{suffix},b\n")

    options: dict[str, Any] = {"path": str(tmp_path / "t.csv"), "modalities": {"x": "x"}, "targets": ["label"]}
    data = Manifest(**options)

    assert [data.has(index, "x") for index in (0, 1)] == [True, False]
    assert [data.length(index, "x") > 0 for index in (0, 1)] == [True, False]
    check_dataset(Manifest, options)
    assert data.cautions == (
        f"1 of 2 files of x hold a header and no element: t.csv, line 3: {empty}. Their samples count as without x.",
    )
