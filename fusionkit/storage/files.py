"""Files that are replaced in one piece or not at all, and tensors in them that are checked when they are read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydantic_core
import safetensors
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from fusionkit.errors import RunError

MAX_JSON_BYTES = 2**28
MAX_JSON_DEPTH = 100
"""What a JSON document may hold: a quarter of a GiB, which takes several in memory, and so many levels."""

_AT_ONCE = 2**24
"""Bytes of a file that are read at once."""

_KINDS: Mapping[type, str] = {
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}

TensorFile = tuple[dict[str, Tensor], dict[str, str]]
"""Tensors by name, and text by name."""

LOCK = ".lock"
"""The file by which a process says that it works in a folder."""

_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""What a file system answers that knows no locks."""

_HASH = "sha256"


def folder_name(name: str) -> str:
    """Returns a name of a fold, a variant or a target as a file or a folder has it.

    All but letters, digits and ``,+-_.`` is written as ``_``.

    Example:
        >>> folder_name("late fusion"), folder_name("A1,2")
        ('late_fusion', 'A1,2')
    """
    return re.sub(r"[^A-Za-z0-9,+_.-]", "_", name).lstrip(".") or "_"


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
    guarded(
        whole, lambda: _replace(whole, lambda partial: _save(partial, stored, sealed), durable=durable, before=before)
    )
    return digest


def read_tensors(path: str | os.PathLike[str]) -> TensorFile:
    """The tensors and the text of a file that `write_tensors` made, checked against its hash.

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
        raise RunError(
            f"{path}: is damaged and cannot be read ({error}); restore it from a copy or delete it"
        ) from None
    stated = metadata.pop(_HASH, None)
    if stated is None:
        raise RunError(f"{path}: carries no {_HASH}, so it was not written by fusionkit or has been altered")
    if stated != content_hash(tensors, metadata):
        raise RunError(
            f"{path}: is damaged, its content does not match its {_HASH}; restore it from a copy or delete it"
        )
    return tensors, metadata


def content_hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The sha256 over names, dtypes, shapes and bytes of tensors, and over text by name, in any order.

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
    """The tensors on the CPU, contiguous, and none sharing memory with another, as safetensors asks for."""
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


def write_file(path: Path, data: bytes) -> None:
    """Replaces a file in one piece.

    Raises:
        RunError: It cannot be written; the previous file is intact.
    """
    guarded(path, lambda: replace_file(path, data))


def replace_file(path: Path, data: bytes) -> None:
    """Replaces a file in one piece: written beside it, brought to the disk, renamed over it.

    Raises:
        OSError: It cannot be written; the previous file is intact and nothing is left beside it.
    """

    def write(partial: Path) -> None:
        partial.write_bytes(data)

    _replace(path, write)


def _replace(path: Path, write: Callable[[Path], None], *, durable: bool = True, before: Path | None = None) -> None:
    partial = path.with_name(f".{path.name}.partial")
    moved = False
    try:
        write(partial)
        if durable:
            sync(partial)
        if before is not None and path.exists():  # killed between the two renames, a process leaves the file there
            os.replace(path, before)
            moved = True
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        if moved:
            os.replace(str(before), path)
        raise
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Brings a file or a folder's list of files to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def sole_worker(folder: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Within it no other process works in a folder, as far as it asks the same.

    The system ends it with the process, however that dies: processes that it has forked do not hold the lock. Where a
    file system knows no locks, nothing is kept out.

    Args:
        folder: The folder.
        wait: Seconds until another process must have left.

    Raises:
        RunError: Another process works in the folder, or it cannot be written.
    """
    # A marker in place of a lock would outlive a process that is killed, so there is no soft fallback.
    lock = FileLock(folder / LOCK, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        remedy = "wait until it ends, or take another folder"
        raise RunError(f"{folder}: another process is working in it; {remedy}") from None
    except (OSError, NotImplementedError) as error:
        if not isinstance(error, NotImplementedError) and error.errno not in _NO_LOCKS:
            raise RunError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()


def refuse_if_taken(folder: Path, *, wait: float = 0.0) -> None:
    """Says early that another process works in a folder, before what takes its time; writes nothing there.

    Args:
        folder: The folder, which need not be there.
        wait: Seconds until the other process must have left.

    Raises:
        RunError: Another one does.
    """
    if (folder / LOCK).is_file():
        with sole_worker(folder, wait=wait):
            pass


def guarded(path: Path, write: Callable[[], None]) -> None:
    """Calls what writes a file.

    Raises:
        RunError: It failed; says which file, why, and what is left of it.
    """
    try:
        write()
    except OSError as error:
        state = "the previous file is intact" if os.path.exists(path) else "nothing was written"
        raise RunError(f"{path}: cannot be written ({error.strerror}); {state}") from error


def as_json(value: object, *, indent: int | None = 2) -> bytes:
    """Returns plain data as JSON with a line's end; a number that is not finite, unknown to JSON, is null.

    Raises:
        RunError: A text in it, such as the name of a file, is no Unicode.
    """
    try:
        return pydantic_core.to_json(value, indent=indent, inf_nan_mode="null") + b"\n"
    except pydantic_core.PydanticSerializationError as error:
        raise RunError(f"cannot be written as JSON ({error}); give files names in UTF-8") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        RunError: It cannot be read, is none, is larger than `MAX_JSON_BYTES`, or nested deeper than `MAX_JSON_DEPTH`.
    """
    return parse_json(read_within(path, MAX_JSON_BYTES), str(path))


def read_within(path: Path, most: int) -> bytes:
    """The bytes of a file; no more of it is read than it may hold.

    Raises:
        RunError: It cannot be read, or holds more bytes than `most`.
    """
    content = bytearray()
    try:
        with path.open("rb") as file:
            # Python sets as much memory aside as it is asked to read, so not all that there may be is asked for.
            while part := file.read(min(_AT_ONCE, most + 1 - len(content))):
                content += part
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RunError(f"{path}: cannot be read ({reason})") from None
    if len(content) > most:
        raise RunError(f"{path}: is larger than the {most:,} bytes that such a file may hold")
    return bytes(content)


def parse_json(text: bytes, place: str) -> dict[str, Any]:
    """The object that a JSON text holds.

    Args:
        text: The text, in UTF-8.
        place: Where it stands, for messages.

    Raises:
        RunError: It is no JSON, holds no object, or is nested deeper than `MAX_JSON_DEPTH`.
    """
    try:
        value = json.loads(text.decode())
    except Exception as error:  # whatever the library raises of somebody's text is the text's fault
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise RunError(f"{place}: cannot be read as JSON ({reason})") from None
    if not isinstance(value, dict):
        raise RunError(f"{place}: is damaged (it holds {_KINDS[type(value)]}, no mapping)")
    below: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        below = [
            item
            for each in below
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, dict | list)
        ]
        if not below:
            return value
    raise RunError(f"{place}: is no document of fusionkit (it is nested deeper than {MAX_JSON_DEPTH} levels)")
