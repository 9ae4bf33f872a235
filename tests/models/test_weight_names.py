"""Weights that were saved before still load: parts that share their code keep the names and shapes of their tensors."""

from __future__ import annotations

from typing import Any

import pytest

from fusionkit.config.components.registry import AGGREGATORS, FUSIONS, LOSS_HEADS

WIDTHS = {"audio": 2, "video": 3}
NAMES = ("a", "b", "c")


def recurrent(gates: int, *, both_ways: bool) -> dict[str, tuple[int, ...]]:
    """Returns the tensors of one recurrent layer of width 4 that reads vectors of 5, as torch names them."""
    shapes = {
        "weight_ih": (4 * gates, 5),
        "weight_hh": (4 * gates, 4),
        "bias_ih": (4 * gates,),
        "bias_hh": (4 * gates,),
    }
    ends = ("_l0", "_l0_reverse") if both_ways else ("_l0",)
    return {f"state.network.{name}{end}": shape for name, shape in shapes.items() for end in ends}


def linears(name: str, shapes: list[tuple[int, int]], *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    """Returns the tensors of dense units in a row."""
    weights = {f"{name}.{place}.weight": shape for place, shape in enumerate(shapes)}
    return weights | ({f"{name}.{place}.bias": shape[:1] for place, shape in enumerate(shapes)} if bias else {})


TO_THREE = [(3, 2), (3, 3)]
CASES: list[tuple[Any, str, tuple[Any, ...], dict[str, Any], dict[str, tuple[int, ...]]]] = [
    (AGGREGATORS, "lstm", (5,), {"hidden": 4}, recurrent(4, both_ways=False)),
    (AGGREGATORS, "bilstm", (5,), {"hidden": 4}, recurrent(4, both_ways=True)),
    (AGGREGATORS, "gru", (5,), {"hidden": 4}, recurrent(3, both_ways=False)),
    (AGGREGATORS, "gru", (5,), {"hidden": 4, "bidirectional": True}, recurrent(3, both_ways=True)),
    (FUSIONS, "sum", (WIDTHS,), {}, linears("projections", TO_THREE)),
    (FUSIONS, "weighted_sum", (WIDTHS,), {}, linears("projections", TO_THREE) | {"logits": (2,)}),
    (FUSIONS, "gated", (WIDTHS,), {}, linears("values", TO_THREE, bias=False) | {"gates.0.weight": (3, 5)}),
    (LOSS_HEADS, "classification", (5, None), {"classes": NAMES}, {"scores.weight": (3, 5), "scores.bias": (3,)}),
    (
        LOSS_HEADS,
        "mmcosine",
        (5, None, (2, 3)),
        {"classes": NAMES},
        {"directions.0": (3, 2), "directions.1": (3, 3)},
    ),
    (
        LOSS_HEADS,
        "ordinal",
        (5, None),
        {"classes": NAMES},
        {"position.weight": (1, 5), "position.bias": (1,), "lowest": (), "increments": (1,)},
    ),
    (
        LOSS_HEADS,
        "concordance",
        (5, None),
        {},
        {"scores.weight": (1, 5), "scores.bias": (1,), "scaling.location": (1,), "scaling.spread": (1,)},
    ),
]


@pytest.mark.parametrize(("registry", "name", "wired", "options", "expected"), CASES)
def test_the_tensors_of_a_component_have_the_names_and_shapes_that_they_always_had(
    registry: Any, name: str, wired: tuple[Any, ...], options: dict[str, Any], expected: dict[str, tuple[int, ...]]
) -> None:
    component = registry.build(name, *wired, **options)

    assert {key: tuple(tensor.shape) for key, tensor in component.state_dict().items()} == expected


def test_attention_projects_each_modality_with_a_bias() -> None:
    fusion = FUSIONS.build("attention", WIDTHS, width=4, heads=2)

    found = {key: tuple(of.shape) for key, of in fusion.state_dict().items() if key.startswith("projections")}
    assert found == linears("projections", [(4, 2), (4, 3)])
