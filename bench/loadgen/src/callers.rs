//! Who is on the line: microphones that are merely open, callers that type, callers that speak.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::{Instant as Tick, MissedTickBehavior, interval_at};

use crate::audio::{self, Frames};
use crate::connection::Connection;
use crate::options::Options;
use crate::record::{Kind, Record};

const TYPED_EVERY: Duration = Duration::from_secs(1);
const SPOKEN_EVERY: Duration = Duration::from_secs(4);
/// Who spoke gives the word up after this long, and says it again; who typed waits.
const PATIENCE: Duration = Duration::from_secs(20);
pub const TEXT_ONLY: &str = r#"{"type":"session.update","session":{"type":"realtime","output_modalities":["text"]}}"#;
pub const QUESTION: &str = concat!(
    r#"{"type":"conversation.item.create","item":{"type":"message","role":"user","#,
    r#""content":[{"type":"input_text","text":"hello"}]}}"#
);
const RESPOND: &str = r#"{"type":"response.create"}"#;

/// What all callers share.
pub struct Plan {
    /// Between two frames of who speaks.
    frame: Duration,
    /// Between two frames of a microphone.
    pub pause: Duration,
    silence: Frames,
    room: Frames,
    word: Frames,
    turn_detection: &'static str,
}

impl Plan {
    pub fn new(options: &Options) -> Result<Self, String> {
        let samples = audio::samples(options.frame_ms);
        let word = match &options.word {
            Some(path) => read_word(path, samples)?,
            None => Frames::new(),
        };
        let update = format!(
            concat!(
                r#"{{"type":"session.update","session":{{"type":"realtime","audio":{{"input":{{"turn_detection":"#,
                r#"{{"type":"server_vad","silence_duration_ms":{}}}}}}}}}}}"#
            ),
            options.silence_ms
        );
        let pause = if options.every_ms == 0 { options.frame_ms } else { options.every_ms };
        Ok(Self {
            frame: Duration::from_millis(options.frame_ms as u64),
            pause: Duration::from_millis(pause as u64),
            silence: audio::silence(samples),
            room: audio::room(samples),
            word,
            turn_detection: update.leak(),
        })
    }
}

fn read_word(path: &str, frame: usize) -> Result<Frames, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("--word {path}: {error}"))?;
    if bytes.is_empty() || bytes.len() % 2 != 0 {
        return Err(format!("--word {path}: expected whole 16-bit samples, got {} bytes", bytes.len()));
    }
    let samples: Vec<i16> = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    Ok(audio::spoken(&samples, frame))
}

/// The caller of that index, on its own task: microphones, who types, who speaks, who is idle.
pub fn start(
    options: &Options,
    plan: &Rc<Plan>,
    record: &Rc<Record>,
    index: usize,
    mut connection: Connection,
    start: Tick,
) {
    let (plan, record) = (plan.clone(), record.clone());
    let (microphones, typing, speaking) = (options.microphones, options.typing, options.speaking);
    tokio::task::spawn_local(async move {
        let ended = if index < microphones {
            microphone(&plan, &record, index, &mut connection, start).await
        } else if index < microphones + typing {
            let pause = TYPED_EVERY.mul_f64((index - microphones) as f64 / typing as f64);
            typist(&record, index, &mut connection, start + pause).await
        } else if index >= microphones + typing + speaking {
            idle(&mut connection).await
        } else {
            let pause = SPOKEN_EVERY.mul_f64((index - microphones - typing) as f64 / speaking as f64);
            speaker(&plan, &record, index, &mut connection, start, start + pause).await
        };
        if let Err(why) = ended {
            record.lost(index, why);
        }
    });
}

async fn idle(connection: &mut Connection) -> Result<(), String> {
    loop {
        connection.event().await?;
    }
}

async fn microphone(
    plan: &Plan,
    record: &Record,
    index: usize,
    connection: &mut Connection,
    start: Tick,
) -> Result<(), String> {
    let frames = if index.is_multiple_of(2) { &plan.silence } else { &plan.room };
    // Nobody hears the same second of the room as somebody else.
    let mut heard = frames.iter().cycle().skip(index * 37 % frames.len());
    let mut clock = interval_at(start, plan.pause);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            planned = clock.tick() => {
                record.frame(planned.elapsed());
                connection.send_frame(heard.next().expect("it cycles")).await?;
            }
            event = connection.event() => {
                let event = event?;
                record.unexpected(format!("microphone: {}", name(&event.kind, &event.error)));
            }
        }
    }
}

async fn typist(record: &Record, index: usize, connection: &mut Connection, start: Tick) -> Result<(), String> {
    connection.send(TEXT_ONLY).await?;
    connection.expect("session.updated").await?;
    let mut clock = interval_at(start, TYPED_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        clock.tick().await;
        if record.over() {
            return Ok(());
        }
        record.asked(index, Kind::Typed, Instant::now());
        connection.send(QUESTION).await?;
        connection.send(RESPOND).await?;
        let mut first = None;
        loop {
            let event = connection.event().await?;
            if event.kind.starts_with("response.") {
                first.get_or_insert_with(Instant::now);
            }
            if event.kind == "response.done" {
                record.answered(index, first, true);
                break;
            }
            if event.kind == "error" {
                record.unexpected(name(&event.kind, &event.error));
            }
        }
    }
}

async fn speaker(
    plan: &Plan,
    record: &Record,
    index: usize,
    connection: &mut Connection,
    start: Tick,
    first_word: Tick,
) -> Result<(), String> {
    connection.send(plan.turn_detection).await?;
    connection.expect("session.updated").await?;
    let mut room = plan.room.iter().cycle().skip(index * 37 % plan.room.len());
    let mut clock = interval_at(start, plan.frame);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut next_word = first_word;
    let mut word: Option<usize> = None;
    let mut asked: Option<Instant> = None;
    let mut first: Option<Instant> = None;
    loop {
        tokio::select! {
            planned = clock.tick() => {
                if word.is_none() && asked.is_none() && planned >= next_word && !record.over() {
                    word = Some(0);
                    next_word = planned + SPOKEN_EVERY;
                }
                record.frame(planned.elapsed());
                let Some(spoken) = word else {
                    connection.send_frame(room.next().expect("it cycles")).await?;
                    if asked.is_some_and(|at| at.elapsed() > PATIENCE) {
                        record.answered(index, first.take(), false);
                        asked = None;
                    }
                    continue;
                };
                connection.send_frame(&plan.word[spoken]).await?;
                word = (spoken + 1 < plan.word.len()).then_some(spoken + 1);
                if word.is_none() {
                    let now = Instant::now();
                    asked = Some(now);
                    record.asked(index, Kind::Spoken, now);
                }
            }
            event = connection.event() => {
                let event = event?;
                match event.kind.as_str() {
                    "response.output_audio.delta" if asked.is_some() => {
                        first.get_or_insert_with(Instant::now);
                    }
                    // An answer that began before the word ended is not the answer to it.
                    "response.done" if first.is_some() => {
                        record.answered(index, first.take(), true);
                        asked = None;
                    }
                    "error" => record.unexpected(name(&event.kind, &event.error)),
                    _ => (),
                }
            }
        }
    }
}

fn name(kind: &str, error: &str) -> String {
    if error.is_empty() { kind.into() } else { format!("{kind} {error}") }
}
