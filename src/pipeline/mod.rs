mod options;
pub use options::ValueFormat;
