"""The packages that exports to ONNX need, which an extra brings."""

from __future__ import annotations

import importlib.util

from fusionkit.errors import ExportError

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Refuses to go on without the packages of the extra.

    Raises:
        ExportError: One of them is not installed.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        raise ExportError(f"an export to ONNX needs {names}: pip install 'fusionkit-multimodal[export]'")
