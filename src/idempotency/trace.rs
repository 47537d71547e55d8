//! Where a request stands in a distributed trace.

/// The trace of a request and its span in it, as W3C Trace Context names them: by it a replay is linked to what made the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trace {
    /// `trace-id`.
    pub trace_id: [u8; 16],
    /// `parent-id`, that of the span.
    pub span_id: [u8; 8],
}
