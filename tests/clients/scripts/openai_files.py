"""Files, uploads in parts, vector stores and batches with the stock SDK for Python."""

import json

from openai import OpenAI
from told import MODEL, tell

client = OpenAI(max_retries=0)
ENDS = {"completed", "failed", "expired", "cancelled"}


def files():
    data = bytes(range(256)) * 100
    made = client.files.create(file=("plan für Rom.bin", data), purpose="assistants")
    return {
        "name": made.filename,
        "bytes": made.bytes,
        "status": client.files.wait_for_processing(made.id).status,
        "listed": made.id in [one.id for one in client.files.list(purpose="assistants")],
        "same": client.files.content(made.id).read() == data,
        "deleted": client.files.delete(made.id).deleted,
    }


def upload_in_parts():
    data = b"a long document " * 1000
    upload = client.uploads.upload_file_chunked(
        file=data, filename="long.txt", bytes=len(data), purpose="assistants", mime_type="text/plain", part_size=4096
    )
    return {"status": upload.status, "same": client.files.content(upload.file.id).read() == data}


def vector_store():
    store = client.vector_stores.create(name="Garden")
    documents = [("tomatoes.md", b"Plant tomatoes in May."), ("roses.md", b"Cut roses in March.")]
    batch = client.vector_stores.file_batches.upload_and_poll(store.id, files=documents)
    [best, *_] = client.vector_stores.search(store.id, query="roses").data
    return {
        "status": batch.status,
        "completed": batch.file_counts.completed,
        "best": best.filename,
        "count": client.vector_stores.retrieve(store.id).file_counts.total,
    }


def batch():
    lines = [
        {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": {
            "model": MODEL, "messages": [{"role": "user", "content": f"Say {number}."}], "max_tokens": 4}}
        for number in range(3)
    ]  # fmt: skip
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.files.create(file=("requests.jsonl", data), purpose="batch")
    started = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    while (ended := client.batches.retrieve(started.id)).status not in ENDS:
        pass
    answers = [json.loads(line) for line in client.files.content(ended.output_file_id).text.splitlines()]
    return {
        "status": ended.status,
        "completed": ended.request_counts.completed,
        "answered": sorted(answer["custom_id"] for answer in answers),
        "listed": started.id in [one.id for one in client.batches.list()],
    }


tell(files=files, upload_in_parts=upload_in_parts, vector_store=vector_store, batch=batch)
