import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.config.components.registry import DATASETS, FOLDS
from fusionkit.data.splits import check_split, find_overlapping_groups, hash_split, split_inner
from fusionkit.errors import DataError, RecipeError
from fusionkit.interfaces import Row, Split

PUBLISHED = [[2, 5, 14, 15, 16], [3, 6, 7, 13, 18], [10, 11, 12, 19, 20], [8, 17, 21, 23, 24], [1, 4, 9, 22]]


def rows_of(groups: list[str | None], per_group: int = 2, part: str | None = None) -> list[Row]:
    return [
        Row(f"{group}-{take}-{n}", group, part, {"sex": "mf"[n % 2]}, f"row {n}")
        for n, group in enumerate(groups)
        for take in range(per_group)
    ]


def actors(count: int, per_group: int = 2) -> list[Row]:
    return rows_of([f"{n:02}" for n in range(1, count + 1)], per_group)


def groups_of(names: tuple[str, ...]) -> set[str]:
    return {name.split("-")[0] for name in names}


def crema_d_rows(per_actor: int = 1) -> list[Row]:
    """91 actors of whom 48 are male, one behind the other."""
    return [
        Row(f"{actor}-{take}", str(actor), None, {"sex": "male" if actor < 1049 else "female"}, "")
        for actor in range(1001, 1092)
        for take in range(per_actor)
    ]


def test_actor_pairs_of_24_actors_are_12_folds_of_a_man_and_a_woman() -> None:
    folds = FOLDS.build("actor_pairs").split(actors(24))
    assert [fold.name for fold in folds] == [f"A{n},{n + 1}" for n in range(1, 24, 2)]
    assert [groups_of(fold.test) for fold in folds] == [{f"{n:02}", f"{n + 1:02}"} for n in range(1, 24, 2)]


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
        ("balanced_groups", {"folds": 3}),
        ("holdout", {"folds": 4, "test": 5}),
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
        "  - group_kfold, groups[1]: group '21' is not in the data; known: 01, 02, 03; or set absent: drop",
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


def test_a_holdout_of_a_number_of_groups_in_several_parts_has_no_group_twice() -> None:
    rows = crema_d_rows(2)
    folds = FOLDS.build("holdout", test=14, folds=5, seed=3).split(rows)
    assert [fold.name for fold in folds] == [f"holdout{n}" for n in range(1, 6)]
    tested = [groups_of(fold.test) for fold in folds]
    assert [len(groups) for groups in tested] == [14] * 5
    assert len(set.union(*tested)) == 70
    for fold in folds:
        train, validation = split_inner(fold, rows, 14 / 77, seed=0)
        sides = [groups_of(names) for names in (train, validation, fold.test)]
        assert [len(side) for side in sides] == [63, 14, 14]
        assert len(set.union(*sides)) == 91
        assert check_split(fold, rows) == "group-independent"


def test_a_holdout_of_samples_ignores_groups_and_must_be_called_speaker_dependent() -> None:
    rows = crema_d_rows(82)[:7442]
    (fold,) = FOLDS.build("holdout", test=744, of="samples").split(rows)
    assert (len(fold.train), len(fold.test)) == (6698, 744)
    assert len(find_overlapping_groups(fold, rows)) == 91
    with pytest.raises(
        DataError, match=r"fold holdout: groups on both sides: 1001, 1002, .* allow_group_overlap: true"
    ):
        check_split(fold, rows)
    assert check_split(fold, rows, allow_group_overlap=True) == "group-dependent"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": 10}, "holdout: 10 groups cannot be set aside of 10; fewer, so that groups to train on are left"),
        ({"test": 4, "folds": 3}, "holdout: 3 parts of 4 groups cannot be set aside of 10"),
        ({"test": 20, "of": "samples"}, "holdout: 20 samples cannot be set aside of 20"),
        ({"test": 0.4, "folds": 3}, "holdout: 3 parts of 4 groups cannot be set aside of 10"),
    ],
)
def test_a_holdout_larger_than_what_is_there_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        FOLDS.build("holdout", **options).split(actors(10))
    assert message in str(caught.value)


@pytest.mark.parametrize("given_size", [1.5, 0, -1, 1.0])
def test_a_holdout_is_a_share_below_one_or_a_whole_number(given_size: float) -> None:
    with pytest.raises(RecipeError, match=r"holdout\.test: "):
        FOLDS.build("holdout", test=given_size)


def test_nine_balanced_folds_of_91_actors_hold_10_or_11_with_sexes_as_even_as_they_can_be() -> None:
    rows = crema_d_rows(2)
    sex = {row.group: row.targets["sex"] for row in rows}
    folds = FOLDS.build("balanced_groups", by="sex", folds=9, seed=0).split(rows)
    assert [fold.name for fold in folds] == [f"S{n}" for n in range(1, 10)]
    counts = [Counter(sex[group] for group in groups_of(fold.test)) for fold in folds]
    assert {count.total() for count in counts} == {10, 11}
    assert {count["male"] for count in counts} == {5, 6}
    assert {count["female"] for count in counts} == {4, 5}
    assert sum(counts, Counter()) == {"male": 48, "female": 43}
    again = FOLDS.build("balanced_groups", by="sex", folds=9, seed=0).split(rows[::-1])
    assert [groups_of(fold.test) for fold in again] == [groups_of(fold.test) for fold in folds]
    assert FOLDS.build("balanced_groups", by="sex", folds=9, seed=1).split(rows) != folds


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=40), st.integers(2, 9), st.integers(0, 99))
def test_balanced_folds_cover_every_group_once_and_differ_by_one_in_every_class(
    classes: list[str], folds: int, seed: int
) -> None:
    rows = [Row(str(n), f"g{n}", None, {"by": name}, "") for n, name in enumerate(classes)]
    protocol = FOLDS.build("balanced_groups", by="by", folds=folds, seed=seed)
    if len(classes) < folds:
        with pytest.raises(DataError, match=f"balanced_groups: {len(classes)} groups cannot fill {folds} folds"):
            protocol.split(rows)
        return
    splits = protocol.split(rows)
    assert sorted(name for split in splits for name in split.test) == sorted(row.id for row in rows)
    assert max(len(split.test) for split in splits) - min(len(split.test) for split in splits) <= 1
    for name in set(classes):
        counts = [sum(classes[int(sample)] == name for sample in split.test) for split in splits]
        assert max(counts) - min(counts) <= 1


@given(st.integers(2, 60), st.integers(1, 6), st.integers(1, 12), st.integers(0, 99), st.booleans())
def test_drawn_parts_are_disjoint_of_the_size_asked_for_and_the_same_at_every_call(
    groups: int, folds: int, size: int, seed: int, of_samples: bool
) -> None:
    rows = actors(groups, 3)
    units = len(rows) if of_samples else groups
    options = {"test": size, "folds": folds, "seed": seed, "of": "samples" if of_samples else "groups"}
    protocol = FOLDS.build("holdout", **options)
    if size * folds > units or size == units:
        with pytest.raises(DataError, match="cannot be set aside"):
            protocol.split(rows)
        return
    splits = protocol.split(rows)
    assert protocol.split(rows) == splits
    tested = [name for split in splits for name in split.test]
    assert len(tested) == len(set(tested)) == folds * size * (1 if of_samples else 3)
    for split in splits:
        assert check_split(split, rows, allow_group_overlap=of_samples)
        assert set(split.train) == {row.id for row in rows} - set(split.test)


def test_groups_whose_class_is_unknown_or_several_cannot_be_balanced() -> None:
    rows = [Row("1", "a", None, {"sex": "m"}, ""), Row("2", "a", None, {"sex": "f"}, ""), Row("3", "b", None, {}, "")]
    with pytest.raises(DataError) as caught:
        FOLDS.build("balanced_groups", folds=2).split(rows)
    assert str(caught.value).splitlines() == [
        "2 problems",
        "  - balanced_groups: sex is not known of 1 of 2 groups, such as b; targets: sex",
        "  - balanced_groups: 1 groups have several values of sex, such as a: m and f; balance by a target that is one "
        "per group",
    ]


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


@pytest.mark.parametrize("protocol", ["actor_pairs", "balanced_groups", "group_kfold", "leave_one_group_out"])
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
    assert hash_split(Split("A1,2", ("b",), ("ü", "a"))) == expected


ids = st.lists(st.text(min_size=1, max_size=3), min_size=2, max_size=6, unique=True)


@given(ids, st.randoms())
def test_the_hash_ignores_order_and_nothing_else(names: list[str], random: object) -> None:
    train, test = names[:-1], names[-1:]
    shuffled = list(train)
    random.shuffle(shuffled)
    reference = hash_split(Split("f", tuple(train), tuple(test)))
    assert hash_split(Split("f", tuple(shuffled), tuple(test))) == reference
    assert hash_split(Split("g", tuple(train), tuple(test))) != reference
    assert hash_split(Split("f", tuple(test), tuple(train))) != reference
    assert hash_split(Split("f", tuple(train), ())) != reference


def test_a_group_on_both_sides_is_an_error_that_names_it_or_a_label() -> None:
    rows = actors(3)
    split = Split("f", tuple(row.id for row in rows[:3]), tuple(row.id for row in rows[3:]))
    assert find_overlapping_groups(split, rows) == ("02",)
    with pytest.raises(DataError, match=r"fold f: groups on both sides: 02; .* set allow_group_overlap: true"):
        check_split(split, rows)
    assert check_split(split, rows, allow_group_overlap=True) == "group-dependent"


def test_a_split_by_groups_is_speaker_independent_and_one_without_groups_says_so() -> None:
    rows = actors(4)
    for allowed in (False, True):
        assert check_split(FOLDS.build("actor_pairs").split(rows)[0], rows, allowed) == "group-independent"
    rows = rows_of([None] * 4)
    assert check_split(FOLDS.build("holdout").split(rows)[0], rows) == "no groups"


def test_a_label_says_what_the_groups_are() -> None:
    rows = actors(4)
    apart = FOLDS.build("actor_pairs").split(rows)[0]
    mixed = Split("f", tuple(row.id for row in rows[:3]), tuple(row.id for row in rows[3:]))
    assert check_split(apart, rows, group_name="pump") == "pump-independent"
    assert check_split(mixed, rows, True, "pump") == "pump-dependent"
    with pytest.raises(DataError, match="labels every result pump-dependent"):
        check_split(mixed, rows, group_name="pump")


@pytest.mark.parametrize(("name", "called"), [("ravdess", "speaker"), ("crema_d", "speaker"), ("voxceleb", "video")])
def test_a_dataset_says_what_its_groups_are(name: str, called: str) -> None:
    assert DATASETS.get(name).cls.group_name == called


def test_samples_without_a_group_beside_others_with_one_cannot_be_called_independent() -> None:
    rows = rows_of(["a", "b", None])
    split = Split("f", tuple(row.id for row in rows[:2]), tuple(row.id for row in rows[2:]))
    with pytest.raises(DataError, match="2 samples have no group, such as 'None-0-2', while others have one"):
        check_split(split, rows)
    assert check_split(split, rows, allow_group_overlap=True) == "group-dependent"


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
    train, validation = split_inner(split, rows, 0.25, seed=1)
    assert len(groups_of(validation)) == 2
    assert not groups_of(train) & groups_of(validation)
    assert set(train) | set(validation) == set(split.train)
    assert split_inner(split, rows, 0.25, seed=1) == (train, validation)
    assert split_inner(split, rows, 0.25, seed=2) != (train, validation)


def test_an_inner_split_never_sees_the_test_part() -> None:
    rows = actors(10)
    split = FOLDS.build("actor_pairs").split(rows)[0]
    train_rows = [row for row in rows if row.id in split.train]
    assert split_inner(split, rows, 0.3, seed=5) == split_inner(Split("A1,2", split.train, ()), train_rows, 0.3, seed=5)


def test_an_inner_split_of_samples_without_groups_sets_samples_aside() -> None:
    rows = rows_of([None] * 10, 1)
    split = Split("f", tuple(row.id for row in rows[:8]), tuple(row.id for row in rows[8:]))
    train, validation = split_inner(split, rows, 0.25, seed=0)
    assert (len(train), len(validation)) == (6, 2)


def test_an_inner_split_of_one_group_is_refused() -> None:
    rows = actors(2)
    split = Split("f", tuple(row.id for row in rows[:2]), tuple(row.id for row in rows[2:]))
    with pytest.raises(DataError, match="fold f, training part: 1 groups cannot be divided in two; at least two"):
        split_inner(split, rows, 0.5, seed=0)
    with pytest.raises(DataError, match=r"fraction 1\.5 is not between 0 and 1"):
        split_inner(split, rows, 1.5, seed=0)
