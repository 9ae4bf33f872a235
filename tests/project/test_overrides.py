"""Every class is an interface or final: none changes in secret what another one of ours does."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import fusionkit


def classes() -> Iterator[type]:
    """Yields every class that the package defines."""
    for module in pkgutil.walk_packages(fusionkit.__path__, "fusionkit."):
        if not module.name.endswith("__main__"):
            for found in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(found) and found.__module__ == module.name:
                    yield found


def overridden(found: type) -> list[str]:
    """Lists the private methods of a class that take the place of one of our own, which is not abstract."""
    return [
        f"{found.__module__}.{found.__name__}.{name} overrides that of {base.__name__}"
        for name, method in vars(found).items()
        if name.startswith("_") and not name.startswith("__") and callable(method)
        for base in found.__mro__[1:]
        if base.__module__.startswith("fusionkit.") and name in vars(base)
        if not getattr(vars(base)[name], "__isabstractmethod__", False)
    ]


def test_no_class_overrides_a_private_method_of_another() -> None:
    everything = list(classes())

    assert len(everything) > 100
    assert not [said for found in everything for said in overridden(found)]


def test_such_a_class_would_be_found() -> None:
    base = type("Learner", (), {"__module__": "fusionkit.here", "_forward": lambda self: 1})
    watched = type("WatchedLearner", (base,), {"__module__": "fusionkit.here", "_forward": lambda self: 2})

    assert overridden(watched) == ["fusionkit.here.WatchedLearner._forward overrides that of Learner"]
    assert not overridden(base)
