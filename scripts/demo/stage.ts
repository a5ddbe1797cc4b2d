/**
 * The stage of the demonstration: three devices on this machine, with real mounts and separate
 * networks where the machine allows it, and what comes nearest where it does not.
 */
import fs from 'node:fs/promises'
import path from 'node:path'
import type { ConflictReport, CreatedReport, FileReport } from '../../src/daemon/interface.ts'
import { createNetwork, whyNoNetwork, type Network } from '../../test/helpers/netns.ts'
import { createDevices, startBootstrap, whyNoMount } from '../../test/helpers/process.ts'
import type { Device } from '../../test/helpers/process.ts'
import type { Teardown } from '../../test/helpers/teardown.ts'
import type { Narrator } from './narrator.ts'

/** The devices of the story. */
export const NAMES = ['alice', 'bob', 'carol'] as const
/** One of them. */
export type Name = (typeof NAMES)[number]

const SYNC_TIMEOUT_S = 60
const COMMAND_TIMEOUT_MS = 90_000

/** Three devices, and how the story reaches their files and cuts their network. */
export class Stage {
  readonly devices: Readonly<Record<Name, Device>>
  readonly isMounted: boolean
  readonly #network: Network | undefined
  readonly #narrator: Narrator

  private constructor(
    devices: Record<Name, Device>,
    isMounted: boolean,
    network: Network | undefined,
    narrator: Narrator,
  ) {
    this.devices = devices
    this.isMounted = isMounted
    this.#network = network
    this.#narrator = narrator
  }

  /** Builds the stage and says what this machine allows. Taken down at the end of `t`. */
  static async open(t: Teardown, narrator: Narrator): Promise<Stage> {
    const noMount = whyNoMount()
    const noNetwork = whyNoNetwork()
    if (noMount !== undefined) narrator.say(`no mounts: ${noMount}; using put, cat and ls instead`)
    if (noNetwork !== undefined) {
      narrator.say(`one network for all: ${noNetwork}; a partition stops daemons instead`)
    }
    const network = noNetwork === undefined ? createNetwork(t, NAMES) : undefined
    const bootstrap = await startBootstrap(t, network)
    narrator.say(`an own bootstrap node runs at ${bootstrap}; nothing leaves this machine`)
    const devices = createDevices(t, NAMES, {
      bootstrap,
      ...(network === undefined ? {} : { network }),
    })
    return new Stage(devices, noMount === undefined, network, narrator)
  }

  /** Runs a command that prints JSON, and shows it as typed. */
  async command<T>(name: Name, words: readonly string[]): Promise<T> {
    const shown = words.map((word) => (word.length > 60 ? `${word.slice(0, 24)}…` : word))
    this.#narrator.command(name, shown)
    return this.devices[name].json<T>(words, { timeoutMs: COMMAND_TIMEOUT_MS })
  }

  /** Creates the volume on one device; returns the invite. */
  async init(name: Name): Promise<string> {
    const words = ['init', '--name', 'demo', '--device', name, ...this.#mountWords(name)]
    const { invite } = await this.command<CreatedReport>(name, words)
    if (invite === undefined) throw new Error('init printed no invite')
    return invite
  }

  /** Lets a device join. */
  async join(name: Name, invite: string): Promise<CreatedReport> {
    const words = ['join', invite, '--device', name, ...this.#mountWords(name)]
    return this.command<CreatedReport>(name, words)
  }

  #mountWords(name: Name): string[] {
    return this.isMounted ? ['--mount', this.devices[name].mountpoint] : []
  }

  /** Writes a whole file of the volume's root. */
  async write(name: Name, file: string, bytes: string | Buffer): Promise<void> {
    const device = this.devices[name]
    if (this.isMounted) await fs.writeFile(device.path(file), bytes)
    else await device.run(['put', '-', `/${file}`], { input: bytes })
  }

  /** The text of a file; undefined when it is not there. */
  async read(name: Name, file: string): Promise<string | undefined> {
    const device = this.devices[name]
    if (!this.isMounted) {
      const { code, stdout } = await device.run(['cat', `/${file}`], { codes: [0, 1] })
      return code === 0 ? stdout : undefined
    }
    try {
      return await fs.readFile(device.path(file), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  /** The names in the volume's root, sorted. */
  async list(name: Name): Promise<string[]> {
    const device = this.devices[name]
    if (this.isMounted) return (await fs.readdir(device.mountpoint)).sort()
    const files = await device.json<FileReport[]>(['ls', '/'])
    return files.map((file) => file.name).sort()
  }

  /** Waits until `name` and everybody it can reach are equal. */
  async sync(name: Name, options: { require: number }): Promise<void> {
    const limits = ['--timeout', String(SYNC_TIMEOUT_S), '--require', String(options.require)]
    await this.command(name, ['sync', '--wait', ...limits])
  }

  /** The conflicts that a device sees. */
  conflicts(name: Name): Promise<ConflictReport[]> {
    return this.command<ConflictReport[]>(name, ['conflicts'])
  }

  /**
   * Runs two parts of the story while bob and the others cannot reach each other: by pulling bob's
   * cable, or, without networks of their own, by stopping whoever is not on.
   */
  async apart(others: () => Promise<void>, bobAlone: () => Promise<void>): Promise<void> {
    const { alice, bob, carol } = this.devices
    if (this.#network !== undefined) {
      this.#network.cut('bob')
      this.#narrator.say("bob's network cable is pulled")
      await others()
      await bobAlone()
      this.#network.heal('bob')
      this.#narrator.say("bob's cable is back")
      return
    }
    await bob.stop()
    this.#narrator.say('bob is off')
    await others()
    await Promise.all([alice.stop(), carol.stop()])
    this.#narrator.say('alice and carol are off, bob is on')
    await bob.run(['up'])
    await bobAlone()
    await Promise.all([alice.run(['up']), carol.run(['up'])])
    this.#narrator.say('everybody is on')
  }

  /** Where a person can look at the files. */
  places(): string[] {
    return NAMES.map((name) => {
      const { mountpoint, home } = this.devices[name]
      return this.isMounted
        ? mountpoint
        : `WORMHOLE_HOME=${home} node ${path.join('bin', 'wormhole.js')} ls`
    })
  }
}
