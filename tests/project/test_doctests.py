"""Every example of every docstring is run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import fusionkit

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fusionkit.__path__, "fusionkit.")
    if "cli" not in module.name.split(".") and not module.name.endswith("__main__")
)


def test_modules_are_found():
    assert "fusionkit.nn.layers" in MODULES
    assert "fusionkit.models.encoders.conv1d" in MODULES


#: Modules whose examples build a pretrained network: one process imports transformers for all of them.
PRETRAINED = [f"fusionkit.models.encoders.pretrained.{name}" for name in ("audio", "text", "video", "vision")]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xdist_group("transformers")) if name in PRETRAINED else name
        for name in MODULES
    ],
)
def test_the_examples_of_the_docstrings_hold(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"torch": torch}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
