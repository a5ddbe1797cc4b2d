/**
 * What the policies above a directory say to programs here: whether they may change anything in it,
 * and how large files may become. Asked by every operation that makes or changes something, so what
 * was decided is remembered until a policy, or what lies above some directory, has changed.
 *
 * Each device enforces this for its own programs. What others publish counts whatever they knew: an
 * entry that was valid for its author can be refused by nobody without the trees falling apart.
 */
import type { NodeView } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import { WormholeError } from '../errors.ts'
import { decideValue } from '../policy/decide.ts'
import { POLICY_FILE_NAME } from '../policy/parse.ts'
import { sizeInBytes } from '../policy/size.ts'
import type { InodeId, Role } from '../types.ts'

/** Directories remembered; beyond that all are asked anew. */
const KNOWN_MAX = 4096

interface Rules {
  readonly isReadOnly: boolean
  readonly fileSizeBytesMax: number
}

/** See the head of this file. */
export class FolderRules {
  readonly #overlay: Overlay
  readonly #role: () => Role
  readonly #known = new Map<InodeId, Rules>()
  #epoch = -1

  constructor(options: { overlay: Overlay; role: () => Role }) {
    this.#overlay = options.overlay
    this.#role = options.role
  }

  /** @throws {WormholeError} `READ_ONLY` on a device that may only read. */
  checkRole(): void {
    if (this.#role() !== 'reader') return
    throw readOnly('this device may read the volume, not change it')
  }

  /** @throws {WormholeError} `READ_ONLY`, also where `access.readonly` leaves changes to admins. */
  checkWritable(directory: InodeId): void {
    this.checkRole()
    if (this.#role() === 'admin' || !this.#of(directory).isReadOnly) return
    throw readOnly('only admins change what is in this folder: its policy sets access.readonly')
  }

  /** As `checkWritable`, for what a node shows: of a directory itself, of all else where it is. */
  checkChangeable({ kind, id, parent }: Pick<NodeView, 'kind' | 'id' | 'parent'>): void {
    this.checkWritable(kind === 'directory' ? id : parent)
  }

  /** Size that a file in a directory can be written to; a policy file may always be mended. */
  fileSizeMax({ parent, name }: { readonly parent: InodeId; readonly name: string }): number {
    if (name === POLICY_FILE_NAME) return Number.MAX_SAFE_INTEGER
    return this.#of(parent).fileSizeBytesMax
  }

  #of(directory: InodeId): Rules {
    const { policyEpoch } = this.#overlay
    if (policyEpoch !== this.#epoch || this.#known.size >= KNOWN_MAX) {
      this.#known.clear()
      this.#epoch = policyEpoch
    }
    const known = this.#known.get(directory)
    if (known !== undefined) return known
    const policies = this.#overlay.policies(directory).map(({ policy }) => policy)
    const limit = sizeInBytes(decideValue('limits.file_size', policies))
    const rules = {
      isReadOnly: decideValue('access.readonly', policies),
      fileSizeBytesMax: Math.min(limit, Number.MAX_SAFE_INTEGER),
    }
    this.#known.set(directory, rules)
    return rules
  }
}

function readOnly(message: string): WormholeError {
  return new WormholeError('READ_ONLY', message)
}

/** A file that would become larger than it may. */
export function tooLarge(sizeBytesMax: number): WormholeError {
  const message =
    sizeBytesMax === Number.MAX_SAFE_INTEGER
      ? 'files end at 2^53 − 1 bytes'
      : `files here may have ${sizeBytesMax} bytes: the policy sets limits.file_size`
  return new WormholeError('FILE_TOO_LARGE', message)
}
