"""Films and sounds in a folder as it was downloaded: unpacked or not, whole or not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from fusionkit.data.readers.archives import list_members
from fusionkit.data.readers.files import expand_path, is_there
from fusionkit.data.readers.sound.audio import FILM_SUFFIXES
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Row

SOUND_SUFFIXES = frozenset({".wav", ".flac"})
ARCHIVE_SUFFIX = ".zip"

OtherFiles = Literal["refuse", "ignore"]
"""Treatment of films and sounds whose names are not the dataset's."""

Name = TypeVar("Name")

_UNFINISHED = frozenset({".part", ".partial", ".crdownload", ".download", ".aria2"})
_POINTER = b"version https://git-lfs"
_POINTER_SIZE = 1024
_SHOWN = 5


@dataclass(frozen=True)
class MediaFile:
    """A film or a sound.

    Args:
        path: Where it is; the path may lead through a zip archive.
        place: The same from the root on, for messages.
        size: Its bytes.
    """

    path: Path
    place: str
    size: int

    @property
    def name(self) -> str:
        """Its name without the ending."""
        return self.path.stem

    @property
    def is_film(self) -> bool:
        """Says whether it is a film by its ending, and not a sound."""
        return self.path.suffix.lower() in FILM_SUFFIXES


@dataclass(frozen=True)
class MediaTree:
    """The films and sounds under a folder.

    Args:
        root: The folder.
        files: Its films and sounds, in the order of their places.
        notes: What is unfinished or not there, in words.
        problems: What cannot be read.
    """

    root: Path
    files: Sequence[MediaFile]
    notes: Sequence[str]
    problems: Sequence[Problem]


def find_media(
    root: str, wanted: str, suffixes: frozenset[str] = FILM_SUFFIXES | SOUND_SUFFIXES | {ARCHIVE_SUFFIX}
) -> MediaTree:
    """Finds every film and sound under a folder and in its zip archives, without opening one.

    Hidden files (``.DS_Store``, ``._clip.mp4``) and files of other endings are passed over. Where an archive and a file
    that was unpacked from it are both there, the unpacked one counts. A pointer of git-lfs stands for a file that was
    not downloaded.

    Args:
        root: The folder, or one zip archive; ``~`` and environment variables are replaced.
        wanted: What the folder should hold, for the message where it is missing.
        suffixes: The endings of what is looked for; without that of archives none is looked into.

    Raises:
        DataError: There is no such folder, or the system refuses to look at it.
    """
    folder = expand_path(root)
    if not is_there(folder) or not (folder.is_dir() or ARCHIVE_SUFFIX in suffixes):
        what = "is no folder" if is_there(folder) else "no such folder"
        remedy = f"give the folder that holds {wanted}: data.dataset.root=FOLDER"
        raise DataError([Problem(str(folder), what, remedy)])
    search = _Search(folder if folder.is_dir() else folder.parent, suffixes)
    if folder.is_dir():
        search.walk(folder)
    else:
        search.add_archive(folder)
    return search.finish()


class _Search:
    """The files that were found so far under a root."""

    def __init__(self, root: Path, suffixes: frozenset[str]) -> None:
        self.root, self.suffixes = root, suffixes
        self.plain: list[MediaFile] = []
        self.packed: dict[Path, list[MediaFile]] = {}
        self.problems: list[Problem] = []
        self.pointers: list[str] = []
        self.unfinished: list[str] = []
        self.dangling: list[str] = []
        self._seen: set[tuple[int, int]] = set()

    def walk(self, folder: Path) -> None:
        """Looks through a folder and the folders in it, each once, whatever links lead to it."""
        with self._note_refusals(folder):
            state = folder.stat()
            if (state.st_dev, state.st_ino) in self._seen:
                return
            self._seen.add((state.st_dev, state.st_ino))
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                path = Path(entry.path)
                with self._note_refusals(path):
                    if entry.is_dir():
                        self.walk(path)
                    else:
                        self._add(path, entry)

    def add_archive(self, path: Path) -> None:
        """Adds the films and sounds of a zip archive."""
        try:
            found = list_members(path)
        except DataError as error:
            self.problems += [Problem(self._place(path), problem.message, problem.remedy) for problem in error.problems]
            return
        self.packed[path] = [
            MediaFile(path / name, self._place(path / name), info.file_size)
            for name, info in sorted(found.items())
            if PurePosixPath(name).suffix.lower() in self.suffixes - {ARCHIVE_SUFFIX}
            and not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
        ]

    @contextmanager
    def _note_refusals(self, path: Path) -> Iterator[None]:
        """Turns a refusal of the system into a problem of this path, so that the search goes on."""
        try:
            yield
        except OSError as error:
            self.problems.append(Problem(self._place(path), f"cannot be read ({error.strerror})"))

    def _add(self, path: Path, entry: os.DirEntry[str]) -> None:
        suffix = path.suffix.lower()
        if suffix in _UNFINISHED:
            self.unfinished.append(self._place(path))
        elif suffix in self.suffixes:
            if not entry.is_file():
                self.dangling.append(self._place(path))
            elif suffix == ARCHIVE_SUFFIX:
                self.add_archive(path)
            else:
                self._add_media(path, entry.stat().st_size)

    def _add_media(self, path: Path, size: int) -> None:
        if 0 < size < _POINTER_SIZE:
            with path.open("rb") as file:
                if file.read(len(_POINTER)) == _POINTER:
                    self.pointers.append(self._place(path))
                    return
        self.plain.append(MediaFile(path, self._place(path), size))

    def finish(self) -> MediaTree:
        """Returns all that was found, each file that is unpacked instead of the member that it was unpacked from."""
        unpacked = {file.path.name: file for file in self.plain}
        packed = [file for files in self.packed.values() for file in files]
        left = [file for file in packed if file.path.name not in unpacked]
        twice = [file for file in packed if file.path.name in unpacked]
        other = [file for file in twice if unpacked[file.path.name].size != file.size]
        files = sorted([*self.plain, *left], key=lambda file: file.place)
        again = "unpack it again if that broke off"
        notes = [
            _count(self.unfinished, "{} is an unfinished download", "{} files are unfinished downloads"),
            _count(self.pointers, "{} is a pointer of git-lfs", "{} files are pointers of git-lfs")
            + (", not films or sounds: run `git lfs pull`" if self.pointers else ""),
            _count(self.dangling, "{} is a link that leads nowhere", "{} files are links that lead nowhere"),
            _count(_list_places(f for f in files if not f.size), "{} is empty", "{} files are empty"),
            _count(_list_places(twice), "{} is unpacked already", "{} files of archives are unpacked already"),
            _count(_list_places(other), "{} has another size unpacked", "{} of them have another size unpacked")
            + (f": {again}" if other else ""),
        ]
        return MediaTree(self.root, files, [note for note in notes if note], self.problems)

    def _place(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _list_places(files: Iterable[MediaFile]) -> list[str]:
    return [file.place for file in files]


def _count(places: Sequence[str], one: str, several: str) -> str:
    """Makes a sentence about files, with the first of them; nothing where there are none."""
    if len(places) < 2:
        return one.format(places[0]) if places else ""
    return f"{several.format(f'{len(places):,}')}, such as {places[0]}"


def read_names(
    files: Iterable[MediaFile], parse: Callable[[MediaFile], Name], other_files: OtherFiles
) -> tuple[list[tuple[MediaFile, Name]], list[str], list[Problem]]:
    """Reads what the name of every file says; other names are a problem, or a note where they are ignored.

    Args:
        files: The films and sounds.
        parse: What the name of a file says; raises `ValueError` where it is none of the dataset's.
        other_files: Whether files of other names are refused or ignored.
    """
    named: list[tuple[MediaFile, Name]] = []
    strange: list[Problem] = []
    for file in files:
        try:
            named.append((file, parse(file)))
        except ValueError as error:
            strange.append(Problem(file.place, str(error)))
    if other_files == "ignore":
        note = _count(
            [found.place for found in strange], "{} is ignored", "{} films and sounds of other names are ignored"
        )
        return named, [note] if note else [], []
    remedy = "rename or remove it, or set other_files: ignore"
    return (
        named,
        [],
        shorten([Problem(found.place, found.message, remedy) for found in strange], "files have wrong names"),
    )


def refuse_twins(copies: Iterable[Sequence[MediaFile]], remedy: str) -> list[Problem]:
    """Returns the problems of files that are several for one and the same clip.

    Args:
        copies: The files of every clip that can take each other's place.
        remedy: What would be right.
    """
    problems = []
    for files in copies:
        if len(files) > 1:
            size = "the same size" if len({file.size for file in files}) == 1 else "another size"
            others = " and ".join(file.place for file in files[1:])
            problems.append(Problem(files[0].place, f"is the same clip as {others}, of {size}", remedy))
    return shorten(problems, "clips stand twice")


def shorten(problems: Sequence[Problem], what: str) -> list[Problem]:
    """Lists the first problems of a kind one by one; where there are more, one problem says how many altogether."""
    if len(problems) <= _SHOWN:
        return list(problems)
    return [*problems[:_SHOWN], Problem("", f"{len(problems):,} {what} altogether")]


def describe_no_clip(tree: MediaTree, what: str, wanted: str) -> Problem:
    """Describes a folder without a clip as a problem, with what was found instead."""
    return Problem("", f"holds no {what}", "; ".join(tree.notes) or f"root holds {wanted}")


def refuse_unprepared(row: Row) -> DataError:
    """Makes the error of a film that is loaded without its preparation."""
    remedy = "open the dataset with fusionkit.data.sources.Datasets, which loads what `fusionkit prepare` made of it"
    return DataError([Problem(row.place, "is a film, which is not loaded as it is", remedy)])
