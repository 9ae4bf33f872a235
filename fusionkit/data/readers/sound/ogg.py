"""The pages of ogg files: where one file ends and the next begins, and whether the last page is there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MARK = b"OggS"
_FIRST, _LAST = 0x02, 0x04
_LARGEST = 65_307
"""Bytes of a page at most."""


@dataclass(frozen=True)
class _Page:
    """A page: where it begins and ends, and what its flags say."""

    start: int
    end: int
    flags: int


def lacks_last_page(file: BinaryIO) -> bool:
    """Tells whether a file is truncated: a whole one ends in a page that says so, and that is all there."""
    end = file.seek(0, io.SEEK_END)
    begin = file.seek(max(0, end - 2 * _LARGEST))
    pages = list(_read_pages(file.read(), begin))
    return not pages or not pages[-1].flags & _LAST or pages[-1].end > end


def split_links(content: bytes) -> list[bytes]:
    """Splits a file into those that were joined to make it, each of one codec, rate and number of channels.

    A file begins with the first pages of all its streams; a first page behind others begins another one.
    """
    starts = [0]
    inside = False
    for page in _read_pages(content, 0):
        first = bool(page.flags & _FIRST)
        if first and inside:
            starts.append(page.start)
        inside = not first
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def _read_pages(content: bytes, begin: int) -> Iterator[_Page]:
    """Yields the pages in bytes of a file that begin at a position of it; what is between them is passed over."""
    position = content.find(_MARK)
    while 0 <= position <= len(content) - 27:
        flags, segments = content[position + 5], content[position + 26]
        table = content[position + 27 : position + 27 + segments]
        end = position + 27 + segments + sum(table)
        yield _Page(begin + position, begin + end + (segments - len(table)), flags)
        position = end if content[end : end + 4] == _MARK else content.find(_MARK, position + 4)
