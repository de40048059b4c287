"""What is tried is no matter of luck: whatever the seed, the short form does every kind of fault, at every size."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.queue.__main__ import LONG, SHORT
from tests.chaos.queue.faults import JUMPS, KINDS, PAUSES, PHASES, Fault, faults

SEEDS = st.integers(0, 2**32)


def drawn(seed: int, count: int) -> list[Fault]:
    return list(itertools.islice(faults(random.Random(seed)), count))


@given(SEEDS)
def test_the_short_form_does_every_kind_of_fault_at_every_size_and_in_every_phase(seed: int) -> None:
    short = drawn(seed, SHORT)
    assert Counter((fault.harm, fault.target) for fault in short) == Counter(KINDS)
    assert {fault.seconds for fault in short if fault.harm == "clock jump"} == set(JUMPS)
    assert {fault.seconds for fault in short if fault.harm == "SIGSTOP"} == set(PAUSES)
    assert min(Counter(fault.phase for fault in short)[phase] for phase in PHASES) >= 3


@given(SEEDS)
def test_the_long_form_does_every_kind_of_fault_twice_in_every_phase(seed: int) -> None:
    long = Counter((fault.harm, fault.target, fault.phase) for fault in drawn(seed, LONG))
    assert long == Counter({(harm, target, phase): 2 for harm, target in KINDS for phase in PHASES})


def test_a_seed_says_it_all() -> None:
    assert drawn(7, LONG) == drawn(7, LONG) != drawn(8, LONG)
