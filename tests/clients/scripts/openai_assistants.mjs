// Assistants with the stock SDK for Node: the same parts as openai_assistants.py, and the same words for what was seen.

import OpenAI, { toFile } from "openai";
import { MODEL, tell } from "./told.mjs";

const client = new OpenAI({ maxRetries: 0 });
const { assistants, threads } = client.beta;
const CAPITAL = "Name the capital of France.";
const QUESTION = [{ role: "user", content: "How is the weather in Rome?" }];
const FORCED = { type: "function", function: { name: "weather" } };
const WEATHER = {
  type: "function",
  function: {
    name: "weather",
    strict: true,
    parameters: {
      type: "object",
      properties: { city: { type: "string", enum: ["Paris", "Rome"] } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};

// What an application hears of a run.
function listen(stream) {
  const heard = { events: [], said: "", arguments: "" };
  stream.on("event", ({ event }) => heard.events.includes(event) || heard.events.push(event));
  stream.on("textDelta", (delta) => (heard.said += delta.value ?? ""));
  stream.on("toolCallDelta", (delta) => (heard.arguments += delta.function?.arguments ?? ""));
  return heard;
}

async function saidIn(threadId, runId) {
  const { data } = await threads.messages.list(threadId, { run_id: runId });
  return data[0].content[0].text.value;
}

async function stepsOf(run) {
  return (await threads.runs.steps.list(run.id, { thread_id: run.thread_id, order: "asc" })).data;
}

const callsFunctions = () =>
  assistants.create({ model: MODEL, tools: [WEATHER], temperature: 0, metadata: { by: "script" } });

async function allOf(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

async function polled() {
  const assistant = await assistants.create({ model: MODEL, name: "Tutor", instructions: "Be brief.", temperature: 0 });
  const renamed = await assistants.update(assistant.id, { name: "Teacher" });
  const thread = await threads.create({ metadata: { by: "script" } });
  await threads.messages.create(thread.id, { role: "user", content: CAPITAL });
  const run = await threads.runs.createAndPoll(thread.id, { assistant_id: assistant.id, max_completion_tokens: 256 });
  const messages = await allOf(threads.messages.list(thread.id, { order: "asc", limit: 1 }));
  return {
    name: renamed.name,
    status: run.status,
    roles: messages.map((message) => message.role),
    said: messages.at(-1).content[0].text.value,
    tokens: run.usage.completion_tokens,
    listed: (await allOf(assistants.list())).some((one) => one.id === assistant.id),
    deleted: [(await assistants.delete(assistant.id)).deleted, (await threads.delete(thread.id)).deleted],
  };
}

async function streamed() {
  const thread = await threads.create({ messages: [{ role: "user", content: CAPITAL }] });
  const stream = threads.runs.stream(thread.id, { assistant_id: "jan", temperature: 0, max_completion_tokens: 256 });
  const heard = listen(stream);
  const run = await stream.finalRun();
  const [message] = await stream.finalMessages();
  return {
    status: run.status,
    events: heard.events,
    said: heard.said,
    final: message.content[0].text.value,
    stored: await saidIn(thread.id, run.id),
  };
}

async function toolsPolled() {
  const thread = await threads.create({ messages: QUESTION });
  const assistant = await callsFunctions();
  const waits = await threads.runs.createAndPoll(thread.id, {
    assistant_id: assistant.id,
    tool_choice: FORCED,
    max_completion_tokens: 256,
  });
  const [call] = waits.required_action.submit_tool_outputs.tool_calls;
  const run = await threads.runs.submitToolOutputsAndPoll(waits.id, {
    thread_id: thread.id,
    tool_outputs: [{ tool_call_id: call.id, output: "Sunny." }],
  });
  const [called] = await stepsOf(run);
  return {
    statuses: [waits.status, run.status],
    called: call.function.name,
    city: JSON.parse(call.function.arguments).city,
    output: called.step_details.tool_calls[0].function.output,
    said: await saidIn(thread.id, run.id),
  };
}

async function toolsStreamed() {
  const thread = await threads.create({ messages: QUESTION });
  const assistant = await callsFunctions();
  const stream = threads.runs.stream(thread.id, {
    assistant_id: assistant.id,
    tool_choice: FORCED,
    max_completion_tokens: 256,
  });
  const first = listen(stream);
  await stream.done();
  const run = stream.currentRun();
  const [call] = run.required_action.submit_tool_outputs.tool_calls;
  const answer = threads.runs.submitToolOutputsStream(run.id, {
    thread_id: thread.id,
    tool_outputs: [{ tool_call_id: call.id, output: "Sunny." }],
  });
  const second = listen(answer);
  await answer.done();
  return {
    events: [...first.events, ...second.events],
    whole: first.arguments === call.function.arguments,
    said: second.said,
    stored: await saidIn(thread.id, run.id),
  };
}

async function fileSearch() {
  const store = await client.vectorStores.create({ name: "Garden" });
  const text = "# Tomatoes\n\nPlant tomatoes in the middle of May.";
  const added = await client.vectorStores.files.uploadAndPoll(store.id, await toFile(Buffer.from(text), "tomatoes.md"));
  const assistant = await assistants.create({
    model: MODEL,
    temperature: 0,
    tools: [{ type: "file_search" }],
    tool_resources: { file_search: { vector_stores: [{ file_ids: [added.id] }] } },
  });
  const [made] = assistant.tool_resources.file_search.vector_store_ids;
  const run = await threads.createAndRunPoll({
    assistant_id: assistant.id,
    thread: { messages: [{ role: "user", content: "When do I plant tomatoes?" }] },
    max_completion_tokens: 256,
  });
  const [searched] = await stepsOf(run);
  const hits = await client.vectorStores.search(made, { query: "When do I plant tomatoes?" });
  return {
    added: added.status,
    status: run.status,
    found: searched.step_details.tool_calls[0].file_search.results.map((result) => result.file_name),
    hits: hits.data.map((hit) => hit.content[0].text),
    deleted: [(await client.vectorStores.delete(store.id)).deleted, (await client.vectorStores.delete(made)).deleted],
  };
}

await tell({ polled, streamed, tools_polled: toolsPolled, tools_streamed: toolsStreamed, file_search: fileSearch });
