"""The README of a shared network in words for a recipient, and only with figures that may be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from served_networks import draw_calibrated_network
from small_predictors import make_vector_predictor

from fusionkit.inference.publication.readme import Shared, write_readme
from fusionkit.storage.records.calibration import Calibration, Held
from fusionkit.storage.records.document import Figure
from fusionkit.storage.records.inputs import Inputs


def write(dataset: str, inputs: Inputs | None = None, calibration: Calibration | None = None) -> str:
    recipe: Mapping[str, Any] = {
        "data": {"dataset": {"type": dataset}},
        "model": {"targets": {"mood": {"classes": ["calm", "sad"]}}, "fusion": "concat"},
    }
    taken = make_vector_predictor().inputs if inputs is None else inputs
    return write_readme(Shared(dict(recipe), taken, "fused", [], calibration, 1))


def test_it_names_the_columns_of_a_vector_in_order_and_what_empty_ones_become() -> None:
    text = write("manifest")

    assert "| numbers | 3 numbers: mass_kg, height_cm, speed | - |" in text
    assert (
        "`numbers` is given as a list of its numbers, in this order, or by their names. Empty ones are filled (mass_kg "
        "with 70, height_cm with 170, speed with 1.5), and the network is told which were empty, but for mass_kg, "
        "which never was in training."
    ) in text
    inputs = make_vector_predictor().inputs
    bare = inputs.modalities["numbers"].model_copy(update={"fill": None, "marked": [], "shape": [3]})
    modalities = {**inputs.modalities, "numbers": bare}
    assert "None of them may be empty." in write("manifest", inputs.model_copy(update={"modalities": modalities}))


def test_a_table_of_the_author_is_not_called_by_the_name_of_its_reader() -> None:
    text = write("manifest")

    assert "manifest" not in text
    assert "- Data: a table of the author's own: *to be filled in by the author*" in text
    assert "- Data: `ravdess`\n" in write("ravdess")


def test_it_tells_the_coverage_of_six_test_groups_and_more() -> None:
    drawn = draw_calibrated_network().calibrator.calibration
    assert drawn is not None

    def hold(groups: int, value: float) -> Held:
        coverage = Figure(value=value, low=0.5, high=1.0)
        return Held(samples=20, groups=groups, own=True, coverage=coverage, size=[1.5])

    held = {"all": hold(9, 0.912), "motion": hold(6, 0.834), "posture": hold(5, 0.777)}
    text = write("manifest", calibration=drawn.model_copy(update={"held": {"fused": {"mood": held}}}))

    assert "91.2 % (50.0 to 100.0)" in text
    assert "83.4 %" in text
    assert "| mood | posture | 20 | 5 | too few groups to tell | 1.5 |" in text
    assert "- Calibration on other modalities than: motion." in text
