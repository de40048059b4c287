// Vercel's AI SDK with its provider for compatible servers: text, streams, a loop of tools, objects and embeddings.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { EMBEDDER, MODEL, tell } from "./told.mjs";

const janroot = createOpenAICompatible({
  name: "janroot",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const asked = { model: janroot(MODEL), temperature: 0, maxOutputTokens: 200, maxRetries: 0 };
const CAPITAL = "Name the capital of France.";

async function whole() {
  const { text, usage, finishReason } = await generateText({ ...asked, prompt: CAPITAL });
  return { said: text, reason: finishReason, tokens: usage.outputTokens };
}

async function streamed() {
  const result = streamText({ ...asked, prompt: CAPITAL });
  const pieces = [];
  for await (const piece of result.textStream) pieces.push(piece);
  return { said: pieces.join(""), pieces: pieces.length, tokens: (await result.usage).outputTokens };
}

async function functions() {
  const cities = [];
  const weather = tool({
    description: "The weather of a city.",
    inputSchema: z.object({ city: z.enum(["Paris", "Rome"]) }),
    execute: async ({ city }) => {
      cities.push(city);
      return "Sunny.";
    },
  });
  const result = streamText({
    ...asked,
    prompt: "How is the weather in Rome?",
    tools: { weather },
    stopWhen: stepCountIs(2),
    // The first step must call, the second must answer.
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
  });
  const said = await result.text;
  return { asked: cities, said, steps: (await result.steps).length };
}

async function structured() {
  const { output } = await generateText({
    ...asked,
    prompt: CAPITAL,
    output: Output.object({ schema: z.object({ city: z.enum(["Paris", "Rome"]) }) }),
  });
  return { city: output.city };
}

async function embeddings() {
  const { embeddings, usage } = await embedMany({
    model: janroot.embeddingModel(EMBEDDER),
    values: ["a river", "a town"],
    maxRetries: 0,
  });
  return { dimensions: embeddings.map((one) => one.length), tokens: usage.tokens };
}

async function error() {
  try {
    await generateText({ ...asked, model: janroot("nobody"), prompt: CAPITAL });
  } catch (raised) {
    return { status: raised.statusCode, retryable: raised.isRetryable, message: raised.message };
  }
  return null;
}

await tell({ whole, streamed, functions, structured, embeddings, error });
