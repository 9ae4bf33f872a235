"""The page on exports does what it shows, and lists what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fusionkit
from fusionkit.inference.export import REFUSED, TrainedNetwork, export_onnx, find_form
from fusionkit.inference.export.forms import Padded, registry
from fusionkit.interfaces import ModalityInfo

PAGE = (Path(__file__).parents[2] / "docs" / "how_to" / "export.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_program_that_runs_an_export_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modalities = {name: {"shape": [3], "encoder": "mlp"} for name in ("accelerometer", "gyroscope")}
    targets = {"label": {"type": "classification", "classes": ["walk", "run"]}}
    model = fusionkit.build({"modalities": modalities, "targets": targets}).eval()
    infos = dict.fromkeys(modalities, ModalityInfo((3,), 50.0))
    export_onnx(TrainedNetwork(model, infos, unimodal=tuple(modalities)), tmp_path / "first_network")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["first_network"])
    known: dict[str, Any] = {}
    exec(compile(PROGRAMS[0], "export.md", "exec"), known)

    assert known["answer"]["targets"]["label"]["prediction"] in ("walk", "run")
    assert known["answer"]["present"] == ["accelerometer"]
    assert known["answers"][1]["branches"]["accelerometer"] == {"label": None}


def test_the_form_of_an_encoder_of_ones_own_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FORMS", dict(registry._FORMS))
    known: dict[str, Any] = {}
    exec(compile(PROGRAMS[1], "export.md", "exec"), known)
    form = find_form(known["Differences"](), "onnx")
    steps = torch.arange(4.0).square().reshape(1, 4, 1).expand(2, 4, 3)

    assert isinstance(form, nn.Module)
    assert form(Padded(steps, torch.tensor([4, 2]))).values[0, :, 0].tolist() == [0.0, 1.0, 3.0, 5.0]


def test_the_page_lists_what_is_refused() -> None:
    said = PAGE.split("<!-- refused -->")[1].split("<!-- end of refused -->")[0].strip()
    everything = "Every encoder, aggregator, fusion, loss head and transform of fusionkit can be exported."

    assert said == ("\n".join(f"- `{name}`: {reason}" for name, reason in REFUSED.items()) or everything)
