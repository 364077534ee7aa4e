"""What a broker's settings cost a voice session: the traps of RocketMQ that were measured, as findings; its version and
its quotas, clocks that are off, and what the operator may not do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from litevoice_broker.lag import BrokerUse
from litevoice_contracts.operator_api import Diagnosis, Level
from litevoice_operator.observe.clocks import apart, off, ours_ahead


@dataclass(frozen=True, slots=True)
class Rule:
    """Attributes:
    level: what it is when the setting does not fit.
    why: what happens then.
    """

    setting: str
    fits: Callable[[str], bool]
    wanted: str
    level: Level
    why: str


def _is(wanted: str) -> Callable[[str], bool]:
    return lambda value: value.lower() == wanted.lower()


def _at_least(least: int) -> Callable[[str], bool]:
    return lambda value: value.isdigit() and int(value) >= least


RULES = (
    Rule("enableLmq", _is("true"), "true", "error", "there are no LiteTopics without it"),
    Rule("enableMultiDispatch", _is("true"), "true", "error", "there are no LiteTopics without it"),
    Rule(
        "storeType",
        _is("defaultRocksDB"),
        "defaultRocksDB",
        "error",
        "the file store maps a file for each LiteTopic, and stops at some 20,000",
    ),
    Rule(
        "maxClientEventCount",
        _at_least(100_000),
        "100000",
        "error",
        "with more pending LiteTopics of a gateway than that, replies wait for 10 to 35 s",
    ),
    Rule(
        "maxLiteSubscriptionCount",
        _at_least(100_000),
        "100000",
        "warning",
        "the broker refuses further sessions beyond it, all gateways together",
    ),
    Rule(
        "waitTimeMillsInSendQueue",
        _at_least(2000),
        "2000",
        "warning",
        "a broker that is busy for a moment refuses packets, and gateways send them again",
    ),
    Rule(
        "transactionMetricFlushInterval",
        lambda value: value.isdigit() and int(value) <= 1000,
        "500",
        "warning",
        "for so many milliseconds after each start a thread of the broker takes a core, while everybody comes back",
    ),
    Rule("autoCreateTopicEnable", _is("false"), "false", "warning", "a topic that a send makes has no order"),
    Rule(
        "autoCreateSubscriptionGroup",
        _is("false"),
        "false",
        "warning",
        "a group made by a client is not exclusive: two gateways could own a session",
    ),
)  # fmt: skip
"""docs/rocketmq.md has the measurements."""


def broker_findings(broker: str, settings: Mapping[str, str]) -> list[Diagnosis]:
    """One for each rule that does not hold, or one that all do. What the broker does not name is not judged."""
    known = [(rule, settings[rule.setting]) for rule in RULES if rule.setting in settings]
    wrong = [
        Diagnosis(
            rule.level,
            f"broker {broker}",
            f"{rule.setting} is {value or 'empty'}: {rule.why}",
            f"set {rule.setting}={rule.wanted} in broker.conf, and restart the broker",
        )
        for rule, value in known
        if not rule.fits(value)
    ]
    return wrong or [Diagnosis("ok", f"broker {broker}", f"{len(known)} settings are as they should be")]


OLDEST = (5, 5, 0)
"""Before it, LiteTopics have no exclusive owner."""
NEARLY_PERCENT = 80


def use_findings(broker: str, use: BrokerUse, settings: Mapping[str, str]) -> list[Diagnosis]:
    """Its version, and each of its quotas that litevoice uses. A quota that it does not name is not judged."""
    about = f"broker {broker}"
    numbers = tuple(int(part) for part in use.version.split(".")[:3] if part.isdigit())
    if numbers and numbers < OLDEST:
        says = f"RocketMQ {use.version}: LiteTopics have no exclusive owner before 5.5.0"
        found = [Diagnosis("error", about, says, "upgrade it to 5.5.0 or newer")]
    else:
        found = [Diagnosis("ok", about, f"RocketMQ {use.version or 'of an unknown version'}")]
    quotas = [("maxLiteSubscriptionCount", "subscriptions", use.subscriptions, settings)]
    if settings.get("enableLmqQuota") == "true":
        most = {"maxLmqConsumeQueueNum": str(use.max_lite_topics)}
        quotas.append(("maxLmqConsumeQueueNum", "LiteTopics", use.lite_topics, most))
    for setting, what, used, given in quotas:
        if not (most_text := given.get(setting, "")).isdigit() or not (most_of := int(most_text)):
            continue
        level: Level = "ok"
        if used * 100 >= most_of * NEARLY_PERCENT:
            level = "error" if used >= most_of else "warning"
        todo = (
            f"raise {setting} in broker.conf, and restart the broker; or have another broker" if level != "ok" else ""
        )
        found.append(Diagnosis(level, about, f"{used} of {most_of} {what} ({setting}) are in use", todo))
    return found


def permission_findings(namespace: str, missing: Mapping[str, list[str]], *, complete: bool = True) -> list[Diagnosis]:
    """`missing`: resource → verbs that the operator needs in the namespace and is not known to be granted. `complete`:
    so it is not granted."""
    about = f"permissions in namespace {namespace}"
    if not missing:
        return [Diagnosis("ok", about, "the operator may do all that it needs")]
    listed = "; ".join(f"{' '.join(verbs)} of {resource}" for resource, verbs in sorted(missing.items()))
    if not complete:
        says = f"the API server does not list all that is granted, and not {listed}"
        return [
            Diagnosis("warning", about, says, "kubectl auth can-i VERB RESOURCE --as the operator's ServiceAccount")
        ]
    todo = "upgrade the chart as a whole; helm get manifest shows the Roles that it has made"
    return [Diagnosis("error", about, f"the operator may not {listed}", todo)]


def clock_findings(about: str, clocks: Mapping[str, float]) -> list[Diagnosis]:
    """`clocks`: pods that answer → seconds that their clock is ahead of the operator's."""
    todo = "the clock of its node (chrony, ntpd)"
    if (ours := ours_ahead(clocks)) is not None:
        says = f"the operator's clock is {apart(ours)} those of all {len(clocks)} pods"
        return [Diagnosis("error", about, says, todo)]
    why = "workers and gateways take each other for late"
    return [
        Diagnosis("error", f"{about}: {pod}", f"its clock is {apart(by)} the operator's: {why}", todo)
        for pod, by in off(clocks).items()
    ]
