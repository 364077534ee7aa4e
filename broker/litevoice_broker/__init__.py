"""asyncio client for RocketMQ on the official client's protobuf stubs: everything that litevoice asks of a broker.

One event loop, no threads. Every queue is bounded; each class says what happens at its bound.
"""
