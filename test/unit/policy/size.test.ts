/** Proves that sizes are read and shown exactly. Tables of texts and bytes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sizeFromText, sizeInBytes, sizeToText } from '../../../src/policy/size.ts'

test('a size is a number with a unit of 1,000 or of 1,024', () => {
  const sizes: [text: string, bytes: number | string][] = [
    ['0 B', 0],
    ['17B', 17],
    ['2 kB', 2_000],
    ['500 MB', 500_000_000],
    ['1.5 GB', 1_500_000_000],
    ['4GiB', 4_294_967_296],
    ['0.333 KiB', 340],
    ['999999999999999 TB', Number.MAX_SAFE_INTEGER],
    ['unlimited', 'unlimited'],
  ]
  for (const [text, bytes] of sizes) assert.equal(sizeFromText(text), bytes, text)
})

test('a size is shown in the largest unit that it is a whole number of', () => {
  const texts: [bytes: number | string, text: string][] = [
    [0, '0 B'],
    [999, '999 B'],
    [4_294_967_296, '4 GiB'],
    [1_500_000_000, '1500 MB'],
    [Number.MAX_SAFE_INTEGER, '9007199254740991 B'],
    ['unlimited', 'unlimited'],
  ]
  for (const [bytes, text] of texts) {
    assert.equal(sizeToText(bytes), text)
    assert.equal(sizeFromText(text), bytes)
  }
  assert.equal(sizeInBytes('unlimited'), Infinity)
})
