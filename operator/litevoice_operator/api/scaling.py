"""Scaling: gateways by sessions, workers by what they have to do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from litevoice_operator.api.base import Api, Int32, rules


class ScaleDown(Api):
    """When pods are removed."""

    stabilization_seconds: Annotated[Int32, Field(ge=0, le=86_400)] = 300
    """How long fewer pods must have been enough before one is removed."""


class Autoscaling(Api):
    """How many gateways there are for how many sessions."""

    model_config = rules(
        ("self.minReplicas <= self.maxReplicas", "minReplicas must not exceed maxReplicas"),
        ("!has(self.buffer) || self.bufferPercent == 20", "buffer and bufferPercent exclude one another"),
    )

    min_replicas: Annotated[Int32, Field(ge=1, le=1000)] = 2
    """At least so many gateways."""
    max_replicas: Annotated[Int32, Field(ge=1, le=1000)]
    """At most so many."""
    sessions_per_pod: Annotated[Int32, Field(ge=1, le=100_000)]
    """Sessions that a gateway is meant to hold; less than `session.maxPerPod`, beyond which it refuses new ones."""
    buffer_percent: Annotated[Int32, Field(ge=0, le=1000)] = 20
    """Room kept for new sessions, in percent of those that there are."""
    buffer: Annotated[Int32 | None, Field(ge=0, le=1_000_000)] = None
    """Room kept for so many new sessions, instead of `bufferPercent`."""
    scale_down: ScaleDown = ScaleDown()
    """When gateways are removed."""


class Rebalance(Api):
    """What is done about gateways that hold far more sessions than the others, after a scale-up for example."""

    imbalance_percent: Annotated[Int32, Field(ge=10, le=1000)] = 50
    """A gateway that holds so much more than the average of all, and at least 20 sessions more, gets no new clients
    until it holds at most 10 % more."""
    move_sessions: bool = True
    """After a minute, also move sessions that it has: between two turns, those of clients that come back, each at most
    once in ten minutes. Nothing is moved with `drain.policy` Complete."""


class WorkerAutoscaling(Api):
    """How many workers there are for how much work. Never more than `rocketmq.partitions`, unless `minReplicas` is:
    they would be idle, because a worker owns whole partitions."""

    model_config = rules(("self.minReplicas <= self.maxReplicas", "minReplicas must not exceed maxReplicas"))

    min_replicas: Annotated[Int32, Field(ge=1, le=1000)] = 2
    """At least so many workers."""
    max_replicas: Annotated[Int32, Field(ge=1, le=1000)]
    """At most so many."""
    target_busy_percent: Annotated[Int32, Field(ge=10, le=80)] = 60
    """CPU that workers are meant to use on average, in percent of what they may. Once the busiest one uses 85 %,
    gateways refuse new sessions."""
    max_behind_seconds: Annotated[Int32, Field(ge=1, le=60)] = 2
    """There are more workers when requests wait longer than this in a partition. From 3 s on, gateways refuse new
    sessions."""
    scale_down: ScaleDown = ScaleDown()
    """When workers are removed."""
