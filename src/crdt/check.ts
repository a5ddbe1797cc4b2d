/**
 * Judging foreign changes before they touch anything. The verdict depends on the change and on what
 * it follows, so it is the same on every device. Automerge itself verifies nothing: a change with a
 * `startOp` of 10^8 would make a shard unloadable for ever, a flipped bit would be applied.
 */
import { hasCode, WormholeError } from '../errors.ts'
import type { ActorId, InodeId } from '../types.ts'
import { decodeChange, type ChangeOp, type DecodedChange, type ParsedOp } from './change.ts'
import type { ChangeGraph } from './graph.ts'
import { inodeShard, isInodeId, LOST_FOUND, ROOT, SHARD_COUNT } from './ids.ts'
import type { OpRef, RegisterName, ShardChange, Verdict } from './interface.ts'
import type { Layer } from './layer.ts'
import { decodeRegister } from './registers.ts'
import type { Shards } from './shards.ts'

/** Most changes in one entry. */
export const CHANGES_MAX = 20_000

/** A register key of a shard document. */
export interface RegisterKey {
  readonly register: RegisterName
  readonly inode: InodeId
}

/** The register that a key names. @throws {WormholeError} `ENTRY_INVALID`. */
export function parseKey(key: string): RegisterKey {
  const register = key[0] as RegisterName
  const inode = key.slice(1)
  if (!'LCAP'.includes(register) || key.length !== 17 || !isInodeId(inode)) {
    throw new WormholeError('ENTRY_INVALID', 'a change writes a key that is no register')
  }
  return { register, inode }
}

/** The same for an operation, with its value decoded. @throws {WormholeError} `ENTRY_INVALID`. */
export function parsedOp(op: ChangeOp): ParsedOp {
  if (op.parsed) return op.parsed
  const { register, inode } = parseKey(op.key)
  op.parsed = { register, inode, data: decodeRegister(register, inode, op.value) }
  return op.parsed
}

function refuse(why: string): never {
  throw new WormholeError('ENTRY_INVALID', why)
}

/** A shard as it will be once the earlier changes of the same entry are in. */
interface Ahead {
  readonly heads: Map<string, number>
  readonly seqs: Map<ActorId, number>
  /** Op ids of register values that differ from the rows. */
  readonly values: Map<string, readonly OpRef[]>
  readonly earlier: Uint8Array[]
  /** Whether a change was judged by the graph: what follows may go by names that it brought. */
  isByGraph: boolean
  /** With the earlier changes in it. */
  graph?: ChangeGraph
}

/** Whether all that the changes of an entry follow is here, or earlier in it. */
export function followsKnown(changes: readonly ShardChange[], shards: Shards): boolean {
  const earlier = new Set<string>()
  for (const { shard, change: bytes } of changes) {
    const change = decodedOrNone(bytes)
    // Malformed: refused for that.
    if (!change || !isShard(shard)) return true
    const isKnown = (dep: string): boolean => earlier.has(shard + dep) || shards.has(shard, dep)
    if (!change.deps.every(isKnown)) return false
    earlier.add(shard + change.hash)
  }
  return true
}

function decodedOrNone(bytes: Uint8Array): DecodedChange | undefined {
  try {
    return decodeChange(bytes)
  } catch (error) {
    if (hasCode(error, 'ENTRY_INVALID')) return undefined
    throw error
  }
}

function isShard(shard: number): boolean {
  return Number.isInteger(shard) && shard >= 0 && shard < SHARD_COUNT
}

/** Judges the changes of one entry. */
export class Checker {
  readonly #layer: Layer
  readonly #shards: Shards
  readonly #ahead = new Map<number, Ahead>()

  constructor(layer: Layer, shards: Shards) {
    this.#layer = layer
    this.#shards = shards
  }

  check(changes: readonly ShardChange[], actors: ReadonlySet<ActorId>): Verdict {
    try {
      if (changes.length > CHANGES_MAX) refuse(`${changes.length} changes in one entry`)
      for (const { shard, change } of changes) this.#checkChange(shard, change, actors)
      return { isValid: true }
    } catch (error) {
      if (error instanceof WormholeError && error.code === 'ENTRY_INVALID') {
        return { isValid: false, reason: error.message }
      }
      throw error
    }
  }

  #checkChange(shard: number, bytes: Uint8Array, actors: ReadonlySet<ActorId>): void {
    if (!isShard(shard)) refuse(`shard ${shard}`)
    const change = decodeChange(bytes)
    if (!actors.has(change.actor)) refuse('the actor does not belong to the author')
    const ahead = this.#aheadOf(shard)
    // The same change again, on another branch of its feed: was judged, and does nothing.
    const isOld = change.seq <= (ahead.seqs.get(change.actor) ?? 0)
    if (isOld && this.#graphOf(shard, ahead).has(change.hash)) return
    this.#checkPosition(shard, change, ahead)
    for (const op of change.ops) {
      const { register, inode } = parsedOp(op)
      if (inodeShard(inode) !== shard) refuse('a register of another shard')
      if (register === 'L' && (inode === ROOT || inode === LOST_FOUND)) refuse('the root moved')
    }
    this.#follow(change, bytes, ahead)
  }

  #aheadOf(shard: number): Ahead {
    const known = this.#ahead.get(shard)
    if (known) return known
    const state = this.#shards.state(shard)
    const ahead: Ahead = {
      heads: new Map(state.heads.map(({ hash, maxOp }) => [hash, maxOp])),
      seqs: new Map(state.seqs),
      values: new Map<string, readonly OpRef[]>(),
      earlier: [],
      isByGraph: false,
    }
    this.#ahead.set(shard, ahead)
    return ahead
  }

  /** Shared by all who look at the shard, unless earlier changes of the entry are in it. */
  #graphOf(shard: number, ahead: Ahead): ChangeGraph {
    if (ahead.graph) return ahead.graph
    const shared = this.#shards.graph(shard)
    if (ahead.earlier.length === 0) return shared
    ahead.graph = shared.clone()
    for (const bytes of ahead.earlier) ahead.graph.add(decodeChange(bytes))
    return ahead.graph
  }

  /** Dependencies known, sequence and operation numbers exact, predecessors visible there. */
  #checkPosition(shard: number, change: DecodedChange, ahead: Ahead): void {
    const isOnHeads =
      change.deps.length === ahead.heads.size && change.deps.every((dep) => ahead.heads.has(dep))
    const isNext = change.seq === (ahead.seqs.get(change.actor) ?? 0) + 1
    const { isDoubled } = this.#shards.state(shard)
    const isPlain = isNext && !ahead.isByGraph
    const hasMet = isDoubled && this.#shards.graph(shard).isDoubled(change.actor)
    if (isPlain && isOnHeads && !hasMet) {
      this.#checkOnHeads(change, ahead)
    } else if (isPlain && !isDoubled) {
      this.#checkElsewhere(shard, change, ahead)
    } else {
      this.#graphOf(shard, ahead).judge(change)
      ahead.isByGraph = true
    }
  }

  #checkOnHeads(change: DecodedChange, ahead: Ahead): void {
    checkStart(change, Math.max(0, ...ahead.heads.values()))
    for (const op of change.ops) {
      if (op.predecessors.length === 0) continue
      const visible = this.#visible(op, ahead)
      if (!op.predecessors.every((ref) => visible.includes(ref))) refuse('overwrites the unknown')
    }
  }

  #visible(op: ChangeOp, ahead: Ahead): readonly OpRef[] {
    const known = ahead.values.get(op.key)
    if (known) return known
    const { register, inode } = parsedOp(op)
    return this.#layer.inode(inode)?.[register].map((value) => value.op) ?? []
  }

  /** The change was made beside others: the document knows what its author saw. */
  #checkElsewhere(shard: number, change: DecodedChange, ahead: Ahead): void {
    const shared = this.#shards.document(shard)
    const document = ahead.earlier.length === 0 ? shared : shared.clone()
    try {
      if (ahead.earlier.length > 0) document.applyChanges(ahead.earlier)
      let maxOp = 0
      for (const dep of change.deps) {
        const meta = document.getChangeMetaByHash(dep)
        if (!meta) refuse('follows a change that nobody knows')
        maxOp = Math.max(maxOp, meta.maxOp)
      }
      checkStart(change, maxOp)
      const unseen = document.getChangesMeta([...change.deps])
      if (unseen.some(({ actor }) => actor === change.actor)) refuse('the actor forgot itself')
      for (const op of change.ops) {
        if (op.predecessors.length === 0) continue
        const visible = document.getAll('/', op.key, [...change.deps]).map((value) => value[2])
        if (!op.predecessors.every((ref) => visible.includes(ref))) refuse('overwrites the unknown')
      }
    } finally {
      if (document !== shared) document.free()
    }
  }

  /** The next change of the entry is judged on top of this one. */
  #follow(change: DecodedChange, bytes: Uint8Array, ahead: Ahead): void {
    for (const [index, op] of change.ops.entries()) {
      const rest = this.#visible(op, ahead).filter((ref) => !op.predecessors.includes(ref))
      ahead.values.set(op.key, [...rest, `${change.startOp + index}@${change.actor}`])
    }
    for (const dep of change.deps) ahead.heads.delete(dep)
    ahead.heads.set(change.hash, change.startOp + change.ops.length - 1)
    ahead.seqs.set(change.actor, Math.max(change.seq, ahead.seqs.get(change.actor) ?? 0))
    ahead.earlier.push(bytes)
    ahead.graph?.add(change)
  }
}

function checkStart(change: DecodedChange, maxOp: number): void {
  if (change.startOp !== maxOp + 1) {
    refuse(`operations start at ${change.startOp}, where ${maxOp + 1} is right`)
  }
}
