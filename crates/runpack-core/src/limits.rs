//! Every bound that data could push against, in one place (specification, section 12).

/// Bounds of a reader. They are the caller's: data never raises them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a manifest. Stops a manifest made to exhaust memory.
    pub manifest_bytes_max: u64,
    /// Nesting of JSON, the outermost value being 1. Stops a stack made to overflow.
    pub json_depth_max: u32,
    /// Artifacts of a pack. Stops a list made to exhaust memory or time.
    pub artifacts_max: u64,
    /// Bytes of one artifact (`MAX_RUNPACK_ARTIFACT_BYTES`). Stops an endless artifact.
    pub artifact_bytes_max: u64,
    /// Bytes of all artifacts. Stops many endless artifacts and sums that overflow.
    pub pack_bytes_max: u64,
    /// Chunk digests of all artifacts. Stops what `artifacts_max` stops, spelled as chunks.
    pub chunks_max: u64,
    /// Inputs of one artifact.
    pub inputs_max: u64,
    /// Labels of a pack.
    pub labels_max: u64,
    /// Findings that a report holds one by one; more are counted. Stops a report made to exhaust memory.
    pub findings_max: usize,
}

/// The default of [`Limits::artifact_bytes_max`]: 16 TiB.
pub const MAX_RUNPACK_ARTIFACT_BYTES: u64 = 16 << 40;

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes_max: 64 << 20,
            json_depth_max: 16,
            artifacts_max: 250_000,
            artifact_bytes_max: MAX_RUNPACK_ARTIFACT_BYTES,
            pack_bytes_max: 64 << 40,
            chunks_max: 1_000_000,
            inputs_max: 1_024,
            labels_max: 256,
            findings_max: 1_000,
        }
    }
}
