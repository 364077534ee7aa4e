"""Unchanged client libraries, each in an environment of its own, driven through the same conversation."""
