"""Who is loaded and who makes room, in virtual time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.devices.device import Device, DeviceKind
from inference_service.memory.placement import Placement, Share
from inference_service.memory.residency import Phase, Plan, Policy, Resident, State, Want, plan
from tests.inference_service.memory.test_placement import GIB, cpu, demand, gpu
from tests.inference_service.virtual_host import Host, Job

POLICY = Policy(min_residency_seconds=10, patience_seconds=60)


def want(model_id: str, gib: float, since: float = 0, *, extra: bool = False) -> Want:
    return Want(demand(gib, model_id=model_id, kinds=(DeviceKind.GPU,)), since, extra)


def resident(model_id: str, device: Device, gib: float, **fields: object) -> Resident:
    placement = Placement((Share(device, int(gib * GIB)),), "")
    found = Resident(model_id, 0, placement, Phase.RUNNING)
    return dataclasses.replace(found, **fields)  # type: ignore[arg-type]


def decide(
    devices: Iterable[Device], residents: Iterable[Resident], wants: Iterable[Want], now: float = 100, **policy: float
) -> Plan:
    rules = dataclasses.replace(POLICY, **policy)  # type: ignore[arg-type]
    return plan(State(tuple(devices), tuple(residents), rules, now), wants)


def evicted(made: Plan) -> list[str]:
    return [eviction.model_id for eviction in made.evictions]


def test_what_fits_beside_the_others_is_loaded_at_once() -> None:
    device = gpu(0, 24)
    made = decide([device], [resident("a", device, 10, users=3)], [want("b", 14)])
    assert list(made.loads) == ["b"]
    assert not made.evictions


def test_what_never_fits_is_refused_with_the_numbers() -> None:
    made = decide([gpu(0, 24)], [], [want("b", 30)])
    assert made.refusals == {
        "b": "it needs 30.0 GiB (weights 30.0 GiB, KV cache 0 MiB, overhead 0 MiB), and gpu-0 has 24.0 GiB for it"
    }


def test_the_least_recently_used_idle_model_makes_room_and_no_more_than_needed() -> None:
    device = gpu(0, 24)
    loaded = [
        resident("old", device, 4, last_used=1),
        resident("large", device, 12, last_used=5),
        resident("new", device, 8, last_used=9),
    ]
    made = decide([device], loaded, [want("b", 12)])
    assert evicted(made) == ["large"]
    assert made.evictions[0].why == "makes room for b"
    assert made.waits == {"b": "waits until large is unloaded"}


def test_a_model_with_work_is_never_evicted_but_closed_when_patience_ends() -> None:
    device = gpu(0, 24)
    loaded = [resident("a", device, 20, users=1)]
    made = decide([device], loaded, [want("b", 20, since=50)])
    assert (evicted(made), made.closed, made.look_again_at) == ([], {}, 110)
    made = decide([device], loaded, [want("b", 20, since=40)])
    assert (evicted(made), made.closed) == ([], {"a": "b has waited 60 s for room"})
    made = decide([device], [dataclasses.replace(loaded[0], users=0)], [want("b", 20, since=40)])
    assert evicted(made) == ["a"]


def test_a_turn_lasts_at_least_as_long_as_loading_took() -> None:
    device = gpu(0, 24)
    loaded = [resident("a", device, 20, loaded_at=95)]
    made = decide([device], loaded, [want("b", 20, since=98)])
    assert (evicted(made), made.look_again_at) == ([], 105)
    slow = [dataclasses.replace(loaded[0], loaded_at=60, load_seconds=52)]
    made = decide([device], slow, [want("b", 20, since=98)])
    assert (evicted(made), made.look_again_at) == ([], 112)


def test_room_that_is_made_for_one_is_not_given_to_another() -> None:
    device = gpu(0, 24)
    loaded = [resident("a", device, 14, phase=Phase.STOPPING)]
    made = decide([device], loaded, [want("big", 20, since=1), want("small", 8, since=2)])
    assert not made.loads
    assert set(made.waits) == {"big", "small"}


def test_idle_models_are_unloaded_after_their_time() -> None:
    device = gpu(0, 24)
    loaded = [
        resident("a", device, 4, last_used=50, idle_seconds=50.0),
        resident("b", device, 4, last_used=50, idle_seconds=51.0),
        resident("c", device, 4, last_used=0, idle_seconds=None),
        resident("d", device, 4, last_used=0, idle_seconds=5.0, users=1),
    ]
    made = decide([device], loaded, [])
    assert (evicted(made), made.evictions[0].why, made.look_again_at) == (["a"], "idle for 50 s", 101)


def test_the_number_of_models_may_be_bounded_too() -> None:
    device = gpu(0, 24)
    made = decide([device], [resident("a", device, 1, last_used=3)], [want("b", 1)], most_models=1)
    assert (evicted(made), list(made.waits)) == (["a"], ["b"])


def test_one_model_is_loaded_with_one_set_of_settings_at_a_time_however_much_room_there_is() -> None:
    device = gpu(0, 24)
    made = decide([device], [resident("a", device, 1, users=1)], [want("a#1", 1, since=50), want("b", 1, since=99)])
    assert list(made.loads) == ["b"]
    assert (evicted(made), made.waits) == ([], {"a#1": "waits for room: a in use"})
    made = decide([device], [resident("a", device, 1, users=1)], [want("a#1", 1, since=40)])
    assert made.closed == {"a": "a with other settings has waited 60 s for room"}
    made = decide([device], [resident("a#2", device, 1)], [want("a#1", 1, since=99), want("a", 1, since=98)])
    assert (evicted(made), made.evictions[0].why) == (["a#2"], "makes room for a")
    assert made.waits["a"] == "waits until a with other settings is unloaded"
    assert made.waits["a#1"] == "waits for room: another model in use"
    made = decide([device], [], [want("a#1", 1, since=99), want("a", 1, since=98)])
    assert list(made.loads) == ["a"]


def test_one_more_copy_goes_to_a_gpu_of_its_own_and_displaces_nobody() -> None:
    first, second = gpu(0, 24), gpu(1, 24)
    busy = resident("a", first, 10, users=4)
    assert list(decide([first, second, cpu()], [busy], [want("a", 10, 100, extra=True)]).loads) == ["a"]
    made = decide([first, second], [busy, resident("b", second, 20)], [want("a", 10, 100, extra=True)])
    assert (made.loads, evicted(made), made.waits) == ({}, [], {})
    assert not decide([first, cpu()], [busy], [want("a", 10, 100, extra=True)]).loads


@settings(max_examples=150)
@given(
    devices=st.lists(st.sampled_from([8, 16, 24]), min_size=1, max_size=3),
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    jobs=st.lists(st.tuples(st.integers(0, 4), st.floats(0, 400), st.floats(0.1, 20)), min_size=1, max_size=60),
    load_seconds=st.sampled_from([0.5, 5.0, 30.0]),
    most_models=st.sampled_from([None, 1, 2]),
)
def test_every_model_that_fits_gets_its_turn_in_bounded_time(
    devices: list[int],
    sizes: list[int],
    jobs: list[tuple[int, float, float]],
    load_seconds: float,
    most_models: int | None,
) -> None:
    policy = Policy(min_residency_seconds=10, patience_seconds=60, most_models=most_models)
    keys = ["a", "b", "a#1", "c", "a#2"]  # two of them are the first one with other settings
    names = dict(zip(keys, sizes, strict=False))
    host = Host(tuple(gpu(n, gib) for n, gib in enumerate(devices)), names, policy, load_seconds)
    todo = [Job(keys[number % len(sizes)], arrives, lasts) for number, arrives, lasts in jobs]
    host.run(todo)
    assert host.done == len(todo)
    longest_job, turn = 20.0, max(10.0, load_seconds)
    # Whoever waited longer goes first, and each of those may need the others' turns, last jobs, unloads and a load.
    bound = len(sizes) * (60 + turn + longest_job + 1 + load_seconds)
    assert all(waited <= bound for waited in host.waited.values()), host.waited


@pytest.mark.parametrize("load_seconds", [1.0, 30.0])
@pytest.mark.parametrize("sizes", [{"a": 20, "b": 20}, {"a": 1, "a#1": 1}], ids=["two models", "two settings of one"])
def test_what_cannot_be_loaded_together_takes_turns_instead_of_thrashing(
    load_seconds: float, sizes: dict[str, int]
) -> None:
    """Alternating requests, one a second: each load serves many of them."""
    host = Host((gpu(0, 24),), sizes, POLICY, load_seconds)
    host.run([Job(list(sizes)[second % 2], float(second), 0.5) for second in range(600)])
    assert host.done == 600
    turn = max(POLICY.min_residency_seconds, load_seconds)
    assert len(host.loads) <= 600 / (turn + load_seconds) + 3
    assert max(host.waited.values()) <= POLICY.patience_seconds + turn + load_seconds + 2


def test_a_model_that_is_never_idle_gives_way_after_the_patience() -> None:
    host = Host((gpu(0, 24),), {"a": 20, "b": 20}, POLICY, 5.0)
    busy = [Job("a", second / 2, 5.0) for second in range(1200)]
    host.run([*busy, Job("b", 100.0, 1.0), Job("b", 400.0, 1.0)])
    assert host.done == 1202
    assert host.waited["b"] <= POLICY.patience_seconds + 5.0 + 2
