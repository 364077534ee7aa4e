"""Session ids, topics, groups and client ids. Nothing else in the project builds a name."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass

from litevoice_contracts.errors import InvalidField

SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
TOPIC = re.compile(r"[A-Za-z0-9_%|-]+")
GROUP_MAX_LENGTH = 120  # RocketMQ: Validators.CHARACTER_MAX_LENGTH, less room for %RETRY%
REQUEST_TOPIC_MAX_LENGTH = GROUP_MAX_LENGTH - len("-workers")
REPLY_TOPIC_MAX_LENGTH = GROUP_MAX_LENGTH - len("-gateways")
MAX_PARTITIONS = 100  # partition names end in two digits

_RANDOM_BYTES = 18  # 144 random bits, 24 characters
_TAG_BYTES = 15  # 120 bits, 20 characters
_RANDOM_LENGTH = _RANDOM_BYTES * 4 // 3
_KIND = re.compile(r"([sg])((?:[1-9][0-9]?|100)?)_")
"""How a name begins: whether it is a session's or a gateway's, and the number of partitions it was made for, which the
first ones did without."""


def new_session_id(signing_key: bytes, principal: str, partitions: int) -> str:
    """A fresh id, which is also the name of the session's LiteTopic: ``s16_<random>_<tag>``.

    It says how many partitions it was made for, so that the session keeps its own when there are more of them. And it
    carries its own proof of ownership (a keyed tag over all that goes before and the principal), so any gateway can
    tell whose session it is without a lookup: at most 50 characters, 144 random bits.
    """
    given = f"{partitions}_{secrets.token_urlsafe(_RANDOM_BYTES)}"
    return f"s{given}_{_tag(signing_key, principal, given)}"


def new_gateway_id(partitions: int) -> str:
    """A fresh name for the LiteTopic of a gateway process, ``g16_<random>``; no session's id begins like it."""
    return f"g{partitions}_{secrets.token_urlsafe(_RANDOM_BYTES)}"


def is_gateway_id(name: str) -> bool:
    """Whether a LiteTopic of the reply topic belongs to a gateway, not to a session."""
    kind = _KIND.match(name)
    return kind is not None and kind[1] == "g"


def owns_session(signing_key: bytes, principal: str, session_id: str) -> bool:
    """Whether `session_id` was made for `principal`. False for anything malformed; constant time in the tag."""
    kind = _KIND.match(session_id)
    if not SESSION_ID.fullmatch(session_id) or kind is None or kind[1] != "s":
        return False
    end = kind.end() + _RANDOM_LENGTH
    given = session_id[1 if kind[2] else 2 : end]
    separator, tag = session_id[end : end + 1], session_id[end + 1 :]
    return separator == "_" and hmac.compare_digest(tag, _tag(signing_key, principal, given))


def _tag(signing_key: bytes, principal: str, given: str) -> str:
    mac = hmac.new(signing_key, f"{principal}\0{given}".encode(), hashlib.sha256).digest()[:_TAG_BYTES]
    return base64.urlsafe_b64encode(mac).decode()


def partitions_of(lite_topic: str, partitions: int) -> int:
    """How many partitions a session, or a gateway's own LiteTopic, was made for; `partitions`, the setting, when its
    name does not say it, as those of the first release."""
    kind = _KIND.match(lite_topic)
    return int(kind[2]) if kind is not None and kind[2] else partitions


def partition_of(session_id: str, partitions: int) -> int:
    """The session's partition: a stable hash, the same in every process and every release, over as many partitions as
    it was made for."""
    return zlib.crc32(session_id.encode()) % partitions_of(session_id, partitions)


@dataclass(frozen=True, slots=True)
class Names:
    """Every broker name of one VoiceGateway.

    A session lives on one broker entirely: its id gives the partition, and the partition the broker, by its number from
    0, that has both the partition's topic and a reply topic of its own. Every topic exists on one broker only, so that
    a LiteTopic cannot begin again on another one while the name server does not know its own.

    Attributes:
        request_topic: base name; the partitions are ``<request_topic>-00`` … (FIFO, exactly one queue each).
        reply_topic: parent topic of the LiteTopics of broker 0's sessions (type LITE), base name of the others'.
        partitions: number of partitions, 1 to 100. It may grow while sessions live: see `partition_of`.
        brokers: how many brokers share the partitions, 1 to `partitions`. Never changes.
    """

    request_topic: str
    reply_topic: str
    partitions: int
    brokers: int = 1

    @staticmethod
    def prefix(namespace: str, name: str) -> str:
        """Of the topics when the spec names none. Names of Kubernetes objects have no ``_``: no two VoiceGateways of a
        cluster have the same prefix."""
        return f"lv-{namespace}_{name}"

    @classmethod
    def with_prefix(cls, prefix: str, partitions: int, brokers: int = 1) -> Names:
        """``<prefix>-requests`` and ``<prefix>-replies``."""
        return cls(f"{prefix}-requests", f"{prefix}-replies", partitions, brokers)

    @classmethod
    def default(cls, namespace: str, name: str, partitions: int, brokers: int = 1) -> Names:
        """The names of a new VoiceGateway whose spec gives none."""
        return cls.with_prefix(cls.prefix(namespace, name), partitions, brokers)

    def validate(self) -> None:
        """Raises InvalidField when a derived name would not be legal at the broker; the field is the spec's."""
        number_length = len(self.reply_topic_on(self.brokers - 1)) - len(self.reply_topic)
        for field, topic, longest in (
            ("rocketmq.requestTopic", self.request_topic, REQUEST_TOPIC_MAX_LENGTH),
            ("rocketmq.replyTopic", self.reply_topic, REPLY_TOPIC_MAX_LENGTH - number_length),
        ):
            if not TOPIC.fullmatch(topic):
                raise InvalidField(field, f"only letters, digits, '_', '-', '%' and '|', got {topic!r}")
            if len(topic) > longest:
                raise InvalidField(field, f"at most {longest} characters, got {len(topic)}: {topic!r}")
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise InvalidField("rocketmq.partitions", f"1 to {MAX_PARTITIONS}, got {self.partitions}")
        if not 1 <= self.brokers <= self.partitions:
            raise InvalidField("rocketmq.brokers", f"1 to {self.partitions} (rocketmq.partitions), got {self.brokers}")
        if self.brokers > 1 and self.reply_topic == self.request_topic:
            raise InvalidField(
                "rocketmq.replyTopic", f"another name than rocketmq.requestTopic, got {self.reply_topic!r}"
            )
        made = {*self.reply_topics}.intersection((*self.partition_topics, self.control_topic))
        if made:
            what = f"a name that is not one of the topics made for rocketmq.requestTopic ({self.request_topic}-…)"
            raise InvalidField("rocketmq.replyTopic", f"{what}, got {min(made)!r}")

    def broker_of_partition(self, partition: int) -> int:
        return partition % self.brokers

    def covers(self, lite_topic: str) -> bool:
        """Whether there are as many partitions, here and now, as a session was made for."""
        return partitions_of(lite_topic, self.partitions) <= self.partitions

    def broker_of(self, lite_topic: str) -> int:
        """Of a session, or of a gateway's own LiteTopic."""
        return self.broker_of_partition(partition_of(lite_topic, self.partitions))

    def partition_topic(self, partition: int) -> str:
        """FIFO topic of one partition, e.g. ``X-07``."""
        return f"{self.request_topic}-{partition:02d}"

    @property
    def partition_topics(self) -> tuple[str, ...]:
        return tuple(self.partition_topic(p) for p in range(self.partitions))

    def session_partition_topic(self, session_id: str) -> str:
        return self.partition_topic(partition_of(session_id, self.partitions))

    def reply_topic_on(self, broker: int) -> str:
        """Parent topic of the LiteTopics of that broker's sessions: ``Y``, ``Y-01`` …"""
        return f"{self.reply_topic}-{broker:02d}" if broker > 0 else self.reply_topic

    def reply_topic_of(self, lite_topic: str) -> str:
        """Parent topic of a session's, or a gateway's own, LiteTopic."""
        return self.reply_topic_on(self.broker_of(lite_topic))

    @property
    def reply_topics(self) -> tuple[str, ...]:
        return tuple(self.reply_topic_on(broker) for broker in range(self.brokers))

    def topics_on(self, broker: int) -> tuple[str, ...]:
        """Everything that stands on that broker; the fences, which only workers need, on broker 0."""
        partitions = (self.partition_topic(p) for p in range(self.partitions) if self.broker_of_partition(p) == broker)
        return (*partitions, self.reply_topic_on(broker), *((self.control_topic,) if broker == 0 else ()))

    @property
    def control_topic(self) -> str:
        """Parent topic of the partitions' fences."""
        return f"{self.request_topic}-control"

    @staticmethod
    def fence(partition: int) -> str:
        """LiteTopic in the control topic whose exclusive subscriber owns the partition, e.g. ``partition-07``."""
        return f"partition-{partition:02d}"

    @staticmethod
    def presence(worker: str) -> str:
        """LiteTopic in the control topic that a worker is subscribed to while it lives: a digest of its name, which may
        be longer than a LiteTopic's."""
        return f"worker-{hashlib.blake2b(worker.encode(), digest_size=12).hexdigest()}"

    def gateway_group_on(self, broker: int) -> str:
        """Exclusive, orderly, bound to that broker's reply topic."""
        return f"{self.reply_topic_on(broker)}-gateways"

    @property
    def gateway_group(self) -> str:
        """That of broker 0."""
        return self.gateway_group_on(0)

    @property
    def gateway_groups(self) -> tuple[str, ...]:
        return tuple(self.gateway_group_on(broker) for broker in range(self.brokers))

    @property
    def reply_readers(self) -> tuple[tuple[str, str], ...]:
        """The reply topic of each broker, and the group that reads it."""
        return tuple(zip(self.reply_topics, self.gateway_groups, strict=True))

    @property
    def worker_group(self) -> str:
        """Orderly, on the partition topics."""
        return f"{self.request_topic}-workers"

    @property
    def fence_group(self) -> str:
        """Exclusive, bound to the control topic."""
        return f"{self.request_topic}-fences"

    @property
    def owner_groups(self) -> tuple[str, ...]:
        """Groups that nobody consumes in: they say whose the request and the reply topic are."""
        return f"{self.request_topic}-owner", f"{self.reply_topic}-owner"


@dataclass(frozen=True, slots=True)
class ClientId:
    """What a broker client calls itself: the broker knows only this, so it says which pod it is and where."""

    pod: str
    address: str
    role: str
    nonce: str

    def __str__(self) -> str:
        return f"{self.pod}@{self.address}@{self.role}@{self.nonce}"

    @classmethod
    def new(cls, pod: str, address: str, role: str) -> ClientId:
        return cls(pod, address, role, secrets.token_hex(4))

    @classmethod
    def parse(cls, text: str) -> ClientId | None:
        """The parts, or None when another kind of client made the id."""
        parts = text.split("@")
        return cls(*parts) if len(parts) == 4 and all(parts) else None
