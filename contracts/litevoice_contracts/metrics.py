"""Names of all Prometheus metrics, so that alerts, dashboards and code cannot drift apart. Seconds, bytes, totals."""

from __future__ import annotations

GATEWAY_SESSIONS = "litevoice_gateway_sessions"
GATEWAY_SLOW_READERS = "litevoice_gateway_slow_readers"
# label outcome: accepted | unauthorized | forbidden | overload | draining | unavailable | invalid
GATEWAY_CONNECTIONS = "litevoice_gateway_connections_total"
GATEWAY_CLOSES = "litevoice_gateway_closes_total"  # label code
GATEWAY_CLIENT_EVENTS = "litevoice_gateway_client_events_total"  # label type
GATEWAY_CLIENT_ERRORS = "litevoice_gateway_client_errors_total"  # label code
GATEWAY_PACKETS = "litevoice_gateway_packets_published_total"
GATEWAY_PACKETS_LOST = "litevoice_gateway_packets_lost_total"
GATEWAY_EVENTS_SENT = "litevoice_gateway_events_sent_total"
GATEWAY_TAKEOVERS = "litevoice_gateway_takeovers_total"
GATEWAY_TAKEOVER_SECONDS = "litevoice_gateway_takeover_seconds"
GATEWAY_EVICTIONS = "litevoice_gateway_evictions_total"
GATEWAY_REPLAYS = "litevoice_gateway_turn_replays_total"
GATEWAY_DROPPED = "litevoice_gateway_dropped_total"  # label what: retained_packets | stale_attempt | bad_envelope
GATEWAY_PUBLISH_SECONDS = "litevoice_gateway_publish_seconds"

WORKER_SESSIONS = "litevoice_worker_sessions"
WORKER_PARTITIONS = "litevoice_worker_partitions_owned"
WORKER_PACKETS = "litevoice_worker_packets_applied_total"
WORKER_DUPLICATES = "litevoice_worker_packets_duplicate_total"
WORKER_GAPS = "litevoice_worker_packet_gaps_total"
WORKER_TURNS = "litevoice_worker_turns_total"  # label outcome: completed | cancelled | failed
WORKER_STAGE_SECONDS = "litevoice_worker_stage_seconds"  # label stage: vad | asr | respond | tts
WORKER_FIRST_AUDIO_SECONDS = "litevoice_worker_first_audio_seconds"
WORKER_REPLIES = "litevoice_worker_replies_published_total"
WORKER_DROPPED = "litevoice_worker_dropped_total"  # label what: conversation_items | bad_envelope | sessions

BROKER_SEND_SECONDS = "litevoice_broker_send_seconds"  # label kind: fifo | lite
BROKER_SEND_ERRORS = "litevoice_broker_send_errors_total"
BROKER_RECONNECTS = "litevoice_broker_reconnects_total"
BROKER_HEALS = "litevoice_broker_takeover_heals_total"

OPERATOR_BACKLOG = "litevoice_backlog_messages"  # labels namespace, gateway, target
OPERATOR_ALERTS_FIRING = "litevoice_alerts_firing"  # labels namespace, alert, severity
OPERATOR_RECONCILES = "litevoice_operator_reconciles_total"  # labels kind, outcome
OPERATOR_RECONCILE_SECONDS = "litevoice_operator_reconcile_seconds"  # label kind
