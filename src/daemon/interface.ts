/**
 * What the daemon offers to the command line, as plain data: every result is what `--json` prints,
 * so fields are documented, stable and only ever added. Types only. Paths are text from the
 * volume's root (`/` first); times are ISO 8601 UTC strings; sizes are bytes.
 */
import type { PolicyValue } from '../policy/schema.ts'
import type { DeviceId, Role } from '../types.ts'
import type { Keep } from './conflict-choice.ts'
import type { OnProgress } from './frames.ts'
import type { PinHandle, SinceOfflineReport } from './offline-interface.ts'
import type { OwnerChoice } from '../vfs/interface.ts'

/** `wormhole status`. */
export interface StatusReport {
  home: string
  daemonPid: number
  version: string
  device: { id: string; name: string }
  volumes: VolumeStatus[]
}

/** One volume in `wormhole status`. */
export interface VolumeStatus {
  id: string
  name: string
  role: Role
  /** Who revoked this device and when; absent while it is a member. */
  revokedBy?: { name: string; at: string }
  /** Where it is mounted; undefined when it is not. */
  mountpoint: string | undefined
  /** Where it was mounted before and could not be mounted again, and why; else absent. */
  mountFailure?: { directory: string; code: string; message: string }
  fileCount: number
  /** Local edits not yet in the log. */
  pendingEdits: number
  /** Contents this device should have and has not yet. */
  missing: { files: number; bytes: number }
  stored: { chunks: number; bytes: number }
  /** The last collection of unused chunks since the daemon started; absent before the first. */
  collected?: { at: string; freed: ChunkTally; postponed?: string }
  /**
   * What was read again in the background since the daemon started, to find rot; absent before the
   * first. `isRepaired`, once something was damaged (a chunk, or the list of them): whether all is
   * whole again, as last looked at.
   */
  scrubbed?: { at: string; chunks: number; bytes: number; damaged: number; isRepaired?: boolean }
  peersConnected: number
  peersKnown: number
  conflicts: number
  /** What was done here since the daemon started, and what of it was published. */
  activity: ActivityReport
  /** What needs a person: code, text, what to do. Empty when all is well. */
  problems: { code: string; message: string; path?: string }[]
}

/** What is durable is not published: counts since the daemon started. */
export interface ActivityReport {
  /** Requests of the kernel to the mount, by FUSE operation. */
  requests: Record<string, number>
  /** Records appended to the journal, by type. */
  records: Record<string, number>
  /** Edits submitted, register puts that were left of them, and entries that hold these. */
  edits: number
  puts: number
  entries: number
}

/** `wormhole devices`. */
export interface DeviceReport {
  id: string
  name: string
  /** Undefined for a device that was revoked. */
  role: Role | undefined
  isSelf: boolean
  isConnected: boolean
  /** Newest entry we have of it. */
  lastEntryAt: string | undefined
  /** Whether what it last told it had equals what we have. */
  isInSync: boolean
  /** What it was labelled with when it was made; absent when it has none. */
  labels?: Readonly<Record<string, string>>
  /**
   * When it was revoked and by whom; `aside`: how many of its entries are kept and not applied.
   * Absent for members.
   */
  revoked?: { at: string; by: string; aside: number }
}

/** `wormhole revoke`. */
export interface RevokeReport {
  volume: string
  device: { id: string; name: string }
  /** Members that are left, this device included, and how many of them are admins. */
  members: number
  admins: number
}

/** `wormhole peers`. */
export interface PeerReport {
  id: string
  name: string
  routes: string[]
  address: string
  rttMs: number | undefined
  receiveBytesPerSecond: number | undefined
  sentBytes: number
  receivedBytes: number
  isInSync: boolean
}

/** `wormhole ls`. */
export interface FileReport {
  name: string
  path: string
  type: 'directory' | 'file' | 'symlink' | 'special'
  size: number
  mode: number
  uid: number
  gid: number
  mtime: string
  target?: string
}

/** `wormhole where`. */
export interface WhereReport {
  path: string
  size: number
  chunks: number
  holders: { device: string; name: string; isSelf: boolean; chunks: number; isComplete: boolean }[]
  /** Members that could not be asked. */
  unknown: string[]
  copies: number
}

/** `wormhole history`. */
export interface VersionReport {
  version: string
  time: string
  device: string
  size: number
  state: 'current' | 'copy' | 'past'
}

/** `wormhole conflicts`. */
export interface ConflictReport {
  path: string
  kind: 'content' | 'name' | 'cycle'
  strategy: 'copies' | 'last-writer-wins'
  /** The policy says to tell nobody: not counted by `status`, not shown by `--watch`. */
  isQuiet?: true
  versions: {
    version: string
    device: string
    /** Id of the device; absent where the log does not say. All devices report the same. */
    deviceId?: string
    time: string
    size: number
    /** Where this version can be read; absent when only in the history. */
    path?: string
    state: 'current' | 'copy' | 'past'
  }[]
}

/** One conflict of `wormhole conflicts resolve --all`: what is kept, or why it is left. */
export interface ResolutionReport extends ConflictReport {
  /** A number from 1 in `versions`. */
  keeps?: number | 'both'
  skipped?: string
}

/** What to restore, and as of when. */
export interface RestoreOptions {
  readonly path: string
  /** Start of a version's id; only of a file. */
  readonly version?: string
  readonly atMs?: number
  /** A directory of the volume to put copies into; default: the old place. */
  readonly to?: string
  readonly isPreview: boolean
}

/** `wormhole restore`. */
export interface RestoreReport {
  isPreview: boolean
  items: {
    path: string
    /** `restored`: deleted, back; `replaced`: got its old content; `copied`: to another place. */
    action: 'restored' | 'replaced' | 'copied' | 'skipped'
    size: number
    version?: string
    reason?: string
  }[]
}

/** `wormhole sync`. */
export interface SyncReport {
  isInSync: boolean
  members: { id: string; name: string; state: 'in-sync' | 'unreachable' | 'timeout' }[]
  missing: { files: number; bytes: number }
  /** What arrived in the last day and is not in the tree: refused, damaged or unknown entries. */
  refused: { code: string; message: string }[]
  seconds: number
}

/** `wormhole verify`, one per volume. */
export interface VerifyReport {
  volume: string
  name: string
  /** Nothing was found, or everything was repaired. */
  isClean: boolean
  /** Index and shards were built anew from the log. */
  isRebuilt: boolean
  findings: FindingReport[]
  /** How much was read. */
  bytes: number
  seconds: number
}

/** A number of chunks and their sealed bytes. */
export interface ChunkTally {
  chunks: number
  bytes: number
}

/** `wormhole gc`, one per volume. */
export interface GcReport {
  volume: string
  name: string
  isDryRun: boolean
  /** Why nothing, or not all of it, could be freed. */
  postponed?: string
  /**
   * What is needed, by the first that needs it: files, the losing versions of conflicts, replaced
   * and deleted versions, open files and changes that are not published.
   */
  referenced: {
    tree: ChunkTally
    conflicts: ChunkTally
    history: ChunkTally
    local: ChunkTally
  }
  /** Kept because it was stored, or stored again, during this run. */
  young: ChunkTally
  /** Needed by nothing. */
  unused: ChunkTally
  freed: ChunkTally
  packsRemoved: number
  /** Freed bytes whose space the file system does not take back. */
  bytesNotReturned: number
  seconds: number
}

/** One finding of `wormhole verify`. Fields that do not apply are absent. */
export interface FindingReport {
  part: 'home' | 'journal' | 'log' | 'index' | 'packs' | 'contents'
  code: string
  message: string
  /** The file on this disk, and where in it; of `contents`, the file in the volume. */
  path?: string
  offset?: number
  /** The feed, and which of its entries, both included. */
  feed?: string
  from?: number
  to?: number
  /** The chunk, and the files of the volume that use it. */
  address?: string
  files?: string[]
  consequence: string
  advice: string
  isRepaired: boolean
}

/** `wormhole policy explain`. */
export interface ExplainReport {
  path: string
  /** The device that the values are for; empty while its admission is not known here. */
  device: string
  values: {
    key: string
    /** In canonical form: sizes are bytes, or `unlimited`. */
    value: PolicyValue
    /** A policy file, or `default`. */
    from: string
    /** `unreadable`: the file might set it in a way that this version does not know. */
    reason: 'set' | 'default' | 'unreadable'
    line: number | undefined
    /** The label, or `default`, that decided within a table of devices. */
    label?: string
    /** What this version does not do of it. */
    pending?: string
  }[]
  /** What a person should know of the files that decide. */
  notes: { file: string; message: string }[]
}

/** `wormhole policy check`. */
export interface PolicyCheckReport {
  isValid: boolean
  problems: {
    file: string
    line: number
    column: number
    message: string
    /** The text that is wrong, what is allowed in its place, and what was probably meant. */
    found?: string
    allowed?: string
    meant?: string
  }[]
}

/** `wormhole init` and `join`. */
export interface CreatedReport {
  volume: string
  name: string
  device: string
  mountpoint: string | undefined
  /** Only from `init`. */
  invite?: string
  /** Only from `init`, shown once. */
  recoveryCode?: string
  /** Why it is not mounted, if it is not. */
  warning?: string
}

/** What the tree of a volume answers, by path. Implemented by `tree-handle.ts`. */
export interface TreeHandle {
  conflicts(path: string): Promise<ConflictReport[]>
  /** Settles a conflict; resolves with what is left of it. `keep` as in `conflict-choice.ts`. */
  resolveConflict(args: { path: string; keep: Keep }): Promise<ConflictReport | undefined>
  /** Settles all at and below a path, or only says how it would. */
  resolveConflicts(args: {
    path: string
    keep: Keep
    isPreview: boolean
  }): Promise<ResolutionReport[]>
  history(path: string): Promise<VersionReport[]>
  /** Brings back what was deleted or changed. */
  restore(options: RestoreOptions): Promise<RestoreReport>
  policyCheck(path: string): Promise<PolicyCheckReport>
  /** For this device, or the one with this name or id. */
  policyExplain(args: { path: string; device?: string }): Promise<ExplainReport>
}

/** What one volume does for the daemon's control socket. Implemented by `volume-host.ts`. */
export interface VolumeHandle {
  readonly id: string
  readonly name: string
  /** Where it is mounted now; absolute, without symbolic links. Undefined when it is not. */
  readonly mountpoint: string | undefined
  status(): Promise<VolumeStatus>
  devices(): Promise<DeviceReport[]>
  peers(): Promise<PeerReport[]>
  where(path: string): Promise<WhereReport>
  /** Calls `onProgress` a few times a second. */
  sync(
    options: { timeoutMs: number; require: number | undefined; signal: AbortSignal },
    onProgress: OnProgress,
  ): Promise<SyncReport>
  /** Calls `onProgress` a few times a second. */
  verify(
    options: { isRepair: boolean; isRebuild: boolean; signal: AbortSignal },
    onProgress: OnProgress,
  ): Promise<VerifyReport>
  /** Frees what nothing needs, after a `verify` or another `gc` that runs. */
  gc(options: { isDryRun: boolean; signal: AbortSignal }, onProgress: OnProgress): Promise<GcReport>
  readonly tree: TreeHandle
  readonly pins: PinHandle
  /** What others changed since this device was last without anybody; at most `countMax` of it. */
  sinceOffline(options: { countMax: number }): Promise<SinceOfflineReport>
  /** A directory's entries, or the one file. */
  list(path: string): Promise<FileReport[]>
  /** The bytes of a file, or of one of its versions, in pieces. */
  read(path: string, version: string | undefined, signal: AbortSignal): AsyncIterable<Uint8Array>
  /** Creates or replaces a file, then publishes it. The replacement appears whole or not at all. */
  write(
    path: string,
    pieces: AsyncIterable<Uint8Array>,
    options: { mode?: number },
  ): Promise<FileReport>
  makeDirectory(path: string): Promise<void>
  /** Removes a file, or a directory with everything in it when `isRecursive`. */
  remove(path: string, isRecursive: boolean): Promise<void>
  createInvite(options: { role: Role; days: number; uses: number }): Promise<{ invite: string }>
  /**
   * An invite that makes its one user an admin, from the code that `init` printed: for when the
   * only admin device is lost. Works on any member. @throws {WormholeError} `BAD_ARGUMENT`.
   */
  recoveryInvite(code: string): Promise<{ invite: string }>
  /**
   * Revokes a member and changes the keys. Resolves when that is in the log and this device seals
   * with the new ones. @throws {WormholeError} `NOT_PERMITTED`, `NOT_A_MEMBER`, `BAD_ARGUMENT`.
   */
  revoke(device: DeviceId): Promise<RevokeReport>
  /** `owner` is kept for later mounts; without it the one chosen before counts. */
  mount(directory: string, owner?: OwnerChoice): Promise<{ mountpoint: string }>
  /** Mounts it where it was mounted before. `status` tells a failure; only a bug is thrown. */
  restoreMount(): Promise<void>
  unmount(): Promise<void>
  close(): Promise<void>
}

/** The volumes of one home. Implemented by `daemon/home.ts`. */
export interface HomeHandle {
  readonly home: string
  readonly device: { id: string; name: string }
  volumes(): VolumeHandle[]
  create(options: {
    name: string
    mount: string | undefined
    owner: OwnerChoice | undefined
    deviceName: string | undefined
    labels: Record<string, string>
  }): Promise<CreatedReport>
  join(
    options: {
      invite: string
      mount: string | undefined
      owner: OwnerChoice | undefined
      deviceName: string | undefined
      labels: Record<string, string>
      signal: AbortSignal
    },
    onProgress: OnProgress,
  ): Promise<CreatedReport>
  close(): Promise<void>
}
