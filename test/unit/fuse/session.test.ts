/**
 * Proves the byte layout of requests and replies, and what a session promises about promises,
 * interrupts and references. A pretended kernel sends hand-made requests to a memory file system.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WormholeError } from '../../../src/errors.ts'
import { INIT_FLAG, OPCODE } from '../../../src/vfs/fuse/protocol.ts'
import type { FileName } from '../../../src/types.ts'
import type { RequestContext } from '../../../src/vfs/interface.ts'
import { MemoryFileSystem } from '../../helpers/memory-filesystem.ts'
import { Kernel, text, words } from './kernel.ts'

const ROOT = 1
const O_RDWR = 2

/** Creates a file. @returns its node id and handle. */
function create(kernel: Kernel, name: string): { nodeId: number; handle: number } {
  const { errno, body } = kernel.ask(
    OPCODE.CREATE,
    ROOT,
    words(O_RDWR, 0o100640, 0o022, 0),
    text(name),
  )
  assert.equal(errno, 0)
  return { nodeId: body.readUInt32LE(0), handle: body.readUInt32LE(128) }
}

/** A body of struct fuse_read_in or fuse_write_in. */
function transfer(handle: number, offset: number, sizeBytes: number): Buffer {
  return words(handle, 0, offset, 0, sizeBytes, 0, 0, 0, 0, 0)
}

test('INIT: version and features, and refusal of old kernels', () => {
  const kernel = new Kernel(new MemoryFileSystem())
  // What Linux 6.18 sends: 7.45, every flag, 64 bytes.
  const all = words(7, 45, 131072, 0xffffffff, 0xffffffff, ...new Array(11).fill(0))
  const { errno, body } = kernel.ask(OPCODE.INIT, 0, all)
  assert.equal(errno, 0)
  assert.equal(body.length, 64)
  assert.deepEqual([body.readUInt32LE(0), body.readUInt32LE(4)], [7, 45])
  const flags = body.readUInt32LE(12)
  for (const flag of ['ASYNC_READ', 'MAX_PAGES', 'DO_READDIRPLUS', 'HANDLE_KILLPRIV_V2'] as const) {
    assert.ok(flags & INIT_FLAG[flag], flag)
  }
  assert.equal(flags & (1 << 16), 0, 'no writeback cache')
  assert.equal(body.readUInt32LE(20), 1 << 20, 'max_write')
  assert.equal(body.readUInt16LE(28), 256, 'max_pages')
  assert.deepEqual(kernel.readiness, [undefined])

  const newer = new Kernel(new MemoryFileSystem())
  assert.equal(newer.ask(OPCODE.INIT, 0, words(8, 1, 0, 0)).body.readUInt32LE(0), 7)
  assert.deepEqual(newer.readiness, [], 'the kernel asks again')
  const older = new Kernel(new MemoryFileSystem())
  assert.equal(older.ask(OPCODE.INIT, 0, words(7, 30, 0, 0)).errno, 71)
  assert.deepEqual(older.readiness, ['MOUNT_UNAVAILABLE'])
})

test('LOOKUP, GETATTR and SETATTR carry 64-bit values and times before 1970', () => {
  const fileSystem = new MemoryFileSystem()
  const kernel = new Kernel(fileSystem)
  const { nodeId, handle } = create(kernel, 'file')
  const seconds = 2 ** 32 - 5
  // valid: SIZE, ATIME, MTIME; size 2^33 + 7; atime -5.25 s; mtime 2^32 + 3 s and 9 ns.
  const valid = words(8 | 16 | 32, 0, 0, 0, 7, 2, 0, 0, seconds, 0xffffffff, 3, 1, 0, 0)
  const rest = words(750_000_000, 9, 0, 0, 0, 0, 0, 0)
  const { errno, body } = kernel.ask(OPCODE.SETATTR, nodeId, valid, rest)
  assert.equal(errno, 0)
  assert.equal(body.length, 104)
  assert.equal(body.readUInt32LE(0), 13, 'attributes are valid for 13 s')
  assert.equal(body.readBigUInt64LE(16), BigInt(nodeId))
  assert.equal(body.readBigUInt64LE(24), 2n ** 33n + 7n)
  assert.equal(body.readBigInt64LE(40), -5n)
  assert.equal(body.readUInt32LE(64), 750_000_000)
  assert.equal(body.readBigInt64LE(48), 2n ** 32n + 3n)
  assert.equal(body.readUInt32LE(68), 9)

  const found = kernel.ask(OPCODE.LOOKUP, ROOT, text('file')).body
  assert.equal(found.length, 128)
  assert.deepEqual([found.readUInt32LE(16), found.readUInt32LE(24)], [11, 13])
  assert.deepEqual(found.subarray(40), body.subarray(16), 'the same attributes')
  const missing = kernel.ask(OPCODE.LOOKUP, ROOT, text('missing'))
  assert.equal(missing.errno, 0)
  assert.equal(missing.body.readBigUInt64LE(0), 0n, 'a negative entry')
  assert.equal(missing.body.readUInt32LE(16), 12)
  const got = kernel.ask(OPCODE.GETATTR, nodeId, words(1, 0, handle, 0)).body
  assert.deepEqual(got, body)
  assert.equal(kernel.ask(OPCODE.GETATTR, 999, words(0, 0, 0, 0)).errno, 2)
})

test('READ and WRITE: small and large, and bad handles', () => {
  const kernel = new Kernel(new MemoryFileSystem())
  const { nodeId, handle } = create(kernel, 'file')
  const bytes = Buffer.alloc(100_000, 'abc')
  const written = kernel.ask(OPCODE.WRITE, nodeId, transfer(handle, 5, bytes.length), bytes)
  assert.equal(written.body.readUInt32LE(0), bytes.length)
  const small = kernel.ask(OPCODE.READ, nodeId, transfer(handle, 0, 8)).body
  assert.equal(small.toString(), '\0\0\0\0\0abc')
  const large = kernel.ask(OPCODE.READ, nodeId, transfer(handle, 5, 200_000)).body
  assert.deepEqual(large, bytes)
  assert.equal(kernel.ask(OPCODE.READ, nodeId, transfer(handle, 200_000, 8)).body.length, 0)
  const isOff = words(handle, 0, 0, 0x200000, 8, 0, 0, 0, 0, 0)
  assert.equal(kernel.ask(OPCODE.READ, nodeId, isOff).errno, 27, 'EFBIG from 2^53 on')
  assert.equal(kernel.ask(OPCODE.READ, nodeId, transfer(99, 0, 8)).errno, 9)
  assert.throws(() => kernel.session.checkHandle(new Set(), 99), { code: 'BAD_HANDLE' })
  const release = words(handle, 0, 0, 0, 0, 0)
  assert.equal(kernel.ask(OPCODE.RELEASE, nodeId, release).errno, 0)
  assert.equal(kernel.ask(OPCODE.RELEASE, nodeId, release).errno, 9, 'released once')
})

test('READDIRPLUS gives back what does not fit; offsets continue', () => {
  const fileSystem = new MemoryFileSystem()
  const kernel = new Kernel(fileSystem)
  const names = Array.from({ length: 30 }, (_, index) => `${index}-`.padEnd(200, 'n'))
  for (const name of names) create(kernel, name)
  const handle = kernel.ask(OPCODE.OPENDIR, ROOT, words(0, 0)).body.readUInt32LE(0)
  const lookups = (): number =>
    [...fileSystem.nodes.values()].reduce((sum, node) => sum + node.lookups, 0)
  const before = lookups()
  const seen: string[] = []
  let offset = 0
  for (;;) {
    const { body } = kernel.ask(OPCODE.READDIRPLUS, ROOT, transfer(handle, offset, 4096))
    if (body.length === 0) break
    for (let at = 0; at < body.length;) {
      const nameBytes = body.readUInt32LE(at + 128 + 16)
      offset = Number(body.readBigUInt64LE(at + 128 + 8))
      const name = body.toString('latin1', at + 152, at + 152 + nameBytes)
      seen.push(name)
      assert.equal(body.readBigUInt64LE(at) === 0n, name.startsWith('.'))
      at += 128 + ((24 + nameBytes + 7) & ~7)
    }
  }
  assert.deepEqual(seen, ['.', '..', ...names])
  assert.equal(lookups(), before + names.length, 'one reference for each entry that was sent')
})

test('a promise is answered when it settles; INTERRUPT aborts its signal', async () => {
  const settled: Array<(value: undefined) => void> = []
  class Slow extends MemoryFileSystem {
    override lookup(context: RequestContext): Promise<undefined> {
      return new Promise((resolve, reject) => {
        settled.push(resolve)
        context.signal().addEventListener('abort', () => {
          reject(new WormholeError('ABORTED', 'interrupted'))
        })
      })
    }
  }
  const kernel = new Kernel(new Slow())
  const first = kernel.send(OPCODE.LOOKUP, ROOT, text('a'))
  const second = kernel.send(OPCODE.LOOKUP, ROOT, text('b'))
  assert.equal(kernel.ask(OPCODE.GETATTR, ROOT, words(0, 0, 0, 0)).errno, 0, 'not held up')
  kernel.replies.length = 0
  kernel.send(OPCODE.INTERRUPT, 0, words(second, 0))
  settled[0]?.(undefined)
  await new Promise(setImmediate)
  assert.deepEqual(
    kernel.replies.map(({ unique, errno }) => [unique, errno]).sort(),
    [
      [first, 0],
      [second, 4],
    ].sort(),
  )
  const late = kernel.ask(OPCODE.INTERRUPT, 0, words(first, 0))
  assert.equal(late.errno, 11, 'EAGAIN: the kernel decides whether to ask again')
  assert.deepEqual(kernel.bugs, [])
})

test('a reply that does not arrive takes back its reference and its handle', async () => {
  const fileSystem = new MemoryFileSystem()
  const kernel = new Kernel(fileSystem)
  create(kernel, 'file')
  kernel.isListening = false
  kernel.send(OPCODE.LOOKUP, ROOT, text('file'))
  kernel.send(OPCODE.CREATE, ROOT, words(O_RDWR, 0o100640, 0, 0), text('other'))
  kernel.send(OPCODE.OPENDIR, ROOT, words(0, 0))
  assert.equal(fileSystem.handles.size, 1)
  assert.equal(fileSystem.directoryHandles.size, 0)
  await kernel.session.end()
  assert.equal(fileSystem.handles.size, 0)
  assert.deepEqual(
    [...fileSystem.nodes.values()].map((node) => node.lookups),
    [1, 0, 0],
    'only the root keeps its own',
  )
  assert.deepEqual(kernel.bugs, [])
})

test('the end aborts what waits, releases all once and ignores what comes late', async () => {
  let isAborted = false
  class Waiting extends MemoryFileSystem {
    released = 0
    override read(context: RequestContext): Promise<readonly Buffer[]> {
      const signal = context.signal()
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          isAborted = true
          reject(new WormholeError('ABORTED', 'interrupted'))
        })
      })
    }
    override release(handle: number): void {
      this.released += 1
      void super.release(handle)
    }
  }
  const fileSystem = new Waiting()
  const kernel = new Kernel(fileSystem)
  const { nodeId, handle } = create(kernel, 'file')
  kernel.send(OPCODE.READ, nodeId, transfer(handle, 0, 10))
  kernel.isListening = false
  await Promise.all([kernel.session.end(), kernel.session.end()])
  assert.ok(isAborted)
  assert.equal(fileSystem.released, 1)
  assert.deepEqual(
    [...fileSystem.nodes.values()].map((node) => node.lookups),
    [1, 0],
  )
  kernel.send(OPCODE.FORGET, nodeId, words(1, 0))
  assert.deepEqual(kernel.bugs, [])
  assert.deepEqual(kernel.readiness, ['MOUNT_FAILED'], 'INIT never came')
})

test('bugs become EIO with the name of the operation; forgetting too much is clamped', () => {
  class Broken extends MemoryFileSystem {
    override getattr(): never {
      throw new Error('planted')
    }
  }
  const kernel = new Kernel(new Broken())
  assert.equal(kernel.ask(OPCODE.GETATTR, ROOT, words(0, 0, 0, 0)).errno, 5)
  assert.deepEqual(kernel.bugs, ['GETATTR: planted'])
  const { nodeId } = create(kernel, 'file')
  kernel.send(OPCODE.FORGET, nodeId, words(1000, 0))
  kernel.send(OPCODE.BATCH_FORGET, 0, words(2, 0, nodeId, 0, 1, 0, 77, 0, 1, 0))
  kernel.send(OPCODE.FORGET, ROOT, words(1, 0))
  assert.equal(kernel.bugs.length, 1)
  assert.equal(kernel.ask(39, ROOT).errno, 38, 'IOCTL: ENOSYS')
  assert.equal(kernel.ask(OPCODE.LSEEK, ROOT).errno, 22, 'too short')
  assert.equal(kernel.ask(4096, ROOT).errno, 38)
  assert.equal(kernel.ask(OPCODE.RENAME2, ROOT, words(1, 0, 4, 0), text('a'), text('b')).errno, 22)
})

test('ranges, appending writes and files without a name carry their 64-bit numbers', () => {
  const asked: unknown[] = []
  class Ranges extends MemoryFileSystem {
    seek(_: RequestContext, ...what: [number, number, 'data' | 'hole']): number | undefined {
      asked.push(what)
      return what[2] === 'data' ? undefined : 2 ** 40 + 7
    }

    copyRange(_: RequestContext, ...what: [object, object, number]): number {
      asked.push(what)
      return what[2]
    }

    temporary(context: RequestContext, parent: number, mode: number, flags: number) {
      asked.push([parent, mode, flags, context.umask])
      const made = this.create(context, parent, 'nameless' as FileName, mode, flags)
      return made as Exclude<typeof made, Promise<unknown>>
    }

    override write(
      ...what: [RequestContext, number, number, Buffer, boolean?]
    ): ReturnType<MemoryFileSystem['write']> {
      asked.push(what[4])
      return super.write(what[0], what[1], what[2], what[3])
    }
  }
  const kernel = new Kernel(new Ranges())
  const { handle } = create(kernel, 'file')
  const whence = (value: number) => words(handle, 0, 5, 256, value, 0)
  assert.equal(kernel.ask(OPCODE.LSEEK, ROOT, whence(3)).errno, 6, 'ENXIO')
  const found = kernel.ask(OPCODE.LSEEK, ROOT, whence(4)).body
  assert.deepEqual([found.readUInt32LE(0), found.readUInt32LE(4)], [7, 256])
  assert.equal(kernel.ask(OPCODE.LSEEK, ROOT, whence(0)).errno, 22)
  assert.equal(kernel.ask(OPCODE.LSEEK, ROOT, words(99, 0, 0, 0, 3, 0)).errno, 9)
  const offset = 256 * 2 ** 32 + 5
  assert.deepEqual(asked.splice(0), [
    [handle, offset, 'data'],
    [handle, offset, 'hole'],
  ])
  const copy = words(handle, 0, 1, 0, 9, 0, handle, 0, 2, 1, 0, 3, 0, 0)
  const long = kernel.ask(OPCODE.COPY_FILE_RANGE_64, ROOT, copy).body
  assert.deepEqual([long.readUInt32LE(0), long.readUInt32LE(4)], [0, 3])
  assert.equal(kernel.ask(OPCODE.COPY_FILE_RANGE, ROOT, copy).body.readUInt32LE(0), 0x7ffff000)
  const places = [
    { handle, offset: 1 },
    { handle, offset: 2 ** 32 + 2 },
  ]
  assert.deepEqual(asked.splice(0), [
    [...places, 3 * 2 ** 32],
    [...places, 0x7ffff000],
  ])
  const appending = words(handle, 0, 0, 0, 1, 0, 0, 0, 0o2001, 0)
  assert.equal(kernel.ask(OPCODE.WRITE, ROOT, appending, Buffer.from('x')).errno, 0)
  const plain = transfer(handle, 0, 1)
  assert.equal(kernel.ask(OPCODE.WRITE, ROOT, plain, Buffer.from('x')).errno, 0)
  assert.deepEqual(asked.splice(0), [true, false])
  const made = kernel.ask(OPCODE.TMPFILE, ROOT, words(O_RDWR, 0o100600, 0o022, 0), text('/'))
  assert.deepEqual([made.errno, made.body.length], [0, 144])
  assert.deepEqual(asked, [[ROOT, 0o100600, O_RDWR, 0o022]])
  const without = new Kernel(new MemoryFileSystem())
  const other = create(without, 'file').handle
  assert.equal(without.ask(OPCODE.LSEEK, ROOT, words(other, 0, 0, 0, 3, 0)).errno, 38)
  assert.equal(without.ask(OPCODE.TMPFILE, ROOT, words(2, 0o100600, 0, 0), text('/')).errno, 38)
})
