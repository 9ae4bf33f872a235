"""What a user does not need may be missing: nothing but what needs it fails, and that by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import recipe

MISSING = ("av", "soundfile", "PIL", "timm", "torchaudio", "torchvision", "dlib", "pyarrow", "matplotlib", "jinja2")

RUN = """
import sys
from fusionkit.cli import main
main(sys.argv[1:])
"""
WITHOUT = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {MISSING!r}:
            raise ModuleNotFoundError(f"no module {{name}}", name=name)
sys.meta_path.insert(0, Missing())
{RUN}
"""


def ended(*arguments: object, script: str = WITHOUT) -> tuple[int, str]:
    """A command where none of these packages can be imported; gives its status and what it says."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout + done.stderr


def test_a_training_of_vectors_needs_none_of_the_packages_for_media(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe(epochs=1)))

    status, said = ended("check", tmp_path / "recipe.json")

    assert status == 0, said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package"), [("a.wav", "soundfile"), ("a.png", "PIL"), ("a.parquet", "pyarrow"), ("a.mp3", "av")]
)
def test_what_needs_a_package_that_is_missing_says_which_and_ends_with_status_2(
    name: str, package: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"RIFF" + bytes(100))
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"x": name, "y": label}) for label in "abab"))
    table = tmp_path / (name if package == "pyarrow" else "rows.jsonl")
    dataset = {"type": "manifest", "path": str(table), "modalities": {"x": "x"}, "targets": ["y"]}
    options = recipe(
        data={"dataset": dataset},
        model={"modalities": {"x": {"encoder": "mlp"}}, "targets": {"y": "classification"}},
    )
    (tmp_path / "recipe.json").write_text(json.dumps(options))

    status, said = ended("check", tmp_path / "recipe.json")

    assert status == 2, said
    assert "Traceback" not in said
    assert package in said


def test_a_package_that_does_not_fit_another_is_told_with_the_command_that_knows_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchaudio").mkdir()
    message = "Detected that PyTorch and TorchAudio were compiled with different CUDA versions."
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise RuntimeError({message!r})")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    options = recipe(model={"modalities": {"motion": {"encoder": "mlp"}, "posture": {"encoder": "mlp"}}})
    modalities = {"audio": {"shape": [], "encoder": ["log_mel", "mlp"]}}
    targets = {"label": {"type": "classification", "classes": ["a", "b"]}}
    options["model"] = {"modalities": modalities, "targets": targets}
    (tmp_path / "recipe.json").write_text(json.dumps(options))

    status, said = ended("check", tmp_path / "recipe.json", script=RUN)

    assert status == 2, said
    assert said == f"fusionkit: torchaudio cannot be imported ({message}); `fusionkit doctor` says what to do\n"
