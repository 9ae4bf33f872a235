"""The packages that fusionkit imports, what each is for, and which versions will do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires

DISTRIBUTION = "fusionkit-multimodal"


@dataclass(frozen=True)
class Package:
    """A package and what needs it.

    Args:
        module: The name in an import statement.
        distribution: The name for pip.
        needed_for: The commands and components that need it.
        extra: The extra that brings it; empty where an ordinary installation does.
        beside: Packages that it cannot be imported without.
    """

    module: str
    distribution: str
    needed_for: str
    extra: str = ""
    beside: tuple[str, ...] = ()


_TORCH = ("torch",)
_FILMS = "films, mp3, m4a: prepare, demo"

PACKAGES = (
    Package("numpy", "numpy", "every command but --help"),
    Package("torch", "torch", "every command but --help"),
    Package("pydantic", "pydantic", "every command but --help"),
    Package("pydantic_core", "pydantic-core", "every command but --help"),
    Package("yaml", "PyYAML", "every recipe"),
    Package("jaxtyping", "jaxtyping", "every network"),
    Package("einops", "einops", "every network"),
    Package("filelock", "filelock", "train, experiment, compare, prepare, demo"),
    Package("safetensors", "safetensors", "weights, checkpoints"),
    Package("lightning_fabric", "lightning-fabric", "train, experiment, compare, demo", beside=_TORCH),
    Package("tensorboard", "tensorboard", "train, experiment, compare, demo"),
    Package("torchaudio", "torchaudio", "encoder log_mel, sounds of another rate", beside=_TORCH),
    Package("torchvision", "torchvision", "encoder timm", beside=_TORCH),
    Package("timm", "timm", "encoder timm", beside=(*_TORCH, "torchvision")),
    Package("av", "av", _FILMS),
    Package("soundfile", "soundfile", "wav, flac, ogg"),
    Package("PIL", "pillow", "images, demo"),
    Package("scipy", "scipy", "experiment, compare, demo, calibrate"),
    Package("sklearn", "scikit-learn", "diagnose, report, balancer relearning", beside=("scipy",)),
    Package("threadpoolctl", "threadpoolctl", "report, balancer relearning"),
    Package("matplotlib", "matplotlib", "figures: train, experiment, compare, demo, report, diagnose, stress"),
    Package("jinja2", "Jinja2", "pages: experiment, compare, demo, report, diagnose, stress"),
    Package("markupsafe", "MarkupSafe", "pages: experiment, compare, demo, report, diagnose, stress"),
    Package("rich", "rich", "tables in the terminal"),
    Package("typer", "typer", "the command fusionkit"),
    Package("dlib", "dlib-bin", "detectors dlib_hog, dlib_cnn: prepare", "faces"),
    Package("pyarrow", "pyarrow", "tables in parquet", "parquet"),
    Package("huggingface_hub", "huggingface-hub", "share, networks of a hub", "hub"),
    Package("transformers", "transformers", "encoders hf_audio, hf_vision, hf_video, hf_text", "transformers", _TORCH),
    Package("onnx", "onnx", "export", "export"),
    Package("onnxscript", "onnxscript", "export", "export", ("onnx",)),
    Package("onnxruntime", "onnxruntime", "export", "export"),
    Package("torchjd", "torchjd", "balancer jacobian_descent", "torchjd", _TORCH),
    Package("fastapi", "fastapi", "serve", "serve"),
    Package("starlette", "starlette", "serve", "serve"),
    Package("uvicorn", "uvicorn", "serve", "serve"),
    Package("python_multipart", "python-multipart", "serve", "serve"),
)


def read_bounds() -> dict[str, str]:
    """Reads by distribution in lower case the versions that fusionkit asks for; empty where pip did not install it.

    Example:
        >>> all(set(bounds) <= set("<>=!~,.0123456789") for bounds in read_bounds().values())
        True
    """
    return read_bounds_of(DISTRIBUTION)


def read_bounds_of(distribution: str) -> dict[str, str]:
    """Reads by distribution in lower case the versions that one asks for, those of its extras among them."""
    try:
        wanted = requires(distribution) or []
    except PackageNotFoundError:
        return {}
    parts = (re.fullmatch(r"([\w.-]+)(?:\[.*?\])?\s*\(?([^;()]*)\)?\s*(?:;.*)?", each) for each in wanted)
    return {part[1].lower().replace("_", "-"): part[2].replace(" ", "") for part in parts if part and part[2].strip()}


def satisfies(version: str, bounds: str) -> bool:
    """Says whether a version lies within bounds; of bounds that are no lower, upper or exact one, it does.

    Example:
        >>> satisfies("2.14.1+cpu", ">=2.11,<2.15"), satisfies("2.15", "<2.15,>=2.11"), satisfies("2.9.0", "==2.8.0")
        (True, False, False)
    """
    given = _read_numbers(version)
    for bound in filter(None, bounds.split(",")):
        operator, wanted = re.match(r"([<>=!~]*)(.*)", bound).groups()  # type: ignore[union-attr]
        limit = _read_numbers(wanted)
        width = max(len(given), len(limit))
        left, right = (numbers + (0,) * (width - len(numbers)) for numbers in (given, limit))
        holds = {">=": left >= right, "<": left < right, "<=": left <= right, ">": left > right, "==": left == right}
        if not holds.get(operator, True) and "*" not in wanted:
            return False
    return True


def _read_numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
