/** `ChunkCollection` between threads: its methods on the store's side, and the client of them. */
import type { Rpc } from '../rpc.ts'
import type {
  ChunkCollection,
  CollectionPlan,
  CollectionResult,
  Roots,
} from './collection-interface.ts'

/** Methods for an `Rpc`. */
export type CollectionMethods = ReturnType<typeof collectionMethods>

/** What one client may call. */
export function collectionMethods(collection: ChunkCollection) {
  return {
    gcBegin: (): Promise<void> => collection.begin(),
    gcMark: (roots: Roots[]): Promise<void> => collection.mark(roots),
    gcPlan: (): Promise<CollectionPlan> => collection.plan(),
    gcCondemn: (): Promise<number> => collection.condemn(),
    gcFree: (roots: Roots[]): Promise<void> => collection.free(roots),
    gcFinish: (): Promise<CollectionResult> => collection.finish(),
    gcEnd: (): Promise<void> => collection.end(),
  }
}

/** The collection of a store in another thread. */
export function collectionClient(rpc: Rpc<CollectionMethods>): ChunkCollection {
  return {
    begin: () => rpc.call('gcBegin'),
    mark: (roots) => rpc.call('gcMark', [...roots]),
    plan: () => rpc.call('gcPlan'),
    condemn: () => rpc.call('gcCondemn'),
    free: (roots) => rpc.call('gcFree', [...roots]),
    finish: () => rpc.call('gcFinish'),
    end: () => rpc.call('gcEnd'),
  }
}
