"""The search for an order, against histories whose answer is known and against trying every order."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.chaos.linearizability import Call, counter_step, is_linearizable, register_step


def call(name: str, result: object, invoked: float, returned: float, *, known: bool = True, argument: str = "") -> Call:
    return Call(f"{name}@{invoked}", name, argument, result, invoked, returned, known)  # type: ignore[arg-type]


def write(value: str, invoked: float, returned: float, *, known: bool = True) -> Call:
    return call("write", None if not known else value, invoked, returned, known=known, argument=value)


def read(value: str, invoked: float, returned: float) -> Call:
    return call("read", value, invoked, returned)


def test_a_counter_in_sequence() -> None:
    calls = [call("add", 1, 0, 1), call("add", 2, 2, 3), call("count", 2, 4, 5)]
    assert is_linearizable(calls, 0, counter_step)


def test_a_lost_addition_fits_no_order() -> None:
    assert not is_linearizable([call("add", 1, 0, 1), call("add", 1, 2, 3)], 0, counter_step)
    assert not is_linearizable([call("add", 1, 0, 1), call("count", 0, 2, 3)], 0, counter_step)


def test_an_addition_of_which_nobody_knows_may_have_happened_at_any_time_or_not_yet() -> None:
    unknown = call("add", None, 0, 1, known=False)
    for value in (0, 1):
        assert is_linearizable([unknown, call("count", value, 2, 3)], 0, counter_step)
    assert not is_linearizable([unknown, call("count", 2, 2, 3)], 0, counter_step)
    # Once it was seen it stays.
    assert not is_linearizable([unknown, call("count", 1, 2, 3), call("count", 0, 4, 5)], 0, counter_step)


def test_concurrent_writes_may_be_read_in_either_order_by_all_alike() -> None:
    writes = [write("a", 0, 10), write("b", 0, 10)]
    assert is_linearizable([*writes, read("b", 1, 2), read("a", 3, 4)], "", register_step)
    assert not is_linearizable([*writes, read("b", 1, 2), read("a", 3, 4), read("b", 11, 12)], "", register_step)


def test_a_stale_read_fits_no_order() -> None:
    assert not is_linearizable([write("a", 0, 1), write("b", 2, 3), read("a", 4, 5)], "", register_step)


def test_many_calls_that_nobody_knows_of_are_searched_in_time() -> None:
    unknown = [write(str(number), 0, 1, known=False) for number in range(14)]
    assert is_linearizable([*unknown, read("7", 2, 3), read("3", 4, 5)], "", register_step)
    assert not is_linearizable([*unknown, read("7", 2, 3), read("3", 4, 5), read("7", 6, 7)], "", register_step)


def fits_some_order(calls: list[Call]) -> bool:
    """By trying all; a call that nobody knows of may also be left out."""
    for order in permutations(calls):
        if any(later.returned < earlier.invoked for at, earlier in enumerate(order) for later in order[at + 1 :]):
            continue
        state: str | None = ""
        for each in order:
            state = register_step(state, each) if state is not None else None
        if state is not None:
            return True
    return False


@st.composite
def register_calls(draw: st.DrawFn) -> list[Call]:
    calls = []
    for number in range(draw(st.integers(1, 5))):
        begin = draw(st.integers(0, 8))
        end = begin + draw(st.integers(1, 4))
        value = draw(st.sampled_from(["", "a", "b"]))
        made = write(value, begin, end) if draw(st.booleans()) else read(value, begin, end)
        calls.append(Call(str(number), made.name, made.argument, made.result, begin, end))
    return calls


@settings(max_examples=200, deadline=None)
@given(register_calls())
def test_it_finds_an_order_exactly_where_there_is_one(calls: list[Call]) -> None:
    assert is_linearizable(calls, "", register_step) == fits_some_order(calls)
