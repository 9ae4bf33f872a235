"""FER2013 in its three layouts, and its faces beside RAVDESS voices."""

from __future__ import annotations

import copy
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from written_faces import USAGES, jpeg, picture, write_faces

from fusionkit.config.components.registry import DATASETS, FOLDS
from fusionkit.data.datasets.fer2013_files import EMOTIONS
from fusionkit.data.datasets.ravdess_fer2013 import FACE_OF, RavdessFer2013, deal
from fusionkit.data.datasets.ravdess_names import EMOTIONS as VOICES
from fusionkit.data.datasets.ravdess_names import RavdessName
from fusionkit.data.datasets.ravdess_sound import RavdessSound
from fusionkit.data.splits import check_split
from fusionkit.errors import DataError
from fusionkit.interfaces import Dataset, Row
from fusionkit.testing import check_dataset


def write_tar(root: Path, file: Path, **options: str) -> Path:
    with tarfile.open(file, **({"mode": "w"} | options)) as archive:
        for part in ("train", "test"):
            archive.add(root / part, part)
    return file


def write_table(file: Path, per_class: int = 2) -> Path:
    lines, number = ["emotion,pixels,Usage"], 0
    for usage in USAGES:
        for code in range(len(EMOTIONS)):
            for _ in range(per_class):
                number += 1
                lines.append(f"{code},{' '.join(map(str, picture(number).flatten()))},{usage}")
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_faces(tmp_path / "FER")


def fer(root: Path, **options: str) -> Dataset:
    return DATASETS.build("fer2013", root=str(root), **options)


def everything(data: Dataset) -> dict[str, tuple[str | None, object, list[int]]]:
    return {
        row.id.rsplit("_", 1)[-1]: (row.part, row.targets["emotion"], data.load(index)["face"].flatten().tolist())
        for index, row in enumerate(data.rows)
    }


def test_folder_and_tar_hold_the_same_faces_and_the_table_the_same_classes(faces: Path, tmp_path: Path) -> None:
    folder, tar = fer(faces), fer(write_tar(faces, tmp_path / "fer.tar"))
    assert everything(folder) == everything(tar)
    table = fer(write_table(tmp_path / "fer2013.csv"))
    assert [(row.part, row.targets) for row in table.rows] == [
        (part, {"emotion": emotion}) for part in ("train", "test", "test") for emotion in EMOTIONS for _ in range(2)
    ]
    for index in range(len(table.rows)):
        assert torch.equal(table.load(index)["face"], torch.from_numpy(picture(index + 1))[None, None])
    for data in (folder, tar, table):
        assert data.classes == {"emotion": ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")}
        face = data.load(0)["face"]
        assert face.dtype == torch.uint8
        assert face.shape == (1, 1, 48, 48)


def test_a_folder_that_holds_kaggles_table_is_read_as_the_table(tmp_path: Path) -> None:
    write_table(tmp_path / "fer2013.csv", per_class=1)
    assert len(fer(tmp_path).rows) == 3 * 7


@pytest.mark.parametrize(("test", "usages"), [("public", {"PublicTest"}), ("private", {"PrivateTest"}), ("both", None)])
def test_the_other_test_set_is_left_out(faces: Path, test: str, usages: set[str] | None) -> None:
    data = fer(faces, test=test)
    stated = {row.id.rsplit("/", 1)[-1].split("_")[0] for row in data.rows if row.part == "test"}
    assert stated == (usages or {"PublicTest", "PrivateTest"})
    assert sum(row.part == "train" for row in data.rows) == 14


def test_training_faces_that_are_a_test_face_are_dropped_where_asked_for(faces: Path) -> None:
    twin = faces / "train" / "happy" / "Training_999.jpg"
    twin.write_bytes((faces / "test" / "sad" / "PrivateTest_37.jpg").read_bytes())
    assert "train/happy/Training_999" in {row.id for row in fer(faces).rows}
    for test in ("public", "private"):  # a network is to be reported on either
        assert "train/happy/Training_999" not in {row.id for row in fer(faces, twins="drop", test=test).rows}
    assert len(fer(faces, twins="drop").rows) == 42


def test_options_that_leave_a_part_without_a_face_are_refused_when_the_dataset_is_opened(faces: Path) -> None:
    for file in (faces / "test").rglob("PrivateTest_*"):
        file.unlink()
    with pytest.raises(
        DataError, match=r"test: private: leaves no face of the test part: there is no PrivateTest; set"
    ):
        fer(faces, test="private")
    assert len(fer(faces, test="public").rows) == 28
    for file, twin in zip(
        sorted((faces / "train").rglob("*.jpg")), sorted((faces / "test").rglob("*.jpg")), strict=True
    ):
        file.write_bytes(twin.read_bytes())
    with pytest.raises(DataError, match=r"twins: drop: leaves no face of the train part: .*; set twins: keep"):
        fer(faces, twins="drop")


def test_the_dataset_keeps_the_promises_of_its_kind(faces: Path) -> None:
    check_dataset(DATASETS.get("fer2013").cls, {"root": str(faces)})


def test_what_is_wrong_with_a_folder_is_said_with_counts(faces: Path, tmp_path: Path) -> None:
    (faces / "train" / "hapy").mkdir()
    for number in (1, 2, 3):
        (faces / "train" / "hapy" / f"Training_{number}.jpg").write_bytes(b"")
    (faces / "train" / "sad" / "PublicTest_1.jpg").write_bytes(b"")
    (faces / "train" / "sad" / "notes.txt").write_bytes(b"")
    (faces / "train" / "sad" / ".DS_Store").write_bytes(b"")
    for file in (faces / "test" / "fear").iterdir():
        file.unlink()
    copied = faces / "train" / "happy" / "Training_7.jpeg"
    copied.write_bytes((faces / "train" / "happy" / "Training_7.jpg").read_bytes())
    with pytest.raises(DataError) as caught:
        fer(faces)
    said = str(caught.value)
    for part in (
        "3 files stand in a folder of no emotion, train/hapy (did you mean 'happy'?), such as train/hapy/Training_1",
        "1 files are named as none of train/'s, such as train/sad/PublicTest_1.jpg",
        "1 files are no part/emotion/Usage_N.jpg, such as train/sad/notes.txt",
        "the test part holds no face of fear (angry 4, disgust 4, fear 0,",
        "1 faces stand twice, such as train/happy/Training_7",
    ):
        assert part in said
    with pytest.raises(DataError, match="no such file or folder; point root at Kaggle's"):
        fer(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"(?s)no face of the train part.*no face of the test part"):
        fer(tmp_path / "empty")


def test_a_tar_that_is_cut_short_compressed_or_none_is_refused(faces: Path, tmp_path: Path) -> None:
    whole = write_tar(faces, tmp_path / "fer.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"damaged|truncated"):
        fer(tmp_path / "cut.tar")
    with pytest.raises(DataError, match="take the uncompressed tar"):
        fer(write_tar(faces, tmp_path / "fer.tar.gz", mode="w:gz"))
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(DataError, match="is no tar file"):
        fer(tmp_path / "text.tar")


def test_what_is_wrong_with_a_table_is_said_by_line(tmp_path: Path) -> None:
    file = write_table(tmp_path / "fer2013.csv", per_class=1)
    lines = file.read_text().splitlines()
    bad = [f"7,{lines[1].split(',')[1]},Training", "1,1 2 3,Training", f"1,{'300 ' * 2304},Test"]
    file.write_text("\n".join([*lines, *bad]))
    with pytest.raises(DataError) as caught:
        fer(file)
    said = str(caught.value)
    for part in (
        "line 23: emotion: '7' is none; 0 (angry) to 6 (neutral)",
        "line 24: pixels: 3 numbers; 2304",
        "line 25: Usage: 'Test' is none",
        "line 25: pixels: not all are whole numbers from 0 to 255",
    ):
        assert part in said
    file.write_text("label,pixels\n")
    with pytest.raises(DataError, match="has the columns label, pixels; Kaggle's table has emotion, pixels and Usage"):
        fer(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no image", "cannot be read as an image"),
        (jpeg(picture(1))[:200], "cannot be read as an image"),
        (jpeg(np.zeros((50, 48), dtype=np.uint8)), "mode L and 48 x 50 pixels; mode L"),
        (jpeg(np.zeros((48, 48, 3), dtype=np.uint8)), "mode RGB and 48 x 48 pixels"),
    ],
)
def test_a_damaged_face_is_told_with_its_place(faces: Path, content: bytes, said: str) -> None:
    (faces / "train" / "sad" / "Training_9.jpg").write_bytes(content)
    data = fer(faces)
    index = [row.id for row in data.rows].index("train/sad/Training_9")
    with pytest.raises(DataError, match=f"train/sad/Training_9.jpg: .*{said}"):
        data.load(index)


def write_voices(folder: Path, actors: tuple[int, ...] = (1, 2, 3, 4), skip: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for actor in actors:
        for emotion in range(1, 9):
            for statement in (1, 2):
                name = f"03-01-{emotion:02}-01-{statement:02}-01-{actor:02}"
                if name != skip:
                    soundfile.write(folder / f"{name}.wav", 0.1 * np.ones(160), 16000)
    return folder


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    return write_voices(tmp_path / "voices")


def paired(voices: Path, pictures: Path, **options: object) -> RavdessFer2013:
    data = DATASETS.build("ravdess_fer2013", sound=str(voices), faces_root=str(pictures), **options)
    assert isinstance(data, RavdessFer2013)
    return data


def test_no_face_and_no_actor_stands_on_both_sides_of_any_fold(voices: Path, faces: Path) -> None:
    data = paired(voices, faces, faces=2)
    place = {row.id: index for index, row in enumerate(data.rows)}
    folds = FOLDS.build("with_parts", folds="actor_pairs").split(data.rows)
    assert [fold.name for fold in folds] == ["A1,2", "A3,4"]
    for fold in folds:
        assert check_split(fold, data.rows) == "group-independent"
        assert len(fold.train) == len(fold.test) == 2 * 16
        shown = {
            side: {face for name in getattr(fold, side) for face in data.list_faces(place[name])}
            for side in USAGES.values()
        }
        assert not shown["train"] & shown["test"]
        assert {face.split("/")[0] for face in shown["train"]} == {"train"}
        assert {face.split("/")[0] for face in shown["test"]} == {"test"}


def test_a_clip_shows_faces_of_its_emotion_and_calm_ones_neutral_ones(voices: Path, faces: Path) -> None:
    data = paired(voices, faces, faces=2)
    for index, row in enumerate(data.rows):
        assert {face.split("/")[1] for face in data.list_faces(index)} == {FACE_OF[str(row.targets["emotion"])]}
        assert len(set(data.list_faces(index))) == 2
    assert set(FACE_OF) == set(VOICES)
    assert set(FACE_OF.values()) == set(EMOTIONS)


def test_the_faces_of_a_clip_depend_on_the_seed_and_its_name_alone(voices: Path, faces: Path, tmp_path: Path) -> None:
    first = paired(voices, faces, faces=1)
    fewer = paired(write_voices(tmp_path / "fewer", (2, 4), skip="03-01-03-01-01-01-02"), faces, faces=1)
    other = paired(voices, faces, faces=1, seed=1)
    shown = {row.id: first.list_faces(index) for index, row in enumerate(first.rows)}
    assert all(shown[row.id] == fewer.list_faces(index) for index, row in enumerate(fewer.rows))
    assert shown != {row.id: other.list_faces(index) for index, row in enumerate(other.rows)}


def test_faces_are_dealt_without_repetition_while_they_last() -> None:
    pool = list(range(1000, 1200))
    names = [
        RavdessName(3, 1, emotion, intensity, statement, repetition, actor)
        for actor in (1, 2, 3)
        for emotion in ("neutral", "calm")
        for intensity in ("normal", "strong")
        for statement in ("kids", "dogs")
        for repetition in (1, 2)
    ]
    dealt = [face for name in names for face in deal(pool, name, 4)]
    assert len(dealt) == 3 * 16 * 4
    assert len(set(dealt)) == len(dealt)
    assert deal(pool, names[-1], 4) == tuple(pool[188:192])


def test_too_few_faces_are_told_by_part_and_emotion(voices: Path, faces: Path) -> None:
    with pytest.raises(DataError, match=r"fer2013, train, disgust: 2 faces, a clip needs 3; faces: 2"):
        paired(voices, faces, faces=3)


def test_paired_samples_load_a_wave_and_faces_and_keep_the_promises_of_their_kind(voices: Path, faces: Path) -> None:
    data = paired(voices, faces, faces=2)
    loaded = copy.deepcopy(data).load(3)
    assert {name: tuple(values.shape) for name, values in loaded.items()} == {"audio": (160,), "face": (2, 1, 48, 48)}
    check_dataset(RavdessFer2013, {"sound": str(voices), "faces_root": str(faces), "faces": 2})
    check_dataset(RavdessSound, {"root": str(voices)})


def test_sound_is_found_in_folders_of_actors_and_other_channels_are_left_out(tmp_path: Path) -> None:
    for name in ("Actor_02/03-01-01-01-01-01-02", "Actor_01/03-01-05-02-01-01-01", "Actor_01/03-02-05-02-01-01-01"):
        file = tmp_path / f"{name}.wav"
        file.parent.mkdir(exist_ok=True)
        soundfile.write(file, 0.1 * np.ones(160), 16000)
    rows = RavdessSound(root=str(tmp_path)).rows
    assert [(row.id, row.group, row.place) for row in rows] == [
        ("01-05-02-01-01-01", "01", "Actor_01/03-01-05-02-01-01-01.wav"),
        ("01-01-01-01-01-02", "02", "Actor_02/03-01-01-01-01-01-02.wav"),
    ]
    assert [row.targets["emotion"] for row in rows] == ["angry", "neutral"]
    assert len(RavdessSound(root=str(tmp_path), channel="both").rows) == 3


def test_what_macos_leaves_and_folders_named_as_a_sound_are_no_sound(voices: Path) -> None:
    rows = RavdessSound(root=str(voices)).rows
    first = voices / rows[0].place
    (first.parent / f"._{first.name}").write_bytes(b"what macOS leaves")
    (voices / "takes.wav").mkdir()
    first.rename(voices / "takes.wav" / first.name)
    found = RavdessSound(root=str(voices))
    assert [row.id for row in found.rows] == [row.id for row in rows]
    assert found.rows[0].place == f"takes.wav/{first.name}"


def test_a_sound_that_is_a_link_to_nowhere_is_told(voices: Path) -> None:
    (voices / "03-01-08-02-02-02-24.wav").symlink_to(voices / "gone.wav")
    assert RavdessSound(root=str(voices)).notes == ("03-01-08-02-02-02-24.wav is a link that leads nowhere",)


def test_sound_of_a_wrong_name_a_clip_twice_and_no_sound_are_told(voices: Path, tmp_path: Path) -> None:
    soundfile.write(voices / "03-01-09-01-01-01-01.wav", np.zeros(9), 16000)
    soundfile.write(voices / "03-01-01-01-01-01-01.flac", np.zeros(9), 16000)
    with pytest.raises(
        DataError, match=r"(?s)emotion 09 is outside 01..08|is the same clip as 03-01-01-01-01-01-01.flac"
    ):
        RavdessSound(root=str(voices))
    with pytest.raises(DataError, match="no such folder"):
        RavdessSound(root=str(tmp_path / "nowhere"))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no sound of the wanted channel"):
        RavdessSound(root=str(tmp_path / "none"))


def test_folds_with_parts_refuse_samples_without_a_part_and_folds_without_one() -> None:
    rows = [Row(f"{n}", f"{n}", "train" if n < 3 else None, {}, "") for n in range(1, 5)]
    with pytest.raises(DataError, match="2 of 4 samples are in no part, train or test, such as '3'"):
        FOLDS.build("with_parts").split(rows)
    rows = [Row(f"{n}", f"{n}", "train" if n < 3 else "test", {}, "") for n in range(1, 5)]
    with pytest.raises(DataError, match=r"folds without training or test samples: A1,2$"):
        FOLDS.build("with_parts").split(rows)


@pytest.mark.data
def test_the_real_faces_are_as_many_as_published(real_data: Path) -> None:
    data = fer(real_data / "fer2013.tar")
    count = {usage: sum(usage in row.id for row in data.rows) for usage in USAGES}
    assert count == {"Training": 28709, "PublicTest": 3589, "PrivateTest": 3589}
    assert len(fer(real_data / "fer2013.tar", twins="drop").rows) < len(data.rows)
    assert data.load(5)["face"].shape == (1, 1, 48, 48)
