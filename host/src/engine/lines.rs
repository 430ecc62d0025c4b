//! The lines of a guest, on their way into the host's log: cut, bounded in rate, the last ones kept for errors.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use super::{GuestContext, v0_1::tidemill::transform::host::Level};

/// Lines that an error quotes at most.
const QUOTED: usize = 5;
/// Bytes of a line at most; a longer one is cut into several.
const MAX_LINE: usize = 4096;
/// Bytes of one message at most; the rest of a longer one is left out.
const MAX_MESSAGE: usize = 64 << 10;
/// What the rate is counted in.
const WINDOW: Duration = Duration::from_secs(1);

/// How many lines the instances of a transform wrote lately: the rate is for all of them together, also for those that come
/// after one that trapped.
#[derive(Debug, Default)]
pub struct LogRate(Mutex<Window>);

#[derive(Debug)]
struct Window {
    since: Instant,
    written: u32,
    suppressed: u64,
    /// Whether an instance that ended has told of suppressed lines.
    told: bool,
}

impl Default for Window {
    fn default() -> Self {
        Self { since: Instant::now(), written: 0, suppressed: 0, told: false }
    }
}

impl LogRate {
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    /// Whether one more line may be written.
    fn takes(&self, rate: u32) -> bool {
        let mut window = self.lock();
        let takes = window.written < rate;
        if takes {
            window.written += 1;
        } else {
            window.suppressed += 1;
        }
        takes
    }

    /// Begins another second, if it is time; answers how many lines were suppressed in the one before.
    fn turn(&self) -> u64 {
        let mut window = self.lock();
        if window.since.elapsed() < WINDOW {
            return 0;
        }
        std::mem::take(&mut *window).suppressed
    }

    /// How many lines were suppressed in this second, for an instance that ends and may be the last: told once a second,
    /// however many end.
    fn end(&self) -> u64 {
        let mut window = self.lock();
        if window.told || window.suppressed == 0 {
            return 0;
        }
        window.told = true;
        std::mem::take(&mut window.suppressed)
    }
}

/// The lines of an instance.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    pipeline: String,
    component: String,
    digest: String,
    /// Lines a second.
    rate: u32,
    window: Arc<LogRate>,
    /// The last lines that speak of trouble.
    trouble: VecDeque<String>,
    /// What standard output and standard error did not end yet.
    partial: [Vec<u8>; 2],
}

/// Standard output or standard error.
#[derive(Clone, Copy, Debug)]
enum Channel {
    Output,
    Error,
}

impl Lines {
    pub(super) fn new(context: &GuestContext, component: &str, digest: &str, rate: u32) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            pipeline: context.pipeline.clone(),
            component: component.to_owned(),
            digest: digest.to_owned(),
            rate,
            window: Arc::clone(&context.log_rate),
            trouble: VecDeque::new(),
            partial: [Vec::new(), Vec::new()],
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    pub(super) fn stdout(&self) -> impl StdoutStream + 'static {
        Stream { lines: self.clone(), channel: Channel::Output }
    }

    pub(super) fn stderr(&self) -> impl StdoutStream + 'static {
        Stream { lines: self.clone(), channel: Channel::Error }
    }

    /// A call begins: what was said before is not about it.
    pub(super) fn begin_call(&self) {
        let mut inner = self.lock();
        inner.trouble.clear();
        inner.turn_window();
    }

    /// The last lines that spoke of trouble, an unended one included.
    pub(super) fn take_trouble(&self) -> Vec<String> {
        let mut inner = self.lock();
        inner.end_line(Channel::Error);
        inner.trouble.drain(..).collect()
    }

    /// Writes a message, line by line.
    pub(super) fn message(&self, level: Level, message: &str) {
        let mut inner = self.lock();
        let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
        for line in message.lines() {
            inner.line(level, &line[..line.floor_char_boundary(MAX_LINE)]);
        }
    }
}

impl Inner {
    /// Cuts what a stream is given into lines.
    fn push(&mut self, channel: Channel, bytes: &[u8]) {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        for piece in lines.flat_map(|line| line.chunks(MAX_LINE)) {
            let partial = &mut self.partial[channel as usize];
            partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || partial.len() >= MAX_LINE {
                self.end_line(channel);
            }
        }
    }

    fn end_line(&mut self, channel: Channel) {
        let mut line = std::mem::take(&mut self.partial[channel as usize]);
        let level = match channel {
            Channel::Output => Level::Info,
            Channel::Error => Level::Warn,
        };
        self.line(level, String::from_utf8_lossy(&line).trim_end());
        line.clear();
        self.partial[channel as usize] = line;
    }

    fn line(&mut self, level: Level, line: &str) {
        if line.is_empty() {
            return;
        }
        if matches!(level, Level::Warn | Level::Error) {
            if self.trouble.len() == QUOTED {
                self.trouble.pop_front();
            }
            self.trouble.push_back(line.to_owned());
        }
        self.turn_window();
        if self.window.takes(self.rate) {
            self.write(level, line);
        }
    }

    fn turn_window(&self) {
        self.tell(self.window.turn());
    }

    fn tell(&self, suppressed: u64) {
        if suppressed > 0 {
            self.write(
                Level::Warn,
                &format!("{suppressed} lines were suppressed: more than {} a second", self.rate),
            );
        }
    }

    fn write(&self, level: Level, line: &str) {
        let Self { pipeline, component, digest, .. } = self;
        match level {
            Level::Trace => tracing::trace!(target: "guest", pipeline, component, digest, "{line}"),
            Level::Debug => tracing::debug!(target: "guest", pipeline, component, digest, "{line}"),
            Level::Info => tracing::info!(target: "guest", pipeline, component, digest, "{line}"),
            Level::Warn => tracing::warn!(target: "guest", pipeline, component, digest, "{line}"),
            Level::Error => tracing::error!(target: "guest", pipeline, component, digest, "{line}"),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_line(Channel::Output);
        self.end_line(Channel::Error);
        self.turn_window();
        self.tell(self.window.end());
    }
}

/// A stream of a guest: it takes everything at once.
#[derive(Clone)]
struct Stream {
    lines: Lines,
    channel: Channel,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lines.lock().push(self.channel, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_MESSAGE)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.lines.lock().push(self.channel, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rate: u32) -> Lines {
        Lines::new(&context(), "c", "d", rate)
    }

    fn context() -> GuestContext {
        GuestContext { pipeline: "p".to_owned(), log_rate: Arc::default() }
    }

    fn push(lines: &Lines, text: &str) {
        lines.lock().push(Channel::Error, text.as_bytes());
    }

    #[test]
    fn bytes_become_lines_however_they_are_cut() {
        let lines = lines(100);
        for part in ["thread pan", "icked at\nlib.rs:1", "\n\nlast words"] {
            push(&lines, part);
        }
        assert_eq!(lines.take_trouble(), ["thread panicked at", "lib.rs:1", "last words"]);
        push(&lines, &"x".repeat(MAX_LINE + 10));
        assert_eq!(
            lines.take_trouble().iter().map(String::len).collect::<Vec<_>>(),
            [MAX_LINE, 10]
        );
    }

    #[test]
    fn lines_past_the_rate_are_counted_and_still_quoted() {
        let lines = lines(3);
        (0..10).for_each(|line| lines.message(Level::Error, &format!("line {line}")));
        let inner = lines.lock();
        let window = inner.window.lock();
        assert_eq!((window.written, window.suppressed), (3, 7));
        assert_eq!(inner.trouble, ["line 5", "line 6", "line 7", "line 8", "line 9"]);
    }

    #[test]
    fn the_rate_is_for_all_instances_together() {
        let context = context();
        for _ in 0..5 {
            let lines = Lines::new(&context, "c", "d", 3);
            (0..2).for_each(|_| lines.message(Level::Error, "it traps right after this"));
        }
        let window = context.log_rate.lock();
        // The second one was the first that had something to tell.
        assert_eq!((window.written, window.suppressed, window.told), (3, 6, true));
    }

    #[test]
    fn a_call_quotes_none_of_the_lines_before_it() {
        let lines = lines(100);
        push(&lines, "an old warning\n");
        lines.begin_call();
        lines.message(Level::Info, "fine");
        assert_eq!(lines.take_trouble(), [""; 0]);
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let lines = lines(100);
        lines.message(Level::Error, &"é".repeat(MAX_LINE));
        assert_eq!(lines.take_trouble()[0].len(), MAX_LINE);
    }
}
