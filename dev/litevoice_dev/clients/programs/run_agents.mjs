// @openai/agents-realtime (npm), as its documentation has it.
import { commands, key, load, tell, url, version } from "./lines.mjs";

const { RealtimeAgent, RealtimeSession, tool } = load("@openai/agents-realtime");
const getWeather = tool({
  name: "get_weather",
  description: "The weather in a city.",
  strict: true,
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
  execute: async (input) => {
    tell("called", { arguments: typeof input === "string" ? input : JSON.stringify(input) });
    return "seventeen degrees";
  },
});
const agent = new RealtimeAgent({ name: "assistant", instructions: "Be helpful.", tools: [getWeather] });
const session = new RealtimeSession(agent, { transport: "websocket", model: "litevoice" });

session.on("audio", ({ data }) => tell("audio", { bytes: data.byteLength }));
session.on("error", ({ error }) => {
  const told = error?.error ?? error;
  tell("error", { text: `${told?.code ?? ""} ${told?.message ?? JSON.stringify(told)}` });
});
session.on("transport_event", (event) => {
  if (event.type === "conversation.item.input_audio_transcription.completed") tell("heard", { text: event.transcript });
});
session.transport.on("audio_transcript_delta", ({ delta }) => tell("said", { text: delta }));
session.transport.on("turn_done", () => tell("over"));
session.transport.on("connection_change", (status) => {
  if (status === "disconnected") tell("closed", { text: status });
});

await session.connect({ apiKey: key, url: `${url}/realtime?model=litevoice` });
tell("ready", { version: version("@openai/agents-realtime") });
const textOf = (item) => (item.content ?? []).map((part) => part.text ?? part.transcript ?? "").join("");

for await (const command of commands()) {
  try {
    if (command.do === "hear") {
      const audio = Buffer.from(command.audio, "base64");
      session.sendAudio(audio.buffer.slice(audio.byteOffset, audio.byteOffset + audio.length));
    } else if (command.do === "type") {
      session.sendMessage(command.text);
    } else if (command.do === "forget") {
      const isIt = (item) => item.role === "user" && textOf(item).toLowerCase().includes(command.text);
      session.updateHistory((history) => history.filter((item) => !isIt(item)));
    }
  } catch (error) {
    tell("closed", { text: String(error.message) });
  }
}
session.close();
process.exit(0);
