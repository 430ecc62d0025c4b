//! `/v1/events`: what happens, as it happens (server-sent events).

use std::{collections::VecDeque, convert::Infallible};

use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{Event as Sent, KeepAlive, Sse},
};
use futures::stream::{self, Stream};
use tokio::sync::watch;

use super::Shown;
use crate::events::{Event, Events};

/// What a follower has been sent.
struct Follower {
    events: Events,
    newest: watch::Receiver<u64>,
    last: u64,
    waiting: VecDeque<Event>,
}

/// All events that are kept, or those after `Last-Event-ID`, and then each as it happens.
pub(super) async fn stream(
    State(shown): State<Shown>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Sent, Infallible>>> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let follower = Follower {
        newest: shown.events.newest(),
        events: shown.events,
        last: last.unwrap_or_default(),
        waiting: VecDeque::new(),
    };
    Sse::new(stream::unfold(follower, next)).keep_alive(KeepAlive::default())
}

async fn next(mut follower: Follower) -> Option<(Result<Sent, Infallible>, Follower)> {
    loop {
        if let Some(event) = follower.waiting.pop_front() {
            follower.last = event.id;
            let data = serde_json::to_string(&event).expect("an event is JSON");
            return Some((Ok(Sent::default().id(event.id.to_string()).data(data)), follower));
        }
        follower.newest.borrow_and_update();
        follower.waiting = follower.events.after(follower.last).into();
        if follower.waiting.is_empty() {
            follower.newest.changed().await.ok()?;
        }
    }
}
