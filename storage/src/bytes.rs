//! Little-endian integers at fixed places of a slice.

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub(crate) fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(array(bytes, at))
}

/// Panics when the range is outside: callers check lengths first.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// A 32-bit offset as an index of a slice.
pub(crate) fn at(offset: u32) -> usize {
    offset as usize
}

/// A length or position that its caller has bounded by a 32-bit file size.
pub(crate) fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("bounded by a segment's size")
}

/// The next multiple of 8.
pub(crate) fn align8(value: usize) -> usize {
    value.next_multiple_of(8)
}

const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(PAGE).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// The places of `bytes` (in pieces of at most a page) that are not zero yet: offset and length.
/// Zeroing only those keeps the untouched blocks of a file untouched.
pub(crate) fn not_zero(bytes: &[u8]) -> Vec<(usize, usize)> {
    bytes
        .chunks(PAGE)
        .enumerate()
        .filter(|(_, chunk)| *chunk != &ZEROS[..chunk.len()])
        .map(|(i, chunk)| (i * PAGE, chunk.len()))
        .collect()
}

/// A page of zeros to write.
pub(crate) fn zeros(len: usize) -> &'static [u8] {
    &ZEROS[..len]
}
