from __future__ import annotations

import gc
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigError, DeliveryError
from runtime.gateway.events.mqtt import Mqtt, MqttOptions
from tests.engines import require
from tests.mosquitto import Broker, Listener


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    require("paho")
    with Broker(tmp_path) as running:
        yield running


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def insist(sink: Mqtt, event_id: str, payload: bytes) -> int:
    """Deliver as the publisher does, and return the number of tries that failed."""
    failures, end = 0, time.monotonic() + 20
    while not delivered(sink, event_id, payload):
        failures += 1
        assert time.monotonic() < end
        time.sleep(0.05)
    return failures


def delivered(sink: Mqtt, event_id: str, payload: bytes) -> bool:
    try:
        sink.deliver(event_id, payload)
    except DeliveryError:
        return False
    return True


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_delivers_and_says_whether_it_is_there(broker: Broker, protocol: str) -> None:
    listener = Listener(broker.port)
    sink = Mqtt(MqttOptions(host="127.0.0.1", port=broker.port, topic="site/a", protocol=protocol))
    for number in range(20):
        insist(sink, str(number), b"%d" % number)
    until(lambda: len(listener.of("site/a/events")) == 20)
    assert listener.of("site/a/events") == [b"%d" % number for number in range(20)]
    assert listener.of("site/a/status") == [b"online"]
    sink.close()
    until(lambda: listener.of("site/a/status") == [b"online", b"offline"])
    listener.close()
    late = Listener(broker.port)
    until(lambda: ("site/a/status", b"offline", True) in late.messages)
    assert late.of("site/a/events") == []  # events are not retained
    late.close()


def test_the_last_will_speaks_for_a_gateway_that_is_gone(broker: Broker) -> None:
    listener = Listener(broker.port)
    sink = Mqtt(MqttOptions(host="127.0.0.1", port=broker.port))
    insist(sink, "1", b"1")
    sink._client.reconnect_delay_set(60, 60)
    connection: Any = sink._client.socket()
    connection.shutdown(socket.SHUT_RDWR)  # without a word of farewell
    until(lambda: listener.of("headlight/status") == [b"online", b"offline"])
    sink.close()
    listener.close()


def test_nothing_is_lost_when_the_broker_dies(broker: Broker) -> None:
    listener = Listener(broker.port)
    sink = Mqtt(MqttOptions(host="127.0.0.1", port=broker.port, timeout_s=0.3))
    failures = 0
    for number in range(60):
        if number in (20, 40):
            # A broker without persistence may lose what it has acknowledged but not passed on.
            until(lambda: len(set(listener.of("headlight/events"))) == number)  # noqa: B023
            broker.kill()
            timer = threading.Timer(0.6, broker.start)
            timer.start()
        failures += insist(sink, str(number), b"%d" % number)
    timer.join()
    until(lambda: set(listener.of("headlight/events")) == {b"%d" % n for n in range(60)})
    assert failures > 0
    # Paho sends at most one of its own again, for each time that the broker died.
    assert len(listener.of("headlight/events")) <= 62
    sink.close()
    listener.close()


def test_paho_keeps_one_event_while_nobody_is_there(broker: Broker) -> None:
    sink = Mqtt(MqttOptions(host="127.0.0.1", port=broker.port, timeout_s=0.05))
    insist(sink, "1", b"1")
    broker.kill()
    for _ in range(40):
        with pytest.raises(DeliveryError) as caught:
            sink.deliver("2", b"2")
    assert len(sink._client._out_messages) <= 1
    assert str(broker.port) in str(caught.value)
    broker.start()
    insist(sink, "2", b"2")
    sink.close()


def test_a_broker_that_hangs_acknowledges_nothing(broker: Broker) -> None:
    sink = Mqtt(MqttOptions(host="127.0.0.1", port=broker.port, timeout_s=0.2))
    insist(sink, "1", b"1")
    # Message numbers come again after 65,535; what was acknowledged then says nothing of now.
    sink._acknowledged.update(dict.fromkeys(range(65_536)))
    broker.freeze()
    with pytest.raises(DeliveryError, match="no acknowledgement"):
        sink.deliver("2", b"2")
    broker.thaw()
    insist(sink, "2", b"2")
    sink.close()


def test_passwords_and_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("paho")
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    passwords, rules = tmp_path / "passwords", tmp_path / "rules"
    passwords.touch(mode=0o600)
    subprocess.run(
        ["mosquitto_passwd", "-b", str(passwords), "gateway", "hunter2"],
        check=True,
        capture_output=True,
    )
    rules.write_text("user gateway\ntopic write headlight/status\n")
    rules.chmod(0o600)
    settings = f"password_file {passwords}\nacl_file {rules}"
    monkeypatch.setenv("HEADLIGHT_TEST_PASSWORD", "hunter2")
    (tmp_path / "wrong").write_text("hunter3")
    with Broker(tmp_path, settings, anonymous=False) as broker:
        options: dict[str, Any] = {"host": "127.0.0.1", "port": broker.port, "username": "gateway"}
        right = Mqtt(MqttOptions(**options, password_variable="HEADLIGHT_TEST_PASSWORD"))
        until(lambda: "connected" in right._state)
        with pytest.raises(DeliveryError, match=r"(?i)refused an event: not authorized"):
            insist_once(right)
        right.close()
        wrong = Mqtt(MqttOptions(**options, password_file=str(tmp_path / "wrong")))
        until(lambda: "refused" in wrong._state)
        with pytest.raises(DeliveryError, match=r"(?i)refused the connection: not auth") as caught:
            wrong.deliver("1", b"1")
        assert "hunter" not in str(caught.value)
        wrong.close()


def insist_once(sink: Mqtt) -> None:
    until(sink._client.is_connected)
    sink.deliver("1", b"1")


# Paho leaves the socket of a failed handshake to the collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_brokers_with_tls_are_checked(certificate: Path, tmp_path: Path) -> None:
    require("paho")
    settings = f"certfile {certificate / 'cert.pem'}\nkeyfile {certificate / 'key.pem'}"
    with Broker(tmp_path, settings) as broker:
        options: dict[str, Any] = {"host": "127.0.0.1", "port": broker.port, "tls": True}
        trusting = Mqtt(MqttOptions(**options, ca_file=str(certificate / "cert.pem")))
        assert insist(trusting, "1", b"1") < 20
        trusting.close()
        strict = Mqtt(MqttOptions(**options))
        until(lambda: "certificate" in strict._state)
        with pytest.raises(DeliveryError, match="not trusted"):
            strict.deliver("1", b"1")
        strict.close()
        gc.collect()


def test_interrupting_ends_a_wait() -> None:
    require("paho")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = Mqtt(MqttOptions(host="127.0.0.1", port=silent.getsockname()[1]))
        with pytest.raises(DeliveryError, match="not connected"):
            sink.deliver("1", b"1")
        sink._sent = ("1", 1)
        threading.Timer(0.1, sink.interrupt).start()
        began = time.monotonic()
        with pytest.raises(DeliveryError, match="closing"):
            sink.deliver("1", b"1")
        assert time.monotonic() - began < 5
        sink.close()


@pytest.mark.parametrize(
    "options",
    [{"port": 0}, {"keepalive_s": 1}, {"timeout_s": 0}, {"protocol": "4"}, {"host": ""},
     {"topic": "a/#"}, {"topic": "/a"}, {"ca_file": "x"}, {"password_file": "x"},
     {"tls": True, "certificate_file": "x"}, {"client_id": ""}],
)  # fmt: skip
def test_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        MqttOptions(**{"host": "broker", **options})


def test_certificates_that_are_none(tmp_path: Path) -> None:
    require("paho")
    with pytest.raises(ConfigError, match="certificate"):
        Mqtt(MqttOptions(host="broker", tls=True, ca_file=str(tmp_path / "missing")))
