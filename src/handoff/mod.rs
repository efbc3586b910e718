mod options;
pub use options::BufferOptions;
