import math
from collections.abc import Mapping
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fusionkit.config.components.registry import DATASETS, TRANSFORMS
from fusionkit.data.loading.batching import Draw, EpochBatches
from fusionkit.data.loading.collation import Sample, make_batch
from fusionkit.data.loading.loader import make_loader
from fusionkit.data.loading.samples import Samples, encode_targets
from fusionkit.data.seeds import make_generator
from fusionkit.errors import DataError, RecipeError
from fusionkit.interfaces import Batch, Dataset, DeviceTransform, ModalityInfo, Row, Transform

MADE = {
    "m": {"min_length": 3, "max_length": 12, "features": 2, "missing": 0.3, "rate": 10.0},
    "n": {"min_length": 1, "max_length": 1, "features": 3, "missing": 0.3},
}
CLASSES = ("rest", "walk", "run", "jump")


def made() -> Dataset:
    return DATASETS.build("synthetic", modalities=MADE, groups=3, samples=2)


def encode_label(value: object) -> Tensor:
    if value is None:
        return torch.tensor(-1)
    if value not in CLASSES:
        raise ValueError(f"{value!r} is no class; known: {', '.join(CLASSES)}")
    return torch.tensor(CLASSES.index(value))


def samples_of(dataset: Dataset, *, training: bool = True, seed: int = 0, cache: bool = False) -> Samples:
    transforms = {
        "m": [
            TRANSFORMS.build("time_slice", (2,), 10.0, min_seconds=0.2),
            TRANSFORMS.build("gaussian_noise", (2,), 10.0, sigma=0.1),
        ]
    }
    ids = [row.id for row in dataset.rows][2:]
    return Samples(
        dataset,
        ids,
        transforms=transforms,
        encoders={"label": encode_label},
        training=training,
        seed=seed,
        cache=cache,
    )


def batches_of(samples: Samples, epochs: int, *, workers: int = 0, seed: int = 0, start: int = 0) -> list[Batch]:
    batches = EpochBatches(samples.indices, seed=seed, batch_size=5)
    loader = make_loader(samples, batches, workers=workers)
    collected: list[Batch] = []
    for epoch in range(epochs):
        batches.set_epoch(epoch, start if epoch == 0 else 0)
        collected += loader
    return collected


def same(first: Batch, second: Batch) -> bool:
    return (
        first.sample_ids == second.sample_ids
        and all(torch.equal(first.targets[name], second.targets[name]) for name in first.targets)
        and all(
            first.inputs[name].sizes == second.inputs[name].sizes
            and torch.equal(first.inputs[name].values, second.inputs[name].values)
            for name in first.inputs
        )
    )


def test_a_batch_holds_every_modality_of_its_samples_and_length_0_where_one_is_absent() -> None:
    dataset = made()
    samples = samples_of(dataset, training=False)
    position = {row.id: index for index, row in enumerate(dataset.rows)}
    seen: list[str] = []
    for batch in batches_of(samples, 1):
        seen += batch.sample_ids
        for place, name in enumerate(batch.sample_ids):
            raw = dataset.load(position[name])
            for modality, packed in batch.inputs.items():
                expected = raw.get(modality, torch.empty(0, *dataset.modalities[modality].shape))
                assert torch.equal(packed[place], expected)
            label = dataset.rows[position[name]].targets["label"]
            assert int(batch.targets["label"][place]) == CLASSES.index(label)
    assert sorted(seen) == sorted(row.id for row in dataset.rows[2:])


def test_a_modality_that_a_whole_batch_lacks_is_still_there() -> None:
    batch = make_batch([Sample("a", {}, {}), Sample("b", {}, {})], {"film": (3, 4, 4), "wave": ()})
    assert batch.inputs["film"].sizes == (0, 0)
    assert batch.inputs["film"].element_shape == (3, 4, 4)
    assert batch.inputs["wave"].dtype == torch.float32


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_every_number_is_the_same_for_any_number_of_workers(workers: int) -> None:
    alone = batches_of(samples_of(made()), 2)
    shared = batches_of(samples_of(made(), cache=True), 2, workers=workers)
    assert len(alone) == len(shared) == 10
    assert all(same(first, second) for first, second in zip(alone, shared, strict=True))


def test_a_resumed_epoch_continues_with_the_numbers_of_an_uninterrupted_one() -> None:
    whole = batches_of(samples_of(made()), 2)
    rest = batches_of(samples_of(made()), 2, start=3)
    assert len(rest) == len(whole) - 3
    assert all(same(first, second) for first, second in zip(whole[3:], rest, strict=True))


def test_epochs_and_seeds_draw_anew_and_evaluation_does_not_draw() -> None:
    def values_of(batches: list[Batch]) -> dict[str, Tensor]:
        return {
            name: b.inputs["m"][i] for b in batches for i, name in enumerate(b.sample_ids) if b.inputs["m"].sizes[i]
        }

    batches = batches_of(samples_of(made()), 2)
    first, second = values_of(batches[:5]), values_of(batches[5:])
    other = values_of(batches_of(samples_of(made(), seed=1), 1))
    assert all(not torch.equal(first[name], second[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first)
    calm = batches_of(samples_of(made(), training=False), 2)
    first, second = values_of(calm[:5]), values_of(calm[5:])
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_is_drawn_for_a_sample_does_not_depend_on_which_others_are_loaded() -> None:
    dataset = made()
    few = Samples(
        dataset,
        [dataset.rows[4].id],
        transforms={"m": samples_of(dataset).transforms["m"]},
        training=True,
    )
    (batch,) = batches_of(few, 1)
    everything = batches_of(samples_of(dataset), 1)
    found = [
        b.inputs["m"][b.sample_ids.index(few_id)]
        for b in everything
        for few_id in batch.sample_ids
        if few_id in b.sample_ids
    ]
    assert torch.equal(found[0], batch.inputs["m"][0])


def test_two_samples_draw_different_numbers() -> None:
    noise = {"v": [TRANSFORMS.build("gaussian_noise", (2,), None, sigma=1.0)]}
    samples = Samples(
        Counted({n: torch.zeros(1, 2) for n in range(4)}), ["s0", "s1", "s2", "s3"], transforms=noise, training=True
    )
    (batch,) = batches_of(samples, 1)
    assert len({tuple(row) for row in batch.inputs["v"].values.tolist()}) == 4


def test_loading_leaves_the_generator_of_the_process_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    batches_of(samples_of(made()), 2)
    assert torch.equal(torch.get_rng_state(), before)


class Counted(Dataset):
    """Loads a vector of its index and counts how often."""

    def __init__(self, values: Mapping[int, Tensor] | None = None) -> None:
        self.modalities = {"v": ModalityInfo((2,))}
        self.classes = {}
        self.rows = [Row(f"s{n}", None, None, {"label": "rest"}, f"row {n}") for n in range(4)]
        self.values = values or {}
        self.loads = 0

    def load(self, index: int) -> Mapping[str, Tensor]:
        self.loads += 1
        return {"v": self.values.get(index, torch.full((1, 2), float(index)))}


def test_a_cache_loads_every_sample_once_and_without_one_they_are_loaded_anew() -> None:
    for cache, loads in ((True, 4), (False, 12)):
        dataset = Counted()
        batches_of(Samples(dataset, ["s0", "s1", "s2", "s3"], cache=cache), 3)
        assert dataset.loads == loads


@pytest.mark.parametrize("whole", [True, False])
def test_a_transform_that_writes_into_what_it_is_given_is_refused(whole: bool) -> None:
    class InPlace(Transform):
        def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
            return values.add_(1) if whole else values[:1].mul_(2)

    samples = Samples(Counted({0: torch.zeros(1, 2)}), ["s0"], transforms={"v": [InPlace()]})
    with pytest.raises(RecipeError, match=r"transforms\[0\]: InPlace writes into what it is given"):
        batches_of(samples, 1)


class Shifted(DeviceTransform):
    """Adds a number that is drawn once per sample."""

    def draw(self, length: int, generator: torch.Generator) -> Tensor:
        return torch.rand(1, 1, generator=generator).expand(length, 1)

    def apply(self, values: Tensor, parameters: Tensor) -> Tensor:
        return values + parameters


def test_what_was_loaded_in_inference_mode_is_transformed_as_ever_afterwards() -> None:
    expected = batches_of(samples_of(made(), cache=True), 1)
    samples = samples_of(made(), cache=True)
    with torch.inference_mode():
        inside = batches_of(samples, 1)
    after = batches_of(samples, 1)
    assert all(same(*pair) for pair in zip(inside, expected, strict=True))
    assert all(same(*pair) for pair in zip(after, expected, strict=True))


def test_a_device_transform_is_pending_until_the_batch_is_moved_and_the_same_as_on_the_cpu() -> None:
    samples = Samples(Counted({}), ["s0", "s1"], transforms={"v": [Shifted(), Shifted()]}, training=True, seed=5)
    raw = Samples(Counted({}), ["s0", "s1"], seed=5)

    batch, plain = batches_of(samples, 1)[0], batches_of(raw, 1)[0]
    assert torch.equal(batch.inputs["v"].values, plain.inputs["v"].values)
    moved = batch.to("cpu")
    assert not moved.pending
    for position, index in enumerate(samples.indices):
        generator = make_generator(5, 0, index, "v")
        expected = plain.inputs["v"][position]
        for _ in range(2):
            expected = expected + torch.rand(1, generator=generator)
        assert torch.equal(moved.inputs["v"][position], expected)


def test_a_device_transform_draws_nothing_in_evaluation() -> None:
    samples = Samples(Counted({}), ["s0"], transforms={"v": [Shifted()]})
    assert not batches_of(samples, 1)[0].pending


def test_a_transform_after_one_on_the_device_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"modalities.v.transforms: Standardize stands too late"):
        Samples(Counted({}), ["s0"], transforms={"v": [Shifted(), TRANSFORMS.build("standardize", (2,), None)]})


def test_modalities_whose_transforms_draw_together_are_given_the_same_numbers() -> None:
    class Drawn(Transform):
        together = True

        def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
            return torch.rand(1, 2, generator=generator)

    class TwoModalities(Counted):
        def __init__(self) -> None:
            super().__init__({})
            self.modalities = {"v": ModalityInfo((2,)), "w": ModalityInfo((2,))}

        def load(self, index: int):
            return {"v": torch.zeros(1, 2), "w": torch.zeros(1, 2)}

    samples = Samples(TwoModalities(), ["s0"], transforms={"v": [Drawn()], "w": [Drawn()]}, training=True)
    batch = batches_of(samples, 1)[0]
    assert torch.equal(batch.inputs["v"].values, batch.inputs["w"].values)


def test_an_all_nan_vector_is_refused_with_row_and_modality() -> None:
    samples = Samples(Counted({2: torch.full((1, 2), math.nan)}), ["s2"])
    with pytest.raises(DataError, match="row 2: v: all 2 numbers are NaN or infinite"):
        batches_of(samples, 1)


def test_elements_of_another_shape_than_the_dataset_states_are_refused() -> None:
    samples = Samples(Counted({2: torch.zeros(1, 3)}), ["s2"])
    with pytest.raises(DataError, match=r"row 2: v: elements of shape \(3,\), the dataset states \(2,\)"):
        batches_of(samples, 1)


def test_unknown_samples_and_modalities_are_reported_together() -> None:
    with pytest.raises(DataError) as caught:
        Samples(Counted(), ["s0", "s9"], modalities=["v", "w"])
    assert "the dataset has no modality 'w'; known: v" in str(caught.value)
    assert "samples: unknown sample 's9'" in str(caught.value)


def test_every_bad_label_of_all_rows_is_reported_at_once() -> None:
    labels = ["rest", "rset", None, "walk", "fly"]
    rows = [Row(str(n), None, None, {"label": label}, f"m.csv, line {n + 2}") for n, label in enumerate(labels)]
    with pytest.raises(DataError) as caught:
        encode_targets(rows, {"label": encode_label, "lable": encode_label})
    assert str(caught.value).splitlines() == [
        "3 problems",
        "  - m.csv, line 3: label: 'rset' is no class; known: rest, walk, run, jump",
        "  - m.csv, line 6: label: 'fly' is no class; known: rest, walk, run, jump",
        "  - targets: the dataset has no target 'lable'; did you mean 'label'?",
    ]
    good = encode_targets([row for n, row in enumerate(rows) if n in (0, 2, 3)], {"label": encode_label})
    assert good["label"].tolist() == [0, -1, 1]


counts = st.integers(1, 40)


@given(counts, st.integers(1, 9), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_holds_every_sample_once_in_batches_of_the_size_asked_for(
    count: int, batch_size: int, epoch: int, seed: int
) -> None:
    batches = EpochBatches(range(100, 100 + count), seed=seed, batch_size=batch_size)
    batches.set_epoch(epoch)
    plan = list(batches)
    assert sorted(index for batch in plan for index in batch) == list(range(100, 100 + count))
    assert [len(batch) for batch in plan[:-1]] == [batch_size] * (len(plan) - 1)
    assert len(plan) == len(batches) == math.ceil(count / batch_size)
    batches.set_epoch(epoch, start=1)
    assert list(batches) == plan[1:]
    assert len(batches) == len(plan) - 1


@given(st.integers(3, 40), st.integers(1, 5), st.integers(2, 3), st.booleans())
def test_processes_share_what_one_process_with_larger_batches_sees(
    count: int, limit: int, world: int, by_budget: bool
) -> None:
    lengths = {"m": [1 + index % 3 for index in range(count)]}
    asked = {"budget": limit * 3, "lengths": lengths} if by_budget else {"batch_size": limit}
    larger = {"budget": limit * 3 * world, "lengths": lengths} if by_budget else {"batch_size": limit * world}
    ranks = [EpochBatches(range(count), seed=1, rank=rank, world_size=world, **asked).plan(2) for rank in range(world)]
    whole = EpochBatches(range(count), seed=1, **larger).plan(2)
    assert len({len(plan) for plan in ranks}) == 1
    union = [sorted(index for batch in step for index in batch) for step in zip(*ranks, strict=True)]
    expected = [sorted(batch) for batch in whole]
    if len(expected) > 1 and len(expected[-1]) < world:
        expected[-2:] = [sorted(expected[-2] + expected[-1])]
    assert union == expected
    assert all(batch for plan in ranks for batch in plan)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.integers(1, 50))
def test_a_budget_is_kept_and_filled_except_by_a_sample_that_exceeds_it_alone(lengths: list[int], budget: int) -> None:
    batches = EpochBatches(
        range(len(lengths)), seed=0, budget=budget, lengths={"few": [0] * len(lengths), "many": lengths}
    ).plan(0)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    costs = [[lengths[index] for index in batch] for batch in batches]
    assert all(sum(cost) <= budget or len(cost) == 1 for cost in costs)
    assert all(sum(first) + second[0] > budget for first, second in pairwise(costs))


@given(st.integers(3, 20), st.integers(1, 5), st.integers(1, 3), st.integers(0, 8), st.booleans())
def test_repeats_come_beside_every_sample_in_the_same_batches_for_any_number_of_processes(
    count: int, limit: int, world: int, again: int, by_budget: bool
) -> None:
    indices = range(50, 50 + count)
    repeats = [(50 + number % count // 2, ("m",) if number % 2 else ()) for number in range(again)]
    lengths = {"m": [1 + index % 3 for index in range(count)]}

    def made(rank: int, world: int, limit: int) -> list[list[Draw]]:
        asked = {"budget": limit * 3, "lengths": lengths} if by_budget else {"batch_size": limit}
        batches = EpochBatches(indices, seed=1, rank=rank, world_size=world, **asked)
        batches.repeat(repeats)
        return batches.list_draws(2)

    ranks = [made(rank, world, limit) for rank in range(world)]
    drawn = [draw for plan in ranks for batch in plan for draw in batch]
    assert sorted(draw.index for draw in drawn if draw.only is None) == list(indices)
    assert sorted((draw.index, draw.only) for draw in drawn if draw.only is not None) == sorted(repeats)
    assert len(set(drawn)) == count + again  # repeats of one sample are told apart
    assert {draw.epoch for draw in drawn} == {2}
    assert len({len(plan) for plan in ranks}) == 1
    if by_budget:
        costs = [sum(lengths["m"][draw.index - 50] for draw in batch) for batch in made(0, 1, limit)]
        assert max(costs) <= limit * 3


def test_a_repeated_sample_has_its_modalities_only_and_is_augmented_anew() -> None:
    samples = samples_of(made())
    index = next(i for i in samples.indices if {"m", "n"} <= set(samples[Draw(0, i)].inputs))
    whole, first, second = (samples[Draw(0, index, ("m",) if copy else None, copy)] for copy in range(3))
    assert set(whole.inputs) == {"m", "n"}
    assert set(first.inputs) == set(second.inputs) == {"m"}
    assert not any(
        one.inputs["m"].shape == other.inputs["m"].shape and torch.equal(one.inputs["m"], other.inputs["m"])
        for one, other in ((whole, first), (whole, second), (first, second))
    )
    assert torch.equal(samples[Draw(0, index, ("m",), 2)].inputs["m"], second.inputs["m"])
    assert torch.equal(first.targets["label"], whole.targets["label"])


def test_the_order_changes_with_epoch_and_seed_and_stays_without_shuffling() -> None:
    plans = [
        EpochBatches(range(30), seed=seed, batch_size=30).plan(epoch)[0] for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert plans[0] != plans[1] != plans[2] != plans[0]
    assert EpochBatches(range(4), seed=0, batch_size=3, shuffle=False).plan(7) == [[0, 1, 2], [3]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give batch_size or budget, and not both"),
        ({"batch_size": 1, "budget": 1}, "give batch_size or budget, and not both"),
        ({"batch_size": 0}, "0 is too small"),
        ({"budget": 5}, "needs the lengths"),
        ({"budget": 5, "lengths": {"m": [1]}}, "1 lengths of m for 3 samples"),
        ({"batch_size": 1, "world_size": 4}, "3 samples for 4 processes"),
    ],
)
def test_batches_that_cannot_be_formed_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        EpochBatches(range(3), seed=0, **options)


def test_lengths_are_those_before_transforms_in_the_order_of_the_samples() -> None:
    dataset = made()
    samples = samples_of(dataset)
    assert samples.count_elements() == {
        name: tuple(len(dataset.load(index).get(name, ())) for index in samples.indices) for name in ("m", "n")
    }
