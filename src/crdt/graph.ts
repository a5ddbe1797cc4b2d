/**
 * The changes of one shard as a graph, for shards in which an actor wrote two changes of one
 * number: a process that was copied while it ran, or a hostile member. Automerge knows an operation
 * by counter and actor alone and cannot hold both; here each keeps a name of its own. Rules:
 * README.md, "Doubles".
 *
 * What a change is worth and what its names mean follows from its ancestors alone, so that it is
 * the same on every device; what an operation is called in the index follows from all changes that
 * are here.
 */
import { WormholeError } from '../errors.ts'
import { hash } from '../seal.ts'
import type { ActorId } from '../types.ts'
import { decodeChange, opOf, parseOp, type ChangeOp, type DecodedChange } from './change.ts'
import type { OpRef } from './interface.ts'

/** A change. */
interface Node {
  readonly hash: string
  readonly actor: ActorId
  readonly seq: number
  readonly maxOp: number
  readonly deps: readonly Node[]
}

/** An operation. */
interface Write {
  readonly node: Node
  /** What Automerge would call it. */
  readonly plain: OpRef
  readonly overwrites: readonly Write[]
}

/** A change as the index takes it. */
export interface PlacedChange {
  /** Names of its operations, and of those that each overwrites; as many as it has operations. */
  readonly names: readonly OpRef[]
  readonly predecessors: readonly (readonly OpRef[])[]
  /** Earlier operations that are called something else from now on. */
  readonly renamed: readonly { readonly key: string; readonly from: OpRef; readonly to: OpRef }[]
}

/** The name of an operation whose plain one another operation of its register has, too. */
export function doubleName(plain: OpRef, change: string): OpRef {
  const { counter, actor } = parseOp(plain)
  const digest = hash(Buffer.from(`wormhole/1/double/${actor}/${change}`, 'latin1'))
  return `${counter}@${digest.toString('hex', 0, 16)}`
}

function refuse(why: string): never {
  throw new WormholeError('ENTRY_INVALID', why)
}

/** See the head of this file. */
export class ChangeGraph {
  readonly #nodes = new Map<string, Node>()
  /** By register key, in the order of arrival. */
  readonly #writes = new Map<string, readonly Write[]>()
  /** Greatest number of each actor, and the actors that have two changes of one number. */
  readonly #seqs = new Map<ActorId, number>()
  readonly #doubled = new Set<ActorId>()

  /** The graph of changes in causal order. */
  static of(changes: Iterable<Uint8Array>): ChangeGraph {
    const graph = new ChangeGraph()
    for (const bytes of changes) graph.add(decodeChange(bytes))
    return graph
  }

  clone(): ChangeGraph {
    const copy = new ChangeGraph()
    for (const [change, node] of this.#nodes) copy.#nodes.set(change, node)
    for (const [key, writes] of this.#writes) copy.#writes.set(key, writes)
    for (const [actor, seq] of this.#seqs) copy.#seqs.set(actor, seq)
    for (const actor of this.#doubled) copy.#doubled.add(actor)
    return copy
  }

  has(change: string): boolean {
    return this.#nodes.has(change)
  }

  /** Whether two changes of this actor have one number. */
  isDoubled(actor: ActorId): boolean {
    return this.#doubled.has(actor)
  }

  /** Whether an operation of this name, plain or not, is here. */
  hasOp(key: string, name: OpRef): boolean {
    const all = this.#writes.get(key) ?? []
    return all.some((write) => write.plain === name || nameAmong(write, all) === name)
  }

  /** @throws {WormholeError} `ENTRY_INVALID` for a change that is not right where it stands. */
  judge(change: DecodedChange): void {
    const past = this.#past(change)
    const maxOp = Math.max(0, ...change.deps.map((dep) => this.#node(dep).maxOp))
    if (change.startOp !== maxOp + 1) {
      refuse(`operations start at ${change.startOp}, where ${maxOp + 1} is right`)
    }
    const own = new Set<number>()
    let count = 0
    for (const { actor, seq } of past) {
      if (actor !== change.actor) continue
      own.add(seq)
      count++
    }
    if (own.size < count) refuse('the actor met its double and went on')
    if (change.seq !== count + 1) refuse('the actor forgot or repeats itself')
    for (const op of change.ops) {
      if (!op.predecessors.every((ref) => this.#named(op.key, ref, past).length > 0)) {
        refuse('overwrites the unknown')
      }
    }
  }

  /** Adds a change that was judged, or is an own one. */
  add(change: DecodedChange): PlacedChange {
    const { hash: id, actor, seq, startOp, ops } = change
    const deps = change.deps.map((dep) => this.#node(dep))
    const node: Node = { hash: id, actor, seq, maxOp: startOp + ops.length - 1, deps }
    const isOverwriting = ops.some(({ predecessors }) => predecessors.length > 0)
    const past = isOverwriting ? this.#past(change) : new Set<Node>()
    this.#nodes.set(id, node)
    if (seq <= (this.#seqs.get(actor) ?? 0)) this.#doubled.add(actor)
    this.#seqs.set(actor, Math.max(seq, this.#seqs.get(actor) ?? 0))
    const names: OpRef[] = []
    const predecessors: OpRef[][] = []
    const renamed: { key: string; from: OpRef; to: OpRef }[] = []
    for (const [index, op] of ops.entries()) {
      const overwrites = this.#overwrittenBy(op, past)
      const write: Write = { node, plain: opOf(change, index), overwrites }
      const before = this.#writes.get(op.key) ?? []
      const all = [...before, write]
      this.#writes.set(op.key, all)
      const twins = before.filter(({ plain }) => plain === write.plain)
      if (twins.length === 1) {
        const [{ plain: from, node: twin }] = twins as [Write]
        renamed.push({ key: op.key, from, to: doubleName(from, twin.hash) })
      }
      names.push(nameAmong(write, all))
      predecessors.push(overwrites.map((other) => nameAmong(other, all)))
    }
    return { names, predecessors, renamed }
  }

  #overwrittenBy(op: ChangeOp, past: ReadonlySet<Node>): Write[] {
    const found = new Set<Write>()
    for (const ref of op.predecessors) {
      for (const write of this.#named(op.key, ref, past)) found.add(write)
    }
    return [...found]
  }

  #node(change: string): Node {
    return this.#nodes.get(change) ?? refuse('follows a change that nobody knows')
  }

  /** Everything before a change. */
  #past(change: DecodedChange): Set<Node> {
    const past = new Set<Node>(change.deps.map((dep) => this.#node(dep)))
    for (const node of past) for (const dep of node.deps) past.add(dep)
    return past
  }

  /** What a name stands for among the values of a register that a past shows. */
  #named(key: string, ref: OpRef, past: ReadonlySet<Node>): Write[] {
    const known = (this.#writes.get(key) ?? []).filter(({ node }) => past.has(node))
    const gone = new Set(known.flatMap(({ overwrites }) => overwrites))
    const counter = ref.slice(0, ref.indexOf('@') + 1)
    return known.filter(
      (write) =>
        write.plain.startsWith(counter) && !gone.has(write) && nameAmong(write, known) === ref,
    )
  }
}

/** The name of an operation among those of its register. */
function nameAmong(write: Write, all: readonly Write[]): OpRef {
  const isAlone = all.every((other) => other === write || other.plain !== write.plain)
  return isAlone ? write.plain : doubleName(write.plain, write.node.hash)
}
