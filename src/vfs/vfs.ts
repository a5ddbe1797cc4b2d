/** The file system of one volume on one device: composition of nodes, open files and publisher. */
import type { TreeDelta } from '../crdt/interface.ts'
import type { FileSystem, KernelNotifier, PathApi, VfsOptions } from './interface.ts'

/** The file system of one volume. Owned by the fs thread. */
export declare class Vfs {
  /**
   * Replays the journal and starts. What the journal holds of closed or crashed files is built and
   * published in the background.
   */
  static open(options: VfsOptions): Promise<Vfs>
  /** For the kernel session. */
  readonly fileSystem: FileSystem
  /** For the command line. */
  readonly paths: PathApi
  /** Edits journalled here and not yet in the log. */
  readonly pendingEdits: number
  /** Where kernel caches are told about changes; undefined while nothing is mounted. */
  setNotifier(notifier: KernelNotifier | undefined): void
  /** After the crdt thread committed a group, own or remote: re-reads and notifies. */
  applyDelta(delta: TreeDelta): void
  /** Publishes the edits journalled so far, without building files. Before a remote group. */
  submitPending(): Promise<void>
  /** Publishes everything, files that were written included. For `sync` and shutdown. */
  drain(): Promise<void>
  /** Flushes, publishes what is pending within `timeoutMs` (default 10 s), closes the journal. */
  close(options?: { readonly timeoutMs?: number }): Promise<void>
}
