// Responses and conversations with the stock SDK for Node: the same parts as openai_responses.py.

import OpenAI, { toFile } from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { MODEL, tell } from "./told.mjs";

const client = new OpenAI({ maxRetries: 0 });
const CAPITAL = "Name the capital of France.";
const Capital = z.object({ city: z.enum(["Paris", "Rome"]) });
const WEATHER = {
  type: "function",
  name: "weather",
  parameters: {
    type: "object",
    properties: { city: { type: "string", enum: ["Paris", "Rome"] } },
    required: ["city"],
    additionalProperties: false,
  },
  strict: true,
};

async function streamed() {
  const stream = client.responses.stream({ model: MODEL, input: CAPITAL, max_output_tokens: 64, temperature: 0 });
  const numbers = [];
  let said = "";
  for await (const event of stream) {
    numbers.push(event.sequence_number);
    if (event.type === "response.output_text.delta") said += event.delta;
  }
  const final = await stream.finalResponse();
  const after = await client.responses.create({
    model: MODEL,
    input: "Again.",
    previous_response_id: final.id,
    max_output_tokens: 16,
  });
  return {
    numbered: numbers.every((number, index) => number === index),
    said,
    final: final.output_text,
    stored: (await client.responses.retrieve(final.id)).output_text,
    after: after.output_text,
    previous: after.previous_response_id === final.id,
  };
}

async function parsed() {
  const answer = await client.responses.parse({
    model: MODEL,
    input: CAPITAL,
    text: { format: zodTextFormat(Capital, "capital") },
    max_output_tokens: 64,
    temperature: 0,
  });
  return { city: answer.output_parsed.city };
}

async function conversation() {
  const talk = await client.conversations.create({ metadata: { by: "script" } });
  const called = await client.responses.create({
    model: MODEL,
    input: "How is the weather in Rome?",
    conversation: talk.id,
    tools: [WEATHER],
    tool_choice: { type: "function", name: "weather" },
    temperature: 0,
  });
  const [call] = called.output;
  await client.responses.create({
    model: MODEL,
    input: [{ type: "function_call_output", call_id: call.call_id, output: "Sunny, 31 degrees." }],
    conversation: talk.id,
    max_output_tokens: 32,
  });
  const items = [];
  for await (const item of client.conversations.items.list(talk.id, { order: "asc" })) items.push(item.type);
  return {
    called: call.name,
    city: JSON.parse(call.arguments).city,
    items,
    deleted: (await client.conversations.delete(talk.id)).deleted,
  };
}

async function inBackground() {
  let response = await client.responses.create({
    model: MODEL,
    input: CAPITAL,
    background: true,
    max_output_tokens: 64,
    temperature: 0,
  });
  const first = response.status;
  while (["queued", "in_progress"].includes(response.status)) response = await client.responses.retrieve(response.id);
  return { first, last: response.status, said: response.output_text };
}

async function fileSearch() {
  const store = await client.vectorStores.create({ name: "Garden" });
  const file = await toFile(Buffer.from("# Tomatoes\n\nPlant tomatoes in the middle of May."), "tomatoes.md");
  await client.vectorStores.files.uploadAndPoll(store.id, file);
  const question = "When do I plant tomatoes?";
  const stream = client.responses.stream({
    model: MODEL,
    input: question,
    tools: [{ type: "file_search", vector_store_ids: [store.id] }],
    max_output_tokens: 256,
    temperature: 0,
  });
  const heard = [];
  for await (const event of stream) heard.push(event.type);
  const final = await stream.finalResponse();
  const shown = await client.responses.retrieve(final.id, { include: ["file_search_call.results"] });
  return {
    heard: heard.filter((kind) => kind.includes("file_search")),
    items: final.output.map((item) => item.type),
    queries: final.output[0].queries.join() === question,
    hidden: final.output[0].results === null,
    found: shown.output[0].results.map((result) => result.text),
    said: final.output_text !== "",
    deleted: (await client.vectorStores.delete(store.id)).deleted,
  };
}

await tell({ streamed, parsed, conversation, in_background: inBackground, file_search: fileSearch });
