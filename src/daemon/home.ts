/** The volumes of one home: opening, creating and joining. Lives on the main thread. */
import os from 'node:os'
import path from 'node:path'
import { WormholeError, errorToData, hasCode } from '../errors.ts'
import { sealEntry } from '../log/entry.ts'
import { DiskFeedStore } from '../log/feeds.ts'
import { EMPTY_FRONTIER } from '../log/frontier.ts'
import { decodeInvite } from '../log/invite.ts'
import { encodeRecoveryCode, VolumeSecrets, type Identity } from '../log/keys.ts'
import { admissionMessage } from '../log/membership.ts'
import { sign, signingKeys, unsealFromBox } from '../seal.ts'
import { HybridClock } from '../system.ts'
import type { Admission, NetworkOptions } from '../swarm/interface.ts'
import { feedId, type VolumeId } from '../types.ts'
import type { HomeOptions, OpenHome } from './daemon.ts'
import type { OnProgress } from './frames.ts'
import { HomeFilesStore, type VolumeSettings } from './home-files.ts'
import type { CreatedReport, HomeHandle, VolumeHandle } from './interface.ts'
import { volumePaths } from './threads.ts'
import { VolumeHost } from './volume-host.ts'
import type { OwnerChoice } from '../vfs/interface.ts'

const ADMISSION_TIMEOUT_MS = 60_000
const INVITE_DAYS = 7
const INVITE_USES = 10

class Home implements HomeHandle {
  readonly home: string
  readonly #options: HomeOptions
  readonly #files: HomeFilesStore
  readonly #seed: Uint8Array
  readonly #identity: Identity
  readonly #hosts: VolumeHost[] = []
  #deviceName: string

  constructor(options: HomeOptions) {
    this.home = options.home
    this.#options = options
    this.#files = new HomeFilesStore(options)
    const { seed, identity } = this.#files.identity()
    this.#seed = seed
    this.#identity = identity
    this.#deviceName = this.#files.deviceName() ?? os.hostname()
  }

  get device(): { id: string; name: string } {
    return { id: this.#identity.device, name: this.#deviceName }
  }

  volumes(): VolumeHandle[] {
    return [...this.#hosts]
  }

  /** Opens what is there. One volume that cannot open does not stop the others. */
  async openAll(): Promise<void> {
    for (const directory of this.#files.volumeDirectories()) {
      try {
        const host = await this.#open(directory)
        await host.restoreMount()
      } catch (error) {
        this.#options.logger.error({ directory, error: errorToData(error) }, 'volume did not open')
        throw error
      }
    }
  }

  async create(options: {
    name: string
    mount: string | undefined
    owner: OwnerChoice | undefined
    deviceName: string | undefined
    labels: Record<string, string>
  }): Promise<CreatedReport> {
    const { random, clock, disk } = this.#options
    await this.#checkMount(options.mount)
    this.#name(options.deviceName)
    const secrets = VolumeSecrets.create(random)
    const recoverySeed = random.bytes(32)
    const feed = feedId(this.#identity.device, 0)
    const frame = sealEntry(
      {
        control: [
          {
            type: 'genesis',
            name: options.name,
            createdMs: clock.nowMs(),
            device: this.#identity.device,
            deviceName: this.#deviceName,
            boxKey: this.#identity.box.publicKey,
            recoveryKey: signingKeys(recoverySeed).publicKey,
            salt: random.bytes(16),
          },
        ],
        tree: undefined,
        frontier: EMPTY_FRONTIER,
        hlc: new HybridClock(clock).tick(),
      },
      { volume: undefined, feed, head: undefined, previousFrontier: EMPTY_FRONTIER },
      { keys: secrets.logKeys(), signing: this.#identity.signing, random },
    )
    const volume = frame.hash as VolumeId
    const settings: VolumeSettings = {
      id: volume,
      name: options.name,
      generation: 0,
      addresses: [],
    }
    const directory = await this.#files.createVolume(settings, secrets.encode(), async (place) => {
      const feeds = DiskFeedStore.open({ disk, random, volume, directory: volumePaths(place).log })
      await feeds.append([frame])
      await feeds.close()
    })
    const host = await this.#open(directory)
    await this.#label(host, options.labels)
    const { invite } = await host.createInvite({
      role: 'writer',
      days: INVITE_DAYS,
      uses: INVITE_USES,
    })
    return {
      ...(await this.#created(host, options)),
      invite,
      recoveryCode: encodeRecoveryCode(recoverySeed),
    }
  }

  async join(
    options: {
      invite: string
      mount: string | undefined
      owner: OwnerChoice | undefined
      deviceName: string | undefined
      labels: Record<string, string>
      signal: AbortSignal
    },
    onProgress: OnProgress,
  ): Promise<CreatedReport> {
    const invite = decodeInvite(options.invite)
    const known = this.#hosts.find((host) => host.id === invite.volume)
    if (known && !known.isRevoked) {
      throw new WormholeError(
        'ALREADY_EXISTS',
        'this device is already a member of that volume: `wormhole status` shows it, `wormhole ' +
          'mount DIR` mounts it; a second device needs a WORMHOLE_HOME of its own',
      )
    }
    await this.#checkMount(options.mount)
    this.#name(options.deviceName)
    onProgress({ text: 'looking for a member of the volume', done: 0, total: 0 })
    const admission = await this.#requestAdmission(invite, options.signal)
    const { box } = this.#identity
    const encoded = unsealFromBox(box, admission.sealedSecrets)
    VolumeSecrets.decode(encoded)
    const settings: VolumeSettings = {
      id: invite.volume,
      name: invite.volume.slice(0, 8),
      generation: 0,
      addresses: admission.addresses,
      admittedBy: admission.member,
    }
    onProgress({ text: 'admitted; fetching names', done: 0, total: 0 })
    const host = known ?? (await this.#openJoined(settings, encoded))
    if (known) await known.readmit(encoded, admission)
    await host.admitted({ signal: options.signal })
    await this.#label(host, options.labels)
    return this.#created(host, options)
  }

  async #openJoined(settings: VolumeSettings, secrets: Uint8Array): Promise<VolumeHost> {
    return this.#open(await this.#files.createVolume(settings, secrets, () => Promise.resolve()))
  }

  async close(): Promise<void> {
    const results = await Promise.allSettled(this.#hosts.map((host) => host.close()))
    const errors = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as unknown] : [],
    )
    if (errors.length > 0) throw new AggregateError(errors, `closing ${this.home}`)
  }

  #name(name: string | undefined): void {
    if (name !== undefined && this.#hosts.length === 0) this.#deviceName = name
    this.#files.setDeviceName(this.#deviceName)
  }

  #network(): NetworkOptions {
    const { bootstrap, bind } = this.#options
    const nodes = bootstrap?.map(({ host, port }) => `${host}:${port}`)
    return {
      bind: bind?.host ?? '0.0.0.0',
      tlsPort: bind?.port ?? 0,
      bootstrap: nodes === undefined ? 'default' : nodes.length === 0 ? 'none' : nodes,
      isMulticast: !bind?.host.startsWith('127.'),
    }
  }

  async #requestAdmission(
    invite: ReturnType<typeof decodeInvite>,
    signal: AbortSignal,
  ): Promise<Admission> {
    const { clock } = this.#options
    const keys = signingKeys(invite.seed)
    const inviteKey = keys.publicKey.toString('hex')
    const request = {
      volume: invite.volume,
      device: this.#identity.device,
      deviceName: this.#deviceName,
      boxKey: this.#identity.box.publicKey,
    }
    const message = admissionMessage({ ...request, inviteKey: keys.publicKey })
    const network = this.#network()
    const isDefault = network.bootstrap === 'default' && invite.bootstrap.length > 0
    const { requestAdmission } = await import('../swarm/network.ts')
    return requestAdmission({
      invite,
      request: { ...request, inviteKey, signature: sign(keys.secretKey, message) },
      network: isDefault ? { ...network, bootstrap: invite.bootstrap } : network,
      clock,
      timeoutMs: ADMISSION_TIMEOUT_MS,
      signal,
    })
  }

  async #open(directory: string): Promise<VolumeHost> {
    const host = await VolumeHost.open({
      directory,
      files: this.#files,
      seed: this.#seed,
      deviceName: this.#deviceName,
      network: this.#network(),
      logger: this.#options.logger.child({ volume: path.basename(directory) }),
    })
    this.#hosts.push(host)
    return host
  }

  async #label(host: VolumeHost, labels: Record<string, string>): Promise<void> {
    if (Object.keys(labels).length > 0) await host.setLabels(labels)
  }

  /** Before anything is made. @throws {WormholeError} `MOUNT_FAILED`. */
  async #checkMount(directory: string | undefined): Promise<void> {
    if (directory === undefined) return
    const { checkMountPoint } = await import('../vfs/fuse/mount.ts')
    await checkMountPoint({ directory }, this.#options.clock)
  }

  async #tryMount(
    host: VolumeHost,
    directory: string,
    owner: OwnerChoice | undefined,
  ): Promise<string | undefined> {
    try {
      await host.mount(directory, owner)
      return undefined
    } catch (error) {
      host.report(error)
      const isExpected = hasCode(error, 'MOUNT_UNAVAILABLE') || hasCode(error, 'MOUNT_FAILED')
      if (!isExpected) throw error
      return error.message
    }
  }

  async #created(
    host: VolumeHost,
    { mount, owner }: { mount: string | undefined; owner: OwnerChoice | undefined },
  ): Promise<CreatedReport> {
    const warning = mount === undefined ? undefined : await this.#tryMount(host, mount, owner)
    return {
      volume: host.id,
      name: host.name,
      device: this.#deviceName,
      mountpoint: host.mountpoint,
      ...(warning === undefined ? {} : { warning }),
    }
  }
}

/** Opens a home: see `OpenHome`. */
export const openHome: OpenHome = async (options) => {
  const home = new Home(options)
  try {
    await home.openAll()
  } catch (error) {
    await home.close()
    throw error
  }
  return home
}
