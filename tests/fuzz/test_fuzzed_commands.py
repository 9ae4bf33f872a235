"""Any command line ends with a status: 0, or 2 and what is wrong in a screenful, never with a traceback."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random

import pytest
from damage import altered, damaged
from drawn_recipes import drawn_recipe
from small_runs import recipe
from trials import Trials

from fusionkit.cli import main
from fusionkit.errors import FusionKitError

COMMANDS = (
    *("check", "train", "evaluate", "experiment", "compare", "verify", "report", "diagnose", "stress", "prepare"),
    *("init", "list", "show", "recipes", "recipes show", "recipes copy", "nonsense", ""),
)
OPTIONS = ("--out", "--device", "--plugin", "--json", "--resume", "--fold", "--help", "--processes", "--dry-run", "--x")
WORDS = (
    *("", "-", "--", "=", "a", "a=b", "x" * 300, "nowhere.yaml", "..", "/", "\u00e9", "\n", "-1", "1e999", "nan"),
    *(
        "damaged.yaml",
        "damaged.json",
        "file/below",
        "~nobody_of_this_name",
        "$NOWHERE/x",
        "[",
        "{a",
        "!!python/name:os",
    ),
    *(
        "model.dropout=[",
        "train.epochs=nan",
        "data.batch_size=0",
        "model..=1",
        ".=",
        "a.b.c.d=1",
        "schema=2",
        "*",
        "cpu",
    ),
    *("encoder", "mlp", "encoders", "quickstart/recipe", "model.modalities={}", "model.targets.x.type=1", "--seed=1"),
)


def command(*arguments: str) -> None:
    """Runs a command; what it refuses is raised as our error."""
    said, status = io.StringIO(), 0
    try:
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            main(arguments)
    except SystemExit as left:
        status = int(left.code or 0)
    except FusionKitError as error:
        raise AssertionError(f"{arguments} ended with a traceback") from error
    if status == 2:
        assert "Traceback" not in said.getvalue()
        raise FusionKitError(said.getvalue())
    assert status == 0, f"{arguments} ended with {status}"


def test_a_recipe_that_is_altered_is_checked_or_refused_with_status_2(
    trials: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for chance in trials.cases(60):
        whole = drawn_recipe(chance) if chance.random() < 0.5 else recipe()
        Path("recipe.json").write_text(json.dumps(altered(whole, chance, chance.choice((1, 2)))))
        trials.attempt(lambda: command("check", "recipe.json", "--no-timing"))
    assert 0 < trials.refused < trials.tried


def test_a_command_of_any_words_ends_with_0_or_2(
    trials: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    for chance in trials.cases(100):
        whole = json.dumps(drawn_recipe(chance)).encode()
        Path("damaged.json").write_bytes(damaged(whole, chance)[: len(whole) // 2])
        Path("damaged.yaml").write_bytes(damaged(b"schema: 1\ndata: {dataset: nothing}\n", chance))
        arguments = words_of(chance)
        trials.attempt(lambda arguments=arguments: command(*arguments))
    assert 0 < trials.refused < trials.tried
    assert Path("file").read_text() == "mine"


def words_of(chance: Random) -> list[str]:
    """A command, and up to four words behind it."""
    given = chance.choice(COMMANDS).split() or [""]
    for _ in range(chance.randrange(5)):
        given.append(chance.choice(OPTIONS if chance.random() < 0.3 else WORDS))
    return given
