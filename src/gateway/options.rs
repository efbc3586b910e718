//! Everything a gateway is built from: the rooms' options in one place.

use std::time::Duration;

use crate::handoff::BufferOptions;
use crate::kafka::KafkaOptions;
use crate::net::NetOptions;
use crate::pipeline::ValueFormat;
use crate::session::{HttpOptions, TcpOptions};

/// What [`crate::gateway::Gateway::start`] takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayOptions {
    pub net: NetOptions,
    pub tcp: TcpOptions,
    pub http: HttpOptions,
    pub value_format: ValueFormat,
    pub buffer: BufferOptions,
    pub kafka: KafkaOptions,
    /// How long a shutdown may take until what is left is purged and accounted for.
    pub drain_timeout: Duration,
    /// Time between two METRICS lines; zero switches them off.
    pub metrics_interval: Duration,
    /// Whether /metrics is served, and where.
    pub metrics_path: Option<String>,
    /// Upper bound for the worst-case memory sum in bytes; a configuration above it does not start (G4).
    pub memory_limit: Option<u64>,
    /// Whether log lines about refused messages show the first 200 characters of them (S0-E1).
    pub log_excerpts: bool,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            net: NetOptions::default(),
            tcp: TcpOptions::default(),
            http: HttpOptions::default(),
            value_format: ValueFormat::default(),
            buffer: BufferOptions::default(),
            kafka: KafkaOptions::default(),
            drain_timeout: Duration::from_secs(5),
            metrics_interval: Duration::from_secs(10),
            metrics_path: Some("/metrics".into()),
            memory_limit: None,
            log_excerpts: true,
        }
    }
}
