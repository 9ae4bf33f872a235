import re
from pathlib import Path

import pytest

from fusionkit.data.readers.limits import Limits, check_size, name_variable, read_limits
from fusionkit.errors import DataError

KINDS = ("pixels", "samples", "frames", "bytes", "table_bytes", "members")


def test_without_variables_the_documented_defaults_hold(monkeypatch):
    for kind in KINDS:
        monkeypatch.delenv(name_variable(kind), raising=False)

    assert read_limits() == Limits(10**8, 10**9, 500_000, 4 * 10**9, 10**9, 10**6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_sets_its_limit_and_no_other(kind, monkeypatch):
    monkeypatch.setenv(f"FUSIONKIT_MAX_{kind.upper()}", "1_234")

    limits = read_limits()

    assert getattr(limits, kind) == 1234
    assert all(getattr(limits, other) == getattr(Limits(), other) for other in KINDS if other != kind)


@pytest.mark.parametrize("kind", KINDS)
def test_what_reaches_a_limit_passes_and_one_more_is_refused_with_the_variable_that_raises_it(kind, monkeypatch):
    monkeypatch.setenv(name_variable(kind), "1000")
    check_size(kind, 1000, "a.file")

    with pytest.raises(DataError) as refused:
        check_size(kind, 1001, "a.file")

    what = "bytes" if kind == "table_bytes" else kind
    assert str(refused.value) == (
        f"a.file: holds 1,001 {what}, more than the limit of 1,000; if that is right, set the environment variable "
        f"FUSIONKIT_MAX_{kind.upper()} to 1001 or more"
    )


@pytest.mark.parametrize("text", ["0", "-5", "1e9", "4 GB", "0.5", "_1", " "])
def test_a_variable_that_holds_no_positive_whole_number_is_refused_by_name(text, monkeypatch):
    monkeypatch.setenv("FUSIONKIT_MAX_BYTES", text)
    monkeypatch.setenv("FUSIONKIT_MAX_FRAMES", "many")

    with pytest.raises(DataError) as refused:
        read_limits()

    assert f"FUSIONKIT_MAX_BYTES: the environment variable holds {text!r}; a whole number above 0" in str(refused.value)
    assert "FUSIONKIT_MAX_FRAMES: the environment variable holds 'many'" in str(refused.value)


def test_the_page_on_files_states_every_limit_and_its_default():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")

    for kind in KINDS:
        assert re.search(rf"^\| `{name_variable(kind)}` \|.*\| {getattr(Limits(), kind):,} \|$", page, re.MULTILINE), (
            kind
        )
