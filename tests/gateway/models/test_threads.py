"""Overrides of a thread: which of them hold for an assistant and a model, and how they are written."""

from __future__ import annotations

import pytest

from gateway.convert.json_fields import MAX_SENT_LENGTH, to_text
from gateway.models.threads import Overrides, overrides_of, with_overrides
from jan.errors import InvalidArgumentError
from jan.storage.v1.threads_pb2 import Thread, ThreadAssistant, ThreadModel


def entry(assistant_id: str, model_id: str = "", **parameters: int) -> ThreadAssistant:
    return ThreadAssistant(assistant_id=assistant_id, model_id=model_id, parameters_json=to_text(parameters))


def single(model_id: str, **parameters: int) -> ThreadModel:
    return ThreadModel(id=model_id, parameters_json=to_text(parameters))


@pytest.mark.parametrize(
    ("thread", "parameters"),
    [
        (Thread(), {}),
        (Thread(assistants=[entry("jan", "m", a=1)]), {"a": 1}),
        (Thread(assistants=[entry("jan", "other", a=1)]), {}),
        (Thread(assistants=[entry("helper"), entry("jan", "m", a=1)], models=[single("m", a=2)]), {"a": 1}),
        (Thread(assistants=[entry("helper", "m", a=1)], models=[single("m", a=2)]), {}),
        (Thread(models=[single("x", a=1), single("m", a=2)]), {"a": 2}),
        # What says more stands above: this model above all models, the chosen one above what waits.
        (Thread(assistants=[entry("jan", a=1, b=1)], models=[single("m", a=2)]), {"a": 2, "b": 1}),
        (Thread(assistants=[entry("jan", "m", a=1)], models=[single("m", a=2, b=2)]), {"a": 1, "b": 2}),
    ],
)
def test_what_a_thread_says_of_jan_with_the_model_m(thread: Thread, parameters: dict[str, int]) -> None:
    assert overrides_of(thread, "jan", "m") == Overrides(parameters, {})


def test_one_home_is_left_when_the_answering_model_is_changed() -> None:
    thread = Thread(
        id="t",
        revision="7",
        assistants=[entry("jan", "m", a=1), entry("helper")],
        models=[single("m", b=2), single("x")],
    )
    update = with_overrides(thread, "m", answers=True, parameters={"c": 3, "a": None}, settings={})
    assert list(update.if_revision) == ["7"]
    assert sorted(update.update_mask.paths) == ["assistants", "models"]
    assert [model.id for model in update.thread.models] == ["x"]
    assert update.thread.assistants[1] == entry("helper")
    assert overrides_of(update.thread, "jan", "m") == Overrides({"b": 2, "c": 3}, {})


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("param", ["settings", "parameters"])
def test_more_than_a_file_may_hold_is_refused_by_name(param: str, answers: bool) -> None:
    large = {"own": "x" * MAX_SENT_LENGTH}
    sent = {"settings": {}, "parameters": {}, param: large}
    with pytest.raises(InvalidArgumentError) as caught:
        with_overrides(Thread(id="t"), "m", answers=answers, parameters=sent["parameters"], settings=sent["settings"])
    assert caught.value.param == param
