"""What a client keeps, sends again, and gives up."""

from __future__ import annotations

from litevoice_dev.unconfirmed import Unconfirmed


def sending(unconfirmed: Unconfirmed[str]) -> list[str]:
    """Everything that the connection is yet to be sent."""
    sent = []
    while (append := unconfirmed.take()) is not None:
        sent.append(append)
    return sent


def with_appends(count: int, max_bytes: int = 1000) -> Unconfirmed[str]:
    unconfirmed: Unconfirmed[str] = Unconfirmed(max_bytes)
    for number in range(1, count + 1):
        unconfirmed.add(f"{number:02}")
    return unconfirmed


def test_each_is_sent_once_on_a_connection() -> None:
    unconfirmed = with_appends(2)
    assert sending(unconfirmed) == ["01", "02"]
    unconfirmed.add("03")
    assert sending(unconfirmed) == ["03"]


def test_a_new_connection_gets_what_was_not_confirmed_and_what_came_meanwhile() -> None:
    unconfirmed = with_appends(4)
    sending(unconfirmed)
    unconfirmed.confirm(2)
    unconfirmed.add("05")
    assert unconfirmed.come_back() == 2
    assert unconfirmed.sent_before == 2
    assert sending(unconfirmed) == ["03", "04", "05"]
    assert unconfirmed.come_back() == 2, "and so does the next one"
    assert unconfirmed.sent_before == 3
    assert sending(unconfirmed) == ["03", "04", "05"]
    assert unconfirmed.given_up == 0


def test_a_confirmation_in_the_middle_of_sending_skips_nothing() -> None:
    unconfirmed = with_appends(4)
    assert [unconfirmed.take(), unconfirmed.take()] == ["01", "02"]
    unconfirmed.confirm(1)
    assert sending(unconfirmed) == ["03", "04"]


def test_a_confirmation_that_is_late_or_repeated_changes_nothing() -> None:
    unconfirmed = with_appends(4)
    for count in (3, 2, 3):
        unconfirmed.confirm(count)
    assert (unconfirmed.confirmed, unconfirmed.come_back()) == (3, 3)
    assert sending(unconfirmed) == ["04"]


def test_beyond_the_bound_the_oldest_are_given_up_when_the_connection_is_lost() -> None:
    unconfirmed = with_appends(5, max_bytes=6)
    sending(unconfirmed)
    assert unconfirmed.given_up == 0, "they may still be confirmed"
    unconfirmed.confirm(1)
    assert unconfirmed.come_back() == 2
    assert unconfirmed.come_back() == 2
    assert unconfirmed.given_up == 1, "02"
    assert sending(unconfirmed) == ["03", "04", "05"]


def test_the_newest_is_kept_even_if_it_is_over_the_bound() -> None:
    unconfirmed: Unconfirmed[str] = Unconfirmed(2)
    unconfirmed.add("long")
    assert sending(unconfirmed) == ["long"]


def test_what_a_new_connection_is_yet_to_be_sent_stays_so_that_its_count_holds() -> None:
    """It is made while the user goes on speaking: who drops the oldest then shifts the numbers of all the others."""
    unconfirmed = with_appends(4, max_bytes=6)
    sending(unconfirmed)
    assert unconfirmed.come_back() == 1
    unconfirmed.add("05")
    unconfirmed.add("06")
    assert sending(unconfirmed) == ["02", "03", "04", "05", "06"], "the one after the first comes first"
    unconfirmed.add("07")
    assert unconfirmed.before == 4, "what was sent goes"
    assert unconfirmed.come_back() == 4
    assert sending(unconfirmed) == ["05", "06", "07"]
