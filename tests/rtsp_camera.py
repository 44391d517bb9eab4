"""An RTSP camera: loops an H.264 stream from a file, well or badly, until it is killed.

Runs under Debian's Python, which has GStreamer's bindings; nothing of ours is imported::

    /usr/bin/python3 rtsp_camera.py FILE.h264 [--port 8554] [--fps 25] [--corrupt 0.3] [--drop 0.2]
        [--lose 0.05]

The stream has access-unit delimiters (x264: ``aud=1``) and goes out as it is, one access unit a
tick, with time stamps of its own. ``--lose`` leaves out RTP packets, whose numbers then have gaps,
as on a network. Prints ``ready PORT UNITS`` once it listens, and after that a
line of JSON per second with what it has sent. SIGUSR1 turns sending off and on again.
"""

from __future__ import annotations

import argparse
import json
import random
import signal

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

DELIMITER = b"\0\0\0\1\x09"
VIDEO = (
    "( appsrc name=src is-live=true format=time max-bytes=4000000 "
    'caps="video/x-h264,stream-format=byte-stream,alignment=au,framerate={fps}/1" '
    "! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)
# What can go wrong at the other end: sound alone, and pictures in a form that nobody decodes.
OTHERS = {
    "sound": "( audiotestsrc is-live=true ! mulawenc ! rtppcmupay name=pay0 pt=0 )",
    "theora": (
        "( videotestsrc is-live=true ! video/x-raw,width=160,height=96,framerate=10/1 "
        "! theoraenc ! rtptheorapay name=pay0 pt=96 )"
    ),
}


def access_units(path: str) -> list[bytes]:
    """Return the file cut at its delimiters."""
    with open(path, "rb") as file:  # noqa: PTH123
        parts = file.read().split(DELIMITER)
    return [DELIMITER + part for part in parts[1:]]


class Sender:
    """Pushes access units into the pipelines of clients, some of them damaged or left out."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.units = access_units(options.file)
        self.options = options
        self.random = random.Random(options.seed)
        self.silent = False
        self.sent = {"units": 0, "corrupted": 0, "dropped": 0, "packets": 0, "lost": 0}
        # Of its own: the payloader's thread draws from it.
        self.fate = random.Random(options.seed + 1)
        self.passing = False

    def attach(self, _factory: object, media: GstRtspServer.RTSPMedia) -> None:
        """Begin to send to a new pipeline."""
        source = media.get_element().get_by_name("src")
        if self.options.lose:
            pad = media.get_element().get_by_name("pay0").get_static_pad("src")
            kinds = Gst.PadProbeType.BUFFER | Gst.PadProbeType.BUFFER_LIST
            pad.add_probe(kinds, self.lose)
        state = {"next": 0, "gone": False}
        media.connect("unprepared", lambda *_: state.update(gone=True))
        GLib.timeout_add(1000 // self.options.fps, self.push, source, state)

    def push(self, source: Gst.Element, state: dict[str, int]) -> bool:
        """Send the next access unit; False ends the timer."""
        if state["gone"]:
            return False
        number = state["next"]
        unit = self.units[number % len(self.units)]
        drops = self.random.random() < self.options.drop
        if self.silent or drops:
            state["next"] += 1
            self.sent["dropped"] += drops
            return True
        corrupts = self.random.random() < self.options.corrupt
        buffer = Gst.Buffer.new_wrapped(self.damaged(unit) if corrupts else unit)
        buffer.duration = Gst.SECOND // self.options.fps
        buffer.pts = buffer.dts = number * buffer.duration
        # It refuses until a client plays; the same unit is then tried again.
        if source.emit("push-buffer", buffer) == Gst.FlowReturn.OK:
            state["next"] += 1
            self.sent["units"] += 1
            self.sent["corrupted"] += corrupts
        return True

    def lose(self, pad: Gst.Pad, info: Gst.PadProbeInfo) -> Gst.PadProbeReturn:
        """Let some of the packets through."""
        if self.passing:
            return Gst.PadProbeReturn.OK
        packets = info.get_buffer_list()
        if packets is None:
            return Gst.PadProbeReturn.OK if self.survives() else Gst.PadProbeReturn.DROP
        # The packets of a large picture come as a list, which cannot be changed from here.
        self.passing = True
        for index in range(packets.length()):
            if self.survives():
                pad.push(packets.get(index))
        self.passing = False
        return Gst.PadProbeReturn.DROP

    def survives(self) -> bool:
        """Return whether the next packet reaches the network."""
        lost = self.fate.random() < self.options.lose
        self.sent["packets"] += 1
        self.sent["lost"] += lost
        return not lost

    def damaged(self, unit: bytes) -> bytes:
        """Return an access unit with one flipped bit per 200 bytes."""
        data = bytearray(unit)
        for _ in range(1 + len(data) // 200):
            data[self.random.randrange(6, len(data))] ^= 1 << self.random.randrange(8)
        return bytes(data)

    def report(self) -> bool:
        """Print what was sent."""
        print(json.dumps(self.sent), flush=True)
        return True


def require_login(server: GstRtspServer.RTSPServer, factory: object, user: str, word: str) -> None:
    """Let in only who knows the password."""
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(2)  # digest
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, user)
    auth.add_digest(user, word, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role(user, GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
    permissions.add_permission_for_role(user, GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
    factory.set_permissions(permissions)


def main() -> None:
    """Serve ``/cam`` on 127.0.0.1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--port", default="0")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--corrupt", type=float, default=0)
    parser.add_argument("--drop", type=float, default=0)
    parser.add_argument("--lose", type=float, default=0, help="share of RTP packets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--login", default="", help="user:password")
    parser.add_argument("--content", choices=["video", *OTHERS], default="video")
    options = parser.parse_args()
    Gst.init(None)
    sender = Sender(options)
    signal.signal(signal.SIGUSR1, lambda *_: setattr(sender, "silent", not sender.silent))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(OTHERS.get(options.content, VIDEO.format(fps=options.fps)))
    factory.set_shared(True)
    if options.content == "video":
        factory.connect("media-configure", sender.attach)
    if options.login:
        require_login(server, factory, *options.login.split(":", 1))
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    GLib.timeout_add_seconds(1, sender.report)
    print("ready", server.get_bound_port(), len(sender.units), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
