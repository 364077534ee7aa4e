//! One WebSocket: tungstenite opens it and reads; frames that are made already go straight to the socket.

use std::borrow::Cow;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, http::HeaderValue};

/// What callers look at of a server event.
#[derive(Debug)]
pub struct Event {
    pub kind: String,
    pub id: String,
    /// Id of the session, in `session.created`; empty in other events.
    pub session: String,
    /// Code of an `error`; empty for other events.
    pub error: String,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    session: Option<WireSession<'a>>,
    #[serde(borrow)]
    error: Option<WireError<'a>>,
}

#[derive(Deserialize)]
struct WireSession<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct WireError<'a> {
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
}

pub struct Connection {
    socket: WebSocketStream<TcpStream>,
}

impl Connection {
    /// A new session: returns after `session.created`.
    pub async fn open(url: &str, key: &str) -> Result<Self, String> {
        let mut connection = Self::connect(url, key).await?;
        connection.expect("session.created").await?;
        Ok(connection)
    }

    /// Returns after the upgrade.
    pub async fn connect(url: &str, key: &str) -> Result<Self, String> {
        let mut request = url.into_client_request().map_err(|error| format!("{url}: {error}"))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|error| format!("--key: {error}"))?;
        request.headers_mut().insert("authorization", bearer);
        let uri = request.uri();
        let host = uri.host().ok_or_else(|| format!("{url}: expected ws://host:port/path"))?;
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(&address).await.map_err(|error| format!("{address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        // Each look for an event zeroes the read buffer: with the default of 128 KiB that is 40 % of this program's CPU.
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config))
            .await
            .map_err(|error| format!("{url}: {error}"))?;
        Ok(Self { socket })
    }

    /// Reads until that event; an `error` event ends the wait.
    pub async fn expect(&mut self, kind: &str) -> Result<Event, String> {
        loop {
            let event = self.event().await?;
            if event.kind == kind {
                return Ok(event);
            }
            if event.kind == "error" {
                return Err(format!("waiting for {kind}: the server answered {}", event.error));
            }
        }
    }

    pub async fn send(&mut self, text: &'static str) -> Result<(), String> {
        self.socket.send(Message::text(text)).await.map_err(|error| error.to_string())
    }

    /// A whole, masked frame. `send` and `event` leave nothing half-written behind, so it cannot land inside another.
    pub async fn send_frame(&mut self, frame: &[u8]) -> Result<(), String> {
        self.socket.get_mut().write_all(frame).await.map_err(|error| error.to_string())
    }

    /// The next server event. An error says why there is none any more. May be dropped while it waits.
    pub async fn event(&mut self) -> Result<Event, String> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let wire: Wire = serde_json::from_str(&text).map_err(|error| format!("a bad event: {error}"))?;
                    return Ok(Event {
                        kind: wire.r#type.into_owned(),
                        id: wire.event_id.into_owned(),
                        session: wire.session.and_then(|session| session.id).unwrap_or_default().into_owned(),
                        error: wire.error.and_then(|error| error.code).unwrap_or_default().into_owned(),
                    });
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or("closed".into(), |frame| format!("closed with {}", u16::from(frame.code))));
                }
                Some(Ok(_)) => self.socket.flush().await.map_err(|error| error.to_string())?,
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the connection ended".into()),
            }
        }
    }
}
