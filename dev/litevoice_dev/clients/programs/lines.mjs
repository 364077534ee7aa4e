// How a driven client and litevoice_dev.clients.driven talk: see lines.py.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const { CLIENT_URL: url, CLIENT_KEY: key, CLIENT_MODULES: modules } = process.env;
export const returns = process.env.CLIENT_RETURNS === "1";
export const load = createRequire(join(modules, "client.js"));

export function version(name) {
  return JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8")).version;
}

export function tell(kind, more = {}) {
  process.stdout.write(`${JSON.stringify({ is: kind, ...more })}\n`);
}

export async function* commands() {
  for await (const line of createInterface({ input: process.stdin })) yield JSON.parse(line);
}
