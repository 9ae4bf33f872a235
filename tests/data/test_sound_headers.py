"""Sounds whose headers say something else of their length than the file."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fusionkit.data.datasets.manifest import Manifest
from fusionkit.data.readers.length_notes import note_length
from fusionkit.data.readers.media import ReadOptions, describe_media
from fusionkit.data.readers.sound.audio import read_audio, read_header
from fusionkit.errors import DataError

RATE, LENGTH = 8000, 500
WAVE = (0.5 * np.sin(np.arange(LENGTH) / 7)).astype("f4")

# By container: its ending, the word before the size of its sound, bytes from one to the other, code, and what is added.
FIELDS = {
    "WAV": ("wav", b"data", 4, "<I", 0),
    "WAVEX": ("wav", b"data", 4, "<I", 0),
    "RF64": ("wav", b"ds64", 16, "<Q", 0),
    "W64": ("w64", b"data", 16, "<Q", 24),
    "AIFF": ("aiff", b"SSND", 4, ">I", 8),
}


def written(folder: Path, form: str, subtype: str = "PCM_16", wave: np.ndarray = WAVE) -> Path:
    path = folder / f"sound.{FIELDS[form][0]}"
    soundfile.write(path, wave, RATE, format=form, subtype=subtype)
    return path


def restated(path: Path, form: str, change: Callable[[int], int]) -> Path:
    """The file with another size in its header."""
    _, word, behind, code, _ = FIELDS[form]
    content = bytearray(path.read_bytes())
    at = content.index(word) + behind
    struct.pack_into(code, content, at, change(struct.unpack_from(code, content, at)[0]))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("form", FIELDS)
def test_a_stated_length_of_0_with_sound_behind_it_is_read_to_the_end_and_noted(tmp_path: Path, form: str) -> None:
    path = restated(written(tmp_path, form), form, lambda _: FIELDS[form][4])

    header = read_header(path)

    assert (header.frames, header.rate, header.channels) == (LENGTH, RATE, 1)
    assert header.note == "states a length of 0, but 1,000 bytes of sound follow: it is read to the end of the file"
    assert np.allclose(read_audio(path).numpy(), WAVE, atol=2**-14)
    assert describe_media(path, ReadOptions()).note == header.note


OPEN = [
    *[("WAV", size) for size in (0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF - 36, 0x7FFFFFFF - 36)],
    *[("RF64", size) for size in (2**64 - 1, 2**63 - 1, 0xFFFFFFFF)],
    *[("W64", size) for size in (2**64 - 1, 2**63 - 1, 0x7FFFF000)],
    *[("AIFF", size) for size in (0xFFFFFFFF, 0x7FFFF000)],
]


@pytest.mark.parametrize(("form", "size"), OPEN)
def test_an_open_length_is_read_to_the_end_and_noted(tmp_path: Path, form: str, size: int) -> None:
    path = restated(written(tmp_path, form), form, lambda _: size)

    header = read_header(path)

    assert header.frames == LENGTH
    assert header.note == "does not state its length, as sound from a pipe: it is read to the end of the file"
    assert np.allclose(read_audio(path).numpy(), WAVE, atol=2**-14)


@pytest.mark.parametrize("form", FIELDS)
def test_a_whole_file_has_no_note_and_one_that_was_cut_is_refused(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, form)
    assert read_header(path).note == ""
    assert np.allclose(read_audio(path).numpy(), WAVE, atol=2**-14)

    path.write_bytes(path.read_bytes()[:-400])

    with pytest.raises(DataError, match=r"is truncated: it holds \d+ of 1000 bytes of sound"):
        read_header(path)
    with pytest.raises(DataError, match="is truncated"):
        read_audio(path)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_every_encoding_of_a_wav_is_read_behind_a_length_of_0(tmp_path: Path, subtype: str) -> None:
    whole = read_audio(written(tmp_path, "WAV", subtype)).numpy()

    found = read_audio(restated(tmp_path / "sound.wav", "WAV", lambda _: 0)).numpy()

    assert np.array_equal(found, whole)
    assert len(found) >= LENGTH


def test_a_length_of_0_is_believed_where_nothing_or_only_other_chunks_follow(tmp_path: Path) -> None:
    path = written(tmp_path, "WAV", wave=WAVE[:0])
    assert path.stat().st_size == 44
    for behind in (b"", b"LIST" + struct.pack("<I", 5) + b"hello\0", b"id3 " + struct.pack("<I", 4) + bytes(4)):
        path.write_bytes(path.read_bytes()[:44] + behind)

        header = read_header(path)

        assert (header.frames, header.note) == (0, "")
        assert len(read_audio(path)) == 0


def test_a_wav_of_letters_is_sound_although_its_samples_read_like_the_name_of_a_chunk(tmp_path: Path) -> None:
    letters = (np.frombuffer(b"PQRSTUVWXYZ" * 20, np.uint8).astype("f4") - 128) / 128
    path = restated(written(tmp_path, "WAV", "PCM_U8", letters), "WAV", lambda _: 0)

    assert np.allclose(read_audio(path).numpy(), letters, atol=2**-7)


def test_sound_behind_the_stated_length_is_noted_and_not_read(tmp_path: Path) -> None:
    path = restated(written(tmp_path, "WAV"), "WAV", lambda _: 400)

    header = read_header(path)

    assert header.frames == 200
    assert header.note == "goes on for 600 bytes behind the sound that its header states: they are not read"
    assert np.allclose(read_audio(path).numpy(), WAVE[:200], atol=2**-14)


def test_a_chunk_before_the_sound_may_state_4_gb_without_being_read(tmp_path: Path) -> None:
    path = written(tmp_path, "WAV")
    content = path.read_bytes()
    path.write_bytes(content[:36] + b"LIST" + struct.pack("<I", 0xFFFFFFF0) + content[36:])

    with pytest.raises(DataError, match=r"sound\.wav: cannot be read as sound"):
        read_audio(path)


def test_a_sound_of_more_samples_than_the_limit_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "WAV", wave=np.stack([WAVE, WAVE], axis=1))
    monkeypatch.setenv("FUSIONKIT_MAX_SAMPLES", "1000")
    assert len(read_audio(path)) == LENGTH
    with pytest.raises(DataError, match=r"sound\.wav: holds 1,001 samples, more than the limit of 1,000"):
        read_audio(path, rate=16_016)

    monkeypatch.setenv("FUSIONKIT_MAX_SAMPLES", "999")
    for read in (read_header, read_audio):
        with pytest.raises(DataError, match=r"holds 1,000 samples, more than the limit of 999.*FUSIONKIT_MAX_SAMPLES"):
            read(path)


def test_a_flac_that_states_no_length_is_read_to_the_end_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, WAVE, RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)

    header = read_header(path)

    assert (header.frames, header.rate, header.channels) == (LENGTH, RATE, 1)
    assert header.note == "does not state its length, so a loss at its end would go unseen"
    assert np.allclose(read_audio(path).numpy(), WAVE, atol=2**-14)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.w64"])
def test_bytes_that_are_no_sound_are_refused_with_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(np.random.default_rng(0).bytes(300))

    with pytest.raises(DataError, match=rf"{name}: cannot be read as sound \(.+\); copy it again"):
        read_audio(path)


def test_a_table_tells_how_many_sounds_state_another_length_than_they_hold(tmp_path: Path) -> None:
    names = [f"{i}.wav" for i in range(8)]
    for name in names:
        written(tmp_path, "WAV").rename(tmp_path / name)
    for name in names[:6]:
        restated(tmp_path / name, "WAV", lambda _: 0)
    restated(tmp_path / names[6], "WAV", lambda _: 0x7FFFF000)
    soundfile.write(tmp_path / "open.flac", WAVE, RATE)
    content = bytearray((tmp_path / "open.flac").read_bytes())
    content[21:26] = [content[21] & 0xF0, 0, 0, 0, 0]
    (tmp_path / "open.flac").write_bytes(content)
    table = tmp_path / "samples.csv"
    table.write_text("\n".join(["sound,label", *(f"{name},calm" for name in [*names, "open.flac"])]))

    (caution,) = Manifest(path=str(table), modalities={"sound": "sound"}, targets=["label"]).cautions

    assert caution.startswith("8 of 9 files of sound do not state their length, or a wrong one: samples.csv, line 2: ")
    assert "0.wav states a length of 0, but 1,000 bytes of sound follow: it is read to the end of the file; " in caution
    assert caution.endswith("; and 3 more.")
    for name, note in ((names[6], "does not state"), ("open.flac", "does not state"), (names[7], "")):
        assert note_length(tmp_path / name).startswith(note)
        assert note_length(tmp_path / name) == read_header(tmp_path / name).note


def test_a_sound_that_cannot_be_read_or_was_cut_is_told_when_it_is_loaded(tmp_path: Path) -> None:
    path = written(tmp_path, "WAV")
    path.write_bytes(path.read_bytes()[:-400])

    assert note_length(path) == note_length(tmp_path / "none.wav") == note_length(tmp_path) == ""


def test_an_rf64_that_states_0_in_both_of_its_fields_is_read_to_the_end(tmp_path: Path) -> None:
    path = restated(written(tmp_path, "RF64"), "RF64", lambda _: 0)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = bytes(4)
    path.write_bytes(content)

    assert read_header(path).frames == LENGTH
    assert np.allclose(read_audio(path).numpy(), WAVE, atol=2**-14)


CHUNKS_BEHIND = {
    "WAV": b"LIST" + struct.pack("<I", 14) + b"INFOISFTab\0\0\0\0" + b"id3 " + struct.pack("<I", 5) + b"ID3\3\0\0",
    "RF64": b"LIST" + struct.pack("<I", 14) + b"INFOISFTab\0\0\0\0",
    "W64": b"list" + bytes(12) + struct.pack("<Q", 40) + bytes(16),
    "AIFF": b"NAME" + struct.pack(">I", 5) + b"hello\0",
}


@pytest.mark.parametrize("form", CHUNKS_BEHIND)
@pytest.mark.parametrize("size", [0, 0x7FFFF000])
def test_chunks_behind_a_sound_of_open_length_are_no_sound(tmp_path: Path, form: str, size: int) -> None:
    path = restated(written(tmp_path, form), form, lambda _: size or FIELDS[form][4])
    path.write_bytes(path.read_bytes() + CHUNKS_BEHIND[form])

    header = read_header(path)

    assert header.frames == LENGTH
    assert header.note.endswith(": it is read up to the chunks behind it")
    assert np.allclose(read_audio(path).numpy(), WAVE, atol=2**-14)


def test_what_only_begins_like_a_chunk_at_the_end_of_a_sound_is_sound(tmp_path: Path) -> None:
    for behind in (b"LIST" + struct.pack("<I", 100) + b"hello\0", b"zzzz" + struct.pack("<I", 6) + b"hello\0"):
        path = restated(written(tmp_path, "WAV"), "WAV", lambda _: 0)
        path.write_bytes(path.read_bytes() + behind)

        assert read_header(path).frames == LENGTH + len(behind) // 2


def test_what_stands_behind_the_stated_sound_of_a_w64_is_not_read_as_sound(tmp_path: Path) -> None:
    path = written(tmp_path, "W64")
    path.write_bytes(path.read_bytes() + CHUNKS_BEHIND["W64"])
    assert soundfile.info(path).frames > LENGTH  # libsndfile reads to the end of the file

    assert (read_header(path).frames, len(read_audio(path))) == (LENGTH, LENGTH)


@pytest.mark.parametrize(("form", "endian"), [("AU", "BIG"), ("AU", "LITTLE"), ("NIST", "BIG"), ("NIST", "LITTLE")])
def test_a_wav_that_is_an_au_or_sphere_file_is_held_against_its_own_count(
    tmp_path: Path, form: str, endian: str
) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, WAVE, RATE, format=form, subtype="PCM_16", endian=endian)
    whole = path.read_bytes()
    assert (read_header(path).note, len(read_audio(path))) == ("", LENGTH)

    path.write_bytes(whole[:-400])
    for read in (read_header, read_audio):
        with pytest.raises(DataError, match=r"sound\.wav: is truncated: it holds 600 of 1000 bytes of sound"):
            read(path)
    path.write_bytes(whole + bytes(200))
    assert read_header(path).note == "goes on for 200 bytes behind the sound that its header states: they are not read"
    assert len(read_audio(path)) == LENGTH


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_an_au_of_open_length_is_read_to_the_end_and_noted(tmp_path: Path, size: int) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, WAVE, RATE, format="AU", subtype="PCM_16", endian="BIG")
    content = bytearray(path.read_bytes())
    content[8:12] = struct.pack(">I", size)
    path.write_bytes(content)

    header = read_header(path)
    assert (header.frames, header.note.endswith(": it is read to the end of the file")) == (LENGTH, True)
    assert np.allclose(read_audio(path).numpy(), WAVE, atol=2**-14)


@pytest.mark.parametrize("form", ["VOC", "AVR"])
def test_a_wav_of_a_form_that_cannot_be_checked_is_said_to_be_one(tmp_path: Path, form: str) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, WAVE, RATE, format=form, subtype="PCM_16")

    note = "is of a form whose length cannot be checked, so a loss at its end would go unseen"
    assert read_header(path).note == note_length(path) == note
    assert np.allclose(read_audio(path).numpy(), WAVE, atol=2**-14)


def flac_stating(path: Path, samples: int, wave: np.ndarray = WAVE) -> Path:
    soundfile.write(path, wave, RATE)
    content = bytearray(path.read_bytes())
    content[22:26] = struct.pack(">I", samples)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("seconds", [1, 60])
def test_a_flac_that_states_too_few_samples_is_read_to_the_end_and_noted(tmp_path: Path, seconds: int) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, seconds * RATE).astype("f4")
    path = flac_stating(tmp_path / "a.flac", 3000, wave)

    header = read_header(path)

    assert header.frames == len(wave)
    note = f"states 3,000 samples, but {len(wave) - 3000:,} more follow: it is read to the end of the file"
    assert header.note == note_length(path) == note
    assert np.allclose(read_audio(path).numpy(), wave, atol=2**-14)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("seconds", [0.01, 1, 60])
def test_a_whole_flac_of_any_size_has_no_note(tmp_path: Path, seconds: float, channels: int) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (int(seconds * RATE), channels)).astype("f4")
    soundfile.write(tmp_path / "a.flac", wave, RATE)
    whole = (tmp_path / "a.flac").read_bytes()
    like_a_frame = b"\xff\xf8\xc9" + bytes([(channels - 1) << 4 | 8]) + b"\x7f" * 12  # but with a wrong checksum
    for behind in (b"", bytes(1000), like_a_frame):
        (tmp_path / "a.flac").write_bytes(whole + behind)

        header = read_header(tmp_path / "a.flac")

        assert (header.frames, header.channels, header.note) == (len(wave), channels, "")
