/**
 * Proves that the worked example in the README of chunks is what the code writes. The hex blocks
 * of the document are compared with bytes made here.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { ChunkCodec } from '../../../src/chunks/codec.ts'
import { decodeNode, encodeNode } from '../../../src/chunks/manifest.ts'
import { PackWriter } from '../../../src/chunks/packs.ts'
import { MemoryDisk } from '../../../src/disk-memory.ts'
import { createChunkKeys } from '../../helpers/chunks.ts'

const README = readFileSync(new URL('../../../src/chunks/README.md', import.meta.url), 'utf8')

function documented(name: string): Buffer {
  const match = new RegExp('```hex ' + name + '\\n([^`]+)```').exec(README)
  assert(match?.[1], `no example ${name}`)
  return Buffer.from(match[1].replace(/\s/g, ''), 'hex')
}

test('the examples are what the code writes, and it reads them', async () => {
  const disk = new MemoryDisk()
  const store = PackWriter.open({ disk, directory: '/packs' })
  const codec = new ChunkCodec(createChunkKeys())
  const { address, sealed } = codec.seal('data', Buffer.from('the same bytes on two devices'))
  store.put(address, sealed)
  await store.close()
  assert.deepEqual(disk.readFileSync('/packs/pack-00000000'), documented('pack'))
  assert.deepEqual(disk.readFileSync('/packs/index'), documented('index'))
  const entries = [
    { address, sizeBytes: 29 },
    { address: undefined, sizeBytes: 100_000 },
  ]
  assert.deepEqual(encodeNode(0, entries), documented('node'))
  assert.equal(decodeNode(documented('node')).address(0), address)

  const written = new MemoryDisk()
  written.makeDirectorySync('/packs')
  written.replaceFileSync('/packs/pack-00000000', documented('pack'))
  const opened = PackWriter.open({ disk: written, directory: '/packs' }).getSync(address)
  assert.equal(codec.open('data', opened as Buffer).toString(), 'the same bytes on two devices')
})
