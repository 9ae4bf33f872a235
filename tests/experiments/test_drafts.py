"""What a draft sees in a table: kinds of columns, targets, groups, what gives a target away, modalities."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from written_films import flat, tone, write_film

from fusionkit.config.model_completion import is_complete
from fusionkit.config.yaml import read_yaml
from fusionkit.errors import DataError, FusionKitError, RunError
from fusionkit.experiments import load_experiment
from fusionkit.experiments.drafts.draft import Draft, make_draft
from fusionkit.experiments.drafts.fit import fit
from fusionkit.experiments.drafts.plan import Wishes
from fusionkit.experiments.drafts.yaml_text import write_comment, write_entry

WORDS = ("calm", "happy", "sad")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["null", "yes", "1e3", "~", "a: b", "- x", "#", "x,y", "'", '"', "%", "@", "`", "&a", "|", "1:30", "=", "a-b " * 50]
)
VALUES = st.recursive(
    TEXTS | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(TEXTS.filter(bool), inner, max_size=4),
    max_leaves=30,
)


def numbers(rows: int, columns: int) -> list[list[float]]:
    drawn = np.random.default_rng(0).normal(size=(rows, columns)).round(3)
    return [list(map(float, row)) for row in drawn]


def write(folder: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    folder.mkdir(exist_ok=True)
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(folder / "t.csv")


def draft(table: str, **wishes: Any) -> Draft:
    """Drafts a recipe, which is checked as a training would check it."""
    return make_draft(table, Path(table).parent / "out", Wishes(**wishes))


def said_of(made: Draft) -> str:
    return "\n".join(made.plan.remarks)


def refusal_of(table: str, **wishes: Any) -> str:
    with pytest.raises(FusionKitError) as caught:
        draft(table, **wishes)
    return str(caught.value)


def test_numbers_are_modalities_by_the_first_word_of_their_names_and_the_rest_is_one(tmp_path: Path) -> None:
    header = ["acc_x", "acc_y", "temp_mean", "temp_std", "age", "label"]
    rows = [[*row, WORDS[number % 3]] for number, row in enumerate(numbers(12, 5))]

    made = draft(write(tmp_path, header, rows))

    options = made.recipe.data.dataset.options
    assert options["modalities"] == {"acc": header[:2], "temp": header[2:4], "numbers": ["age"]}
    assert made.recipe.model.targets["label"].options["classes"] == ["calm", "happy", "sad"]
    assert made.experiment_file is not None
    assert "--group COLUMN" in said_of(made)


def test_what_gives_a_target_away_is_named_and_no_input(tmp_path: Path) -> None:
    header = ["mm", "inch", "code", "class", "class_id", "x", "same", "none", "note"]
    rows = [
        [number * 1.7, number * 1.7 / 25.4, "ABC"[number % 3], WORDS[number % 3], number % 3, x, 4, "", f"n{x}"]
        for number, (x,) in enumerate(numbers(30, 1))
    ]

    made = draft(write(tmp_path, header, rows), targets=("mm", "class"))

    assert made.recipe.data.dataset.options["modalities"] == {"numbers": ["x"]}
    said = said_of(made)
    assert "inch (is mm in another unit)" in said
    assert "code, class_id (says class in other words)" in said
    assert "same (has the same value in every row)" in said
    assert "none (is empty in every row)" in said
    assert "note (holds words" in said
    # By its name alone there is one target, and what is called like it is no second one.
    assert list(draft(write(tmp_path, header[3:6], [row[3:6] for row in rows])).recipe.model.targets) == ["class"]


def test_the_first_column_names_samples_where_its_words_are_short_and_all_different(tmp_path: Path) -> None:
    rows = [[f"walk-{number}", f"it was {number}", x, WORDS[number % 3]] for number, (x,) in enumerate(numbers(30, 1))]

    made = draft(write(tmp_path, ["trial", "remark", "x", "label"], rows), targets=("label",))

    assert made.recipe.data.dataset.options["id"] == "trial"
    assert "Samples are named by column trial" in said_of(made)
    for other in (["date", "remark"], ["remark", "trial"]):  # a time, and a sentence that comes first
        cells = [row if other[0] == "date" else [row[1], row[0], *row[2:]] for row in rows]
        options = draft(write(tmp_path, [*other, "x", "label"], cells), targets=("label",)).recipe.data.dataset.options
        assert options.get("id") is None


@pytest.mark.parametrize(
    ("name", "values", "head"),
    [
        ("label", ["a", "b", "c"], "classification"),
        ("y", [0, 1], "classification"),
        ("digit", [1, 2, 3, 4], "classification"),
        ("rating", [1, 2, 3, 4, 5], "ordinal"),
        ("severity", ["mild", "Moderate", "severe"], "ordinal"),
        ("wear", [1.5, 120_000, 95_000.25, 3, 7], "regression"),
        ("rul", [100, 2_000, 30_000, 41_000], "regression"),
        ("label", ["true", "false"], "classification"),
    ],
)
def test_the_values_of_a_target_say_what_it_is(name: str, values: list[Any], head: str, tmp_path: Path) -> None:
    rows = [[*row, values[number % len(values)]] for number, row in enumerate(numbers(20, 2))]

    target = draft(write(tmp_path, ["p", "q", name], rows)).recipe.model.targets[name]

    assert target.type == head
    if name == "severity":
        assert target.options["classes"] == values


def test_columns_of_zeros_and_ones_with_one_first_word_are_labels(tmp_path: Path) -> None:
    rows = [[*row, number % 2, int(number % 3 == 0)] for number, row in enumerate(numbers(12, 2))]

    made = draft(write(tmp_path, ["p", "q", "label_speech", "label_music"], rows))

    target = made.recipe.model.targets["label"]
    assert (target.type, target.options["labels"]) == ("multilabel", ["speech", "music"])


@pytest.mark.parametrize(
    ("column", "values", "group"),
    [
        ("subject", [f"n{number // 4}" for number in range(24)], "subject"),
        ("machine_id", [number // 4 for number in range(24)], "machine_id"),
        ("who", [f"s{number % 6:02}" for number in range(24)], "who"),  # codes of one kind
        ("place", [f"{'abcdef'[number // 4] * 3} street" for number in range(24)], "place"),  # one block each
        ("colour", [("red", "green", "blue")[number * 7 % 3] for number in range(24)], None),
        ("subject", [f"n{number}" for number in range(24)], None),  # one row each
    ],
)
def test_groups_are_found_by_name_or_by_values_that_repeat_as_groups_do(
    column: str, values: list[Any], group: str | None, tmp_path: Path
) -> None:
    rows = [
        [value, *row, WORDS[number * 5 % 3]]
        for number, (value, row) in enumerate(zip(values, numbers(24, 2), strict=True))
    ]
    rows[0][-1] = "sad"  # else three colours could be the classes in other words

    made = draft(write(tmp_path, [column, "p", "q", "label"], rows))

    assert made.recipe.data.dataset.options["group"] == group
    assert made.recipe.data.folds.type == ("random_kfold" if group is None else "group_kfold")


def test_parts_are_taken_as_they_are_unless_a_group_stands_in_both(tmp_path: Path) -> None:
    header = ["a_x", "a_y", "b_x", "b_y", "split", "subject", "label"]
    rows = [
        [*row, "train" if number < 16 else "test", f"p{number // 4}", WORDS[number % 3]]
        for number, row in enumerate(numbers(24, 4))
    ]
    assert draft(write(tmp_path, header, rows)).recipe.data.folds.type == "given"

    rows[20][-2] = "p0"
    made = draft(write(tmp_path, header, rows))
    assert made.recipe.data.folds.type == "group_kfold"
    assert "p0 stands in both" in said_of(made)

    for row in rows[:4]:
        row[-3] = "val"
    made = draft(write(tmp_path, header, rows))
    assert "split holds test, train, val" in said_of(made)
    assert made.recipe.data.dataset.options["group"] == "subject"


def test_empty_cells_are_filled_and_marked_only_where_a_vector_is_incomplete(tmp_path: Path) -> None:
    header = ["whole_x", "whole_y", "torn_x", "torn_y", "label"]
    rows: list[list[Any]] = [[*row, WORDS[number % 3]] for number, row in enumerate(numbers(12, 4))]
    rows[0][:2] = ["", ""]
    rows[1][2], rows[2][2] = "", "?"

    options = draft(write(tmp_path, header, rows)).recipe.data.dataset.options

    assert options["modalities"]["whole"] == header[:2]
    assert options["modalities"]["torn"]["column"] == header[2:4]
    assert len(options["modalities"]["torn"]["fill"]) == 2
    assert options["missing"][-1] == "?"


def test_a_column_of_numbers_that_one_word_keeps_out_is_told_with_the_word(tmp_path: Path) -> None:
    rows: list[list[Any]] = [[*row, "low", WORDS[number % 3]] for number, row in enumerate(numbers(12, 2))]
    rows[5][0], rows[6][2] = "12 kg", "high"

    said = said_of(draft(write(tmp_path, ["weight", "x", "level", "label"], rows)))

    assert "weight (holds numbers and words such as '12 kg'; mend or empty these cells to use it)" in said
    assert "level (holds words; write numbers to use it)" in said


def test_files_are_modalities_with_encoders_of_their_kind_and_gaps_are_told(tmp_path: Path) -> None:
    generator, rows = np.random.default_rng(0), []
    for number in range(12):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * generator.normal(size=900 + number), 8000)
        np.save(tmp_path / f"{number}.npy", generator.normal(size=(200 + number, 3)).astype("f4"))
        np.save(tmp_path / f"wave{number}.npy", generator.normal(size=40 + number).astype("f4"))
        sound = f"{number}.wav" if number % 4 else ""
        rows.append([sound, f"{number}.npy", f"wave{number}.npy", f"S{number // 2}", WORDS[number % 3], 50, 8000])
    header = ["audio_path", "motion", "wave", "speaker", "emotion", "motion_hz", "sample_rate"]

    made = draft(write(tmp_path, header, rows))

    modalities = made.recipe.model.modalities
    assert {name: [part.type for part in each.encoder] for name, each in modalities.items()} == {
        "audio": ["log_mel", "conv1d"],
        "motion": ["feature_norm", "conv1d"],
        "wave": ["conv1d"],
    }
    assert modalities["audio"].encoder[0].options["sample_rate"] == 8000
    assert made.recipe.data.dataset.options["modalities"]["wave"] == {
        **dict.fromkeys(("rate", "tensor", "fill")),
        "column": "wave",
        "layout": "sequence",
    }
    assert made.recipe.data.dataset.options["modalities"]["motion"]["rate"] == 50
    assert "3 of 12 rows lack it" in said_of(made)
    said = said_of(made)  # of the wave: sample_rate may be that of the sounds
    assert "in a column wave_rate, or as {column: wave, rate: 50} in the recipe" in said
    assert "sample_rate (has the same value in every row)" in said_of(made)


def test_names_of_any_script_and_with_blanks_become_names_of_recipes(tmp_path: Path) -> None:
    header = ["Größe (mm)", "年齢", "Gefühl: Art"]
    rows = [[*row, ("glücklich", "tr,aurig", "#x: y")[number % 3]] for number, row in enumerate(numbers(12, 2))]

    made = draft(write(tmp_path / "Ab c", header, rows), targets=("Gefühl: Art",))

    assert made.recipe.data.dataset.options["targets"] == {"Gefuhl_Art": "Gefühl: Art"}
    assert made.recipe.model.targets["Gefuhl_Art"].options["classes"] == ["#x: y", "glücklich", "tr,aurig"]


def test_names_that_differ_in_case_only_or_are_very_long_become_columns_of_an_experiment(tmp_path: Path) -> None:
    header = ["Rate", "rate", "x" * 3000, "label"]
    files = [[f"{kind}{row}.npy" for kind in "abc"] for row in range(6)]
    for name in (name for row in files for name in row):
        np.save(tmp_path / name, np.zeros((5, 3), np.float32))
    rows = [[*row, WORDS[number % 2]] for number, row in enumerate(files)]
    made = draft(write(tmp_path, header, rows))
    made.write(overwrite=False)

    assert made.experiment_file is not None
    alone = [
        name for name in load_experiment(made.experiment_file).spec.variants if name[:4].lower() in ("rate", "xxxx")
    ]
    assert alone == ["Rate", "rate_2", "x" * 40]
    assert all(len(line) < 600 for line in said_of(made).splitlines())


def test_ids_are_names_where_they_are_unique_and_no_inputs_where_not(tmp_path: Path) -> None:
    rows = [[f"k{number}", *row, number % 2] for number, row in enumerate(numbers(12, 2))]
    assert draft(write(tmp_path, ["id", "p", "q", "y"], rows)).recipe.data.dataset.options["id"] == "id"

    rows[1][0] = "k0"
    made = draft(write(tmp_path, ["id", "p", "q", "y"], rows))
    assert made.recipe.data.dataset.options["id"] is None
    assert "id (holds names of samples, some of them in several rows)" in said_of(made)


def test_one_modality_has_a_recipe_and_nothing_to_fuse(tmp_path: Path) -> None:
    rows = [[*row, WORDS[number % 3]] for number, row in enumerate(numbers(12, 2))]

    made = draft(write(tmp_path, ["p", "q", "label"], rows))

    assert made.experiment_file is None
    assert "nothing to fuse" in said_of(made)
    assert [file.name for file in made.write()] == ["t.yaml"]


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    header = ["sound", "p", "q", "label"]
    rows = [["a.wav", "1,5", 2, "calm"], ["b.wav", "2,5", 3, "calm"], ["b.wav", "3", 4, "sad"]]

    said = refusal_of(write(tmp_path, header, rows), targets=("lable",), group="speaker", ignore=("r",))

    assert "5 problems" in said
    for part in (
        "--target: no column 'lable'; did you mean 'label'?",
        "--group: no column 'speaker'",
        "--ignore: no column 'r'",
        "column 'p': holds numbers with a decimal comma, such as '1,5'; write a decimal point",
        f"column 'sound': 3 of 3 files are not in {tmp_path}: a.wav, b.wav, b.wav; name their folder: --root FOLDER",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p,q\n1.5,a\n2.5,b\n2.5,b\n", "no column is recognised as a target by its name; name it: --target COLUMN"),
        ("p,y\n1,a\n", "t.csv: has one row"),
        ("p,y\n", "has no rows"),
        ("p,y\n,\n,\n", "no column is recognised as a target"),
        ("p,y\n,a\n,b\n,a\n", "could be inputs. Not among the inputs: p (is empty in every row); give columns of"),
        ("p,y\n1,a\n2,b\n3,a\n", "could be inputs. Not among the inputs: p (counts the rows); give columns of"),
        ("p,y\n1.5,a\n2,a\n", "column 'y': has one value only, 'a'"),
        ("p,y\n1.5,a\n2,b\n3,c\n4,d\n", "column 'y': has another word in every row, such as 'a'"),
        ("p,y\n1.5,1.5\n2,2.5\n3,3.5\n4,x\n", "column 'y': holds numbers such as 1.5 and words such as 'x'"),
        ('p,y\n1.5,"1,5"\n2,"2,5"\n', "column 'y': holds numbers with a decimal comma, such as '1,5'"),
        ("p;y\n1,5;2\n2;3\n", "line 1: its cells are not divided by commas"),
        ("1.5,2\n2,3\n4,5\n", "line 1: holds numbers instead of the names of columns"),
        ("f,y\na.wav,1\nb.npy,2\n", "column 'f': holds sounds such as 'a.wav' and arrays such as 'b.npy'"),
    ],
)
def test_a_table_that_cannot_be_used_says_what_would_be_right(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)

    assert said in refusal_of(str(tmp_path / "t.csv"))


def test_arrays_that_differ_in_more_than_their_first_axis_are_refused(tmp_path: Path) -> None:
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", np.zeros((3, 20 + number)))
    rows = [[f"{number}.npy", WORDS[number % 2]] for number in range(4)]

    said = refusal_of(write(tmp_path, ["m", "label"], rows))

    assert "column 'm': its elements differ in shape, such as [20] and [21]; the first axis of an array is time" in said


def test_folders_are_classes_groups_and_modalities(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for kind in ("acc", "gyro"):
        for person in ("s1", "s2", "s3"):
            for activity in ("run", "walk"):
                place = tmp_path / "data" / kind / person / activity
                place.mkdir(parents=True)
                for number in range(2):
                    np.save(place / f"{number}.npy", generator.normal(size=(20, 3)))

    made = make_draft(str(tmp_path / "data"), tmp_path / "out", Wishes())

    assert list(made.recipe.model.modalities) == ["acc", "gyro"]
    options = made.recipe.data.dataset.options
    assert (options["group"], options["targets"]) == ("group", {"label": "label"})
    assert made.recipe.data.folds.type == "leave_one_group_out"
    made.write()
    assert (tmp_path / "out" / "data.csv").read_text().splitlines()[1] == (
        "s1/run/0,acc/s1/run/0.npy,gyro/s1/run/0.npy,s1,run"
    )


def test_files_of_one_stem_are_one_sample_and_numbered_folders_are_classes(tmp_path: Path) -> None:
    for name in ("c0", "c1"):
        (tmp_path / name).mkdir()
        for number in range(3):
            np.save(tmp_path / name / f"{number}.npy", np.zeros((4, 2)))
            soundfile.write(tmp_path / name / f"{number}.wav", np.full(2000, 0.1 * number), 8000)

    made = make_draft(str(tmp_path), tmp_path / "out", Wishes())

    assert made.recipe.model.targets["label"].options["classes"] == ["c0", "c1"]
    assert list(made.recipe.model.modalities) == ["array", "sound"]
    with pytest.raises(DataError, match="its folders name no classes; put the files of each class"):
        make_draft(str(tmp_path / "c0"), tmp_path / "out", Wishes())


def test_films_are_prepared_where_nothing_stands_beside_them_and_are_sounds_where_something_does(
    tmp_path: Path,
) -> None:
    rows = []
    for number in range(6):
        film = write_film(tmp_path / f"{number}.mp4", flat((number * 30, 0, 0)), wave=tone(0.5, hertz=200 + number))
        rows.append([film.name, number * 0.3, WORDS[number % 2]])
    table = write(tmp_path, ["film", "x", "mood"], rows)

    beside = draft(table)
    assert list(beside.recipe.model.modalities) == ["film", "numbers"]
    assert beside.recipe.data.prepare is None
    assert "Films are read for their sound alone" in said_of(beside)

    made = draft(table, ignore=("x",))
    assert list(made.recipe.model.modalities) == ["video", "audio"]
    assert made.recipe.data.dataset.options["film"] == "film"
    assert made.recipe.data.prepare is not None
    assert is_complete(made.recipe.model)  # so that it is checked before any film is prepared
    assert made.experiment_file is not None


def test_nothing_is_overwritten_unasked_and_what_is_the_same_is_no_obstacle(tmp_path: Path) -> None:
    rows = [[*row, WORDS[number % 3]] for number, row in enumerate(numbers(12, 4))]
    made = draft(write(tmp_path, ["a_x", "a_y", "b_x", "b_y", "label"], rows))
    recipe, experiment = made.write()
    made.write()
    experiment.write_text("mine")
    recipe.unlink()

    with pytest.raises(RunError, match=r"t_experiment\.yaml: exists already; .* --overwrite"):
        made.write()
    assert not recipe.exists()
    made.write(overwrite=True)
    assert experiment.read_text().startswith("# Does fusing help?")


def test_fit_is_a_table_to_a_measured_network_in_one_line_and_goes_on_where_it_was(tmp_path: Path) -> None:
    rows = [[*row, 100_000 + 5000 * row[0] * row[1]] for row in numbers(20, 4)]
    table = write(tmp_path, ["a_x", "a_y", "b_x", "b_y", "wear"], rows)

    done = fit(table, target="wear", out=tmp_path / "out", overrides=["train.epochs=2"])

    assert done.run.path == tmp_path / "out" / "run"
    assert done.run.finished
    assert done.card.targets["wear"].branches["fused"].metrics["mae"].value > 100
    assert done.experiment_file == tmp_path / "out" / "t_experiment.yaml"
    said = {answer.id: answer.targets["wear"].prediction for answer in done.predictor.predict(table)}
    tensors, about = done.run.read_predictions()
    tested = [said[name] for name in json.loads(about["samples"])]
    assert tested == pytest.approx(tensors["distribution/wear/fused"].flatten().tolist(), rel=1e-6)
    weights = done.run.sha256_of_weights()
    again = fit(table, target="wear", out=tmp_path / "out", overrides=["train.epochs=2"])
    assert again.run.sha256_of_weights() == weights


@settings(max_examples=40)
@given(st.dictionaries(TEXTS.filter(bool), VALUES, min_size=1, max_size=3), TEXTS)
def test_whatever_a_table_says_is_written_so_that_it_is_read_again(values: dict[str, Any], remark: str) -> None:
    entries = [write_entry(key, value, 0) for key, value in values.items()]

    assert read_yaml("\n".join([write_comment(remark), *entries]), "recipe").value == values
