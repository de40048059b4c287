"""Which models answer in a thread and with what: every layer by its name, and overrides that runs heed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.keys import STORAGE
from jan.errors import PreconditionFailedError
from tests.fixtures.gateway import MODEL_ID, Gateway, write_model
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.routes.test_runs import start, until_ended

OTHER = "vendor/other"


@pytest.fixture
def other(storage_server: StorageServer) -> str:
    write_model(
        storage_server.janroot, OTHER, settings={"ctx_len": "2048"}, parameters={"top_p": "0.8", "grammar": "x"}
    )
    return OTHER


async def new_thread(gateway: Gateway, **fields: Any) -> str:
    body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    return str((await gateway.json("POST", "/v1/threads", body))["id"])


def file_of(storage_server: StorageServer, thread_id: str) -> Any:
    return json.loads((storage_server.janroot / "threads" / thread_id / "thread.json").read_text())


async def asked_with(gateway: Gateway, worker: ScriptedWorker, thread_id: str, **fields: Any) -> dict[str, Any]:
    """What the engine is asked with by a run."""
    run = await start(gateway, thread_id, **fields)
    taken = await worker.answer()
    await until_ended(gateway, run)
    return {name: value for name, value in taken.body.items() if name not in ("messages", "stream", "stream_options")}


async def test_each_value_comes_with_the_layer_that_gave_it(gateway: Gateway, other: str) -> None:
    helper = await gateway.json(
        "POST", "/v1/assistants", {"model": [other, MODEL_ID], "top_p": 0.4, "parameters": {"top_k": 5, "top_p": 0.1}}
    )
    thread_id = await new_thread(gateway, assistants=[helper["id"]])
    path = f"/v1/threads/{thread_id}/models/{other}"
    await gateway.json("POST", path, {"max_completion_tokens": 9, "settings": {"ctx_len": 4096}})
    shown = await gateway.json("GET", path)
    said = {name: (value, shown["layers"]["parameters"][name]) for name, value in shown["parameters"].items()}
    assert said.pop("max_tokens") == (9, "thread")
    assert said.pop("top_p") == (0.4, "assistant")
    assert said.pop("top_k") == (5, "assistant")
    assert set(said.values()) == {(None, "engine")}
    assert (shown["settings"], shown["layers"]["settings"]) == ({"ctx_len": 2048}, {"ctx_len": "model"})
    assert shown["overrides"] == {"parameters": {"max_tokens": 9}, "settings": {"ctx_len": 4096}}
    assert shown["not_applied"] == ["settings.ctx_len"]
    assert (shown["id"], shown["object"], shown["thread_id"]) == (other, "thread.model", thread_id)
    assert (shown["answers"], shown["available"]) == (True, True)
    listed = await gateway.json("GET", f"/v1/threads/{thread_id}/models")
    assert [(item["id"], item["answers"]) for item in listed["data"]] == [(other, True), (MODEL_ID, False)]
    assert listed["data"][0] == shown
    assert (listed["object"], listed["has_more"]) == ("list", False)


async def test_the_answering_models_overrides_stand_where_desktop_jan_reads_them(
    gateway: Gateway, storage_server: StorageServer
) -> None:
    thread_id = await new_thread(gateway)
    changed = await gateway.json(
        "POST", f"/v1/threads/{thread_id}/models/{MODEL_ID}", {"temperature": 0.1, "stop": "x"}
    )
    assert changed["overrides"]["parameters"] == {"temperature": 0.1, "stop": ["x"]}
    file = file_of(storage_server, thread_id)
    model = {"id": MODEL_ID, "settings": {}, "parameters": {"temperature": 0.1, "stop": ["x"]}}
    assert file["assistants"][0]["model"] == model
    assert "models" not in file
    assert (await gateway.json("GET", f"/v1/threads/{thread_id}"))["models"] == [model]


async def test_other_models_overrides_wait_beside_and_choose_nothing(
    gateway: Gateway, storage_server: StorageServer, other: str, worker: ScriptedWorker
) -> None:
    thread_id = await new_thread(gateway)
    for name, temperature in ((other, 0.9), (MODEL_ID, 0.1)):
        await gateway.json("PATCH", f"/v1/threads/{thread_id}/models/{name}", {"temperature": temperature})
    file = file_of(storage_server, thread_id)
    assert file["models"] == [{"id": other, "settings": {}, "parameters": {"temperature": 0.9}}]
    assert file["assistants"][0]["model"]["id"] == MODEL_ID
    assert await asked_with(gateway, worker, thread_id) == {"model": MODEL_ID, "temperature": 0.1}
    asked = await asked_with(gateway, worker, thread_id, model=other)
    assert asked == {"model": other, "temperature": 0.9, "top_p": 0.8}
    asked = await asked_with(gateway, worker, thread_id, model=other, temperature=0.5)
    assert asked == {"model": other, "temperature": 0.5, "top_p": 0.8}


async def test_a_thread_goes_over_its_assistants_own_fields(gateway: Gateway, worker: ScriptedWorker) -> None:
    helper = await gateway.json("POST", "/v1/assistants", {"model": MODEL_ID, "temperature": 0.7, "top_p": 0.6})
    thread_id = await new_thread(gateway, assistants=[helper["id"]])
    await gateway.json("POST", f"/v1/threads/{thread_id}/models/{MODEL_ID}", {"temperature": 0.1})
    asked = await asked_with(gateway, worker, thread_id, assistant_id=helper["id"])
    assert asked == {"model": MODEL_ID, "temperature": 0.1, "top_p": 0.6}


async def test_null_clears_and_what_is_not_sent_stays(gateway: Gateway, storage_server: StorageServer) -> None:
    thread_id = await new_thread(gateway)
    file = storage_server.janroot / "threads" / thread_id / "thread.json"
    raw = json.loads(file.read_text())
    parameters = {"token_limit": "200", "temperature": "0.7", "stream": True, "seed": "many"}
    raw["assistants"][0] |= {"model": {"id": MODEL_ID, "engine": "nitro", "parameters": parameters}, "tools": [1]}
    file.write_text(json.dumps(raw))
    path = f"/v1/threads/{thread_id}/models/{MODEL_ID}"
    shown = await gateway.json("GET", path)
    assert (shown["parameters"]["max_tokens"], shown["parameters"]["temperature"]) == (200, 0.7)
    assert shown["not_applied"] == ["parameters.stream", "parameters.seed"]
    shown = await gateway.json("POST", path, {"parameters": {"max_tokens": None, "top_p": 0.5, "own": 1}})
    assert shown["overrides"]["parameters"] == {
        "temperature": "0.7",
        "stream": True,
        "seed": "many",
        "top_p": 0.5,
        "own": 1,
    }
    cleared = dict.fromkeys(["temperature", "top_p", "seed"])
    shown = await gateway.json("POST", path, {**cleared, "parameters": {"stream": None, "own": None}})
    assert shown["overrides"] == {"parameters": {}, "settings": {}}
    assert (shown["parameters"]["temperature"], shown["layers"]["parameters"]["temperature"]) == (0.3, "model")
    entry = json.loads(file.read_text())["assistants"][0]
    assert (entry["model"], entry["tools"]) == (
        {"id": MODEL_ID, "engine": "nitro", "settings": {}, "parameters": {}},
        [1],
    )


async def test_overrides_that_are_all_cleared_leave_nothing(
    gateway: Gateway, storage_server: StorageServer, other: str
) -> None:
    thread_id = await new_thread(gateway)
    before = file_of(storage_server, thread_id)
    path = f"/v1/threads/{thread_id}/models/{other}"
    await gateway.json("POST", path, {"top_k": 1, "settings": {"ngl": 1, "own": "x"}})
    await gateway.json("POST", path, {"top_k": None, "settings": {"ngl": None, "own": None}})
    await gateway.json("POST", f"/v1/threads/{thread_id}/models/{MODEL_ID}", {})
    assert file_of(storage_server, thread_id) | {"updated": before["updated"]} == before


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "0.7"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"parameters": {"top_p": 2}}, "parameters.top_p"),
        ({"parameters": []}, "parameters"),
        ({"settings": {"ctx_len": 1}}, "settings.ctx_len"),
        ({"settings": {"embedding": "yes"}}, "settings.embedding"),
        ({"settings": {"n_parallel": 257}}, "settings.n_parallel"),
        ({"settings": {"ngl": -1}}, "settings.ngl"),
        ({"settings": {"cpu_threads": True}}, "settings.cpu_threads"),
        ({"settings": {"cache_type": "f1"}}, "settings.cache_type"),
        ({"settings": {"prompt_template": "no place"}}, "settings.prompt_template"),
        ({"settings": {"prompt_template": "{% for m in messages %}{prompt}{% endfor %}"}}, "settings.prompt_template"),
        ({"settings": {"user_prompt": "a\u0000b"}}, "settings.user_prompt"),
        ({"settings": {"llama_model_path": "/etc/passwd"}}, "settings.llama_model_path"),
        ({"settings": {"engine": "openai"}}, "settings.engine"),
        ({"settings": {"base_model": "other"}}, "settings.base_model"),
    ],
)
async def test_a_bad_value_changes_nothing(
    gateway: Gateway, storage_server: StorageServer, body: dict[str, Any], param: str
) -> None:
    thread_id = await new_thread(gateway)
    before = file_of(storage_server, thread_id)
    answer = await gateway.json("POST", f"/v1/threads/{thread_id}/models/{MODEL_ID}", body, status=400)
    assert answer["error"]["param"] == param
    assert file_of(storage_server, thread_id) == before


async def test_unknown_threads_and_models_are_not_found(gateway: Gateway) -> None:
    thread_id = await new_thread(gateway)
    for method in ("GET", "POST", "PATCH"):
        body: dict[str, Any] | None = None if method == "GET" else {}
        for path in (f"jan_1/models/{MODEL_ID}", f"..%2f/models/{MODEL_ID}"):
            await gateway.json(method, f"/v1/threads/{path}", body, status=404)
        for model in ("nobody", "%2e%2e%2fx", "a/b/c/d"):
            answer = await gateway.json(method, f"/v1/threads/{thread_id}/models/{model}", body, status=404)
            assert answer["error"]["code"] == "model_not_found"
    await gateway.json("GET", "/v1/threads/jan_1/models", status=404)


async def test_a_model_that_is_not_here_is_listed_as_such(gateway: Gateway, worker: ScriptedWorker) -> None:
    chosen = {"id": "gone-7b", "parameters": {"temperature": 0.2}}
    thread_id = await new_thread(gateway, assistants=[{"assistant_id": "deleted", "model": chosen}])
    [shown] = (await gateway.json("GET", f"/v1/threads/{thread_id}/models"))["data"]
    assert (shown["id"], shown["answers"], shown["available"]) == ("gone-7b", True, False)
    assert (shown["parameters"]["temperature"], shown["settings"]) == (0.2, {})


async def test_a_chosen_models_parameters_are_not_anothers(
    gateway: Gateway, other: str, worker: ScriptedWorker
) -> None:
    chosen = {"assistant_id": "jan", "model": {"id": MODEL_ID, "parameters": {"max_tokens": 5}}}
    thread_id = await new_thread(gateway, assistants=[chosen])
    assert await asked_with(gateway, worker, thread_id, model=other) == {"model": other, "top_p": 0.8}
    open_entry = {"assistant_id": "jan", "model": {"parameters": {"max_tokens": 5, "top_p": 0.1}}}
    thread_id = await new_thread(gateway, assistants=[open_entry])
    await gateway.json("POST", f"/v1/threads/{thread_id}/models/{other}", {"top_p": 0.2})
    asked = await asked_with(gateway, worker, thread_id, model=other)
    assert asked == {"model": other, "top_p": 0.2, "max_tokens": 5}


async def test_a_change_of_another_state_is_refused_and_a_race_is_run_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id = await new_thread(gateway)
    path = f"/v1/threads/{thread_id}/models/{MODEL_ID}"
    async with gateway.client.get(path) as response:
        tag = response.headers["ETag"]
    async with gateway.client.post(path, json={"temperature": 0.1}, headers={"If-Match": tag}) as response:
        assert response.status == 200
        assert response.headers["ETag"] != tag
    async with gateway.client.post(path, json={"temperature": 0.2}, headers={"If-Match": tag}) as response:
        assert response.status == 412
    storage = gateway.app[STORAGE]
    update = storage.update_thread
    raced: list[Any] = []

    async def somebody_is_quicker(request: Any) -> Any:
        if not raced:
            raced.append(request)
            await gateway.json("POST", f"/v1/threads/{thread_id}", {"title": "T"})
        return await update(request)

    monkeypatch.setattr(storage, "update_thread", somebody_is_quicker)
    await gateway.json("POST", path, {"temperature": 0.3})
    thread = await gateway.json("GET", f"/v1/threads/{thread_id}")
    assert (thread["title"], thread["models"][0]["parameters"]) == ("T", {"temperature": 0.3})

    async def always_quicker(request: Any) -> Any:
        raise PreconditionFailedError("changed")

    monkeypatch.setattr(storage, "update_thread", always_quicker)
    await gateway.json("POST", path, {"temperature": 0.4}, status=412)


LOCAL = "local"


@pytest.fixture
def local(storage_server: StorageServer) -> str:
    """A model that an engine here would load."""
    settings = {"ctx_len": "2048", "user_prompt": "Q: ", "ai_prompt": "A: "}
    write_model(storage_server.janroot, LOCAL, engine="nitro", format="gguf", sources=[], settings=settings)
    return LOCAL


async def spec_of(gateway: Gateway, worker: ScriptedWorker, thread_id: str, **fields: Any) -> tuple[Any, str]:
    """The settings that a run's job asks for, and the configuration that they are."""
    run = await start(gateway, thread_id, **fields)
    taken = await worker.answer()
    await until_ended(gateway, run)
    return json.loads(taken.job.model.settings_json), taken.job.model.configuration


async def test_settings_of_thread_and_assistant_go_into_the_job_key_by_key(
    gateway: Gateway, local: str, worker: ScriptedWorker
) -> None:
    own = {"ctx_len": 2048, "user_prompt": "Q: ", "ai_prompt": "A: "}
    thread_id = await new_thread(gateway)
    assert await spec_of(gateway, worker, thread_id, model=local) == (own, "")
    settings = {"ctx_len": 1024, "n_parallel": 2, "cache_type": "q8_0"}
    helper = await gateway.json("POST", "/v1/assistants", {"model": local, "settings": settings})
    assert helper["settings"] == settings
    told, of_assistant = await spec_of(gateway, worker, thread_id, assistant_id=helper["id"])
    assert told == own | settings
    thread_id = await new_thread(gateway, assistants=[helper["id"]])
    path = f"/v1/threads/{thread_id}/models/{local}"
    shown = await gateway.json("POST", path, {"settings": {"ctx_len": 512, "kv_cache_dtype": "fp8", "own": 1}})
    effective = {**own, "ctx_len": 512, "n_parallel": 2, "cache_type": "q8_0"}
    assert shown["settings"] == effective
    assert shown["layers"]["settings"] == {
        **dict.fromkeys(own, "model"),
        **dict.fromkeys(settings, "assistant"),
        "ctx_len": "thread",
    }
    assert shown["not_applied"] == ["settings.kv_cache_dtype", "settings.own"]
    told, of_thread = await spec_of(gateway, worker, thread_id, assistant_id=helper["id"])
    assert told == effective
    assert len({"", of_assistant, of_thread}) == 3
    await gateway.json("POST", path, {"settings": {"ctx_len": None}})
    assert await spec_of(gateway, worker, thread_id, assistant_id=helper["id"]) == (own | settings, of_assistant)


async def test_a_template_and_the_older_three_parts_replace_each_other(
    gateway: Gateway, local: str, worker: ScriptedWorker
) -> None:
    thread_id = await new_thread(gateway)
    path = f"/v1/threads/{thread_id}/models/{local}"
    shown = await gateway.json("POST", path, {"settings": {"prompt_template": "<{prompt}>"}})
    assert shown["settings"] == {"ctx_len": 2048, "prompt_template": "<{prompt}>"}
    told, configuration = await spec_of(gateway, worker, thread_id, model=local)
    assert told == shown["settings"]
    assert configuration


async def test_what_jan_copied_of_a_model_into_a_thread_changes_nothing(
    gateway: Gateway, local: str, worker: ScriptedWorker
) -> None:
    copied = {"ctx_len": "2048", "llama_model_path": "N/A", "mmproj": "../x", "engine": "nitro", "embedding": False}
    chosen = {"assistant_id": "jan", "model": {"id": local, "settings": copied | {"prompt_template": "{{ jinja }}"}}}
    thread_id = await new_thread(gateway, assistants=[chosen])
    told, configuration = await spec_of(gateway, worker, thread_id)
    assert (told["ctx_len"], configuration) == (2048, "")
    shown = await gateway.json("GET", f"/v1/threads/{thread_id}/models/{local}")
    names = ["llama_model_path", "mmproj", "engine", "embedding", "prompt_template"]
    assert shown["not_applied"] == [f"settings.{name}" for name in names]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"assistants": [{"model": {"settings": {"ctx_len": "many"}}}]}, "assistants[0].model.settings.ctx_len"),
        ({"models": [{"id": "a"}, {"id": "b", "settings": {"ngl": 1e6}}]}, "models[1].settings.ngl"),
    ],
)
async def test_a_new_thread_has_no_settings_that_no_engine_could_use(
    gateway: Gateway, storage_server: StorageServer, body: dict[str, Any], param: str
) -> None:
    before = sorted((storage_server.janroot / "threads").glob("*"))
    answer = await gateway.json("POST", "/v1/threads", body, status=400)
    assert answer["error"]["param"] == param
    assert sorted((storage_server.janroot / "threads").glob("*")) == before


async def test_an_assistant_has_no_settings_that_belong_to_a_model(gateway: Gateway) -> None:
    for settings, param in (({"ctx_len": 5}, "settings.ctx_len"), ({"mmproj": "x"}, "settings.mmproj")):
        body = {"model": MODEL_ID, "settings": settings}
        answer = await gateway.json("POST", "/v1/assistants", body, status=400)
        assert answer["error"]["param"] == param
