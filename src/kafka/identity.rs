//! Which topic a topic's name stands for now: the id that the cluster gives each topic that is made.
//!
//! A topic that was deleted and made anew has its old name and another id; offsets of the one mean nothing in the
//! other. rdkafka wraps no such question, hence the `unsafe`: one call to librdkafka's admin interface, whose answer is
//! copied before anything of it is given back. Never decides what a changed id means.

use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

/// What a cluster without topic ids (before Kafka 2.8) calls each of its topics.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The topic's id in the cluster's own spelling; empty where the cluster gives none. Waits for `timeout` at most.
///
/// # Errors
/// The cluster does not answer, or does not know the topic.
pub fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<String, RDKafkaErrorCode> {
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let handle = client.native_ptr();
    let mut names = [name.as_ptr()];
    // SAFETY: the handle lives as long as `client`. Everything made here is destroyed here, once, and in the reverse
    // order; librdkafka copies the names and the options before the call returns.
    unsafe {
        let queue = sys::rd_kafka_queue_new(handle);
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let options = sys::rd_kafka_AdminOptions_new(
            handle,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let mut words = [0; 128];
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, words.as_mut_ptr(), words.len());
        sys::rd_kafka_DescribeTopics(handle, topics, options, queue);
        // The answer, a timeout included, is always put on the queue; a little longer than it may take.
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(1000));
        let id = if event.is_null() { Err(RDKafkaErrorCode::OperationTimedOut) } else { read(event) };
        sys::rd_kafka_event_destroy(event);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
        sys::rd_kafka_queue_destroy(queue);
        id
    }
}

/// # Safety
/// `event` is alive, and the answer to a question about one topic.
unsafe fn read(event: *mut sys::rd_kafka_event_t) -> Result<String, RDKafkaErrorCode> {
    // SAFETY: as the caller promises; each pointer is looked at before it is followed, and points into the event.
    unsafe {
        let error = sys::rd_kafka_event_error(event);
        if error != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(error.into());
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count == 0 || topics.is_null() {
            return Err(RDKafkaErrorCode::UnknownTopic);
        }
        let topic = *topics;
        let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
        if error != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(error.into());
        }
        let id = sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(topic));
        if id.is_null() {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let id = CStr::from_ptr(id).to_string_lossy();
        Ok(if id == NO_ID { String::new() } else { id.into_owned() })
    }
}
