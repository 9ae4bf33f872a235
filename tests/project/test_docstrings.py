"""Docstrings are read aloud: functions say what they do, and nothing begins with a question word."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from fusionkit.cli import app

PACKAGE = Path(__file__).parents[2] / "fusionkit"
QUESTIONS = {"How", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"}
#: First words that end like a verb in the third person and are none.
NO_VERBS = {"Always", "As", "Classes", "Its", "Less", "Numbers", "Sometimes", "This", "Thus", "Towards"}
ROOMS = sorted(each.name for each in PACKAGE.iterdir() if each.suffix == ".py" or (each / "__init__.py").is_file())


def docstrings(room: str) -> Iterator[tuple[str, ast.AST, str]]:
    """Yields the place, the node and the first word of every docstring below a room."""
    files = [PACKAGE / room] if room.endswith(".py") else sorted((PACKAGE / room).rglob("*.py"))
    assert files, room
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    place = f"{file.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 1)}"
                    yield place, node, text.split()[0].rstrip(".,:")


def is_property(node: ast.AST) -> bool:
    """Says whether a function is read like an attribute, whose docstring is a noun."""
    names = [ast.unparse(each) for each in getattr(node, "decorator_list", ())]
    return any(name.endswith(("property", ".setter")) for name in names)


@cache
def commands() -> set[str]:
    """Finds the functions whose docstring is the text of ``--help``, which tells the user what to do."""
    apps = [app, *(group.typer_instance for group in app.registered_groups)]
    registered = [each.callback for of in apps for each in (*of.registered_commands, of.registered_callback) if each]
    functions = [inspect.unwrap(callback) for callback in registered if callback]
    return {f"{function.__module__.replace('.', '/')}.py:{function.__name__}" for function in functions}


def is_command(place: str, node: ast.AST) -> bool:
    """Says whether a function is a command; a module ``x/__init__.py`` is the package ``x``."""
    file = place.partition(":")[0].replace("/__init__.py", ".py")
    return f"{file}:{getattr(node, 'name', '')}" in commands()


def begins_with_a_verb(word: str) -> bool:
    """Says whether a word can be a verb in the third person, as in "Returns"."""
    return word.endswith("s") and not word.endswith("ss") and word.isalpha() and word not in NO_VERBS


@pytest.mark.parametrize("room", ROOMS)
def test_functions_begin_with_a_verb_and_nothing_with_a_question_word(room: str) -> None:
    wrong = [
        f"{place}: {word}"
        for place, node, word in docstrings(room)
        if word in QUESTIONS
        or (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and not is_property(node)
            and not is_command(place, node)
            and not begins_with_a_verb(word)
        )
    ]

    assert not wrong, "\n".join(wrong)


def test_the_rule_tells_verbs_from_what_is_none() -> None:
    assert all(map(begins_with_a_verb, ("Returns", "Draws", "Says", "Yields")))
    assert not any(map(begins_with_a_verb, ("The", "A", "What", "Class", "Return", "Numbers", "``x``s")))
