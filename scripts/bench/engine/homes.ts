/**
 * Homes with many files, built once per run through the production code: every file has its chunk
 * in the packs. A real daemon then runs on them.
 */
import fs from 'node:fs'
import path from 'node:path'
import { LocalContents } from '../../../src/chunks/content.ts'
import { ChunkKeyRing } from '../../../src/chunks/keys.ts'
import { PackWriter } from '../../../src/chunks/packs.ts'
import { HomeFilesStore } from '../../../src/daemon/home-files.ts'
import { chunkKeysData, volumePaths } from '../../../src/daemon/threads.ts'
import { systemDisk } from '../../../src/disk.ts'
import { VolumeSecrets } from '../../../src/log/keys.ts'
import { systemRandom } from '../../../src/system.ts'
import type { ChunkAddress, InodeId } from '../../../src/types.ts'
import type { Device } from '../../../test/helpers/process.ts'
import { EngineDevice, nameOf } from './device.ts'

/** Edits in one group: what the publisher takes at most. */
const GROUP_COUNT = 2000
const FILE_BYTES = 100

/** The tree of a home: `directories` named by `directoryOf`, each with the same files. */
export interface HomeShape {
  readonly directories: number
  readonly filesEach: number
  /** Canonical policy of the root. */
  readonly policy?: string
}

/** Name of the directory with this index. */
export function directoryOf(index: number): string {
  return `directory-${index}`
}

function openFiles(home: string): { files: HomeFilesStore; directory: string } {
  const files = new HomeFilesStore({ home, disk: systemDisk, random: systemRandom })
  return { files, directory: files.volumeDirectories()[0] as string }
}

/** The one volume of a home, opened in this thread; its daemon must not run. */
export async function openHome(home: string) {
  const { files, directory } = openFiles(home)
  const secrets = VolumeSecrets.decode(files.secrets(directory))
  const { identity } = files.identity()
  const { id } = files.settings(directory)
  const device = await EngineDevice.open({
    directory,
    volume: id,
    secrets,
    identity,
    name: 'alice',
  })
  return { device, secrets, directory }
}

/** Stores contents of `FILE_BYTES` that differ. */
class Contents {
  readonly #store: PackWriter
  readonly #contents: LocalContents
  readonly #bytes = Buffer.alloc(FILE_BYTES, 'small ')
  #count = 0

  constructor(directory: string, secrets: VolumeSecrets) {
    const keys = new ChunkKeyRing(chunkKeysData(secrets))
    this.#store = PackWriter.open({ disk: systemDisk, directory })
    this.#contents = new LocalContents({ store: this.#store, keys })
  }

  async next(): Promise<ChunkAddress> {
    this.#bytes.writeDoubleLE(++this.#count)
    const { ref } = await this.#contents.build({
      base: undefined,
      sizeBytes: FILE_BYTES,
      extents: [{ offset: 0, bytes: this.#bytes }],
      mode: 'content-defined',
    })
    if (ref.type !== 'chunk') throw new Error(`a small file became ${ref.type}`)
    return ref.address
  }

  sync(): Promise<void> {
    return this.#contents.sync()
  }

  async close(): Promise<void> {
    await this.sync()
    await this.#store.close()
  }
}

async function fill(home: string, shape: HomeShape): Promise<void> {
  const { device, secrets, directory } = await openHome(home)
  const contents = new Contents(volumePaths(directory).packs, secrets)
  const { root } = device.overlay
  if (shape.policy !== undefined) device.setPolicy(root, shape.policy)
  let pending = 0
  const publish = async (): Promise<void> => {
    await contents.sync()
    await device.publish()
    pending = 0
  }
  for (let index = 0; index < shape.directories; index++) {
    const parent: InodeId = device.makeDirectory(root, directoryOf(index))
    for (let file = 0; file < shape.filesEach; file++) {
      device.makeFile(parent, nameOf(file), await contents.next(), FILE_BYTES)
      if (++pending >= GROUP_COUNT) await publish()
    }
  }
  await publish()
  await contents.close()
  await device.close()
}

/**
 * Gives `device` a home with a volume of this shape, which `up` mounts. With `keep` it is taken
 * from there, or left there for the next run. Returns the seconds that filling it took; undefined
 * when it was there.
 */
export async function buildHome(
  device: Device,
  shape: HomeShape,
  keep: string | undefined,
): Promise<number | undefined> {
  const suffix = shape.policy === undefined ? '' : '-policy'
  const name = `${shape.directories}x${shape.filesEach}${suffix}`
  const kept = keep === undefined ? undefined : path.join(keep, name)
  let seconds: number | undefined
  if (kept !== undefined && fs.existsSync(kept)) {
    fs.cpSync(kept, device.home, { recursive: true })
  } else {
    await device.run(['init', '--name', 'bench', '--device', device.name])
    await device.stop()
    const startMs = performance.now()
    await fill(device.home, shape)
    seconds = (performance.now() - startMs) / 1000
    if (kept !== undefined) fs.cpSync(device.home, kept, { recursive: true })
  }
  const { files, directory } = openFiles(device.home)
  files.saveSettings(directory, {
    ...files.settings(directory),
    mountpoint: device.mountpoint,
  })
  return seconds
}
