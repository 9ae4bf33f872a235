"""The display of an examination, in 80 columns or as JSON, with nothing but Python's own modules."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator

from fusionkit.execution.doctor.examination import Check, examine, is_well

NOT_WELL = 1

_WIDTH, _MARGIN = 80, 8


def show_examination(*, as_json: bool) -> int:
    """Examines, prints what is found, and returns the status: 1 where something is broken, else 0."""
    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            print("\n".join(_describe(check)), flush=True)
    well = is_well(checks)
    if as_json:
        print(json.dumps({"well": well, "checks": [check.plain() for check in checks]}, indent=2, ensure_ascii=False))
        return 0 if well else NOT_WELL
    count = {status: sum(check.status == status for check in checks) for status in ("broken", "absent")}
    absent = f"{count['absent']} absent, which only what they are for misses."
    sys.stdout.write(f"\n{count['broken'] or 'Nothing'} broken, {absent}\n")
    return 0 if well else NOT_WELL


def _describe(check: Check) -> Iterator[str]:
    """Describes a check; what needs it and what to do stand below where it is not well."""
    yield from _wrap(f"{check.name} {check.found}", check.status)
    if check.status != "ok" and check.needed_for:
        yield from _wrap(f"needed for {check.needed_for}")
    if check.remedy:
        yield from _wrap(f"-> {check.remedy}")


def _wrap(text: str, first: str = "") -> list[str]:
    """Wraps a text to 80 columns behind a margin, a long message cut to a few lines."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{first:<{_MARGIN}}",
        subsequent_indent=" " * _MARGIN,
        break_on_hyphens=False,
        max_lines=6,
        placeholder=" ...",
    )
