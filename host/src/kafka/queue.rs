//! librdkafka's queues: lanes forwarded into workers' queues, read in batches.
#![expect(
    unsafe_code,
    reason = "rdkafka has no call that reads a queue in batches or forwards one"
)]

use std::{
    ffi::{CStr, CString, c_void},
    fmt,
    marker::PhantomData,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode,
};
use rdkafka_sys::{self as sys, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR};

use super::events::Context;
use crate::{fault::Fault, record::Lane};

/// The client that reads.
pub(super) type Consumer = BaseConsumer<Context>;

/// A worker's queue.
pub(super) struct Queue {
    ptr: NonNull<sys::rd_kafka_queue_t>,
    /// The client must not be destroyed before its queues, and the records in them.
    _consumer: Arc<Consumer>,
}

// SAFETY: librdkafka's queues are guarded by locks of their own, and may be used and destroyed by any thread.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    pub(super) fn new(consumer: &Arc<Consumer>) -> Self {
        // SAFETY: the client is alive. The queue is ours alone to destroy, which `drop` does.
        let ptr = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let ptr = NonNull::new(ptr).expect("rd_kafka_queue_new always makes a queue");
        Self { ptr, _consumer: Arc::clone(consumer) }
    }

    /// Ends a wait for records that is under way, or else the next one.
    pub(super) fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_yield(self.ptr.as_ptr()) }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: nobody else destroys it, and the client outlives it.
        unsafe { sys::rd_kafka_queue_destroy(self.ptr.as_ptr()) }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// Forwards a lane's records: into a worker's queue, or to nowhere, so that they wait in the lane's own queue.
pub(super) fn forward(consumer: &Consumer, lane: &Lane, to: Option<&Queue>) -> Result<(), Fault> {
    let topic = CString::new(&*lane.topic)
        .map_err(|_| Fault::config(format!("topic {:?} has a NUL in its name", lane.topic)))?;
    // SAFETY: the client is alive, and the text ends with a NUL.
    let lane_queue = unsafe {
        sys::rd_kafka_queue_get_partition(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            lane.partition,
        )
    };
    let lane_queue = NonNull::new(lane_queue)
        .ok_or_else(|| Fault::outside(format!("Kafka does not know lane {lane}")))?;
    let to = to.map_or(ptr::null_mut(), |to| to.ptr.as_ptr());
    // SAFETY: both queues are alive. The handle is ours to destroy; the lane keeps the queue itself, and what it is forwarded to.
    unsafe {
        sys::rd_kafka_queue_forward(lane_queue.as_ptr(), to);
        sys::rd_kafka_queue_destroy(lane_queue.as_ptr());
    }
    Ok(())
}

/// The low and the high watermark of a lane that the last fetch told; `None` before it.
pub(super) fn watermarks_seen(consumer: &Consumer, lane: &Lane) -> Option<(i64, i64)> {
    let topic = CString::new(&*lane.topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive, the text ends with a NUL, and both numbers outlive the call.
    let error = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            lane.partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (error == RD_KAFKA_RESP_ERR_NO_ERROR && low >= 0 && high >= 0).then_some((low, high))
}

/// Records that were taken out of a queue, oldest first.
pub(super) struct Taken {
    messages: Vec<*mut sys::rd_kafka_message_t>,
    /// Those before it were destroyed.
    first: usize,
    /// The queue that they came from; keeps the client alive that they point into.
    queue: Arc<Queue>,
}

// SAFETY: a message belongs to whoever took it, and may be read and destroyed by any thread.
unsafe impl Send for Taken {}

impl Taken {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { messages: Vec::new(), first: 0, queue }
    }

    /// Takes up to `max` records out of the queue. Waits until there are that many, or `wait` is over, or the queue is woken.
    /// What was taken before and not read is thrown away.
    pub(super) fn take(&mut self, wait: Duration, max: usize) -> Result<(), Fault> {
        self.clear();
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        self.messages.reserve(max);
        // SAFETY: the array has room for `max` pointers, of which librdkafka fills as many as it says.
        let taken = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.queue.ptr.as_ptr(),
                wait,
                self.messages.as_mut_ptr(),
                max,
            )
        };
        let taken = usize::try_from(taken)
            .map_err(|_| Fault::bug("librdkafka refused to read its own queue"))?;
        // SAFETY: the first `taken` pointers were just written, and `taken <= max`.
        unsafe { self.messages.set_len(taken) };
        Ok(())
    }

    pub(super) fn first(&self) -> Option<Message<'_>> {
        let message = NonNull::new(*self.messages.get(self.first)?)
            .expect("librdkafka fills the array with messages");
        Some(Message { ptr: message, taken: PhantomData })
    }

    /// Throws the first record away.
    pub(super) fn pop(&mut self) {
        // SAFETY: those from `first` on are alive, and this one is not used again.
        unsafe { sys::rd_kafka_message_destroy(self.messages[self.first]) };
        self.first += 1;
    }

    fn clear(&mut self) {
        while self.first < self.messages.len() {
            self.pop();
        }
        self.messages.clear();
        self.first = 0;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.clear();
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken")
            .field("left", &(self.messages.len() - self.first))
            .finish_non_exhaustive()
    }
}

/// A record, or an error in its place.
pub(super) struct Message<'a> {
    ptr: NonNull<sys::rd_kafka_message_t>,
    taken: PhantomData<&'a Taken>,
}

impl<'a> Message<'a> {
    fn get(&self) -> &'a sys::rd_kafka_message_t {
        // SAFETY: the message is alive as long as `Taken` is borrowed, and nobody writes to it.
        unsafe { self.ptr.as_ref() }
    }

    /// Why there is no record.
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.get().err;
        (error != RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    /// What librdkafka says about the error.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is alive; the text is the message's payload, or static.
        let text = unsafe { sys::rd_kafka_message_errstr(self.ptr.as_ptr()) };
        if text.is_null() {
            return String::new();
        }
        // SAFETY: it ends with a NUL, and is copied at once.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// Tells topics apart, cheaply, among the records that were taken at once.
    pub(super) fn topic_mark(&self) -> usize {
        self.get().rkt.addr()
    }

    /// The topic; empty for an error of no topic.
    pub(super) fn topic(&self) -> &'a str {
        let topic = self.get().rkt;
        if topic.is_null() {
            return "";
        }
        // SAFETY: the message holds a reference to its topic, whose name never changes and ends with a NUL.
        let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(topic)) };
        name.to_str().unwrap_or_default()
    }

    pub(super) fn partition(&self) -> i32 {
        self.get().partition
    }

    pub(super) fn offset(&self) -> i64 {
        self.get().offset
    }

    /// Milliseconds since 1970, -1 where there is none.
    pub(super) fn timestamp(&self) -> i64 {
        // SAFETY: the message is alive; no type is asked for.
        unsafe { sys::rd_kafka_message_timestamp(self.ptr.as_ptr(), ptr::null_mut()) }
    }

    pub(super) fn key(&self) -> Option<&'a [u8]> {
        bytes(self.get().key, self.get().key_len)
    }

    pub(super) fn value(&self) -> Option<&'a [u8]> {
        bytes(self.get().payload, self.get().len)
    }

    /// Calls `each` with every header, in order.
    pub(super) fn headers(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive and keeps the headers, which this call parses.
        if unsafe { sys::rd_kafka_message_headers(self.ptr.as_ptr(), &raw mut headers) }
            != RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive; an index past the last gives an error.
            let error = unsafe {
                sys::rd_kafka_header_get_all(
                    headers,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut size,
                )
            };
            if error != RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: a header that is there has a name that ends with a NUL and lives as long as the headers.
            let name = unsafe { CStr::from_ptr(name) };
            each(name.to_bytes(), bytes(value, size));
        }
    }
}

/// The bytes of a part of a message; null is none.
fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    let start = NonNull::new(start.cast_mut().cast::<u8>())?;
    // SAFETY: librdkafka gives the start and the length of bytes that live as long as the message, which the callers' lifetimes end at.
    Some(unsafe { slice::from_raw_parts(start.as_ptr(), len) })
}
