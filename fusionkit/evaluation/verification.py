"""Whether a card's figures hold: the stored weights are evaluated again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionkit.errors import RunError
from fusionkit.evaluation.card import FORMAT, make_card
from fusionkit.runs import RunFolder

TOLERANCE = 1e-5

HASHES = ("recipe_sha256", "weights_sha256", "protocol.split_hash")


@dataclass(frozen=True)
class Finding:
    """One statement of a card, and what was found instead.

    Args:
        what: Its place in the card.
        stated: What the card says.
        found: What the evaluation gives.
        holds: Whether the two agree.
    """

    what: str
    stated: Any
    found: Any
    holds: bool


@dataclass(frozen=True)
class Verification:
    """Every statement of a card that was checked.

    Args:
        card: The card.
        run: The run folder.
        tolerance: How far two figures may lie apart and still agree; hashes and counts agree exactly.
        findings: What was checked: hashes first, then figures.
    """

    card: Path
    run: Path
    tolerance: float
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether every statement holds."""
        return all(finding.holds for finding in self.findings)

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The statements that do not hold."""
        return tuple(finding for finding in self.findings if not finding.holds)

    def plain(self) -> dict[str, Any]:
        """The verification as plain data."""
        return {
            "card": str(self.card),
            "run": str(self.run),
            "tolerance": self.tolerance,
            "holds": self.holds,
            "findings": [vars(finding) for finding in self.findings],
        }


def verify(
    card: str | Path, run: str | Path | None = None, *, tolerance: float = TOLERANCE, device: str | None = None
) -> Verification:
    """Evaluates the stored weights of a card again and says which statements hold.

    Checked are the hashes of recipe, weights and split, the number of samples of every branch, and every figure. On
    the machine that made the card figures agree to the last bit; another processor or a GPU adds in another order,
    which the tolerance allows for.

    Args:
        card: A ``metrics.json``, or the run folder that holds one.
        run: The run folder; that of the card when left out.
        tolerance: How far two figures may lie apart, absolutely.
        device: Where to compute; a GPU where there is one, when left out.

    Raises:
        RunError: The card or the run cannot be read, or the card is of another format.
    """
    path = Path(card)
    path = RunFolder(path).metrics_file if path.is_dir() else path
    stated = _read(path)
    folder = RunFolder.open(path.parent if run is None else run)
    if stated.get("format") != FORMAT:
        raise RunError(f"{path}: a card of format {stated.get('format')!r}; this version reads format {FORMAT}")
    try:
        found, _ = make_card(folder, device=device, resamples=1)
    except RunError as error:
        damage = Finding("weights", _at(stated, "weights_sha256"), str(error), holds=False)
        return Verification(path, folder.path, tolerance, (damage,))
    findings = [_exact(what, _at(stated, what), _at(found, what)) for what in HASHES]
    figures, again = dict(_figures(stated)), dict(_figures(found))
    for what in {**figures, **again}:
        findings.append(_compare(what, figures.get(what), again.get(what), tolerance))
    return Verification(path, folder.path, tolerance, tuple(findings))


def _figures(card: Mapping[str, Any]) -> Iterator[tuple[str, float | int | None]]:
    for target, of_target in card["targets"].items():
        for branch, described in of_target["branches"].items():
            place = f"targets.{target}.{branch}"
            yield f"{place}.samples", described["samples"]
            for name, figure in described["metrics"].items():
                yield f"{place}.{name}", figure["value"]


def _compare(what: str, stated: float | None, found: float | None, tolerance: float) -> Finding:
    if what.endswith(".samples") or stated is None or found is None:
        return _exact(what, stated, found)
    return Finding(what, stated, found, holds=abs(stated - found) <= tolerance)


def _exact(what: str, stated: Any, found: Any) -> Finding:
    return Finding(what, stated, found, holds=stated == found)


def _at(card: Mapping[str, Any], path: str) -> Any:
    value: Any = card
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as a card ({error})") from None
    if not isinstance(card, dict) or not isinstance(card.get("targets"), dict):
        raise RunError(f"{path}: is no card; a card is the metrics.json of a run")
    return card
