"""Runs of packets: cut at the front, and joined for a replay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from litevoice_contracts.conversation import Codec
from litevoice_contracts.packets import Audio, Commit, Packet, Silence
from litevoice_gateway.runs import SILENCE_BYTES, Run, joined, size_of

packets = st.one_of(st.binary(min_size=1, max_size=40).map(Audio), st.integers(1, 1000).map(Silence), st.just(Commit()))
codecs = st.sampled_from(("pcm16/24000", "g711_ulaw/8000"))
numbered = st.lists(st.tuples(packets, st.none() | st.integers(0, 99)), min_size=1, max_size=6)


def run_of(codec: Codec, content: list[tuple[Packet, int | None]]) -> Run:
    run = Run(codec, 1.0)
    for packet, client_seq in content:
        run.add(packet, size_of(packet), client_seq)
    return run


def content_of(run: Run) -> list[tuple[Codec, Packet, int | None]]:
    numbers = run.client_seqs or [None] * len(run.packets)
    return [(run.codec, packet, number) for packet, number in zip(run.packets, numbers, strict=True)]


@given(st.lists(st.tuples(codecs, numbered), max_size=6), st.integers(1, 200))
def test_joined_runs_have_the_same_packets_in_the_same_order(
    given_runs: list[tuple[Codec, list[tuple[Packet, int | None]]]], max_bytes: int
) -> None:
    runs = [run_of(codec, content) for codec, content in given_runs]
    before = [content_of(run) for run in runs]
    longer = joined(runs, max_bytes)
    assert [entry for run in longer for entry in content_of(run)] == [entry for content in before for entry in content]
    assert [content_of(run) for run in runs] == before, "what is retained stays as it is"
    largest = max((run.size for run in runs), default=0)
    assert all(run.size == sum(map(size_of, run.packets)) for run in longer)
    assert all(run.size <= max(max_bytes, largest) for run in longer)


@given(numbered, st.integers(0, 6), st.integers(1, 300))
def test_a_run_is_cut_at_its_front(content: list[tuple[Packet, int | None]], count: int, size: int) -> None:
    run = run_of("pcm16/24000", content)
    whole, packets_before = content_of(run), run.packets
    enough = run.first(size)
    assert sum(size_of(packet) for _, packet, _ in whole[: enough - 1]) < size
    assert enough == len(whole) or sum(size_of(packet) for _, packet, _ in whole[:enough]) >= size
    dropped = run.drop(count)
    assert content_of(run) == whole[count:]
    assert dropped + run.size == sum(size_of(packet) for _, packet, _ in whole)
    assert len(packets_before) == len(whole), "an envelope may still hold the list"


def test_a_run_knows_the_clients_numbers_only_where_there_are_any() -> None:
    run = run_of("pcm16/24000", [(Silence(960), None), (Audio(b"ab"), 7), (Commit(), None)])
    assert (run.client_seqs, run.last_client_seq) == ([None, 7, None], 7)
    assert run.size == SILENCE_BYTES + 2 + size_of(Commit())
    plain = run_of("pcm16/24000", [(Audio(b"ab"), None)])
    assert (plain.client_seqs, plain.last_client_seq) == (None, None)
