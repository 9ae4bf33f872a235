"""Docstrings are read aloud: functions say what they do, and nothing begins with a question word.

A string below a constant or an attribute is a docstring too.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
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
        for node, text in documented(ast.parse(file.read_text(encoding="utf-8"))):
            place = f"{file.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 1)}"
            yield place, node, text.split()[0].rstrip(".,:")


def documented(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yields what has a docstring: modules, classes, functions, and assignments with a string below them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node, text
        body = getattr(node, "body", None)
        for above, below in pairwise(body if isinstance(body, list) else ()):
            string = below.value if isinstance(below, ast.Expr) else None
            assigned = isinstance(above, ast.Assign | ast.AnnAssign)
            if assigned and isinstance(string, ast.Constant) and isinstance(string.value, str):
                yield above, string.value


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


def test_strings_below_constants_and_attributes_are_seen() -> None:
    text = 'A = 1\n"""How many."""\nclass C:\n    b: int = 2\n    """What it is."""\n    c = 3\n'

    assert [below for _, below in documented(ast.parse(text))] == ["How many.", "What it is."]
