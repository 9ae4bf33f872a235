"""The faces of FER2013: Kaggle's table, folders of images, or a tar file of those folders."""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from fusionkit.data.readers.files import expand_path, is_there, name_errors
from fusionkit.data.readers.images import decode_upright, open_image
from fusionkit.data.readers.limits import check_size
from fusionkit.errors import DataError, Problem, suggest_names

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The classes in Kaggle's order, which is that of the numbers in its table."""

USAGES: Mapping[str, str] = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}
"""Parts by the use that a face had in the competition."""

SIDE = 48
_SHOWN = 20


@dataclass(frozen=True)
class Face:
    """One face.

    Args:
        id: A name, unique in the dataset: its path without the ending, or its usage and line.
        usage: One of `USAGES`.
        emotion: One of `EMOTIONS`.
        place: Where it stands, for error messages.
        stored: Gives its bytes: those of an image file, or of its pixels.
        encoded: Whether they are those of an image file.
    """

    id: str
    usage: str
    emotion: str
    place: str
    stored: Callable[[], bytes]
    encoded: bool = True

    def read(self) -> Tensor:
        """Reads the pixels, ``(1, 48, 48)`` uint8.

        Raises:
            DataError: The file is gone or damaged.
        """
        data = self.stored()
        if self.encoded:
            return decode_face(data, self.place)
        return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).reshape(1, SIDE, SIDE).copy())

    @property
    def fingerprint(self) -> bytes:
        """Equal for faces of the same bytes."""
        return hashlib.sha256(self.stored()).digest()


def find_faces(root: str) -> list[Face]:
    """Finds all faces of a table, a folder or a tar file, in its own order (folders by name).

    Raises:
        DataError: There is nothing of the kind, or something is missing, unknown or stated twice; problems of one
            kind are counted and the first of them named.
    """
    path = expand_path(root)
    if is_there(path) and path.is_dir():
        tables = [path / name for name in ("fer2013.csv", "icml_face_data.csv") if (path / name).is_file()]
        return _find_in_table(tables[0]) if tables else _find_in_folder(path)
    if not path.is_file():
        remedy = "point root at Kaggle's fer2013.csv, at the folder that holds train/ and test/, or at a tar of it"
        raise DataError([Problem(str(path), "no such file or folder", remedy)], source="fer2013")
    return _find_in_table(path) if path.suffix.lower() == ".csv" else _find_in_tar(path)


def decode_face(data: bytes, place: str) -> Tensor:
    """Decodes the pixels of an image file of one face.

    Raises:
        DataError: It is no image, damaged, not grey, or of another size.
    """
    with open_image(io.BytesIO(data), place) as image:
        if image.mode != "L" or image.size != (SIDE, SIDE):
            message = f"is an image of mode {image.mode} and {image.width} x {image.height} pixels"
            raise DataError([Problem(place, message, f"mode L (8 bits, grey) and {SIDE} x {SIDE} pixels")])
        return torch.from_numpy(decode_upright(image))[None]


def _find_in_folder(root: Path) -> list[Face]:
    files = sorted(path for part in ("train", "test") for path in (root / part).rglob("*") if path.is_file())
    named = ((path.relative_to(root).as_posix(), path) for path in files)
    return _sort_out(root, ((name, partial(_read_bytes, path)) for name, path in named))


def _find_in_tar(path: Path) -> list[Face]:
    remedy = "take the uncompressed tar of the folders train/ and test/, Kaggle's csv, or the folder itself"
    with name_errors(path, "is no tar file, or is damaged", remedy), tarfile.open(path, "r:") as archive:
        members = []
        for number, member in enumerate(archive, start=1):
            check_size("members", number, str(path))
            members += [member] if member.isfile() else []
    members.sort(key=lambda member: member.name)
    end = path.stat().st_size
    if cut := [member.name for member in members if member.offset_data + member.size > end]:
        message = f"is truncated: {len(cut)} of its files end outside of it, such as {cut[0]}"
        raise DataError([Problem(str(path), message, "copy it again")])
    named = ((member.name.removeprefix("./"), member) for member in members)
    return _sort_out(
        path, ((name, partial(_read_bytes, path, member.offset_data, member.size)) for name, member in named)
    )


def _sort_out(root: Path, files: Iterator[tuple[str, Callable[[], bytes]]]) -> list[Face]:
    """Returns the faces of ``part/emotion/Usage_N.jpg``; refuses every file that is something else."""
    faces: list[Face] = []
    wrong: dict[str, list[str]] = {}
    for name, stored in files:
        path = PurePosixPath(name)
        if path.name.startswith(".") or path.name == "Thumbs.db":
            continue  # what file managers leave
        part, emotion = (*path.parts, "", "")[:2]
        usage = path.stem.split("_")[0]
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png") or len(path.parts) != 3:
            wrong.setdefault("are no part/emotion/Usage_N.jpg", []).append(name)
        elif emotion not in EMOTIONS:
            what = f"stand in a folder of no emotion, {part}/{emotion} ({suggest_names(emotion, EMOTIONS)})"
            wrong.setdefault(what, []).append(name)
        elif USAGES.get(usage) != part:
            wrong.setdefault(f"are named as none of {part}/'s", []).append(name)
        else:
            faces.append(Face(path.with_suffix("").as_posix(), usage, emotion, f"{root.name}: {name}", stored))
    problems = [
        Problem(str(root), f"{len(names)} files {what}, such as {names[0]}", "train/happy/Training_1.jpg, for example")
        for what, names in wrong.items()
    ]
    _check(root, faces, problems)
    return faces


def _check(root: Path, faces: list[Face], problems: list[Problem]) -> None:
    """Adds what is missing or stands twice, and raises where anything is wrong."""
    count = Counter((USAGES[face.usage], face.emotion) for face in faces)
    for part in ("train", "test"):
        absent = [emotion for emotion in EMOTIONS if not count[part, emotion]]
        if len(absent) == len(EMOTIONS):
            problems.append(Problem(str(root), f"holds no face of the {part} part", "point root at the whole of it"))
        elif absent:
            found = ", ".join(f"{emotion} {count[part, emotion]}" for emotion in EMOTIONS)
            message = f"the {part} part holds no face of {', '.join(absent)} ({found})"
            problems.append(Problem(str(root), message, "unpack it again"))
    if twice := [name for name, times in Counter(face.id for face in faces).items() if times > 1]:
        problems.append(Problem(str(root), f"{len(twice)} faces stand twice, such as {twice[0]}", "remove one of each"))
    if problems:
        raise DataError(problems, source="fer2013")


def _find_in_table(path: Path) -> list[Face]:
    problems: list[Problem] = []
    faces: list[Face] = []
    with name_errors(path, "cannot be read as a table"), path.open(newline="", encoding="utf-8-sig") as file:
        check_size("table_bytes", path.stat().st_size, str(path))
        reader = csv.DictReader(file, skipinitialspace=True)
        names = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        if not {"emotion", "pixels", "Usage"} <= set(names):
            given = f"has the columns {', '.join(names) or 'none'}"
            raise DataError([Problem(str(path), given, "Kaggle's table has emotion, pixels and Usage")])
        for line, row in enumerate(reader, start=2):
            face = _read_row(row, line, f"{path.name}, line {line}", problems)
            faces += [] if face is None else [face]
    if len(problems) > _SHOWN:
        problems[_SHOWN:] = [Problem(str(path), f"{len(problems)} rows are wrong altogether", "copy it again")]
    _check(path, faces, problems)
    return faces


def _read_row(row: Mapping[str, str | None], line: int, place: str, problems: list[Problem]) -> Face | None:
    code, usage = (row["emotion"] or "").strip(), (row["Usage"] or "").strip()
    words = (row["pixels"] or "").split()
    before = len(problems)
    if code not in map(str, range(len(EMOTIONS))):
        problems.append(Problem(f"{place}: emotion", f"{code!r} is none", "0 (angry) to 6 (neutral)"))
    if usage not in USAGES:
        problems.append(Problem(f"{place}: Usage", f"{usage!r} is none", ", ".join(USAGES)))
    if len(words) != SIDE * SIDE:
        problems.append(Problem(f"{place}: pixels", f"{len(words)} numbers", f"{SIDE * SIDE}, {SIDE} x {SIDE}"))
    elif not all(word.isdecimal() and len(word) < 4 and int(word) < 256 for word in set(words)):
        problems.append(Problem(f"{place}: pixels", "not all are whole numbers from 0 to 255"))
    if len(problems) > before:
        return None
    stored = partial(bytes, np.array(words, dtype=np.uint8).tobytes())
    return Face(f"{usage}_{line}", usage, EMOTIONS[int(code)], place, stored, encoded=False)


def _read_bytes(path: Path, offset: int = 0, size: int = -1) -> bytes:
    """Reads a file, or a stretch of it."""
    with name_errors(path, "cannot be read"), path.open("rb") as file:
        check_size("bytes", path.stat().st_size if size < 0 else size, str(path))
        file.seek(offset)
        return file.read(size)
