/** What a collection asks the threads of a simulated daemon. */
import type { ChunkCollection, Roots } from '../../src/chunks/collection-interface.ts'
import type { LaterRoots, RootsBegun, RootsStep } from '../../src/daemon/gc-roots.ts'
import type { GcPorts } from '../../src/daemon/gc.ts'
import type { Rpc } from '../../src/rpc.ts'
import type { Clock } from '../../src/system.ts'

/** As `daemon/care-runs.ts`. */
export function gcPorts(
  { crdt, fs }: { readonly crdt: Rpc; readonly fs: Rpc },
  clock: Clock,
  collection: ChunkCollection,
): GcPorts {
  return {
    clock,
    collection,
    roots: {
      begin: () => crdt.call('gcBegin') as Promise<RootsBegun>,
      next: () => crdt.call('gcNext') as Promise<RootsStep>,
      later: () => crdt.call('gcLater') as Promise<LaterRoots>,
      end: () => crdt.call('gcEnd') as Promise<void>,
    },
    held: () => fs.call('gcHeld') as Promise<void>,
    references: () => fs.call('gcReferences') as Promise<Roots[]>,
  }
}
