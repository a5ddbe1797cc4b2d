/**
 * The files of one home: the device's identity and, per volume, its secrets and settings.
 *
 *   identity                 32 random bytes: every key of this device comes from them. 0600
 *   device.json              {"name": …}
 *   volumes/<16 hex>/secrets  the volume's secrets. 0600
 *   volumes/<16 hex>/volume.json  settings, below
 *   volumes/<16 hex>/{log,journal,index,packs}
 *
 * A volume's directory is made whole under a temporary name and then renamed, so that a crash
 * leaves either all of it or nothing.
 */
import path from 'node:path'
import { WormholeError } from '../errors.ts'
import { identityFromSeed, type Identity } from '../log/keys.ts'
import type { Disk, Random } from '../system.ts'
import type { KnownAddresses } from '../swarm/interface.ts'
import type { InodeId, VolumeId } from '../types.ts'

/** What `volume.json` holds. */
export interface VolumeSettings {
  readonly id: VolumeId
  readonly name: string
  /** Where `up` mounts it; undefined: nowhere. */
  readonly mountpoint?: string
  /** Generation of the feed that this home writes. */
  readonly generation: number
  /** Where other devices were found. */
  readonly addresses: readonly KnownAddresses[]
  /** Port of the TLS listener in the last run, so that others find us again. */
  readonly tlsPort?: number
  /** Directories whose policy file may have mistakes. */
  readonly policySuspects?: readonly InodeId[]
}

/** Reads and writes the files of one home. */
export class HomeFilesStore {
  readonly home: string
  readonly #disk: Disk
  readonly #random: Random

  constructor(options: { home: string; disk: Disk; random: Random }) {
    this.home = options.home
    this.#disk = options.disk
    this.#random = options.random
  }

  /** This home's identity; made at the first call. */
  identity(): { seed: Uint8Array; identity: Identity } {
    const file = path.join(this.home, 'identity')
    let seed: Uint8Array | undefined = this.#disk.readFileSync(file)
    if (seed && seed.length !== 32) {
      throw new WormholeError(
        'KEY_MISSING',
        `${file} is damaged: it has ${seed.length} bytes, not 32; restore it from a backup, or ` +
          'move this home away and join the volume anew',
      )
    }
    if (!seed) {
      seed = this.#random.bytes(32)
      this.#disk.replaceFileSync(file, seed)
    }
    return { seed, identity: identityFromSeed(seed) }
  }

  /** The device's name, if it was ever given one. */
  deviceName(): string | undefined {
    return this.#readJson<{ name: string }>(path.join(this.home, 'device.json'))?.name
  }

  setDeviceName(name: string): void {
    this.#writeJson(path.join(this.home, 'device.json'), { name })
  }

  /** Directories of the volumes of this home. Leftovers of interrupted creations are removed. */
  volumeDirectories(): string[] {
    const root = path.join(this.home, 'volumes')
    const directories: string[] = []
    for (const name of this.#disk.listSync(root)) {
      if (name.startsWith('.new-')) this.#disk.removeSync(path.join(root, name))
      else directories.push(path.join(root, name))
    }
    return directories
  }

  settings(directory: string): VolumeSettings {
    const file = path.join(directory, 'volume.json')
    const settings = this.#readJson<VolumeSettings>(file)
    if (!settings) throw new WormholeError('KEY_MISSING', `${file} is missing`)
    return settings
  }

  saveSettings(directory: string, settings: VolumeSettings): void {
    this.#writeJson(path.join(directory, 'volume.json'), settings)
  }

  secrets(directory: string): Buffer {
    const file = path.join(directory, 'secrets')
    const bytes = this.#disk.readFileSync(file)
    if (!bytes) throw new WormholeError('KEY_MISSING', `${file} is missing`)
    return bytes
  }

  /** Makes a volume's directory: `fill` may add to it before it gets its name. */
  async createVolume(
    settings: VolumeSettings,
    secrets: Uint8Array,
    fill: (directory: string) => Promise<void>,
  ): Promise<string> {
    const root = path.join(this.home, 'volumes')
    const directory = path.join(root, settings.id.slice(0, 16))
    if (this.#disk.readFileSync(path.join(directory, 'volume.json'))) {
      throw new WormholeError('ALREADY_EXISTS', `this device already has volume ${settings.id}`)
    }
    const tag = Buffer.from(this.#random.bytes(6)).toString('hex')
    const temporary = path.join(root, `.new-${tag}`)
    this.#disk.makeDirectorySync(temporary)
    try {
      this.#disk.replaceFileSync(path.join(temporary, 'secrets'), secrets)
      this.saveSettings(temporary, settings)
      await fill(temporary)
      this.#disk.renameSync(temporary, directory)
      this.#disk.syncDirectorySync(root)
    } catch (error) {
      this.#disk.removeSync(temporary)
      throw error
    }
    return directory
  }

  #readJson<T>(file: string): T | undefined {
    const bytes = this.#disk.readFileSync(file)
    if (!bytes) return undefined
    try {
      return JSON.parse(bytes.toString('utf8')) as T
    } catch (error) {
      throw new WormholeError('IO_ERROR', `${file} is damaged: it is not JSON`, { cause: error })
    }
  }

  #writeJson(file: string, value: object): void {
    this.#disk.replaceFileSync(file, Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`))
  }
}
