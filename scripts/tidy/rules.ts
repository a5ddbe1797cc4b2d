/**
 * The tables that tidy enforces: who may import whom, which files may touch the outside world, and
 * what must not stand anywhere. Tables only tighten: an adapter that no longer needs its permission
 * is reported.
 */

/** Files directly in src/ that everybody may import. They import only each other. */
export const LEAVES: ReadonlySet<string> = new Set([
  'bytes.ts',
  'disk-memory.ts',
  'disk.ts',
  'errors.ts',
  'finding.ts',
  'module-url.ts',
  'rpc.ts',
  'seal.ts',
  'sodium.ts',
  'system.ts',
  'types.ts',
])

/**
 * The units of src/ and what each may import beside the leaves and itself. A unit is a folder or a
 * file directly in src/; `vfs/fuse` is a unit of its own. An entry with a file name opens that one
 * file.
 */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  log: [],
  crdt: [],
  chunks: [],
  policy: [],
  declarations: [],
  swarm: ['log', 'chunks', 'policy'],
  vfs: ['crdt', 'chunks', 'policy'],
  'vfs/fuse': ['vfs/interface.ts', 'vfs/errno.ts'],
  'volume-interface.ts': ['log', 'crdt'],
  'volume-apply.ts': ['volume-interface.ts', 'log', 'crdt'],
  'volume.ts': ['volume-interface.ts', 'volume-apply.ts', 'log', 'crdt', 'chunks', 'policy'],
  snapshot: ['volume.ts', 'log', 'crdt'],
  daemon: ['volume.ts', 'snapshot', 'vfs', 'vfs/fuse', 'swarm', 'log', 'crdt', 'chunks', 'policy'],
  cli: ['daemon', 'policy'],
}

/** A way to touch the outside world. */
export type Effect =
  'clock' | 'chance' | 'timer' | 'webcrypto' | 'fs' | 'net' | 'process' | 'thread'

/** Calls that have an effect: what to look for in bare code, and what to use instead. */
export const CALLS: readonly { effect: Effect; pattern: RegExp; instead: string }[] = [
  {
    effect: 'clock',
    pattern: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(|\bprocess\.(?:hrtime|uptime)\b/,
    instead: 'the Clock port',
  },
  {
    effect: 'chance',
    pattern: /\bMath\.random\(|\brandom(?:Bytes|UUID|Int|Fill|FillSync)\(|\bgetRandomValues\(/,
    instead: 'the Random port',
  },
  {
    effect: 'timer',
    pattern: /(?<!\.)\bset(?:Timeout|Interval)\(|\bAbortSignal\.timeout\(/,
    instead: 'Clock.setTimer',
  },
  {
    effect: 'webcrypto',
    pattern: /\bcrypto\.subtle\b|\bwebcrypto\b/,
    instead: 'a synchronous call: results of a thread pool have no fixed order',
  },
]

/** Modules of Node that have an effect, and the names in them that have none. */
export const MODULES: Readonly<Record<string, { effect: Effect; pure: readonly string[] }>> = {
  'node:fs': { effect: 'fs', pure: ['constants'] },
  'node:fs/promises': { effect: 'fs', pure: [] },
  'node:net': { effect: 'net', pure: ['isIP', 'isIPv4', 'isIPv6'] },
  'node:tls': { effect: 'net', pure: [] },
  'node:dgram': { effect: 'net', pure: [] },
  'node:dns': { effect: 'net', pure: [] },
  'node:http': { effect: 'net', pure: [] },
  'node:https': { effect: 'net', pure: [] },
  'node:child_process': { effect: 'process', pure: [] },
  'node:worker_threads': { effect: 'thread', pure: [] },
  'node:timers': { effect: 'timer', pure: [] },
  'node:timers/promises': { effect: 'timer', pure: [] },
}

/** Packages that are native code, WebAssembly or network, each at home in the files named here. */
export const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  '@automerge/automerge': ['crdt/automerge.ts'],
  '@napi-rs/blake-hash': ['chunks/blake3.ts'],
  '@toondepauw/node-zstd': ['chunks/zstd.ts'],
  'fs-native-extensions': ['disk.ts', 'daemon/lock.ts'],
  'hash-wasm': ['chunks/blake3.ts'],
  hyperdht: ['swarm/hyperswarm.ts'],
  hyperswarm: ['swarm/hyperswarm.ts'],
  koffi: ['vfs/fuse/fusermount.ts'],
  lmdb: ['crdt/lmdb.ts'],
  'multicast-dns': ['swarm/mdns.ts'],
  'sodium-native': ['seal.ts', 'chunks/codec.ts'],
}

/**
 * The files that may touch the outside world: what each may do, and why it must. `daemon` and `cli`
 * are the process itself, so most of the rows are theirs; what decides has none.
 */
export const ADAPTERS: Readonly<Record<string, { may: readonly Effect[]; why: string }>> = {
  'system.ts': { may: ['clock', 'chance', 'timer'], why: 'the real Clock and Random' },
  'disk.ts': { may: ['fs'], why: 'the real Disk' },
  'chunks/gear.ts': { may: ['fs'], why: 'reads the WebAssembly beside it, once' },
  'chunks/thread.ts': { may: ['thread'], why: 'starts the store thread' },
  'chunks/thread-main.ts': { may: ['thread'], why: 'is the store thread' },
  'swarm/tls.ts': { may: ['net'], why: 'links over TLS' },
  'vfs/fuse/command.ts': { may: ['process'], why: 'runs mount(8), umount(8) and fusermount3' },
  'vfs/fuse/fusermount.ts': { may: ['fs'], why: 'closes the sockets of a descriptor on its way' },
  'vfs/fuse/groups.ts': { may: ['fs'], why: 'reads /proc/<pid>/status' },
  'vfs/fuse/mount.ts': { may: ['fs'], why: 'opens /dev/fuse and looks at mount points' },
  'vfs/fuse/unmounter.ts': { may: ['process'], why: 'the shell that unmounts' },
  'vfs/fuse/mountinfo.ts': { may: ['fs'], why: 'reads /proc/self/mountinfo' },
  'vfs/fuse/notify.ts': { may: ['thread'], why: 'starts the notification thread' },
  'vfs/fuse/notify-worker.ts': { may: ['fs', 'thread'], why: 'writes to /dev/fuse, in a thread' },
  'vfs/fuse/serve.ts': { may: ['fs'], why: 'closes /dev/fuse' },
  'vfs/fuse/transport.ts': { may: ['fs'], why: 'reads and answers /dev/fuse' },
  'daemon/check-run.ts': { may: ['process'], why: 'starts the checking process' },
  'daemon/client.ts': { may: ['net'], why: 'connects to the control socket' },
  'daemon/control.ts': { may: ['fs', 'net'], why: 'listens on the control socket' },
  'daemon/crdt-thread.ts': { may: ['thread'], why: 'is the crdt thread' },
  'daemon/fs-thread.ts': { may: ['thread'], why: 'is the fs thread' },
  'daemon/holder.ts': { may: ['fs'], why: 'checks owner and mode of the private directories' },
  'daemon/lock.ts': { may: ['fs'], why: "the home's lock file" },
  'daemon/logging.ts': { may: ['fs'], why: 'rotates the log file' },
  'daemon/mounts.ts': { may: ['fs', 'process'], why: 'asks each mount whether it is alive' },
  'daemon/version.ts': { may: ['fs'], why: 'reads package.json, once' },
  'daemon/volume-threads.ts': { may: ['thread'], why: 'starts the threads of a volume' },
  'daemon/worker-thread.ts': { may: ['thread'], why: 'what the threads have in common' },
  'cli/checks.ts': { may: ['fs', 'net'], why: 'doctor looks at this machine' },
  'cli/launch.ts': { may: ['fs', 'process'], why: 'starts the daemon in the background' },
  'cli/process.ts': { may: ['timer'], why: 'keeps the process alive while it waits' },
  'cli/commands/get.ts': { may: ['fs'], why: 'writes files of this machine' },
  'cli/commands/policy.ts': { may: ['fs'], why: 'judges and writes files of this machine' },
  'cli/commands/put.ts': { may: ['fs'], why: 'reads files of this machine' },
  'cli/commands/service.ts': { may: ['fs'], why: 'writes the systemd unit' },
}

/** Words that must not stand in code, tests or scripts. */
export const WORDS: readonly { pattern: RegExp; message: string }[] = [
  { pattern: /\bTO[D]O\b|\bFIX[M]E\b/, message: 'an open end: finish it, or open an issue' },
  {
    pattern: /\b(?:t|test|it|describe|suite)\.(?:skip|todo)\(/,
    message: 'a test that never runs: give the reason as `{ skip: reason }` where it is known',
  },
]

/** What must not stand in any file of the repository. */
export const EVERYWHERE: readonly { pattern: RegExp; message: string }[] = [
  { pattern: /(?<![\w.])\/(?:[w]ork|tmp\/[b]rief)\//, message: 'a path of one machine' },
  { pattern: /\b[s]hared\/design\.md/, message: 'a file that is not in the repository' },
  {
    pattern: /registry\.[n]pmjs\.org|registry\.[y]arnpkg\.com|npm\.pkg\.[g]ithub\.com/,
    message: 'the host of a package registry: whoever installs chooses it',
  },
  { pattern: /"[r]esolved": "http/, message: 'a download address: keep it out of the lock file' },
]

/** Longest file and line of code. */
export const FILE_LINES_MAX = 500
export const LINE_COLUMNS_MAX = 100

/** Error codes that no test names yet. Only ever lowered. */
export const UNTESTED_CODES_MAX = 4
