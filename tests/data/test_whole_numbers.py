"""Whole numbers stay whole from the file to the encoder, lengths are measured, and length 0 is a missing modality."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import fusionkit
from fusionkit.cli import main
from fusionkit.config.components.registry import DATASETS, ENCODERS
from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.data.loading.collation import Sample, fit_numbers, make_batch
from fusionkit.data.loading.lengths import measure_lengths
from fusionkit.data.readers.media import ReadOptions, read_media
from fusionkit.errors import DataError, ElementError, ShapeError
from fusionkit.evaluation import evaluate
from fusionkit.evaluation.robustness.corruptions import add_noise
from fusionkit.interfaces import Dataset, ElementEncoder, Encoder, ModalityInfo, Row
from fusionkit.models.build import build
from fusionkit.models.cost import measure
from fusionkit.nn.jagged import Jagged
from fusionkit.testing import ContractError, check_dataset, check_encoder
from fusionkit.training import train

VOCABULARY = 50
TABLE = {"type": "manifest", "targets": ["word"], "part": "part"}


@ENCODERS.register("test_ids")
class Ids(ElementEncoder):
    """Vectors of ids; says nothing of the numbers that it takes.

    Args:
        in_shape: Shape of an id, ``()`` or ``(1,)``.
    """

    def __init__(self, in_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, 4)
        self.out_shape = (4,)

    def encode(self, elements: Tensor) -> Tensor:
        """The vectors."""
        vectors: Tensor = self.table(elements.flatten())
        return vectors


@ENCODERS.register("test_stated_ids")
class StatedIds(Ids):
    """Vectors of ids; says what it takes.

    Args:
        in_shape: Shape of an id.
    """

    whole_numbers = (torch.int64,)


@ENCODERS.register("test_silent")
class Silent(Encoder):
    """A layer that takes no whole numbers and does not say so.

    Args:
        in_shape: ``(channels,)``.
    """

    def __init__(self, in_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer = nn.Linear(in_shape[0], 4)
        self.out_shape = (4,)

    def forward(self, elements: Jagged) -> Jagged:
        """The layer's output."""
        return elements.with_values(self.layer(elements.values))


@ENCODERS.register("test_any_numbers")
class AnyNumbers(ElementEncoder):
    """Features of numbers of any kind; says nothing of those that it takes.

    Args:
        in_shape: Shape of an element, one axis.
    """

    def __init__(self, in_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.out_shape = nn.Linear(in_shape[0], 4), (4,)

    def encode(self, values: Tensor) -> Tensor:
        features: Tensor = self.layer(values.to(self.layer.weight.dtype))
        return features


def write_table(folder: Path, kind: str = "int64", *, rows: int = 12, lengths: Any = None) -> Path:
    """A table of streams of ids in npy files, a column of ids, ages, and words."""
    lengths = lengths or [3 + row % 3 for row in range(rows)]
    lines = ["ids,kind,age,word,who,part"]
    for row, length in enumerate(lengths):
        values = (np.arange(length) * 7 + row) % VOCABULARY
        np.save(folder / f"{row}.npy", values.astype(kind))
        lines.append(f"{row}.npy,{row % 5},{20 + row},{'ab'[row % 2]},g{row % 4},{'train' if row % 4 else 'test'}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return folder / "t.csv"


def recipe(table: Path, encoder: str = "test_ids", **modalities: Any) -> dict[str, Any]:
    given = {"ids": {"column": "ids", "layout": "sequence"}, "kind": ["kind"], "age": ["age", "kind"]}
    return {
        "schema": 1,
        "data": {
            "dataset": {
                "type": "manifest",
                "path": str(table),
                "modalities": given,
                "targets": ["word"],
                "part": "part",
            },
            "folds": "given",
            "batch_size": 4,
        },
        "model": {
            "modalities": modalities
            or {"ids": {"encoder": encoder}, "kind": {"encoder": encoder}, "age": {"encoder": "mlp"}},
            "targets": {"word": "classification"},
        },
        "train": {"epochs": 1},
    }


@pytest.mark.parametrize("encoder", ["test_ids", "test_stated_ids"])
def test_ids_are_checked_trained_and_evaluated(
    tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = recipe(write_table(tmp_path), encoder)
    (tmp_path / "recipe.yaml").write_text(json.dumps(given))
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path / "recipe.yaml"), "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["speed"]["batch"] == 4
    card = evaluate(train(given, tmp_path / "run", accelerator="cpu")).plain()
    assert card["protocol"]["test"] == 3


@pytest.mark.parametrize("cls", [Ids, StatedIds])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_an_encoder_of_ids_keeps_its_promises(cls: type[Ids], shape: tuple[int, ...]) -> None:
    check_encoder(cls, shape)


@ENCODERS.register("test_mixed_ids")
class MixedIds(Encoder):
    """Vectors of ids, each with the mean of the batch, which no encoder may see.

    Args:
        in_shape: ``()``.
    """

    def __init__(self, in_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.table, self.out_shape = nn.Embedding(VOCABULARY, 4), (4,)

    def forward(self, elements: Jagged) -> Jagged:
        """The vectors."""
        vectors: Tensor = self.table(elements.values)
        return elements.with_values(vectors + vectors.mean(dim=0))


def test_an_encoder_of_ids_that_breaks_a_promise_is_found() -> None:
    with pytest.raises(ContractError, match="a sample alone gives what it gives in a batch"):
        check_encoder(MixedIds, ())


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "bool", ">i4"])
@pytest.mark.parametrize("ending", ["npy", "safetensors"])
def test_arrays_of_whole_numbers_become_int64_with_the_same_values(tmp_path: Path, kind: str, ending: str) -> None:
    array = np.array([[0, 1], [100, 7]]).astype(kind)
    file = tmp_path / f"a.{ending}"
    if ending == "npy":
        np.save(file, array)
    elif kind in (">i4", "uint16", "uint32", "uint64"):
        pytest.skip("torch does not write them")
    else:
        save_file({"a": torch.from_numpy(array)}, file)
    values = read_media(file, ReadOptions())
    assert values.dtype == torch.int64
    assert values.tolist() == array.astype(int).tolist()


def test_bytes_stay_bytes_and_large_ids_keep_every_digit(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert read_media(tmp_path / "b.npy", ReadOptions()).dtype == torch.uint8
    np.save(tmp_path / "l.npy", np.array([2**53 + 1, 2**63 - 1]))
    assert read_media(tmp_path / "l.npy", ReadOptions()).tolist() == [[2**53 + 1, 2**63 - 1]]
    np.save(tmp_path / "u.npy", np.array([2**63], dtype=np.uint64))
    with pytest.raises(DataError, match=r"u\.npy: holds the whole number 9223372036854775808, over 64 bits"):
        read_media(tmp_path / "u.npy", ReadOptions())


@pytest.mark.parametrize(
    ("cells", "dtype", "values"),
    [
        (["1", "-2"], torch.int64, [1, -2]),
        (["9007199254740993", "0"], torch.int64, [2**53 + 1, 0]),
        (["1.0", "2"], torch.float32, [1.0, 2.0]),
        (["1e1", "2"], torch.float32, [10.0, 2.0]),
        (["99999999999999999999", "1"], torch.float32, [1e20, 1.0]),
    ],
)
def test_a_column_is_whole_where_every_number_of_it_is(
    tmp_path: Path, cells: list[str], dtype: torch.dtype, values: list[float]
) -> None:
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{cell},a\n" for cell in cells) + ",b\n")
    data = DATASETS.build("manifest", path=str(tmp_path / "t.csv"), modalities={"m": ["x"]}, targets=["y"])
    loaded = [data.load(index)["m"] for index in range(2)]
    assert [each.dtype for each in loaded] == [dtype, dtype]
    assert [each.item() for each in loaded] == [torch.tensor(value, dtype=dtype).item() for value in values]


def test_integers_of_json_and_parquet_stay_whole(tmp_path: Path) -> None:
    records = [{"x": 2**62, "w": 1.5}, {"x": -3, "w": 2.0}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, records)))
    files = ["t.jsonl"]
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "t.parquet")
    for file in [*files, "t.parquet"]:
        data = DATASETS.build("manifest", path=str(tmp_path / file), modalities={"x": ["x"], "w": ["w"]})
        assert [data.load(0)[name].dtype for name in ("x", "w")] == [torch.int64, torch.float32]
        assert data.load(0)["x"].item() == 2**62


@pytest.mark.parametrize(
    ("given", "takes", "wanted"),
    [
        (torch.int64, None, torch.int64),
        (torch.int64, (), torch.float32),
        (torch.uint8, (torch.uint8,), torch.uint8),
        (torch.int64, (torch.uint8,), torch.float32),
        (torch.uint8, (torch.int64,), torch.int64),
        (torch.int32, (torch.uint8, torch.int64), torch.int64),
        (torch.float32, (torch.int64,), torch.float32),
        (torch.float64, (), torch.float64),
    ],
)
def test_whole_numbers_are_given_as_the_first_encoder_takes_them(
    given: torch.dtype, takes: tuple[torch.dtype, ...] | None, wanted: torch.dtype
) -> None:
    values = torch.tensor([[0, 1], [100, 7]], dtype=given)
    fitted = fit_numbers(values, takes)
    assert fitted.dtype == wanted
    assert fitted.tolist() == values.tolist()


def test_a_training_gives_whole_numbers_to_each_encoder_as_it_takes_them(tmp_path: Path) -> None:
    assembly = assemble(load_recipe(recipe(write_table(tmp_path, "int32"))))
    batch = next(assembly.loader(assembly.train_ids, training=False))
    assert {name: of.dtype for name, of in batch.inputs.items()} == {
        "ids": torch.int64,
        "kind": torch.int64,
        "age": torch.float32,
    }


@pytest.mark.parametrize("transform", ["standardize", "gaussian_noise"])
def test_a_transform_that_computes_gives_floats_of_a_column_of_whole_numbers(tmp_path: Path, transform: str) -> None:
    lines = [f"{3 * row},{row % 5},{'ab'[row % 2]},{'test' if row > 8 else 'train'}" for row in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["x,z,word,part", *lines]) + "\n")
    dataset = {**TABLE, "path": str(tmp_path / "t.csv"), "modalities": {"x": ["x", "z"]}}
    options = {"per_channel": False} if transform == "standardize" else {"sigma": 0.1}
    modality = {"encoder": "test_any_numbers", "transforms": [{"type": transform, **options}]}
    model = {"modalities": {"x": modality}, "targets": {"word": "classification"}}
    assembly = assemble(load_recipe({"schema": 1, "data": {"dataset": dataset, "folds": "given"}, "model": model}))

    assert assembly.dataset.load(1)["x"].dtype == torch.int64
    for training in (True, False):
        for batch in assembly.loader(assembly.train_ids, training=training):
            for sample, values in zip(batch.sample_ids, batch.inputs["x"].unbind(), strict=True):
                given = assembly.dataset.load(int(sample) - 1)["x"].double().numpy()
                assert values.dtype == torch.float32
                if transform == "standardize":
                    spread = given.std()
                    given = (given - given.mean()) / (spread if spread else 1.0)
                np.testing.assert_allclose(values.numpy(), given, atol=0.6 if training else 1e-6, rtol=1e-6)


def test_an_encoder_that_takes_no_whole_numbers_and_does_not_say_so_is_told_how(tmp_path: Path) -> None:
    given = recipe(write_table(tmp_path), age={"encoder": "test_silent"})
    with pytest.raises(
        ShapeError, match=r"Silent was given whole numbers \(torch.int64\) and failed: .*whole_numbers = \(\)"
    ):
        train(given, tmp_path / "run", accelerator="cpu")
    Silent.whole_numbers = ()
    try:
        train(given, tmp_path / "again", accelerator="cpu")
    finally:
        del Silent.whole_numbers


def ids_beyond_the_table(folder: Path, worst: int, encoder: str) -> dict[str, Any]:
    table = write_table(folder)
    np.save(folder / "5.npy", np.array([0, worst, 3]))
    return recipe(table, ids={"encoder": encoder})


@pytest.mark.parametrize("encoder", ["test_ids", "test_stated_ids"])
@pytest.mark.parametrize(("worst", "extent"), [(VOCABULARY, f"from 0 to {VOCABULARY}"), (-1, "from -1 to ")])
def test_an_id_beyond_the_table_of_an_encoder_is_told_with_its_sample(
    tmp_path: Path, encoder: str, worst: int, extent: str
) -> None:
    given = ids_beyond_the_table(tmp_path, worst, encoder)
    cls = ENCODERS.get(encoder).cls.__name__
    told = f"sample 6: ids: {cls} was given whole numbers {extent}"
    with pytest.raises(DataError, match=rf"stage joint, epoch 0, step \d: {told}"):
        train({**given, "train": {"epochs": 1, "accumulate": 2}}, tmp_path / "run", accelerator="cpu")
    # and where the test part alone has it
    lines = (tmp_path / "t.csv").read_text().replace("g1,train", "g1,test")
    (tmp_path / "t.csv").write_text(lines)
    run = train(given, tmp_path / "again", accelerator="cpu")
    with pytest.raises(DataError, match=f"evaluation: {told}"):
        evaluate(run)


def test_ids_beyond_a_table_end_a_command_with_2_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(ids_beyond_the_table(tmp_path, 10**12, "test_ids")))
    with pytest.raises(SystemExit) as ended:
        main(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert "sample 6: ids: Ids was given whole numbers from 0 to 1000000000000" in capsys.readouterr().err


def test_ids_beyond_a_table_in_a_loop_of_ones_own_name_the_modality() -> None:
    modalities = {"a": {"shape": [], "encoder": "test_ids"}}
    model = build({"modalities": modalities, "targets": {"y": {"type": "classification", "classes": ["u", "v"]}}})
    for grad in (True, False):
        with (
            torch.set_grad_enabled(grad),
            pytest.raises(ShapeError, match=r"^a: Ids was given whole numbers from 0 to 99"),
        ):
            model.eval()({"a": torch.tensor([[0, 99]])})
    error = ElementError("too large", 99, "a")
    again = pickle.loads(pickle.dumps(error))  # as it comes from another process
    assert (str(again), again.value, again.modality) == ("a: too large", 99, "a")


@ENCODERS.register("test_picked_ids")
class PickedIds(Ids):
    """Vectors of ids, picked in a way whose error names no dtype.

    Args:
        in_shape: ``(1,)``.
    """

    def encode(self, elements: Tensor) -> Tensor:
        """The vectors."""
        return self.table.weight[elements[:, 0]]


@pytest.mark.parametrize("command", [["check"], ["check", "--no-timing"], ["train", "--out", "run"]])
@pytest.mark.parametrize("layers", [(4, "test_ids"), (1, "test_picked_ids")])
def test_an_encoder_of_ids_behind_one_of_numbers_is_refused_with_the_place_where_it_belongs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    layers: tuple[int, str],
) -> None:
    width, encoder = layers
    monkeypatch.chdir(tmp_path)
    chain = [{"type": "mlp", "hidden": [], "out": width}, {"type": encoder}]
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe(write_table(tmp_path), age={"encoder": chain})))
    with pytest.raises(SystemExit) as ended:
        main([command[0], "recipe.yaml", *command[1:]])
    assert ended.value.code == 2
    cls = ENCODERS.get(encoder).cls.__name__
    said = f"age: {cls} takes whole numbers only, given torch.float32; place it first in its chain"
    assert said in " ".join(capsys.readouterr().err.split())


@ENCODERS.register("test_broken")
class Broken(Encoder):
    """An encoder with a fault of its own.

    Args:
        in_shape: ``(channels,)``.
    """

    def __init__(self, in_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.out_shape = in_shape

    def forward(self, elements: Jagged) -> Jagged:
        """Fails."""
        raise ValueError("a fault")


def test_a_fault_of_an_encoder_itself_keeps_its_traceback_and_names_the_encoder() -> None:
    modalities = {"a": {"shape": [2], "encoder": "test_broken"}}
    model = build({"modalities": modalities, "targets": {"y": {"type": "classification", "classes": ["u", "v"]}}})
    with pytest.raises(ValueError, match=r"^a fault") as caught:
        model({"a": torch.zeros(1, 3, 2)})
    assert caught.value.__notes__ == ["raised by the encoder Broken of elements torch.float32 of shape (2,)"]


def test_samples_with_different_kinds_of_numbers_are_refused_with_their_names() -> None:
    samples = [Sample("a", {"m": torch.ones(2, dtype=torch.int64)}, {}), Sample("b", {"m": torch.ones(1)}, {})]
    with pytest.raises(DataError, match=r"sample b: m: numbers are torch.float32, those of sample a torch.int64"):
        make_batch(samples, {"m": ()})


def test_a_sample_without_elements_takes_the_dtype_of_the_others() -> None:
    ids = torch.tensor([3, 4])
    packed = Jagged.from_list([torch.empty(0), ids, torch.empty(0, dtype=torch.uint8)])
    assert (packed.dtype, packed.sizes, packed.values.tolist()) == (torch.int64, (0, 2, 0), [3, 4])
    with pytest.raises(ShapeError, match=r"sample 2 has dtype torch\.float32, sample 1 has torch\.int64"):
        Jagged.from_list([torch.empty(0), ids, torch.ones(1)])


def test_noise_on_ids_stays_among_the_ids_of_the_sample() -> None:
    ids = torch.tensor([4, 9, 6])
    changed = add_noise(ids, torch.tensor(100.0), 1.0, torch.tensor([-5.0, 0.01, 3.0]))
    assert changed.tolist() == [4, 9, 9]
    assert add_noise(ids[:0], torch.tensor(1.0), 1.0, torch.empty(0)).tolist() == []


class Partly(Dataset):
    """Samples that lack ``b`` in both ways.

    Args:
        way: ``key`` leaves it out, ``length`` gives no element.
    """

    def __init__(self, *, way: str = "key") -> None:
        self.modalities = {"a": ModalityInfo((2,)), "b": ModalityInfo(())}
        self.rows = [Row(str(index), None, None, {"y": "uv"[index % 2]}, "") for index in range(4)]
        self.classes = {"y": ("u", "v")}
        self.way = way

    def load(self, index: int) -> Mapping[str, Tensor]:
        """The sample."""
        loaded = {"a": torch.full((index + 1, 2), float(index)), "b": torch.arange(3.0)}
        if index % 2:
            loaded["b"] = torch.empty(0)
            if self.way == "key":
                del loaded["b"]
        return loaded


@pytest.mark.parametrize("way", ["key", "length"])
def test_a_missing_key_and_length_0_are_a_missing_modality_in_contract_batch_and_network(way: str) -> None:
    if "test_partly" not in {component.name for component in DATASETS}:
        DATASETS.register("test_partly")(Partly)
    check_dataset(Partly, {"way": way})
    data = Partly(way=way)
    assert [data.has(index, "b") for index in range(4)] == [True, False, True, False]
    loaded = [data.load(index) for index in range(4)]
    batch = fusionkit.collate(loaded, data.modalities)
    assert {name: packed.sizes for name, packed in batch.items()} == {"a": (1, 2, 3, 4), "b": (3, 0, 3, 0)}
    modalities = {"a": {"shape": [2], "encoder": "mlp"}, "b": {"shape": [], "encoder": "mlp"}}
    model = build({"modalities": modalities, "targets": {"y": {"type": "classification", "classes": ["u", "v"]}}})
    scores = model.eval()(batch).fused["y"]
    for index, sample in enumerate(loaded):
        alone = model(fusionkit.collate([sample])).fused["y"]
        assert torch.allclose(alone, scores[index : index + 1], atol=1e-6)


def test_collate_fills_what_no_sample_has_and_refuses_what_does_not_fit() -> None:
    info = {"a": ModalityInfo((2,)), "b": ModalityInfo(())}
    empty = fusionkit.collate([{}, {}], info)
    assert (empty["a"].sizes, empty["a"].element_shape, empty["b"].sizes) == ((0, 0), (2,), (0, 0))
    assert fusionkit.collate([{"a": torch.ones(0, 2)}]) == {}
    with pytest.raises(DataError, match="there is no sample"):
        fusionkit.collate([])
    with pytest.raises(DataError, match=r"sample 1: unknown modality 'c'; known: a, b"):
        fusionkit.collate([{}, {"c": torch.ones(1)}], info)
    with pytest.raises(DataError, match=r"sample 1: a: elements of shape \(3,\), not \(2,\)"):
        fusionkit.collate([{"a": torch.ones(1, 2)}, {"a": torch.ones(1, 3)}])
    with pytest.raises(DataError, match="sample 1: a: complex numbers; give real and imaginary part side by side"):
        fusionkit.collate([{"a": torch.ones(1, 2)}, {"a": 1j * torch.ones(1, 2)}])
    with pytest.raises(DataError, match="sample 0: a: a sparse tensor; give a dense one"):
        fusionkit.collate([{"a": torch.ones(1, 2).to_sparse()}], info)


def test_lengths_are_measured_on_samples_that_are_spread_over_the_training_part(tmp_path: Path) -> None:
    lengths = [600, 600, 900, 1200, 600, 700, 800, 900, 600, 1000, 1100, 1200]
    given = recipe(write_table(tmp_path, lengths=lengths), ids={"encoder": "test_ids"})
    assembly = assemble(load_recipe(given))
    samples = assembly.samples(assembly.train_ids, training=True)
    taken = sorted(lengths[int(name) - 1] for name in assembly.train_ids)
    found = measure_lengths(samples)["ids"]
    assert (found.median, found.longest, found.present, found.loaded) == (taken[len(taken) // 2], 1200, 9, 9)
    few = measure_lengths(samples, 3)["ids"]
    chosen = [lengths[int(assembly.train_ids[place]) - 1] for place in (0, 3, 6)]
    assert (few.median, few.longest, few.loaded) == (sorted(chosen)[1], max(chosen), 3)


def test_a_check_measures_lengths_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = [600] * 8 + [1200] * 4
    given = recipe(write_table(tmp_path, lengths=lengths), ids={"encoder": "test_ids", "aggregator": "bilstm"})
    (tmp_path / "recipe.yaml").write_text(json.dumps(given))

    def check(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["check", str(tmp_path / "recipe.yaml"), "--no-timing", *arguments])
        assert not ended.value.code
        return capsys.readouterr().out

    text = " ".join(check().split())
    assert "ids 600 (the median of 9 training samples, the longest has 1,200)" in text
    record = json.loads(check("--json"))
    assert record["lengths"]["ids"] == {"median": 600, "longest": 1200, "present": 9, "loaded": 9}
    assert record["modalities"]["ids"]["length"] == 600
    assert record["longest_memory"]["activations"] > 1.8 * record["memory"]["activations"]
    assert "ids 70 (as given)" in " ".join(check("--length", "ids=70").split())
    assert json.loads(check("--json", "--length", "ids=70"))["modalities"]["ids"]["length"] == 70


def test_flops_are_those_of_the_median_length(tmp_path: Path) -> None:
    encoder = {"type": "mlp", "hidden": [], "out": 8}
    spec = load_recipe(recipe(write_table(tmp_path), age={"encoder": encoder}))
    flops = [measure(assemble(spec).recipe, build(assemble(spec).recipe), {"age": n}).flops for n in (1, 11)]
    per_element = 2 * 2 * 8
    assert flops[1] - flops[0] == 10 * per_element
