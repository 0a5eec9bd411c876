//! Sixteen SHA-256 streams in the lanes of AVX-512 registers.
//!
//! The schedule and rounds are those of FIPS 180-4, section 6.2, with each word replaced by sixteen, one
//! of each stream. Safe code: `fearless_simd` gives vectors that carry a token, which can only be had
//! where the processor has the instructions; rotations and three-way operations become one instruction
//! each.

#![expect(
    clippy::indexing_slicing,
    reason = "every index is below the length of its array: the loops run over fixed sizes"
)]

use fearless_simd::{Avx512, Bytes as _, Level, Simd, SimdBase as _, u8x64, u32x16};

use super::{BLOCK_BYTES, Block, Hasher, State};

/// Streams side by side.
pub(super) const LANES: usize = 16;

/// From how many streams on the wide path is faster than the SHA instructions one by one.
const WORTH_IT: usize = 9;

/// One word of each stream.
type Words = u32x16<Avx512>;

/// FIPS 180-4, section 4.2.2.
const K: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

/// Turns the bytes of every word around, within each 128 bits.
const BIG_ENDIAN: Block = {
    let mut order = [0; BLOCK_BYTES];
    let mut at: u8 = 0;
    while at < 64 {
        #[expect(
            clippy::as_conversions,
            reason = "a u8 always fits; `from` is not const"
        )]
        let slot = at as usize;
        order[slot] = (at & 0b1100) | (0b11 - (at & 0b11));
        at += 1;
    }
    order
};

/// The proof that this processor has the instructions.
#[derive(Clone, Copy)]
pub(super) struct Wide(Avx512);

impl Wide {
    pub(super) fn new() -> Option<Self> {
        Level::new().as_avx512().map(Self)
    }

    /// As [`super::update_many`].
    pub(super) fn update(self, streams: &mut [(&mut Hasher, &[u8])]) {
        for group in streams.chunks_mut(LANES) {
            self.update_group(group);
        }
    }

    fn update_group(self, group: &mut [(&mut Hasher, &[u8])]) {
        let mut rests: [&[Block]; LANES] = [&[]; LANES];
        let mut tails: [&[u8]; LANES] = [&[]; LANES];
        for (lane, (hasher, bytes)) in group.iter_mut().enumerate() {
            (rests[lane], tails[lane]) = hasher.align(bytes).as_chunks();
        }
        // As long as enough streams have blocks left, they go side by side.
        loop {
            let left = rests.iter().filter(|rest| !rest.is_empty());
            let Some(blocks) = left.clone().map(|rest| rest.len()).min() else {
                break;
            };
            if left.count() < WORTH_IT {
                break;
            }
            self.side_by_side(group, &mut rests, blocks);
        }
        for (lane, (hasher, _)) in group.iter_mut().enumerate() {
            sha2::block_api::compress256(&mut hasher.state, rests[lane]);
            hasher.keep(tails[lane]);
        }
    }

    /// Advances every stream that has blocks left by `blocks` of them.
    fn side_by_side(
        self,
        group: &mut [(&mut Hasher, &[u8])],
        rests: &mut [&[Block]; LANES],
        blocks: usize,
    ) {
        let mut states = [[0; LANES]; 8];
        // A lane without a stream goes through the motions on another's blocks.
        let Some(some) = rests.iter().find(|rest| !rest.is_empty()).copied() else {
            return;
        };
        let mut inputs = [some; LANES];
        for (lane, (hasher, _)) in group.iter().enumerate() {
            if !rests[lane].is_empty() {
                inputs[lane] = rests[lane];
            }
            for (word, states) in states.iter_mut().enumerate() {
                states[lane] = hasher.state[word];
            }
        }
        let inputs = inputs.map(|input| input.split_at(blocks).0);
        let simd = self.0;
        // Only what is inlined here is compiled for the instructions.
        simd.vectorize(
            #[inline(always)]
            || compress(simd, &mut states, &inputs),
        );
        for (lane, (hasher, _)) in group.iter_mut().enumerate() {
            if rests[lane].is_empty() {
                continue;
            }
            let state: State = states.map(|states| states[lane]);
            hasher.state = state;
            rests[lane] = rests[lane].split_at(blocks).1;
        }
    }
}

/// The compression of equally many blocks of every lane.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "the index goes through all lanes at once"
)]
#[expect(
    clippy::inline_always,
    reason = "only inlined code is compiled for the instructions"
)]
fn compress(simd: Avx512, states: &mut [[u32; LANES]; 8], inputs: &[&[Block]; LANES]) {
    let order = u8x64::from_slice(simd, &BIG_ENDIAN);
    let mut state: [Words; 8] = std::array::from_fn(|word| u32x16::from_slice(simd, &states[word]));
    for block in 0..inputs[0].len() {
        let rows = std::array::from_fn(|lane| {
            let bytes = u8x64::from_slice(simd, &inputs[lane][block]);
            simd.swizzle_dyn_within_blocks_u8x64(bytes, order).bitcast()
        });
        let next = rounds(simd, state, transpose(simd, rows));
        for (word, next) in state.iter_mut().zip(next) {
            *word = simd.add_u32x16(*word, next);
        }
    }
    for (words, state) in states.iter_mut().zip(state) {
        state.store_slice(words);
    }
}

/// From one stream in each register to one word of every stream in each: four rounds of a perfect
/// shuffle.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "only inlined code is compiled for the instructions"
)]
#[expect(clippy::arithmetic_side_effects, reason = "indices below sixteen")]
fn transpose(simd: Avx512, mut rows: [Words; LANES]) -> [Words; LANES] {
    for _ in 0..4 {
        let old = rows;
        for k in 0..8 {
            rows[2 * k] = simd.zip_low_u32x16(old[k], old[k + 8]);
            rows[2 * k + 1] = simd.zip_high_u32x16(old[k], old[k + 8]);
        }
    }
    rows
}

/// The 64 rounds, without the final addition.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "the round is also the place in the schedule"
)]
#[expect(
    clippy::inline_always,
    reason = "only inlined code is compiled for the instructions"
)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "indices below sixty-four, and wrapping lanes"
)]
#[expect(clippy::many_single_char_names, reason = "the names of FIPS 180-4")]
fn rounds(simd: Avx512, state: [Words; 8], mut w: [Words; 16]) -> [Words; 8] {
    let rotate = |x: Words, by: u32| (x >> by) | (x << (32 - by));
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    for round in 0..64 {
        let t = round % 16;
        if round >= 16 {
            let (x, y) = (w[(t + 1) % 16], w[(t + 14) % 16]);
            let s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >> 3);
            let s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >> 10);
            w[t] = w[t] + s0 + (w[(t + 9) % 16] + s1);
        }
        let s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        let choice = (e & f) ^ (!e & g);
        let t1 = h + s1 + (choice + w[t]) + simd.splat_u32x16(K[round]);
        let s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        (h, g, f, e) = (g, f, e, d + t1);
        (d, c, b, a) = (c, b, a, t1 + (s0 + majority));
    }
    [a, b, c, d, e, f, g, h]
}
