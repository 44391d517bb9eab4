"""Events to an MQTT broker, at least once.

An event counts as delivered when the broker has acknowledged it (PUBACK, QoS 1), never when it was
only handed to the client. Until then it stays in the outbox, and paho's own queue, which has no
bound by default, holds one event at most. ``TOPIC/status`` holds ``online``, or ``offline`` by
MQTT's last will when the gateway is gone, retained, for whoever subscribes later.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from runtime.errors import ConfigError, DeliveryError, MissingExtraError
from runtime.gateway.secrets import read_secret

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

__all__ = ["Mqtt", "MqttOptions"]

_PROTOCOLS: Final = ("5", "3.1.1")
_QUEUED: Final = 8
"""Messages in paho's queue at most: one event, and ``online`` of some reconnects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """A broker that takes events.

    Raises:
        ConfigError: a value out of range, or TLS options without TLS.
    """

    host: str
    """Of the broker."""
    port: int = 1883
    """1 to 65535; brokers with TLS usually listen on 8883."""
    topic: str = "headlight"
    """Events go to ``TOPIC/events``, the gateway's state to ``TOPIC/status``."""
    client_id: str = "headlight"
    """Different for every gateway of a broker: of two with the same id, each disconnects the
    other."""
    name: str = "mqtt"
    """Of the sink."""
    username: str = ""
    """Empty: without a login."""
    password_variable: str = ""
    """Environment variable with the password."""
    password_file: str = ""
    """File with the password instead."""
    protocol: str = "5"
    """``5`` or ``3.1.1``, in which a broker cannot say that it refused an event."""
    keepalive_s: int = 30
    """A broker that is silent for some 1.5 times as long counts as gone; 5 to 3600, s."""
    timeout_s: float = 10.0
    """How long to wait for an acknowledgement before the try counts as failed, in (0, 60], s."""
    tls: bool = False
    """Encrypt, and check the broker's certificate and name."""
    ca_file: str = ""
    """Certificates (PEM) to trust instead of the system's."""
    certificate_file: str = ""
    """The gateway's own certificate (PEM), for brokers that ask for one."""
    key_file: str = ""
    """Its key."""

    def __post_init__(self) -> None:
        fits = 1 <= self.port <= 65535 and 5 <= self.keepalive_s <= 3600
        if not (fits and 0 < self.timeout_s <= 60 and self.protocol in _PROTOCOLS):
            raise ConfigError(
                f"mqtt: expected port 1 to 65535, keepalive_s 5 to 3600, timeout_s in (0, 60] and "
                f"protocol of {_PROTOCOLS}, got {self.port}, {self.keepalive_s}, {self.timeout_s} "
                f"and {self.protocol!r}"
            )
        if not (self.host and self.name and self.client_id and self.topic):
            raise ConfigError("mqtt: host, name, client_id and topic must not be empty")
        if set(self.topic) & set("+#\0") or self.topic.startswith("/"):
            raise ConfigError(f"mqtt: topic {self.topic!r} must not hold + or #, nor begin with /")
        if not self.tls and (self.ca_file or self.certificate_file or self.key_file):
            raise ConfigError("mqtt: certificates are set but tls is not; set tls = true")
        if bool(self.certificate_file) != bool(self.key_file):
            raise ConfigError("mqtt: certificate_file and key_file belong together")
        if (self.password_variable or self.password_file) and not self.username:
            raise ConfigError("mqtt: a password without a username; set username")


class Mqtt:
    """Keeps a connection to the broker, from its own thread, until it is closed.

    Raises:
        ConfigError: a password or certificate that cannot be read.
        MissingExtraError: paho-mqtt is not installed.
    """

    def __init__(self, options: MqttOptions) -> None:
        self.name = options.name
        self._options = options
        self._changed = threading.Condition()
        self._closing = False
        self._acknowledged: dict[int, str | None] = {}
        """Message number to why the broker refused it, or None."""
        self._sent: tuple[str, int] | None = None
        """Id and message number of the event that waits for its acknowledgement."""
        self._state = "not connected yet"
        self._client = self._make()
        self._client.connect_async(options.host, options.port, options.keepalive_s)
        self._client.loop_start()

    def _make(self) -> Client:
        try:
            from paho.mqtt import client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise MissingExtraError(
                "MQTT needs the package paho-mqtt; run: pip install 'headlight[gateway]'"
            ) from error
        options = self._options
        password = read_secret(
            f"the password of {self.name}",
            variable=options.password_variable,
            file=options.password_file,
        )
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            options.client_id,
            protocol=paho.MQTTv5 if options.protocol == "5" else paho.MQTTv311,
        )
        client.max_queued_messages_set(_QUEUED)
        client.reconnect_delay_set(1, 10)
        client.connect_timeout = options.timeout_s
        client.will_set(f"{options.topic}/status", b"offline", qos=1, retain=True)
        if options.username:
            client.username_pw_set(options.username, password.decode() if password else None)
        if options.tls:
            client.tls_set_context(self._context())
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _context(self) -> ssl.SSLContext:
        options = self._options
        try:
            context = ssl.create_default_context(cafile=options.ca_file or None)
            if options.certificate_file:
                context.load_cert_chain(options.certificate_file, options.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"mqtt: a certificate cannot be used: {error}") from error
        return context

    def deliver(self, event_id: str, payload: bytes) -> None:
        """Publish an event and wait until the broker has acknowledged it.

        Raises:
            DeliveryError: it has not; paho may still send it, and then the event arrives twice,
                with the same id.
        """
        if self._sent is None or self._sent[0] != event_id:
            self._sent = None
            if not self._client.is_connected():
                raise DeliveryError(self._problem(self._state))
            with self._changed:  # numbers come again after 65,535 messages
                self._acknowledged.clear()
            message = self._client.publish(f"{self._options.topic}/events", payload, qos=1)
            # Without a connection it stays queued, and is sent when there is one again.
            self._sent = (event_id, message.mid)
        refusal = self._wait(self._sent[1])
        self._sent = None
        if refusal is not None:
            raise DeliveryError(self._problem(f"refused an event: {refusal}"))

    def _wait(self, number: int) -> str | None:
        """Return why the broker refused a message, None if it did not."""
        end = monotonic() + self._options.timeout_s
        with self._changed:
            while number not in self._acknowledged:
                left = end - monotonic()
                if self._closing or left <= 0:
                    why = "closing" if self._closing else f"no acknowledgement; {self._state}"
                    raise DeliveryError(self._problem(why))
                self._changed.wait(left)
            return self._acknowledged.pop(number)

    def _problem(self, what: str) -> str:
        return f"broker {self._options.host}:{self._options.port}: {what}"

    def interrupt(self) -> None:
        """End a ``deliver`` that waits."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self) -> None:
        """Say ``offline`` and leave."""
        self.interrupt()
        if self._client.is_connected():
            topic = f"{self._options.topic}/status"
            number = self._client.publish(topic, b"offline", qos=1, retain=True).mid
            with self._changed:
                self._changed.wait_for(lambda: number in self._acknowledged, timeout=1.0)
        self._client.disconnect()
        self._client.loop_stop()

    # What paho's thread calls. No lock of ours is held while paho is called: it holds its own here.

    def _on_connect(
        self,
        client: Client,
        _data: Any,
        _flags: ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._state = f"refused the connection: {reason}"
            return
        self._state = "connected"
        client.publish(f"{self._options.topic}/status", b"online", qos=1, retain=True)

    def _on_connect_fail(self, _client: Client, _data: Any) -> None:
        distrust = ", or its certificate is not trusted" if self._options.tls else ""
        self._state = f"cannot be reached{distrust}"

    def _on_disconnect(
        self,
        _client: Client,
        _data: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not self._state.startswith("refused"):
            self._state = f"connection lost: {reason}"

    def _on_publish(
        self, _client: Client, _data: Any, number: int, reason: ReasonCode, _props: Properties
    ) -> None:
        with self._changed:
            self._acknowledged[number] = str(reason) if reason.is_failure else None
            self._changed.notify_all()
