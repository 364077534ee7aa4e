"""The speech worker: packets of a session in, its turns out (voice activity, transcript, response, speech)."""
