"""Which partitions a worker takes, keeps and leaves. Pure: what the broker lists, who the members are and the clock go
in, actions come out.

Each partition belongs to the first of its ranking among the members that live. Who is listed as the holder of a fence
or a presence is there. Who is not listed may only have been forgotten: a restarted broker, or proxy, lists nobody until
the next full sync of each. So what is missing says something only while the broker lists this worker itself, and only
if it was listed since then, or two sync periods have passed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from litevoice_contracts.names import ClientId, Names
from litevoice_worker.partitions import owned_by, ranking, watched_by

LOOK_SECONDS = 0.25
"""Between two looks at what is about to change."""
SURVEY_SECONDS = 1.0
"""Between two looks at all members and at the worker's own fences."""
SETTLE_SECONDS = 6.0
"""Two sync periods of a fence: after so long the broker knows everybody again."""
GONE_SECONDS = 0.7
"""How long a member must be missing: one that heals its subscription is missing for some milliseconds."""
NEVER_SEEN_SECONDS = SETTLE_SECONDS
"""The same for a member that was not seen since the broker lists us: it may be starting, or come back to the broker."""
HANDOVER_SECONDS = 8.0
"""How long a live owner may take to leave before its partition is taken anyway. Longer than its long poll."""
TIE_SECONDS = 1.0
"""How long two may be listed for a partition before the one that ranks lower leaves: takeovers overlap for less."""
RETRY_SECONDS = 1.0
"""Before a partition that could not be taken is tried again."""
STILL_SECONDS = 2.0
"""A process whose timers are this late stood still, and what it knows is out of date."""
DOUBT_SECONDS = 5.0
"""How long it waits then for a look at a broker that knows it: by now the broker's own notices have been read, too."""

Listed = Mapping[str, frozenset[ClientId]]
"""Who is subscribed, by LiteTopic. A name that is left out was not asked for."""


@dataclass(frozen=True, slots=True)
class Take:
    """Become the owner, whoever was."""

    partition: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Hand it over in order."""

    partition: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Somebody else has it: stop at once."""

    partition: int


Action = Take | Leave | Drop


class Claims:
    """One worker's. A partition that an action names is left alone until `taken` or `ended` says what came of it; only
    a Drop may come while another action is under way, and each of the two ends."""

    def __init__(self, me: ClientId, partitions: int, now: float) -> None:
        self._me = me
        self._presence = Names.presence(me.pod)
        self._partitions = partitions
        self._members: frozenset[str] = frozenset()
        self._held: set[int] = set()
        self._busy: Counter[int] = Counter()  # actions under way
        self._changed_at: dict[int, float] = {}
        self._retry_at: dict[int, float] = {}
        # What is known of the members.
        self._present: set[str] = set()
        self._seen: set[str] = set()
        self._missing_since: dict[str, float] = {}
        self._gone: set[str] = set()
        # What is known of the fences.
        self._wanted_since: dict[int, float] = {}
        self._held_by_others: set[int] = set()
        self._left_to_us: set[int] = set()
        self._tied_since: dict[int, float] = {}
        # How far the broker's list can be relied on.
        self._sure_since: float | None = None
        self._disturbed = False
        self._absent = False
        self._surveyed_at: float | None = None
        self._pulse_at = now
        self._doubt_since: float | None = None
        self._doubted: frozenset[int] = frozenset()

    @property
    def held(self) -> Collection[int]:
        return self._held

    @property
    def gone(self) -> Collection[str]:
        """Members that do not live."""
        return self._gone

    @property
    def absent(self) -> bool:
        """Whether the broker lists nobody under this worker's name."""
        return self._absent

    # --- standing still

    def pulse(self, now: float) -> None:
        """To be called every LOOK_SECONDS, whatever else is being waited for."""
        late = now - self._pulse_at > STILL_SECONDS
        self._pulse_at = now
        if late:
            self._doubt_since = now
            self._doubted |= self._held | (+self._busy).keys()
            self._unsure()
        elif self._doubt_since is not None and now - self._doubt_since > DOUBT_SECONDS:
            self._believe_again()

    def doubtful(self, now: float) -> bool:
        """Whether the process stood still, and has not looked since whether its partitions are still its own: nothing
        may be read or published for them."""
        return self._doubt_since is not None or now - self._pulse_at > STILL_SECONDS

    # --- looking

    def questions(self, members: Collection[str] | None, now: float) -> list[str]:
        """Whose subscribers the next look asks for. An empty list of members says that all of them are unwell, not that
        somebody else is there: the last one stays in force."""
        if members and self._members != frozenset(members):
            self._set_members(frozenset(members))
        survey = self._surveyed_at is None or now - self._surveyed_at >= SURVEY_SECONDS or self._doubt_since is not None
        if survey:
            self._surveyed_at = now
        watched = self._members if survey else {*watched_by(self._me.pod, self._alive, self._partitions).values()}
        fences = self._due - self._held
        if survey:
            fences |= self._held
        if self._doubt_since is not None:  # also what may become its own again soon
            fences.update(range(self._partitions))
        return [
            *dict.fromkeys((self._presence, *map(Names.presence, sorted(watched)), *map(Names.fence, sorted(fences))))
        ]

    def decide(self, listed: Listed | None, asked_at: float, now: float) -> list[Action]:
        """What follows from a look that was begun at `asked_at`; None: the broker did not answer."""
        self.pulse(now)
        if listed is None or now - asked_at > STILL_SECONDS:
            self._unsure()
            return []
        if self._doubt_since is not None and asked_at < self._doubt_since:
            return []
        doubted = self._doubted
        if listed.get(self._presence):  # a broker that has forgotten this worker has forgotten who took what from it
            self._believe_again()
        if self._me not in listed.get(self._presence, ()):
            self._unsure()
        elif self._sure_since is None:
            self._sure_since = now
        self._look_at_members(listed, now)
        present = listed.get(self._presence, frozenset())
        self._absent, superseded = not present, bool(present) and self._me not in present
        if self._sure_since is not None:  # whether or not they are due: its members list may be older
            self._held_by_others.update(filter(partial(self._elsewhere, listed), range(self._partitions)))
        actions: list[Action] = []
        for partition in range(self._partitions):
            if self._changed_at.get(partition, asked_at - 1) >= asked_at:
                continue
            holders = listed.get(Names.fence(partition))
            if self._busy[partition]:  # if it stood still over that, it is not its own to do any more
                taken = partition in doubted and self._others(holders)
                action: Action | None = Drop(partition) if taken else None
            elif partition in self._held:
                action = self._of_held(partition, holders, now, doubted=partition in doubted, superseded=superseded)
            else:
                action = self._of_free(partition, holders, now, superseded=superseded)
            if action is not None:
                actions.append(action)
        self._busy.update(action.partition for action in actions)
        return actions

    # --- what came of the actions, and what the fence reports

    def taken(self, partition: int, now: float) -> None:
        self._busy[partition] = max(0, self._busy[partition] - 1)
        self._held.add(partition)
        self._left_to_us.discard(partition)
        self._forget(partition, now)

    def ended(self, partition: int, now: float) -> None:
        """A Take that failed, or a Leave or a Drop that is done."""
        if partition not in self._held:
            self._retry_at[partition] = now + RETRY_SECONDS
        self._busy[partition] = max(0, self._busy[partition] - 1)
        self._held.discard(partition)
        self._forget(partition, now)

    def lost(self, partition: int, now: float) -> None:
        """Another worker took it."""
        self._held.discard(partition)
        self._forget(partition, now)

    # --- inside

    def _set_members(self, members: frozenset[str]) -> None:
        """What was a member's that is none any more, and is this worker's now, has been left to it."""
        left = (owned_by(former, self._members, self._partitions) for former in self._members - members)
        self._left_to_us.update(*left)
        self._left_to_us &= owned_by(self._me.pod, members, self._partitions)
        self._members = members
        self._gone &= members

    @property
    def _alive(self) -> frozenset[str]:
        return self._members - self._gone

    @property
    def _due(self) -> set[int]:
        return owned_by(self._me.pod, self._alive, self._partitions)

    def _unsure(self) -> None:
        """What is not listed says nothing for a while."""
        self._disturbed |= self._sure_since is not None
        self._sure_since = None
        self._seen.clear()
        self._missing_since.clear()
        self._wanted_since.clear()
        self._held_by_others.clear()
        self._tied_since.clear()

    def _believe_again(self) -> None:
        self._doubt_since, self._doubted = None, frozenset()

    def _look_at_members(self, listed: Listed, now: float) -> None:
        holding = {who.pod for holders in listed.values() for who in holders}
        for member in self._members - {self._me.pod}:
            presence = listed.get(Names.presence(member))
            if presence or (member in holding and member not in self._seen):
                self._present.add(member)
                self._gone.discard(member)
                self._missing_since.pop(member, None)
                if presence and self._sure_since is not None:
                    self._seen.add(member)
            elif presence is not None and self._sure_since is not None:
                self._present.discard(member)
                since = self._missing_since.setdefault(member, now)
                patience = GONE_SECONDS if member in self._seen else NEVER_SEEN_SECONDS
                if now - since >= patience:
                    self._gone.add(member)

    def _of_held(
        self, partition: int, holders: frozenset[ClientId] | None, now: float, *, doubted: bool, superseded: bool
    ) -> Action | None:
        others = self._others(holders)
        missing = holders is not None and self._me not in holders
        taken = bool(others) or (doubted and self._sure_since is not None)  # and its next owner is gone by now
        if superseded or (missing and taken) or (doubted and others):
            return Drop(partition)
        ranked = ranking(partition, self._alive)
        heir = ranked[0] if ranked else self._me.pod
        if heir != self._me.pod and heir in self._present:
            return Leave(partition)
        # Two are listed after a restart of the broker: each looked while it did not list the other.
        if any(self._outranked(ranked, other.pod) for other in others):
            return Leave(partition) if now - self._tied_since.setdefault(partition, now) >= TIE_SECONDS else None
        if holders is not None:
            self._tied_since.pop(partition, None)
        return None

    def _of_free(
        self, partition: int, holders: frozenset[ClientId] | None, now: float, *, superseded: bool
    ) -> Action | None:
        if holders is None or superseded or self._sure_since is None or partition not in self._due:
            self._wanted_since.pop(partition, None)
            return None
        if now < self._retry_at.get(partition, now):
            return None
        others = self._others(holders)
        if any(other.pod != self._me.pod for other in others):
            since = self._wanted_since.setdefault(partition, now)
            return Take(partition) if now - since >= HANDOVER_SECONDS else None
        # The API server's word does not depend on what the broker remembers. Should its owner not have left yet after
        # all, which takes a restart of the broker at the same time, it is told that it has lost the partition.
        released = partition in self._held_by_others or partition in self._left_to_us
        if not others and self._disturbed and not released and now - self._sure_since < SETTLE_SECONDS:
            return None
        return Take(partition)

    def _elsewhere(self, listed: Listed, partition: int) -> bool:
        return any(holder.pod != self._me.pod for holder in listed.get(Names.fence(partition), ()))

    def _others(self, holders: frozenset[ClientId] | None) -> frozenset[ClientId]:
        return (holders or frozenset()) - {self._me}

    def _outranked(self, ranked: list[str], other: str) -> bool:
        if other not in ranked:
            return False
        return self._me.pod not in ranked or ranked.index(other) < ranked.index(self._me.pod)

    def _forget(self, partition: int, now: float) -> None:
        self._changed_at[partition] = now
        for since in (self._wanted_since, self._tied_since):
            since.pop(partition, None)
