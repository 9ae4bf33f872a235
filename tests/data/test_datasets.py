import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.datasets.ravdess_names import RavdessName
from fusionkit.data.datasets.synthetic import SyntheticModality
from fusionkit.errors import DataError
from fusionkit.interfaces import Dataset

HEADER = "clip,sound,face,x,y,mood,age,v,a,who,side\n"
FULL = {
    "modalities": {"sound": "sound", "face": {"column": "face", "rate": 25.0}, "sensor": ["x", "y"]},
    "targets": {"mood": "mood", "age": "age", "affect": ["v", "a"]},
    "group": "who",
    "id": "clip",
    "part": "side",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, length in (("a", 400), ("b", 300)):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.ones(length), 8000)
        np.save(tmp_path / f"{name}.npy", np.ones((length // 100, 3), dtype=np.float32))
    return tmp_path


def manifest(folder: Path, body: str, **options: object) -> Dataset:
    (folder / "m.csv").write_text(HEADER + body)
    return DATASETS.build("manifest", path=str(folder / "m.csv"), **(FULL | options))


GOOD = "c1,a.wav,a.npy,1,2.5,calm,30,0.1,0.2,07,train\nc2,b.wav,,,,happy,,0.5,,08,test\nc3,,b.npy,-1,0,,41,,,08,\n"


def test_a_manifest_row_becomes_a_sample_and_an_empty_cell_a_missing_value(folder: Path) -> None:
    data = manifest(folder, GOOD)
    assert [(row.id, row.group, row.part) for row in data.rows] == [
        ("c1", "07", "train"),
        ("c2", "08", "test"),
        ("c3", "08", None),
    ]
    assert data.rows[0].targets == {"mood": "calm", "age": 30, "affect": (0.1, 0.2)}
    assert data.rows[1].targets["age"] is None
    assert data.rows[1].targets["affect"] == (0.5, pytest.approx(float("nan"), nan_ok=True))
    assert data.rows[2].targets == {"mood": None, "age": 41, "affect": None}
    assert data.rows[2].place == "m.csv, line 4"
    assert data.classes == {"mood": ("calm", "happy"), "age": ("30", "41")}
    loaded = [data.load(index) for index in range(3)]
    assert [sorted(sample) for sample in loaded] == [["face", "sensor", "sound"], ["sound"], ["face", "sensor"]]
    assert loaded[0]["sensor"].tolist() == [[1.0, 2.5]]
    assert loaded[0]["sound"].shape == (400,)
    assert loaded[2]["face"].shape == (3, 3)


def test_a_manifest_tells_shapes_rates_and_lengths_without_loading(folder: Path) -> None:
    data = manifest(folder, GOOD)
    assert {name: (info.shape, info.rate) for name, info in data.modalities.items()} == {
        "sound": ((), 8000.0),
        "face": ((3,), 25.0),
        "sensor": ((2,), None),
    }
    for index in range(3):
        loaded = data.load(index)
        for name in data.modalities:
            assert data.length(index, name) == len(loaded.get(name, ()))


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "tsv"])
def test_every_kind_of_table_says_the_same(folder: Path, ending: str) -> None:
    records = [
        {"clip": "c1", "sound": "a.wav", "x": 1.0, "y": 2.5, "mood": "calm", "level": 3},
        {"clip": "c2", "sound": None, "x": -1.0, "y": 0.0, "mood": None, "level": 4},
    ]
    path = folder / f"m.{ending}"
    if ending == "jsonl":
        path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n")
    elif ending == "tsv":
        path.write_text("clip\tsound\tx\ty\tmood\tlevel\nc1\ta.wav\t1.0\t2.5\tcalm\t3\nc2\t\t-1.0\t0.0\t\t4\n")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    data = DATASETS.build(
        "manifest",
        path=str(path),
        modalities={"sound": "sound", "sensor": ["x", "y"]},
        targets=["mood", "level"],
        id="clip",
    )
    assert [dict(row.targets) for row in data.rows] == [{"mood": "calm", "level": 3}, {"mood": None, "level": 4}]
    assert sorted(data.load(1)) == ["sensor"]
    assert data.load(0)["sensor"].tolist() == [[1.0, 2.5]]


def test_parquet_without_pyarrow_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "m.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs the package pyarrow; install it with `pip install fusionkit-multi"):
        DATASETS.build("manifest", path=str(folder / "m.parquet"), modalities={"s": "s"})


def test_every_problem_of_every_row_of_a_manifest_is_reported_at_once(folder: Path) -> None:
    body = (
        "c1,absent.wav,a.npy,1,2,calm,1,0,0,1,train\n"
        "c1,a.wav,gone.npy,one,2,calm,1,0,0,1,train\n"
        "c2,a.wav,a.npy,1,,calm,1,0,zero,1,trian\n"
        ",a.wav,a.npy,inf,1,calm,1,0,0,1,test\n"
    )
    with pytest.raises(DataError) as caught:
        manifest(folder, body)
    assert (
        str(caught.value).splitlines()
        == [
            f"{folder}/m.csv: 9 problems",
            f"  - m.csv, line 2: sound: no such file: {folder}/absent.wav",
            f"  - m.csv, line 3: face: no such file: {folder}/gone.npy",
            "  - m.csv, line 3: sensor: column 'x' holds 'one', not a finite number",
            "  - m.csv, line 4: sensor: empty columns: y; give every number of the vector, or none of them where it is "
            "missing",
            "  - m.csv, line 5: sensor: column 'x' holds 'inf', not a finite number",
            "  - m.csv, line 3: id 'c1' is taken by m.csv, line 2",
            "  - m.csv, line 4: part 'trian'; train or test",
            "  - m.csv, line 5: column 'clip', the id, is empty",
            "  - m.csv, line 4: affect: column 'a' holds 'zero', not a finite number",
        ]
        or len(caught.value.problems) == 9
    )


def test_an_unknown_column_is_reported_with_the_closest_one(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        manifest(folder, GOOD, targets=["moood"], group="wo", modalities={"sound": "sound", "sensor": ["x", "z"]})
    text = str(caught.value)
    assert "modalities.sensor: m.csv has no column 'z'" in text
    assert "targets.moood: m.csv has no column 'moood'; did you mean 'mood'?" in text
    assert "group: m.csv has no column 'wo'; did you mean 'who'?" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1\n", r"m\.csv, line 2: 1 cells, but 2 columns"),
        ("a,a\n1,2\n", r"m\.csv, line 1: column 'a' stands twice"),
        ("a,b\n", "has no rows"),
        ('a,b\n"1,2\n', r"is no CSV \(unexpected end of data\)"),
    ],
)
def test_a_broken_csv_is_refused_with_its_line(folder: Path, text: str, message: str) -> None:
    (folder / "m.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        DATASETS.build("manifest", path=str(folder / "m.csv"), modalities={"m": "a"})


def test_broken_json_lines_are_reported_together(folder: Path) -> None:
    (folder / "m.jsonl").write_text('{"a": 1}\n{"a": \n[1]\n{"a": [1]}\n')
    with pytest.raises(DataError) as caught:
        DATASETS.build("manifest", path=str(folder / "m.jsonl"), modalities={"m": ["a"]})
    text = str(caught.value)
    assert "3 problems" in text
    assert "line 2: is no JSON" in text
    assert "line 3: is list, not an object" in text
    assert "line 4: column 'a' holds list; a text or a number" in text


def test_a_file_of_another_shape_or_rate_is_refused_with_row_and_path(folder: Path) -> None:
    np.save(folder / "wide.npy", np.ones((2, 4)))
    soundfile.write(folder / "fast.wav", np.zeros(100), 16000)
    body = "c1,a.wav,a.npy,,,,,,,1,\nc2,,wide.npy,,,,,,,1,\nc3,fast.wav,,,,,,,,1,\n"
    data = manifest(folder, body)
    with pytest.raises(DataError, match=r"m\.csv, line 3: face: .*wide\.npy: elements of shape \(4,\), but the first"):
        data.load(1)
    with pytest.raises(DataError, match=r"line 4: sound: .*fast\.wav: 16000\.0 elements per second, .*set sample_rate"):
        data.load(2)
    assert len(manifest(folder, body, sample_rate=8000).load(2)["sound"]) == 50


def test_damage_that_is_found_while_loading_names_row_modality_and_path(folder: Path) -> None:
    data = manifest(folder, GOOD)
    (folder / "b.wav").write_bytes((folder / "b.wav").read_bytes()[:300])
    with pytest.raises(DataError, match=r"m\.csv, line 3: sound: .*b\.wav: is truncated"):
        data.load(1)
    np.save(folder / "a.npy", np.full((2, 3), np.nan))
    with pytest.raises(DataError, match=r"m\.csv, line 2: face: .*a\.npy: all 6 numbers are NaN or infinite"):
        data.load(0)


def test_the_first_file_that_can_be_read_tells_the_shape_and_none_is_an_error(folder: Path) -> None:
    (folder / "bad.npy").write_bytes(b"no array")
    assert manifest(folder, "c0,,bad.npy,,,,,,,1,\n" + GOOD).modalities["face"].shape == (3,)
    with pytest.raises(DataError) as caught:
        manifest(folder, "c1,,bad.npy,,,,,,,1,\n")
    assert "m.csv, line 2: face:" in str(caught.value)
    assert "modality sound: column 'sound' is empty in every row" in str(caught.value)


def test_numbers_with_leading_zeros_stay_words(folder: Path) -> None:
    (folder / "m.csv").write_text("x,code,share\n1,07,0.5\n2,10,1\n")
    data = DATASETS.build("manifest", path=str(folder / "m.csv"), modalities={"s": ["x"]}, targets=["code", "share"])
    assert [dict(row.targets) for row in data.rows] == [{"code": "07", "share": 0.5}, {"code": "10", "share": 1.0}]
    assert data.classes == {"code": ("07", "10")}
    assert [row.id for row in data.rows] == ["1", "2"]


TS_HEADER = (
    "#made\n@problemName p\n@timeStamps false\n@missing {missing}\n@dimensions 3\n@classLabel true go stop\n@data\n"
)


def ts(folder: Path, cases: str, *, missing: str = "false", **options: object) -> Dataset:
    (folder / "a.ts").write_text(TS_HEADER.format(missing=missing) + cases)
    return DATASETS.build("ts", train=str(folder / "a.ts"), **options)


def test_ts_channels_are_split_into_modalities(tmp_path: Path) -> None:
    data = ts(tmp_path, "1,2:3,4:5,6:go\n7,8,9:1,2,3:4,5,6:stop\n", modalities={"m": [2, 0], "n": [1]}, rate=10.0)
    assert data.load(0)["m"].tolist() == [[5.0, 1.0], [6.0, 2.0]]
    assert data.load(1)["n"].tolist() == [[1.0], [2.0], [3.0]]
    assert data.length(1, "m") == 3
    assert (data.modalities["m"].shape, data.modalities["m"].rate) == ((2,), 10.0)
    assert [row.targets["label"] for row in data.rows] == ["go", "stop"]
    assert data.classes == {"label": ("go", "stop")}
    assert data.rows[0].part is None
    assert data.rows[1].place == "a.ts, line 9"


def test_ts_files_become_the_parts_train_and_test(tmp_path: Path) -> None:
    (tmp_path / "b.ts").write_text(TS_HEADER.format(missing="false") + "1:2:3:go\n")
    data = ts(tmp_path, "1,2:3,4:5,6:go\n", test=str(tmp_path / "b.ts"))
    assert [(row.id, row.part) for row in data.rows] == [("train-1", "train"), ("test-1", "test")]
    assert data.load(0)["series"].shape == (2, 3)
    (tmp_path / "b.ts").write_text("@classLabel true a b\n@data\n1:2:a\n")
    with pytest.raises(DataError, match=r"channels 2, but a\.ts has 3") as caught:
        ts(tmp_path, "1,2:3,4:5,6:go\n", test=str(tmp_path / "b.ts"))
    assert "classes ('a', 'b'), but a.ts has ('go', 'stop')" in str(caught.value)


def test_a_ts_modality_without_any_value_is_missing_and_single_values_are_interpolated_on_request(
    tmp_path: Path,
) -> None:
    cases = "?,?:3,4:5,6:go\n1,?,3:?,2,2:0,0,?:stop\n"
    split = {"m": [0], "n": [1, 2]}
    with pytest.raises(DataError) as caught:
        ts(tmp_path, cases, missing="true", modalities=split)
    assert "a.ts, line 9: m: single values are missing (?); set missing: interpolate" in str(caught.value)
    (tmp_path / "a.ts").write_text(TS_HEADER.format(missing="true") + cases)
    data = DATASETS.build("ts", train=str(tmp_path / "a.ts"), modalities=split, missing="interpolate")
    assert sorted(data.load(0)) == ["n"]
    assert data.length(0, "m") == 0
    assert data.load(1)["m"].tolist() == [[1.0], [2.0], [3.0]]
    assert data.load(1)["n"].tolist() == [[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]]


def test_all_broken_cases_of_a_ts_file_are_reported_with_their_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        ts(tmp_path, "1,x:2,2:3,3:go\n1:2:stop\n1:2:3:sotp\n?:1:2:go\n1:2:inf:go\n")
    text = str(caught.value)
    assert "line 8, channel 0: value 1 is 'x'; a number, or ? where it is missing" in text
    assert "line 9: 2 channels, but 3 were stated" in text
    assert "line 10: unknown class 'sotp'; did you mean 'stop'?" in text
    assert "line 11, channel 0: a missing value (?), but the header says @missing false" in text
    assert "line 12, channel 2: value 0 is 'inf'" in text
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@timeStamps true\n@data\n", "line 1: series with time stamps are not read; resample"),
        ("@dimensionz 3\n@data\n", "line 1: unknown header @dimensionz; did you mean 'dimension' or 'dimensions'"),
        ("@\n@data\n", "line 1: unknown header @;"),
        ("@dimensions three\n@data\n", "@dimensions three; one positive whole number"),
        ("@classLabel true\n@data\n", "@classLabel true names no class"),
        ("@missing maybe\n@data\n", "@missing maybe; true or false"),
        ("1,2:3,4\n@data\n", "line 1: is no header line"),
        ("@missing false\n", "has no @data line"),
        ("@data\n", "holds no case after @data"),
        ("@equalLength true\n@seriesLength 3\n@data\n1,2:3,4\n", "2 values, but the header says @equalLength true"),
    ],
)
def test_a_broken_ts_header_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.ts").write_text(text)
    with pytest.raises(DataError, match=message):
        DATASETS.build("ts", train=str(tmp_path / "a.ts"))


def test_ts_modalities_must_name_channels_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        ts(tmp_path, "1:2:3:go\n", modalities={"m": [0, 3], "n": [], "o": [1, 1]})
    text = str(caught.value)
    assert "modalities.m: there is no channel 3; 0..2" in text
    assert "modalities.n: names no channel" in text
    assert "modalities.o: names a channel twice: [1, 1]" in text


@pytest.mark.data
def test_basic_motions_has_40_and_40_cases_of_100_values(real_data: Path) -> None:
    files = [str(real_data / "sensors" / f"BasicMotions_{part}.ts") for part in ("TRAIN", "TEST")]
    data = DATASETS.build("ts", train=files[0], test=files[1], modalities={"a": [0, 1, 2], "g": [3, 4, 5]}, rate=10.0)
    assert [sum(row.part == part for row in data.rows) for part in ("train", "test")] == [40, 40]
    assert all(data.load(index)["g"].shape == (100, 3) for index in range(80))
    assert data.classes["label"] == ("Standing", "Running", "Walking", "Badminton")


def test_synthetic_samples_depend_on_seed_and_position_and_on_nothing_else() -> None:
    first, again, other = (DATASETS.build("synthetic", seed=seed) for seed in (1, 1, 2))
    for index in (5, 0, 5):
        for name, values in first.load(index).items():
            assert torch.equal(values, again.load(index)[name])
            assert values.shape[1:] == first.modalities[name].shape
            assert len(values) == first.length(index, name)
    assert not torch.equal(first.load(0)["posture"], other.load(0)["posture"])


def test_classes_that_a_synthetic_modality_confuses_have_the_same_distribution_in_it_and_others_do_not() -> None:
    made = {
        "m": {"confuses": [["a", "b"], ["b", "c"]], "noise": 0.0, "min_length": 1, "max_length": 1},
        "n": {"confuses": [], "noise": 0.0, "min_length": 1, "max_length": 1},
    }
    data = DATASETS.build(
        "synthetic", modalities=made, classes=["a", "b", "c", "d"], groups=1, samples=1, group_offset=0.0
    )

    def look(name: str) -> torch.Tensor:
        vectors = torch.cat([data.load(index)[name] for index in range(4)])
        return vectors / vectors.norm(dim=1, keepdim=True)

    similar = {name: (look(name) @ look(name).T > 0.9999).tolist() for name in made}
    together = [[True, True, True, False]] * 3 + [[False, False, False, True]]
    assert similar == {"m": together, "n": torch.eye(4, dtype=torch.bool).tolist()}


def test_synthetic_classes_can_be_learned_together_and_not_from_one_modality_alone() -> None:
    data = DATASETS.build("synthetic", groups=6, samples=6)
    labels = torch.tensor([data.classes["label"].index(row.targets["label"]) for row in data.rows])
    test = torch.tensor([row.group in ("05", "06") for row in data.rows])
    features = {
        name: torch.stack([data.load(index)[name].mean(dim=0) for index in range(len(data.rows))])
        for name in data.modalities
    }

    def accuracy(vectors: torch.Tensor) -> float:
        centres = torch.stack([vectors[~test & (labels == label)].mean(dim=0) for label in range(4)])
        return float((torch.cdist(vectors[test], centres).argmin(dim=1) == labels[test]).float().mean())

    alone = [accuracy(vectors) for vectors in features.values()]
    assert max(alone) < 0.85
    assert accuracy(torch.cat(list(features.values()), dim=1)) > max(alone) + 0.05


def test_synthetic_samples_lack_modalities_at_their_rate_and_never_all() -> None:
    made = {"m": {"missing": 0.5}, "n": {"missing": 0.9}}
    data = DATASETS.build("synthetic", modalities=made, groups=10, samples=25)
    present = [{name for name in made if data.length(index, name)} for index in range(len(data.rows))]
    assert all(present)
    assert set(data.load(3)) == present[3]
    share = sum("n" in names for names in present) / len(present)
    # n stays by chance (0.1), or is kept where both would go and it came closest to staying.
    assert 0.1 < share < 0.5


def test_the_strength_of_a_synthetic_sample_scales_its_signal() -> None:
    made = {"m": {"noise": 0.0, "min_length": 1, "max_length": 1, "features": 3}}
    data = DATASETS.build("synthetic", modalities=made, group_offset=0.0, regression=True, groups=2)
    for index, row in enumerate(data.rows):
        assert float(data.load(index)["m"].square().mean().sqrt()) == pytest.approx(row.targets["strength"], rel=1e-4)
        assert 0.5 <= row.targets["strength"] <= 1.5


def test_synthetic_options_that_contradict_each_other_are_refused_together() -> None:
    with pytest.raises(DataError) as caught:
        DATASETS.get("synthetic").cls(
            modalities={"m": SyntheticModality(confuses=(("a", "bb"),), min_length=5, max_length=2)}, classes=["a", "b"]
        )
    assert "modalities.m: min_length 5 exceeds max_length 2" in str(caught.value)
    assert "modalities.m.confuses: unknown class 'bb'" in str(caught.value)


@pytest.fixture
def ravdess(tmp_path: Path) -> Path:
    (tmp_path / "audio").mkdir()
    for name in ("03-01-01-01-01-01-01", "03-01-06-02-02-01-12"):
        soundfile.write(tmp_path / "audio" / f"{name}.flac", 0.1 * np.ones(480), 16000)
    (tmp_path / "action_units.csv").write_text(
        "clip,AU01_r,AU02_c\n01-01-01-01-01-01-01,0.5,1\n01-01-03-01-01-02-02,0.25,0\n"
    )
    return tmp_path


def test_ravdess_clips_of_one_modality_are_samples_that_lack_the_other(ravdess: Path) -> None:
    data = DATASETS.build("ravdess_action_units", root=str(ravdess))
    assert [(row.id, row.group) for row in data.rows] == [
        ("01-01-01-01-01-01", "01"),
        ("01-03-01-01-02-02", "02"),
        ("01-06-02-02-01-12", "12"),
    ]
    assert [sorted(data.load(index)) for index in range(3)] == [["action_units", "audio"], ["action_units"], ["audio"]]
    assert [[data.length(index, name) for name in ("audio", "action_units")] for index in range(3)] == [
        [480, 1],
        [0, 1],
        [480, 0],
    ]
    assert data.load(1)["action_units"].tolist() == [[0.25, 0.0]]
    assert data.rows[2].targets == {"emotion": "fearful", "intensity": "strong", "statement": "dogs", "sex": "female"}


def test_ravdess_sound_of_another_rate_is_resampled(ravdess: Path) -> None:
    data = DATASETS.build("ravdess_action_units", root=str(ravdess), sample_rate=8000)
    assert len(data.load(0)["audio"]) == data.length(0, "audio") == 240
    assert data.modalities["audio"].rate == 8000.0


def test_ravdess_names_that_do_not_parse_are_reported_together(ravdess: Path) -> None:
    (ravdess / "audio" / "hello.wav").write_bytes(b"")
    (ravdess / "audio" / "03-01-09-01-01-01-01.wav").write_bytes(b"")
    (ravdess / "audio" / "03-01-01-01-01-01-01.wav").write_bytes(b"")
    with (ravdess / "action_units.csv").open("a") as file:
        file.write("01-01-01-01-01-01-25,1,1\n01-01-03-01-01-02-02,nan,nan\n")
    with pytest.raises(DataError) as caught:
        DATASETS.build("ravdess_action_units", root=str(ravdess))
    text = str(caught.value)
    assert "audio/hello.wav: 'hello' is not seven numbers of two digits" in text
    assert "the emotion 09 is outside 01..08" in text
    assert "is the same clip as audio/03-01-01-01-01-01-01.flac" in text
    assert "action_units.csv, line 4: '01-01-01-01-01-01-25': the actor 25 is outside 01..24" in text
    assert "action_units.csv, line 5: action_units: no finite number in 2 columns: AU01_r, AU02_c" in text
    assert "line 5: clip '01-01-03-01-01-02-02' stands twice" in text
    assert len(caught.value.problems) == 6


def test_a_ravdess_folder_that_is_not_there_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        DATASETS.build("ravdess_action_units", root=str(tmp_path))
    assert "holds no .flac or .wav file; point root at the folder above audio/" in str(caught.value)
    assert "action_units.csv: no such file" in str(caught.value)


def test_a_ravdess_name_is_written_in_the_digits_0_to_9() -> None:
    with pytest.raises(ValueError, match="is not seven numbers of two digits"):
        RavdessName.parse("03-01-06-01-02-01-1\u0662")  # an Arabic-Indic 2


def test_a_ravdess_name_says_who_spoke_what_and_how() -> None:
    name = RavdessName.parse("02-02-08-02-02-02-23")
    assert (name.modality, name.channel, name.repetition, name.actor) == (2, 2, 2, 23)
    assert (name.emotion, name.intensity, name.statement) == ("surprised", "strong", "dogs")
    assert (name.sex, name.group, name.clip) == ("male", "23", "02-08-02-02-02-23")


@pytest.mark.data
def test_ravdess_has_1200_clips_of_which_16_lack_their_sound(real_data: Path) -> None:
    data = DATASETS.build("ravdess_action_units", root=str(real_data / "ravdess"))
    without = [row for index, row in enumerate(data.rows) if not data.length(index, "audio")]
    assert (len(data.rows), len(without)) == (1200, 16)
    assert {(row.group, row.targets["emotion"]) for row in without} == {("01", "calm"), ("03", "fearful")}
    assert all(data.length(index, "action_units") == 1 for index in range(1200))
    assert data.modalities["action_units"].shape == (35,)
    counts = [sum(row.targets["emotion"] == emotion for row in data.rows) for emotion in data.classes["emotion"]]
    assert counts == [80, *[160] * 7]
    assert {row.group for row in data.rows} == {f"{actor:02}" for actor in range(1, 21)}
    loaded = data.load(0)
    assert loaded["audio"].ndim == 1
    assert len(loaded["audio"]) > 16000
