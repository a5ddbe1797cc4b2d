/**
 * The invite string: one copyable word that carries a volume id, the seed of an invite key pair and
 * hints where to dial. `wormhole1` followed by base-32 digits; grammar in README.md.
 *
 * The length comes first and a checksum last, so that a cut and a mistyped invite are told apart.
 * Whoever holds the string can join: it is a secret.
 */
import { ByteReader, ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import { hash, KEY_BYTES } from '../seal.ts'
import type { VolumeId } from '../types.ts'
import { decodeBase32, encodeBase32 } from './base32.ts'
import type { Invite } from './interface.ts'

const PREFIX = 'wormhole1'
const CHECK_BYTES = 4
/** Bytes of a shortest invite: length, volume, seed, two empty lists, checksum. */
const INVITE_BYTES_MIN = 1 + 32 + KEY_BYTES + 2 + CHECK_BYTES

/** Most addresses of one kind in an invite. */
export const INVITE_ADDRESS_COUNT_MAX = 16
/** Longest `host:port`: a DNS name of 253 characters, a colon, five digits. */
export const INVITE_ADDRESS_LENGTH_MAX = 259

const ADDRESS = /^(\[[0-9a-fA-F:.%a-z]+\]|[A-Za-z0-9._-]+):\d{1,5}$/

function check(bytes: Uint8Array): Buffer {
  return hash(Buffer.from('wormhole/1/invite', 'utf8'), bytes).subarray(0, CHECK_BYTES)
}

function refuse(why: string): never {
  throw new WormholeError('INVITE_INVALID', `this is not a valid invite: ${why}`)
}

function checkAddresses(addresses: readonly string[]): void {
  if (addresses.length > INVITE_ADDRESS_COUNT_MAX) refuse(`${addresses.length} addresses`)
  for (const address of addresses) {
    const port = Number(address.slice(address.lastIndexOf(':') + 1))
    const isAddress = ADDRESS.test(address) && port > 0 && port < 65536
    if (!isAddress || address.length > INVITE_ADDRESS_LENGTH_MAX) {
      refuse(`'${address.slice(0, 80)}' is not host:port`)
    }
  }
}

/**
 * The invite as one word. @throws {WormholeError} `INVITE_INVALID` for addresses not `host:port`.
 */
export function encodeInvite(invite: Invite): string {
  const writer = new ByteWriter().hex(invite.volume).raw(invite.seed)
  for (const addresses of [invite.bootstrap, invite.addresses]) {
    checkAddresses(addresses)
    writer.varint(addresses.length)
    for (const address of addresses) writer.latin1(address)
  }
  const payload = writer.finish()
  const framed = new ByteWriter().varint(payload.length).raw(payload)
  framed.raw(check(framed.finish()))
  return PREFIX + encodeBase32(framed.finish())
}

/**
 * The reverse of `encodeInvite`. White space around and inside the word, and case, do not matter.
 * @throws {WormholeError} `INVITE_INVALID` that says what is wrong.
 */
export function decodeInvite(text: string): Invite {
  const word = text.replace(/\s/g, '')
  const lower = word.toLowerCase()
  if (!lower.startsWith(PREFIX)) {
    if (/^wormhole\d/.test(lower)) refuse('it was made by a newer version of Wormhole')
    refuse(`it does not start with ${PREFIX}`)
  }
  const digits = word.slice(PREFIX.length)
  const bytes = decodeBase32(digits)
  if (typeof bytes === 'number') {
    refuse(`the character '${digits[bytes]}' at position ${PREFIX.length + bytes + 1}`)
  }
  const { lengthBytes, payloadBytes } = readLength(bytes)
  const expected = lengthBytes + payloadBytes + CHECK_BYTES
  const missing = Math.ceil((expected * 8) / 5) - digits.length
  if (missing > 0) refuse(`it is cut short, ${missing} characters are missing`)
  if (missing < 0) refuse(`it is ${-missing} characters too long`)
  const body = bytes.subarray(0, expected - CHECK_BYTES)
  if (!check(body).equals(bytes.subarray(expected - CHECK_BYTES, expected))) {
    refuse('a character is mistyped (the checksum differs)')
  }
  return decodePayload(body.subarray(lengthBytes))
}

function readLength(bytes: Buffer): { lengthBytes: number; payloadBytes: number } {
  if (bytes.length < 2) refuse('it is cut short')
  const reader = new ByteReader(bytes, 'INVITE_INVALID')
  const payloadBytes = reader.varint()
  const lengthBytes = bytes.length - reader.left
  const bytesMax = 2 * INVITE_ADDRESS_COUNT_MAX * (INVITE_ADDRESS_LENGTH_MAX + 2) + 100
  if (payloadBytes > bytesMax || payloadBytes + lengthBytes + CHECK_BYTES < INVITE_BYTES_MIN) {
    refuse('a character is mistyped at the start')
  }
  return { lengthBytes, payloadBytes }
}

function decodePayload(payload: Buffer): Invite {
  const reader = new ByteReader(payload, 'INVITE_INVALID')
  const volume = reader.hex(32) as VolumeId
  const seed = Buffer.from(reader.raw(KEY_BYTES))
  const lists = [0, 1].map(() => {
    const count = reader.varint()
    if (count > INVITE_ADDRESS_COUNT_MAX) reader.fail(`${count} addresses`)
    const addresses: string[] = []
    for (let index = 0; index < count; index++) {
      addresses.push(reader.latin1(INVITE_ADDRESS_LENGTH_MAX))
    }
    checkAddresses(addresses)
    return addresses
  })
  reader.end()
  return { volume, seed, bootstrap: lists[0] as string[], addresses: lists[1] as string[] }
}
