"""The Kubernetes operator: keeps gateways and workers as VoiceGateways want them, and watches their backlogs."""
