//! Live events as server-sent events (WHATWG HTML §9.2). Called by `inspector` for
//! `/_mp/events`. Invariants: events go out in batches, so that ten thousand requests a second
//! are ten messages; a listener that is gone is noticed within `BEAT`; the proxy's end ends
//! the stream, so that it does not hold up a shutdown.

use super::live::{Heard, Listener};
use crate::proxy::{body::ResponseBody, error::BoxError};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;

/// How long events are gathered.
const GATHER: Duration = Duration::from_millis(100);
/// The most events of one batch; what is beyond is counted as missed.
const MOST: usize = 250;
/// The longest silence.
const BEAT: Duration = Duration::from_secs(15);

/// The events from now on; the first message says that the stream stands.
#[must_use]
pub fn events(listener: Listener) -> ResponseBody {
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(pump(listener, sender));
    ResponseBody::Boxed(Stream(receiver).boxed_unsync())
}

async fn pump(mut listener: Listener, sender: mpsc::Sender<Bytes>) {
    let mut message = String::from("retry: 2000\nevent: open\ndata: {}\n\n");
    loop {
        if sender.send(std::mem::take(&mut message).into()).await.is_err() {
            return;
        }
        let heard = tokio::select! {
            heard = listener.next() => heard,
            () = tokio::time::sleep(BEAT) => {
                message.push_str(": still here\n\n");
                continue;
            }
            () = sender.closed() => return,
        };
        // The first of a burst waits for the others.
        tokio::time::sleep(GATHER).await;
        let mut batch = Batch::default();
        let mut next = Some(heard);
        while let Some(heard) = next {
            match heard {
                Heard::Request(event) => batch.add(&event),
                Heard::Missed(missed) => batch.missed += missed,
                Heard::Ended => {
                    let _ = sender.send(batch.message().into()).await;
                    return;
                }
            }
            next = listener.try_next();
        }
        message = batch.message();
    }
}

/// Events of one message.
#[derive(Default)]
struct Batch {
    events: String,
    count: usize,
    missed: u64,
}

impl Batch {
    fn add(&mut self, event: &str) {
        if self.count == MOST {
            self.missed += 1;
            return;
        }
        if self.count > 0 {
            self.events.push(',');
        }
        self.events.push_str(event);
        self.count += 1;
    }

    fn message(&self) -> String {
        format!(
            "event: requests\ndata: {{\"missed\":{},\"requests\":[{}]}}\n\n",
            self.missed, self.events
        )
    }
}

/// The messages as a body without end.
struct Stream(mpsc::Receiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::live::Live, *};

    #[tokio::test]
    async fn bursts_are_one_message_and_the_end_ends_it() {
        let live = Live::default();
        let mut body = events(live.listen().unwrap());
        let mut next = async || match body.frame().await {
            Some(frame) => String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap(),
            None => "end".to_owned(),
        };
        assert!(next().await.contains("event: open"));
        for number in 0..MOST + 3 {
            live.tell(format!("{{\"n\":{number}}}").into());
        }
        let message = next().await;
        assert!(
            message.starts_with("event: requests\ndata: {\"missed\":3,\"requests\":[{\"n\":0},")
        );
        assert!(message.ends_with(&format!("{{\"n\":{}}}]}}\n\n", MOST - 1)), "{message}");
        live.tell("{}".into());
        live.end();
        assert!(next().await.contains("\"requests\":[{}]"));
        assert_eq!(next().await, "end");
    }
}
