"""YAML without its traps."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.config.yaml import MAX_DEPTH, read_yaml, write_yaml
from fusionkit.errors import RecipeError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=12,
)


FILES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))
PIECES = st.sampled_from(
    [
        *"a1:-?[]{},&*!|>'\"%@`#\\ \n\t\ufeffé",
        "a: ",
        "- ",
        "\n  ",
        "\n    ",
        "&a ",
        "*a",
        "? ",
        "---\n",
        "|1\n ",
        ">-\n  ",
    ]
)


def readings(text: str) -> list[object]:
    """Reads a text with libyaml and with PyYAML's own parser: values with their types and lines, or the refusal."""
    read: list[object] = []
    for fast in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yaml, "__with_libyaml__", fast)
            try:
                document = read_yaml(text, "recipe.yaml")
                read.append((repr(document.value), document.lines))
            except RecipeError as error:
                read.append(str(error))
    return read


def refusal(text: str) -> str:
    with pytest.raises(RecipeError) as error:
        read_yaml(text, "recipe.yaml")
    return str(error.value)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("1e-3", 0.001),
        ("5.0e-5", 5e-5),
        (".5", 0.5),
        ("-1", -1),
        ("12345678901234567890123", 12345678901234567890123),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
    ],
)
def test_numbers_and_constants_are_read_as_yaml_1_2_reads_them(scalar, value):
    read = read_yaml(f"key: {scalar}", "").value["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "scalar", ["1:30", "yes", "No", "on", "OFF", "2020-01-01", "0x10", "0o7", "1_000", "1.2.3", "2001-12-14t21:59:43Z"]
)
def test_what_only_yaml_1_1_takes_for_numbers_dates_and_booleans_is_text(scalar):
    assert read_yaml(f"key: {scalar}", "").value == {"key": scalar}


def test_quoted_numbers_are_text():
    assert read_yaml("a: '1'\nb: \"true\"\nc: |\n  12\n", "").value == {"a": "1", "b": "true", "c": "12\n"}


def test_every_duplicate_key_is_reported_with_both_of_its_lines():
    text = "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n"
    with pytest.raises(RecipeError) as error:
        read_yaml(text, "recipe.yaml")
    assert [str(problem) for problem in error.value.problems] == [
        "line 5: the key 'c' stands here and in line 3; keep one of them",
        "line 6: the key 'a' stands here and in line 1; keep one of them",
    ]


def test_a_key_that_differs_only_in_quotes_is_a_duplicate():
    assert "the key 'a' stands here and in line 1" in refusal('a: 1\n"a": 2\n')


def test_the_line_of_every_key_and_list_item_is_known():
    lines = read_yaml("a:\n  - x\n  - y: 1\n\nb: {c: 2}\n", "").lines
    assert lines["a",] == 1
    assert lines["a", 0] == 2
    assert lines["a", 1, "y"] == 3
    assert lines["b", "c"] == 5


@pytest.mark.parametrize(
    "text", ["a: !!python/object/apply:os.system ['true']", "a: !mine 1", "a: !!int '1'", "!!map {a: 1}"]
)
def test_tags_are_refused(text):
    assert "line 1: the tag" in refusal(text)
    assert "plain data, without tags" in refusal(text)


def billion_laughs(shape: str) -> str:
    lines = [f"a0: &a0 {shape.format(*['ha'] * 9)}"]
    for level in range(1, 12):
        lines.append(f"a{level}: &a{level} {shape.format(*[f'*a{level - 1}'] * 9)}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "bomb",
    [
        billion_laughs("[{}, {}, {}, {}, {}, {}, {}, {}, {}]"),
        billion_laughs("{{a: {}, b: {}, c: {}, d: {}, e: {}, f: {}, g: {}, h: {}, i: {}}}"),
        "a: &a " + "x" * 100_000 + "\nb: [" + ", ".join(["*a"] * 1000) + "]",
    ],
    ids=["lists", "mappings", "long text"],
)
def test_aliases_that_multiply_are_refused_at_once(bomb):
    start = time.process_time()
    assert "aliases spelt out" in refusal(bomb)
    assert time.process_time() - start < 2.0


def test_aliases_cannot_nest_deeper_than_the_text_may():
    wrapped = "*x{}"
    lines = ["x0: &x0 1"]
    for level in range(1, 200):
        lines.append(f"x{level}: &x{level} " + "[" * 20 + wrapped.format(level - 1) + "]" * 20)
    assert f"line 3: nested deeper than {MAX_DEPTH} levels" in refusal("\n".join(lines))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "], ids=["lists", "mappings", "dashes"])
def test_ten_thousand_levels_are_refused_without_exhausting_the_stack(opening):
    assert f"nested deeper than {MAX_DEPTH} levels" in refusal(opening * 10_000)


def test_an_alias_stands_for_a_copy_of_what_it_names():
    value = read_yaml("a: &x {k: [1]}\nb: *x\n", "").value
    assert value == {"a": {"k": [1]}, "b": {"k": [1]}}
    value["a"]["k"].append(2)
    assert value["b"] == {"k": [1]}


def test_an_alias_that_contains_itself_is_refused():
    assert "the alias *a stands for nothing before it" in refusal("a: &a [*a]")


@pytest.mark.parametrize("text", ["a: &x b\n*x : 1", "? [a]\n: 1", "? {a: 1}\n: 2"])
def test_collections_and_aliases_as_keys_are_refused(text):
    assert "as a key; keys are plain words" in refusal(text)


def test_a_second_document_is_refused_with_its_line():
    assert refusal("a: 1\n---\nb: 2\n") == "recipe.yaml: line 2: a second document; one file holds one document"


def test_tabs_are_refused_with_line_and_column():
    assert "line 2, column 1: not YAML: found character '\\t'" in refusal("a:\n\tb: 1\n")


def test_what_is_no_yaml_is_refused_with_its_line():
    assert "recipe.yaml: line 2, column 9: not YAML" in refusal("a: 1\nb: 'open")


def test_a_character_that_text_may_not_hold_is_refused_with_its_line():
    assert refusal("a: 1\nb: \x00") == "recipe.yaml: line 2: not YAML: the character '\\x00' is not allowed"


@given(st.dictionaries(st.text(), PLAIN, max_size=5))
def test_what_is_written_is_read_back(value):
    assert read_yaml(write_yaml(value), "").value == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_written_as_a_number(number):
    read = read_yaml(write_yaml({"x": number}), "").value["x"]
    assert isinstance(read, float)
    assert read == number


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', f"%YAML 1.{'1' * 5000}\n---\na: 1"], ids=["escape", "version"])
def test_what_the_parser_itself_stumbles_over_is_refused(text):
    assert refusal(text).startswith("recipe.yaml: not YAML")


@given(st.text(alphabet=st.sampled_from("ab:-?[]{},&*!|>'\"%@`# \n\\xU1"), max_size=40))
def test_any_text_is_read_or_refused_with_a_message(text):
    message = ""
    try:
        read_yaml(text, "recipe.yaml")
    except RecipeError as error:
        message = str(error)
    assert message.startswith("recipe.yaml") or not message


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_both_parsers_read_every_shipped_recipe_alike(file):
    fast, slow = readings(file.read_text(encoding="utf-8"))
    assert fast == slow
    assert isinstance(fast, tuple)


@given(st.dictionaries(st.text(), PLAIN, max_size=5))
def test_both_parsers_read_what_is_written_alike(value):
    fast, slow = readings(write_yaml(value))
    assert fast == slow


@given(st.lists(PIECES, max_size=30).map("".join))
def test_both_parsers_read_any_text_alike_or_refuse_it_in_the_same_words(text):
    fast, slow = readings(text)
    assert fast == slow


@pytest.mark.parametrize(
    "text",
    ["a: 1\t", "a: >#\n  b", "a: !", "[1?@|]", "[x, ? \n]", "a: 1\n\ufeff"],
    ids=["tab", "block header", "tag", "key in a list", "line of an empty key", "byte order mark"],
)
def test_what_libyaml_reads_otherwise_is_left_to_the_other_parser(text):
    fast, slow = readings(text)
    assert fast == slow


def test_a_recipe_is_parsed_by_libyaml(monkeypatch):
    monkeypatch.delattr(yaml, "SafeLoader")
    recipe = Path(__file__).parents[2] / "recipes" / "quickstart" / "recipe.yaml"
    assert read_yaml(recipe.read_text(encoding="utf-8"), "").value["schema"] == 1
