//! Lengths as the format counts them: 64 bits, wherever the code runs.

/// How many items there are.
pub(crate) fn len_u64<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}
