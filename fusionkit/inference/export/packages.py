"""The packages that graphs of ONNX need, which an extra brings."""

from __future__ import annotations

import importlib.util

from fusionkit.errors import ExportError

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx(purpose: str = "an export to ONNX", *packages: str) -> None:
    """Refuses to go on without the packages of the extra.

    Args:
        purpose: What needs them.
        packages: Those that it needs; all where left out.

    Raises:
        ExportError: One of them is not installed.
    """
    wanted = packages or _PACKAGES
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        raise ExportError(f"{purpose} needs {names}: pip install 'fusionkit-multimodal[export]'")
