"""LiteTopics with one exclusive owner each.

`ownership` decides (no I/O), with `topic` and `order`; `channel`, `subscription` and `receiver` carry out.
"""
