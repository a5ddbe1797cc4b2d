// FastCDC with a 64-bit gear hash, in AssemblyScript (not TypeScript: `scripts/build-gear.mjs`
// compiles it to ../gear.wasm). Format and reasons: ../README.md, "Splitting".
//
// Algorithm: Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data
// Deduplication", USENIX ATC 2016, with normalised chunking level 2; two bytes per step as in the
// 2020 journal version (IEEE TPDS 31(9), "rolling two bytes each time").
//
// Memory: the gear table G (256 × u64) at 0, the same shifted left by one at 2048, data from 65536.
// The host fills all of it. Masks use bits 62 downwards: bit 63 would be lost in `mask << 1`.

const MIN: u32 = 64 * 1024
const AVG: u32 = 256 * 1024
const MAX: u32 = 1024 * 1024
// The hash forgets a byte after 64 shifts, so hashing starts 64 bytes before the first possible
// cut.
const WARM_UP: u32 = 64
// 18 bits make 256 KiB; two more before the average, two fewer after it.
const MASK_BEFORE_AVG: u64 = ((1 << 20) - 1) << 43
const MASK_AFTER_AVG: u64 = ((1 << 16) - 1) << 47

// Length of the first chunk of the `length` bytes at `start`. Less than `length` is a cut whatever
// follows; `length` itself is only final when it is MAX or the data ends there.
export function cut(start: u32, length: u32): u32 {
  if (length <= MIN) return length
  if (length > MAX) length = MAX
  let at = start + MIN - WARM_UP
  const first = start + MIN
  let hash: u64 = 0
  for (; at < first; at++) hash = (hash << 1) + load<u64>((<u32>load<u8>(at)) << 3)
  let mask = MASK_BEFORE_AVG
  let end = start + (length < AVG ? length : AVG)
  for (let phase = 0; phase < 2; phase++) {
    const maskOdd = mask << 1
    for (; at + 2 <= end; at += 2) {
      hash = (hash << 2) + load<u64>((<u32>load<u8>(at)) << 3, 2048)
      if (!(hash & maskOdd)) return at + 1 - start
      hash += load<u64>((<u32>load<u8>(at, 1)) << 3)
      if (!(hash & mask)) return at + 2 - start
    }
    for (; at < end; at++) {
      hash = (hash << 1) + load<u64>((<u32>load<u8>(at)) << 3)
      if (!(hash & mask)) return at + 1 - start
    }
    mask = MASK_AFTER_AVG
    end = start + length
  }
  return length
}
