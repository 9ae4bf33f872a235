"""A film or sound from its file to decoded frames, with everything that was lost on the way."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fusionkit.data.readers.files import is_file, name_errors
from fusionkit.data.readers.limits import check_size, read_limits
from fusionkit.data.readers.promised_lengths import find_promise
from fusionkit.data.readers.sound.tracks import count_in_words
from fusionkit.errors import DataError, Problem

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,asf,rm,mxf,nut,mpeg,mpegts,mpegvideo,m4v,h263,h264,hevc,"
    "av1,obu,ivf,mjpeg,dv,wtv,gif,ogg,mp3,aac,loas,wav,w64,flac,aiff,au,caf,amr,ac3,eac3,dts,ape,wv,tta"
)

SELF_CONTAINED: Mapping[str, str] = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
"""Formats that libav may open: they hold picture and sound themselves, and name no other files as playlists do."""

_FRAMES_SHORT = 2
_WHOLE_SHORT, _STREAM_SHORT = 0.25, 0.1
"""Parts of a promise that may be missing: headers round durations and count frames that only help to decode others."""

_FASTEST = 1000
"""Frames per second above which a rate is a time base, and says nothing of how many frames there are."""

_UNREADABLE = "cannot be read as a film or sound"

_KINDS = {"video": "picture", "audio": "sound"}

_KNOWN_BY_HEADER = frozenset({"h264", "hevc"})
"""Codecs whose frames come in order without one decoded beforehand: the header or the stream says how late they are."""


class Film:
    """A film or sound, decoded from its beginning to its end on one thread.

    A film that breaks off is decoded as far as it goes, often without an error of the decoder: so what was decoded is
    held against what the header promises, and `losses` says afterwards what is missing.

    Args:
        path: The file; no network address, and no file that names others instead of holding picture or sound.
        content: What is decoded instead of all that the file holds, such as one of several that were joined.

    Raises:
        DataError: It is not there, is no film or sound, or states more than the limits allow.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        if content is None and not is_file(path):
            raise DataError([Problem(str(path), "is not there")])
        self.path = path
        self._container = _open(path, content)
        with name_errors(path, _UNREADABLE):
            self._find_streams()
            with path.open("rb") if content is None else io.BytesIO(content) as file:
                self._promise = find_promise(self._container, self.picture, self.sound, file)
        self._check_limits()
        self._wanted: tuple[Any, ...] = ()
        self._frames = self._set_aside = self._broken_parts = self._broken_frames = self._samples = 0
        self._spans: dict[int, tuple[int, int]] = {}
        # An avi states no times, and libav takes those of frames that are decoded before they are shown for other ones:
        # its frames are shown one after another, at the places where frames stand in the file.
        self._places: deque[int] | None = deque() if self._container.format.name == "avi" else None

    def _find_streams(self) -> None:
        import av

        streams, covers = self._container.streams, av.stream.Disposition.attached_pic
        self.picture: Any = next((stream for stream in streams.video if not stream.disposition & covers), None)
        self.sound: Any = next(iter(streams.audio), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def lacks_duration(self) -> bool:
        """True where the file does not say how long it is, so that a loss at its end would go unseen."""
        return self._promise.is_open

    @property
    def stated_seconds(self) -> float:
        """The film's length by its own word; 0 where it does not say."""
        promise, rate = self._promise, 0.0 if self.picture is None else float(self.picture.average_rate or 0)
        pictured = promise.frames / rate if 0 < rate <= _FASTEST else 0.0
        return max(promise.whole or 0.0, pictured, *promise.seconds.values(), 0.0)

    @property
    def stated_seconds_of_sound(self) -> float:
        """The sound's length by its own word, or else that of all; 0 where it has none."""
        return 0.0 if self.sound is None else self._promise.seconds.get(self.sound.index, self.stated_seconds)

    def decode(self, *, picture: bool, sound: bool) -> Iterator[Any]:
        """Decodes the frames of picture and sound, libav's ``VideoFrame`` and ``AudioFrame``, in the order of the file.

        Raises:
            DataError: There is no decoder for them, or libav stumbles over the file.
        """
        wanted = [stream for stream, asked in ((self.picture, picture), (self.sound, sound)) if asked and stream]
        for stream in wanted:
            if stream.codec_context is None:
                raise DataError([Problem(str(self.path), f"there is no decoder for its {_KINDS[stream.type]}")])
        self._wanted = tuple(wanted)
        indices = {stream.index for stream in wanted}
        counted = self.picture.index if picture and self.picture else None
        with name_errors(self.path, _UNREADABLE):
            for stream in wanted:
                stream.thread_type = "NONE"
                stream.codec_context.thread_count = 1
                if stream.codec_context.name == "flac":
                    # Each frame has a checksum, which libav does not look at by itself: it decodes noise instead.
                    stream.codec_context.options = {"err_detect": "crccheck+explode"}
            for packet in self._read_packets():
                index = packet.stream.index  # `stream_index` is 0 of those that ask a decoder for its last frames
                if index in indices:
                    yield from self._decode(packet, counted=index == counted)

    def list_losses(self) -> list[str]:
        """Lists what is missing or broken of what was asked for, once all of it was decoded; nothing of a whole."""
        promise = self._promise
        found = []
        counted = self.picture in self._wanted and promise.frames
        if counted and self._frames + self._set_aside < counted - _FRAMES_SHORT:
            found.append(f"decodes to {self._frames} of {counted} frames that its header promises")
        elif promise.whole is not None and self._reached < promise.whole - _WHOLE_SHORT:
            found.append(f"ends after {self._reached:.2f} of {promise.whole:.2f} s that its header promises")
        for stream in self._wanted:
            length, stated = self._measure_length(stream), promise.seconds.get(stream.index, 0.0)
            if length < stated - _STREAM_SHORT:
                what = f"its {_KINDS[stream.type]} " if len(self._wanted) > 1 else ""
                found.append(f"{what}ends after {length:.2f} of {stated:.2f} s that its header promises")
        found = found or list(promise.losses)  # seconds say more than bytes
        if self._broken_parts == 0 and self._lacks_parts_of_flac():
            found.append("has parts that cannot be decoded")
        if self._broken_parts:
            found.append(f"has {count_in_words(self._broken_parts, 'part')} that cannot be decoded")
        if self._broken_frames:
            found.append(f"has {count_in_words(self._broken_frames, 'damaged frame')}")
        return found

    def _lacks_parts_of_flac(self) -> bool:
        """Tells whether frames inside a flac are missing: libav drops some whose checksum is wrong, without a word."""
        if self._container.format.name != "flac" or self.sound not in self._wanted:
            return False
        promised: int = round(self._measure_length(self.sound) * self.sound.codec_context.sample_rate)
        return self._samples < promised

    @property
    def _reached(self) -> float:
        """Seconds from the beginning to the end of the last packet."""
        streams = self._container.streams
        ends = [float(end * streams[index].time_base) for index, (_, end) in self._spans.items()]
        return max(ends, default=0.0) - (self._container.start_time or 0) / 1e6

    def _measure_length(self, stream: Any) -> float:
        """Measures the seconds from the beginning of a stream's first packet to the end of its last."""
        start, end = self._spans.get(stream.index, (0, 0))
        return float((end - start) * stream.time_base)

    def _check_limits(self) -> None:
        place, seconds = str(self.path), self.stated_seconds
        picture, sound = (stream and stream.codec_context for stream in (self.picture, self.sound))
        if picture is not None:
            check_size("pixels", picture.width * picture.height, place)
            check_size("frames", self._promise.frames, place)
        if sound is not None:
            check_size("samples", round(seconds * sound.sample_rate * sound.layout.nb_channels), place)

    def _read_packets(self) -> Iterator[Any]:
        """Yields the packets of the file and then, for each stream, what makes its decoder give its last frames."""
        import av

        packets, spans = self._container.demux(), self._spans
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # the file breaks off: what the decoders still hold is worth having
                self._broken_parts += 1
                for stream in (*self._container.streams.video, *self._container.streams.audio):
                    last = av.Packet()
                    last.stream = stream
                    yield last
                return
            if packet is None:
                return
            start = packet.dts if self._places is not None else packet.pts
            if start is not None:
                index, end = packet.stream.index, start + (packet.duration or 0)
                first, last = spans.get(index, (start, end))
                spans[index] = min(first, start), max(last, end)
            yield packet

    def _decode(self, packet: Any, *, counted: bool) -> list[Any]:
        import av

        self._broken_parts += packet.is_corrupt
        self._set_aside += counted and packet.is_discard
        places = self._places if counted else None
        if places is not None and packet.dts is not None:
            places.append(packet.dts)
        try:
            frames: list[Any] = packet.decode()
        except av.FFmpegError:
            self._broken_parts += not packet.is_corrupt
            if places:
                places.pop()
            return []
        if counted:
            self._frames += len(frames)
            self._broken_frames += sum(frame.is_corrupt for frame in frames)
        if places is not None:
            for frame in frames:
                frame.pts = places.popleft() if places else None
        elif packet.stream.type == "audio":
            for frame in frames:  # that of mp3 says the rate of the frame before it
                frame.sample_rate = packet.stream.codec_context.sample_rate
                self._samples += frame.samples
        return frames


def _open(path: Path, content: bytes | None) -> Any:
    """Opens the container of a film.

    libav looks for what a header may lack by decoding the first frames, which shows in films of seconds. A whole mp4
    lacks nothing, so no frame of it is decoded twice.
    """
    import av

    def open_container(**more: str) -> Any:
        source = f"file:{path}" if content is None else io.BytesIO(content)
        options = {**SELF_CONTAINED, "max_pixels": str(2 * read_limits().pixels), **more}
        return av.open(source, options=options, metadata_errors="replace")

    with name_errors(path, _UNREADABLE):
        try:
            if _begins_as_mp4(path, content):
                container = open_container(skip_frame="all")  # of those alone by which libav looks
                pictures = container.streams.video
                if pictures and all(map(_is_stated_whole, pictures)):
                    return container
                container.close()
            return open_container()
        except av.FFmpegError as error:
            # What libav says of a format that is none of these.
            more = "; a list of other files, such as a playlist, is none" if isinstance(error, av.ArgumentError) else ""
            reason = f"{(error.strerror or str(error)).rstrip('.')}{more}"
            raise DataError([Problem(str(path), f"{_UNREADABLE} ({reason})", "copy it again")]) from error


def _begins_as_mp4(path: Path, content: bytes | None) -> bool:
    if content is not None:
        return content[4:8] == b"ftyp"
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


def _is_stated_whole(picture: Any) -> bool:
    """Says whether a header counts the frames, so is followed by no others, and no decoder needs to know more."""
    decoder = picture.codec_context
    return bool(picture.frames) and decoder is not None and decoder.name in _KNOWN_BY_HEADER
