// OpenAI's Agents SDK for JavaScript: its loop over both APIs.
import {
  Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, setTracingDisabled, tool,
} from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";
import { BASE_URL, Case, KEY, MODEL, NEEDS_TOOL, QUESTION, main, weather } from "./common.mjs";

setTracingDisabled(true);
const MODELS = { chat: OpenAIChatCompletionsModel, responses: OpenAIResponsesModel };
const runner = new Runner({ tracingDisabled: true });

const getWeather = tool({
  name: "get_weather",
  description: "Get the weather.",
  parameters: z.object({ city: z.string().describe("The city.") }),
  execute: ({ city }) => JSON.stringify(weather(city)),
});

function agent(api, more = {}, name = MODEL, apiKey = KEY) {
  const client = new OpenAI({ baseURL: BASE_URL, apiKey, maxRetries: 0, timeout: 120_000 });
  const model = new MODELS[api](client, name);
  return new Agent({ name: "helper", model, modelSettings: { temperature: 0 }, ...more });
}

const plain = async (api) => ({ text: (await runner.run(agent(api), QUESTION)).finalOutput });

async function reasoning(api) {
  const { newItems } = await runner.run(agent(api), QUESTION);
  const { rawItem } = newItems.find((item) => item.type === "reasoning_item");
  const parts = rawItem.rawContent ?? rawItem.providerData.content;
  return { text: parts.map((part) => part.text).join("") };
}

async function stream(api) {
  const result = await runner.run(agent(api), QUESTION, { stream: true });
  let pieces = 0;
  for await (const event of result) {
    pieces += event.type === "raw_model_stream_event" && event.data.type === "output_text_delta";
  }
  await result.completed;
  return { text: result.finalOutput, pieces };
}

async function tools(api) {
  const result = await runner.run(agent(api, { tools: [getWeather] }), NEEDS_TOOL);
  return { text: result.finalOutput };
}

async function streamedTools(api) {
  const helper = agent(api, { tools: [getWeather] });
  const result = await runner.run(helper, NEEDS_TOOL, { stream: true });
  let pieces = 0;
  for await (const _event of result) pieces += 1;
  await result.completed;
  return { text: result.finalOutput, pieces };
}

async function structured(api) {
  const outputType = z.object({ count: z.int() });
  return { data: (await runner.run(agent(api, { outputType }), QUESTION)).finalOutput };
}

const unknownModel = (api) => runner.run(agent(api, {}, "nothing"), QUESTION);
const badKey = (api) => runner.run(agent(api, {}, MODEL, "wrong"), QUESTION);

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

await main("@openai/agents", "openai");
