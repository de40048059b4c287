// Files, uploads in parts, vector stores and batches with the stock SDK for Node: the same parts as openai_files.py.

import OpenAI, { toFile } from "openai";
import { MODEL, tell } from "./told.mjs";

const client = new OpenAI({ maxRetries: 0 });
const ENDS = ["completed", "failed", "expired", "cancelled"];

async function idsOf(pages) {
  const ids = [];
  for await (const one of pages) ids.push(one.id);
  return ids;
}

async function contentOf(fileId) {
  return Buffer.from(await (await client.files.content(fileId)).arrayBuffer());
}

async function files() {
  const data = Buffer.from(Array.from({ length: 25600 }, (_, at) => at % 256));
  const made = await client.files.create({ file: await toFile(data, "plan für Rom.bin"), purpose: "assistants" });
  return {
    name: made.filename,
    bytes: made.bytes,
    status: (await client.files.waitForProcessing(made.id)).status,
    listed: (await idsOf(client.files.list({ purpose: "assistants" }))).includes(made.id),
    same: (await contentOf(made.id)).equals(data),
    deleted: (await client.files.delete(made.id)).deleted,
  };
}

async function uploadInParts() {
  const data = Buffer.from("a long document ".repeat(1000));
  const upload = await client.uploads.create({
    filename: "long.txt",
    bytes: data.length,
    purpose: "assistants",
    mime_type: "text/plain",
  });
  const parts = [];
  for (let at = 0; at < data.length; at += 4096) {
    const part = await client.uploads.parts.create(upload.id, { data: await toFile(data.subarray(at, at + 4096)) });
    parts.push(part.id);
  }
  const completed = await client.uploads.complete(upload.id, { part_ids: parts });
  return { status: completed.status, same: (await contentOf(completed.file.id)).equals(data) };
}

async function vectorStore() {
  const store = await client.vectorStores.create({ name: "Garden" });
  const documents = [
    await toFile(Buffer.from("Plant tomatoes in May."), "tomatoes.md"),
    await toFile(Buffer.from("Cut roses in March."), "roses.md"),
  ];
  const batch = await client.vectorStores.fileBatches.uploadAndPoll(store.id, { files: documents });
  const [best] = (await client.vectorStores.search(store.id, { query: "roses" })).data;
  return {
    status: batch.status,
    completed: batch.file_counts.completed,
    best: best.filename,
    count: (await client.vectorStores.retrieve(store.id)).file_counts.total,
  };
}

async function batch() {
  const lines = [0, 1, 2].map((number) => ({
    custom_id: `request-${number}`,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: MODEL, messages: [{ role: "user", content: `Say ${number}.` }], max_tokens: 4 },
  }));
  const data = Buffer.from(lines.map((line) => JSON.stringify(line) + "\n").join(""));
  const file = await client.files.create({ file: await toFile(data, "requests.jsonl"), purpose: "batch" });
  const started = await client.batches.create({
    input_file_id: file.id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
  });
  let ended = started;
  while (!ENDS.includes(ended.status)) ended = await client.batches.retrieve(started.id);
  const answers = (await contentOf(ended.output_file_id)).toString().trim().split("\n");
  return {
    status: ended.status,
    completed: ended.request_counts.completed,
    answered: answers.map((answer) => JSON.parse(answer).custom_id).sort(),
    listed: (await idsOf(client.batches.list())).includes(started.id),
  };
}

await tell({ files, upload_in_parts: uploadInParts, vector_store: vectorStore, batch });
