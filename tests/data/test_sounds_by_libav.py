"""Sounds of every container: what is left of broken ones, what is said of them, and what they may hold at most."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from written_films import cut_short, made, steps, write_film
from written_sounds import RATE, encode, level_at, sine

from fusionkit.data.datasets.manifest import Manifest
from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.media import ReadOptions, describe_media, read_media
from fusionkit.data.readers.sound.audio import decode_audio, read_audio, read_header
from fusionkit.data.readers.sound.compressed import decode_compressed
from fusionkit.errors import DataError
from fusionkit.interfaces import Clip

NOISE = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"}
OPTIONS = {".m4a": {"movflags": "faststart"}, ".mp4": FRAGMENTS}
CUT = [".wav", ".flac", ".aiff", ".m4a", ".mp3", ".ogg", ".opus", ".mka", ".webm", ".mp4"]


def noise(folder: Path, suffix: str) -> Path:
    """Two seconds."""
    file = folder / f"a{suffix}"
    if suffix in (".wav", ".flac", ".aiff"):
        soundfile.write(file, NOISE, RATE)
        return file
    if suffix in (".ogg", ".opus"):  # in pages of a tenth of a second
        return encode(file, NOISE[None], page_duration="100000")
    return encode(file, NOISE[None], **OPTIONS.get(suffix, {}))


@pytest.mark.parametrize("suffix", CUT)
def test_the_policy_of_incomplete_files_is_heeded_by_every_reader_of_sound(suffix: str, tmp_path: Path) -> None:
    file = noise(tmp_path, suffix)
    assert made(Clip(None, file), tmp_path).status == "prepared"
    cut_short(file, 0.6)

    kept = made(Clip(None, file), tmp_path, incomplete="keep")
    dropped, failed = (made(Clip(None, file), tmp_path, incomplete=policy) for policy in ("drop", "fail"))
    with pytest.raises(DataError):
        read_audio(file)

    assert (kept.status, dropped.status, failed.status) == ("prepared", "dropped", "failed"), kept.reason
    assert "incomplete" in [found.kind for found in kept.departures]
    assert 0.8 * 16_000 < len(kept.tensors["audio"]) < 1.4 * 16_000
    wave = kept.tensors["audio"].double() / 32768
    assert float(wave.std()) == pytest.approx(NOISE.std() / 3**0.5, rel=0.15)  # a third of the band is left at 16 kHz


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("damage", [bytes(40), b"\x55"])
def test_a_flac_that_is_damaged_inside_is_kept_where_it_can_be_decoded(
    share: float, damage: bytes, tmp_path: Path
) -> None:
    file = noise(tmp_path, ".flac")
    content = bytearray(file.read_bytes())
    at = int(len(content) * share)
    content[at : at + len(damage)] = damage
    file.write_bytes(content)

    kept = made(Clip(None, file), tmp_path, incomplete="keep")
    dropped, failed = (made(Clip(None, file), tmp_path, incomplete=policy) for policy in ("drop", "fail"))
    with pytest.raises(DataError, match="cannot be decoded"):
        read_audio(file)

    assert (kept.status, dropped.status, failed.status) == ("prepared", "dropped", "failed"), kept.reason
    assert "incomplete" in [found.kind for found in kept.departures]
    assert 1.7 * 16_000 < len(kept.tensors["audio"]) <= 2 * 16_000
    first = decode_audio(file).wave[: int(share * RATE)].numpy()  # all before the damage is as it was
    assert np.allclose(first, NOISE[: len(first)], atol=2**-14)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_one_wrong_bit_in_a_flac_is_seen_by_its_checksum_whatever_reads_it(share: float, tmp_path: Path) -> None:
    content = bytearray(noise(tmp_path, ".flac").read_bytes())
    content[int(len(content) * share)] ^= 0x10
    file = tmp_path / "a.mka"
    file.write_bytes(content)

    with pytest.raises(DataError, match=r"has (1 part|parts) that cannot be decoded|ends after"):
        read_audio(file)


def test_nothing_is_left_of_a_flac_that_was_cut_within_its_first_frame(tmp_path: Path) -> None:
    file = noise(tmp_path, ".flac")
    cut_short(file, 0.02)

    sound = decode_audio(file)

    assert len(sound.wave) == 0
    assert sound.losses[0] == f"is truncated: it holds 0 of {2 * RATE} samples that its header promises"
    assert "incomplete" in [found.kind for found in made(Clip(None, file), tmp_path, incomplete="keep").departures]


@pytest.mark.parametrize("name", ["a.mka", "a.mp4"])
def test_a_wav_states_its_length_whatever_reads_it(name: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", NOISE, RATE)
    content = (tmp_path / "a.wav").read_bytes()
    file = tmp_path / name
    for rest, promises, losses in (
        (content, True, []),
        (content[:40] + b"\xff" * 4 + content[44:], False, []),
        (content[:-8000], True, ["is truncated: it holds 184000 of 192000 bytes of sound that its header promises"]),
    ):
        file.write_bytes(rest)
        with Film(file) as film:
            assert film.lacks_duration != promises
            assert len(list(film.decode(picture=False, sound=True))) > 0
            assert film.list_losses()[: len(losses)] == losses
    file.write_bytes(content)
    assert made(Clip(None, file), tmp_path).departures == ()


def test_a_sound_named_wav_is_read_as_what_it_is(tmp_path: Path) -> None:
    for suffix in (".mp3", ".ogg", ".m4a", ".mka"):
        file = encode(tmp_path / f"a{suffix}", NOISE[None])
        renamed = tmp_path / "a.wav"
        renamed.write_bytes(file.read_bytes())

        assert np.array_equal(read_audio(renamed), read_audio(file))
        cut_short(renamed, 0.6)
        with pytest.raises(DataError, match=r"a\.wav: "):
            read_audio(renamed)


def cautions_of(folder: Path, names: list[str]) -> tuple[str, ...]:
    (folder / "table.csv").write_text("sound,label\n" + "".join(f"{name},x\n" for name in names))
    return Manifest(path=str(folder / "table.csv"), modalities={"audio": "sound"}, targets=["label"]).cautions


def test_a_table_tells_which_compressed_sounds_promise_no_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(tmp_path / "open.mp3", NOISE[None], write_xing="0")
    cut_short(tmp_path / "open.mp3", 0.5)
    for name in ("whole.mp3", "whole.m4a", "whole.ogg", "whole.mka", "open.aac"):
        encode(tmp_path / name, NOISE[None])
    encode(tmp_path / "other.mp3", np.stack([sine(1.0, rate=32_000)] * 2), 32_000)
    joined = (tmp_path / "whole.mp3").read_bytes() + (tmp_path / "other.mp3").read_bytes()
    (tmp_path / "joined.mp3").write_bytes(joined)
    files = ["whole.m4a", "whole.mp3", "whole.ogg", "whole.mka", "open.mp3", "open.aac", "joined.mp3"]
    described = decode_audio(tmp_path / "whole.m4a")
    monkeypatch.setattr(
        "fusionkit.data.readers.sound.audio.decode_compressed", lambda *_, **__: described
    )  # of the first file alone
    monkeypatch.setattr(Film, "decode", None)

    (caution,) = cautions_of(tmp_path, files)

    unstated = "does not state its length, so a loss at its end would go unseen"
    another = "goes on with another sound behind the one that its header states: each is read at its own speed"
    assert caution == (
        "3 of 7 files of audio do not state their length, or a wrong one: "
        f"table.csv, line 6: {tmp_path}/open.mp3 {unstated}; table.csv, line 7: {tmp_path}/open.aac {unstated}; "
        f"table.csv, line 8: {tmp_path}/joined.mp3 {another}."
    )
    assert cautions_of(tmp_path, files[:4]) == ()


@pytest.mark.parametrize("suffix", [".aiff", ".mka", ".webm", ".mp4"])
def test_a_manifest_takes_every_sound_that_clips_take(suffix: str, tmp_path: Path) -> None:
    encode(tmp_path / f"a{suffix}", sine(1.0)[None])
    (tmp_path / "table.csv").write_text(f"sound,label\na{suffix},x\n")
    options = ReadOptions(sample_rate=16_000)

    data = Manifest(
        path=str(tmp_path / "table.csv"), modalities={"audio": "sound"}, targets=["label"], sample_rate=16_000
    )
    wave = data.load(0)["audio"]

    assert level_at(wave[1600:14_400].double(), 440.0, 16_000) == pytest.approx(0.5, rel=0.05)
    assert len(wave) == data.length(0, "audio") == describe_media(tmp_path / f"a{suffix}", options).length
    clip = made(Clip(None, tmp_path / f"a{suffix}"), tmp_path)
    assert len(clip.tensors["audio"]) == len(wave)


def test_the_sound_of_a_film_in_a_manifest_is_that_of_its_first_track(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", steps(10), wave=sine(1.0, rate=16_000))

    wave = read_media(film, ReadOptions(sample_rate=16_000))

    assert level_at(wave[1600:14_400].double(), 440.0, 16_000) == pytest.approx(0.5, rel=0.05)
    with pytest.raises(DataError, match=r"mute\.mp4: holds no sound"):
        read_media(write_film(tmp_path / "mute.mp4", steps(10)), ReadOptions())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp3", {"write_xing": "0"}),
        ("a.aac", {}),
        ("a.mka", {"live": "1"}),
        ("a.mp4", {**FRAGMENTS, "movflags": FRAGMENTS["movflags"] + "+skip_trailer"}),
    ],
)
def test_a_sound_that_does_not_state_its_length_is_said_not_to(
    name: str, options: dict[str, str], tmp_path: Path
) -> None:
    file = encode(tmp_path / name, sine(1.0)[None], **options)

    sound = decode_audio(file)

    assert (sound.losses, [kind for kind, _ in sound.departures]) == ((), ["no duration"])
    assert "does not state its length, so a loss at its end would go unseen" in read_header(file).note


@pytest.mark.parametrize(
    ("name", "codec", "options", "promises"),
    [
        ("a.mka", "pcm_s16le", {"live": "1"}, False),
        ("a.mka", "pcm_s16le", {}, True),
        ("a.flv", "aac", {"flvflags": "no_duration_filesize"}, False),
        ("a.flv", "aac", {}, True),
    ],
)
def test_a_length_that_libav_guesses_is_no_promise(
    name: str, codec: str, options: dict[str, str], promises: bool, tmp_path: Path
) -> None:
    with Film(write_film(tmp_path / name, wave=sine(1.0, rate=16_000), sound_codec=codec, **options)) as film:
        assert film.lacks_duration != promises


@pytest.mark.parametrize("name", ["a.mpg", "a.ts"])
def test_a_film_of_a_format_that_promises_nothing_is_said_to_do_so(name: str, tmp_path: Path) -> None:
    film = write_film(tmp_path / name, steps(30), codec="mpeg1video", rate=25)

    outcome = made(Clip(film), tmp_path)

    assert outcome.status == "prepared"
    assert [found.text for found in outcome.departures if found.kind == "no duration"] == [
        f"film {name} does not state its duration: a loss at its end would go unseen"
    ]


def test_a_stream_without_a_decoder_is_told_with_the_file(tmp_path: Path) -> None:
    file = encode(tmp_path / "a.m4a", sine(0.5)[None])
    content = file.read_bytes()
    file.write_bytes(content.replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz"))
    with pytest.raises(DataError, match=r"a\.m4a: (there is no decoder for its sound|cannot be read)"):
        read_audio(file)


@pytest.mark.parametrize("where", ["open", "demux", "decode"])
def test_whatever_libav_raises_is_told_with_the_file(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encode(tmp_path / "a.m4a", sine(0.5)[None])

    def broken(*_: object, **__: object) -> object:
        raise KeyError("what no list of exceptions names")

    if where == "open":
        monkeypatch.setattr(av, "open", broken)
    else:
        monkeypatch.setattr(Film, "_read_packets" if where == "demux" else "_decode", broken)
    with pytest.raises(
        DataError, match=r"a\.m4a: cannot be read as a film or sound \('what no list of exceptions names'\)"
    ):
        read_audio(file)


def test_what_a_film_or_sound_states_is_held_against_the_limits_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_film(tmp_path / "a.mp4", steps(12), wave=sine(1.2, rate=16_000))
    sound = encode(tmp_path / "a.m4a", np.stack([sine(0.5)] * 2))
    monkeypatch.setattr(Film, "decode", None)
    cases = [("PIXELS", film, 64 * 48), ("FRAMES", film, 12), ("SAMPLES", sound, RATE)]
    for kind, file, _ in cases:
        monkeypatch.setenv(f"FUSIONKIT_MAX_{kind}", "11")
        with pytest.raises(DataError, match=rf"{file.name}: holds [\d,]+ {kind.lower()}, more than the limit of 11"):
            Film(file)
        monkeypatch.delenv(f"FUSIONKIT_MAX_{kind}")
    for kind, file, most in cases:
        monkeypatch.setenv(f"FUSIONKIT_MAX_{kind}", str(2 * most))
        with Film(file):
            pass


def test_a_sound_that_is_longer_than_it_states_is_stopped_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encode(tmp_path / "a.aac", sine(1.0)[None])  # it states no length
    monkeypatch.setattr("fusionkit.data.readers.sound.tracks._FIRST_ROOM", 1000)
    monkeypatch.setenv("FUSIONKIT_MAX_SAMPLES", "20000")
    with pytest.raises(DataError, match=r"a\.aac: holds [\d,]+ samples, more than the limit of 20,000"):
        decode_compressed(file)


def test_a_film_that_shows_more_frames_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_film(tmp_path / "a.mkv", steps(12))
    monkeypatch.setenv("FUSIONKIT_MAX_FRAMES", "11")

    outcome = made(Clip(film), tmp_path)

    assert outcome.status == "dropped"
    assert "holds 12 frames, more than the limit of 11" in outcome.reason
