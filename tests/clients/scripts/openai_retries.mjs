// What the stock SDK for Node sends again by itself: the same parts as openai_retries.py.

import { randomUUID } from "node:crypto";
import OpenAI from "openai";
import { error } from "./failure.mjs";
import { CALLS, tell } from "./told.mjs";

const client = new OpenAI();
const { threads } = client.beta;
const LOSES = { "X-Loses-Answer": "1" };

function name(part) {
  return { by: client.apiKey, is: part };
}

async function chat(asking, text, options = {}) {
  const messages = [{ role: "user", content: text }];
  const answer = await asking.chat.completions.create({ model: CALLS, messages, ...options });
  return answer.choices[0].message.content;
}

async function full_to_the_end() {
  return await error(chat(client.withOptions({ maxRetries: 1 }), "Is there room?"));
}

async function full_for_a_while() {
  return { said: await chat(client, `Is there room now, asks ${client.apiKey}?`) };
}

async function wrong() {
  const used = { headers: { "Idempotency-Key": "used" } };
  const thread = await threads.create({ metadata: name("first") }, used);
  return {
    parameter: await error(chat(client, "Hi", { temperature: 9 })),
    thread: await error(threads.retrieve("thread_unknown")),
    role: await error(threads.messages.create(thread.id, { role: "nobody", content: "Hi" })),
    key: await error(threads.create({}, used)),
  };
}

async function lost_without_a_key() {
  return { thread: (await threads.create({ metadata: name("without") }, { headers: LOSES })).id };
}

async function lost_with_a_key() {
  const headers = { ...LOSES, "Idempotency-Key": randomUUID() };
  return { thread: (await threads.create({ metadata: name("with") }, { headers })).id };
}

async function lost_with_the_clients_keys() {
  const careful = new OpenAI();
  careful.idempotencyHeader = "Idempotency-Key";
  const { messages, runs } = careful.beta.threads;
  const loses = { headers: LOSES };
  const thread = await careful.beta.threads.create({ metadata: name("careful") }, loses);
  const message = await messages.create(thread.id, { role: "user", content: "Hi" }, loses);
  const run = await runs.create(thread.id, { assistant_id: "jan", model: CALLS }, loses);
  const ended = await runs.poll(run.id, { thread_id: thread.id }, { pollIntervalMs: 50 });
  return { thread: thread.id, message: message.id, run: run.id, status: ended.status };
}

await tell({
  full_to_the_end,
  full_for_a_while,
  wrong,
  lost_without_a_key,
  lost_with_a_key,
  lost_with_the_clients_keys,
});
