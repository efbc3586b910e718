//! The producer, and the librdkafka calls that rdkafka does not wrap: the only `unsafe` of the gateway.
//!
//! Owns the producer, its topic handle and its main queue. Never decides anything: it hands records over in one
//! call a batch and reports what comes back. Why not `BaseProducer::send` and `poll`: a batch call sorted by
//! partition costs less than half on every thread, and `poll(T)` always lasts T.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::{Arc, Mutex};

use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer as _};
use rdkafka::{ClientConfig, TopicPartitionList};
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::errors::Persistence;
use super::producer::{Outgoing, Producer};
use crate::handoff::{Token, lock};

/// Delivery reports taken out of one event at a time.
const REPORTS_A_CALL: usize = 1024;

/// One record's end, as the client library tells it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub token: Token,
    pub code: Code,
    pub persistence: Persistence,
    /// Negative when the record never got a partition.
    pub partition: i32,
    pub key: &'a [u8],
    pub value_len: usize,
}

/// Some of one event's delivery reports.
pub struct Deliveries<'a>(&'a [*const sys::rd_kafka_message_t]);

impl<'a> Deliveries<'a> {
    pub fn iter(&self) -> impl Iterator<Item = Delivery<'a>> {
        self.0.iter().map(|message| {
            // SAFETY: this type is only made in `show_deliveries`, from pointers that librdkafka has just
            // written and that live, with their keys, as long as the event: longer than 'a.
            let (message, status) = unsafe { (&**message, sys::rd_kafka_message_status(*message)) };
            let key = match message.key.is_null() {
                true => &[][..],
                // SAFETY: a key that is not null has `key_len` bytes, alive as said above.
                false => unsafe { std::slice::from_raw_parts(message.key.cast::<u8>(), message.key_len) },
            };
            Delivery {
                token: Token::from_bits(message._private as usize as u64),
                code: message.err,
                persistence: Persistence::from(status),
                partition: message.partition,
                key,
                value_len: message.len,
            }
        })
    }
}

/// What the main queue holds.
pub enum Event<'a> {
    Deliveries(Deliveries<'a>),
    Statistics(&'a str),
    /// An error that concerns the client, not one record. `fatal`: the producer can never produce again.
    Error {
        code: Code,
        reason: &'a str,
        fatal: bool,
    },
    Log {
        level: i32,
        text: &'a str,
    },
}

/// A counted reference to a client's main queue; only good for waking whoever sleeps in it.
struct QueueRef(*mut sys::rd_kafka_queue_t);

// SAFETY: librdkafka's queues are locked inside; `rd_kafka_queue_yield` and `_destroy` may be called from any
// thread while the reference is held, and this type offers nothing else.
unsafe impl Send for QueueRef {}

impl Drop for QueueRef {
    fn drop(&mut self) {
        // SAFETY: the reference came from `rd_kafka_queue_get_main` and is given back once.
        unsafe { sys::rd_kafka_queue_destroy(self.0) }
    }
}

/// Wakes the thread that sleeps in [`Native::poll`], whichever producer is current; a no-op while there is none.
#[derive(Clone, Default)]
pub struct Alarm(Arc<Mutex<Option<QueueRef>>>);

impl Alarm {
    pub fn ring(&self) {
        if let Some(queue) = lock(&self.0).as_ref() {
            // SAFETY: the reference keeps the queue alive, the lock keeps the reference.
            unsafe { sys::rd_kafka_queue_yield(queue.0) }
        }
    }
}

/// See the module's text. Fields are dropped by hand in `Drop`, in the order that librdkafka asks for.
pub struct Native {
    producer: BaseProducer<DefaultProducerContext>,
    queue: QueueRef,
    topic: *mut sys::rd_kafka_topic_t,
    name: String,
    alarm: Alarm,
    messages: Vec<sys::rd_kafka_message_t>,
    raw_reports: Vec<*const sys::rd_kafka_message_t>,
}

// SAFETY: librdkafka's handles may be used from any thread, and whoever has the value is the only one to use these
// (the alarm has a reference of its own). The pointers in `messages` and `raw_reports` are never read across calls.
unsafe impl Send for Native {}

impl Native {
    /// Builds a producer for one topic and makes `alarm` wake it.
    pub fn new(config: &ClientConfig, name: &str, alarm: &Alarm) -> KafkaResult<Self> {
        let name_text = CString::new(name)?;
        let producer: BaseProducer<DefaultProducerContext> = config.create()?;
        let client = producer.client().native_ptr();
        // SAFETY: `client` lives as long as `producer`; the topic handle is destroyed before it (see `Drop`);
        // a null configuration means the client's own.
        let topic = unsafe { sys::rd_kafka_topic_new(client, name_text.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            return Err(KafkaError::ClientCreation(format!("no handle for topic {name}")));
        }
        // SAFETY: as above; each call gives a reference of its own.
        let (queue, for_alarm) = unsafe {
            (QueueRef(sys::rd_kafka_queue_get_main(client)), QueueRef(sys::rd_kafka_queue_get_main(client)))
        };
        *lock(&alarm.0) = Some(for_alarm);
        Ok(Self {
            producer,
            queue,
            topic,
            name: name.to_owned(),
            alarm: alarm.clone(),
            messages: Vec::new(),
            raw_reports: vec![ptr::null(); REPORTS_A_CALL],
        })
    }

    /// Sleeps until something happens, the alarm rings or `timeout_ms` is over; shows what happened. False:
    /// nothing did.
    pub fn poll(&mut self, timeout_ms: i32, mut show: impl FnMut(Event<'_>)) -> bool {
        // SAFETY: the queue reference is alive; the event belongs to us until it is destroyed below.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.0, timeout_ms) };
        if event.is_null() {
            return false;
        }
        // SAFETY: `event` is not null and alive.
        match unsafe { sys::rd_kafka_event_type(event) } {
            sys::RD_KAFKA_EVENT_DR => self.show_deliveries(event, &mut show),
            sys::RD_KAFKA_EVENT_STATS => {
                // SAFETY: a statistics event holds a NUL-terminated text that lives as long as the event.
                let text = unsafe { text_of(sys::rd_kafka_event_stats(event)) };
                show(Event::Statistics(&text));
            }
            sys::RD_KAFKA_EVENT_ERROR => {
                // SAFETY: an error event holds a code, a flag and a NUL-terminated text that live as long as it.
                let (code, fatal, reason) = unsafe {
                    let fatal = sys::rd_kafka_event_error_is_fatal(event) != 0;
                    (
                        sys::rd_kafka_event_error(event),
                        fatal,
                        text_of(sys::rd_kafka_event_error_string(event)),
                    )
                };
                // A fatal error carries the broker's code; the client's own code for it counts as well.
                let fatal = fatal || code == Code::RD_KAFKA_RESP_ERR__FATAL;
                show(Event::Error { code, reason: &reason, fatal });
            }
            sys::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut text, mut level) = (ptr::null::<c_char>(), ptr::null::<c_char>(), 0);
                // SAFETY: the three places outlive the call; the texts live as long as the event.
                let status = unsafe { sys::rd_kafka_event_log(event, &mut facility, &mut text, &mut level) };
                if status == 0 {
                    // SAFETY: set by the successful call above.
                    let text = unsafe { text_of(text) };
                    show(Event::Log { level, text: &text });
                }
            }
            _ => {}
        }
        // SAFETY: ours, and not used after this.
        unsafe { sys::rd_kafka_event_destroy(event) };
        true
    }

    fn show_deliveries(&mut self, event: *mut sys::rd_kafka_event_t, show: &mut impl FnMut(Event<'_>)) {
        loop {
            // SAFETY: `event` is a delivery event; `raw_reports` has room for as many pointers as we say.
            let count = unsafe {
                sys::rd_kafka_event_message_array(
                    event,
                    self.raw_reports.as_mut_ptr(),
                    self.raw_reports.len(),
                )
            };
            if count == 0 {
                return;
            }
            show(Event::Deliveries(Deliveries(&self.raw_reports[..count])));
        }
    }

    /// Sends at once what lingers. Lasts at most `timeout_ms`; reports are not served meanwhile.
    pub fn flush(&self, timeout_ms: i32) {
        // SAFETY: the client lives as long as `producer`. A timeout is an expected answer.
        unsafe { sys::rd_kafka_flush(self.producer.client().native_ptr(), timeout_ms) };
    }

    /// Gives up on everything inside: each record comes back as a delivery that says what is known of it. Nothing is
    /// sent before [`Native::go_on`]; `partitions` is how many may hold records. Does not wait for the deliveries, and
    /// may be repeated: a record that was just then moved between the client library's threads is missed by one call.
    pub fn let_go(&self, partitions: usize) {
        // The gap that a purge leaves in the sequence makes the client library number anew whatever another of its
        // threads has not purged yet, and send it again: all of them stop first.
        self.set_paused(partitions, true);
        self.purge();
    }

    /// After [`Native::let_go`], once everything has come back. What is sent from now on takes its place behind what is
    /// still on its way to a broker, or shuts it out: its epoch is the next one.
    pub fn go_on(&self, partitions: usize) {
        self.set_paused(partitions, false);
    }

    fn set_paused(&self, partitions: usize, is_paused: bool) {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.name, 0, partitions.saturating_sub(1) as i32);
        let (client, list) = (self.producer.client().native_ptr(), list.ptr());
        // SAFETY: the client lives as long as `producer`, and the list longer than the call: it is dropped at the end
        // of this function. A partition that the client does not know has no records, and is skipped.
        unsafe {
            match is_paused {
                true => sys::rd_kafka_pause_partitions(client, list),
                false => sys::rd_kafka_resume_partitions(client, list),
            }
        };
    }

    /// Like [`Native::let_go`], and for ever.
    pub fn give_up(&self) {
        let (client, code) = (self.producer.client().native_ptr(), Code::RD_KAFKA_RESP_ERR__TIMED_OUT);
        // A fatal error is what stops the client library for good; ours is as good as any.
        // SAFETY: the client lives as long as `producer`; the reason is a NUL-terminated literal.
        unsafe { sys::rd_kafka_test_fatal_error(client, code, c"given up".as_ptr()) };
        self.purge();
    }

    fn purge(&self) {
        let flags =
            sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT | sys::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the client lives as long as `producer`; the flags are valid for a producer.
        unsafe { sys::rd_kafka_purge(self.producer.client().native_ptr(), flags) };
    }

    /// The alarm is for another producer from now on.
    pub fn detach(&mut self) {
        *lock(&self.alarm.0) = None;
        self.alarm = Alarm::default();
    }
}

impl Producer for Native {
    /// One call with one partition for all: librdkafka looks it up before it makes a message of anything, so a
    /// partition that has vanished refuses the records. Named a record (MSG_F_PARTITION), it would leak them; left
    /// open, each record costs another hash, another look-up and a reading of the clock
    /// (docs/decisions/0002-batches-sorted-by-partition.md).
    fn produce<'a>(
        &mut self,
        partition: u32,
        records: impl Iterator<Item = Outgoing<'a>>,
        mut refused: impl FnMut(usize, Code),
    ) -> usize {
        self.messages.clear();
        self.messages.extend(records.map(|record| sys::rd_kafka_message_t {
            err: Code::RD_KAFKA_RESP_ERR_NO_ERROR,
            rkt: ptr::null_mut(),
            partition: 0,
            payload: record.value.as_ptr() as *mut c_void,
            len: record.value.len(),
            key: record.key.as_ptr() as *mut c_void,
            key_len: record.key.len(),
            offset: 0,
            _private: record.token.to_bits() as usize as *mut c_void,
        }));
        let count = self.messages.len();
        if count == 0 {
            return 0;
        }
        // SAFETY: `topic` is alive (see `Drop`). `messages` holds `count` initialised entries whose pointers
        // borrow from `records`, whose items live for 'a, longer than this call; F_COPY makes librdkafka copy
        // key and value before it returns and never write through them. `_private` is a number to it.
        let taken = unsafe {
            sys::rd_kafka_produce_batch(
                self.topic,
                partition as i32,
                sys::RD_KAFKA_MSG_F_COPY,
                self.messages.as_mut_ptr(),
                count as i32,
            )
        };
        if taken as usize != count {
            for (position, message) in self.messages.iter().enumerate() {
                if message.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    refused(position, message.err);
                }
            }
        }
        // No pointer outlives the records it borrows from.
        self.messages.clear();
        taken as usize
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        *lock(&self.alarm.0) = None;
        // SAFETY: the handle is ours and not used again; `producer`, and with it the client, is dropped after
        // this body. `queue` gives its reference back when it is dropped, which may be later.
        unsafe { sys::rd_kafka_topic_destroy(self.topic) };
    }
}

/// # Safety
/// `text` is null or points to a NUL-terminated text that is alive during the call.
unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
