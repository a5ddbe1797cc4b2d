/**
 * Planted bugs: each breaks one promise of the product, from outside, at a port. A simulator that
 * does not find them finds nothing.
 */
import type { ContentStore } from '../../src/chunks/interface.ts'
import type { Edit, Put, ShardChange } from '../../src/crdt/interface.ts'
import type { Folded, TreeWriter } from '../../src/crdt/writer.ts'
import type { LogPort } from '../../src/swarm/interface.ts'
import type { Disk, DiskFile } from '../../src/system.ts'
import type { Plant } from './daemon.ts'
import type { Checker } from './failure.ts'

/** What a planted bug is, and who must find it. */
interface Canary {
  readonly says: string
  /** Any of these is right: one broken promise may show in several ways. */
  readonly foundBy: readonly Checker[]
  /** A seed that finds it, in 120 steps; `npm run sim -- --canary` shows others. */
  readonly from: number
  readonly plant: () => Plant
}

/** A tree writer with some methods replaced; the rest goes to the real one. */
function over(tree: TreeWriter, methods: Partial<TreeWriter>): TreeWriter {
  return new Proxy(tree, {
    get: (target, key) => {
      const own = Reflect.get(methods, key) as unknown
      if (own !== undefined) return own
      const value = Reflect.get(target, key, target) as unknown
      return typeof value === 'function' ? (value as () => unknown).bind(target) : value
    },
  })
}

/** A disk whose syncs of some files do nothing. */
function unsynced(disk: Disk, isIt: (path: string) => boolean): Disk {
  const dull = (file: DiskFile): DiskFile =>
    new Proxy(file, {
      get: (target, key) => {
        if (key === 'sync') return () => Promise.resolve()
        if (key === 'syncSync') return () => undefined
        const value = Reflect.get(target, key, target) as unknown
        return typeof value === 'function' ? (value as () => unknown).bind(target) : value
      },
    })
  return new Proxy(disk, {
    get: (target, key) => {
      if (key === 'openSync') {
        return (path: string, options: { create?: boolean }) => {
          const file = target.openSync(path, options)
          return isIt(path) ? dull(file) : file
        }
      }
      const value = Reflect.get(target, key, target) as unknown
      return typeof value === 'function' ? (value as () => unknown).bind(target) : value
    },
  })
}

/** Puts that replace whatever is in the register now, known to their author or not. */
function withoutBases(tree: TreeWriter, edits: readonly Edit[]): Edit[] {
  const { layer } = tree.inspect()
  const blind = (put: Put): Put => {
    const values = layer.inode(put.inode)?.[put.register] ?? []
    return { ...put, base: [...put.base, ...values.map(({ op }) => op)] }
  }
  return edits.map((edit) => ({ ...edit, puts: edit.puts.map(blind) }))
}

function foldOneByOne(tree: TreeWriter, edits: readonly Edit[]): Folded {
  let all: Folded | undefined
  for (const edit of edits) {
    const folded = tree.fold([edit])
    const changes = [...(all?.changes ?? []), ...folded.changes]
    all = { ...folded, changes, hlc: Math.max(all?.hlc ?? 0, folded.hlc) as Folded['hlc'] }
  }
  return all ?? tree.fold([])
}

/** Holds the changes of one foreign entry back until three more have been applied. */
function impatient(tree: TreeWriter): Partial<TreeWriter> {
  let held: readonly ShardChange[] | undefined
  let count = 0
  const letGo = (): void => {
    if (held) tree.apply(held)
    held = undefined
    count = 0
  }
  return {
    isComplete: () => true,
    check: (changes, author) => {
      const shards = new Set(held?.map(({ shard }) => shard))
      if (changes.some(({ shard }) => shards.has(shard))) letGo()
      return tree.check(changes, author)
    },
    fold: (edits) => {
      letGo()
      return tree.fold(edits)
    },
    apply: (changes, own) => {
      if (own) letGo()
      if (own || held) {
        tree.apply(changes, own)
        if (++count >= 3) letGo()
      } else held = changes
    },
  }
}

/** Every planted bug, by name. */
export const CANARIES = {
  'journal-not-synced': {
    says: 'fsync of the journal does nothing',
    foundBy: ['durability', 'conflict'],
    from: 13,
    plant: () => ({ disk: (disk) => unsynced(disk, (path) => path.startsWith('/journal')) }),
  },
  'chunks-not-synced': {
    says: 'chunks are named before they are durable',
    foundBy: ['liveness', 'integrity', 'conflict', 'durability', 'bug'],
    from: 13,
    plant: () => ({ disk: (disk) => unsynced(disk, (path) => path.startsWith('/packs')) }),
  },
  'no-bases': {
    says: 'publishing replaces what is there, seen or not',
    foundBy: ['conflict'],
    from: 1,
    plant: () => ({
      tree: (tree) => over(tree, { fold: (edits) => tree.fold(withoutBases(tree, edits)) }),
    }),
  },
  'forgotten-bases': {
    says: 'publishing replaces nothing, known or not',
    foundBy: ['conflict'],
    from: 1,
    plant: () => ({
      tree: (tree) =>
        over(tree, {
          fold: (edits) => {
            const isContent = ({ register }: Put): boolean => register === 'C'
            const bare = (put: Put): Put => (isContent(put) ? { ...put, base: [] } : put)
            return tree.fold(edits.map((edit) => ({ ...edit, puts: edit.puts.map(bare) })))
          },
        }),
    }),
  },
  'lost-entry': {
    says: 'one in eight remote entries is counted as applied and is not',
    foundBy: ['convergence', 'causality', 'conflict'],
    from: 2,
    plant: () => {
      let count = 0
      return {
        tree: (tree) =>
          over(tree, {
            // Otherwise what follows a lost change only waits: that is found, but too easily.
            isComplete: () => true,
            apply: (changes, own) => {
              if (own || ++count % 8 > 0) tree.apply(changes, own)
            },
          }),
      }
    },
  },
  'no-frontier': {
    says: 'remote entries show before what their authors had seen',
    foundBy: ['causality', 'convergence', 'durability', 'conflict'],
    from: 1,
    plant: () => ({ tree: (tree) => over(tree, impatient(tree)) }),
  },
  'wrong-bytes': {
    says: 'now and then a read gives a flipped bit',
    foundBy: ['integrity'],
    from: 1,
    plant: () => ({ contents: flipping }),
  },
  'silent-log': {
    says: 'a device never takes what others wrote after its tenth entry',
    foundBy: ['liveness', 'convergence'],
    from: 1,
    plant: () => ({ log: deafAfter(10) }),
  },
  'nothing-cancels': {
    says: 'files that are gone at once are published all the same',
    foundBy: ['short-lived', 'conflict'],
    from: 1,
    plant: () => ({
      tree: (tree) => over(tree, { fold: (edits) => foldOneByOne(tree, edits) }),
    }),
  },
  'no-answer': {
    says: 'nobody answers a revocation',
    foundBy: ['revocation', 'liveness'],
    from: 2,
    plant: () => ({
      turns: (turns) => Object.assign(turns, { answer: () => undefined, isDue: () => false }),
    }),
  },
  'deaf-to-secrets': {
    says: 'who applies a revocation goes on to seal with the old keys',
    foundBy: ['revocation'],
    from: 1,
    plant: () => ({ turns: (turns) => Object.assign(turns, { choose: () => false }) }),
  },
} as const satisfies Record<string, Canary>

/** A planted bug. */
export type CanaryName = keyof typeof CANARIES

function flipping(contents: ContentStore): ContentStore {
  let count = 0
  return new Proxy(contents, {
    get: (target, key) => {
      if (key !== 'read') {
        const value = Reflect.get(target, key, target) as unknown
        return typeof value === 'function' ? (value as () => unknown).bind(target) : value
      }
      return (...args: Parameters<ContentStore['read']>) => {
        const pieces = target.read(...args)
        if (!Array.isArray(pieces) || ++count % 20 > 0) return pieces
        const copies = pieces.map((piece) => Buffer.from(piece))
        const first = copies[0]
        if (first && first.length > 0) first[0] = (first[0] as number) ^ 4
        return copies
      }
    },
  })
}

function deafAfter(limit: number): (log: LogPort) => LogPort {
  return (log) => {
    let count = 0
    return {
      ...log,
      receive: async (feed, frames) => {
        return ++count <= limit ? log.receive(feed, frames) : 'stored'
      },
    }
  }
}
