"""The table of pretrained networks, which the command prints without a network."""

from __future__ import annotations

import re
from typing import Any

from fusionkit.config.components.registry import ENCODERS


def test_checkpoints_are_listed_with_the_encoder_that_takes_them(command: Any) -> None:
    listed = command("list", "encoder", "--checkpoints", "--json").record

    assert len(listed) >= 30
    assert len({each["model"] for each in listed}) == len(listed)
    assert {each["encoder"] for each in listed} == {name for name in ENCODERS.names() if name.startswith("hf_")}
    for each in listed:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", each["model"])
        assert all(each.values())


def test_the_table_names_models_licences_and_purposes(command: Any) -> None:
    out = command("list", "encoder", "--checkpoints").out

    for said in ("openai/whisper-tiny", "8.2 M", "Apache-2.0", "CC BY-NC 4.0", "for"):
        assert said in out


def test_other_kinds_have_no_checkpoints(command: Any) -> None:
    ended = command("list", "fusion", "--checkpoints")

    assert ended.status == 2
    assert "fusion has none; write `fusionkit list encoder --checkpoints`" in ended.err
