"""A film or sound from its file to decoded frames, with everything that was lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fusionkit.data.compressed_audio import SELF_CONTAINED
from fusionkit.errors import DataError, Problem

_STATING_FORMATS = frozenset({"mov", "matroska", "flv", "avi", "asf"})
"""Formats whose header states the duration; libav guesses that of others from what is there."""

_FRAMES_SHORT = 2
_SECONDS_SHORT = 0.25
"""What may be missing of a promise: headers count frames that only serve to decode others, and round durations."""

_KINDS = {"video": "picture", "audio": "sound"}

_KNOWN_BY_HEADER = frozenset({"h264", "hevc"})
"""Codecs whose frames come in order without one decoded beforehand: the header or the stream says how late they are."""


class Film:
    """A film or a compressed sound, decoded from its beginning to its end on one thread.

    A film that breaks off is decoded as far as it goes, often without an error of the decoder: so what was decoded is
    held against what the header promises, and `losses` says afterwards what is missing.

    Args:
        path: The file; no network address, and no file that names others instead of holding picture or sound.

    Raises:
        DataError: It is not there, or is no film or sound.
    """

    def __init__(self, path: Path) -> None:
        import av

        if not path.is_file():
            raise DataError([Problem(str(path), "is not there")])
        self.path = path
        try:
            self._container: Any = _opened(path)
        except av.ArgumentError as error:  # what libav says of a format that is none of these
            said = "Invalid argument; a list of other files, such as a playlist, is none"
            raise unreadable(path, error, said) from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise unreadable(path, error) from error
        streams = self._container.streams
        covers = av.stream.Disposition.attached_pic
        self.picture: Any = next((stream for stream in streams.video if not stream.disposition & covers), None)
        self.sound: Any = next(iter(streams.audio), None)
        self._frames = self._set_aside = self._broken_parts = self._broken_frames = 0
        self._ends: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def lacks_duration(self) -> bool:
        """Whether the header does not say how long it is, though films of this format say it."""
        return bool(self._formats & _STATING_FORMATS) and not self._promised_frames and self._promised_seconds is None

    def frames(self, *, picture: bool, sound: bool) -> Iterator[Any]:
        """The frames of picture and sound, as libav's ``VideoFrame`` and ``AudioFrame``, in the order of the file.

        Raises:
            DataError: There is no decoder for them.
        """
        wanted = [stream for stream, asked in ((self.picture, picture), (self.sound, sound)) if asked and stream]
        for stream in wanted:
            if stream.codec_context is None:
                raise DataError([Problem(str(self.path), f"there is no decoder for its {_KINDS[stream.type]}")])
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
        indices = {stream.index for stream in wanted}
        counted = self.picture.index if picture and self.picture else None
        for packet in self._packets():
            index = packet.stream.index  # `stream_index` is 0 of every packet that asks a decoder for its last frames
            if index in indices:
                yield from self._decoded(packet, counted=index == counted)

    def losses(self, *, picture: bool) -> list[str]:
        """What is missing or broken, in words, once all frames were decoded; nothing of a whole film.

        Args:
            picture: Whether the picture was decoded.
        """
        found = []
        if picture and self._frames + self._set_aside < self._promised_frames - _FRAMES_SHORT:
            found.append(f"decodes to {self._frames} of {self._promised_frames} frames that its header promises")
        elif self._promised_seconds is not None and self._reached < self._promised_seconds - _SECONDS_SHORT:
            found.append(f"ends after {self._reached:.2f} of {self._promised_seconds:.2f} s that its header promises")
        if self._broken_parts:
            found.append(f"has {_counted(self._broken_parts, 'part')} that cannot be decoded")
        if self._broken_frames:
            found.append(f"has {_counted(self._broken_frames, 'damaged frame')}")
        return found

    @property
    def _promised_frames(self) -> int:
        """Frames that the header counts; other formats than mp4 count some that are none, or none at all."""
        return self.picture.frames if self.picture is not None and "mov" in self._formats else 0

    @property
    def _promised_seconds(self) -> float | None:
        known = self._container.duration is not None and self._formats & _STATING_FORMATS
        return self._container.duration / 1e6 if known else None

    @property
    def _formats(self) -> frozenset[str]:
        return frozenset(self._container.format.name.split(","))

    @property
    def _reached(self) -> float:
        """Seconds from the beginning to the end of the last packet."""
        streams = self._container.streams
        ends = [float(end * streams[index].time_base) for index, end in self._ends.items()]
        return max(ends, default=0.0) - (self._container.start_time or 0) / 1e6

    def _packets(self) -> Iterator[Any]:
        """The packets of the file and then, for each stream, what makes its decoder give its last frames."""
        import av

        packets, ends = self._container.demux(), self._ends
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:  # the file breaks off: what the decoders still hold is worth having
                self._broken_parts += 1
                for stream in (*self._container.streams.video, *self._container.streams.audio):
                    last = av.Packet()
                    last.stream = stream
                    yield last
                return
            start = packet.pts
            if start is not None:
                index, end = packet.stream.index, start + (packet.duration or 0)
                before = ends.get(index)
                if before is None or end > before:
                    ends[index] = end
            yield packet

    def _decoded(self, packet: Any, *, counted: bool) -> list[Any]:
        import av

        self._broken_parts += packet.is_corrupt
        self._set_aside += counted and packet.is_discard
        try:
            frames: list[Any] = packet.decode()
        except av.FFmpegError:
            self._broken_parts += not packet.is_corrupt
            return []
        if counted:
            self._frames += len(frames)
            self._broken_frames += sum(frame.is_corrupt for frame in frames)
        return frames


def _opened(path: Path) -> Any:
    """The open container of a film.

    libav looks for what a header may lack by decoding the first frames, which shows in films of seconds. A whole mp4
    lacks nothing, so no frame of it is decoded twice.
    """
    import av

    def opened(**more: str) -> Any:
        return av.open(f"file:{path}", options={**SELF_CONTAINED, **more}, metadata_errors="replace")

    with path.open("rb") as file:
        states_all = file.read(8).endswith(b"ftyp")
    if states_all:
        container = opened(skip_frame="all")  # of those alone by which libav looks
        pictures = container.streams.video
        if pictures and all(map(_stated_whole, pictures)):
            return container
        container.close()
    return opened()


def _stated_whole(picture: Any) -> bool:
    """Whether a header counts the frames, so is followed by no others, and no decoder needs to know more."""
    decoder = picture.codec_context
    return bool(picture.frames) and decoder is not None and decoder.name in _KNOWN_BY_HEADER


def unreadable(path: Path, error: Exception, said: str = "") -> DataError:
    """What libav says of a file that it cannot read, or what is `said` instead."""
    reason = said or getattr(error, "strerror", None) or str(error)
    return DataError([Problem(str(path), f"cannot be read as a film or sound ({reason.rstrip('.')})")])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
