// Chats, embeddings, models and errors with the stock SDK for Node: the same parts as openai_chat.py.

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { error } from "./failure.mjs";
import { EMBEDDER, MODEL, tell } from "./told.mjs";

const client = new OpenAI({ maxRetries: 0 });
const { completions } = client.chat;
const QUESTION = [{ role: "user", content: "Name the capital of France." }];
const Capital = z.object({ city: z.enum(["Paris", "Rome"]) });

async function whole() {
  const answer = await completions.create({ model: MODEL, messages: QUESTION, max_tokens: 64, temperature: 0 });
  return {
    said: answer.choices[0].message.content,
    reason: answer.choices[0].finish_reason,
    tokens: answer.usage.completion_tokens,
    request_id: answer._request_id,
  };
}

async function streamed() {
  const stream = completions.stream({
    model: MODEL,
    messages: QUESTION,
    max_tokens: 64,
    temperature: 0,
    stream_options: { include_usage: true },
  });
  let said = "";
  stream.on("content", (delta) => (said += delta));
  const final = await stream.finalChatCompletion();
  return { said, final: final.choices[0].message.content, tokens: (await stream.totalUsage()).completion_tokens };
}

async function parsed() {
  const answer = await completions.parse({
    model: MODEL,
    messages: QUESTION,
    response_format: zodResponseFormat(Capital, "capital"),
    max_tokens: 200,
    temperature: 0,
  });
  return { city: answer.choices[0].message.parsed.city };
}

async function tools() {
  const asked = {
    model: MODEL,
    tools: [zodFunction({ name: "tell_capital", parameters: Capital })],
    temperature: 0,
    max_tokens: 200,
  };
  const tool_choice = { type: "function", function: { name: "tell_capital" } };
  const stream = completions.stream({ ...asked, messages: QUESTION, tool_choice });
  let deltas = 0;
  stream.on("tool_calls.function.arguments.delta", () => (deltas += 1));
  const [choice] = (await stream.finalChatCompletion()).choices;
  const [call] = choice.message.tool_calls;
  const answered = [...QUESTION, choice.message, { role: "tool", tool_call_id: call.id, content: "noted" }];
  const after = await completions.create({ ...asked, messages: answered, tool_choice: "none" });
  return {
    reason: choice.finish_reason,
    called: call.function.name,
    deltas,
    keys: Object.keys(JSON.parse(call.function.arguments)),
    said: after.choices[0].message.content,
  };
}

async function stored() {
  const asked = await completions.create({
    model: MODEL,
    messages: QUESTION,
    max_tokens: 4,
    store: true,
    metadata: { by: "script" },
  });
  const found = await completions.retrieve(asked.id);
  return {
    same: found.choices[0].message.content === asked.choices[0].message.content,
    deleted: (await completions.delete(asked.id)).deleted,
  };
}

async function completion() {
  let said = "";
  for await (const chunk of await client.completions.create({
    model: MODEL,
    prompt: "One, two,",
    max_tokens: 4,
    stream: true,
  })) {
    said += chunk.choices[0].text;
  }
  return { said };
}

async function embeddings() {
  const asked = { model: EMBEDDER, input: ["a river", "a town"] };
  const packed = await client.embeddings.create(asked);
  const plain = await client.embeddings.create({ ...asked, encoding_format: "float" });
  const apart = packed.data.flatMap((one, index) =>
    one.embedding.map((value, at) => Math.abs(value - plain.data[index].embedding[at])),
  );
  return { dimensions: packed.data.map((one) => one.embedding.length), apart: Math.max(...apart) };
}

async function models() {
  const listed = [];
  for await (const model of client.models.list()) listed.push(model.id);
  return { listed: listed.includes(MODEL), object: (await client.models.retrieve(MODEL)).object };
}

async function errors() {
  const asked = { model: MODEL, messages: QUESTION };
  return {
    model: await error(completions.create({ ...asked, model: "nobody" })),
    parameter: await error(completions.create({ ...asked, temperature: 9 })),
    context: await error(
      completions.create({ ...asked, messages: [{ role: "user", content: "word ".repeat(20_000) }] }),
    ),
    thread: await error(client.beta.threads.retrieve("thread_unknown")),
    response: await error(client.responses.retrieve("resp_unknown")),
    left_out: await error(client.moderations.create({ input: "x" })),
  };
}

// A reader who leaves: the queue says when the place of its answer is free again.
async function aborted() {
  const gone = new AbortController();
  const stream = await completions.create(
    { model: MODEL, messages: [{ role: "user", content: "Write a very long story." }], max_tokens: 4000, stream: true },
    { signal: gone.signal },
  );
  let chunks = 0;
  for await (const chunk of stream) {
    chunks += 1;
    if (chunks === 3) gone.abort();
  }
  while (await atWork()) continue;
  return { chunks, at_work: await atWork() };
}

async function atWork() {
  const queue = await client.get("/queue");
  return queue.data.length;
}

await tell({ whole, streamed, parsed, tools, stored, completion, embeddings, models, errors, aborted });
