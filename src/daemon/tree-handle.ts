/** What commands ask about the tree, on the main thread: passed on to the fs thread. */
import type { Rpc } from '../rpc.ts'
import type { FsApi } from './fs-thread.ts'
import type { TreeHandle } from './interface.ts'

/** The tree of one volume, as its fs thread shows it. */
export function treeHandle(fs: () => Rpc<FsApi>): TreeHandle {
  return {
    conflicts: (path) => fs().call('conflicts', path),
    resolveConflict: (args) => fs().call('resolveConflict', args),
    resolveConflicts: (args) => fs().call('resolveConflicts', args),
    history: (path) => fs().call('history', path),
    restore: (options) => fs().call('restore', options),
    policyCheck: (path) => fs().call('policyCheck', path),
    policyExplain: (args) => fs().call('policyExplain', args),
  }
}
