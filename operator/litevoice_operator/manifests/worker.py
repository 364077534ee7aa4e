"""The workers' Deployment."""

from __future__ import annotations

from litevoice_operator.api.resolved import Gateway
from litevoice_operator.api.voice_gateway import OpenAIEndpoint
from litevoice_operator.manifests import paths
from litevoice_operator.manifests.keys import Keys, worker_keys_secret_name
from litevoice_operator.manifests.objects import Manifest
from litevoice_operator.manifests.pods import Mount, Program, deployment, secret_mount

GRACE_SECONDS = 30


def worker_deployment(gateway: Gateway, keys: Keys) -> Manifest:
    workers = gateway.spec.workers
    program = Program(
        component="worker",
        image=gateway.worker_image,
        replicas=workers.replicas,
        mounts=[
            secret_mount("keys", paths.KEYS_DIR, worker_keys_secret_name(gateway, keys)),
            *_endpoint_keys(gateway),
            *_secrets(gateway),
        ],
        grace_seconds=GRACE_SECONDS,
        service_account_token=True,
    )
    return deployment(gateway, program, workers.pod)


def _endpoint_keys(gateway: Gateway) -> list[Mount]:
    pipeline = gateway.spec.workers.pipeline
    stages: dict[str, OpenAIEndpoint | None] = {
        "transcriber": pipeline.transcriber.openai,
        "responder": pipeline.responder.openai,
        "synthesizer": pipeline.synthesizer.openai,
    }
    return [
        secret_mount(
            f"{stage}-key",
            f"{paths.PIPELINE_DIR}/{stage}",
            endpoint.api_key_secret.name,
            {endpoint.api_key_secret.key: "key"},
        )
        for stage, endpoint in stages.items()
        if endpoint is not None and endpoint.api_key_secret is not None
    ]


def _secrets(gateway: Gateway) -> list[Mount]:
    """Volumes are numbered: the name of a Secret may be longer than that of a volume."""
    names = gateway.spec.workers.secrets
    return [secret_mount(f"secret-{index}", f"{paths.SECRETS_DIR}/{name}", name) for index, name in enumerate(names)]
