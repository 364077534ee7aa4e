//! The command line.

use lexopt::prelude::*;

pub const HELP: &str = "\
loadgen: open microphones and callers against a gateway that speaks OpenAI Realtime.

  loadgen --url ws://127.0.0.1:8080/v1/realtime --key KEY --word WORD.pcm [options]

  --url URL          where to connect
  --key KEY          API key (or the environment variable LOADGEN_KEY)
  --word FILE        the spoken word: PCM16 mono, 24 kHz, no header; needed with --speaking
  --microphones N    open microphones, every second one silent, the others in a room at -55 dBFS (25)
  --typing N         callers that type a question every second (10)
  --speaking N       callers that speak the word every 4 s (5)
  --idle N           connections that send nothing (0)
  --storm N          instead of all these: N sessions that come back when their gateway has died (0)
  --next URL         where they come back to
  --frame-ms N       audio per message, 20 to 500 (20)
  --every-ms N       from one message of a microphone to its next; 0: as long as its audio (0)
  --silence-ms N     silence_duration_ms of the speaking callers' turn detection (100)
  --warmup N         seconds before the measurement (10)
  --seconds N        seconds of the measurement (30)

Standard output: JSON lines; the last one is the result.
";

#[derive(Debug)]
pub struct Options {
    pub url: String,
    pub key: String,
    pub word: Option<String>,
    pub microphones: usize,
    pub typing: usize,
    pub speaking: usize,
    pub idle: usize,
    pub storm: usize,
    pub next: String,
    pub frame_ms: usize,
    pub every_ms: usize,
    pub silence_ms: u32,
    pub warmup: u64,
    pub seconds: u64,
}

impl Options {
    pub fn connections(&self) -> usize {
        self.microphones + self.typing + self.speaking + self.idle
    }
}

/// None: help was asked for.
pub fn parse() -> Result<Option<Options>, String> {
    read(lexopt::Parser::from_env()).map_err(|error| format!("{error}; see --help"))
}

fn read(mut parser: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        url: String::new(),
        key: std::env::var("LOADGEN_KEY").unwrap_or_default(),
        word: None,
        microphones: 25,
        typing: 10,
        speaking: 5,
        idle: 0,
        storm: 0,
        next: String::new(),
        frame_ms: 20,
        every_ms: 0,
        silence_ms: 100,
        warmup: 10,
        seconds: 30,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("url") => options.url = parser.value()?.string()?,
            Long("key") => options.key = parser.value()?.string()?,
            Long("word") => options.word = Some(parser.value()?.string()?),
            Long("microphones") => options.microphones = parser.value()?.parse()?,
            Long("typing") => options.typing = parser.value()?.parse()?,
            Long("speaking") => options.speaking = parser.value()?.parse()?,
            Long("idle") => options.idle = parser.value()?.parse()?,
            Long("storm") => options.storm = parser.value()?.parse()?,
            Long("next") => options.next = parser.value()?.string()?,
            Long("frame-ms") => options.frame_ms = parser.value()?.parse()?,
            Long("every-ms") => options.every_ms = parser.value()?.parse()?,
            Long("silence-ms") => options.silence_ms = parser.value()?.parse()?,
            Long("warmup") => options.warmup = parser.value()?.parse()?,
            Long("seconds") => options.seconds = parser.value()?.parse()?,
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if options.url.is_empty() || options.key.is_empty() {
        return Err("--url and --key are needed".into());
    }
    if !(20..=500).contains(&options.frame_ms) {
        return Err(format!("--frame-ms: expected 20 to 500, got {}", options.frame_ms).into());
    }
    if options.storm > 0 {
        if options.next.is_empty() {
            return Err("--storm needs --next, where the sessions come back to".into());
        }
        return Ok(Some(options));
    }
    if options.speaking > 0 && options.word.is_none() {
        return Err("--speaking needs --word, a file of PCM16 at 24 kHz".into());
    }
    if options.connections() == 0 {
        return Err("expected at least one connection".into());
    }
    Ok(Some(options))
}
