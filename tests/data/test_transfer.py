"""Batches on their way from worker processes: the same numbers, types and shapes, and no file left open."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from fusionkit.data.loading.batching import EpochBatches
from fusionkit.data.loading.loader import make_loader
from fusionkit.data.loading.samples import Samples
from fusionkit.data.loading.transfer import Parcel
from fusionkit.data.transforms.spatial import Spatial
from fusionkit.interfaces import Batch, Dataset, ModalityInfo, Row
from fusionkit.nn.jagged import Jagged

FRAMES = 200
"""Frames of a film of 24 bytes each: a batch of them is large, one of waves or stills is small."""


class Films(Dataset):
    """Films of bytes, waves in double precision, and stills that only some samples have."""

    def __init__(self) -> None:
        self.rows = [Row(str(i), None, None, {"label": i, "even": i}, f"row {i}") for i in range(12)]
        self.modalities = {
            "film": ModalityInfo((3, 2, 4), 25.0),
            "wave": ModalityInfo((), 10.0),
            "still": ModalityInfo((2,), None),
        }

    def load(self, index: int) -> Mapping[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        film = torch.randint(0, 256, (FRAMES + index, 3, 2, 4), dtype=torch.uint8, generator=generator)
        wave = torch.rand(index + 1, dtype=torch.float64, generator=generator)
        still = {"still": torch.rand(1, 2, generator=generator)} if index > 5 else {}
        return {"film": film, "wave": wave, **still}

    def length(self, index: int, modality: str) -> int:
        return len(self.load(index).get(modality, ()))


def batches(workers: int) -> list[Batch]:
    encoders = {"label": torch.tensor, "even": lambda value: torch.tensor([value % 2 == 0])}
    dataset = Films()
    transforms = {"film": [Spatial((3, 2, 4), 25.0)]}
    ids = [row.id for row in dataset.rows]
    samples = Samples(dataset, ids, transforms=transforms, encoders=encoders, training=True)
    order = EpochBatches(samples.indices, seed=0, batch_size=2, shuffle=False)
    return list(make_loader(samples, order, workers=workers))


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    found = {**batch.targets}
    for name, value in batch.inputs.items():
        found |= {f"{name} values": value.values, f"{name} lengths": value.lengths}
    for name, steps in batch.pending.items():
        found |= {f"{name} pending {place}": parameters for place, (_, parameters) in enumerate(steps)}
    return found


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_batch_from_a_worker_is_the_one_that_this_process_would_make() -> None:
    for here, sent in zip(batches(0), batches(1), strict=True):
        assert isinstance(sent, Batch)
        assert sent.sample_ids == here.sample_ids
        assert [value.sizes for value in sent.inputs.values()] == [value.sizes for value in here.inputs.values()]
        wanted, found = tensors_of(here), tensors_of(sent)
        assert list(found) == list(wanted)
        for name, tensor in wanted.items():
            assert found[name].dtype == tensor.dtype
            assert found[name].shape == tensor.shape
            assert torch.equal(found[name], tensor)
        moved, expected = sent.to("cpu").inputs["film"].values, here.to("cpu").inputs["film"].values
        assert torch.equal(moved, expected)
        assert not torch.equal(expected, here.inputs["film"].values)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_large_tensors_come_in_shared_memory_and_small_ones_in_the_message_and_no_file_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    sent = batches(1)
    held = len(os.listdir("/proc/self/fd")) - before
    for batch in sent:
        shared = {name for name, tensor in tensors_of(batch).items() if tensor.is_shared()}
        assert shared == {"film values", "film pending 0"}
    assert len(sent) == 6
    assert held <= 2  # the connection to who keeps the names


@pytest.mark.parametrize("shape", [(), (0, 3), (3, 4)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float64])
def test_a_tensor_of_any_type_and_layout_arrives_as_it_is(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = (torch.arange(12).view(4, 3).T if shape == (3, 4) else torch.ones(shape)).to(dtype)
    batch = Batch({"m": Jagged.from_sizes(torch.zeros(0, 2), (0, 0))}, {"t": tensor}, ("a", "b"))
    arrived = pickle.loads(pickle.dumps(Parcel(batch)))
    assert arrived.targets["t"].dtype == dtype
    assert arrived.targets["t"].shape == shape
    assert torch.equal(arrived.targets["t"], tensor)
    assert arrived.inputs["m"].sizes == (0, 0)
