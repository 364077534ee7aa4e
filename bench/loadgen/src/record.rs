//! What was sent, asked and heard. One thread, so plain cells do.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// One question of the measurement. Times in milliseconds from the question, or from the word's last frame.
#[derive(Clone, Copy, Serialize)]
pub struct Answer {
    /// Seconds since the measurement began.
    pub asked_at: f64,
    /// First event of the response; for a spoken word: its first audio.
    pub first_ms: Option<f64>,
    /// `response.done`. Without it, the caller still waited when the run ended, or has given up.
    pub done_ms: Option<f64>,
    /// How long the caller waited, answered or not.
    pub waited_ms: f64,
}

#[derive(Clone, Copy)]
struct Question {
    at: Instant,
    kind: Kind,
    /// It was asked during the measurement.
    counts: bool,
}

#[derive(Clone, Copy)]
pub enum Kind {
    Typed,
    Spoken,
}

/// One second of the run, for a progress display.
#[derive(Serialize)]
pub struct Second {
    pub phase: &'static str,
    pub second: u64,
    pub frames: u64,
    pub answers: usize,
    pub slowest_ms: f64,
    /// Questions that wait for their answer.
    pub waiting: usize,
    pub lost: usize,
}

#[derive(Serialize)]
pub struct Result {
    pub seconds: f64,
    pub frames: u64,
    pub typed: Vec<Answer>,
    pub spoken: Vec<Answer>,
    /// How much later than planned frames were sent, in milliseconds: p50, p99, maximum.
    pub frames_late_ms: [f64; 3],
    pub cpu_seconds: f64,
    /// Why connections ended before their time.
    pub lost: Vec<String>,
    /// `error` events by code, and what microphones heard though nobody spoke, by type.
    pub unexpected: BTreeMap<String, u64>,
}

pub struct Record {
    began: Cell<Option<Instant>>,
    ended: Cell<Option<Instant>>,
    frames: Cell<u64>,
    window: Cell<(u64, u64)>,
    cpu: Cell<(f64, f64)>,
    second: Cell<(u64, usize, f64)>,
    late_microseconds: RefCell<Histogram<u64>>,
    typed: RefCell<Vec<Answer>>,
    spoken: RefCell<Vec<Answer>>,
    asked: RefCell<BTreeMap<usize, Question>>,
    lost: RefCell<Vec<String>>,
    unexpected: RefCell<BTreeMap<String, u64>>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            began: Cell::default(),
            ended: Cell::default(),
            frames: Cell::default(),
            window: Cell::default(),
            cpu: Cell::default(),
            second: Cell::default(),
            late_microseconds: RefCell::new(Histogram::new(3).expect("3 digits are allowed")),
            typed: RefCell::default(),
            spoken: RefCell::default(),
            asked: RefCell::default(),
            lost: RefCell::default(),
            unexpected: RefCell::default(),
        }
    }
}

impl Record {
    pub fn begin(&self) {
        self.began.set(Some(Instant::now()));
        self.window.set((self.frames.get(), 0));
        self.cpu.set((cpu_seconds(), 0.0));
    }

    pub fn end(&self) {
        self.ended.set(Some(Instant::now()));
        self.window.set((self.window.get().0, self.frames.get()));
        self.cpu.set((self.cpu.get().0, cpu_seconds()));
    }

    /// Nobody asks any more.
    pub fn over(&self) -> bool {
        self.ended.get().is_some()
    }

    fn measuring(&self) -> bool {
        self.began.get().is_some() && !self.over()
    }

    pub fn frame(&self, late: Duration) {
        self.frames.set(self.frames.get() + 1);
        if self.measuring() {
            self.late_microseconds.borrow_mut().saturating_record(late.as_micros() as u64);
        }
    }

    /// That caller waits for an answer from now on.
    pub fn asked(&self, caller: usize, kind: Kind, at: Instant) {
        self.asked.borrow_mut().insert(caller, Question { at, kind, counts: self.measuring() });
    }

    /// It has its answer; or gives up, `done` is false then.
    pub fn answered(&self, caller: usize, first: Option<Instant>, done: bool) {
        let Some(question) = self.asked.borrow_mut().remove(&caller) else { return };
        let (frames, count, slowest) = self.second.get();
        self.second.set((frames, count + 1, slowest.max(milliseconds(question.at.elapsed()))));
        self.keep(question, first, done);
    }

    /// That caller's connection has ended.
    pub fn lost(&self, caller: usize, why: String) {
        self.answered(caller, None, false);
        self.lost.borrow_mut().push(why);
    }

    pub fn unexpected(&self, what: String) {
        *self.unexpected.borrow_mut().entry(what).or_default() += 1;
    }

    /// Questions of the measurement that wait for their answer.
    pub fn waiting(&self) -> usize {
        self.asked.borrow().values().filter(|question| question.counts).count()
    }

    pub fn take_second(&self, phase: &'static str, second: u64) -> Second {
        let (frames_before, answers, slowest_ms) = self.second.replace((self.frames.get(), 0, 0.0));
        Second {
            phase,
            second,
            frames: self.frames.get() - frames_before,
            answers,
            slowest_ms,
            waiting: self.asked.borrow().len(),
            lost: self.lost.borrow().len(),
        }
    }

    /// Who still waits for an answer counts with the time it has waited.
    pub fn result(&self) -> Result {
        for question in std::mem::take(&mut *self.asked.borrow_mut()).into_values() {
            self.keep(question, None, false);
        }
        let late = self.late_microseconds.borrow();
        let late_ms = |quantile| late.value_at_quantile(quantile) as f64 / 1000.0;
        let (began, ended) = (self.began.get(), self.ended.get());
        Result {
            seconds: began.zip(ended).map_or(0.0, |(began, ended)| (ended - began).as_secs_f64()),
            frames: self.window.get().1 - self.window.get().0,
            typed: self.typed.borrow().clone(),
            spoken: self.spoken.borrow().clone(),
            frames_late_ms: [late_ms(0.5), late_ms(0.99), late_ms(1.0)],
            cpu_seconds: self.cpu.get().1 - self.cpu.get().0,
            lost: self.lost.borrow().clone(),
            unexpected: self.unexpected.borrow().clone(),
        }
    }

    fn keep(&self, question: Question, first: Option<Instant>, done: bool) {
        if !question.counts {
            return;
        }
        let answers = match question.kind {
            Kind::Typed => &self.typed,
            Kind::Spoken => &self.spoken,
        };
        let began = self.began.get().unwrap_or(question.at);
        let waited_ms = milliseconds(question.at.elapsed());
        answers.borrow_mut().push(Answer {
            asked_at: question.at.duration_since(began).as_secs_f64(),
            first_ms: first.map(|first| milliseconds(first.duration_since(question.at))),
            done_ms: done.then_some(waited_ms),
            waited_ms,
        });
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// CPU time of this process, which has one thread.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}
