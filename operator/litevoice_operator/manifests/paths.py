"""Where pods find their files and which ports they listen on: settings and mounts must agree."""

from __future__ import annotations

CONFIG_DIR = "/etc/litevoice/config"
CONFIG_FILE = "settings.json"
API_KEYS_DIR = "/etc/litevoice/api-keys"
KEYS_DIR = "/etc/litevoice/keys"
BROKER_CREDENTIALS_DIR = "/etc/litevoice/broker"
BROKER_CA_DIR = "/etc/litevoice/broker-ca"
BROKER_CA_FILE = "ca.crt"
PIPELINE_DIR = "/etc/litevoice/pipeline"
SECRETS_DIR = "/etc/litevoice/secrets"

CLIENT_PORT = 8080
ADMIN_PORT = 9090
ADMIN_TLS_PORT = 9443


def pipeline_key_file(stage: str) -> str:
    """File with the API key of a stage's endpoint."""
    return f"{PIPELINE_DIR}/{stage}/key"
