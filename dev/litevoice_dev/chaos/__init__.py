"""Calls through a real RocketMQ while everything that can fail does, compared with calls that nobody disturbs."""
