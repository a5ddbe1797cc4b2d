/**
 * Proves that both ciphers of chunks give the same bits, open each other's, refuse what was
 * changed, and derive subkeys as the draft says (draft-irtf-cfrg-xchacha-03, 2.2.1).
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CipherChoice,
  opensslCipher,
  sodiumCipher,
  subkey,
  type ChunkCipher,
} from '../../../src/chunks/cipher.ts'
import { createBytes, createRandom } from '../../helpers/chunks.ts'

test('the subkey of the draft', () => {
  const key = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
  const nonce = Buffer.from('000000090000004a0000000031415927', 'hex')
  assert.equal(
    subkey(key, nonce).toString('hex'),
    '82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc',
  )
})

test('both give the same bits, and open what the other has sealed', () => {
  const random = createRandom(9)
  for (const length of [1, 63, 64, 65, 4095, 65_536, 262_145, 1_048_576]) {
    const [key, nonce] = [createBytes(random, 32), createBytes(random, 24)]
    const [body, about] = [createBytes(random, length), createBytes(random, 7)]
    const sealed = [sodiumCipher, opensslCipher].map((cipher) => {
      const into = Buffer.alloc(length + 16)
      cipher.encrypt(into, body, about, nonce, key)
      return into
    }) as [Buffer, Buffer]
    assert(sealed[0].equals(sealed[1]), `${length} bytes`)
    for (const cipher of [sodiumCipher, opensslCipher]) {
      assert(cipher.decrypt(sealed[0], about, nonce, key).equals(body), cipher.name)
      for (const at of [0, length - 1, length, length + 15]) {
        const changed = Buffer.from(sealed[0])
        changed[at] = (changed[at] as number) ^ 1
        assert.throws(() => cipher.decrypt(changed, about, nonce, key), `${cipher.name} at ${at}`)
      }
      const other = Buffer.from(about)
      other[0] = (other[0] as number) ^ 1
      assert.throws(() => cipher.decrypt(sealed[0], other, nonce, key), cipher.name)
    }
  }
})

test('small bodies take libsodium; of large ones both take some, then the faster takes all', () => {
  for (const slow of [opensslCipher, sodiumCipher]) {
    let nowMs = 0
    const choice = new CipherChoice(() => nowMs)
    const take = (byteCount: number): ChunkCipher =>
      choice.run(byteCount, (cipher) => {
        nowMs += cipher === slow ? 2 : 1
        return cipher
      })
    assert.equal(take(100), sodiumCipher)
    const first = Array.from({ length: 32 }, () => take(1_000_000))
    for (const cipher of [opensslCipher, sodiumCipher]) {
      assert.equal(first.filter((other) => other === cipher).length, 16, cipher.name)
    }
    const rest = new Set(Array.from({ length: 20 }, () => take(1_000_000)))
    assert.deepEqual([...rest], [slow === sodiumCipher ? opensslCipher : sodiumCipher])
    assert.equal(take(100), sodiumCipher)
    assert.throws(() => choice.run(1_000_000, () => assert.fail('as thrown')), /as thrown/)
  }
})
