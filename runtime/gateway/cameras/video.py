"""Streams, videos and capture devices through PyAV, which is FFmpeg (ADR: docs/cameras.md).

FFmpeg reads formats of forty years, and cameras are not trusted: each kind of address may use a few
protocols, containers and decoders, and no picture may be larger than 8K.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from runtime.arrays import Image
from runtime.errors import ImageError

from .addresses import Kind, file_path, scrubbed
from .libav_log import LibavLog
from .options import CameraOptions
from .reasons import reason_of
from .source import Arrival, Broken, End, Recovery, import_av

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

__all__ = ["AvPicture", "Video", "demuxer_options"]

_LARGEST_PX: Final = 7680 * 4320
_CODECS: Final = (
    "h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "mpeg4", "mpeg2video", "mjpeg", "rawvideo",
)  # fmt: skip
_CONTAINERS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,h264,hevc,mjpeg"
_PROTOCOLS: Final = {
    Kind.RTSP: "rtsp,rtsps,rtp,srtp,udp,tcp,tls",
    Kind.HTTP: "http,https,tcp,tls",
    Kind.DEVICE: "file",
    Kind.FILE: "file",
}
_FORMATS: Final = {
    Kind.RTSP: "rtsp,sdp,rtp,mpegts",
    Kind.HTTP: f"mpjpeg,jpeg_pipe,{_CONTAINERS}",
    Kind.DEVICE: "video4linux2,v4l2",
    Kind.FILE: _CONTAINERS,
}
_B_PICTURE: Final = 3
"""FFmpeg's AV_PICTURE_TYPE_B."""
_UDP_BUFFER_BYTES: Final = 1 << 20
"""A keyframe comes in one burst; Linux' usual 208 kB do not hold one of a 4K camera."""


_WAITED_S: Final = 0.002
"""What FFmpeg has in memory comes sooner, the next picture of a camera later."""
_TCP_QUEUE_PACKETS: Final = 2
"""FFmpeg says over TCP that packets are missing only where it would put them in order. A camera
that is too busy to send them all leaves some out, and their pictures come in pieces."""


def demuxer_options(options: CameraOptions) -> dict[str, str]:
    """Return what FFmpeg is told on opening the address."""
    kind = options.kind
    told = {
        "protocol_whitelist": _PROTOCOLS[kind],
        "format_whitelist": _FORMATS[kind],
        "codec_whitelist": ",".join(_CODECS),
        "max_pixels": str(_LARGEST_PX),
    }
    if kind.live:
        # Guessing the frame rate takes 20 pictures, almost a second, and nobody asks for it.
        told["fpsprobesize"] = "0"
    if kind is Kind.RTSP:
        told |= {"rtsp_transport": options.transport, "allowed_media_types": "video"}
        if options.transport == "udp":
            told["buffer_size"] = str(_UDP_BUFFER_BYTES)
        else:
            told["reorder_queue_size"] = str(_TCP_QUEUE_PACKETS)
    if kind is Kind.DEVICE and options.size:
        told["video_size"] = options.size
    if options.ca_file:
        told |= {"tls_verify": "1", "ca_file": options.ca_file}
    return told


@dataclass(frozen=True, slots=True)
class AvPicture:
    """A picture in the decoder's memory, which stays its own as long as this lives."""

    frame: av.VideoFrame
    reordered: bool = False
    """Whether the stream's pictures are shown in another order than they are sent."""

    @property
    def key(self) -> bool:
        """Whether it is a keyframe."""
        return self.frame.key_frame

    @property
    def corrupt(self) -> bool:
        """Whether the decoder hid damage."""
        return self.frame.is_corrupt

    @property
    def waits(self) -> bool:
        """Whether it is a B picture: built on what is shown after it."""
        return self.reordered and self.frame.pict_type == _B_PICTURE

    @property
    def time_s(self) -> float | None:
        """Its presentation time."""
        return self.frame.time

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.frame.width, self.frame.height

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return the first plane: brightness, or all of a packed picture."""
        plane = self.frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
        # What pads a line is not part of the picture.
        pixels: npt.NDArray[np.uint8] = rows[:, : plane.width]
        return pixels

    def image(self) -> Image:
        """Return it as BGR by its own colour space and range, as OpenCV's reader would.

        Raises:
            ImageError: FFmpeg cannot convert its format.
        """
        try:
            image: Image = self.frame.to_ndarray(format="bgr24")  # type: ignore[assignment]
        except (import_av().FFmpegError, ValueError) as error:
            name = self.frame.format.name
            raise ImageError(f"{name} pictures cannot be turned into BGR: {error}") from error
        return image


class Video:
    """An open stream, video or device; its thread opens, reads and closes it.

    Raises:
        Broken: it cannot be opened, or holds no video that may be decoded.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, options: CameraOptions) -> None:
        self._av = import_av()
        self._options = options
        self._live = options.kind.live
        self._url = options.full_url()
        self._log = LibavLog(self._av)
        self._container: InputContainer | None = None
        try:
            self._container = container = self._open()
            self._stream = self._choose(container)
            self._packets: Iterator[av.Packet[Any]] = container.demux()
            # FFmpeg has looked at some pieces and kept them; it does not say in which of them.
            self._loss_kept = self._log.take_losses() > 0
        except BaseException:
            self.close()
            raise
        self._data_s = monotonic()

    @property
    def description(self) -> str:
        """Codec and container."""
        container = self._container
        return f"{self._stream.codec_context.name} in {container.format.name}" if container else ""

    def _open(self) -> InputContainer:
        options = self._options
        kind = options.kind
        device = "v4l2" if kind is Kind.DEVICE else None
        # "file:" in front, or a name such as "concat:x" would be taken for a protocol.
        path = file_path(self._url)
        address = f"file:{path}" if kind is Kind.FILE else path
        # One timeout, PyAV's. With FFmpeg's own beside it, a frozen camera shows after the sum of
        # both, and a stale picture comes in between.
        timeout = (options.connect_s, options.stall_s) if self._live else None
        began_s = monotonic()
        try:
            container: InputContainer = self._av.open(
                address, format=device, options=demuxer_options(options), timeout=timeout
            )
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise self._broken(error, monotonic() - began_s, options.connect_s) from None
        return container

    def _choose(self, container: InputContainer) -> av.VideoStream:
        """Return the video stream, its decoder set up."""
        recovery = Recovery.LATER if self._live else Recovery.NEVER
        stream = next(iter(container.streams.video), None)
        if stream is None:
            raise Broken("there is no video in the stream", recovery)
        context = stream.codec_context
        if context is None or context.name not in _CODECS:
            name = context.name if context else "its codec"
            raise Broken(f"{name} cannot be decoded; use one of {', '.join(_CODECS)}", recovery)
        # Decoders hide damage as well as they can, those of MJPEG and H.265 without a flag.
        context.options = {"max_pixels": str(_LARGEST_PX), "err_detect": "crccheck+explode"}
        context.thread_count = self._options.threads
        context.thread_type = "AUTO" if self._options.threads > 1 else "NONE"
        if self._options.keyframes_only:
            context.skip_frame = "NONKEY"
        return stream

    def read(self) -> Arrival:
        """Wait for the next packet and decode it.

        Raises:
            End: the file ended, or the camera hung up.
            Broken: an error, or nothing of the video for ``stall_s``.
        """
        began_s = monotonic()
        try:
            packet = next(self._packets, None)
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise self._broken(error, monotonic() - began_s, self._options.stall_s) from None
        if packet is None:
            raise End
        now_s = monotonic()
        # At its timeout FFmpeg first empties its parser: the picture that was cut off by the
        # silence comes as if it were new, and the error only after as long again.
        if self._live and now_s - began_s >= self._options.stall_s:
            raise Broken(f"no data for {self._options.stall_s:g} s")
        if packet.stream_index != self._stream.index:
            return self._other()
        self._data_s = now_s
        arrival = self._decode(packet)
        # The first that it had to wait for begins with what it kept.
        self._loss_kept = self._loss_kept and now_s - began_s < _WAITED_S
        return arrival

    def _other(self) -> Arrival:
        """Sound and the like come; without them the read itself would have ended."""
        if self._live and monotonic() - self._data_s > self._options.stall_s:
            raise Broken(f"no video data for {self._options.stall_s:g} s")
        return Arrival()

    def _decode(self, packet: av.Packet[Any]) -> Arrival:
        frames: list[Any] = []
        errors = 0
        try:
            frames = self._stream.codec_context.decode(self._owned(packet))
        except self._av.FFmpegError:
            errors = 1
        losses = self._log.take_losses() + bool(packet.is_corrupt) + self._loss_kept
        base = packet.time_base
        time_s = None if packet.pts is None or base is None else float(packet.pts * base)
        reordered = bool(self._stream.codec_context.has_b_frames)
        pictures = [AvPicture(frame, reordered) for frame in frames]
        return Arrival(pictures, errors, losses, time_s)

    def _owned(self, packet: av.Packet[Any]) -> av.Packet[Any]:
        """Return a packet whose data stay when the device is closed.

        FFmpeg's packets of a device lie in the device's own memory, which goes with it, and raw
        pictures are never copied: one that waits to be taken would crash the process.
        """
        if self._options.kind is not Kind.DEVICE:
            return packet
        own: av.Packet[Any] = self._av.Packet(bytes(packet))
        own.pts, own.dts, own.time_base = packet.pts, packet.dts, packet.time_base
        return own

    def _broken(self, error: Exception, waited_s: float, limit_s: float) -> Broken:
        """Return why it broke, without the login that FFmpeg's errors carry."""
        reason, recovery = reason_of(self._av, error, self._options.kind)
        if not reason and self._live and waited_s >= 0.9 * limit_s:
            # FFmpeg reports its own timeouts as invalid data or worse.
            reason = f"no {'data' if self._container else 'answer'} for {limit_s:g} s"
        if not reason:
            said = getattr(error, "strerror", None) or type(error).__name__
            told = self._log.last_error()
            if isinstance(error, self._av.error.HTTPOtherClientError):
                said = "the camera refused; is there video in the stream, and is transport right?"
            reason = scrubbed(f"{said} ({told})" if told else str(said), self._url)
        return Broken(reason, recovery if self._live else Recovery.NEVER)

    def close(self) -> None:
        """Hang up."""
        container, self._container = self._container, None
        # It holds the last packet, which a device must have back while it is open.
        self._packets = iter(())
        if container is not None:
            container.close()
        self._log.close()
