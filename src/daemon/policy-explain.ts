/** `wormhole policy explain`: what holds for a path, and which line of which file says so. */
import type { Overlay } from '../crdt/overlay.ts'
import { WormholeError } from '../errors.ts'
import { decidePolicy, type DecidedValue } from '../policy/decide.ts'
import type { DeviceLabels } from '../policy/interface.ts'
import { POLICY_FILE_NAME } from '../policy/parse.ts'
import { nameFromText, type InodeId } from '../types.ts'
import type { Vfs } from '../vfs/vfs.ts'
import type { ExplainReport } from './interface.ts'
import { readPolicyFile } from './policy-watch.ts'
import { joinPath, pathOf } from './tree-paths.ts'

/** The canonical policy of one directory. */
interface Layer {
  readonly directory: InodeId
  readonly policy: string
}

const OTHER =
  'it says something else than what holds: two devices changed it at once (see `conflicts`), or ' +
  'this one died while it was replaced; settle it, or save it anew'

const PINNED = 'it is pinned on this device: all of it is kept here, whatever local.keep says'

/** What the file beside a policy adds to it: places, or why it has none. */
interface FileFacts {
  readonly lines: ReadonlyMap<string, number>
  readonly note?: string
}

/** See the head of this file. Lives on the fs thread. */
export class PolicyExplainer {
  readonly #overlay: Overlay
  readonly #vfs: Vfs
  readonly #isHere: (inode: InodeId) => boolean
  readonly #pinAbove: (inode: InodeId) => string | undefined
  readonly #labelsOf: (device: string | undefined) => Promise<DeviceLabels[]>

  /**
   * @param options - `isHere`: whether the bytes of a file can be read without the network.
   *   `pinAbove`: the path that is pinned on this device and holds an inode.
   *   `labelsOf`: of the members with a name or id; of this device when none is given.
   */
  constructor(options: {
    overlay: Overlay
    vfs: Vfs
    isHere: (inode: InodeId) => boolean
    pinAbove: (inode: InodeId) => string | undefined
    labelsOf: (device: string | undefined) => Promise<DeviceLabels[]>
  }) {
    this.#overlay = options.overlay
    this.#vfs = options.vfs
    this.#isHere = options.isHere
    this.#pinAbove = options.pinAbove
    this.#labelsOf = options.labelsOf
  }

  /** Methods for an `Rpc`. */
  readonly handlers = {
    policyExplain: (args: { path: string; device?: string }) => this.#explain(args),
  }

  async #explain({ path, device }: { path: string; device?: string }): Promise<ExplainReport> {
    const labels = await this.#labels(device)
    const entry = this.#vfs.paths.stat(path, { follow: true })
    const node = this.#overlay.node(entry.inode)
    const directory = entry.type === 'directory' || !node ? entry.inode : node.parent
    const layers = this.#overlay.policies(directory)
    const { values, unreadable } = decidePolicy(layers, labels)
    const facts = new Map<InodeId, FileFacts>()
    for (const layer of layers) facts.set(layer.directory, await this.#factsOf(layer))
    const pin = device === undefined ? this.#pinAbove(entry.inode) : undefined
    const notes = [
      ...(pin === undefined ? [] : [{ file: pin, message: PINNED }]),
      ...unreadable.map(({ directory: at, message }) => ({ file: this.#file(at), message })),
      ...[...facts].flatMap(([at, { note }]) =>
        note === undefined ? [] : [{ file: this.#file(at), message: note }],
      ),
    ]
    return {
      path,
      device: labels['device'] ?? '',
      values: values.map((value) => this.#value(value, facts)),
      notes,
    }
  }

  async #labels(device: string | undefined): Promise<DeviceLabels> {
    const [labels, another] = await this.#labelsOf(device)
    if (!labels) {
      const what = `there is no device ${device}; \`wormhole devices\` lists them`
      throw new WormholeError('NOT_FOUND', what)
    }
    if (another) {
      const what = `several devices are called ${device}: give an id from \`wormhole devices\``
      throw new WormholeError('BAD_ARGUMENT', what)
    }
    return labels
  }

  #value(
    decided: DecidedValue<InodeId>,
    facts: ReadonlyMap<InodeId, FileFacts>,
  ): ExplainReport['values'][number] {
    const { key, value, reason, directory, label, pending } = decided
    const lines = directory === undefined ? undefined : facts.get(directory)?.lines
    const line = label === undefined ? undefined : lines?.get(`${key}.${label}`)
    return {
      key,
      value,
      from: directory === undefined ? 'default' : this.#file(directory),
      reason,
      line: reason === 'set' ? (line ?? lines?.get(key)) : undefined,
      ...(label === undefined ? {} : { label }),
      ...(pending === undefined ? {} : { pending }),
    }
  }

  #file(directory: InodeId): string {
    return joinPath(pathOf(this.#overlay, directory), POLICY_FILE_NAME)
  }

  /** Where the file of a directory sets each key, if it says what holds. */
  async #factsOf(layer: Layer): Promise<FileFacts> {
    const none = new Map<string, number>()
    const found = this.#overlay.lookup(layer.directory, nameFromText(POLICY_FILE_NAME))
    if (found?.kind !== 'file')
      return { lines: none, note: 'it is gone; its policy is still known' }
    if (!this.#isHere(found.id)) return { lines: none, note: 'its text is not on this device' }
    const parsed = await readPolicyFile(this.#vfs.paths, this.#file(layer.directory))
    if ('problems' in parsed) {
      return { lines: none, note: 'it has mistakes: its last valid text holds, see `policy check`' }
    }
    if (parsed.canonical !== layer.policy) {
      return { lines: none, note: OTHER }
    }
    return { lines: parsed.lines }
  }
}
