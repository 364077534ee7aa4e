"""What two litevoice images must agree on: names, envelopes, events, positions, control API, settings. No I/O."""
