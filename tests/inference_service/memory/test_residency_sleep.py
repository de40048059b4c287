"""Models that sleep: who does, who wakes and where, in virtual time."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.devices.device import Device, DeviceKind
from inference_service.memory.residency import Phase, Plan, Policy, Resident, Want
from inference_service.models.sleeping import sleep_places
from tests.inference_service.memory.test_placement import cpu, demand, gpu
from tests.inference_service.memory.test_residency import POLICY, decide, evicted, resident, want
from tests.inference_service.virtual_host import Host, Job


def sleepy(model_id: str, device: Device, ram: Device, gib: float, **fields: object) -> Resident:
    """A copy that can sleep, which leaves 1 GiB on its GPU; with `phase` SLEEPING it does."""
    found = resident(model_id, device, gib, **fields)
    places = sleep_places(found.placement, demand(gib - 1, overhead_gib=1).footprint, [device, ram])
    assert places is not None
    held = places.asleep if found.phase is Phase.SLEEPING else found.placement
    return dataclasses.replace(found, places=places, placement=held)


def sent_to_sleep(made: Plan) -> list[str]:
    return [eviction.model_id for eviction in made.evictions if eviction.sleeps]


def test_a_model_that_can_sleep_does_so_before_it_is_unloaded() -> None:
    device, ram = gpu(0, 24), cpu(64)
    awake = sleepy("a", device, ram, 20, last_used=50, idle_seconds=50.0)
    assert sent_to_sleep(decide([device, ram], [awake], [])) == ["a"]
    asleep = sleepy("a", device, ram, 20, last_used=50, idle_seconds=50.0, phase=Phase.SLEEPING)
    made = decide([device, ram], [asleep], [])
    assert (evicted(made), made.look_again_at) == ([], 150)
    made = decide([device, ram], [asleep], [], now=150)
    assert (evicted(made), sent_to_sleep(made)) == (["a"], [])


@pytest.mark.parametrize(
    ("ram", "fields"),
    [(cpu(18), {}), (cpu(64), {"idle_seconds": 0.0}), (None, {})],
    ids=["too little RAM", "not to rest at all", "another copy"],
)
def test_it_is_unloaded_as_ever_where_it_cannot_sleep(ram: Device | None, fields: dict[str, object]) -> None:
    device, second = gpu(0, 24), gpu(1, 24)
    copies = [sleepy("a", device, ram or cpu(64), 20, idle_seconds=50.0)]
    if ram is None:
        copies.append(sleepy("a", second, cpu(64), 20, users=1, copy=1))
    made = decide([device, second, ram or cpu(64)], [dataclasses.replace(copies[0], **fields), *copies[1:]], [])  # type: ignore[arg-type]
    assert (evicted(made), sent_to_sleep(made)) == (["a"], [])


def test_the_ram_that_one_sleeps_in_is_not_given_to_another() -> None:
    device, second, ram = gpu(0, 24), gpu(1, 24), cpu(20)
    both = [sleepy(name, place, ram, 20, idle_seconds=50.0) for name, place in (("a", device), ("b", second))]
    made = decide([device, second, ram], both, [])
    assert (evicted(made), sent_to_sleep(made)) == (["a", "b"], ["a"])
    asleep = sleepy("a", device, ram, 20, phase=Phase.SLEEPING)
    in_ram = Want(demand(10, model_id="c", kinds=(DeviceKind.CPU,)), 99)
    made = decide([device, ram], [asleep], [in_ram])
    assert (evicted(made), made.waits) == (["a"], {"c": "waits until a is unloaded"})


def test_an_idle_model_sleeps_for_another_if_that_makes_room_enough() -> None:
    device, ram = gpu(0, 24), cpu(64)
    awake = sleepy("a", device, ram, 20)
    assert sent_to_sleep(decide([device, ram], [awake], [want("b", 23)])) == ["a"]
    made = decide([device, ram], [awake], [want("b", 24)])
    assert (evicted(made), sent_to_sleep(made)) == (["a"], [])


def test_a_model_that_sleeps_wakes_where_it_was_once_there_is_room() -> None:
    device, second, ram = gpu(0, 24), gpu(1, 24), cpu(64)
    asleep = sleepy("a", device, ram, 20, phase=Phase.SLEEPING)
    made = decide([device, second, ram], [asleep, resident("b", second, 10, users=1)], [want("a", 20)])
    assert (set(made.wakes), dict(made.loads), made.evictions) == ({"a"}, {}, ())
    busy = resident("b", device, 10, users=1)
    made = decide([device, second, ram], [asleep, busy], [want("a", 20)])
    assert (set(made.wakes), list(made.loads)) == (set(), ["a"])
    idle = dataclasses.replace(busy, users=0)
    made = decide([device, ram], [asleep, idle], [want("a", 20)])
    assert (set(made.wakes), evicted(made), made.waits) == (set(), ["b"], {"a": "waits until b is unloaded"})
    made = decide([device, ram], [asleep, busy], [want("a", 20, since=99)])
    assert (set(made.wakes), made.evictions, made.closed, made.look_again_at) == (set(), (), {}, 159)


def test_room_to_wake_is_not_given_to_another() -> None:
    device, ram = gpu(0, 24), cpu(64)
    asleep = sleepy("a", device, ram, 20, phase=Phase.SLEEPING)
    made = decide([device, ram], [asleep], [want("a", 20, since=1), want("b", 10, since=2)])
    assert (set(made.wakes), dict(made.loads)) == ({"a"}, {})
    assert "a" not in evicted(made)


@settings(max_examples=250)
@given(
    devices=st.lists(st.sampled_from([8, 16, 24]), min_size=1, max_size=3),
    ram=st.sampled_from([2, 8, 24, 64]),
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    sleepy=st.frozensets(st.sampled_from(["a", "b", "a#1", "c"]), min_size=1),
    on_cpu=st.frozensets(st.sampled_from(["c", "d"])),
    jobs=st.lists(st.tuples(st.integers(0, 4), st.floats(0, 400), st.floats(0.1, 20)), min_size=1, max_size=60),
    load_seconds=st.sampled_from([0.5, 5.0, 30.0]),
    idle_seconds=st.sampled_from([None, 0.0, 3.0, 40.0]),
    most_models=st.sampled_from([None, 1, 2]),
)
def test_models_that_sleep_are_given_no_more_than_there_is_and_get_their_turns_all_the_same(
    *,
    devices: list[int],
    ram: int,
    sizes: list[int],
    sleepy: frozenset[str],
    on_cpu: frozenset[str],
    jobs: list[tuple[int, float, float]],
    load_seconds: float,
    idle_seconds: float | None,
    most_models: int | None,
) -> None:
    """The RAM of those that sleep counts too, and what is wanted by models that run there."""
    policy = Policy(min_residency_seconds=10, patience_seconds=60, most_models=most_models)
    keys = ["a", "b", "a#1", "c", "d"]
    names = dict(zip(keys, sizes, strict=False))
    places = (*(gpu(n, gib) for n, gib in enumerate(devices)), cpu(ram))
    host = Host(places, names, policy, load_seconds, idle_seconds=idle_seconds, sleepy=sleepy - on_cpu, on_cpu=on_cpu)
    todo = [Job(keys[number % len(sizes)], arrives, lasts) for number, arrives, lasts in jobs]
    host.run(todo)
    assert host.done == len(todo)
    turn = max(10.0, load_seconds)
    # As below, and a model that was sent to sleep may have to be unloaded after that.
    bound = len(sizes) * (60 + turn + 20.0 + host.turn_seconds + 1 + load_seconds)
    assert all(waited <= bound for waited in host.waited.values()), host.waited


def test_two_models_that_sleep_swap_places_without_being_loaded_again() -> None:
    host = Host((gpu(0, 24), cpu(64)), {"a": 20, "b": 20}, POLICY, 30.0, sleepy=frozenset("ab"))
    host.run([Job("ab"[number % 2], 60.0 * number, 0.5) for number in range(20)])
    assert host.done == 20
    assert [model_id for _, model_id in host.loads] == ["a", "b"]
    assert len(host.wakes) == 18
    assert max(host.waited.values()) <= 30.0 + host.turn_seconds
