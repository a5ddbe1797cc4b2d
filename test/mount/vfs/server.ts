/**
 * The real file system over the real tree and chunks, on a memory index and journal, mounted: what
 * the kernel makes of it, without log, threads and network. Run with a mount point; ends on
 * SIGTERM.
 */
import { ChunkKeyRing } from '../../../src/chunks/keys.ts'
import { LocalContents } from '../../../src/chunks/content.ts'
import { MemoryStore } from '../../../src/chunks/memory.ts'
import { MemoryRowStore } from '../../../src/crdt/memory.ts'
import { Overlay } from '../../../src/crdt/overlay.ts'
import { TreeWriter } from '../../../src/crdt/writer.ts'
import { HybridClock, systemClock, systemRandom } from '../../../src/system.ts'
import type { ActorId, DeviceId } from '../../../src/types.ts'
import { serveMount } from '../../../src/vfs/fuse/serve.ts'
import { Vfs } from '../../../src/vfs/vfs.ts'
import { MemoryJournal } from '../../helpers/vfs-ports.ts'

const directory = process.argv[3] as string
const rows = new MemoryRowStore()
const strategyOf = (): 'copies' => 'copies'
const actor = 'a1'.repeat(16) as ActorId
const device = 'd1'.repeat(32) as DeviceId
const writer = new TreeWriter({ rows, self: { actor, device, deviceName: 'alice' }, strategyOf })
const hybrid = new HybridClock(systemClock)
const keys = new ChunkKeyRing({
  dedup: Buffer.alloc(32, 1),
  currentGeneration: 0,
  contents: new Map([[0, Buffer.alloc(32, 2)]]),
})
const vfs: Vfs = await Vfs.open({
  overlay: new Overlay({
    rows,
    random: systemRandom,
    tick: () => hybrid.tick(),
    nowNs: () => systemClock.nowNs(),
    strategyOf,
  }),
  journal: new MemoryJournal(),
  committer: {
    submit: async (edits) => {
      await Promise.resolve()
      const { coveredTo } = writer.fold(edits)
      vfs.applyDelta(writer.commit(new Map()), coveredTo)
      return { coveredTo }
    },
  },
  contents: new LocalContents({ store: new MemoryStore(), keys }),
  clock: systemClock,
  random: systemRandom,
  role: () => 'writer',
  coveredTo: 0,
  policyOf: () => ({ policy: '' }),
  space: () => ({ freeBytes: 1e10, totalBytes: 2e10 }),
  onProblem: (problem) => console.error('problem', problem),
})
const mount = await serveMount({
  directory,
  fsName: 'vfs-test',
  fileSystem: vfs.fileSystem,
  clock: systemClock,
  random: systemRandom,
  notifyWorkerUrl: new URL('../fuse/boot.mjs', import.meta.url),
  onBug: (error, operation) => console.error('bug', operation, error),
})
vfs.setNotifier(mount.notifier)
process.on('SIGTERM', () => {
  void mount
    .close({ graceMs: 0 })
    .then(() => vfs.close())
    .then(() => process.exit(0))
})
console.log('mounted')
