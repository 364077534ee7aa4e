"""The WebSocket gateway: client protocols on one side, the broker on the other, a sans-I/O session in between."""
