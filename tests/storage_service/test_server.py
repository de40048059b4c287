"""The storage contract over real gRPC, and the files that come of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from jan import rpc
from jan.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from jan.ids import ThreadId
from jan.storage.v1 import assistants_pb2, files_pb2, messages_pb2, models_pb2, paging_pb2, runs_pb2, threads_pb2
from jan.type.v1.usage_pb2 import Usage
from storage_service.servicers import messages as servicer
from storage_service.store.records import Message
from tests.fixtures.jan_damage import damaged_root
from tests.fixtures.storage import StorageServer

CONTENT = json.dumps([{"type": "text", "text": {"value": "Hi", "annotations": []}}])


async def create_thread(server: StorageServer, **fields: object) -> threads_pb2.Thread:
    request = threads_pb2.CreateThreadRequest(thread=threads_pb2.Thread(**fields))  # type: ignore[arg-type]
    return (await rpc.call(server.threads.CreateThread, request)).thread


def message(thread: threads_pb2.Thread, name: str, run_id: str = "") -> messages_pb2.CreateMessageRequest:
    return messages_pb2.CreateMessageRequest(
        message=messages_pb2.Message(
            id=name,
            thread_id=thread.id,
            role=messages_pb2.MESSAGE_ROLE_USER,
            content_json=CONTENT,
            run_id=run_id,
        )
    )


def run(thread: threads_pb2.Thread, name: str = "run_1") -> runs_pb2.Run:
    return runs_pb2.Run(
        id=name,
        thread_id=thread.id,
        assistant_id="jan",
        status=runs_pb2.RUN_STATUS_QUEUED,
        created_at=Timestamp(seconds=1704504640),
        expires_at=Timestamp(seconds=1704505240),
        model="demo",
        tools_json="[]",
        metadata_json="{}",
        parallel_tool_calls=True,
        temperature=0.0,
        tenant="ada",
        priority="batch",
        round=1,
    )


async def test_a_thread_lives_and_ends(storage_server: StorageServer) -> None:
    first = messages_pb2.Message(id="msg_1", role=messages_pb2.MESSAGE_ROLE_USER, content_json=CONTENT)
    override = threads_pb2.ThreadAssistant(assistant_id="jan", model_id="demo", parameters_json='{"top_p":0.5}')
    request = threads_pb2.CreateThreadRequest(
        thread=threads_pb2.Thread(title="Trip", metadata_json='{"k":"v"}', assistants=[override]), messages=[first]
    )
    made = (await rpc.call(storage_server.threads.CreateThread, request)).thread
    assert made.id == f"jan_{made.created_at.seconds}"
    get = threads_pb2.GetThreadRequest(thread_id=made.id)
    found = (await rpc.call(storage_server.threads.GetThread, get)).thread
    assert (found.title, found.metadata_json, found.tool_resources_json) == ("Trip", '{"k":"v"}', "")
    assert list(found.assistants) == [override]

    update = threads_pb2.UpdateThreadRequest(
        thread=threads_pb2.Thread(id=made.id, title="New", metadata_json='{"ignored":"x"}'),
        update_mask=FieldMask(paths=["title"]),
    )
    updated = (await rpc.call(storage_server.threads.UpdateThread, update)).thread
    assert (updated.title, updated.metadata_json) == ("New", '{"k":"v"}')
    file = storage_server.janroot / "threads" / made.id / "thread.json"
    assert json.loads(await asyncio.to_thread(file.read_text))["title"] == "New"

    delete = threads_pb2.DeleteThreadRequest(thread_id=made.id)
    await rpc.call(storage_server.threads.DeleteThread, delete)
    calls: list[tuple[Any, Any]] = [
        (storage_server.threads.GetThread, get),
        (storage_server.threads.DeleteThread, delete),
        (storage_server.threads.UpdateThread, update),
        (storage_server.messages.CreateMessage, message(made, "msg_2")),
    ]
    for method, gone in calls:
        with pytest.raises(NotFoundError, match=f"No thread found with id '{made.id}'"):
            await rpc.call(method, gone)


async def test_threads_are_listed_newest_first_unless_asked(storage_server: StorageServer) -> None:
    made = [(await create_thread(storage_server, title=str(number))).id for number in range(5)]
    page = paging_pb2.PageRequest(page_size=3)
    listed = await rpc.call(storage_server.threads.ListThreads, threads_pb2.ListThreadsRequest(page=page))
    assert ([thread.id for thread in listed.threads], listed.has_more) == (made[:1:-1], True)
    page = paging_pb2.PageRequest(order=paging_pb2.ORDER_ASC, after=made[2])
    listed = await rpc.call(storage_server.threads.ListThreads, threads_pb2.ListThreadsRequest(page=page))
    assert ([thread.id for thread in listed.threads], listed.has_more) == (made[3:], False)


async def test_a_message_lives_and_ends(storage_server: StorageServer) -> None:
    thread = await create_thread(storage_server)
    made = (await rpc.call(storage_server.messages.CreateMessage, message(thread, "msg_1"))).message
    assert made.status == messages_pb2.MESSAGE_STATUS_COMPLETED
    assert made.completed_at == made.created_at
    assert made.content_json == CONTENT.replace(" ", "")
    again = (await rpc.call(storage_server.messages.CreateMessage, message(thread, "msg_1"))).message
    assert again == made
    update = messages_pb2.UpdateMessageRequest(thread_id=thread.id, message_id="msg_1", metadata_json='{"k":"v"}')
    updated = (await rpc.call(storage_server.messages.UpdateMessage, update)).message
    get = messages_pb2.GetMessageRequest(thread_id=thread.id, message_id="msg_1")
    assert (await rpc.call(storage_server.messages.GetMessage, get)).message == updated
    assert updated.metadata_json == '{"k":"v"}'
    delete = messages_pb2.DeleteMessageRequest(thread_id=thread.id, message_id="msg_1")
    await rpc.call(storage_server.messages.DeleteMessage, delete)
    with pytest.raises(NotFoundError):
        await rpc.call(storage_server.messages.GetMessage, get)


async def test_appends_at_once_are_all_kept_in_order(storage_server: StorageServer) -> None:
    thread = await create_thread(storage_server)
    create = storage_server.messages.CreateMessage
    await asyncio.gather(*(rpc.call(create, message(thread, f"msg_{number}")) for number in range(50)))
    page = paging_pb2.PageRequest(page_size=100, order=paging_pb2.ORDER_ASC)
    request = messages_pb2.ListMessagesRequest(thread_id=thread.id, page=page)
    listed = (await rpc.call(storage_server.messages.ListMessages, request)).messages
    assert {item.id for item in listed} == {f"msg_{number}" for number in range(50)}
    file = storage_server.janroot / "threads" / thread.id / "messages.jsonl"
    lines = (await asyncio.to_thread(file.read_text)).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [item.id for item in listed]


async def test_several_messages_are_added_together_or_not_at_all(storage_server: StorageServer) -> None:
    thread = await create_thread(storage_server)
    listing = messages_pb2.ListMessagesRequest(thread_id=thread.id, page=paging_pb2.PageRequest(page_size=9))

    async def added(*names: str, run_id: str = "") -> list[str]:
        """The last of them is of that run."""
        asked = [message(thread, name).message for name in names]
        asked[-1].run_id = run_id
        request = messages_pb2.CreateMessagesRequest(thread_id=thread.id, messages=asked)
        return [one.id for one in (await rpc.call(storage_server.messages.CreateMessages, request)).messages]

    with pytest.raises(FailedPreconditionError):
        await added("msg_1", "msg_2", "msg_3", run_id="run_unknown")
    assert not (await rpc.call(storage_server.messages.ListMessages, listing)).messages
    assert await added("msg_1", "msg_2") == ["msg_1", "msg_2"]
    # Sent again after a crash that left the first of them.
    assert await added("msg_1", "msg_2", "msg_3") == ["msg_1", "msg_2", "msg_3"]
    kept = (await rpc.call(storage_server.messages.ListMessages, listing)).messages
    assert [one.id for one in kept] == ["msg_3", "msg_2", "msg_1"]
    lost = messages_pb2.CreateMessagesRequest(thread_id="jan_none", messages=[message(thread, "msg_4").message])
    with pytest.raises(NotFoundError):
        await rpc.call(storage_server.messages.CreateMessages, lost)


async def test_a_run_lives_and_ends(storage_server: StorageServer) -> None:
    thread = await create_thread(storage_server)
    request = runs_pb2.CreateRunRequest(run=run(thread), additional_messages=[message(thread, "msg_1").message])
    queued = (await rpc.call(storage_server.runs.CreateRun, request)).run
    assert queued == _with(run(thread), revision=1)
    with pytest.raises(FailedPreconditionError, match="already has an active run run_1"):
        await rpc.call(storage_server.runs.CreateRun, runs_pb2.CreateRunRequest(run=run(thread, "run_2")))
    with pytest.raises(FailedPreconditionError, match="while a run run_1 is active"):
        await rpc.call(storage_server.messages.CreateMessage, message(thread, "msg_2"))
    await rpc.call(storage_server.messages.CreateMessage, message(thread, "msg_3", run_id="run_1"))
    active = await rpc.call(storage_server.runs.ListActiveRuns, runs_pb2.ListActiveRunsRequest())
    assert list(active.runs) == [queued]

    step = runs_pb2.RunStep(
        id="step_1",
        run_id="run_1",
        thread_id=thread.id,
        assistant_id="jan",
        type=runs_pb2.RUN_STEP_TYPE_MESSAGE_CREATION,
        status=runs_pb2.RUN_STEP_STATUS_COMPLETED,
        created_at=Timestamp(seconds=1704504641),
        completed_at=Timestamp(seconds=1704504642),
        step_details_json='{"type":"message_creation"}',
        usage=Usage(prompt_tokens=1, completion_tokens=2),
        metadata_json="{}",
    )
    await rpc.call(storage_server.runs.PutRunStep, runs_pb2.PutRunStepRequest(step=step))
    get = runs_pb2.GetRunStepRequest(thread_id=thread.id, run_id="run_1", step_id="step_1")
    assert (await rpc.call(storage_server.runs.GetRunStep, get)).step == step
    list_steps = runs_pb2.ListRunStepsRequest(thread_id=thread.id, run_id="run_1")
    assert list((await rpc.call(storage_server.runs.ListRunSteps, list_steps)).steps) == [step]

    done = _with(
        queued,
        status=runs_pb2.RUN_STATUS_FAILED,
        failed_at=Timestamp(seconds=1704504643),
        last_error=runs_pb2.RunError(code="server_error", message="It broke.", param="response_format"),
        usage=Usage(prompt_tokens=3, completion_tokens=4, cached_tokens=1),
    )
    ended = (await rpc.call(storage_server.runs.UpdateRun, runs_pb2.UpdateRunRequest(run=done))).run
    assert ended == _with(done, revision=2)
    with pytest.raises(ConflictError):
        await rpc.call(storage_server.runs.UpdateRun, runs_pb2.UpdateRunRequest(run=done))
    found = await rpc.call(storage_server.runs.GetRun, runs_pb2.GetRunRequest(thread_id=thread.id, run_id="run_1"))
    listed = await rpc.call(storage_server.runs.ListRuns, runs_pb2.ListRunsRequest(thread_id=thread.id))
    assert found.run == ended
    assert list(listed.runs) == [ended]
    active = await rpc.call(storage_server.runs.ListActiveRuns, runs_pb2.ListActiveRunsRequest())
    assert list(active.runs) == []


def _with(run: runs_pb2.Run, **changes: object) -> runs_pb2.Run:
    changed = runs_pb2.Run(**changes)  # type: ignore[arg-type]
    merged = runs_pb2.Run()
    merged.CopyFrom(run)
    merged.MergeFrom(changed)
    return merged


async def test_an_assistant_lives_and_ends(storage_server: StorageServer) -> None:
    assistant = assistants_pb2.Assistant(id="asst_1", name="Ada", model="demo", tools_json="[]", metadata_json="{}")
    create = assistants_pb2.CreateAssistantRequest(assistant=assistant)
    made = (await rpc.call(storage_server.assistants.CreateAssistant, create)).assistant
    assert not made.HasField("description")
    assert (await rpc.call(storage_server.assistants.CreateAssistant, create)).assistant == made
    update = assistants_pb2.UpdateAssistantRequest(
        assistant=assistants_pb2.Assistant(id="asst_1", temperature=0.0),
        update_mask=FieldMask(paths=["name", "temperature"]),
    )
    updated = (await rpc.call(storage_server.assistants.UpdateAssistant, update)).assistant
    assert (updated.HasField("name"), updated.HasField("temperature"), updated.model) == (False, True, "demo")
    listed = await rpc.call(storage_server.assistants.ListAssistants, assistants_pb2.ListAssistantsRequest())
    assert [item.id for item in listed.assistants] == ["asst_1", "jan"]
    delete = assistants_pb2.DeleteAssistantRequest(assistant_id="asst_1")
    await rpc.call(storage_server.assistants.DeleteAssistant, delete)
    get = assistants_pb2.GetAssistantRequest(assistant_id="asst_1")
    with pytest.raises(NotFoundError):
        await rpc.call(storage_server.assistants.GetAssistant, get)


async def test_models_are_read_from_their_folders(storage_server: StorageServer) -> None:
    folder = storage_server.janroot / "models" / "vendor" / "demo"
    await asyncio.to_thread(folder.mkdir, parents=True)
    file = '{"sources":[{"filename":"w.gguf"}],"settings":{"ctx_len":64},"created":1704504640}'
    await asyncio.to_thread((folder / "model.json").write_text, file)
    listed = await rpc.call(storage_server.models.ListModels, models_pb2.ListModelsRequest())
    found = await rpc.call(storage_server.models.GetModel, models_pb2.GetModelRequest(model_id="vendor/demo"))
    assert found.model.revision
    found.model.ClearField("revision")  # which lists leave out
    assert list(listed.models) == [found.model]
    assert (found.model.engine, list(found.model.files)) == ("llamacpp", ["w.gguf"])
    assert found.model.settings_json == '{"ctx_len":64}'
    with pytest.raises(NotFoundError) as unknown:
        await rpc.call(storage_server.models.GetModel, models_pb2.GetModelRequest(model_id="vendor"))
    assert unknown.value.code == "model_not_found"


@pytest.mark.parametrize("hostile", ["", "..", "../x", "a/b", "a\0b", "x" * 10_000])
async def test_hostile_ids_are_refused(storage_server: StorageServer, hostile: str) -> None:
    calls: list[tuple[Any, Any]] = [
        (storage_server.threads.GetThread, threads_pb2.GetThreadRequest(thread_id=hostile)),
        (storage_server.threads.DeleteThread, threads_pb2.DeleteThreadRequest(thread_id=hostile)),
        (storage_server.assistants.GetAssistant, assistants_pb2.GetAssistantRequest(assistant_id=hostile)),
        (storage_server.messages.GetMessage, messages_pb2.GetMessageRequest(thread_id="jan_1", message_id=hostile)),
        (storage_server.runs.GetRun, runs_pb2.GetRunRequest(thread_id="jan_1", run_id=hostile)),
    ]
    for method, request in calls:
        with pytest.raises(InvalidArgumentError):
            await rpc.call(method, request)


async def test_values_that_are_not_what_they_claim_are_refused(storage_server: StorageServer) -> None:
    thread = await create_thread(storage_server)
    update_id = threads_pb2.UpdateThreadRequest(thread=thread, update_mask=FieldMask(paths=["id"]))
    no_role = messages_pb2.CreateMessageRequest(message=messages_pb2.Message(id="msg_1", thread_id=thread.id))
    bad_page = threads_pb2.ListThreadsRequest(page=paging_pb2.PageRequest(page_size=101))
    no_time = runs_pb2.CreateRunRequest(run=runs_pb2.Run(id="run_1", thread_id=thread.id, assistant_id="jan"))
    calls: list[tuple[Any, Any]] = [
        (storage_server.threads.UpdateThread, update_id),
        (storage_server.threads.ListThreads, bad_page),
        (storage_server.messages.CreateMessage, no_role),
        (storage_server.runs.CreateRun, no_time),
    ]
    for method, request in calls:
        with pytest.raises(InvalidArgumentError):
            await rpc.call(method, request)
    for text in ("{", "[]", '"x"', "NaN"):
        with pytest.raises(InvalidArgumentError) as refused:
            await create_thread(storage_server, metadata_json=text)
        assert refused.value.param == "metadata"


async def test_a_thread_that_names_nobody_is_the_default_assistants(storage_server: StorageServer) -> None:
    thread = await create_thread(storage_server)
    [assistant] = thread.assistants
    assert (assistant.assistant_id, assistant.assistant_name, assistant.model_id) == ("jan", "Jan", "")
    path = storage_server.janroot / "threads" / thread.id / "thread.json"
    [written] = json.loads(await asyncio.to_thread(path.read_text))["assistants"]
    assert written["assistant_id"] == "jan"
    assert written["model"] == {"id": "*", "settings": {}, "parameters": {}}


class Crowd:
    """Holds the first fsync of a messages.jsonl until so many requests have come, and counts them all."""

    def __init__(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._missing = size
        self._complete = threading.Event()
        self.fsyncs = 0
        self._fsync, self._from_proto = os.fsync, servicer.from_proto
        monkeypatch.setattr(os, "fsync", self._count_fsync)
        monkeypatch.setattr(servicer, "from_proto", self._count_request)

    def _count_fsync(self, fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().name == "messages.jsonl":
            assert self._complete.wait(20)
            self.fsyncs += 1
        self._fsync(fd)

    def _count_request(self, thread_id: ThreadId, message: messages_pb2.Message) -> Message:
        self._missing -= 1
        if self._missing == 0:
            self._complete.set()
        return self._from_proto(thread_id, message)


async def test_many_who_write_into_one_thread_share_its_fsyncs(
    storage_server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = await create_thread(storage_server)
    crowd = Crowd(64, monkeypatch)

    names = [f"msg_{number}" for number in range(64)]
    calls = (
        rpc.call(storage_server.messages.CreateMessage, message(thread, name), deadline_seconds=30) for name in names
    )
    answers = [answer.message for answer in await asyncio.gather(*calls)]
    lines = (storage_server.janroot / "threads" / thread.id / "messages.jsonl").read_text().splitlines()
    on_disk = [json.loads(line) for line in lines]
    assert sorted(item["id"] for item in on_disk) == sorted(names)
    assert [item["created"] for item in on_disk] == sorted(item["created"] for item in on_disk)
    assert crowd.fsyncs == 2, "one for the first, one for all that came meanwhile"
    page = paging_pb2.PageRequest(page_size=100, order=paging_pb2.ORDER_ASC)
    request = messages_pb2.ListMessagesRequest(thread_id=thread.id, page=page)
    listed = (await rpc.call(storage_server.messages.ListMessages, request)).messages
    assert [item.id for item in listed] == [item["id"] for item in on_disk]
    assert sorted(answers, key=lambda item: item.id) == sorted(listed, key=lambda item: item.id)


async def test_a_request_that_shares_a_write_fails_alone(storage_server: StorageServer) -> None:
    thread = await create_thread(storage_server)
    bad = message(thread, "bad")
    bad.message.attachments_json = '[{"file_id":"file-000000000000000000000001"}]'
    requests = [message(thread, "a"), bad, message(thread, "b"), message(thread, "a")]
    calls = (rpc.call(storage_server.messages.CreateMessage, request) for request in requests)
    first, failed, other, again = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(failed, InvalidArgumentError)
    assert first == again
    assert isinstance(other, messages_pb2.CreateMessageResponse)
    lines = (storage_server.janroot / "threads" / thread.id / "messages.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"a", "b"}
    assert len(lines) == 2


async def test_when_all_threads_are_deleted_none_is_left(storage_server: StorageServer, tmp_path: Path) -> None:
    expected = damaged_root(storage_server.janroot, tmp_path / "outside")
    answer = await storage_server.threads.DeleteAllThreads(threads_pb2.DeleteAllThreadsRequest())
    assert answer.count == len(expected)
    # What lay in the shadow of others would be listed now.
    assert [*(await storage_server.threads.ListThreads(threads_pb2.ListThreadsRequest())).threads] == []
    left = {path.name for path in (storage_server.janroot / "threads").rglob("jan_1*")}
    assert left == set()


OURS = ("threads", "files", "assistants", "models", *(f".server/{name}" for name in ("staging", "trash", "quarantine")))


@pytest.mark.parametrize("folder", OURS)
async def test_a_folder_that_somebody_removes_is_made_again(storage_server: StorageServer, folder: str) -> None:
    await create_thread(storage_server)
    await asyncio.to_thread(shutil.rmtree, storage_server.janroot / folder)
    await storage_server.threads.ListThreads(threads_pb2.ListThreadsRequest())
    await asyncio.to_thread(shutil.rmtree, storage_server.janroot / folder)
    await storage_server.files.ListFiles(files_pb2.ListFilesRequest())
    await asyncio.to_thread(shutil.rmtree, storage_server.janroot / folder)
    made = await create_thread(storage_server)
    await asyncio.to_thread(shutil.rmtree, storage_server.janroot / ".server/trash")
    await storage_server.threads.DeleteThread(threads_pb2.DeleteThreadRequest(thread_id=made.id))
    assert (storage_server.janroot / folder).is_dir()
