//! A storm: a gateway dies, and all its sessions come back through another one.
//!
//! Each session has said something before: it has configured itself, then added a message. When its connection ends, it
//! comes back as a client that has not seen the second: it waits for a moment of its own within a second, names the
//! session and the event before, and is live when that session is there and the missing event has come again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::callers::{QUESTION, TEXT_ONLY};
use crate::connection::Connection;
use crate::options::Options;
use crate::{Line, say};

const PREPARING_AT_ONCE: usize = 200;
/// A gateway takes new sessions only as fast as its workers have room for: who is refused comes again.
const REFUSED: &str = "closed with 1013";
const JITTER: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(400);
const RETRY_MAX: Duration = Duration::from_secs(3);
/// One attempt, from the TCP connection to the missing event.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Who is not back after so long is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// When all are back, each adds one more message; so long it may take to come back.
const ANSWER: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Of one session that came back. Seconds since 1970.
#[derive(Clone, Copy, Serialize)]
pub struct Return {
    pub gone_at: f64,
    /// Its last attempt began.
    pub tried_at: f64,
    /// `session.created`.
    pub created_at: f64,
    /// The missing event came again.
    pub live_at: f64,
    pub attempts: u32,
}

#[derive(Serialize)]
pub struct Result {
    pub returned: Vec<Return>,
    /// Why sessions did not come back.
    pub lost: Vec<String>,
    /// Why sessions that were back did not go on: their connection ended again, or nothing came of one more message.
    pub dropped: Vec<String>,
    /// Why single attempts failed, and how often.
    pub failures: BTreeMap<String, u64>,
}

struct Session {
    id: String,
    /// Id of the last event that the client admits to have seen, and of the one after it.
    seen: String,
    missing: String,
    connection: Connection,
}

#[derive(Default)]
struct Record {
    returned: RefCell<Vec<Return>>,
    lost: RefCell<Vec<String>>,
    failures: RefCell<BTreeMap<String, u64>>,
    back: RefCell<Vec<Connection>>,
}

pub async fn run(options: Options) -> std::result::Result<Result, String> {
    let began = Instant::now();
    let preparing = (0..options.storm).map(|index| prepared(&options, spread(index)));
    let mut prepared = stream::iter(preparing).buffer_unordered(PREPARING_AT_ONCE);
    let mut sessions = Vec::with_capacity(options.storm);
    while let Some(session) = prepared.next().await {
        sessions.push(session?);
    }
    drop(prepared);
    let record = Rc::new(Record::default());
    let options = Rc::new(options);
    let total = sessions.len();
    for (index, session) in sessions.into_iter().enumerate() {
        tokio::task::spawn_local(live(options.clone(), record.clone(), session, spread(index)));
    }
    say(&Line::Prepared { sessions: total, seconds: began.elapsed().as_secs_f64() });
    while record.returned.borrow().len() + record.lost.borrow().len() < total {
        sleep(PAUSE).await;
    }
    say(&Line::Back { sessions: record.returned.borrow().len() });
    let going_on = record.back.take().into_iter().map(goes_on);
    let dropped = stream::iter(going_on).buffer_unordered(PREPARING_AT_ONCE).filter_map(|ended| async { ended.err() });
    Ok(Result {
        dropped: dropped.collect().await,
        returned: record.returned.take(),
        lost: record.lost.take(),
        failures: record.failures.take(),
    })
}

async fn prepared(options: &Options, spread: f64) -> std::result::Result<Session, String> {
    loop {
        match prepare(&options.url, &options.key).await {
            Err(why) if why == REFUSED => sleep(RETRY_FIRST.mul_f64(1.0 + spread)).await,
            session => return session,
        }
    }
}

/// A session whose log has two events.
async fn prepare(url: &str, key: &str) -> std::result::Result<Session, String> {
    let mut connection = Connection::connect(url, key).await?;
    let id = connection.expect("session.created").await?.session;
    connection.send(TEXT_ONLY).await?;
    let seen = connection.expect("session.updated").await?.id;
    connection.send(QUESTION).await?;
    let missing = connection.event().await?;
    if missing.kind != "conversation.item.added" {
        return Err(format!("expected conversation.item.added, got {}", missing.kind));
    }
    connection.expect("conversation.item.done").await?;
    Ok(Session { id, seen, missing: missing.id, connection })
}

async fn live(options: Rc<Options>, record: Rc<Record>, session: Session, spread: f64) {
    let Session { id, seen, missing, mut connection } = session;
    while connection.event().await.is_ok() {}
    drop(connection); // or its socket counts beside the next one
    let (gone, gone_at) = (Instant::now(), now());
    let url = format!("{}?session_id={}&last_event_id={}", options.next, id, seen);
    let mut wait = JITTER.mul_f64(spread);
    let mut backoff = RETRY_FIRST;
    for attempts in 1.. {
        sleep(wait).await;
        let tried_at = now();
        let failure = match timeout(ATTEMPT, come_back(&url, &options.key, &id, &missing)).await {
            Ok(Ok((connection, created_at))) => {
                let live_at = now();
                record.returned.borrow_mut().push(Return { gone_at, tried_at, created_at, live_at, attempts });
                return record.back.borrow_mut().push(connection);
            }
            Ok(Err(why)) => why,
            Err(_) => format!("nothing for {} s", ATTEMPT.as_secs()),
        };
        if gone.elapsed() > PATIENCE {
            return record.lost.borrow_mut().push(failure);
        }
        *record.failures.borrow_mut().entry(failure).or_default() += 1;
        wait = backoff.mul_f64(0.5 + spread);
        backoff = (backoff * 2).min(RETRY_MAX);
    }
}

/// One more message goes up, and comes back down.
async fn goes_on(mut connection: Connection) -> std::result::Result<Connection, String> {
    let answered = async {
        connection.send(QUESTION).await?;
        connection.expect("conversation.item.done").await?;
        connection.expect("conversation.item.done").await
    };
    match timeout(ANSWER, answered).await {
        Ok(answered) => answered.map(|_| connection),
        Err(_) => Err(format!("nothing came of one more message in {} s", ANSWER.as_secs())),
    }
}

/// The connection, and when `session.created` came.
async fn come_back(url: &str, key: &str, id: &str, missing: &str) -> std::result::Result<(Connection, f64), String> {
    let mut connection = Connection::connect(url, key).await.map_err(|why| why.replace(url, "connecting"))?;
    let created = connection.expect("session.created").await?;
    let created_at = now();
    if created.session != id {
        return Err("it is another session".into());
    }
    let event = connection.event().await?;
    if event.id != missing {
        return Err(format!("expected the missing event, got {} {}", event.kind, event.error));
    }
    Ok((connection, created_at))
}

/// 0 to 1, evenly and in no order: the golden ratio's multiples.
fn spread(index: usize) -> f64 {
    (index as f64 * 0.618_033_988_749_895).fract()
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jitter_fills_the_second_evenly() {
        let mut waits: Vec<f64> = (0..1000).map(spread).collect();
        waits.sort_by(f64::total_cmp);
        let widest = waits.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        assert!(waits[0] >= 0.0 && waits[999] < 1.0 && widest < 0.003, "{widest}");
    }
}
