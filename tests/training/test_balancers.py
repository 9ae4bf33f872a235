"""The sum of loss terms."""

from __future__ import annotations

import pytest
import torch

from fusionkit.config.components.registry import BALANCERS
from fusionkit.errors import RecipeError
from fusionkit.interfaces import Step
from fusionkit.training.balancers import MultiTerm

STEP = Step(0, 0, 1, None, {}, ())
TERMS = {
    "fused/emotion": torch.tensor(1.0),
    "fused/age": torch.tensor(2.0),
    "audio/emotion": torch.tensor(3.0),
    "audio/age": torch.tensor(5.0),
    "video/emotion": torch.tensor(7.0),
    "video/age": torch.tensor(11.0),
}


def weighed(**options):
    balancer = BALANCERS.build("multi_term", ("audio", "video"), ("emotion", "age"), **options)
    return {name: float(value) for name, value in balancer.weigh(TERMS, STEP).items()}


def test_without_weights_the_total_is_the_plain_sum():
    assert sum(weighed().values()) == 29.0


def test_the_weights_that_apply_to_a_term_are_multiplied():
    found = weighed(weights={"audio": 2.0, "age": 3.0, "audio/age": 10.0}, fused_weight=0.5)
    assert found == {
        "fused/emotion": 0.5,
        "fused/age": 0.5 * 3 * 2,
        "audio/emotion": 2 * 3,
        "audio/age": 2 * 3 * 10 * 5,
        "video/emotion": 7,
        "video/age": 3 * 11,
    }


def test_only_the_terms_of_a_stage_are_weighed():
    balancer = MultiTerm(("audio",), ("emotion",), weights={"audio": 2.0})
    assert dict(balancer.weigh({"audio/emotion": torch.tensor(3.0)}, STEP)) == {"audio/emotion": torch.tensor(6.0)}


def test_every_weight_that_belongs_to_nothing_is_named_with_what_would_be_right():
    with pytest.raises(RecipeError) as caught:
        MultiTerm(("audio", "video"), ("emotion",), weights={"vidoe": 1.0, "audio/emotoin": 1.0, "audio": 1.0})
    assert "weights.vidoe: no modality, target or modality/target; did you mean 'video'" in str(caught.value)
    assert "weights.audio/emotoin" in str(caught.value)
    assert len(caught.value.problems) == 2


def test_a_negative_weight_is_refused():
    with pytest.raises(RecipeError, match="a number of at least 0"):
        weighed(weights={"audio": -1.0})


def test_hooks_that_are_not_overridden_are_not_called():
    balancer = MultiTerm(("audio",), ("emotion",))
    hooks = ("gradient_scales", "replace_features", "sample_weights", "plan", "combine")
    assert not any(balancer.uses(hook) for hook in hooks)
