import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.errors import ShapeError
from fusionkit.nn.jagged import Jagged

shapes = st.sampled_from([(), (3,), (2, 4), (0,), (2, 0)])
sizes_of_batches = st.lists(st.integers(0, 6), min_size=1, max_size=6)


def samples_of(sizes: list[int], shape: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(sizes))
    return [torch.randn((size, *shape), generator=generator) for size in sizes]


@given(sizes_of_batches, shapes)
def test_unbind_returns_what_from_list_was_given(sizes: list[int], shape: tuple[int, ...]) -> None:
    samples = samples_of(sizes, shape)
    packed = Jagged.from_list(samples)
    assert packed.sizes == tuple(sizes)
    assert packed.element_shape == shape
    assert packed.total == sum(sizes)
    for given_sample, returned in zip(samples, packed.unbind(), strict=True):
        assert given_sample.shape == returned.shape
        assert torch.equal(given_sample, returned)


@given(sizes_of_batches, shapes, st.integers(0, 3))
def test_from_padded_undoes_to_padded_whatever_the_padding_holds(
    sizes: list[int], shape: tuple[int, ...], spare: int
) -> None:
    packed = Jagged.from_list(samples_of(sizes, shape))
    padded = packed.to_padded(max(sizes) + spare, fill=float("nan"))
    assert padded.shape == (len(sizes), max(sizes) + spare, *shape)
    again = Jagged.from_padded(padded, packed.lengths)
    assert again.sizes == packed.sizes
    assert torch.equal(again.values, packed.values)


@given(sizes_of_batches)
def test_offsets_present_and_sample_index_restate_the_lengths(sizes: list[int]) -> None:
    packed = Jagged.from_list(samples_of(sizes, (2,)))
    assert packed.offsets.tolist() == [sum(sizes[:end]) for end in range(len(sizes) + 1)]
    assert packed.present.tolist() == [size > 0 for size in sizes]
    assert packed.sample_index.tolist() == [i for i, size in enumerate(sizes) for _ in range(size)]


@given(sizes_of_batches, st.data())
def test_indexing_by_samples_takes_them_in_the_order_asked_for(sizes: list[int], data: st.DataObject) -> None:
    samples = samples_of(sizes, (2,))
    chosen = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=5))
    packed = Jagged.from_list(samples)
    taken = packed[chosen]
    assert taken.sizes == tuple(sizes[i] for i in chosen)
    assert taken.element_shape == (2,)
    for i, sample in zip(chosen, taken.unbind(), strict=True):
        assert torch.equal(sample, samples[i])
    assert torch.equal(packed[packed.present].values, packed.values)


def test_a_batch_in_which_all_are_absent_has_a_shape_and_no_elements() -> None:
    nothing = Jagged.empty(3, (4, 2), like=torch.zeros(1, dtype=torch.float64))
    assert nothing.sizes == (0, 0, 0)
    assert nothing.element_shape == (4, 2)
    assert nothing.dtype == torch.float64
    assert nothing.to_padded().shape == (3, 0, 4, 2)
    assert not nothing.present.any()


def test_a_batch_of_one_is_that_sample() -> None:
    packed = Jagged.from_list([torch.arange(3.0)])
    assert packed[0].tolist() == [0.0, 1.0, 2.0]
    assert packed[-1].tolist() == [0.0, 1.0, 2.0]


def test_to_a_dtype_converts_the_values_and_leaves_the_lengths_alone() -> None:
    halved = Jagged.from_list([torch.zeros(3), torch.zeros(0)]).to(torch.float16)
    assert halved.dtype == torch.float16
    assert halved.lengths.dtype == torch.int64


def test_gradients_flow_through_padding_and_back() -> None:
    values = torch.randn(5, 2, requires_grad=True)
    packed = Jagged(values, torch.tensor([2, 0, 3]))
    Jagged.from_padded(packed.to_padded(), packed.lengths).values.sum().backward()
    assert torch.equal(values.grad, torch.ones(5, 2))


values = torch.zeros(5, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Jagged(values, torch.tensor([2, -1, 4])), r"lengths\[1\] = -1 is negative"),
        (lambda: Jagged(values, torch.tensor([2.0, 3.0])), "float32 is not an integer dtype"),
        (lambda: Jagged(values, torch.tensor([True, False])), "bool is not an integer dtype"),
        (lambda: Jagged(values, torch.tensor([[2, 3]])), r"shape \(1, 2\) is not \(batch,\)"),
        (lambda: Jagged(values, torch.tensor([2, 2])), "lengths sum to 4, but values hold 5 elements"),
        (lambda: Jagged(torch.tensor(1.0), torch.tensor([1])), "a scalar has no elements"),
        (lambda: Jagged(values, [2, 3]), "lengths: a Jagged holds tensors, given list"),
        (lambda: Jagged(values, torch.tensor([5]).to("meta")), "lengths are on meta, values on cpu"),
        (lambda: Jagged.from_sizes(values, [6, -1]), r"lengths\[1\] = -1 is negative"),
        (lambda: Jagged.from_sizes(torch.tensor(1.0), [1]), "at least one dimension"),
        (lambda: Jagged(values.to(torch.complex64), torch.tensor([5])), "values: complex numbers; give real and imag"),
        (lambda: Jagged(values.to_sparse(), torch.tensor([5])), "values: a sparse tensor; give a dense one"),
        (lambda: Jagged.from_sizes(values.to_sparse(), [5]), "values: a sparse tensor; give a dense one"),
        (lambda: Jagged.from_list([values, 1j * values]), "from_list: sample 1: complex numbers; give real"),
        (
            lambda: Jagged.from_list([torch.nested.nested_tensor([values, values], layout=torch.jagged)]),
            "from_list: sample 0: a nested tensor",
        ),
        (lambda: Jagged.from_padded(1j * torch.zeros(2, 3), torch.tensor([1, 2])), "values: complex numbers"),
        (lambda: Jagged.from_list([]), "the list is empty"),
        (lambda: Jagged.from_list([torch.tensor(1.0)]), "sample 0 is a scalar"),
        (lambda: Jagged.from_list([values, values.double()]), "sample 1 has dtype torch.float64"),
        (lambda: Jagged.from_list([values, values.to("meta")]), "sample 1 has device meta"),
        (lambda: Jagged.from_list([values, torch.zeros(1, 3)]), r"sample 1 has elements of shape \(3,\)"),
        (lambda: Jagged.from_padded(torch.zeros(3), torch.tensor([1])), r"\(3,\) is not \(batch, time"),
        (lambda: Jagged.from_padded(torch.zeros(2, 3), torch.tensor([1])), "1 lengths for a batch of 2"),
        (lambda: Jagged.from_padded(torch.zeros(2, 3), torch.tensor([1, 4])), r"lengths\[1\] = 4 is outside 0..3"),
        (lambda: Jagged(values, torch.tensor([5])).to_padded(4), "length 4, but the longest sample has 5"),
        (lambda: Jagged(values, torch.tensor([5])).with_values(values[:4]), "4 elements for samples that hold 5"),
    ],
)
def test_every_inconsistency_is_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make()


def test_an_index_outside_the_batch_is_refused() -> None:
    packed = Jagged(values, torch.tensor([2, 3]))
    with pytest.raises(IndexError, match="a mask of shape"):
        packed[torch.tensor([True])]
    with pytest.raises(IndexError):
        packed[[2]]


def test_lengths_that_a_prediction_asked_for_first_can_be_trained_with() -> None:
    batch = Jagged.from_sizes(torch.ones(3, 2), (1, 2))
    with torch.inference_mode():
        assert batch.lengths.tolist() == [1, 2]
        assert batch.offsets.tolist() == [0, 1, 3]
    assert not batch.lengths.is_inference()
    assert not batch.offsets.is_inference()


def test_a_batch_that_is_moved_or_converted_still_knows_its_lengths() -> None:
    for asked in (True, False):
        batch = Jagged.from_sizes(torch.ones(3, 2), (1, 0, 2))
        if asked:
            assert batch.lengths.tolist() == [1, 0, 2]
        for other in (batch.to(torch.float64), batch.to("cpu"), batch.with_values(torch.zeros(3, 5))):
            assert other.lengths.tolist() == [1, 0, 2]
            assert other.lengths.dtype == torch.int64
            assert other.present.tolist() == [True, False, True]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantized_numbers_are_refused() -> None:
    quantized = torch.quantize_per_tensor(values, 0.1, 0, torch.qint8)
    with pytest.raises(ShapeError, match=r"values: a quantized tensor; give its numbers, values.dequantize\(\)"):
        Jagged.from_sizes(quantized, [5])
