"""A vector of columns of a table is taken by name or in order, with empty numbers, in Python, exported and as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_predictors import make_vector_predictor

from fusionkit import Predictor
from fusionkit.data.recordings.values import convert_to_elements
from fusionkit.errors import DataError
from fusionkit.inference.export import export_onnx
from fusionkit.inference.export.fusionkit_runtime import InputError, Model
from fusionkit.inference.export.run import describe_network

NAMES = ("mass_kg", "height_cm", "speed")
SAME: list[Any] = [
    [65.4, None, 2.0],
    [[65.4, None, 2.0]],
    {"speed": 2.0, "height_cm": None, "mass_kg": 65.4},
    {"speed": np.float32(2), "height_cm": np.float32("nan"), "mass_kg": 65.4},
    np.array([65.4, np.nan, 2.0]),
    np.array([[65.4, np.nan, 2.0]], np.float32),
    np.array([65.4, 170, 2, 0, 1, 0]),
    np.array([[65.4, 170, 2, 0, 1, 0]]),
]
"""One vector in every form: its second number is empty, for which 170 stands, and is marked."""

WRONG: list[tuple[Any, tuple[str, ...]]] = [
    ({"mass_kg": 1, "heigth_cm": 2, "speed": 3}, ("'heigth_cm'", "'height_cm'")),
    ({"mass_kg": 1}, ("'height_cm'", "'speed'")),
    (np.ones(4), ("(4,)", ", ".join(NAMES))),
    (np.ones((2, 6)), ("(2, 6)", ", ".join(NAMES))),
    (np.ones((2, 3)), ("(2, 3)", ", ".join(NAMES))),
    ([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], ("(2, 3)", ", ".join(NAMES))),
]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return make_vector_predictor()


@pytest.fixture(scope="module")
def exported(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("exported") / "network"
    assert predictor.recipe is not None
    export_onnx(describe_network(predictor.networks[0], predictor.recipe, predictor.inputs), out)
    return Model(out)


@pytest.fixture(scope="module")
def expected(predictor: Predictor) -> dict[str, float]:
    """The answer to the element as the network takes it."""
    (answer,) = predictor.predict({"numbers": torch.tensor([[65.4, 170.0, 2.0, 0.0, 1.0, 0.0]])})
    return dict(answer.targets["mood"].probabilities)


@pytest.mark.parametrize("given", SAME, ids=range(len(SAME)))
def test_every_form_of_a_vector_has_the_same_answer(
    given: Any, predictor: Predictor, exported: Model, expected: dict[str, float]
) -> None:
    (answer,) = predictor.predict({"numbers": given})
    ours = exported.predict({"numbers": given})["targets"]["mood"]["probabilities"]

    assert answer.targets["mood"].probabilities == expected
    assert ours == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("given", "told"), WRONG, ids=range(len(WRONG)))
def test_what_is_no_vector_is_told_with_its_columns(
    given: Any, told: tuple[str, ...], predictor: Predictor, exported: Model
) -> None:
    with pytest.raises(DataError) as ours:
        predictor.predict({"numbers": given})
    with pytest.raises(InputError) as theirs:
        exported.predict({"numbers": given})
    for text in told:
        assert text in str(ours.value)
        assert text in str(theirs.value)
    assert "time" not in str(ours.value)


def test_a_number_that_was_never_empty_is_filled_without_a_mark(predictor: Predictor, exported: Model) -> None:
    (answer,) = predictor.predict({"numbers": [None, 180, 2]})
    (wanted,) = predictor.predict({"numbers": np.array([70, 180, 2, 0, 0, 0])})
    ours = exported.predict({"numbers": [None, 180, 2]})["targets"]["mood"]["probabilities"]

    assert answer.targets == wanted.targets
    assert ours == pytest.approx(dict(wanted.targets["mood"].probabilities), rel=1e-5)


def test_a_vector_of_empty_numbers_alone_is_missing_as_in_a_table(predictor: Predictor, exported: Model) -> None:
    motion = np.ones((4, 3), np.float32)
    for empty in ([None] * 3, np.full(3, np.nan), dict.fromkeys(NAMES)):
        assert predictor.predict({"motion": motion, "numbers": empty})[0].present == ("motion",)
        assert exported.predict({"motion": motion, "numbers": empty})["present"] == ["motion"]
        with pytest.raises(DataError, match="holds no modality"):
            predictor.predict({"numbers": empty})
        with pytest.raises(InputError, match="has no modality"):
            exported.predict({"numbers": empty})


def test_a_file_of_the_columns_numbers_is_the_vector(
    predictor: Predictor, expected: dict[str, float], tmp_path: Path
) -> None:
    np.save(tmp_path / "long.npy", np.array([65.4, 170, 2, 0, 1, 0]))
    np.save(tmp_path / "short.npy", np.array([65.4, np.nan, 2.0]))
    np.save(tmp_path / "row.npy", np.array([[65.4, 170, 2, 0, 1, 0]]))
    np.save(tmp_path / "other.npy", np.ones((2, 6)))
    for name in ("long.npy", "row.npy"):
        assert predictor.predict(tmp_path / name)[0].targets["mood"].probabilities == expected
    with pytest.raises(DataError, match=r"may be motion or numbers; say which: motion=short\.npy"):
        predictor.predict(tmp_path / "short.npy")
    named = predictor.predict({"numbers": tmp_path / "short.npy"})[0]
    assert named.targets["mood"].probabilities == expected
    with pytest.raises(DataError, match=r"numbers \(3 numbers: mass_kg, height_cm, speed\)"):
        predictor.predict(tmp_path / "other.npy")
    with pytest.raises(DataError, match=r"other\.npy: an array of shape \(2, 6\); one sample has one vector"):
        predictor.predict({"numbers": tmp_path / "other.npy"})


def test_what_is_no_number_is_told_with_its_column(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="column 'speed': str that is no number"):
        predictor.predict({"numbers": {"mass_kg": 1, "height_cm": 2, "speed": "3"}})
    with pytest.raises(DataError, match="column 'mass_kg': inf is no finite number"):
        predictor.predict({"numbers": [float("inf"), 2, 3]})
    many = {**dict.fromkeys(NAMES, 1), **{f"x{place}": 1 for place in range(1000)}}
    with pytest.raises(DataError, match="995 other names that are unknown"):
        predictor.predict({"numbers": many})


def test_an_empty_number_is_refused_where_none_was_empty_in_the_training(predictor: Predictor) -> None:
    stated = predictor.inputs.modalities["numbers"].model_copy(update={"fill": None, "marked": [], "shape": [3]})

    with pytest.raises(DataError, match="numbers: empty columns: speed; give every number of the vector"):
        convert_to_elements([1, 2, None], "numbers", stated)
    assert convert_to_elements([1, 2.5, 3], "numbers", stated).tolist() == [[1, 2.5, 3]]
    whole = stated.model_copy(update={"whole": True})
    assert convert_to_elements([np.int64(1), 2, 3], "numbers", whole).dtype == torch.int64
    with pytest.raises(DataError, match=r"column 'speed': 1000.* is over 64 bits"):
        convert_to_elements([1, 2, 10**19], "numbers", whole)
