"""What the fuzz tests share: how long each goes on, and how many cases were tried."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from trials import MINUTES, Trials


@pytest.fixture
def trials(request: pytest.FixtureRequest, record_property: Any) -> Iterator[Trials]:
    """The trials of one test; its share of the time is that of every other."""
    several = sum("trials" in getattr(item, "fixturenames", ()) for item in request.session.items)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    made = Trials(request.node.name.removeprefix("test_"), 60 * MINUTES * workers / several)
    yield made
    record_property("fuzz", {"file": request.node.path.name, **made.figures()})
    if made.broken:
        pytest.fail("\n".join(made.broken.values()), pytrace=False)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says how many cases were tried and refused."""
    reports = [report for stat in ("", "error") for report in terminalreporter.getreports(stat)]  # those of teardowns
    found = [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == "fuzz"]
    if not found:
        return
    terminalreporter.section("cases")
    for each in sorted(found, key=lambda each: each["name"]):
        line = "{tried:>8,} tried {refused:>8,} refused  longest {longest:6.2f} s  {name}"
        terminalreporter.write_line(line.format(**each))
    tried, refused = (sum(each[key] for each in found) for key in ("tried", "refused"))
    terminalreporter.write_line(f"{tried:>8,} tried {refused:>8,} refused  altogether")
