"""TLS in front of the gateways that `make dev` has started, for clients that speak nothing but `wss:`.

The certificate is made here and signs itself, so a client has to be told to trust it:

    NODE_EXTRA_CA_CERTS=…/certificate.pem node client.mjs      # openai (npm) with baseURL "https://localhost:8443/v1"
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from pathlib import Path

PORT = 8443
_CHUNK_BYTES = 65_536
_DAYS = 90


def certificate(folder: Path) -> Path:
    """For localhost, with the key in `key.pem` beside it; made anew each time."""
    if shutil.which("openssl") is None:
        raise SystemExit("tls needs the program openssl; apt-get install openssl")
    folder.mkdir(parents=True, exist_ok=True)
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-days", str(_DAYS), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made.unlink(missing_ok=True)
    key.touch(mode=0o600)
    subprocess.run([*command, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    return made


async def serve(certificate: Path, port: int, target: tuple[str, int]) -> asyncio.Server:
    """Connections to `port` with TLS go to `target` without."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    return await asyncio.start_server(accepted, "127.0.0.1", port, ssl=context)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """One direction; its end ends the other one, too."""
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
    sink.close()
