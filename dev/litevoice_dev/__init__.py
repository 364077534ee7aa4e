"""litevoice on one machine: RocketMQ, gateway and worker processes, a voice client, the audit of a conversation."""
