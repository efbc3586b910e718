mod options;
pub use options::GatewayOptions;
