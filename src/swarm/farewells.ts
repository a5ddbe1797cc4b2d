/**
 * What a revoked device is told. Its links carry nothing but the entry that revoked it: it cannot
 * get that from the log, because nobody serves it the log any more.
 */
import { WormholeError } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { DeviceId, VolumeId } from '../types.ts'
import type { Link, MemberPort } from './interface.ts'
import { Session } from './session.ts'

/** How long such a link may live. */
const FAREWELL_MS_MAX = 5000
/** How many there are at once. */
const LINKS_MAX = 16

/** What its sessions are made of. */
export interface FarewellsOptions {
  readonly members: MemberPort
  readonly volume: VolumeId
  readonly clock: Clock
  readonly silenceMsMax: number
  /** This process run. */
  readonly instance: string
}

/** Serves links of revoked devices. */
export class Farewells {
  readonly #options: FarewellsOptions
  readonly #links = new Set<Link>()

  constructor(options: FarewellsOptions) {
    this.#options = options
  }

  /** Whether a key is that of a revoked device. */
  isRevoked(key: string): boolean {
    return this.#options.members.farewell?.(key as DeviceId) !== undefined
  }

  /** The last words in a session with a device that is no member any more. */
  end(session: Session): void {
    const farewell = this.#options.members.farewell?.(session.device)
    if (farewell && session.isReady) session.send({ type: 'farewell', ...farewell })
    session.close(new WormholeError('NOT_A_MEMBER', 'not a member any more'))
  }

  /** A link of a revoked device: says why, and closes. */
  serve(link: Link): void {
    if (this.#links.size >= LINKS_MAX) return link.close()
    this.#links.add(link)
    const timer = this.#options.clock.setTimer(FAREWELL_MS_MAX, () => link.close())
    new Session({
      ...this.#options,
      link,
      addresses: [],
      handlers: {
        onReady: (session) => {
          const farewell = this.#options.members.farewell?.(session.device)
          if (farewell) session.send({ type: 'farewell', ...farewell })
          session.close()
        },
        onMessage: () => {},
        onDrain: () => {},
        onClose: () => {
          timer.cancel()
          this.#links.delete(link)
        },
      },
    })
  }

  /** Ends what is under way. */
  close(): void {
    for (const link of this.#links) link.close()
  }
}
