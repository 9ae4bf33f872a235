"""Tensors and text in one file, checked against its hash when they are read. No pickle is ever written or read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fusionkit.errors import RunError
from fusionkit.storage.files import guard_write, put_in_place

TensorFile = tuple[dict[str, Tensor], dict[str, str]]
"""Tensors by name, and text by name."""

_HASH = "sha256"


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    durable: bool = True,
    before: Path | None = None,
) -> str:
    """Writes tensors and text as one safetensors file that is replaced in one piece or not at all.

    The file carries a sha256 over everything else in it inside its own metadata. So one rename puts content and hash
    in place together; a hash in a file beside it could disagree with it after a crash between two renames. The same
    tensors and text give the same bytes.

    Args:
        path: The file.
        tensors: Tensors by name, on any device.
        metadata: Text by name; the name ``sha256`` is the file's own.
        durable: Bring it to the disk before returning. Else a kill of the process loses nothing, but a failure of the
            machine may leave a damaged file, until `sync` is called.
        before: Where the file that is replaced is kept; it is lost when left out.

    Returns:
        The sha256.

    Raises:
        RunError: It cannot be written, on a full disk for example; the previous file is intact.
    """
    if _HASH in metadata:
        raise ValueError(f"metadata: the name {_HASH!r} is the file's own")
    stored = _separate(tensors)
    digest = content_hash(stored, metadata)
    whole, sealed = Path(path), {**metadata, _HASH: digest}
    guard_write(
        whole,
        lambda: put_in_place(whole, lambda partial: _save(partial, stored, sealed), durable=durable, before=before),
    )
    return digest


def read_tensors(path: str | os.PathLike[str], remedy: str = "restore it from a copy or delete it") -> TensorFile:
    """Reads the tensors and the text of a file that `write_tensors` made, and checks them against its hash.

    Args:
        path: The file.
        remedy: What a user should do about one that is damaged.

    Raises:
        RunError: The file is missing, may not be read, is truncated, altered, or carries no hash.
    """
    try:
        with Path(path).open("rb"):  # safetensors calls every file missing that it cannot open
            pass
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except MemoryError:
        raise
    except Exception as error:  # whatever else the library raises of somebody's file is the file's fault
        raise RunError(f"{path}: is damaged and cannot be read ({error}); {remedy}") from None
    stated = metadata.pop(_HASH, None)
    if stated is None:
        raise RunError(f"{path}: carries no {_HASH}, so it was not written by fusionkit or has been altered")
    if stated != content_hash(tensors, metadata):
        raise RunError(f"{path}: is damaged, its content does not match its {_HASH}; {remedy}")
    return tensors, metadata


def content_hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Returns the sha256 over names, dtypes, shapes and bytes of tensors, and over text by name, in any order.

    Example:
        >>> content_hash({"w": torch.zeros(2)}, {}) == content_hash({"w": torch.zeros(2, 1)}, {})
        False
    """
    digest = hashlib.sha256()
    described = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in sorted(tensors.items())}
    digest.update(json.dumps([described, dict(sorted(metadata.items()))]).encode())
    for name in described:
        digest.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file with the mode of any new file, and its metadata sorted by name.

    Else they come in an order of chance, and none but the owner may read the file.

    Raises:
        OSError: It cannot be written.
    """
    path.unlink(missing_ok=True)  # of a process that was killed
    path.touch(exist_ok=False)
    mode = path.stat().st_mode
    try:
        safetensors.torch.save_file(tensors, path, metadata)
    except safetensors.SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else str(error), str(path)) from error
    path.chmod(mode)
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        file.seek(8)
        file.write(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length))


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors on the CPU, contiguous, and none sharing memory with another, as safetensors asks for."""
    stored: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        kept = tensor.detach().cpu().contiguous()
        storage = kept.untyped_storage()
        if storage.data_ptr() in taken or storage.nbytes() != kept.nbytes:
            kept = kept.clone()
        taken.add(kept.untyped_storage().data_ptr())
        stored[name] = kept
    return stored
