//! A gateway as one would write it in Rust with tokio-tungstenite, as far as the measurement needs one: accepts, reads
//! append events, decodes their audio, collects 100 ms of each session, and writes one message per partition and beat
//! to a canned sink on this machine, which confirms each.
//!
//!     peer-rust LISTEN_PORT SINK_PORT

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

const PARTITIONS: usize = 8;
const BEAT: Duration = Duration::from_millis(100);
const CREATED: &str = r#"{"type":"session.created","session":{"type":"realtime"}}"#;
const ID_BYTES: usize = 32;

#[derive(Deserialize)]
struct Append<'a> {
    r#type: &'a str,
    audio: Option<&'a str>,
}

/// What waits for a partition's next beat, by session.
#[derive(Default)]
struct Partition {
    waiting: RefCell<HashMap<usize, Collected>>,
    confirmed: Cell<u64>,
}

#[derive(Default)]
struct Collected {
    first: u64,
    packets: u32,
    audio: Vec<u8>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut ports = std::env::args().skip(1).map(|port| port.parse::<u16>().expect("usage: peer-rust LISTEN SINK"));
    let (listen, sink) = (ports.next().expect("LISTEN"), ports.next().expect("SINK"));
    tokio::task::LocalSet::new().run_until(serve(listen, sink)).await
}

async fn serve(listen: u16, sink: u16) -> std::io::Result<()> {
    let partitions: Rc<Vec<Partition>> = Rc::new((0..PARTITIONS).map(|_| Partition::default()).collect());
    for number in 0..PARTITIONS {
        let stream = TcpStream::connect(("127.0.0.1", sink)).await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(depart(partitions.clone(), number, stream));
    }
    let listener = TcpListener::bind(("127.0.0.1", listen)).await?;
    for session in 0.. {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let partitions = partitions.clone();
        tokio::task::spawn_local(async move { connection(session, stream, &partitions[session % PARTITIONS]).await });
    }
    Ok(())
}

async fn connection(session: usize, stream: TcpStream, partition: &Partition) {
    // By default every connection has a read buffer of 128 KiB.
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await else { return };
    if socket.send(Message::text(CREATED)).await.is_err() {
        return;
    }
    let mut sequence = 0;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let Ok(event) = serde_json::from_str::<Append>(&text) else { return };
        let (true, Some(audio)) = (event.r#type == "input_audio_buffer.append", event.audio) else { continue };
        let mut waiting = partition.waiting.borrow_mut();
        let collected = waiting.entry(session).or_insert_with(|| Collected { first: sequence, ..Collected::default() });
        if STANDARD.decode_vec(audio, &mut collected.audio).is_err() {
            return;
        }
        collected.packets += 1;
        sequence += 1;
    }
}

/// One message per beat: a length, then each session's id, first number, packets, bytes and audio.
async fn depart(partitions: Rc<Vec<Partition>>, number: usize, mut stream: TcpStream) {
    let partition = &partitions[number];
    let start = tokio::time::Instant::now() + BEAT.mul_f64(number as f64 / PARTITIONS as f64);
    let mut clock = tokio::time::interval_at(start, BEAT);
    loop {
        clock.tick().await;
        let waiting = std::mem::take(&mut *partition.waiting.borrow_mut());
        if waiting.is_empty() {
            continue;
        }
        let mut message = vec![0; 4];
        for (session, collected) in waiting {
            message.extend(format!("{session:0ID_BYTES$}").as_bytes());
            message.extend(collected.first.to_be_bytes());
            message.extend(collected.packets.to_be_bytes());
            message.extend((collected.audio.len() as u32).to_be_bytes());
            message.extend(&collected.audio);
        }
        let length = (message.len() - 4) as u32;
        message[..4].copy_from_slice(&length.to_be_bytes());
        // One in flight per partition, as with a broker that must keep the order.
        if stream.write_all(&message).await.is_err() || stream.read_u8().await.is_err() {
            return;
        }
        partition.confirmed.set(partition.confirmed.get() + 1);
    }
}
