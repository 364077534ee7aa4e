"""Stages that do nothing, behind OpenAI's HTTP API: every utterance was "hello", every sentence sounds for 0.3 s.

python -m bench.null_stages PORT
"""

from __future__ import annotations

import sys

from aiohttp import web

HOST = "127.0.0.1"
SPEECH = bytes(2 * 24_000 * 3 // 10)
"""PCM16 at 24 kHz."""


async def transcribe(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"text": "hello"})


async def synthesize(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=SPEECH)


def pipelines(port: int) -> list[object]:
    """Of a worker that uses them; answers come from its local responder."""
    stage = {"use": "openai", "options": {"endpoints": [{"baseUrl": f"http://{HOST}:{port}/v1", "model": "null"}]}}
    return [{"name": "null", "transcriber": stage, "synthesizer": stage}]


def main() -> None:
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/audio/transcriptions", transcribe)
    app.router.add_post("/v1/audio/speech", synthesize)
    web.run_app(app, host=HOST, port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
