import errno
import os
import random
import re
import subprocess
import time
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.config.components.registry import FOLDS
from fusionkit.config.components.specs import DatasetSpec, DetectorSpec, FoldsSpec
from fusionkit.config.recipe import build_component
from fusionkit.config.schema import DataSpec, FaceSpec, PrepareSpec
from fusionkit.config.yaml import read_yaml
from fusionkit.data.datasets.crema_d_names import BROKEN, SENTENCES, SILENT, CremaDName, list_distributed_clips
from fusionkit.data.datasets.film_counts import join_ranges
from fusionkit.data.datasets.ravdess_names import CHANNELS, EMOTIONS, RavdessName
from fusionkit.data.films import prepare
from fusionkit.data.readers.archives import is_member, open_member, read_fingerprint
from fusionkit.data.sources import Datasets
from fusionkit.data.splits import check_split
from fusionkit.errors import DataError
from fusionkit.interfaces import Clip, Dataset, Row
from fusionkit.rendering import FilmSettings, render_crema_d, render_ravdess

FILM = b"film" * 300
SOUND = b"sound" * 300


def takes(actor: int, channel: int = 1) -> list[str]:
    """The names of an actor's takes without their modality: 60 spoken, 44 sung."""
    return [
        f"{channel:02}-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}"
        for emotion in range(1, 9 if channel == 1 else 7)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for statement in (1, 2)
        for repetition in (1, 2)
    ]


def write(folder: Path, names: list[str], content: bytes = FILM) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names[:1]:
        (folder / name).write_bytes(content)
    for name in names[1:]:
        os.link(folder / names[0], folder / name)


def pack(archive: Path, names: list[str], content: bytes = FILM, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(archive, "w", method) as opened:
        for name in names:
            opened.writestr(name, content)


def films_of(actor: int) -> list[str]:
    return [f"{modality:02}-{take}.mp4" for take in takes(actor) for modality in (1, 2)]


def sounds_of(actor: int) -> list[str]:
    return [f"03-{take}.wav" for take in takes(actor)]


def opened(name: str, **options: object) -> Dataset:
    return build_component(DatasetSpec(type=name, **options))


def refusal(name: str, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        opened(name, **options)
    return str(caught.value)


def places(data: Dataset, root: Path) -> set[tuple[str | None, str | None]]:
    """Film and sound of every clip, from the root on."""

    def place(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(root).as_posix()

    return {(place(clip.film), place(clip.sound)) for clip in data.clips.values()}


def content_of(path: Path) -> bytes:
    with open_member(path) as file:
        return file.read()


# RAVDESS


def test_ravdess_is_the_same_unpacked_packed_flat_and_in_a_mixture_of_these(tmp_path: Path) -> None:
    for actor in (1, 2):
        write(tmp_path / "folders" / f"Actor_{actor:02}", films_of(actor) + sounds_of(actor))
        write(tmp_path / "unpacked" / f"Video_Speech_Actor_{actor:02}" / f"Actor_{actor:02}", films_of(actor))
        write(tmp_path / "unpacked" / "Audio_Speech_Actors_01-24" / f"Actor_{actor:02}", sounds_of(actor))
        write(tmp_path / "flat", films_of(actor) + sounds_of(actor))
    packed = tmp_path / "packed"
    packed.mkdir()
    for actor in (1, 2):
        archive = packed / f"Video_Speech_Actor_{actor:02}.zip"
        pack(archive, [f"Actor_{actor:02}/{name}" for name in films_of(actor)])
    sounds = [f"Actor_{actor:02}/{name}" for actor in (1, 2) for name in sounds_of(actor)]
    pack(packed / "Audio_Speech_Actors_01-24.zip", sounds)
    mixture = tmp_path / "mixture"
    write(mixture / "Actor_01", films_of(1))
    pack(mixture / "Video_Speech_Actor_02.zip", [f"Actor_02/{name}" for name in films_of(2)])
    pack(mixture / "sounds.zip", sounds)
    layouts = [opened("ravdess", root=str(tmp_path / name)) for name in ("folders", "unpacked", "flat")]
    layouts += [opened("ravdess", root=str(packed)), opened("ravdess", root=str(mixture))]
    stated = [[(row.id, row.group, dict(row.targets)) for row in data.rows] for data in layouts]
    assert all(rows == stated[0] for rows in stated)
    assert len(stated[0]) == 120
    assert all(list(data.clips) == [row.id for row in data.rows] for data in layouts)
    assert all(data.modalities == {} for data in layouts)
    films = {clip.film.name for clip in layouts[3].clips.values()}
    assert films == {name for actor in (1, 2) for name in films_of(actor) if name.startswith("01-")}
    for data in layouts:
        assert content_of(next(iter(data.clips.values())).film) == FILM


def test_a_ravdess_archive_alone_may_be_the_root(tmp_path: Path) -> None:
    pack(tmp_path / "Video_Speech_Actor_07.zip", [f"Actor_07/{name}" for name in films_of(7)])
    data = opened("ravdess", root=str(tmp_path / "Video_Speech_Actor_07.zip"))
    assert len(data.rows) == 60
    assert {row.group for row in data.rows} == {"07"}


def test_a_ravdess_row_says_who_spoke_what_and_how(tmp_path: Path) -> None:
    write(tmp_path, ["01-01-06-02-01-02-12.mp4"])
    data = opened("ravdess", root=str(tmp_path))
    (row,) = data.rows
    assert (row.id, row.group, row.part, row.place) == ("01-06-02-01-02-12", "12", None, "01-01-06-02-01-02-12.mp4")
    assert row.targets == {"emotion": "fearful", "intensity": "strong", "statement": "kids", "sex": "female"}
    assert data.classes["emotion"] == EMOTIONS
    with pytest.raises(DataError, match=r"12.mp4: is a film, .* fusionkit\.data\.sources\.Datasets"):
        data.load(0)


@pytest.mark.parametrize(
    ("modalities", "sound", "expected"),
    [
        ((1, 2, 3), "either", ("01", None)),
        ((1, 2, 3), "film", ("01", None)),
        ((1, 2, 3), "file", ("01", "03")),
        ((2, 3), "either", ("02", "03")),
        ((2, 3), "film", ("02", None)),
        ((2,), "either", ("02", None)),
        ((3,), "either", (None, "03")),
        ((1, 2), "either", ("01", None)),
    ],
)
def test_a_take_has_the_film_with_sound_before_the_silent_one_and_the_sound_that_is_asked_for(
    tmp_path: Path, modalities: tuple[int, ...], sound: str, expected: tuple[str | None, str | None]
) -> None:
    take = takes(3)[0]
    write(tmp_path, [f"{modality:02}-{take}.{'wav' if modality == 3 else 'mp4'}" for modality in modalities])
    (clip,) = opened("ravdess", root=str(tmp_path), sound=sound).clips.values()
    assert (clip.film and clip.film.name[:2], clip.sound and clip.sound.name[:2]) == expected


def test_takes_without_the_sound_that_was_asked_for_are_refused_or_left_out_with_a_note(tmp_path: Path) -> None:
    first, second, third = takes(3)[:3]
    write(tmp_path, [f"01-{first}.mp4", f"03-{second}.wav", f"02-{third}.mp4", f"03-{third}.wav"])
    assert refusal("ravdess", root=str(tmp_path), sound="file") == (
        f"{tmp_path}: 1 takes have no sound file, such as {first}; unpack Audio_Speech_Actors_01-24.zip beside the "
        "films, or set sound: either"
    )
    data = opened("ravdess", root=str(tmp_path), sound="film")
    assert list(data.clips) == [first, third]
    assert data.clips[third] == Clip(tmp_path / f"02-{third}.mp4", None)
    assert "1 takes are sound files alone, which sound: film leaves out" in data.notes


def test_song_is_left_out_unless_it_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, [f"01-{take}.mp4" for channel in (1, 2) for take in takes(5, channel)])
    speech, song = (opened("ravdess", root=str(tmp_path), channels=[channel]) for channel in CHANNELS)
    both = opened("ravdess", root=str(tmp_path), channels=["speech", "song"])
    assert [len(data.rows) for data in (speech, song, both)] == [60, 44, 104]
    assert "44 files of other channels are left out; `channels` names those that are read" in speech.notes
    assert both.notes[2].startswith("44 song clips of 1 actors: neutral 4, calm 8, happy 8, sad 8, angry 8, fearful 8")
    assert "actors that the data lack: 01 to 04, 06 to 17, 19 to 24" in song.notes


def test_ravdess_with_sounds_alone_has_no_film_anywhere(tmp_path: Path) -> None:
    write(tmp_path, sounds_of(4))
    data = opened("ravdess", root=str(tmp_path))
    assert places(data, tmp_path) == {(None, name) for name in sounds_of(4)}
    assert "films: none 60" in data.notes
    assert "sounds: a sound file (03) 60" in data.notes


def test_actors_that_are_half_unpacked_or_missing_are_counted_by_class(tmp_path: Path) -> None:
    for actor in range(1, 23):
        write(tmp_path / f"Actor_{actor:02}", [f"01-{take}.mp4" for take in takes(actor)[: 30 if actor == 7 else 60]])
    for take in takes(3)[4:12]:
        (tmp_path / "Actor_03" / f"01-{take}.mp4").unlink()
    data = opened("ravdess", root=str(tmp_path))
    assert data.notes[:3] == (
        "1,282 speech clips of 22 actors: neutral 88, calm 168, happy 176, sad 176, angry 170, fearful 168, "
        "disgust 168, surprised 168",
        "incomplete actors: 03 has 52 of 60 speech clips (calm 0 of 8); 07 has 30 of 60 speech clips (angry 2 of 8, "
        "fearful 0 of 8, disgust 0 of 8, surprised 0 of 8)",
        "actors that the data lack: 23, 24",
    )


def test_all_that_is_wrong_with_a_ravdess_folder_is_said_at_once(tmp_path: Path) -> None:
    write(tmp_path / "Actor_01", films_of(1))
    write(tmp_path / "copy", films_of(1)[:2])
    write(tmp_path / "other", films_of(1)[:1], b"longer" * 999)
    write(tmp_path, ["hello.mp4", "01-01-09-01-01-01-01.mp4", "01-01-01-02-01-01-01.mp4", "03-01-01-01-01-01-02.mp4"])
    write(tmp_path, ["01-01-01-01-01-01-02.wav"])
    whole = tmp_path / "whole.zip"
    pack(whole, films_of(2))
    (tmp_path / "Video_Speech_Actor_02.zip").write_bytes(whole.read_bytes()[:5000])
    whole.unlink()
    lines = refusal("ravdess", root=str(tmp_path)).splitlines()
    ignore = "; rename or remove it, or set other_files: ignore"
    keep = "; keep one of them, or point root at the folder that holds each once"
    first, second = films_of(1)[:2]
    assert lines == [
        f"{tmp_path}: 8 problems",
        "  - Video_Speech_Actor_02.zip: is no whole zip archive, as after a download that broke off "
        "(File is not a zip file); download it again",
        "  - 01-01-01-01-01-01-02.wav: '01-01-01-01-01-01-02.wav' is a sound by its ending, but its name says a film "
        f"(01){ignore}",
        f"  - 01-01-01-02-01-01-01.mp4: '01-01-01-02-01-01-01': neutral is never strong{ignore}",
        f"  - 01-01-09-01-01-01-01.mp4: '01-01-09-01-01-01-01': the emotion 09 is outside 01..08{ignore}",
        "  - 03-01-01-01-01-01-02.mp4: '03-01-01-01-01-01-02.mp4' is a film by its ending, but its name says sound "
        f"alone (03){ignore}",
        f"  - hello.mp4: 'hello' is not seven numbers of two digits, such as 03-01-06-01-02-01-12{ignore}",
        f"  - Actor_01/{first}: is the same clip as copy/{first} and other/{first}, of another size{keep}",
        f"  - Actor_01/{second}: is the same clip as copy/{second}, of the same size{keep}",
    ]


def test_problems_of_one_kind_are_counted_after_the_first_five(tmp_path: Path) -> None:
    write(tmp_path / "a", films_of(1))
    write(tmp_path / "b", films_of(1))
    write(tmp_path, [f"strange{n}.mp4" for n in range(9)])
    lines = refusal("ravdess", root=str(tmp_path)).splitlines()
    assert len(lines) == 1 + 6 + 6
    assert lines[6] == "  - 9 files have wrong names altogether"
    assert lines[-1] == "  - 120 clips stand twice altogether"


def test_other_files_can_be_ignored_and_are_counted(tmp_path: Path) -> None:
    write(tmp_path, [*films_of(1), "hello.mp4", "making-of.avi"])
    data = opened("ravdess", root=str(tmp_path), other_files="ignore")
    assert len(data.rows) == 60
    assert "2 films and sounds of other names are ignored, such as hello.mp4" in data.notes


def test_hidden_files_and_files_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "Actor_01", [*films_of(1), ".DS_Store", f"._{films_of(1)[0]}", "notes.txt", "FaceLandmarks.csv"])
    write(tmp_path / "__MACOSX" / "Actor_01", films_of(1))
    pack(
        tmp_path / "Video_Speech_Actor_02.zip", [f"Actor_02/{films_of(2)[0]}", f"__MACOSX/Actor_02/._{films_of(2)[0]}"]
    )
    data = opened("ravdess", root=str(tmp_path))
    assert len(data.rows) == 61


def test_a_missing_or_empty_root_says_what_it_should_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = "RAVDESS's zip archives (Video_Speech_Actor_01.zip, ...) or what was unpacked from them"
    missing = tmp_path / "missing"
    assert (
        refusal("ravdess", root=str(missing))
        == f"{missing}: no such folder; give the folder that holds {wanted}: data.dataset.root=FOLDER"
    )
    assert refusal("ravdess", root=str(tmp_path)) == f"{tmp_path}: holds no clip of speech; root holds {wanted}"
    wanted = "CREMA-D's VideoFlash/ and AudioWAV/"
    assert (
        refusal("crema_d", root=str(missing))
        == f"{missing}: no such folder; give the folder that holds {wanted}: data.dataset.root=FOLDER"
    )
    assert refusal("crema_d", root=str(tmp_path)) == f"{tmp_path}: holds no clip; root holds {wanted}"
    monkeypatch.delenv("NO_SUCH_FOLDER", raising=False)
    assert "the environment variable NO_SUCH_FOLDER is not set" in refusal("ravdess", root="$NO_SUCH_FOLDER/x")


def test_links_in_a_circle_and_films_that_may_not_be_read_are_said_with_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "Actor_01", films_of(1))
    circle, locked, gone = tmp_path / "circle", tmp_path / "Actor_02" / "01-01-01-01-01-01-02.mp4", tmp_path / "gone"
    circle.symlink_to(circle)
    write(locked.parent, [locked.name], b"film")
    gone.mkdir()
    read, looked = Path.open, Path.stat

    def opened_by_others(path: Path, *arguments: object, **options: object) -> object:
        if path == locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path, *arguments, **options)

    def looked_at(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == gone:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return looked(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "open", opened_by_others)
    monkeypatch.setattr(Path, "stat", looked_at)

    said = refusal("ravdess", root=str(tmp_path))

    assert "circle: cannot be read (Too many levels of symbolic links)" in said
    assert "Actor_02/01-01-01-01-01-01-02.mp4: cannot be read (Permission denied)" in said
    assert "gone: cannot be read (No such file or directory)" in said


def test_an_archive_that_was_unpacked_counts_once_and_files_that_broke_off_are_named(tmp_path: Path) -> None:
    pack(tmp_path / "Video_Speech_Actor_01.zip", [f"Actor_01/{name}" for name in films_of(1)])
    write(tmp_path / "Video_Speech_Actor_01" / "Actor_01", films_of(1)[:50])
    write(tmp_path / "Video_Speech_Actor_01" / "Actor_01", films_of(1)[50:51], b"half")
    data = opened("ravdess", root=str(tmp_path))
    assert len(data.rows) == 60
    inside = [is_member(clip.film) for clip in data.clips.values()]
    assert sum(inside) == sum(name.startswith("01") for name in films_of(1)[51:])
    first, half = (f"Video_Speech_Actor_01.zip/Actor_01/{films_of(1)[n]}" for n in (0, 50))
    assert f"51 files of archives are unpacked already, such as {first}" in data.notes
    assert f"{half} has another size unpacked: unpack it again if that broke off" in data.notes


def test_downloads_that_did_not_end_and_files_that_are_empty_are_told(tmp_path: Path) -> None:
    write(tmp_path, films_of(1)[2:])
    write(tmp_path, films_of(1)[:1], b"")
    write(tmp_path, ["Video_Speech_Actor_02.zip.part", "Video_Speech_Actor_03.zip.crdownload"])
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    notes = opened("ravdess", root=str(tmp_path)).notes
    assert "2 files are unfinished downloads, such as Video_Speech_Actor_02.zip.part" in notes
    assert f"{films_of(1)[0]} is empty" in notes
    assert "gone.mp4 is a link that leads nowhere" in notes


def test_a_folder_that_links_to_itself_is_looked_through_once(tmp_path: Path) -> None:
    write(tmp_path / "Actor_01", films_of(1))
    (tmp_path / "Actor_01" / "again").symlink_to(tmp_path)
    assert len(opened("ravdess", root=str(tmp_path)).rows) == 60


def test_all_1440_takes_are_listed_in_well_under_two_seconds(tmp_path: Path) -> None:
    for actor in range(1, 25):
        write(tmp_path / f"Actor_{actor:02}", films_of(actor) + sounds_of(actor), b"film" * 300)
    start = time.process_time()
    data = opened("ravdess", root=str(tmp_path))
    assert time.process_time() - start < 2
    assert len(data.rows) == 1440
    assert data.notes == (
        "1,440 speech clips of 24 actors: neutral 96, calm 192, happy 192, sad 192, angry 192, fearful 192, "
        "disgust 192, surprised 192",
        "films: with sound (01) 1,440",
        "sounds: the film's own 1,440",
    )


@given(st.integers(1, 3), st.sampled_from(takes(9) + takes(9, 2)))
def test_a_ravdess_name_is_read_as_it_is_written(modality: int, take: str) -> None:
    name = RavdessName.parse(f"{modality:02}-{take}")
    assert (f"{name.modality:02}-{name.clip}", name.group, name.sex) == (f"{modality:02}-{take}", "09", "male")


@pytest.mark.data
def test_the_real_names_of_ravdess_sounds_are_1184_clips_of_20_actors(real_data: Path) -> None:
    data = opened("ravdess", root=str(real_data / "ravdess"))
    counts = Counter((row.group, row.targets["emotion"]) for row in data.rows)
    missing = {("01", "calm"), ("03", "fearful")}
    actors = [f"{actor:02}" for actor in range(1, 21)]
    cells = {(actor, emotion) for actor in actors for emotion in EMOTIONS}
    expected = {cell: 4 if cell[1] == "neutral" else 8 for cell in cells - missing}
    assert counts == expected
    assert sum(counts.values()) == 1184
    assert all(clip.film is None for clip in data.clips.values())
    assert data.notes[1:3] == (
        "incomplete actors: 01 has 52 of 60 speech clips (calm 0 of 8); 03 has 52 of 60 speech clips (fearful 0 of 8)",
        "actors that the data lack: 21 to 24",
    )


# CREMA-D

ALL = [name.clip for name in list_distributed_clips()]
TABLE = '"ActorID","Age","Sex","Race","Ethnicity"\n'


def crema_d(root: Path, clips: list[str], *, films: bool = True, sounds: bool = True, table: bool = True) -> Path:
    if films:
        write(root / "VideoFlash", [f"{clip}.flv" for clip in clips])
    if sounds:
        write(root / "AudioWAV", [f"{clip}.wav" for clip in clips], SOUND)
    if table:
        lines = [
            f'{actor},{actor - 980},"{"Male" if actor % 2 else "Female"}","Asian","Hispanic"'
            for actor in range(1001, 1092)
        ]
        (root / "VideoDemographics.csv").write_text(TABLE + "\n".join(lines) + "\n")
    return root


def test_a_crema_d_row_has_film_wav_and_the_targets_of_its_name_and_actor(tmp_path: Path) -> None:
    data = opened("crema_d", root=str(crema_d(tmp_path, ["1002_IEO_HAP_MD", "1003_DFA_ANG_XX"])))
    first, second = data.rows
    assert (first.id, first.group, first.place) == ("1002_IEO_HAP_MD", "1002", "VideoFlash/1002_IEO_HAP_MD.flv")
    assert first.targets == {"emotion": "happy", "level": "medium", "sentence": "IEO", "sex": "female", "age": 22.0}
    assert second.targets == {"emotion": "anger", "level": None, "sentence": "DFA", "sex": "male", "age": 23.0}
    assert data.clips["1002_IEO_HAP_MD"] == Clip(
        tmp_path / "VideoFlash/1002_IEO_HAP_MD.flv", tmp_path / "AudioWAV/1002_IEO_HAP_MD.wav"
    )
    assert data.classes["emotion"] == ("anger", "disgust", "fear", "happy", "neutral", "sad")
    assert data.classes["level"] == ("low", "medium", "high")
    assert len(data.classes["sentence"]) == 12
    with pytest.raises(DataError, match=r"fusionkit\.data\.sources\.Datasets"):
        data.load(0)


def test_the_mp3s_of_a_crema_d_clone_are_passed_over_and_converted_films_may_lie_anywhere(tmp_path: Path) -> None:
    crema_d(tmp_path, ["1003_DFA_ANG_XX"], films=False)
    write(tmp_path / "AudioMP3", ["1003_DFA_ANG_XX.mp3"])
    write(tmp_path / "my" / "films", ["1003_DFA_ANG_XX.MP4"])
    data = opened("crema_d", root=str(tmp_path))
    assert places(data, tmp_path) == {("my/films/1003_DFA_ANG_XX.MP4", "AudioWAV/1003_DFA_ANG_XX.wav")}


def test_films_that_stand_in_two_formats_are_refused_until_one_folder_is_named(tmp_path: Path) -> None:
    crema_d(tmp_path, ["1003_DFA_ANG_XX"])
    write(tmp_path / "VideoMP4", ["1003_DFA_ANG_XX.mp4"], b"other")
    assert refusal("crema_d", root=str(tmp_path)) == (
        f"{tmp_path}: VideoFlash/1003_DFA_ANG_XX.flv: is the same clip as VideoMP4/1003_DFA_ANG_XX.mp4, of another "
        "size; keep one of them, or say which folder counts: films: FOLDER"
    )
    data = opened("crema_d", root=str(tmp_path), films="VideoMP4/")
    assert places(data, tmp_path) == {("VideoMP4/1003_DFA_ANG_XX.mp4", "AudioWAV/1003_DFA_ANG_XX.wav")}
    assert refusal("crema_d", root=str(tmp_path), films="VideoMp4", sounds="wavs").splitlines() == [
        f"{tmp_path}: 2 problems",
        "  - films: 'VideoMp4' holds no films; they stand in VideoFlash, VideoMP4",
        "  - sounds: 'wavs' holds no sounds; they stand in AudioWAV",
    ]


@pytest.mark.parametrize(
    ("sound", "films", "sounds", "expected"),
    [
        ("wav", True, True, (True, True)),
        ("film", True, True, (True, False)),
        ("wav", True, False, (True, False)),
        ("film", False, True, (False, True)),
    ],
)
def test_a_clip_of_one_side_is_a_row_and_the_sound_is_the_one_asked_for_where_there_are_two(
    tmp_path: Path, sound: str, films: bool, sounds: bool, expected: tuple[bool, bool]
) -> None:
    crema_d(tmp_path, ["1003_DFA_ANG_XX"], films=films, sounds=sounds)
    (clip,) = opened("crema_d", root=str(tmp_path), sound=sound).clips.values()
    assert (clip.film is not None, clip.sound is not None) == expected


WRONG = sorted(BROKEN)
MENDED = ["1064_TIE_SAD_XX", "1076_MTI_NEU_XX"]
USELESS = ["1064_IEO_DIS_MD", "1076_MTI_SAD_XX"]


def test_broken_clips_are_mended_from_their_wav_where_that_helps_and_left_out_otherwise(tmp_path: Path) -> None:
    data = opened("crema_d", root=str(crema_d(tmp_path, [*WRONG, "1003_DFA_ANG_XX"])))
    assert list(data.clips) == ["1003_DFA_ANG_XX", *MENDED]
    assert [data.clips[name] for name in MENDED] == [Clip(None, tmp_path / f"AudioWAV/{name}.wav") for name in MENDED]
    assert data.notes[-4:] == (
        "1064_IEO_DIS_MD: film and sound last a minute and hold every emotion; it is left out",
        "1064_TIE_SAD_XX: the film has no duration; its wav is used alone",
        "1076_MTI_NEU_XX: the film is very short and silent; its wav is used alone",
        "1076_MTI_SAD_XX: film and sound are very short and silent, the picture is an error's; it is left out",
    )


def test_broken_clips_without_a_wav_are_left_out_and_can_be_kept_or_dropped_altogether(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    films = crema_d(tmp_path / "films", [*WRONG, "1003_DFA_ANG_XX"], sounds=False)
    assert list(opened("crema_d", root=str(films)).clips) == ["1003_DFA_ANG_XX"]
    (tmp_path / "both").mkdir()
    both = crema_d(tmp_path / "both", [*WRONG, "1003_DFA_ANG_XX"])
    assert list(opened("crema_d", root=str(both), broken="drop").clips) == ["1003_DFA_ANG_XX"]
    kept = opened("crema_d", root=str(both), broken="keep")
    assert list(kept.clips) == sorted([*WRONG, "1003_DFA_ANG_XX"])
    assert all(clip.film is not None and clip.sound is not None for clip in kept.clips.values())


@pytest.mark.parametrize(
    ("options", "wavs", "outcome", "sound"),
    [
        ({"sound": "wav"}, True, "have the wav as their sound", True),
        ({"sound": "film"}, True, "have the wav as their sound", True),
        ({"sound": "film", "broken": "drop"}, True, "are left out", None),
        ({"sound": "film"}, False, "have no wav to mend them with", False),
    ],
)
def test_films_that_once_had_no_sound_take_the_wav(
    tmp_path: Path, options: dict[str, str], wavs: bool, outcome: str, sound: bool | None
) -> None:
    crema_d(tmp_path, [*sorted(SILENT), "1003_DFA_ANG_XX"], sounds=wavs)
    data = opened("crema_d", root=str(tmp_path), **options)
    assert f"of the 28 films that had no sound before December 2020, 28 {outcome}" in data.notes
    silent = [clip for name, clip in data.clips.items() if name in SILENT]
    assert len(silent) == (0 if sound is None else 28)
    assert all((clip.sound is not None) == sound and clip.film is not None for clip in silent)
    kept = opened("crema_d", root=str(tmp_path), sound="film", broken="keep")
    assert all(clip.sound is None for clip in kept.clips.values())


def test_the_misnamed_sound_of_early_copies_finds_its_film(tmp_path: Path) -> None:
    crema_d(tmp_path, ["1040_ITH_SAD_XX"], sounds=False)
    write(tmp_path / "AudioWAV", ["1040_ITH_SAD_X.wav"])
    data = opened("crema_d", root=str(tmp_path))
    assert places(data, tmp_path) == {("VideoFlash/1040_ITH_SAD_XX.flv", "AudioWAV/1040_ITH_SAD_X.wav")}


def test_pointers_of_git_lfs_are_no_films(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:c6f94b\nsize 72862\n"
    write(tmp_path / "VideoFlash", ["1003_DFA_ANG_XX.flv", "1003_DFA_DIS_XX.flv"], pointer)
    write(tmp_path / "AudioWAV", ["1003_DFA_ANG_XX.wav"], SOUND)
    data = opened("crema_d", root=str(tmp_path))
    assert places(data, tmp_path) == {(None, "AudioWAV/1003_DFA_ANG_XX.wav")}
    remedy = "not films or sounds: run `git lfs pull`"
    first = "VideoFlash/1003_DFA_ANG_XX.flv"
    assert f"2 files are pointers of git-lfs, such as {first}, {remedy}" in data.notes
    write(tmp_path / "AudioWAV", ["1003_DFA_ANG_XX.wav"], pointer)
    told = (
        "3 files are pointers of git-lfs, such as AudioWAV/1003_DFA_ANG_XX.wav, not films or sounds: run `git lfs pull`"
    )
    assert refusal("crema_d", root=str(tmp_path)) == f"{tmp_path}: holds no clip; {told}"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hello", "'hello' is not actor, sentence, emotion and level, such as 1001_IEO_ANG_HI"),
        ("1092_IEO_ANG_HI", "'1092_IEO_ANG_HI': the actor 1092 is outside 1001..1091"),
        (
            "1001_IEX_ANG_HI",
            "'1001_IEX_ANG_HI': unknown sentence IEX (known: " + ", ".join(SENTENCES) + ")",
        ),
        ("1001_IEO_SUR_HI", "'1001_IEO_SUR_HI': unknown emotion SUR (known: ANG, DIS, FEA, HAP, NEU, SAD)"),
        ("1001_IEO_ANG_YY", "'1001_IEO_ANG_YY': unknown level YY (known: LO, MD, HI, XX)"),
    ],
)
def test_a_name_that_is_none_of_crema_d_says_which_field_is_wrong(tmp_path: Path, name: str, reason: str) -> None:
    crema_d(tmp_path, ["1003_DFA_ANG_XX"])
    write(tmp_path / "AudioWAV", [f"{name}.wav"])
    remedy = "rename or remove it, or set other_files: ignore"
    assert refusal("crema_d", root=str(tmp_path)) == f"{tmp_path}: AudioWAV/{name}.wav: {reason}; {remedy}"
    assert len(opened("crema_d", root=str(tmp_path), other_files="ignore").rows) == 1


def test_without_demographics_sex_and_age_are_not_known_and_a_note_says_so(tmp_path: Path) -> None:
    data = opened("crema_d", root=str(crema_d(tmp_path, ["1003_DFA_ANG_XX"], table=False)))
    assert set(data.rows[0].targets) == set(data.classes) == {"emotion", "level", "sentence"}
    assert "sex and age are not known: there is no VideoDemographics.csv, which comes with the films" in data.notes


def test_demographics_that_do_not_fit_are_reported_together(tmp_path: Path) -> None:
    crema_d(tmp_path, ["1003_DFA_ANG_XX", "1004_DFA_ANG_XX", "1005_DFA_ANG_XX"], table=False)
    table = tmp_path / "VideoDemographics.csv"
    table.write_text(TABLE + '1003,old,"?","",""\n1003,20,"Male","",""\n')
    place = "VideoDemographics.csv, line 2"
    assert refusal("crema_d", root=str(tmp_path)).splitlines() == [
        f"{tmp_path}: 4 problems",
        f"  - {place}: Sex: '?'; Male or Female",
        f"  - {place}: Age: 'old'; a number of years",
        "  - VideoDemographics.csv, line 3: actor 1003 stands twice",
        f"  - {table}: lacks 2 of 3 actors: 1004, 1005; download it again",
    ]
    table.write_text('"ActorID","Gender"\n1003,"Male"\n')
    assert refusal("crema_d", root=str(tmp_path)) == (
        f"{tmp_path}: {table}: has no column Sex, Age; the authors' table has ActorID, Age, Sex, Race and Ethnicity"
    )
    assert "no such file" in refusal("crema_d", root=str(tmp_path), demographics=str(tmp_path / "none.csv"))


@pytest.mark.slow
def test_all_7442_clips_are_listed_in_under_two_seconds(tmp_path: Path) -> None:
    crema_d(tmp_path, ALL)
    start = time.process_time()
    data = opened("crema_d", root=str(tmp_path))
    assert time.process_time() - start < 2
    assert len(data.rows) == 7440
    assert data.notes[:3] == (
        "7,440 clips of 91 actors: anger 1,271, disgust 1,270, fear 1,271, happy 1,271, neutral 1,087, sad 1,270",
        "incomplete actors: 1064 has 81 of 82 clips (disgust 13 of 14); 1076 has 80 of 81 clips (sad 13 of 14)",
        "films: 7,438 of 7,440 clips; sounds: 7,440 wavs, 0 of the film itself",
    )
    assert len(opened("crema_d", root=str(tmp_path), broken="keep").rows) == 7442


@given(st.sampled_from(ALL))
def test_a_crema_d_name_is_read_as_it_is_written(clip: str) -> None:
    assert CremaDName.parse(clip).clip == clip


@pytest.mark.data
@pytest.mark.slow
def test_the_real_list_of_crema_d_is_7442_clips_of_91_actors_with_demographics(tmp_path: Path, real_data: Path) -> None:
    listed = (real_data / "cremad" / "clips.txt").read_text().split()
    assert sorted(listed) == ALL
    write(tmp_path / "AudioWAV", [f"{clip}.wav" for clip in listed], SOUND)
    table = str(real_data / "cremad" / "VideoDemographics.csv")
    usable = opened("crema_d", root=str(tmp_path), demographics=table)
    data = opened("crema_d", root=str(tmp_path), demographics=table, broken="keep")
    assert len(data.rows) == 7442
    assert set(data.clips) - set(usable.clips) == set(USELESS)
    emotions = Counter(row.targets["emotion"] for row in data.rows)
    assert emotions == {"anger": 1271, "disgust": 1271, "fear": 1271, "happy": 1271, "neutral": 1087, "sad": 1271}
    assert Counter(row.targets["level"] for row in data.rows) == {None: 6077, "low": 455, "medium": 455, "high": 455}
    actors = {row.group: (row.targets["sex"], row.targets["age"]) for row in data.rows}
    assert Counter(sex for sex, _ in actors.values()) == {"male": 48, "female": 43}
    assert (min(age for _, age in actors.values()), max(age for _, age in actors.values())) == (20, 74)
    assert "incomplete" not in " ".join(data.notes)


def test_the_28_films_without_sound_and_the_four_wrong_ones_are_clips_of_the_dataset() -> None:
    assert len(SILENT) == 28
    assert set(BROKEN) | SILENT <= set(ALL)
    assert not set(BROKEN) & SILENT


# Rendered films


def settings() -> FilmSettings:
    return FilmSettings(size=(32, 32), head=0.6, frame_rate=5, seconds=0.5, sound_rate=8000)


def test_rendered_ravdess_is_listed_completely_also_when_it_is_packed(tmp_path: Path) -> None:
    rendered = render_ravdess(
        tmp_path / "films",
        actors=(3, 4),
        emotions=("neutral", "happy"),
        statements=(1,),
        repetitions=(1,),
        modalities=(1, 2, 3),
        settings=settings(),
    )
    data = opened("ravdess", root=str(rendered.root))
    names = sorted(path.stem[3:] for path in rendered.files if path.stem.startswith("01"))
    assert [row.id for row in data.rows] == names
    assert len(names) == 6
    assert {clip.film for clip in data.clips.values()} == {p for p in rendered.files if p.stem.startswith("01")}
    packed = tmp_path / "packed"
    packed.mkdir()
    for actor in (3, 4):
        with zipfile.ZipFile(packed / f"Video_Speech_Actor_{actor:02}.zip", "w") as archive:
            for path in rendered.files:
                if path.parent.name == f"Actor_{actor:02}":
                    archive.write(path, f"Actor_{actor:02}/{path.name}")
    again = opened("ravdess", root=str(packed))
    assert [(row.id, row.group, row.targets) for row in again.rows] == [
        (row.id, row.group, row.targets) for row in data.rows
    ]
    for name, clip in again.clips.items():
        assert content_of(clip.film) == data.clips[name].film.read_bytes()


@pytest.mark.parametrize("container", ["flv", "mp4"])
def test_rendered_crema_d_is_listed_completely_with_its_demographics(tmp_path: Path, container: str) -> None:
    rendered = render_crema_d(
        tmp_path / "films",
        actors=(1003, 1004),
        emotions=("ANG", "NEU"),
        sentences=("IEO", "DFA"),
        container=container,
        settings=settings(),
    )
    data = opened("crema_d", root=str(rendered.root))
    assert places(data, rendered.root) == {
        (f"VideoFlash/{name}.{container}", f"AudioWAV/{name}.wav") for name in {path.stem for path in rendered.files}
    }
    assert {row.group: row.targets["sex"] for row in data.rows} == {"1003": "male", "1004": "female"}


def prepared(name: str, root: Path, cache: Path, **options: object) -> Dataset:
    spec = PrepareSpec(
        cache=str(cache), frame_rate=5.0, sample_rate=8000, face=FaceSpec(size=16, detector=DetectorSpec(type="center"))
    )
    data = DataSpec(dataset=DatasetSpec(type=name, root=str(root), **options), prepare=spec)
    prepare(opened(name, root=str(root), **options), spec, kind=name, processes=1)
    return Datasets().open(data)


def test_films_of_ravdess_give_the_same_crops_and_waves_from_folders_and_from_archives(tmp_path: Path) -> None:
    rendered = render_ravdess(
        tmp_path / "films",
        actors=(3,),
        emotions=("happy",),
        intensities=(1,),
        statements=(1,),
        modalities=(1, 2, 3),
        settings=settings(),
    )
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(packed / "Video_Speech_Actor_03.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in rendered.files:
            archive.write(path, f"Actor_03/{path.name}")
    for options in ({}, {"sound": "file"}):
        plain = prepared("ravdess", rendered.root, tmp_path / "cache1", **options)
        inside = prepared("ravdess", packed, tmp_path / "cache2", **options)
        assert [row.id for row in plain.rows] == [row.id for row in inside.rows]
        assert len(plain.rows) == 2
        for index in range(2):
            first, second = plain.load(index), inside.load(index)
            assert sorted(first) == ["audio", "video"]
            assert all(torch.equal(first[modality], second[modality]) for modality in first)


def test_films_of_crema_d_are_prepared_and_a_mended_one_has_its_sound_alone(tmp_path: Path) -> None:
    rendered = render_crema_d(
        tmp_path / "films", actors=(1064,), emotions=("SAD", "DIS"), sentences=("TIE", "IEO"), settings=settings()
    )
    data = prepared("crema_d", rendered.root, tmp_path / "cache")
    assert len(rendered.files) == 2 * 8
    assert len(data.rows) == 7
    for index, row in enumerate(data.rows):
        assert sorted(data.load(index)) == (["audio"] if row.id == "1064_TIE_SAD_XX" else ["audio", "video"])
    assert "1064_TIE_SAD_XX: the film has no duration; its wav is used alone" in data.notes


# Documents

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "emotion_films.md"


@cache
def crema_d_rows() -> list[Row]:
    return [
        Row(name.clip, name.actor, None, {"sex": "male" if name.actor < "1049" else "female"}, "")
        for name in list_distributed_clips()
    ]


def test_the_protocols_in_the_docs_are_what_the_docs_say() -> None:
    ravdess = [Row(take, take[-2:], None, {}, "") for actor in range(1, 25) for take in takes(actor)]
    rows = {"actor_pairs": ravdess, "group_kfold": ravdess, "leave_one_group_out": ravdess, "random_kfold": ravdess}
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and "`folds: " in line:
            snippet = line.split("`folds: ")[1].split("`")[0]
            spec = FoldsSpec.model_validate(read_yaml(f"folds: {snippet}", "docs").value["folds"])
            chosen = rows.get(spec.type) or crema_d_rows()
            splits = build_component(spec).split(chosen)
            dependent = "allow_group_overlap: true" in line
            labels = {check_split(split, chosen, dependent) for split in splits}
            found.append((spec.type, len(splits), len(splits[0].train), len(splits[0].test), *labels))
    assert found == [
        ("actor_pairs", 12, 1320, 120, "group-independent"),
        ("balanced_groups", 9, found[1][2], 7442 - found[1][2], "group-independent"),
        ("group_kfold", 5, 1140, 300, "group-independent"),
        ("leave_one_group_out", 24, 1380, 60, "group-independent"),
        ("holdout", 5, found[4][2], 7442 - found[4][2], "group-independent"),
        ("holdout", 1, 6698, 744, "group-dependent"),
        ("random_kfold", 10, 1296, 144, "group-dependent"),
    ]


def test_lists_of_training_and_test_clips_become_folds_as_the_docs_say(tmp_path: Path) -> None:
    rows = crema_d_rows()
    lists = {"test": rows[::10], "train": [row for n, row in enumerate(rows) if n % 10]}
    for part, chosen in lists.items():
        lines = "".join(f"{row.id},{row.id.split('_')[2]}\r\n" for row in chosen)
        (tmp_path / f"{part}.csv").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    command = re.search(r"^\(echo id,fold\n(?:.*\n)*?.*> folds\.csv$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    subprocess.run(["bash", "-c", command.group()], cwd=tmp_path, check=True)
    (split,) = FOLDS.build("given", file=str(tmp_path / "folds.csv")).split(rows)
    assert split.test == tuple(row.id for row in lists["test"])
    assert split.train == tuple(row.id for row in lists["train"])


# Archives


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_member_is_read_and_sought_in_like_a_file(tmp_path: Path, method: int) -> None:
    content = random.Random(0).randbytes(100_000)
    pack(tmp_path / "films.zip", ["Actor_01/film.mp4"], content, method)
    (tmp_path / "film.mp4").write_bytes(content)
    for path in (tmp_path / "films.zip" / "Actor_01" / "film.mp4", tmp_path / "film.mp4"):
        with open_member(path) as file:
            file.seek(-5, 2)
            assert file.read() == content[-5:]
            file.seek(7)
            assert file.read(9) == content[7:16]


def test_paths_with_backslashes_in_an_archive_are_found(tmp_path: Path) -> None:
    pack(tmp_path / "films.zip", ["Actor_01\\film.mp4"])
    assert content_of(tmp_path / "films.zip" / "Actor_01" / "film.mp4") == FILM


def test_a_folder_that_ends_in_zip_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "Video_Speech_Actor_01.zip", ["01-01-01-01-01-01-01.mp4"])
    path = tmp_path / "Video_Speech_Actor_01.zip" / "01-01-01-01-01-01-01.mp4"
    assert not is_member(path)
    assert content_of(path) == FILM
    assert len(opened("ravdess", root=str(tmp_path)).rows) == 1


def test_the_fingerprint_follows_the_content_of_a_member_and_not_the_time_of_its_archive(tmp_path: Path) -> None:
    member = tmp_path / "films.zip" / "film.mp4"
    pack(tmp_path / "films.zip", ["film.mp4"], b"one")
    first = read_fingerprint(member)
    pack(tmp_path / "films.zip", ["film.mp4", "other.mp4"], b"one")
    assert read_fingerprint(member) == first
    pack(tmp_path / "films.zip", ["film.mp4", "other.mp4"], b"two")
    assert read_fingerprint(member) != first
    plain = tmp_path / "film.mp4"
    plain.write_bytes(b"one")
    before = read_fingerprint(plain)
    plain.write_bytes(b"other")
    assert read_fingerprint(plain) != before


def test_what_cannot_be_read_or_unpacked_is_said_with_its_place(tmp_path: Path) -> None:
    archive = tmp_path / "films.zip"
    pack(archive, ["film.mp4"], FILM, zipfile.ZIP_STORED)
    damaged = bytearray(archive.read_bytes())
    damaged[60] ^= 255
    (tmp_path / "damaged.zip").write_bytes(damaged)
    for path, message in (
        (archive / "none.mp4", "films.zip holds no such file"),
        (tmp_path / "none.mp4", "cannot be read (No such file or directory)"),
    ):
        for read in (open_member, read_fingerprint):
            with pytest.raises(DataError) as caught:
                read(path)
            assert str(caught.value) == f"{path}: {message}"
    with pytest.raises(DataError, match=r"cannot be unpacked .* download the archive again, or unpack it yourself"):
        open_member(tmp_path / "damaged.zip" / "film.mp4")


@given(st.sets(st.integers(1, 30), min_size=1))
def test_ranges_name_every_number_once(numbers: set[int]) -> None:
    said: set[int] = set()
    for part in join_ranges([f"{number:02}" for number in sorted(numbers)]).split(", "):
        first, _, last = part.partition(" to ")
        said |= set(range(int(first), int(last or first) + 1))
    assert said == numbers


def test_broken_sounds_without_a_film_are_treated_like_those_with_one(tmp_path: Path) -> None:
    root = str(crema_d(tmp_path, [*WRONG, "1003_DFA_ANG_XX", min(SILENT)], films=False))
    assert list(opened("crema_d", root=root).clips) == sorted(["1003_DFA_ANG_XX", min(SILENT), *MENDED])
    assert list(opened("crema_d", root=root, broken="drop").clips) == sorted(["1003_DFA_ANG_XX", min(SILENT)])
    assert set(WRONG) < set(opened("crema_d", root=root, broken="keep").clips)
    assert any(
        note.startswith("1064_IEO_DIS_MD: film and sound last a minute") for note in opened("crema_d", root=root).notes
    )
