mod options;
pub use options::NetOptions;
