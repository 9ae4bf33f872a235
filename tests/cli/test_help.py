"""The help of the commands that use a network: one order and one wording of options, and examples that parse."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main

from fusionkit.cli import app

COMMANDS = ("predict", "timeline", "live", "serve", "export", "share", "calibrate", "init", "evaluate")
SAME_WORDS = (
    *("variant", "fold", "seed", "branch", "branches", "figure", "vtt", "overlay"),
    *("overwrite", "plugins", "device", "as_json"),
)
OWN_ORDER = {"window"}
"""What `serve` says of its clients' windows stands with its other limits."""


def options_of(name: str) -> dict[str, Any]:
    parameters = typer.main.get_command(app).commands[name].params
    return {each.name: each for each in parameters if each.param_type_name == "option" and each.name != "help"}


def test_options_of_one_name_stand_in_one_order_everywhere():
    before: dict[tuple[str, str], str] = {}
    for name in COMMANDS:
        order = [each for each in options_of(name) if each not in OWN_ORDER]
        for place, first in enumerate(order):
            for second in order[place + 1 :]:
                assert (second, first) not in before, f"{name}: {first} before {second}; {before[second, first]} not"
                before[first, second] = name
    assert len(before) > 100


def test_options_of_one_name_have_the_same_words_everywhere():
    for option in SAME_WORDS:
        words = {name: options_of(name)[option].help for name in COMMANDS if option in options_of(name)}
        assert len(words) > 1 or option in ("overlay", "vtt", "figure")
        assert len(set(words.values())) == 1, words


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples_that_parse_and_fits_80_columns(name: str, command: Any):
    ended = command(name, "--help")

    assert ended.status == 0
    assert max(map(len, ended.out.splitlines())) <= 80
    examples = re.findall(r"^ *fusionkit (.*)$", ended.out.partition("Examples:")[2], re.MULTILINE)
    assert ended.out.rstrip().endswith(examples[-1])
    assert len(examples) >= 2
    for example in examples:
        first, *arguments = shlex.split(example)
        assert first == name
        typer.main.get_command(app).commands[name].make_context(name, arguments)


def test_every_option_that_takes_a_path_or_a_share_says_what_it_takes():
    for name in COMMANDS:
        for option in options_of(name).values():
            if option.name in ("root", "out", "every", "window", "level", "token_file", "data", "group"):
                assert option.metavar, f"{name}: {option.opts}"
