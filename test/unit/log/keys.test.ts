/**
 * Proves that secrets, recovery codes and invites survive writing and reading, and that mistakes
 * are named. Round trips, every single mistyped character, every cut.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { decodeBase32, encodeBase32 } from '../../../src/log/base32.ts'
import { decodeInvite, encodeInvite } from '../../../src/log/invite.ts'
import type { Invite } from '../../../src/log/interface.ts'
import {
  decodeRecoveryCode,
  encodeRecoveryCode,
  identityFromSeed,
  VolumeSecrets,
} from '../../../src/log/keys.ts'
import { BOX_OVERHEAD_BYTES, sealToBox, sign, unsealFromBox, verify } from '../../../src/seal.ts'
import type { Random } from '../../../src/system.ts'
import type { VolumeId } from '../../../src/types.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'

const random = new SeededRandom(1)
const SEED = Buffer.from(random.bytes(32))

test('base 32 round-trips every length, and reads look-alikes', () => {
  for (let length = 0; length < 40; length++) {
    const bytes = Buffer.from(random.bytes(length))
    assert.deepEqual(decodeBase32(encodeBase32(bytes)), bytes)
    assert.deepEqual(decodeBase32(encodeBase32(bytes).toUpperCase()), bytes)
  }
  assert.deepEqual(decodeBase32('oOiIlL00'), decodeBase32('00111100'))
  assert.equal(decodeBase32('00u0'), 2)
})

test('volume secrets round-trip and derive different keys for every purpose', () => {
  const secrets = VolumeSecrets.create(random).rotate(random)
  const again = VolumeSecrets.decode(secrets.encode())
  assert.deepEqual(again.encode(), secrets.encode())
  const drawn = again.currentGeneration
  assert.ok(drawn > 0 && drawn <= 1 << 20, 'drawn above what is known')
  const seen = new Set<string>()
  for (const each of [secrets, again]) {
    const log = each.logKeys()
    const chunks = each.chunkKeys()
    const keys = [chunks.dedup]
    for (const generation of [0, drawn]) {
      keys.push(each.topic(generation) as Buffer)
      keys.push(
        ...[log.control(generation), log.tree(generation), chunks.content(generation)].flatMap(
          (key) => key ?? [],
        ),
      )
    }
    assert.equal(keys.length, 9)
    for (const key of keys) seen.add(Buffer.from(key).toString('hex'))
  }
  assert.equal(seen.size, 9)
  assert.equal(secrets.logKeys().tree(drawn + 1), undefined)
})

test('secrets without the tree open control parts only, and merge back', () => {
  const secrets = VolumeSecrets.create(random)
  const storage = VolumeSecrets.decode(secrets.withoutTree().encode())
  assert.deepEqual(storage.logKeys().control(0), secrets.logKeys().control(0))
  assert.equal(storage.logKeys().tree(0), undefined)
  assert.throws(() => storage.chunkKeys(), { code: 'KEY_MISSING' })
  assert.deepEqual(storage.merge(secrets).encode(), secrets.encode())
  assert.deepEqual(secrets.merge(storage).encode(), secrets.encode())
  const rotated = secrets.rotate(random)
  assert.equal(secrets.merge(rotated).currentGeneration, rotated.currentGeneration)
})

test('malformed secrets are refused at every cut', () => {
  const bytes = VolumeSecrets.create(random).rotate(random).encode()
  for (let end = 0; end < bytes.length; end++) {
    assert.throws(() => VolumeSecrets.decode(bytes.subarray(0, end)), { code: 'KEY_MISSING' })
  }
  assert.throws(() => VolumeSecrets.decode(Buffer.concat([bytes, bytes])), { code: 'KEY_MISSING' })
  assert.throws(() => VolumeSecrets.decode(Buffer.from([3])), { code: 'FORMAT_UNSUPPORTED' })
})

test('an identity signs, and receives sealed boxes', () => {
  const identity = identityFromSeed(SEED)
  const message = Buffer.from('message')
  const signature = sign(identity.signing.secretKey, message)
  assert.ok(verify(Buffer.from(identity.device, 'hex'), message, signature))
  const sealed = sealToBox(identity.box.publicKey, message, random)
  // Opened by libsodium's own sealed box: the bytes of version 1 have not changed.
  assert.deepEqual(unsealFromBox(identity.box, sealed), message)
  assert.equal(sealed.length, message.length + BOX_OVERHEAD_BYTES)
  const again = sealToBox(identity.box.publicKey, message, random)
  assert.notDeepEqual(again, sealed)
  const constant: Random = { bytes: (count) => new Uint8Array(count).fill(7) }
  const [one, two] = [1, 2].map(() => sealToBox(identity.box.publicKey, message, constant))
  assert.deepEqual(one, two, "all chance is the caller's")
  assert.notDeepEqual(identity.localKey('journal'), identity.localKey('index'))
  assert.deepEqual(identityFromSeed(SEED).localKey('index'), identity.localKey('index'))
})

test('a recovery code round-trips and names its mistakes', () => {
  const code = encodeRecoveryCode(SEED)
  assert.match(code, /^([0-9A-HJKMNP-TV-Z]{4}-){13}[0-9A-HJKMNP-TV-Z]{4}$/)
  assert.deepEqual(decodeRecoveryCode(code), SEED)
  assert.deepEqual(decodeRecoveryCode(` ${code.toLowerCase().replaceAll('-', ' ')}\n`), SEED)
  const refused = (text: string, message: RegExp): void =>
    assert.throws(() => decodeRecoveryCode(text), { code: 'BAD_ARGUMENT', message })
  refused(code.slice(0, -1), /has 55 letters and digits, must have 56 \(14 groups of 4\)/)
  refused(`${code}0`, /has 57/)
  refused(`${code.slice(0, 6)}*${code.slice(7)}`, /'\*' in group 2/)
  refused('', /has 0/)
  for (let at = 0; at < code.length; at++) {
    if (code[at] === '-') continue
    const other = code[at] === '7' ? '8' : '7'
    refused(code.slice(0, at) + other + code.slice(at + 1), /mistyped/)
  }
})

const INVITE: Invite = {
  volume: 'ab'.repeat(32) as VolumeId,
  seed: SEED,
  bootstrap: ['node.example.org:49737'],
  addresses: ['192.168.1.7:4000', '[fe80::1]:4000'],
}

test('an invite round-trips, with white space and in capitals', () => {
  for (const invite of [INVITE, { ...INVITE, bootstrap: [], addresses: [] }]) {
    const text = encodeInvite(invite)
    assert.match(text, /^wormhole1[0-9a-hjkmnp-tv-z]+$/)
    assert.deepEqual(decodeInvite(text), invite)
    assert.deepEqual(decodeInvite(`  ${text.slice(0, 30)}\n${text.slice(30)} `), invite)
    assert.deepEqual(decodeInvite(text.toUpperCase()), invite)
  }
  assert.equal(encodeInvite({ ...INVITE, bootstrap: [], addresses: [] }).length, 123)
})

test('a cut, mistyped or foreign invite says what is wrong', () => {
  const text = encodeInvite(INVITE)
  const refused = (wrong: string, message: RegExp): void =>
    assert.throws(() => decodeInvite(wrong), { code: 'INVITE_INVALID', message })
  for (let end = 13; end < text.length; end++) {
    refused(text.slice(0, end), new RegExp(`cut short, ${text.length - end} characters`))
  }
  refused(`${text}00`, /2 characters too long/)
  refused('wormhole1', /cut short/)
  refused('wormhole2abc', /newer version/)
  refused('https://example.org', /does not start with wormhole1/)
  refused(`${text.slice(0, 20)}!${text.slice(21)}`, /character '!' at position 21/)
  for (let at = 9; at < text.length - 1; at++) {
    const other = text[at] === '7' ? '8' : '7'
    refused(text.slice(0, at) + other + text.slice(at + 1), /mistyped|cut short|too long/)
  }
})

test('an invite with something else than host:port is refused both ways', () => {
  for (const address of [
    'host',
    'host:0',
    'host:70000',
    'ho st:1',
    'a:b:1',
    `${'x'.repeat(300)}:1`,
  ]) {
    const invite = { ...INVITE, addresses: [address] }
    assert.throws(() => encodeInvite(invite), { code: 'INVITE_INVALID' }, address)
  }
  const many = Array.from({ length: 17 }, () => 'host:1')
  assert.throws(() => encodeInvite({ ...INVITE, bootstrap: many }), { code: 'INVITE_INVALID' })
})
