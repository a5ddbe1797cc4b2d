/** What `verify.ts` needs, over the threads, the swarm and the files of one volume. */
import path from 'node:path'
import { systemDisk } from '../disk.ts'
import { errorToData, WormholeError } from '../errors.ts'
import type { Finding } from '../finding.ts'
import type { Swarm } from '../swarm/swarm.ts'
import { systemClock } from '../system.ts'
import type { ChunkAddress, InodeId } from '../types.ts'
import { runCheck } from './check-run.ts'
import type { FetchDuty } from './fetch-duty.ts'
import type { OnProgress } from './frames.ts'
import type { HomeFilesStore, VolumeSettings } from './home-files.ts'
import { fetchMissing } from './sync-run.ts'
import type { ThreadData } from './threads.ts'
import type { VerifyPorts } from './verify.ts'
import type { VolumeThreads } from './volume-threads.ts'

/** The parts of a running volume. */
export interface CareParts {
  readonly directory: string
  readonly files: HomeFilesStore
  readonly data: ThreadData
  readonly settings: VolumeSettings
  readonly threads: VolumeThreads
  readonly swarm: Swarm
  readonly duty: FetchDuty
  /** Stops the volume, lets `between` work on its files, and starts it again as it was. */
  restart(between: () => void): Promise<void>
}

/** The ports of a verification. `parts` is asked anew each time: a rebuild starts new threads. */
export function carePorts(parts: () => CareParts): VerifyPorts {
  return {
    clock: systemClock,
    check: async (options) => {
      const { data, threads } = parts()
      const labels = await threads.fs.call('labels', undefined)
      const pins = await threads.fs.call('pinned', undefined)
      const { parts: only } = options
      await runCheck({ data, labels, pins, ...(only ? { parts: only } : {}) }, options)
    },
    checkHome: () => checkHome(parts()),
    restoreHome: () => {
      const { directory, files, data, settings } = parts()
      files.restore(directory, { seed: data.seed, secrets: data.secrets, settings })
    },
    drain: () => parts().threads.fs.call('drain', undefined),
    repairLog: (paths) => {
      const runs = [...new Set(paths.map((file) => path.basename(path.dirname(file))))]
      return parts().threads.crdt.call('salvage', runs)
    },
    missingEntries: () => parts().threads.crdt.call('missingEntries', { isAll: false }),
    checkChunks: (addresses) => parts().threads.chunks.check(addresses as ChunkAddress[]),
    hasChunk: (address) => parts().threads.chunks.has(address as ChunkAddress),
    rewriteChunkIndex: () => parts().threads.chunks.rewriteIndex(),
    wantAgain: (contents: readonly { inode: InodeId; version: string }[]) =>
      parts().threads.crdt.call('wantAgain', [...contents]),
    fetch: async ({ timeoutMs, signal }) => {
      const { duty } = parts()
      const deadlineMs = systemClock.monotonicMs() + timeoutMs
      await fetchMissing({ clock: systemClock, duty }, deadlineMs, signal)
    },
    askPeers: async ({ timeoutMs, signal }) => {
      const answers = await parts().swarm.syncRound({ timeoutMs, signal })
      return answers.filter(({ state }) => state !== 'unreachable').length
    },
    rebuild: ({ onProgress }) => rebuild(parts(), onProgress),
  }
}

function checkHome({ directory, files }: CareParts): Finding[] {
  const findings: Finding[] = []
  const look = (name: string, read: () => unknown): void => {
    try {
      read()
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      const { code, message } = errorToData(error)
      findings.push({ part: 'home', code, message, path: name })
    }
  }
  look(path.join(files.home, 'identity'), () => files.identity())
  look(path.join(directory, 'secrets'), () => files.secrets(directory))
  look(path.join(directory, 'volume.json'), () => files.settings(directory))
  return findings
}

/**
 * Builds the index anew from the log. The old one is kept until the volume runs on the new one. A
 * process that dies meanwhile leaves a part of the new one, which the next start completes.
 *
 * @throws {WormholeError} `FEED_CORRUPT` when the log lacks entries: the index knows more than it.
 */
async function rebuild(parts: CareParts, onProgress: OnProgress): Promise<void> {
  const missing = await parts.threads.crdt.call('missingEntries', { isAll: true })
  if (missing.length > 0) {
    throw new WormholeError(
      'FEED_CORRUPT',
      'the log lacks entries that the index shows, so the index is not thrown away; run ' +
        '`wormhole verify --repair` while a device that has them is connected',
    )
  }
  onProgress({ text: 'building the index from the log', done: 0, total: 0 })
  const { index } = parts.data.paths
  const old = `${index}.old`
  try {
    await parts.restart(() => {
      systemDisk.removeSync(old)
      systemDisk.renameSync(index, old)
    })
  } catch (error) {
    await parts.restart(() => {
      systemDisk.removeSync(index)
      systemDisk.renameSync(old, index)
    })
    throw error
  }
  systemDisk.removeSync(old)
}
