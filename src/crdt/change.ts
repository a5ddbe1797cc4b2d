/**
 * Automerge change chunks, written and read here.
 *
 * One change writes registers of one shard: `set` operations with `bytes` values on keys of the
 * root map, nothing else. The bytes are those Automerge itself would write, uncompressed (binary
 * format: https://automerge.org/automerge-binary-format-spec/ , "Change Chunks"), so any Automerge
 * document applies them. Writing them here lets a put name exactly the operations it overwrites,
 * without touching a document; reading them here bounds every length before anything is allocated
 * (a run-length column may claim 2^60 rows in 12 bytes).
 *
 * `decodeChange` accepts one encoding of each change: it encodes again and compares. Two devices
 * therefore never disagree about what some bytes mean.
 */
import { createHash } from 'node:crypto'
import { WormholeError } from '../errors.ts'
import type { ActorId, InodeId } from '../types.ts'
import type { OpRef, RegisterName } from './interface.ts'
import type { RegisterValues } from './registers.ts'

/** One register write inside a change. Its own op id is `startOp` + its index. */
export interface ChangeOp {
  readonly key: string
  readonly value: Uint8Array
  /** Op ids (`counter@actor`) that this write overwrites. */
  readonly predecessors: readonly OpRef[]
  /** What `parsedOp` made of it: judging and applying look at it one after the other. */
  parsed?: ParsedOp
}

/** The register that an operation writes, and its decoded value. */
export interface ParsedOp {
  readonly register: RegisterName
  readonly inode: InodeId
  readonly data: RegisterValues[RegisterName]
}

/** A change of one shard. */
export interface Change {
  readonly actor: ActorId
  /** 1 for the actor's first change of this shard. */
  readonly seq: number
  readonly startOp: number
  /** Hashes (hex) of the changes it follows, sorted. */
  readonly deps: readonly string[]
  /** Sorted by key, each key once. */
  readonly ops: readonly ChangeOp[]
}

/** A change and the hash (hex) that others name it by. */
export interface DecodedChange extends Change {
  readonly hash: string
}

/** Largest encoded change that is read. */
export const CHANGE_BYTES_MAX = 16 * 1024 * 1024
/** Most writes in one change. */
export const CHANGE_OPS_MAX = 100_000
/** Greatest operation counter: a shard stays loadable and far from Automerge's 2^32. */
export const OP_COUNTER_MAX = 2 ** 31
const DEPS_MAX = 10_000
const PREDECESSORS_MAX = 10_000

const MAGIC = Buffer.from('856f4a83', 'hex')
const CHUNK_TYPE = 1
const ACTION_SET = 1
const VALUE_BYTES = 7
/** Column specifications in the order in which they are written. */
const COLUMN = {
  key: 0x15,
  insert: 0x34,
  action: 0x42,
  valueMeta: 0x56,
  value: 0x57,
  predCount: 0x70,
  predActor: 0x71,
  predCounter: 0x73,
}
const COLUMNS = Object.values(COLUMN)

/** The parts of an op id. */
export function parseOp(op: OpRef): { counter: number; actor: ActorId } {
  const at = op.indexOf('@')
  return { counter: Number(op.slice(0, at)), actor: op.slice(at + 1) as ActorId }
}

/** The op id of the write number `index` of a change. */
export function opOf(change: Change, index: number): OpRef {
  return `${change.startOp + index}@${change.actor}`
}

/** A growing byte string with the number formats of Automerge. */
class Output {
  #buffer: Buffer
  length = 0

  constructor(capacity: number) {
    this.#buffer = Buffer.allocUnsafe(capacity)
  }

  room(count: number): number {
    const at = this.length
    if (at + count > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, at + count))
      this.#buffer.copy(grown, 0, 0, at)
      this.#buffer = grown
    }
    this.length = at + count
    return at
  }

  unsigned(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      // Two statements: room may put another buffer in the place of this one.
      const at = this.room(1)
      this.#buffer[at] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    const at = this.room(1)
    this.#buffer[at] = rest
  }

  signed(value: number): void {
    let rest = value
    for (;;) {
      const low = ((rest % 0x80) + 0x80) % 0x80
      rest = Math.floor(rest / 0x80)
      const isLast = (rest === 0 && low < 0x40) || (rest === -1 && low >= 0x40)
      const at = this.room(1)
      this.#buffer[at] = isLast ? low : low | 0x80
      if (isLast) return
    }
  }

  raw(bytes: Uint8Array): void {
    const at = this.room(bytes.length)
    this.#buffer.set(bytes, at)
  }

  latin1(text: string): void {
    const at = this.room(text.length)
    this.#buffer.write(text, at, 'latin1')
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.length)
  }
}

/** Writes a run-length column: `writeOne` writes a value that is not a number. */
function writeRuns<T>(values: readonly T[], writeOne: (out: Output, value: T) => void): Buffer {
  const out = new Output(values.length * 4 + 16)
  let at = 0
  while (at < values.length) {
    let end = at + 1
    while (end < values.length && values[end] === values[at]) end++
    if (end - at > 1) {
      out.signed(end - at)
      writeOne(out, values[at] as T)
      at = end
      continue
    }
    while (end < values.length && values[end] !== values[end + 1]) end++
    out.signed(at - end)
    for (; at < end; at++) writeOne(out, values[at] as T)
  }
  return out.finish()
}

const writeUnsigned = (out: Output, value: number): void => out.unsigned(value)
const writeSigned = (out: Output, value: number): void => out.signed(value)
const writeText = (out: Output, value: string): void => {
  out.unsigned(value.length)
  out.latin1(value)
}

/** The predecessors of all writes as columns; `actors` gets the other actors, sorted. */
function predecessorColumns(change: Change): { actors: string[]; columns: Map<number, Buffer> } {
  const counts: number[] = []
  const all: { counter: number; actor: string }[] = []
  const others = new Set<string>()
  for (const op of change.ops) {
    counts.push(op.predecessors.length)
    if (op.predecessors.length === 0) continue
    const parsed = op.predecessors.map(parseOp)
    parsed.sort((a, b) => a.counter - b.counter || (a.actor < b.actor ? -1 : 1))
    for (const predecessor of parsed) {
      all.push(predecessor)
      if (predecessor.actor !== change.actor) others.add(predecessor.actor)
    }
  }
  const actors = [...others].sort()
  const columns = new Map([[COLUMN.predCount, writeRuns(counts, writeUnsigned)]])
  if (all.length > 0) {
    const numbers = new Map<string, number>([[change.actor, 0]])
    for (const [index, actor] of actors.entries()) numbers.set(actor, index + 1)
    const indexes = all.map((op) => numbers.get(op.actor) as number)
    const steps = all.map((op, index) => op.counter - (all[index - 1]?.counter ?? 0))
    columns.set(COLUMN.predActor, writeRuns(indexes, writeUnsigned))
    columns.set(COLUMN.predCounter, writeRuns(steps, writeSigned))
  }
  return { actors, columns }
}

function opColumns(change: Change): { actors: string[]; columns: Map<number, Buffer> } {
  const count = change.ops.length
  const keys = new Output(count * 20 + 16)
  const values = new Output(count * 48 + 16)
  const metas: number[] = []
  keys.signed(-count)
  for (const op of change.ops) {
    writeText(keys, op.key)
    values.raw(op.value)
    metas.push(op.value.length * 16 + VALUE_BYTES)
  }
  const insert = new Output(8)
  insert.unsigned(count)
  const action = new Output(8)
  action.signed(count === 1 ? -1 : count)
  action.unsigned(ACTION_SET)
  const { actors, columns } = predecessorColumns(change)
  columns.set(COLUMN.key, keys.finish())
  columns.set(COLUMN.insert, insert.finish())
  columns.set(COLUMN.action, action.finish())
  columns.set(COLUMN.valueMeta, writeRuns(metas, writeUnsigned))
  columns.set(COLUMN.value, values.finish())
  return { actors, columns }
}

/** Encodes a change: fresh bytes and their hash. Ops must be sorted by key and not empty. */
export function encodeChange(change: Change): { bytes: Buffer; hash: string } {
  const { actors, columns } = opColumns(change)
  const body = new Output(256)
  body.unsigned(change.deps.length)
  for (const dep of change.deps) body.raw(Buffer.from(dep, 'hex'))
  body.unsigned(change.actor.length / 2)
  body.raw(Buffer.from(change.actor, 'hex'))
  body.unsigned(change.seq)
  body.unsigned(change.startOp)
  body.signed(0)
  body.unsigned(0)
  body.unsigned(actors.length)
  for (const actor of actors) {
    body.unsigned(actor.length / 2)
    body.raw(Buffer.from(actor, 'hex'))
  }
  const present = COLUMNS.filter((column) => (columns.get(column)?.length ?? 0) > 0)
  body.unsigned(present.length)
  for (const column of present) {
    body.unsigned(column)
    body.unsigned((columns.get(column) as Buffer).length)
  }
  for (const column of present) body.raw(columns.get(column) as Buffer)
  const content = body.finish()
  const head = new Output(16)
  head.unsigned(CHUNK_TYPE)
  head.unsigned(content.length)
  const digest = createHash('sha256').update(head.finish()).update(content).digest()
  const bytes = Buffer.concat([MAGIC, digest.subarray(0, 4), head.finish(), content])
  return { bytes, hash: digest.toString('hex') }
}

/** Reads the number formats of Automerge; every failure is `ENTRY_INVALID`. */
class Input {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  fail(why: string): never {
    throw new WormholeError('ENTRY_INVALID', `malformed change: ${why}`)
  }

  raw(count: number): Buffer {
    if (count > this.left) this.fail('too short')
    this.#at += count
    return this.#bytes.subarray(this.#at - count, this.#at)
  }

  #leb(isSigned: boolean): number {
    let value = 0
    let scale = 1
    for (let index = 0; index < 8; index++) {
      const byte = this.raw(1)[0] as number
      value += (byte & 0x7f) * scale
      scale *= 0x80
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) this.fail('number too large')
        return isSigned && byte >= 0x40 ? value - scale : value
      }
    }
    return this.fail('number too long')
  }

  unsigned(max: number): number {
    const value = this.#leb(false)
    if (value > max) this.fail(`${value} where at most ${max} may be`)
    return value
  }

  signed(): number {
    return this.#leb(true)
  }

  hex(lengthBytes: number): string {
    return this.raw(lengthBytes).toString('hex')
  }
}

/** Reads exactly `count` values of a run-length column. */
function readRuns<T>(column: Buffer | undefined, count: number, read: (input: Input) => T): T[] {
  const input = new Input(column ?? Buffer.alloc(0))
  const values: T[] = []
  while (values.length < count) {
    const run = input.signed()
    if (run === 0 || Math.abs(run) > count - values.length) input.fail('run of a wrong length')
    if (run > 0) {
      const value = read(input)
      for (let index = 0; index < run; index++) values.push(value)
    } else {
      for (let index = 0; index < -run; index++) values.push(read(input))
    }
  }
  if (input.left > 0) input.fail('column is too long')
  return values
}

function readColumns(input: Input): Map<number, Buffer> {
  const sizes: [number, number][] = []
  const count = input.unsigned(COLUMNS.length)
  for (let index = 0; index < count; index++) {
    const column = input.unsigned(0xff)
    if (!COLUMNS.includes(column)) input.fail(`unknown column ${column}`)
    sizes.push([column, input.unsigned(CHANGE_BYTES_MAX)])
  }
  const columns = new Map<number, Buffer>()
  for (const [column, size] of sizes) columns.set(column, input.raw(size))
  if (input.left > 0) input.fail('trailing bytes')
  return columns
}

function readOps(columns: Map<number, Buffer>, actors: readonly string[]): ChangeOp[] {
  const insert = new Input(columns.get(COLUMN.insert) ?? Buffer.alloc(0))
  const count = insert.unsigned(CHANGE_OPS_MAX)
  const size = (max: number) => (input: Input) => input.unsigned(max)
  const keys = readRuns(columns.get(COLUMN.key), count, (input) =>
    input.raw(input.unsigned(64)).toString('latin1'),
  )
  const metas = readRuns(columns.get(COLUMN.valueMeta), count, size(CHANGE_BYTES_MAX * 16))
  const predCounts = readRuns(columns.get(COLUMN.predCount), count, size(PREDECESSORS_MAX))
  const predTotal = predCounts.reduce((sum, value) => sum + value, 0)
  if (predTotal > CHANGE_OPS_MAX) insert.fail('too many predecessors')
  const predActors = readRuns(columns.get(COLUMN.predActor), predTotal, size(actors.length - 1))
  const predSteps = readRuns(columns.get(COLUMN.predCounter), predTotal, (input) => input.signed())
  const values = new Input(columns.get(COLUMN.value) ?? Buffer.alloc(0))
  let predAt = 0
  let counter = 0
  return keys.map((key, index) => {
    const value = values.raw(Math.floor((metas[index] as number) / 16))
    const predecessors: OpRef[] = []
    for (let left = predCounts[index] as number; left > 0; left--, predAt++) {
      counter += predSteps[predAt] as number
      predecessors.push(`${counter}@${actors[predActors[predAt] as number]}`)
    }
    return { key, value, predecessors }
  })
}

const decoded = new WeakMap<Uint8Array, DecodedChange>()

/**
 * Decodes a change. Values are views of `bytes`, which must not change afterwards. The result for
 * one `Uint8Array` object is remembered.
 *
 * @throws {WormholeError} `ENTRY_INVALID` for anything but the one encoding of a change that
 *   `encodeChange` writes.
 */
export function decodeChange(bytes: Uint8Array): DecodedChange {
  const known = decoded.get(bytes)
  if (known) return known
  if (bytes.length > CHANGE_BYTES_MAX) new Input(bytes).fail(`${bytes.length} bytes`)
  const input = new Input(bytes)
  input.raw(8)
  input.unsigned(CHUNK_TYPE)
  input.unsigned(CHANGE_BYTES_MAX)
  const deps: string[] = []
  for (let left = input.unsigned(DEPS_MAX); left > 0; left--) deps.push(input.hex(32))
  if (input.unsigned(16) !== 16) input.fail('actor is not 16 bytes')
  const actor = input.hex(16) as ActorId
  const seq = input.unsigned(OP_COUNTER_MAX)
  const startOp = input.unsigned(OP_COUNTER_MAX)
  if (input.signed() !== 0 || input.unsigned(1) !== 0) input.fail('time or message')
  const actors: string[] = [actor]
  for (let left = input.unsigned(DEPS_MAX); left > 0; left--) {
    if (input.unsigned(16) !== 16) input.fail('actor is not 16 bytes')
    actors.push(input.hex(16))
  }
  const ops = readOps(readColumns(input), actors)
  const change = { actor, seq, startOp, deps, ops }
  checkChange(change, (why) => input.fail(why))
  const again = encodeChange(change)
  if (!again.bytes.equals(bytes)) input.fail('not the canonical encoding')
  const result = { ...change, hash: again.hash }
  decoded.set(bytes, result)
  return result
}

/** Orders op ids as a change lists them: by counter, then actor. */
export function compareOps(a: OpRef, b: OpRef): number {
  const left = parseOp(a)
  const right = parseOp(b)
  return left.counter - right.counter || (left.actor < right.actor ? -1 : 1)
}

/** What the encoding alone does not say; calls `fail`, which throws, for what nobody may write. */
export function checkChange(change: Change, fail: (why: string) => never): void {
  if (change.seq === 0 || change.startOp === 0) fail('numbers start at 1')
  if (change.ops.length === 0) fail('no writes')
  if (change.startOp + change.ops.length > OP_COUNTER_MAX) fail('operation counter too large')
  for (let index = 1; index < change.deps.length; index++) {
    if ((change.deps[index - 1] as string) >= (change.deps[index] as string)) {
      fail('dependencies out of order')
    }
  }
  for (let index = 1; index < change.ops.length; index++) {
    if ((change.ops[index - 1] as ChangeOp).key >= (change.ops[index] as ChangeOp).key) {
      fail('keys out of order')
    }
  }
  for (const op of change.ops) {
    if (new Set(op.predecessors).size !== op.predecessors.length) fail('predecessor twice')
  }
}
