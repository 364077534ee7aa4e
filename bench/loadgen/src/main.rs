//! Open microphones and callers against one gateway, cheap enough not to measure itself: one thread, all frames made
//! before the first is sent. Prints JSON lines: what `Line` lists.

mod audio;
mod callers;
mod connection;
mod options;
mod record;
mod storm;

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde::Serialize;

use crate::callers::Plan;
use crate::connection::Connection;
use crate::options::Options;
use crate::record::{Record, Result as RunResult, Second};

const CONNECTING_AT_ONCE: usize = 16;
const GRACE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// One line of standard output.
#[derive(Serialize)]
#[serde(tag = "line", rename_all = "lowercase")]
enum Line<'a> {
    Connected {
        connections: usize,
        seconds: f64,
    },
    Second(Second),
    /// The measurement begins now, after the warm-up.
    Begin,
    /// It is over; what was asked in it may still be answered, for 15 s.
    End,
    Result(&'a RunResult),
    /// All sessions of a storm have said something; their gateway may die now.
    Prepared {
        sessions: usize,
        seconds: f64,
    },
    /// They are back, or lost.
    Back {
        sessions: usize,
    },
    Storm(storm::Result),
}

fn say(line: &Line) {
    println!("{}", serde_json::to_string(line).expect("lines are plain data"));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = match options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => return print!("{}", options::HELP),
        Err(problem) => fail(&problem),
    };
    if options.storm > 0 {
        return match tokio::task::LocalSet::new().run_until(storm::run(options)).await {
            Ok(result) => say(&Line::Storm(result)),
            Err(problem) => fail(&problem),
        };
    }
    let plan = match Plan::new(&options) {
        Ok(plan) => Rc::new(plan),
        Err(problem) => fail(&problem),
    };
    match tokio::task::LocalSet::new().run_until(run(options, plan)).await {
        Ok(result) => say(&Line::Result(&result)),
        Err(problem) => fail(&problem),
    }
}

fn fail(problem: &str) -> ! {
    eprintln!("loadgen: {problem}");
    std::process::exit(2)
}

async fn run(options: Options, plan: Rc<Plan>) -> Result<RunResult, String> {
    let began = Instant::now();
    let total = options.connections();
    let opening = (0..total).map(|_| Connection::open(&options.url, &options.key));
    let mut opened = stream::iter(opening).buffer_unordered(CONNECTING_AT_ONCE);
    let mut connections = Vec::with_capacity(total);
    while let Some(connection) = opened.next().await {
        connections.push(connection?);
    }
    drop(opened);
    say(&Line::Connected { connections: total, seconds: began.elapsed().as_secs_f64() });

    let record = Rc::new(Record::default());
    for (index, connection) in connections.into_iter().enumerate() {
        // Spread over a pause, as people who do not know of one another are.
        let start = tokio::time::Instant::now() + plan.pause.mul_f64(index as f64 / total as f64) + PAUSE;
        callers::start(&options, &plan, &record, index, connection, start);
    }
    seconds(options.warmup, "warmup", &record).await;
    record.begin();
    say(&Line::Begin);
    seconds(options.seconds, "measure", &record).await;
    record.end();
    say(&Line::End);
    let patience = Instant::now() + GRACE;
    while record.waiting() > 0 && Instant::now() < patience {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(record.result())
}

async fn seconds(count: u64, phase: &'static str, record: &Record) {
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    clock.tick().await;
    for number in 1..=count {
        clock.tick().await;
        say(&Line::Second(record.take_second(phase, number)));
    }
}
