/**
 * What an older index shows and the present one lacks: the values of entries that the log has lost.
 *
 * A value of the old index whose operation is not in the shards of the new one was put by a lost
 * entry, or by one behind it. It is put again: over those values that it had replaced (which the
 * old shards know), beside all others. Should the lost entry turn up after all, both say the same,
 * and equal values are shown as one.
 */
import type { ActorId, Hlc, InodeId } from '../types.ts'
import { parseOp } from './change.ts'
import type { RegisterKey } from './check.ts'
import type { FoldedPut } from './fold.ts'
import { inodeShard } from './ids.ts'
import type { OpRef, RegisterName } from './interface.ts'
import { Layer, TABLE } from './layer.ts'
import type { Value } from './records.ts'
import type { RowStore } from './rows.ts'
import { Shards } from './shards.ts'

const REGISTERS: readonly RegisterName[] = ['L', 'C', 'A', 'P']
const PAGE_COUNT = 500

/** Which operations are in the shards of an index. Loads documents, one at a time. */
class KnownOps {
  readonly #shards: Shards
  #shard = -1
  #maxOps = new Map<ActorId, number>()

  constructor(shards: Shards) {
    this.#shards = shards
  }

  has(key: RegisterKey, op: OpRef): boolean {
    const shard = inodeShard(key.inode)
    if (this.#shards.state(shard).isDoubled) {
      return this.#shards.graph(shard).hasOp(key.register + key.inode, op)
    }
    if (shard !== this.#shard) this.#load(shard)
    const { actor, counter } = parseOp(op)
    return counter <= (this.#maxOps.get(actor) ?? 0)
  }

  #load(shard: number): void {
    this.#shard = shard
    this.#maxOps = new Map()
    for (const { actor, maxOp } of this.#shards.document(shard).getChangesMeta([])) {
      const known = this.#maxOps.get(actor as ActorId) ?? 0
      this.#maxOps.set(actor as ActorId, Math.max(known, maxOp))
    }
  }
}

/**
 * Goes through the rows of an older index; yields a page of puts at a time, none in it if nothing
 * of the page was lost. The present index may change between two pages.
 */
export function* lostPuts(
  rows: RowStore,
  present: { readonly layer: Layer; readonly shards: Shards },
): Generator<FoldedPut[]> {
  const old = new Layer(rows)
  const oldShards = new Shards(old)
  try {
    let after: string | undefined
    for (;;) {
      const options = after === undefined ? {} : { after }
      const page = rows.range(TABLE.inode, { ...options, countMax: PAGE_COUNT })
      if (page.length === 0) return
      const known = { before: new KnownOps(oldShards), now: new KnownOps(present.shards) }
      const puts: FoldedPut[] = []
      for (const row of page) {
        const inode = row.key.slice(TABLE.inode.length) as InodeId
        for (const register of REGISTERS) {
          const key = register + inode
          const before: readonly Value<unknown>[] = old.inode(inode)?.[register] ?? []
          const now: readonly Value<unknown>[] = present.layer.inode(inode)?.[register] ?? []
          for (const put of putsOf({ register, inode }, before, now, known)) {
            puts.push({ ...put, key, inode, register, number: 0, hlc: 0 as Hlc })
          }
        }
      }
      after = page.at(-1)?.key
      yield puts
    }
  } finally {
    oldShards.close()
  }
}

function putsOf(
  key: RegisterKey,
  before: readonly Value<unknown>[],
  now: readonly Value<unknown>[],
  known: { readonly before: KnownOps; readonly now: KnownOps },
): Pick<FoldedPut, 'value' | 'base'>[] {
  const isShown = (value: Value<unknown>): boolean =>
    now.some(({ op, bytes }) => op === value.op || Buffer.compare(bytes, value.bytes) === 0)
  const lost = before.filter((value) => !isShown(value) && !known.now.has(key, value.op))
  if (lost.length === 0) return []
  const isReplaced = ({ op }: Value<unknown>): boolean =>
    !before.some((value) => value.op === op) && known.before.has(key, op)
  const base = now.filter(isReplaced).map(({ op }) => op)
  return lost.map(({ bytes }) => ({ value: bytes, base }))
}
