import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.data.splits import check_split, inner_split, overlapping_groups, split_hash
from fusionkit.errors import DataError
from fusionkit.interfaces import Row, Split
from fusionkit.registry import FOLDS

PUBLISHED = [[2, 5, 14, 15, 16], [3, 6, 7, 13, 18], [10, 11, 12, 19, 20], [8, 17, 21, 23, 24], [1, 4, 9, 22]]


def rows_of(groups: list[str | None], per_group: int = 2, part: str | None = None) -> list[Row]:
    return [
        Row(f"{group}-{take}-{n}", group, part, {}, f"row {n}")
        for n, group in enumerate(groups)
        for take in range(per_group)
    ]


def actors(count: int, per_group: int = 2) -> list[Row]:
    return rows_of([f"{n:02}" for n in range(1, count + 1)], per_group)


def groups_of(names: tuple[str, ...]) -> set[str]:
    return {name.split("-")[0] for name in names}


def test_actor_pairs_are_1_2_then_3_4_whatever_the_order_and_padding_of_the_groups() -> None:
    folds = FOLDS.build("actor_pairs").split(rows_of(["10", "2", "9", "1", "4", "3"]))
    assert [fold.name for fold in folds] == ["A1,2", "A3,4", "A9,10"]
    assert groups_of(folds[2].test) == {"9", "10"}
    assert [fold.name for fold in FOLDS.build("actor_pairs").split(actors(20))][-1] == "A19,20"


def test_an_actor_whose_partner_is_not_at_hand_is_a_fold_of_its_own() -> None:
    folds = FOLDS.build("actor_pairs").split(rows_of(["01", "03", "04", "06"]))
    assert [fold.name for fold in folds] == ["A1", "A3,4", "A6"]


def test_groups_that_are_no_numbers_pair_in_natural_order() -> None:
    folds = FOLDS.build("actor_pairs").split(rows_of(["p10", "p2", "p1"]))
    assert [fold.name for fold in folds] == ["Ap1,p2", "Ap10"]


@pytest.mark.parametrize(
    "protocol",
    [
        ("actor_pairs", {}),
        ("group_kfold", {"folds": 3}),
        ("leave_one_group_out", {}),
        ("group_kfold", {"groups": PUBLISHED, "absent": "drop"}),
        ("random_kfold", {"folds": 4}),
    ],
)
def test_every_sample_is_tested_once_and_trained_on_in_all_other_folds(protocol: tuple[str, dict[str, object]]) -> None:
    rows = actors(20, 3)
    folds = FOLDS.build(protocol[0], **protocol[1]).split(rows)
    assert sorted(name for fold in folds for name in fold.test) == sorted(row.id for row in rows)
    order = [row.id for row in rows]
    for fold in folds:
        assert set(fold.train) == set(order) - set(fold.test)
        assert list(fold.train) == [name for name in order if name in set(fold.train)]


def test_published_folds_keep_the_groups_at_hand_and_drop_the_others() -> None:
    folds = FOLDS.build("group_kfold", groups=PUBLISHED, absent="drop").split(actors(20))
    assert [fold.name for fold in folds] == ["fold1", "fold2", "fold3", "fold4", "fold5"]
    at_hand = [{f"{n:02}" for n in groups if n <= 20} for groups in PUBLISHED]
    assert [groups_of(fold.test) for fold in folds] == at_hand


def test_a_published_fold_of_which_nothing_is_at_hand_is_left_out() -> None:
    folds = FOLDS.build("group_kfold", groups=[["1"], ["9"], ["2"]], absent="drop").split(actors(2))
    assert [fold.name for fold in folds] == ["fold1", "fold3"]


def test_published_folds_report_all_that_does_not_fit_at_once() -> None:
    protocol = FOLDS.build("group_kfold", groups=[["1", "2"], ["2", "21"]])
    with pytest.raises(DataError) as caught:
        protocol.split(actors(3))
    assert str(caught.value).splitlines() == [
        "3 problems",
        "  - group_kfold, groups[1]: group '2' is named twice",
        "  - group_kfold, groups[1]: group '21' is not at hand; known: 01, 02, 03; or set absent: drop",
        "  - group_kfold: groups in no fold: 03; name each of them once",
    ]


def test_drawn_group_folds_are_balanced_and_follow_the_seed() -> None:
    rows = rows_of(["a"], 6) + rows_of(["b", "c", "d"], 2)
    folds = FOLDS.build("group_kfold", folds=2, seed=3).split(rows)
    assert sorted(len(fold.test) for fold in folds) == [6, 6]
    drawn = [FOLDS.build("group_kfold", folds=5, seed=seed).split(actors(20)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_holdout_takes_whole_groups_and_single_samples_where_there_are_none() -> None:
    (fold,) = FOLDS.build("holdout", test=0.25, seed=1).split(actors(8))
    assert len(groups_of(fold.test)) == 2
    assert not groups_of(fold.test) & groups_of(fold.train)
    (fold,) = FOLDS.build("holdout", test=0.25).split(rows_of([None] * 8, 1))
    assert (fold.name, len(fold.test), len(fold.train)) == ("holdout", 2, 6)


def test_given_takes_the_parts_of_the_dataset() -> None:
    rows = rows_of(["a"], part="train") + rows_of(["b"], part="test")
    (fold,) = FOLDS.build("given").split(rows)
    assert (groups_of(fold.train), groups_of(fold.test)) == ({"a"}, {"b"})
    with pytest.raises(DataError, match="2 of 4 samples are in no part; choose another protocol"):
        FOLDS.build("given").split(rows_of(["a"], part="train") + rows_of(["c"]))


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_given_reads_parts_or_folds_from_a_file(tmp_path: Path, ending: str) -> None:
    rows = actors(3, 1)

    def write(folds: list[str]) -> str:
        pairs = [(row.id, fold) for row, fold in zip(rows, folds, strict=True)]
        path = tmp_path / f"folds.{ending}"
        lines = ["id,fold", *(f"{name},{fold}" for name, fold in pairs)]
        path.write_text(json.dumps(dict(pairs)) if ending == "json" else "\n".join(lines))
        return str(path)

    (fold,) = FOLDS.build("given", file=write(["train", "test", "train"])).split(rows)
    assert (fold.name, fold.test) == ("given", (rows[1].id,))
    folds = FOLDS.build("given", file=write(["2", "10", "2"])).split(rows)
    assert [(fold.name, len(fold.test)) for fold in folds] == [("2", 2), ("10", 1)]
    with pytest.raises(DataError, match="mixes parts and folds: 1, train"):
        FOLDS.build("given", file=write(["train", "1", "train"])).split(rows)


def test_given_reports_samples_that_the_file_or_the_dataset_lacks(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    path.write_text('{"01-0-0": "train", "02-0-2": "test", "02-0-2": "train"}')
    with pytest.raises(DataError, match="names sample '02-0-2' twice"):
        FOLDS.build("given", file=str(path)).split(actors(2, 1))
    path.write_text('{"01-0-0": "train", "02-0-2": "test"}')
    with pytest.raises(DataError) as caught:
        FOLDS.build("given", file=str(path)).split(actors(2, 1))
    assert "unknown sample '02-0-2'; did you mean '02-0-1'" in str(caught.value)
    assert "sample '02-0-1' is in no fold" in str(caught.value)


@pytest.mark.parametrize("protocol", ["actor_pairs", "group_kfold", "leave_one_group_out"])
def test_a_protocol_of_groups_refuses_samples_without_one(protocol: str) -> None:
    with pytest.raises(DataError, match="2 of 4 samples have no group; this protocol divides by groups"):
        FOLDS.build(protocol).split(rows_of(["a", None]))


def test_more_folds_than_groups_or_samples_are_refused() -> None:
    with pytest.raises(DataError, match="3 groups cannot fill 5 folds"):
        FOLDS.build("group_kfold").split(actors(3))
    with pytest.raises(DataError, match="4 samples cannot fill 10 folds"):
        FOLDS.build("random_kfold").split(actors(2))


def test_the_hash_is_the_sha256_of_the_canonical_json() -> None:
    # printf '{"name":"A1,2","test":["a","\\u00fc"],"train":["b"]}' | sha256sum
    expected = "7135e581ad24bd1e559f754f02e913d01641be313b28660eaba0e2537f9f87b1"
    assert split_hash(Split("A1,2", ("b",), ("ü", "a"))) == expected


ids = st.lists(st.text(min_size=1, max_size=3), min_size=2, max_size=6, unique=True)


@given(ids, st.randoms())
def test_the_hash_ignores_order_and_nothing_else(names: list[str], random: object) -> None:
    train, test = names[:-1], names[-1:]
    shuffled = list(train)
    random.shuffle(shuffled)
    reference = split_hash(Split("f", tuple(train), tuple(test)))
    assert split_hash(Split("f", tuple(shuffled), tuple(test))) == reference
    assert split_hash(Split("g", tuple(train), tuple(test))) != reference
    assert split_hash(Split("f", tuple(test), tuple(train))) != reference
    assert split_hash(Split("f", tuple(train), ())) != reference


def test_a_group_on_both_sides_is_an_error_that_names_it_or_a_label() -> None:
    rows = actors(3)
    split = Split("f", tuple(row.id for row in rows[:3]), tuple(row.id for row in rows[3:]))
    assert overlapping_groups(split, rows) == ("02",)
    with pytest.raises(DataError, match=r"fold f: groups on both sides: 02; .* set allow_group_overlap: true"):
        check_split(split, rows)
    assert check_split(split, rows, allow_group_overlap=True) == "speaker-dependent"


def test_a_split_by_groups_is_speaker_independent_and_one_without_groups_says_so() -> None:
    rows = actors(4)
    for allowed in (False, True):
        assert check_split(FOLDS.build("actor_pairs").split(rows)[0], rows, allowed) == "speaker-independent"
    rows = rows_of([None] * 4)
    assert check_split(FOLDS.build("holdout").split(rows)[0], rows) == "no groups"


def test_samples_without_a_group_beside_others_with_one_cannot_be_called_independent() -> None:
    rows = rows_of(["a", "b", None])
    split = Split("f", tuple(row.id for row in rows[:2]), tuple(row.id for row in rows[2:]))
    with pytest.raises(DataError, match="2 samples have no group, such as 'None-0-2', while others have one"):
        check_split(split, rows)
    assert check_split(split, rows, allow_group_overlap=True) == "speaker-dependent"


def test_a_split_of_wrong_ids_is_refused_with_all_that_is_wrong() -> None:
    rows = actors(2, 1)
    first, second = (row.id for row in rows)
    with pytest.raises(DataError) as caught:
        check_split(Split("f", (first, second, second), (first, "01-0-9")), rows)
    text = str(caught.value)
    assert "unknown sample '01-0-9'; did you mean '01-0-0'" in text
    assert "the training part names a sample twice" in text
    assert f"1 samples on both sides, such as '{first}'" in text
    with pytest.raises(DataError, match="the test part is empty"):
        check_split(Split("f", (first,), ()), rows)


def test_an_inner_split_sets_whole_groups_of_the_training_part_aside() -> None:
    rows = actors(10)
    split = FOLDS.build("actor_pairs").split(rows)[0]
    train, validation = inner_split(split, rows, 0.25, seed=1)
    assert len(groups_of(validation)) == 2
    assert not groups_of(train) & groups_of(validation)
    assert set(train) | set(validation) == set(split.train)
    assert inner_split(split, rows, 0.25, seed=1) == (train, validation)
    assert inner_split(split, rows, 0.25, seed=2) != (train, validation)


def test_an_inner_split_never_sees_the_test_part() -> None:
    rows = actors(10)
    split = FOLDS.build("actor_pairs").split(rows)[0]
    train_rows = [row for row in rows if row.id in split.train]
    assert inner_split(split, rows, 0.3, seed=5) == inner_split(Split("A1,2", split.train, ()), train_rows, 0.3, seed=5)


def test_an_inner_split_of_samples_without_groups_sets_samples_aside() -> None:
    rows = rows_of([None] * 10, 1)
    split = Split("f", tuple(row.id for row in rows[:8]), tuple(row.id for row in rows[8:]))
    train, validation = inner_split(split, rows, 0.25, seed=0)
    assert (len(train), len(validation)) == (6, 2)


def test_an_inner_split_of_one_group_is_refused() -> None:
    rows = actors(2)
    split = Split("f", tuple(row.id for row in rows[:2]), tuple(row.id for row in rows[2:]))
    with pytest.raises(DataError, match="fold f, training part: 1 groups cannot be divided in two; at least two"):
        inner_split(split, rows, 0.5, seed=0)
    with pytest.raises(DataError, match=r"fraction 1\.5 is not between 0 and 1"):
        inner_split(split, rows, 1.5, seed=0)
