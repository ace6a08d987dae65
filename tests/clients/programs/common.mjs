// What every JavaScript program here shares; see common.py. They are copied to where the packages lie.
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const BASE_URL = `${process.env.OSSIA_URL}/v1`;
export const KEY = process.env.OSSIA_KEY;
export const MODEL = "demo";
export const QUESTION = "How many rs are in the word 'berry'?";
export const NEEDS_TOOL = "What's the weather in Paris?";
export const WEATHER_SCHEMA = {
  type: "object",
  properties: { city: { type: "string", description: "The city." } },
  required: ["city"],
  additionalProperties: false,
};

const manifest = (name) =>
  JSON.parse(readFileSync(join(import.meta.dirname, "node_modules", name, "package.json"), "utf8"));

const calls = [];
const cases = new Map();

export function weather(city) {
  calls.push(["get_weather", { city }]);
  return { city, sky: "clear", temperature: 19 };
}

export function callTool(name, argumentsText) {
  if (name !== "get_weather") throw new Error(`no tool ${name}`);
  return JSON.stringify(weather(JSON.parse(argumentsText).city));
}

export function Case(name, run) {
  cases.set(name, run);
}

export async function main(...packages) {
  tell({ versions: Object.fromEntries(packages.map((name) => [name, manifest(name).version])) });
  for (const [name, run] of cases) {
    calls.length = 0;
    let seen;
    try {
      seen = await run();
    } catch (error) {
      seen = told(error);
    }
    tell({ case: name, calls: [...calls], ...seen });
  }
}

function told(error) {
  let status = null;
  for (let cause = error; cause && status === null; cause = cause.cause ?? cause.lastError) {
    status = cause.status ?? cause.statusCode ?? null;
  }
  return { raised: error.name, status, message: String(error.message), trace: String(error.stack) };
}

const tell = (line) => console.log(`\n@@${JSON.stringify(line)}`);
