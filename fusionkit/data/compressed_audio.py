"""Compressed sound (m4a, mp3, ogg, opus, aac) to waves, with damage detected."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusionkit.errors import DataError, Problem

COMPRESSED_SUFFIXES = frozenset({".m4a", ".mp3", ".ogg", ".opus", ".aac"})

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,asf,rm,mxf,nut,mpeg,mpegts,mpegvideo,m4v,h263,h264,hevc,"
    "av1,obu,ivf,mjpeg,dv,wtv,gif,ogg,mp3,aac,loas,wav,w64,flac,aiff,au,caf,amr,ac3,eac3,dts,ape,wv,tta"
)

SELF_CONTAINED: Mapping[str, str] = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
"""What libav may open: files that hold picture and sound themselves; none that names others, as playlists do."""

_SLACK_SECONDS = 0.1
"""What encoders add before and after the sound, so that decoded and promised length differ in whole files too."""


def decode_compressed(path: Path) -> tuple[Tensor, int]:
    """Decodes the first stream of sound of a file.

    A file that was cut short is found by what it promised: m4a and mp3 by the length in their header (an mp3 without
    one, and aac, promise none), ogg and opus by the mark of the last page.

    Returns:
        Its channels ``(channels, length)`` float32, and samples per second.

    Raises:
        DataError: The file is missing, holds no sound, is damaged, or shorter than it promised.
    """
    import av

    if not path.is_file():
        raise DataError([Problem(str(path), "no such file")])
    if path.suffix.lower() in (".ogg", ".opus"):
        _check_last_page(path)
    try:
        with av.open(f"file:{path}", options=dict(SELF_CONTAINED)) as container:
            if not container.streams.audio:
                raise DataError([Problem(str(path), "holds no sound")])
            stream = container.streams.audio[0]
            stream.codec_context.thread_type = "NONE"
            rate = int(stream.rate)
            promised = _promised_seconds(path, stream)
            channels = _decoded(container, stream)
    except av.FFmpegError as error:
        raise DataError([Problem(str(path), f"cannot be read as sound ({error.strerror})", "copy it again")]) from error
    seconds = channels.shape[1] / rate
    if promised is not None and seconds < promised - _SLACK_SECONDS:
        raise _truncated(path, f"{seconds:.2f} of {promised:.2f} seconds")
    return channels, rate


def _decoded(container: Any, stream: Any) -> Tensor:
    import av

    resampler = av.AudioResampler(format="fltp")  # the same rate and channels as numbers in -1..1
    pieces = [
        torch.from_numpy(out.to_ndarray())
        for frame in [*container.decode(stream), None]
        for out in resampler.resample(frame)
    ]
    return torch.cat(pieces, dim=1) if pieces else torch.zeros(1, 0)


def _promised_seconds(path: Path, stream: Any) -> float | None:
    """The length that a header states; None where a decoder could only have guessed it."""
    stated = path.suffix.lower() == ".m4a" or (path.suffix.lower() == ".mp3" and _mp3_states_its_length(path))
    if not stated or stream.duration is None:
        return None
    return float(stream.duration * stream.time_base)


def _mp3_states_its_length(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # a tag before the sound, its size in four times seven bits
            size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            file.seek(10 + size)
        first = file.read(512)
    return b"Xing" in first or b"Info" in first


def _check_last_page(path: Path) -> None:
    """An ogg file ends in a page that says so, and that is all there."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - 2 * 65_307))  # a page has 65,307 bytes at most
        tail = file.read()
    start = tail.rfind(b"OggS")
    header = tail[start : start + 27] if start >= 0 else b""
    if len(header) < 27:
        raise DataError([Problem(str(path), "cannot be read as sound (it has no whole page)", "copy it again")])
    flags, segments = struct.unpack_from("<B", header, 5)[0], header[26]
    table = tail[start + 27 : start + 27 + segments]
    whole = len(table) == segments and len(tail) >= start + 27 + segments + sum(table)
    if not (flags & 0x04 and whole):
        raise _truncated(path, "not the last page")


def _truncated(path: Path, share: str) -> DataError:
    return DataError([Problem(str(path), f"is truncated: it holds {share} that it promises", "copy it again")])
