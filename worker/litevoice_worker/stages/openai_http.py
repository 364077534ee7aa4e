"""What the stages that call OpenAI-compatible endpoints share: clients and keys, errors, and who is asked next."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import OpenAICompatible
from litevoice_worker.audio import Given
from litevoice_worker.commands import StageContext
from litevoice_worker.stages import StageError
from litevoice_worker.stages.breakers import Breakers
from litevoice_worker.stages.model_calls import Asking, CalledStage, ErrorKind, ModelCalls, Target

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""Requests under way at one endpoint; more wait, within the timeout."""
MAX_BODY_BYTES = 16 << 20
"""A longer body is refused: it would be minutes of speech for one sentence."""
MAX_LINE_BYTES = 1 << 20
"""Of a stream of events; a chunk of an answer has some hundred."""
ROUNDS = 2
"""How often an endpoint is asked for one thing, if it fails in a way that may pass."""
ROUND_PAUSE_SECONDS = 0.25
THINKING = 4
"""Times its timeout an endpoint may send, in a stream, what says nothing of the answer."""
_MAY_PASS = frozenset({408, 409, 425, 429})
_ONLY_HERE = frozenset({401, 403, 404})
"""Statuses, beside 5xx, that say something of the endpoint, not of the request."""
_NO_AUDIO = frozenset({"application/json", "application/xml", "text/event-stream", "text/html", "text/xml"})

_A_KEY = "one line of printable ASCII characters"

_T = TypeVar("_T")


class OpenAIOptions(BaseModel):
    """Options of a stage that OpenAI-compatible endpoints do."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    endpoints: Annotated[list[OpenAICompatible], Field(min_length=1, max_length=8)]
    """The preferred one first; the others are asked when it fails."""


class EndpointError(StageError):
    """One endpoint could not do it. `elsewhere`: another one might; `again`: so might this one."""

    def __init__(self, message: str, kind: ErrorKind, *, elsewhere: bool = True, again: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.elsewhere = elsewhere
        self.again = again


class Endpoint:
    """One endpoint; `path` arguments of its client are relative to its base URL. Raises InvalidField when there is no
    key."""

    def __init__(self, settings: OpenAICompatible) -> None:
        self.model = settings.model
        self.target = Target.of(settings.base_url, settings.model)
        self.timeout_seconds = settings.timeout_seconds
        self.client = httpx.AsyncClient(
            base_url=settings.base_url.rstrip("/") + "/",
            timeout=settings.timeout_seconds,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        )
        self._key_file = Path(settings.api_key_file) if settings.api_key_file else None
        self._key, self._key_stamp = "", (0, 0)
        if self._key_file is not None:
            try:
                self._read_key(self._key_file)
            except OSError as error:
                raise InvalidField("apiKeyFile", f"a readable file, {self._key_file}: {error.strerror}") from error
            except ValueError as error:
                raise InvalidField("apiKeyFile", f"{_A_KEY}, in {self._key_file}") from error

    def authorization(self) -> dict[str, str]:
        """With the key as it is now; while it cannot be read, with the last one."""
        if self._key_file is None:
            return {}
        try:
            self._read_key(self._key_file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"expected {_A_KEY}"
            logger.warning("an API key cannot be read", extra={"file": str(self._key_file), "reason": reason})
        return {"Authorization": f"Bearer {self._key}"}

    def _read_key(self, file: Path) -> None:
        """Raises OSError, ValueError."""
        stat = file.stat()
        stamp = (stat.st_ino, stat.st_mtime_ns)
        if stamp != self._key_stamp:
            key = file.read_text().strip()
            if not (key and key.isascii() and key.isprintable()):  # no header can have it
                raise ValueError("no key")
            self._key, self._key_stamp = key, stamp


class Endpoints:
    """Those of a stage, asked one after the other until one has begun to answer. `name`: of the stage, in errors."""

    def __init__(self, stage: CalledStage, name: str, options: OpenAIOptions) -> None:
        self._name = name
        self._endpoints = []
        for index, settings in enumerate(options.endpoints):
            try:
                self._endpoints.append(Endpoint(settings))
            except InvalidField as error:
                raise InvalidField(f"endpoints.{index}.{error.field}", error.expected) from error
        self._breakers = Breakers(len(self._endpoints))
        self.calls = ModelCalls(stage, [endpoint.target for endpoint in self._endpoints])

    async def ask(
        self,
        asking: Asking,
        request: Callable[[Endpoint, dict[str, str]], Awaitable[_T]],
        without: Collection[Endpoint] = (),
    ) -> tuple[Endpoint, _T]:
        """What `request` (of an endpoint, with these headers) returns, and whose answer it is. Raises StageError when
        none answers."""
        last: EndpointError | None = None
        again = {index for index, endpoint in enumerate(self._endpoints) if endpoint not in without}
        for number in range(ROUNDS):
            if number:
                await asyncio.sleep(ROUND_PAUSE_SECONDS)
            for index in self._breakers.admitted(time.monotonic()):
                if index not in again:
                    continue
                endpoint = self._endpoints[index]
                self.calls.begin(asking, endpoint.target)
                began = time.monotonic()
                try:
                    result = await request(endpoint, _headers(endpoint, asking.context, asking.tries))
                except EndpointError as error:
                    self._blame(endpoint, asking, error)
                    if not error.elsewhere:
                        raise
                    self._breakers.failed(index, time.monotonic())
                    if not error.again:
                        again.discard(index)
                    last = error
                    continue
                self._breakers.succeeded(index)
                self.calls.answered(endpoint.target, time.monotonic() - began)
                return endpoint, result
            if not again or not asking.tries:
                break
        if last is None:
            message = f"the {self._name} endpoint has failed too often and is not asked for a moment"
            last = EndpointError(message, "paused")
            self._blame(self._endpoints[0], asking, last)
        raise last

    def failed(self, endpoint: Endpoint, asking: Asking, error: EndpointError) -> None:
        """In the middle of an answer."""
        self._blame(endpoint, asking, error)
        self._breakers.failed(self._endpoints.index(endpoint), time.monotonic())

    def broken(self, endpoint: Endpoint, asking: Asking, message: str) -> EndpointError:
        """To be raised: a whole answer makes no sense."""
        error = EndpointError(message, "broken", elsewhere=False)
        self._blame(endpoint, asking, error)
        return error

    def _blame(self, endpoint: Endpoint, asking: Asking, error: EndpointError) -> None:
        error.endpoint = str(endpoint.target)
        self.calls.failed(asking, endpoint.target, error.kind, str(error))

    async def post(
        self, asking: Asking, path: str, body: Callable[[Endpoint], dict[str, Any]]
    ) -> tuple[Endpoint, bytes]:
        """The body of the 200. `body`: what the request holds for an endpoint, as arguments of httpx."""

        async def request(endpoint: Endpoint, headers: dict[str, str]) -> bytes:
            try:
                async with asyncio.timeout(endpoint.timeout_seconds):
                    return await self._post(endpoint, path, headers, body(endpoint))
            except TimeoutError as error:
                raise _late(self._name) from error

        return await self.ask(asking, request)

    async def stream(
        self, asking: Asking, path: str, body: Callable[[Endpoint], dict[str, Any]], seconds: Callable[[int], float]
    ) -> AsyncGenerator[bytes]:
        """The body of the 200, as it comes. It may take `seconds` (of so many bytes) longer than the endpoint's
        timeout. After a failure in its middle another one is asked, the same if there is no other and it may pass, and
        what was given already is left out."""
        given, broken = Given(), list[Endpoint]()

        async def begin(endpoint: Endpoint, headers: dict[str, str]) -> tuple[AsyncGenerator[bytes], bytes]:
            pieces = self._pieces(endpoint, path, headers, body(endpoint), seconds)
            return pieces, await anext(pieces, b"")

        for last in (False, True):
            endpoint, (pieces, piece) = await self.ask(asking, begin, broken)
            given.from_the_beginning()
            async with aclosing(pieces):
                try:
                    while piece:
                        if new := given.new(piece):
                            yield new
                        piece = await anext(pieces, b"")
                    return
                except EndpointError as error:
                    self.failed(endpoint, asking, error)
                    if not error.again or len(self._endpoints) > 1:
                        broken.append(endpoint)
                    if last or not error.elsewhere or len(broken) == len(self._endpoints):
                        raise

    async def _pieces(
        self,
        endpoint: Endpoint,
        path: str,
        headers: dict[str, str],
        request: dict[str, Any],
        seconds: Callable[[int], float],
    ) -> AsyncGenerator[bytes]:
        deadline, size = time.monotonic() + endpoint.timeout_seconds, 0
        async with answer(endpoint, path, headers, request, self._name) as response:
            if (kind := kind_of(response)) in _NO_AUDIO:
                raise EndpointError(f"the {self._name} endpoint answered with {kind} instead of audio", "broken")
            body = response.aiter_bytes().__aiter__()
            while piece := await _next(body, deadline + seconds(size), self._name):
                size += len(piece)
                self._check_size(size)
                yield piece

    def _check_size(self, size: int) -> None:
        if size > MAX_BODY_BYTES:
            message = f"the {self._name} endpoint answered with more than {MAX_BODY_BYTES} bytes"
            raise EndpointError(message, "broken", elsewhere=False)

    async def _post(self, endpoint: Endpoint, path: str, headers: dict[str, str], request: dict[str, Any]) -> bytes:
        async with answer(endpoint, path, headers, request, self._name) as response:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                self._check_size(len(body))
            return bytes(body)

    async def close(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.client.aclose()


def _headers(endpoint: Endpoint, context: StageContext, tries: int) -> dict[str, str]:
    return {
        **endpoint.authorization(),
        "Idempotency-Key": context.idempotency_key,
        "Litevoice-Attempt": str(context.attempt),
        "Litevoice-Try": str(tries),
        **({"traceparent": context.traceparent} if context.traceparent else {}),
    }


@asynccontextmanager
async def answer(
    endpoint: Endpoint, path: str, headers: dict[str, str], request: dict[str, Any], stage: str
) -> AsyncGenerator[httpx.Response]:
    """A 200, whose headers have come within the endpoint's timeout, however slowly. Raises EndpointError, also for what
    httpx raises while its body is read."""
    with _stage_errors(stage):
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(endpoint.timeout_seconds):
                    asked = endpoint.client.stream("POST", path, headers=headers, **request)
                    response = await stack.enter_async_context(asked)
            except TimeoutError as error:
                raise _late(stage) from error
            _check_status(response, stage)
            yield response


class Patience:
    """Until when the next piece of an answer is waited for; `seconds` from now, and from each `renew`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew(piece=True)

    def renew(self, *, piece: bool) -> None:
        """Something has come, whether or not it was a `piece` of the answer: a model that thinks sends what is none,
        and another one could for ever."""
        now = time.monotonic()
        if piece:
            self._piece_at = now
        self.until = min(now + self._seconds, self._piece_at + THINKING * self._seconds)


async def data_of(response: httpx.Response, stage: str, patience: Patience) -> AsyncGenerator[str]:
    """What follows `data:` in each such line of a stream of events. Comments and other lines do not prolong the wait,
    nor do data, unless their reader renews it. Raises EndpointError."""
    body, rest = response.aiter_bytes().__aiter__(), bytearray()
    while True:
        piece = await _next(body, patience.until, stage)
        rest += piece
        if b"\n" in piece or not piece:
            # Not by httpx: to it a line also ends at characters that JSON may have in a string, such as U+2028.
            lines = rest.split(b"\n")
            rest = lines.pop() if piece else bytearray()
            for line in lines:
                if line.startswith(b"data:"):
                    yield line[5:].strip().decode(errors="replace")
        if len(rest) > MAX_LINE_BYTES:
            message = f"the {stage} endpoint sent a line of more than {MAX_LINE_BYTES} bytes"
            raise EndpointError(message, "broken", elsewhere=False)
        if not piece:
            return


async def _next(body: AsyncIterator[bytes], until: float, stage: str) -> bytes:
    """b"" at its end. Raises EndpointError."""
    try:
        async with asyncio.timeout(until - time.monotonic()):
            return await anext(body, b"")
    except TimeoutError as error:
        raise _late(stage) from error


def _late(stage: str) -> EndpointError:
    return EndpointError(f"the {stage} endpoint did not answer in time", "timeout")


def kind_of(response: httpx.Response) -> str:
    """Of its content, as it says itself, to be told."""
    kind: str = response.headers.get("content-type", "").partition(";")[0].strip().lower()[:64]
    return kind if kind.isascii() and kind.isprintable() and kind else "something"


def whole_characters(text: str) -> str:
    """JSON may have halves of characters (surrogates), which nobody can store: pairs of them become one, what is alone
    is replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


NO_JSON = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)
"""What reading JSON raises that is none, or not what is expected."""


@contextmanager
def _stage_errors(stage: str) -> Iterator[None]:
    """Turns what httpx raises into an EndpointError that names the stage and no secret."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise _late(stage) from error
    except httpx.HTTPError as error:
        raise EndpointError(f"the {stage} endpoint cannot be reached", "unreachable", again=True) from error


def _check_status(response: httpx.Response, stage: str) -> None:
    """Raises EndpointError unless the endpoint said 200."""
    status = response.status_code
    if status != httpx.codes.OK:
        again = status >= 500 or status in _MAY_PASS
        message = f"the {stage} endpoint answered with status {status}"
        raise EndpointError(message, _kind(status), elsewhere=again or status in _ONLY_HERE, again=again)


def _kind(status: int) -> ErrorKind:
    if status in (401, 403):
        return "unauthorized"
    if status == 429:
        return "throttled"
    return "failing" if status >= 500 else "refused" if status >= 400 else "broken"
