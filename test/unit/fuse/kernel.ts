/** A pretended kernel: builds requests byte by byte and takes replies apart. */
import assert from 'node:assert/strict'
import { systemClock } from '../../../src/system.ts'
import { IN_HEADER_BYTES } from '../../../src/vfs/fuse/protocol.ts'
import type { ReplyDevice } from '../../../src/vfs/fuse/reply.ts'
import { RequestBuffer } from '../../../src/vfs/fuse/request.ts'
import { Session } from '../../../src/vfs/fuse/session.ts'
import type { FileSystem } from '../../../src/vfs/interface.ts'

/** One reply as it was written. */
export interface ReplyBytes {
  readonly errno: number
  readonly unique: number
  readonly body: Buffer
}

/** 32-bit words, little-endian. */
export function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  values.forEach((value, index) => bytes.writeUInt32LE(value >>> 0, index * 4))
  return bytes
}

/** A name with its NUL. */
export function text(name: string): Buffer {
  return Buffer.from(`${name}\0`, 'latin1')
}

/** A session on a device that keeps what is written. */
export class Kernel implements ReplyDevice {
  readonly session: Session
  readonly replies: ReplyBytes[] = []
  readonly bugs: string[] = []
  readonly readiness: Array<string | undefined> = []
  /** False: every reply fails, as after an abort. */
  isListening = true
  readonly #request = new RequestBuffer(1 << 17)
  #unique = 2

  constructor(fileSystem: FileSystem) {
    this.session = new Session({
      fileSystem,
      device: this,
      clock: systemClock,
      cacheTimes: { entryS: 11, negativeS: 12, attributesS: 13 },
      onBug: (error, operation) => this.bugs.push(`${operation}: ${error.message}`),
      onReady: (error) => this.readiness.push(error?.code),
    })
  }

  write(reply: Buffer, lengthBytes: number): boolean {
    if (!this.isListening) return false
    const bytes = Buffer.from(reply.subarray(0, lengthBytes))
    assert.equal(bytes.readUInt32LE(0), lengthBytes, 'a reply says its length')
    this.replies.push({
      errno: Math.abs(bytes.readInt32LE(4)),
      unique: Number(bytes.readBigUInt64LE(8)),
      body: bytes.subarray(16),
    })
    return true
  }

  writeParts(parts: readonly Buffer[]): boolean {
    const whole = Buffer.concat(parts)
    return this.write(whole, whole.length)
  }

  /** Sends a request; the reply, if it is immediate, is the last of `replies`. @returns unique. */
  send(opcode: number, nodeId: number, ...body: Buffer[]): number {
    const unique = (this.#unique += 2)
    const length = IN_HEADER_BYTES + body.reduce((sum, part) => sum + part.length, 0)
    const header = words(length, opcode, unique, 0, nodeId, 0, 1000, 100, 77, 0)
    this.sendRaw(Buffer.concat([header, ...body]))
    return unique
  }

  /** Sends bytes as they are. */
  sendRaw(bytes: Buffer): void {
    bytes.copy(this.#request.bytes)
    this.session.receive(this.#request, bytes.length)
  }

  /** Sends a request that is answered at once. @returns the only reply. */
  ask(opcode: number, nodeId: number, ...body: Buffer[]): ReplyBytes {
    const before = this.replies.length
    const unique = this.send(opcode, nodeId, ...body)
    assert.equal(this.replies.length, before + 1, 'one reply at once')
    const reply = this.replies.at(-1) as ReplyBytes
    assert.equal(reply.unique, unique)
    return reply
  }
}
