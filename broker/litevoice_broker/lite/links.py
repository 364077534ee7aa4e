"""The links to the broker: what it is known to know of us over each. Over a new one it is asked who has taken what we
own (`Survey`), then told all of it (a full sync, when the `Gate` lets it run). Sans I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from litevoice_broker.errors import BrokerError
from litevoice_broker.lite import commands as do
from litevoice_broker.lite.full_sync import Gate, Postponed, Survey
from litevoice_broker.lite.outlet import Outlet
from litevoice_broker.lite.topic import Heal, Topic

STOOD_STILL = "this process stood still"


class Links:
    """Requests end with `Finished`.

    Attributes:
        losses: of broker or link, how many; a full sync, and a claim, may have come too early for the last one.
        sync_began: over which link the newest full sync has begun, and after how many losses.
    """

    def __init__(
        self, me: str, topics: Mapping[str, Topic], gate: Gate, outlet: Outlet, pause: Callable[[float, float], float]
    ) -> None:
        """`topics`: all that there are, by their names; `pause`: a number of seconds between two."""
        self._me = me
        self._topics = topics
        self._gate = gate
        self._outlet = outlet
        self._pause = pause
        self.losses = 0
        self.sync_began = (0, 0)
        self._link = 0  # that full syncs may use: who was evicted while there was none has been asked
        self._settled_link = 0  # over which the broker knows all that is owned; -1 after the broker was away
        self._lost_at: float | None = None  # when it was found to be away; None: it is there
        self._settling: Survey | None = None

    # --- what the user says

    def linked(self, link: int) -> int:
        """A new link, numbered upwards: evictions from while there was none are found out, then a full sync follows."""
        self.losses += link != self._link
        survey = Survey.before_full_sync(self._outlet.number(), link, self._unsettled(link))
        if survey.numbers:
            self._settling = None
        return self._ask_own(survey)

    def lost(self, now: float) -> None:
        """The broker did not answer: it may have forgotten who subscribed, and will tell nobody of a takeover. The next
        full sync counts as the first over a new link; until then nothing is known of what came meanwhile."""
        self.losses += 1
        if self._settled_link:
            self._settled_link = -1
            self._lost_at = now if self._lost_at is None else self._lost_at

    def full_sync(self, link: int) -> int:
        """Tells the broker everything that is owned. One that fails counts as `lost`."""
        if link == self._link:
            return self.linked(link)
        self._outlet.finish(request := self._outlet.number())
        return request

    def settled(self, link: int, now: float) -> int:
        """Messages come over the new link."""
        if self._settled_link != -1:
            return self._settle(link, now)
        self._outlet.finish(request := self._outlet.number())  # after the next full sync
        return request

    def look_again(self) -> int:
        """What was taken over while we did not listen is found out."""
        return self._ask_own(Survey.alone(self._outlet.number(), self._link, self._topics.values()))

    def unlisted(self) -> dict[str, int]:
        """How long the logs were for which `look_again` found nobody, at a broker that had forgotten us, too: somebody
        may have come and left. Told once."""
        found = {topic.name: topic.unlisted for topic in self._topics.values() if topic.unlisted is not None}
        for name in found:
            self._topics[name].unlisted = None
        return found

    # --- surveys

    def goes_on(self, survey: Survey) -> bool:
        """False when a newer one after a full sync has begun: this one ends."""
        if survey.settles and survey is not self._settling:
            self._outlet.finish(survey.request)
            return False
        return True

    def verdicts(self, survey: Survey, answer: do.Answer) -> Iterator[tuple[Topic, Heal | None]]:
        """What is to be healed, and how; None: evicted."""
        known = answer if isinstance(answer, Mapping) else {}
        if not survey.settles and not survey.asked:  # what the broker still lists us for
            survey.left = [name for name in survey.numbers if name not in known]
            before = any((topic := self._topics.get(name)) is not None and topic.synced for name in known)
            survey.remembers = survey.is_alone and before and self._settled_link == self._link
            return
        for topic, heal in survey.verdicts(self._me, self._topics, known):
            yield topic, Heal.ASK if survey.old and heal is not None else heal

    def _settle(self, link: int, now: float) -> int:
        lost_at = now if self._lost_at is None else self._lost_at
        survey = Survey.after_full_sync(self._outlet.number(), link, self._unsettled(link), lost_at)
        self._settled_link, self._lost_at = link, None
        if survey.numbers:
            self._settling = survey
            self.ask_on(survey)
        else:
            self._outlet.finish(survey.request)
        return survey.request

    def _unsettled(self, link: int) -> Iterable[Topic]:
        """What may have been taken without a notice. Not what was claimed since the last loss: whoever is listed beside
        us there has been put back by a full sync of its own, and must go by itself."""
        lost = self._topics.values() if self._settled_link not in (0, link) else ()
        return [topic for topic in lost if topic.claimed_in != self.losses]

    def _ask_own(self, survey: Survey) -> int:
        if survey.numbers:
            self._outlet.call(survey, do.AskOwn())
        else:
            self._after_survey(survey)
        return survey.request

    def ask_on(self, survey: Survey) -> None:
        """The next question, or what comes after the last one."""
        if (question := survey.ask(self._pause)) is not None:
            self._outlet.call(survey, question)
        else:
            self._after_survey(survey)

    def _after_survey(self, survey: Survey) -> None:
        if survey.settles:
            self._settling = None
        if survey.settles or survey.is_alone or survey.link < self._link:  # of one that is gone
            self._outlet.finish(survey.request)
        elif survey.old:
            self._outlet.finish(survey.request, Postponed(STOOD_STILL))
        else:
            self._link = survey.link
            self._gate.request(survey.request, survey.link)
            self.begin_full_sync()

    # --- full syncs

    def begin_full_sync(self) -> None:
        """If one can run now."""
        if (call := self._gate.begin(self._topics.values())) is not None:
            self.sync_began = call.link, self.losses
            self._outlet.call(self._gate, call)

    def full_sync_done(self, began: tuple[int, int], error: BrokerError | None, now: float) -> None:
        """The one that has begun over that link, after so many losses."""
        if error is not None:
            self.lost(now)
        elif self._settled_link == -1 and began == (self._link, self.losses):
            self._settle(self._link, now)
