// Vercel's AI SDK: its provider for OpenAI (Responses), and the one for compatible servers (Chat).
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { BASE_URL, Case, KEY, MODEL, NEEDS_TOOL, QUESTION, main, weather } from "./common.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

// The SDK leaves out the temperature for models that reason.
function greedily(url, request) {
  const body = JSON.stringify({ ...JSON.parse(request.body), temperature: 0 });
  return fetch(url, { ...request, body });
}

function model(api, name = MODEL, apiKey = KEY) {
  const settings = { name: "ossia", baseURL: BASE_URL, apiKey, fetch: greedily };
  if (api === "responses") return createOpenAI(settings)(name);
  return createOpenAICompatible({ ...settings, supportsStructuredOutputs: true })(name);
}

const asked = (api, prompt, more) => ({
  model: model(api),
  prompt,
  temperature: 0,
  maxRetries: 0,
  // It shows reasoning only where that comes as a summary.
  providerOptions: { openai: { reasoningSummary: "auto", forceReasoning: true } },
  ...more,
});

const getWeather = tool({
  description: "Get the weather.",
  inputSchema: z.object({ city: z.string().describe("The city.") }),
  execute: async ({ city }) => weather(city),
});
const withTools = { tools: { get_weather: getWeather }, stopWhen: stepCountIs(4) };

const plain = async (api) => ({ text: (await generateText(asked(api, QUESTION))).text });

const reasoning = async (api) => ({
  text: (await generateText(asked(api, QUESTION))).reasoningText,
});

async function stream(api) {
  const pieces = [];
  for await (const piece of streamText(asked(api, QUESTION)).textStream) pieces.push(piece);
  return { text: pieces.join(""), pieces: pieces.length };
}

const tools = async (api) => ({
  text: (await generateText(asked(api, NEEDS_TOOL, withTools))).text,
});

async function streamedTools(api) {
  const result = streamText(asked(api, NEEDS_TOOL, withTools));
  let pieces = 0;
  for await (const part of result.fullStream) {
    if (part.type === "error") throw part.error;
    pieces += 1;
  }
  return { text: await result.text, pieces };
}

async function structured(api) {
  const output = Output.object({ schema: z.object({ count: z.int() }) });
  return { data: (await generateText(asked(api, QUESTION, { output }))).output };
}

const unknownModel = (api) =>
  generateText(asked(api, QUESTION, { model: model(api, "nothing") }));
const badKey = (api) =>
  generateText(asked(api, QUESTION, { model: model(api, MODEL, "wrong") }));

Case("chat/plain", () => plain("chat"));
Case("chat/reasoning", () => reasoning("chat"));
Case("chat/stream", () => stream("chat"));
Case("chat/tools", () => tools("chat"));
Case("chat/streamed tools", () => streamedTools("chat"));
Case("chat/structured", () => structured("chat"));
Case("chat/unknown model", () => unknownModel("chat"));
Case("chat/bad key", () => badKey("chat"));
Case("responses/plain", () => plain("responses"));
Case("responses/reasoning", () => reasoning("responses"));
Case("responses/stream", () => stream("responses"));
Case("responses/tools", () => tools("responses"));
Case("responses/streamed tools", () => streamedTools("responses"));
Case("responses/structured", () => structured("responses"));
Case("responses/unknown model", () => unknownModel("responses"));
Case("responses/bad key", () => badKey("responses"));

await main("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible");
