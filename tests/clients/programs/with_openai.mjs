// The hosted API's own package for JavaScript.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  BASE_URL, Case, KEY, MODEL, NEEDS_TOOL, QUESTION, WEATHER_SCHEMA, callTool, main, weather,
} from "./common.mjs";

const client = new OpenAI({ baseURL: BASE_URL, apiKey: KEY, maxRetries: 0, timeout: 120_000 });
const stranger = new OpenAI({ baseURL: BASE_URL, apiKey: "wrong", maxRetries: 0 });
const Count = z.object({ count: z.int() });
const TOOL = {
  type: "function",
  name: "get_weather",
  description: "Get the weather.",
  parameters: WEATHER_SCHEMA,
  strict: true,
};

const chat = (more) => ({
  model: MODEL,
  messages: [{ role: "user", content: QUESTION }],
  temperature: 0,
  ...more,
});
const asked = (input, more) => ({ model: MODEL, input, temperature: 0, ...more });

Case("chat/plain", async () => {
  const completion = await client.chat.completions.create(chat());
  return { text: completion.choices[0].message.content };
});

Case("chat/reasoning", async () => {
  const completion = await client.chat.completions.create(chat());
  return { text: completion.choices[0].message.reasoning };
});

Case("chat/stream", async () => {
  const pieces = [];
  const stream = client.chat.completions.stream(chat());
  stream.on("content", (delta) => pieces.push(delta));
  return { text: await stream.finalContent(), pieces: pieces.length };
});

Case("chat/tools", async () => {
  const { type: _, ...declared } = TOOL;
  const tool = {
    type: "function",
    function: { ...declared, function: ({ city }) => weather(city), parse: JSON.parse },
  };
  const messages = [{ role: "user", content: NEEDS_TOOL }];
  const runner = client.chat.completions.runTools(chat({ messages, tools: [tool] }));
  return { text: await runner.finalContent() };
});

Case("chat/streamed tools", async () => {
  const { type: _, ...declared } = TOOL;
  const tool = {
    type: "function",
    function: { ...declared, function: ({ city }) => weather(city), parse: JSON.parse },
  };
  const messages = [{ role: "user", content: NEEDS_TOOL }];
  const request = chat({ messages, tools: [tool], stream: true });
  const runner = client.chat.completions.runTools(request);
  let pieces = 0;
  for await (const _chunk of runner) pieces += 1;
  return { text: await runner.finalContent(), pieces };
});

Case("chat/structured", async () => {
  const request = chat({ response_format: zodResponseFormat(Count, "count") });
  const completion = await client.chat.completions.parse(request);
  return { data: completion.choices[0].message.parsed };
});

Case("chat/unknown model", async () => {
  await client.chat.completions.create(chat({ model: "nothing" }));
});

Case("chat/bad key", async () => {
  await stranger.chat.completions.create(chat());
});

Case("responses/plain", async () => {
  return { text: (await client.responses.create(asked(QUESTION))).output_text };
});

Case("responses/reasoning", async () => {
  const { output } = await client.responses.create(asked(QUESTION));
  return { text: output.find((item) => item.type === "reasoning").content[0].text };
});

Case("responses/stream", async () => {
  const pieces = [];
  const stream = client.responses.stream(asked(QUESTION));
  stream.on("response.output_text.delta", (event) => pieces.push(event.delta));
  return { text: (await stream.finalResponse()).output_text, pieces: pieces.length };
});

Case("responses/tools", async () => {
  const response = await client.responses.create(asked(NEEDS_TOOL, { tools: [TOOL] }));
  const call = response.output.find((item) => item.type === "function_call");
  const output = callTool(call.name, call.arguments);
  const items = [{ type: "function_call_output", call_id: call.call_id, output }];
  const more = { tools: [TOOL], previous_response_id: response.id };
  return { text: (await client.responses.create(asked(items, more))).output_text };
});

Case("responses/structured", async () => {
  const text = { format: zodTextFormat(Count, "count") };
  return { data: (await client.responses.parse(asked(QUESTION, { text }))).output_parsed };
});

Case("responses/background", async () => {
  let response = await client.responses.create(asked(QUESTION, { background: true }));
  while (["queued", "in_progress"].includes(response.status)) {
    await new Promise((done) => setTimeout(done, 100));
    response = await client.responses.retrieve(response.id);
  }
  return { text: response.output_text };
});

Case("responses/unknown model", async () => {
  await client.responses.create(asked(QUESTION, { model: "nothing" }));
});

Case("responses/bad key", async () => {
  await stranger.responses.create(asked(QUESTION));
});

await main("openai");
