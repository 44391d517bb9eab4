from __future__ import annotations

import datetime
import errno
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.gateway.cameras import Camera, CameraOptions, video
from runtime.gateway.cameras.gate import DamageGate
from runtime.gateway.cameras.libav_log import LibavLog
from runtime.gateway.cameras.source import Arrival, Broken, End, Picture, Recovery
from runtime.gateway.cameras.status import Tally
from runtime.gateway.cameras.video import Video, demuxer_options
from tests.cameras import MjpegCamera, await_state, await_status, moving_picture, write_video
from tests.engines import require


@pytest.fixture(autouse=True)
def _library() -> None:
    require("av")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    """40 pictures, a keyframe every 10."""
    return write_video(folder / "clip.mp4", count=40, keyframe_every=10)


@pytest.fixture(scope="module")
def stream(folder: Path) -> Path:
    """The same as a bare stream."""
    return write_video(folder / "clip.h264", count=40, keyframe_every=10)


def options(url: Path | str, **more: Any) -> CameraOptions:
    return CameraOptions(**{"name": "gate", "url": str(url), **more})


def read_all(source: Video) -> Iterator[Arrival]:
    with suppress(End):
        while True:
            yield source.read()


def pictures(path: Path, **more: Any) -> list[Picture]:
    with closing(Video(options(path, **more))) as source:
        return [picture for arrival in read_all(source) for picture in arrival.pictures]


def test_a_video_gives_its_pictures(clip: Path) -> None:
    shown = pictures(clip)
    assert [picture.time_s for picture in shown] == pytest.approx([n / 25 for n in range(40)])
    assert [n for n, picture in enumerate(shown) if picture.key] == [0, 10, 20, 30]
    for number in (0, 17, 39):
        image = shown[number].image()
        assert image.shape == (180, 320, 3)
        assert image.flags.c_contiguous
        assert not np.may_share_memory(image, shown[number].image())
        difference = np.abs(image.astype(int) - moving_picture(number))
        assert difference.mean() < 12
    assert shown[0].size == (320, 180)
    assert shown[3].pixels().shape == (180, 320)
    assert np.array_equal(shown[3].pixels(), shown[3].pixels())
    assert not np.array_equal(shown[3].pixels(), shown[4].pixels())


def test_more_threads_give_the_same(clip: Path) -> None:
    one, two = pictures(clip), pictures(clip, threads=2)
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.pixels(), b.pixels())


def test_pictures_sent_in_another_order_are_no_damage(folder: Path) -> None:
    path = write_video(folder / "b.mp4", count=40, bframes=2)
    tally = Tally("gate", "b.mp4", quiet_s=0)
    gate = DamageGate(tally, hold=True, gaps=True)
    gate.restart()
    with closing(Video(options(path))) as source:
        shown = [picture for arrival in read_all(source) for picture in gate.usable(arrival)]
    assert any(picture.waits for picture in shown)
    assert [picture.time_s for picture in shown] == pytest.approx([n / 25 for n in range(40)])
    assert tally.read().gaps == 0


def test_keyframes_alone(clip: Path) -> None:
    shown = pictures(clip, keyframes_only=True)
    assert [picture.time_s for picture in shown] == pytest.approx([0.0, 0.4, 0.8, 1.2])


def test_varying_rates_keep_their_times(folder: Path) -> None:
    times_s = [0.0, 0.04, 0.2, 0.25, 0.3, 0.7]
    path = write_video(folder / "vfr.mp4", count=6, times_s=times_s)
    assert [picture.time_s for picture in pictures(path)] == pytest.approx(times_s)


def test_the_size_may_change_on_the_way(folder: Path, stream: Path) -> None:
    small = [moving_picture(n, width=160, height=96) for n in range(10)]
    path = folder / "change.h264"
    other = write_video(folder / "small.h264", pictures=small)
    path.write_bytes(stream.read_bytes() + other.read_bytes())
    camera = Camera(options(path, realtime=False))
    with camera:
        shapes = []
        while (frame := camera.take(5)) is not None:
            shapes.append(frame.image.shape)
        assert shapes == [(180, 320, 3)] * 40 + [(96, 160, 3)] * 10
        assert (camera.status().width, camera.status().height) == (160, 96)


def test_damage_is_counted_and_silent(
    folder: Path, stream: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(stream.read_bytes())
    random = np.random.default_rng(0)
    for place in random.integers(2000, len(data), 60):
        data[place] ^= 1 << int(random.integers(8))
    path = folder / "damaged.h264"
    path.write_bytes(data)
    caplog.set_level(logging.DEBUG)
    with Camera(options(path, realtime=False)) as camera:
        while camera.take(5) is not None:
            pass
        status = await_state(camera, "ended")
    assert status.corrupt + status.decode_errors > 0
    assert 0 < status.taken < 40
    assert capfd.readouterr() == ("", "")
    assert [record.name for record in caplog.records] == ["headlight.gateway.cameras"] * 2


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.mp4", None, "No such file"),
        ("text.mp4", b"this is no video " * 200, "Invalid data"),
        ("empty.mp4", b"", "Invalid data"),
        # A playlist would have FFmpeg open whatever it names.
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "Invalid data"),
        ("concat:a|b", None, "No such file"),
    ],
)
def test_what_is_no_video_fails_for_good(
    tmp_path: Path, name: str, content: bytes | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(Broken, match=reason) as caught:
        Video(options(name))
    assert caught.value.recovery is Recovery.NEVER


def encode(path: Path, codec: str, frame: Any, **settings: Any) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=settings.pop("rate"))
        for name, value in settings.items():
            setattr(stream, name, value)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
    sound.sample_rate = 8000
    path = encode(tmp_path / "sound.mp4", "aac", sound, rate=8000, layout="mono")
    with pytest.raises(Broken, match="no video") as caught:
        Video(options(path))
    assert caught.value.recovery is Recovery.NEVER


def test_decoders_that_no_camera_needs_are_not_used(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    frame = av.VideoFrame.from_ndarray(moving_picture(0), format="bgr24").reformat(format="yuv420p")
    path = encode(
        tmp_path / "odd.mkv", "ffv1", frame, rate=25, width=320, height=180, pix_fmt="yuv420p"
    )
    with pytest.raises(Broken, match="ffv1 cannot be decoded; use one of h264"):
        Video(options(path))


def test_pictures_without_end_are_refused(stream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_LARGEST_PX", 100 * 100)
    try:
        shown = pictures(stream)
    except Broken:
        shown = []
    assert shown == []


@pytest.mark.parametrize(("waited_s", "suspect"), [(1e9, 5), (0.0, 1)])
def test_a_loss_while_ffmpeg_looked_at_the_stream_may_be_in_all_that_it_kept(
    stream: Path, monkeypatch: pytest.MonkeyPatch, waited_s: float, suspect: int
) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr(video, "_WAITED_S", waited_s)
    told = iter([1])
    monkeypatch.setattr(LibavLog, "take_losses", lambda _: next(told, 0))
    source = Video(options(stream))
    losses = [source.read().losses for _ in range(5)]
    source.close()
    assert losses == [1] * suspect + [0] * (5 - suspect)


def test_what_ffmpeg_is_told() -> None:
    told = demuxer_options(options("rtsp://cam/s", transport="udp"))
    assert told["rtsp_transport"] == "udp"
    assert "reorder_queue_size" not in told  # FFmpeg's own: 500 packets
    # Without a queue FFmpeg does not say what is missing.
    assert int(demuxer_options(options("rtsp://cam/s"))["reorder_queue_size"]) > 1
    assert "file" not in told["protocol_whitelist"].split(",")
    assert demuxer_options(options("a.mp4"))["protocol_whitelist"] == "file"
    device = demuxer_options(options("/dev/video0", size="1280x720"))
    assert device["video_size"] == "1280x720"
    secure = demuxer_options(options("rtsps://cam/s", ca_file="/etc/ca.pem"))
    assert (secure["tls_verify"], secure["ca_file"]) == ("1", "/etc/ca.pem")
    assert "tls_verify" not in told


@pytest.mark.parametrize("url", ["/dev/video5", "v4l2:///dev/video5"])
def test_what_a_device_is_opened_with(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    asked: list[tuple[str, dict[str, Any]]] = []

    def refuse(address: str, **given: Any) -> Any:
        asked.append((address, given))
        raise av.error.OSError(errno.EBUSY, "busy", address)

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(Broken, match="another program uses the device"):
        Video(options(url, size="1280x720"))
    ((address, given),) = asked
    assert address == "/dev/video5"
    assert given["format"] == "v4l2"
    assert given["options"]["video_size"] == "1280x720"
    assert given["options"]["format_whitelist"] == "video4linux2,v4l2"
    assert "rtsp_transport" not in given["options"]
    assert given["timeout"] == (5.0, 2.5)


def test_a_device_that_is_not_there_is_tried_again() -> None:
    with pytest.raises(Broken, match="there is no such device") as caught:
        Video(options("/dev/video97"))
    assert caught.value.recovery is Recovery.SOON
    with Camera(options("/dev/video97")) as camera:
        assert "is the camera plugged in?" in await_state(camera, "retrying").reason


@pytest.mark.parametrize("device", ["/dev/null", "file"])
def test_a_device_that_is_no_camera_says_so(device: str, tmp_path: Path) -> None:
    pytest.importorskip("av")
    if device == "file":
        device = str(tmp_path / "file")
        Path(device).write_bytes(b"no device at all")
    with pytest.raises(Broken, match="the device is no camera") as caught:
        Video(options(f"v4l2://{device}"))
    assert caught.value.recovery is Recovery.LATER


def test_mjpeg_over_http() -> None:
    with MjpegCamera() as server, Camera(options(server.url)) as camera:
        first, second = camera.take(5), camera.take(5)
        assert first is not None
        assert second is not None
        assert np.abs(first.image.astype(int) - moving_picture(first.number)).mean() < 12
        assert second.number > first.number
        status = camera.status()
        assert (status.state, status.gaps, status.corrupt) == ("running", 0, 0)


def test_a_login_over_http(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("GATE_WORD", "ge@h:ei/m")
    login = {"username": "admin", "password_variable": "GATE_WORD", "refused_retry_s": 0.2}
    with MjpegCamera(login="admin:ge@h:ei/m") as server:
        with Camera(options(server.url, **login)) as camera:
            assert camera.take(5) is not None
        monkeypatch.setenv("GATE_WORD", "wr@ng-word")
        with Camera(options(server.url, **login)) as camera:
            status = await_state(camera, "retrying")
            assert status.reason == "the login was refused (401)"
            monkeypatch.setenv("GATE_WORD", "ge@h:ei/m")
            assert camera.take(5) is not None
            told = str(camera.status())
    for secret in ("wr@ng", "wr%40ng", "ge@h", "ge%40h"):
        assert secret not in caplog.text + told


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "the login was refused (403)"),
        (404, "the camera has no such stream (404)"),
        (503, "Server returned 5XX"),
    ],
)
def test_answers_that_are_no_stream(status: int, reason: str) -> None:
    with MjpegCamera() as server:
        server.status = status
        with pytest.raises(Broken) as caught:
            Video(options(server.url))
    assert caught.value.reason.startswith(reason)
    assert caught.value.recovery is (Recovery.SOON if status == 503 else Recovery.LATER)


def test_a_silent_camera_is_noticed_and_comes_back() -> None:
    short = {"stall_s": 0.4, "connect_s": 1.0}
    with MjpegCamera() as server, Camera(options(server.url, **short)) as camera:
        assert camera.take(5) is not None
        server.silent = True
        status = await_state(camera, "retrying", within_s=3)
        assert status.reason == "no data for 0.4 s"
        server.silent = False
        await_state(camera, "running")
        assert camera.status().reconnects >= 1


def test_a_camera_that_hangs_up_comes_back() -> None:
    with MjpegCamera(fps=100) as server:
        server.limit = 5
        with Camera(options(server.url)) as camera:
            status = await_status(camera, lambda status: status.reconnects >= 2)
            assert status.frames >= 10


def test_nobody_there() -> None:
    with MjpegCamera() as server:
        url = server.url
    with pytest.raises(Broken, match="refused") as caught:
        Video(options(url))
    assert caught.value.recovery is Recovery.SOON


def test_a_page_is_no_stream() -> None:
    with MjpegCamera(lambda _: b"<html><body>Welcome</body></html>") as server:
        server.content_type, server.limit = "text/html", 20
        with pytest.raises(Broken):
            Video(options(server.url, connect_s=2))


def test_a_connection_that_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/video"
        with pytest.raises(Broken, match=r"no answer for 0.3 s"):
            Video(options(url, connect_s=0.3))
        camera = Camera(options(url, connect_s=1.0))
        camera.start()
        time.sleep(0.1)
        assert camera.stop(0.1) is False
        assert camera.stop(5) is True


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """Return a file with a certificate that signs itself, and a server's side of it."""
    require("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / f"{name}.pem", folder / f"{name}.key"
    public.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


def test_certificates_are_checked_if_asked_for(tmp_path: Path) -> None:
    own, context = certificate(tmp_path, "own")
    other, _ = certificate(tmp_path, "other")
    with MjpegCamera(tls=context) as server:
        for trusted in ("", str(own)):
            with Camera(options(server.url, ca_file=trusted)) as camera:
                assert camera.take(5) is not None
        with Camera(options(server.url, ca_file=str(other))) as camera:
            assert "certificate" in await_state(camera, "retrying").reason
