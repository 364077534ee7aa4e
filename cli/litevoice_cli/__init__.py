"""The `litevoice` command: from a caller's complaint to its cause, through the operator."""
