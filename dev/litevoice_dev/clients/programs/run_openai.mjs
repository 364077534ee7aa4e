// openai (npm), as its documentation has it. It speaks wss: only.
import { commands, key, load, returns, tell, url, version } from "./lines.mjs";

const { OpenAI } = load("openai");
const { OpenAIRealtimeWS } = load("openai/realtime/ws");
const weather = {
  type: "function",
  name: "get_weather",
  description: "The weather in a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const seen = {};
const said = new Map();
const calls = [];

// Coming back to the session: docs/clients.md.
function buildRealtimeURL() {
  const query = new URLSearchParams({ model: "litevoice", can_return: "true", ...seen });
  return new URL(`${url}/realtime?${query}`);
}

const client = new OpenAI({ apiKey: key, baseURL: url.replace(/^ws/, "http") });
const comingBack = { reconnect: true, maxReconnectAttempts: 40, maxQueueBytes: 1 << 20, buildRealtimeURL };
const connection = new OpenAIRealtimeWS({ model: "litevoice", ...(returns ? comingBack : {}) }, client);
const send = (event) => connection.send(event);

connection.on("event", (event) => {
  if (event.event_id) seen.last_event_id = event.event_id;
});
connection.on("error", (error) => {
  if (error.error) tell("error", { text: `${error.error.code}: ${error.error.message}` });
  else if (!returns) tell("closed", { text: error.message });
});
if (returns) {
  connection.on("reconnected", () => connection.flushPending());
  connection.on("close", (code) => tell("closed", { text: String(code) }));
} else {
  connection.socket.on("close", (code) => tell("closed", { text: String(code) }));
}
connection.on("session.created", ({ session }) => {
  if (!seen.session_id) {
    send({ type: "session.update", session: { type: "realtime", tools: [weather] } });
    tell("ready", { version: version("openai") });
  }
  seen.session_id = session.id;
});
connection.on("conversation.item.added", ({ item }) => {
  if (item.type !== "message" || item.role !== "user" || said.has(item.id)) return;
  said.set(item.id, item.content.map((part) => part.text ?? "").join(""));
});
connection.on("conversation.item.input_audio_transcription.completed", ({ item_id, transcript }) => {
  said.set(item_id, transcript);
  tell("heard", { text: transcript });
});
connection.on("response.output_audio_transcript.delta", ({ delta }) => tell("said", { text: delta }));
connection.on("response.output_audio.delta", ({ delta }) => tell("audio", { bytes: Buffer.from(delta, "base64").length }));
connection.on("response.function_call_arguments.done", ({ call_id, arguments: text }) => {
  tell("called", { arguments: text });
  calls.push(call_id);
});
connection.on("response.done", () => {
  if (!calls.length) return tell("over");
  for (const call_id of calls.splice(0)) {
    const output = JSON.stringify({ weather: "seventeen degrees" });
    send({ type: "conversation.item.create", item: { type: "function_call_output", call_id, output } });
  }
  send({ type: "response.create" });
});

for await (const command of commands()) {
  if (command.do === "hear") {
    send({ type: "input_audio_buffer.append", audio: command.audio });
  } else if (command.do === "type") {
    const content = [{ type: "input_text", text: command.text }];
    send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    send({ type: "response.create" });
  } else if (command.do === "forget") {
    const [item_id] = [...said].find(([, text]) => text.toLowerCase().includes(command.text));
    send({ type: "conversation.item.delete", item_id });
  }
}
connection.close();
process.exit(0);
