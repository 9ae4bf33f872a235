"""The folder of prepared clips, and the only module that knows its file names."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from fusionkit.config.components.registry import check_component
from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films.records import ClipRecord, Source
from fusionkit.data.readers.archives import open_member, read_fingerprint
from fusionkit.data.readers.files import expand_path
from fusionkit.errors import DataError, Problem, RunError
from fusionkit.interfaces import Clip
from fusionkit.storage.files import as_json, guard_write, parse_json, read_json, sync, write_file
from fusionkit.storage.tensor_files import content_hash, read_tensors, write_tensors

FORMAT = 2
"""Version of what preparation computes; raised whenever it would compute something else from the same film."""

_ABSENT = "absent"
_LONGEST_NAME = 100
_MAPPED_FROM = 2**20
"""Bytes of a file up to which reading all of it is cheaper than mapping it and touching a part."""


class Cache:
    """Prepared clips of one kind of dataset and one way of preparing, a file each.

    The folder is named after the dataset's kind and a hash of the settings, a clip's file after its id and a hash of
    its sources' names, sizes and times of change. So a clip whose film has changed, or another dataset's clip of the
    same id, has another file, and what is stale is never found. ``manifest.json`` repeats what the files say of
    themselves, so that thousands are known from one. It is written when the files are safe on the disk: a file that it
    does not name, after a kill or a failure of the machine, is read whole and held against its own hash.

    Args:
        dataset: The dataset's kind.
        spec: How its clips are prepared.
    """

    def __init__(self, dataset: str, spec: PrepareSpec) -> None:
        self.settings = _list_settings(spec)
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()
        self.folder = expand_path(spec.cache) / f"{dataset}-{digest[:12]}"
        self._forgotten: dict[str, tuple[int, ClipRecord]] = {}

    @property
    def report_file(self) -> Path:
        """The report of departures, file by file, as data; `written_report_file` says it in words."""
        return self.folder / "report.json"

    @property
    def written_report_file(self) -> Path:
        """The same for reading."""
        return self.folder / "report.md"

    def find_file(self, name: str, clip: Clip) -> Path:
        """Finds where a clip is, or will be, as its sources are now."""
        states = [[role, path.name, _read_state(path)] for role, path in _list_roles(clip)]
        digest = hashlib.sha256(json.dumps([name, states]).encode()).hexdigest()
        readable = re.sub(r"[^A-Za-z0-9,+=_.-]", "_", name).lstrip(".")[:_LONGEST_NAME]
        return self.folder / f"{readable}-{digest[:10]}.safetensors"

    def read_known(self, files: Mapping[str, Path], *, check: bool = False) -> dict[str, ClipRecord]:
        """Reads what is known of clips, by id; those that have no whole file are left out.

        Args:
            files: By id, the clip's file.
            check: Hold every file against its hash, instead of believing the manifest.
        """
        try:
            sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.folder)}
        except OSError:
            return {}
        listed = self._read_list()
        found = {}
        for name, file in files.items():
            size = sizes.get(file.name)
            if size is None:
                continue
            believed = not check and listed.get(file.name, (None,))[0] == size
            record = listed[file.name][1] if believed else read_record(file)
            if record is not None and record.id == name:
                found[name] = record
        return found

    @property
    def is_complete(self) -> bool:
        """True where a whole manifest and the reports are there; a preparation that was killed leaves no manifest."""
        return bool(self._read_list()) and self.report_file.is_file() and self.written_report_file.is_file()

    def create(self) -> None:
        """Makes the folder.

        Raises:
            RunError: It cannot be made.
        """
        guard_write(self.folder, lambda: self.folder.mkdir(parents=True, exist_ok=True))

    def forget_list(self) -> None:
        """Removes the manifest before clips change: a killed preparation must not leave one that is wrong.

        Raises:
            RunError: It cannot be removed.
        """
        self._forgotten = self._read_list()
        guard_write(self._manifest, partial(self._manifest.unlink, missing_ok=True))

    def write_list(self, records: Mapping[Path, ClipRecord]) -> None:
        """Writes the manifest, of the given clips and of those of other datasets in the same folder.

        Raises:
            RunError: It cannot be written.
        """
        listed = {file.name: (file.stat().st_size, record) for file, record in records.items()}
        for file in self.folder.glob("*.safetensors"):
            size = file.stat().st_size
            if file.name in listed:
                continue
            if self._forgotten.get(file.name, (None,))[0] == size:
                listed[file.name] = self._forgotten[file.name]
            elif (record := read_record(file)) is not None:
                listed[file.name] = size, record
        for name in listed:
            guard_write(self.folder / name, partial(sync, self.folder / name))
        guard_write(self.folder, partial(sync, self.folder))
        clips = {name: {"bytes": size, **record.plain()} for name, (size, record) in sorted(listed.items())}
        write_file(self._manifest, as_json({"settings": self.settings, "clips": clips}))

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest.json"

    def _read_list(self) -> dict[str, tuple[int, ClipRecord]]:
        """Reads by file name the size and record in the manifest; nothing where there is none or it is damaged."""
        if not self._manifest.is_file():
            return {}
        try:
            clips = read_json(self._manifest)["clips"]
            return {name: (int(clip["bytes"]), ClipRecord.parse(clip)) for name, clip in clips.items()}
        except (RunError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return {}


def write_clip(file: Path, record: ClipRecord, tensors: Mapping[str, Tensor]) -> ClipRecord:
    """Writes a clip's file, and gives the record with the file's hash; the manifest brings it to the disk.

    Raises:
        RunError: It cannot be written.
    """
    plain = record.plain()
    del plain["sha256"]
    text = json.dumps(plain, sort_keys=True)
    digest = write_tensors(file, tensors, {"clip": text}, durable=False)
    return _parse_record(text, digest)


def read_record(file: Path) -> ClipRecord | None:
    """Reads what a clip's file says of it, whole; None where the file is damaged."""
    try:
        tensors, metadata = read_tensors(file)
        return _parse_record(metadata["clip"], content_hash(tensors, metadata))
    except (RunError, ValueError, KeyError, TypeError):
        return None


def _parse_record(text: str, digest: str) -> ClipRecord:
    return ClipRecord.parse({**parse_json(text.encode(), "a clip"), "sha256": digest})


def read_clip(file: Path, *, whole: bool = False) -> dict[str, Tensor]:
    """Reads the modalities of a clip; of a large file only what is used of them is read, mapped into memory.

    Args:
        file: The clip's file.
        whole: Read all of it, and hold it against its hash.

    Raises:
        DataError: The file is damaged.
    """
    remedy = "delete it and run `fusionkit prepare RECIPE`, or run that with --check, which looks for all such files"
    try:
        if whole:
            return read_tensors(file)[0]
        if file.stat().st_size <= _MAPPED_FROM:
            return safetensors.torch.load(file.read_bytes())
        with safetensors.safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except MemoryError:
        raise
    except Exception as error:  # whatever else the library raises of a damaged file
        raise DataError([Problem(str(file), "is damaged: its content is not what was prepared", remedy)]) from error


def describe_sources(clip: Clip) -> tuple[Source, ...]:
    """Describes the films and sounds of a clip, with the hashes of their bytes."""
    return tuple(Source(role, path.name, _read_state(path), _hash(path)) for role, path in _list_roles(clip))


def is_made_from(record: ClipRecord, clip: Clip) -> bool:
    """Says whether the films and sounds of a clip hold the bytes that it was prepared from; reads all of them."""
    sources = [describe_sources(clip), record.sources]
    made, wanted = ([(each.role, each.name, each.sha256) for each in of] for of in sources)
    return made == wanted


def _list_roles(clip: Clip) -> list[tuple[str, Path]]:
    return [(role, path) for role, path in (("film", clip.film), ("sound", clip.sound)) if path is not None]


def _read_state(path: Path) -> str:
    try:
        return read_fingerprint(path)
    except DataError:
        return _ABSENT


def _hash(path: Path) -> str:
    try:
        with open_member(path) as file:
            digest = hashlib.sha256()
            while part := file.read(1 << 20):
                digest.update(part)
            return digest.hexdigest()
    except (DataError, OSError):
        return ""


def _list_settings(spec: PrepareSpec) -> dict[str, Any]:
    """Lists all that decides what a clip becomes, with every default of the detector written out."""
    plain = spec.model_dump(mode="json", exclude={"cache"})
    detector = spec.face.detector
    completed, found = check_component(detector.kind, detector.type, detector.options)
    plain["face"]["detector"] = {"type": detector.type, **(detector.options if found else completed)}
    return {"format": FORMAT, **plain}
