/**
 * The files of one home: the device's identity and, per volume, its secrets and settings.
 *
 *   identity                 version (1), 32 random bytes from which every key of this device
 *                            comes. 0600, *
 *   device.json              {"name": …}
 *   volumes/<16 hex>/secrets  the volume's secrets. 0600, *
 *   volumes/<16 hex>/volume.json  settings, below; `version` (1) speaks for the whole directory: a
 *                            program that does not know it touches nothing in there
 *   volumes/<16 hex>/{log,journal,index,packs}
 *
 * Files with * end with 8 bytes of the BLAKE2b digest of what precedes them: a flipped bit in a key
 * would otherwise be another key.
 *
 * A volume's directory is made whole under a temporary name and then renamed, so that a crash
 * leaves either all of it or nothing.
 */
import path from 'node:path'
import { isInodeId } from '../crdt/ids.ts'
import { WormholeError } from '../errors.ts'
import { identityFromSeed, type Identity } from '../log/keys.ts'
import { hash } from '../seal.ts'
import type { Disk, Random } from '../system.ts'
import type { KnownAddresses } from '../swarm/interface.ts'
import type { DeviceId, InodeId, VolumeId } from '../types.ts'
import type { OwnerChoice } from '../vfs/interface.ts'
import { isAbsenceState, type AbsenceState } from './absence.ts'

const VERSION = 1
const SEED_BYTES = 32
const CHECK_BYTES = 8

/** A wish of this device: what is at and below an inode stays here. */
export interface Pin {
  readonly inode: InodeId
  /** Where it was when it was pinned: its name when it is deleted. */
  readonly path: string
}

/** What `volume.json` holds. */
export interface VolumeSettings {
  readonly id: VolumeId
  readonly name: string
  /** Where `up` mounts it; undefined: nowhere. */
  readonly mountpoint?: string
  /** Whom its files belong to where it is mounted; undefined: as the user decides (`mounts.ts`). */
  readonly owner?: OwnerChoice
  /** Generation of the feed that this home writes. */
  readonly generation: number
  /** Where other devices were found. */
  readonly addresses: readonly KnownAddresses[]
  /** Port of the TLS listener in the last run, so that others find us again. */
  readonly tlsPort?: number
  /** Directories whose policy file may have mistakes. */
  readonly policySuspects?: readonly InodeId[]
  readonly pins?: readonly Pin[]
  /** When nobody was connected, and what was had then. */
  readonly absence?: AbsenceState
  /** Who let this device in. */
  readonly admittedBy?: DeviceId
  /** Revoked, and let in again; the log does not say so here yet. */
  readonly isReadmitted?: boolean
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

  /** This home's identity; made at the first call. @throws `KEY_MISSING` when it was lost. */
  identity(): { seed: Uint8Array; identity: Identity } {
    const file = path.join(this.home, 'identity')
    const stored = this.#readChecked(file)
    if (!stored && this.volumeDirectories().length > 0) throw damaged(file, 'it is missing')
    if (stored && stored[0] !== VERSION) throw unsupported(file, stored[0])
    if (stored && stored.length !== 1 + SEED_BYTES) throw damaged(file, 'its length is wrong')
    const seed = stored?.subarray(1) ?? this.#random.bytes(SEED_BYTES)
    if (!stored) this.#writeChecked(file, Buffer.concat([Buffer.from([VERSION]), seed]))
    return { seed, identity: identityFromSeed(seed) }
  }

  /** The device's name, if it was ever given one. */
  deviceName(): string | undefined {
    const name = this.#readJson(path.join(this.home, 'device.json'))?.['name']
    return typeof name === 'string' ? name : undefined
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

  /** Where the volumes of this home are to be mounted. Only reads: another process may serve it. */
  mountpoints(): string[] {
    const root = path.join(this.home, 'volumes')
    const names = this.#disk.listSync(root).filter((name) => !name.startsWith('.new-'))
    const places = names.map((name) => this.settings(path.join(root, name)).mountpoint)
    return places.filter((place) => place !== undefined)
  }

  settings(directory: string): VolumeSettings {
    const file = path.join(directory, 'volume.json')
    const settings = this.#readJson(file)
    if (!settings) throw new WormholeError('KEY_MISSING', `${file} is missing`)
    if (settings['version'] !== VERSION) throw unsupported(file, settings['version'])
    const { id, name, mountpoint, owner, generation, addresses, tlsPort, policySuspects } = settings
    const { pins, absence } = settings
    const isValid =
      typeof id === 'string' &&
      /^[0-9a-f]{64}$/.test(id) &&
      typeof name === 'string' &&
      ['string', 'undefined'].includes(typeof mountpoint) &&
      [undefined, 'numeric', 'mounter'].includes(owner as OwnerChoice | undefined) &&
      Number.isSafeInteger(generation) &&
      Array.isArray(addresses) &&
      addresses.every(isKnownAddresses) &&
      ['number', 'undefined'].includes(typeof tlsPort) &&
      ['string', 'undefined'].includes(typeof settings['admittedBy']) &&
      (policySuspects === undefined || isListOfTexts(policySuspects)) &&
      (pins === undefined || (Array.isArray(pins) && pins.every(isPin))) &&
      (absence === undefined || isAbsenceState(absence))
    if (!isValid) throw new WormholeError('IO_ERROR', `${file} is damaged: fields are wrong`)
    return settings as unknown as VolumeSettings
  }

  saveSettings(directory: string, settings: VolumeSettings): void {
    this.#writeJson(path.join(directory, 'volume.json'), { version: VERSION, ...settings })
  }

  secrets(directory: string): Buffer {
    const file = path.join(directory, 'secrets')
    const bytes = this.#readChecked(file)
    if (!bytes) throw damaged(file, 'it is missing')
    return bytes
  }

  /** Replaces the secrets of a volume: durable, and whole or not at all. */
  saveSecrets(directory: string, secrets: Uint8Array): void {
    this.#writeChecked(path.join(directory, 'secrets'), secrets)
  }

  /** Writes keys and settings anew, as a running daemon knows them. */
  restore(
    directory: string,
    known: {
      readonly seed: Uint8Array
      readonly secrets: Uint8Array
      readonly settings: VolumeSettings
    },
  ): void {
    const identity = Buffer.concat([Buffer.from([VERSION]), known.seed])
    this.#writeChecked(path.join(this.home, 'identity'), identity)
    this.saveSecrets(directory, known.secrets)
    this.saveSettings(directory, known.settings)
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
      this.#writeChecked(path.join(temporary, 'secrets'), secrets)
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

  #readJson(file: string): Record<string, unknown> | undefined {
    const bytes = this.#disk.readFileSync(file)
    if (!bytes) return undefined
    let value: unknown
    try {
      value = JSON.parse(bytes.toString('utf8'))
    } catch (error) {
      throw new WormholeError('IO_ERROR', `${file} is damaged: it is not JSON`, { cause: error })
    }
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
    throw new WormholeError('IO_ERROR', `${file} is damaged: it is no JSON object`)
  }

  #readChecked(file: string): Buffer | undefined {
    const bytes = this.#disk.readFileSync(file)
    if (!bytes) return undefined
    const body = bytes.subarray(0, Math.max(0, bytes.length - CHECK_BYTES))
    const isRight = body.length > 0 && checkOf(body).equals(bytes.subarray(body.length))
    if (!isRight) throw damaged(file, 'its checksum is wrong')
    return body
  }

  #writeChecked(file: string, body: Uint8Array): void {
    this.#disk.replaceFileSync(file, Buffer.concat([body, checkOf(body)]))
  }

  #writeJson(file: string, value: object): void {
    this.#disk.replaceFileSync(file, Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`))
  }
}

function checkOf(body: Uint8Array): Buffer {
  return hash(body).subarray(0, CHECK_BYTES)
}

function damaged(file: string, why: string): WormholeError {
  const advice = 'restore it from a backup, or move this home away and join the volume anew'
  return new WormholeError('KEY_MISSING', `${file} is damaged: ${why}; ${advice}`)
}

function unsupported(file: string, version: unknown): WormholeError {
  const message = `${file} has version ${String(version)}, this program knows version ${VERSION}`
  return new WormholeError('FORMAT_UNSUPPORTED', message)
}

function isListOfTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function isPin(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { inode, path } = value as Record<string, unknown>
  return typeof inode === 'string' && isInodeId(inode) && typeof path === 'string'
}

function isKnownAddresses(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { device, addresses } = value as Record<string, unknown>
  return typeof device === 'string' && isListOfTexts(addresses)
}
