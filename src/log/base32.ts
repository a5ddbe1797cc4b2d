/**
 * Base 32 for people (Crockford, "Base 32", crockford.com/base32): no I, L, O, U; I and L read as
 * 1, O as 0, upper and lower case are the same.
 */

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

const VALUES = new Map<string, number>()
for (const [value, digit] of [...ALPHABET].entries()) VALUES.set(digit, value)
VALUES.set('o', 0).set('i', 1).set('l', 1)

/** Lower-case digits, most significant bits first; the last digit is filled up with zero bits. */
export function encodeBase32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let bitCount = 0
  for (const byte of bytes) {
    bits = (bits << 8) | byte
    bitCount += 8
    while (bitCount >= 5) {
      bitCount -= 5
      text += ALPHABET[(bits >>> bitCount) & 31]
    }
    bits &= (1 << bitCount) - 1
  }
  if (bitCount > 0) text += ALPHABET[(bits << (5 - bitCount)) & 31]
  return text
}

/**
 * The bytes of `text` (whole bytes only; bits left over are dropped), or the index of the first
 * character that is no digit.
 */
export function decodeBase32(text: string): Buffer | number {
  const bytes = Buffer.alloc(Math.floor((text.length * 5) / 8))
  let bits = 0
  let bitCount = 0
  let at = 0
  for (let index = 0; index < text.length; index++) {
    const value = VALUES.get((text[index] as string).toLowerCase())
    if (value === undefined) return index
    bits = (bits << 5) | value
    bitCount += 5
    if (bitCount >= 8) {
      bitCount -= 8
      bytes[at++] = (bits >>> bitCount) & 0xff
      bits &= (1 << bitCount) - 1
    }
  }
  return bytes
}
