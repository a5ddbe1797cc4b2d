/**
 * Fuzzing of decoders: right bytes with damage of every kind, from a printed seed. `FUZZ_SEED` and
 * `FUZZ_RUNS` choose others and more.
 */
import assert from 'node:assert/strict'
import process from 'node:process'
import { test } from 'node:test'
import { WormholeError } from '../../src/errors.ts'
import type { SeededRandom } from './sim-clock.ts'

export const FUZZ_RUNS = Number(process.env['FUZZ_RUNS'] ?? 1500)
export const FUZZ_SEED = Number(process.env['FUZZ_SEED'] ?? 4711)
/** What one decoder may leave behind, garbage included. */
const GROWTH_BYTES_MAX = 300 * 1024 * 1024

/** Random bytes, or `sample` with bytes changed, put in, taken out, doubled, or cut. */
export function hostileBytes(random: SeededRandom, sample: Uint8Array): Buffer {
  if (random.below(5) === 0) return Buffer.from(random.bytes(random.below(200)))
  let bytes = Buffer.from(sample)
  for (let count = random.below(4); count >= 0; count--) {
    const at = random.below(bytes.length + 1)
    const value = [0, 0x7f, 0x80, 0xff, random.below(256)][random.below(5)] as number
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)]
    const how = random.below(6)
    if (how === 0) bytes = Buffer.concat([before, Buffer.from([value]), after.subarray(1)])
    if (how === 1) bytes = Buffer.concat([before, Buffer.alloc(random.below(9), value), after])
    if (how === 2) bytes = Buffer.concat([before, after.subarray(random.below(9))])
    if (how === 3) bytes = Buffer.concat([before, after.subarray(0, random.below(40)), after])
    if (how === 4 && after.length > 0) {
      bytes = Buffer.from(bytes)
      bytes[at] = (bytes[at] as number) ^ (1 << random.below(8))
    }
    if (how === 5) bytes = Buffer.from(before)
  }
  return bytes
}

/** Runs a decoder; anything but an answer or a `WormholeError` fails, with what led to it. */
export function onlyCodedErrors(what: string, bytes: Uint8Array, run: () => unknown): void {
  try {
    run()
  } catch (error) {
    const hex = Buffer.from(bytes).toString('hex').slice(0, 400)
    assert.ok(error instanceof WormholeError, `${what}: ${String(error)} for ${hex}`)
  }
}

/** A test that gives hostile bytes to a decoder: it answers or refuses, in bounded memory. */
export function fuzzDecoder(
  name: string,
  random: SeededRandom,
  sample: Uint8Array,
  decode: (bytes: Buffer) => unknown,
): void {
  test(`${name} answers or refuses (FUZZ_SEED=${FUZZ_SEED})`, () => {
    const before = process.memoryUsage().rss
    for (let run = 0; run < FUZZ_RUNS; run++) {
      const bytes = hostileBytes(random, sample)
      onlyCodedErrors(`FUZZ_SEED=${FUZZ_SEED}, run ${run}`, bytes, () => decode(bytes))
    }
    const growth = process.memoryUsage().rss - before
    assert.ok(growth < GROWTH_BYTES_MAX, `grew by ${growth} bytes`)
  })
}
