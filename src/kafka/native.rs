//! The producer, and the librdkafka calls that rdkafka does not wrap: the only `unsafe` of the gateway.
//!
//! Owns the producer, its topic handles and its main queue. Never decides anything: it hands records over in one
//! call a partition, those with headers one by one, and reports what comes back. Why not `BaseProducer::send` and `poll`: a batch call sorted by
//! partition costs less than half on every thread, and `poll(T)` always lasts T.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::{Arc, Mutex};

use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer as _};
use rdkafka::{ClientConfig, TopicPartitionList};
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use slab::Slab;

use super::errors::Persistence;
use super::producer::{Outgoing, Partition, Producer};
pub use super::report::{Delivery, Event};
use crate::event::headers;
use crate::handoff::{TOPICS_MAX, Token, TopicId, accounted_bytes, lock};

/// Delivery reports taken out of one event at a time.
const REPORTS_A_CALL: usize = 1024;

/// Marks an opaque that is a place among the carried, which no token of nobody's looks like (a moment in microseconds)
/// and no token of a peer's (its highest bit).
const CARRIED: u64 = 1 << 62;

/// What a record with headers leaves with us: the client library counts no headers in its report.
struct Carried {
    token: Token,
    headers_len: u32,
}

/// Some of one event's delivery reports.
pub struct Deliveries<'a> {
    raw: &'a [*const sys::rd_kafka_message_t],
    topics: &'a [*mut sys::rd_kafka_topic_t; TOPICS_MAX],
    carried: &'a RefCell<Slab<Carried>>,
}

impl<'a> Deliveries<'a> {
    /// Once: what was carried for a record is given back with its report.
    pub fn iter(&self) -> impl Iterator<Item = Delivery<'a>> + use<'a> {
        let Self { raw, topics, carried } = *self;
        raw.iter().map(move |message| {
            // SAFETY: this type is only made in `show_deliveries`, from pointers that librdkafka has just
            // written and that live, with their keys, as long as the event: longer than 'a.
            let (message, status) = unsafe { (&**message, sys::rd_kafka_message_status(*message)) };
            // SAFETY: a pointer that is not null has as many bytes behind it as its length says, alive as said above.
            let bytes =
                |start: *mut c_void, len| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) };
            let key = (!message.key.is_null()).then(|| bytes(message.key, message.key_len));
            let value = if message.payload.is_null() { &[][..] } else { bytes(message.payload, message.len) };
            let bits = message._private as usize as u64;
            let (token, headers_len) = match bits & (1 << 63 | CARRIED) {
                CARRIED => match carried.borrow_mut().try_remove((bits & !CARRIED) as usize) {
                    Some(carried) => (carried.token, carried.headers_len as usize),
                    None => (Token::nobody(0), 0),
                },
                _ => (Token::from_bits(bits), 0),
            };
            // One of few: the handle that the record was given with.
            let topic = topics.iter().position(|topic| ptr::eq(*topic, message.rkt)).unwrap_or(0);
            let has_failed = message.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR;
            Delivery {
                token,
                topic: TopicId(topic as u8),
                accounted_bytes: accounted_bytes(key.map_or(0, <[u8]>::len) + message.len, headers_len),
                code: message.err,
                persistence: Persistence::from(status),
                partition: message.partition,
                offset: message.offset,
                key,
                value,
                headers: if has_failed { headers_of(message) } else { Vec::new() },
            }
        })
    }
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
    /// By id; null for a topic that is not there.
    topics: [*mut sys::rd_kafka_topic_t; TOPICS_MAX],
    /// Records with headers that are inside.
    carried: RefCell<Slab<Carried>>,
    names: [String; TOPICS_MAX],
    alarm: Alarm,
    messages: Vec<sys::rd_kafka_message_t>,
    raw_reports: Vec<*const sys::rd_kafka_message_t>,
}

// SAFETY: librdkafka's handles may be used from any thread, and whoever has the value is the only one to use these
// (the alarm has a reference of its own). The pointers in `messages` and `raw_reports` are never read across calls.
unsafe impl Send for Native {}

impl Native {
    /// Builds a producer and makes `alarm` wake it. It writes to the topics that are added to it.
    pub fn new(config: &ClientConfig, alarm: &Alarm) -> KafkaResult<Self> {
        let producer: BaseProducer<DefaultProducerContext> = config.create()?;
        let client = producer.client().native_ptr();
        // SAFETY: `client` lives as long as `producer`; each call gives a reference of its own.
        let (queue, for_alarm) = unsafe {
            (QueueRef(sys::rd_kafka_queue_get_main(client)), QueueRef(sys::rd_kafka_queue_get_main(client)))
        };
        *lock(&alarm.0) = Some(for_alarm);
        Ok(Self {
            producer,
            queue,
            topics: [ptr::null_mut(); TOPICS_MAX],
            carried: RefCell::default(),
            names: Default::default(),
            alarm: alarm.clone(),
            messages: Vec::new(),
            raw_reports: vec![ptr::null(); REPORTS_A_CALL],
        })
    }

    /// A topic that this producer writes to from now on.
    pub fn add_topic(&mut self, id: TopicId, name: &str) -> KafkaResult<()> {
        let place = &mut self.topics[usize::from(id.0)];
        if !place.is_null() {
            return Ok(());
        }
        let text = CString::new(name)?;
        let client = self.producer.client().native_ptr();
        // SAFETY: `client` lives as long as `producer`; the topic handle is destroyed before it (see `Drop`);
        // a null configuration means the client's own.
        *place = unsafe { sys::rd_kafka_topic_new(client, text.as_ptr(), ptr::null_mut()) };
        if place.is_null() {
            return Err(KafkaError::ClientCreation(format!("no handle for topic {name}")));
        }
        self.names[usize::from(id.0)] = name.to_owned();
        Ok(())
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
            let (raw, topics, carried) = (&self.raw_reports[..count], &self.topics, &self.carried);
            show(Event::Deliveries(Deliveries { raw, topics, carried }));
        }
    }

    /// Sends at once what lingers. Lasts at most `timeout_ms`; reports are not served meanwhile.
    pub fn flush(&self, timeout_ms: i32) {
        // SAFETY: the client lives as long as `producer`. A timeout is an expected answer.
        unsafe { sys::rd_kafka_flush(self.producer.client().native_ptr(), timeout_ms) };
    }

    /// Gives up on everything inside: each record comes back as a delivery that says what is known of it. Nothing is
    /// sent before [`Native::go_on`]; `partitions` says of each topic how many may hold records. Does not wait for the deliveries, and
    /// may be repeated: a record that was just then moved between the client library's threads is missed by one call.
    pub fn let_go(&self, partitions: impl Iterator<Item = (TopicId, usize)>) {
        // The gap that a purge leaves in the sequence makes the client library number anew whatever another of its
        // threads has not purged yet, and send it again: all of them stop first.
        self.set_paused(partitions, true);
        self.purge();
    }

    /// After [`Native::let_go`], once everything has come back. What is sent from now on takes its place behind what is
    /// still on its way to a broker, or shuts it out: its epoch is the next one.
    pub fn go_on(&self, partitions: impl Iterator<Item = (TopicId, usize)>) {
        self.set_paused(partitions, false);
    }

    fn set_paused(&self, partitions: impl Iterator<Item = (TopicId, usize)>, is_paused: bool) {
        let mut list = TopicPartitionList::new();
        for (id, count) in partitions.filter(|(_, count)| *count > 0) {
            list.add_partition_range(&self.names[usize::from(id.0)], 0, count as i32 - 1);
        }
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
        partition: Partition,
        records: impl Iterator<Item = Outgoing<'a>>,
        mut refused: impl FnMut(usize, Code),
    ) -> usize {
        let (mut taken, mut start, mut is_full) = (0, 0, false);
        // Once the client library has no room, nothing of the same partition may overtake what it did not take.
        let mut refused = |position, code, is_full: &mut bool| {
            *is_full |= code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL;
            refused(position, code);
        };
        self.messages.clear();
        for (position, record) in records.enumerate() {
            if is_full {
                refused(position, Code::RD_KAFKA_RESP_ERR__QUEUE_FULL, &mut is_full);
                continue;
            }
            if record.headers.is_empty() {
                self.messages.push(plain(&record));
                continue;
            }
            // What came before it goes first: the order within a partition is the senders'.
            taken += self.produce_gathered(partition, start, |at, code| refused(at, code, &mut is_full));
            start = position + 1;
            if is_full {
                refused(position, Code::RD_KAFKA_RESP_ERR__QUEUE_FULL, &mut is_full);
                continue;
            }
            match self.produce_headed(partition, &record) {
                Ok(()) => taken += 1,
                Err(code) => refused(position, code, &mut is_full),
            }
        }
        taken + self.produce_gathered(partition, start, |at, code| refused(at, code, &mut is_full))
    }
}

fn plain(record: &Outgoing<'_>) -> sys::rd_kafka_message_t {
    sys::rd_kafka_message_t {
        err: Code::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: 0,
        payload: record.value.as_ptr() as *mut c_void,
        len: record.value.len(),
        key: record.key.map_or(ptr::null_mut(), |key| key.as_ptr() as *mut c_void),
        key_len: record.key.map_or(0, <[u8]>::len),
        offset: 0,
        _private: record.token.to_bits() as usize as *mut c_void,
    }
}

impl Native {
    fn topic(&self, id: TopicId) -> *mut sys::rd_kafka_topic_t {
        self.topics.get(usize::from(id.0)).copied().unwrap_or(ptr::null_mut())
    }

    /// Hands over what [`Native::messages`] gathered, the first of which is the call's record number `start`.
    fn produce_gathered(
        &mut self,
        partition: Partition,
        start: usize,
        mut refused: impl FnMut(usize, Code),
    ) -> usize {
        let count = self.messages.len();
        let topic = self.topic(partition.topic);
        if count == 0 {
            return 0;
        }
        if topic.is_null() {
            self.messages.clear();
            (start..start + count)
                .for_each(|position| refused(position, Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC));
            return 0;
        }
        // SAFETY: `topic` is alive (see `Drop`). `messages` holds `count` initialised entries whose pointers
        // borrow from the records of the call that fills it, which outlive that call; F_COPY makes librdkafka copy
        // key and value before it returns and never write through them. `_private` is a number to it.
        let taken = unsafe {
            sys::rd_kafka_produce_batch(
                topic,
                partition.number as i32,
                sys::RD_KAFKA_MSG_F_COPY,
                self.messages.as_mut_ptr(),
                count as i32,
            )
        };
        if taken as usize != count {
            for (position, message) in self.messages.iter().enumerate() {
                if message.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    refused(start + position, message.err);
                }
            }
        }
        // No pointer outlives the records it borrows from.
        self.messages.clear();
        taken as usize
    }

    /// One record with headers, which the batch call cannot carry.
    fn produce_headed(&mut self, partition: Partition, record: &Outgoing<'_>) -> Result<(), Code> {
        use sys::rd_kafka_vtype_t as Kind;
        let topic = self.topic(partition.topic);
        if topic.is_null() {
            return Err(Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC);
        }
        // SAFETY: makes a list of our own; given away or destroyed below.
        let list = unsafe { sys::rd_kafka_headers_new(8) };
        for (name, value) in headers::iter(record.headers) {
            // SAFETY: `list` is ours; librdkafka copies as many bytes of name and value as the lengths say.
            unsafe {
                sys::rd_kafka_header_add(
                    list,
                    name.as_ptr().cast(),
                    name.len() as isize,
                    value.as_ptr().cast(),
                    value.len() as isize,
                );
            }
        }
        let carried = Carried { token: record.token, headers_len: record.headers.len() as u32 };
        let place = self.carried.get_mut().insert(carried);
        let opaque = (CARRIED | place as u64) as usize as *mut c_void;
        type Content = sys::rd_kafka_vu_s__bindgen_ty_1;
        type Memory = sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1;
        let memory =
            |bytes: &[u8]| Content { mem: Memory { ptr: bytes.as_ptr() as *mut c_void, size: bytes.len() } };
        let no_memory = Content { mem: Memory { ptr: ptr::null_mut(), size: 0 } };
        let parts = [
            (Kind::RD_KAFKA_VTYPE_RKT, Content { rkt: topic }),
            (Kind::RD_KAFKA_VTYPE_PARTITION, Content { i32_: partition.number as i32 }),
            (Kind::RD_KAFKA_VTYPE_MSGFLAGS, Content { i: sys::RD_KAFKA_MSG_F_COPY }),
            (Kind::RD_KAFKA_VTYPE_KEY, record.key.map_or(no_memory, memory)),
            (Kind::RD_KAFKA_VTYPE_VALUE, memory(record.value)),
            (Kind::RD_KAFKA_VTYPE_HEADERS, Content { headers: list }),
            (Kind::RD_KAFKA_VTYPE_OPAQUE, Content { ptr: opaque }),
        ]
        .map(|(vtype, u)| sys::rd_kafka_vu_t { vtype, u });
        let client = self.producer.client().native_ptr();
        // SAFETY: `client` and `topic` are alive; each part's field is the one that its kind names; key and value
        // are copied before the call returns (F_COPY); the list passes over to librdkafka if, and only if, the call
        // succeeds. The error is ours to destroy.
        let code = unsafe {
            let error = sys::rd_kafka_produceva(client, parts.as_ptr(), parts.len());
            if error.is_null() {
                return Ok(());
            }
            let code = sys::rd_kafka_error_code(error);
            sys::rd_kafka_error_destroy(error);
            sys::rd_kafka_headers_destroy(list);
            code
        };
        self.carried.get_mut().remove(place);
        Err(code)
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        *lock(&self.alarm.0) = None;
        // SAFETY: the handles are ours and not used again; `producer`, and with it the client, is dropped after
        // this body. `queue` gives its reference back when it is dropped, which may be later.
        for topic in self.topics.iter().filter(|topic| !topic.is_null()) {
            unsafe { sys::rd_kafka_topic_destroy(*topic) };
        }
    }
}

/// A reported record's headers, as `event::headers` writes them.
fn headers_of(message: &sys::rd_kafka_message_t) -> Vec<u8> {
    let (mut list, mut out, mut index) = (ptr::null_mut(), Vec::new(), 0);
    let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the message is alive as long as its reference; the list, if there is one, stays the message's.
    let mut code = unsafe { sys::rd_kafka_message_headers(message, &mut list) };
    while code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
        // SAFETY: the list was set by the successful call above; the three places outlive the call.
        code = unsafe { sys::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut len) };
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && !value.is_null() {
            // SAFETY: set by the successful call; name and value live as long as the list.
            let (name, value) = unsafe { (text_of(name), std::slice::from_raw_parts(value.cast(), len)) };
            headers::push(&mut out, &name, value);
        }
        index += 1;
    }
    out
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
