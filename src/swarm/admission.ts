/**
 * Admission of a new device over one link that was authenticated with an invite's key.
 *
 * The joiner sends one request; the member answers with the volume's secrets, sealed to the joiner,
 * or with a code. Such a link carries nothing else, has little time, and there are few at once.
 */
import { WormholeError, hasCode } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { DeviceId, VolumeId } from '../types.ts'
import { Channels } from './channels.ts'
import type { Admission, AdmissionRequest, KnownAddresses, Link, MemberPort } from './interface.ts'
import type { Message } from './wire.ts'

/** Time for a whole admission. */
const ADMISSION_MS_MAX = 20_000
/** Admissions under way at once. */
const ADMISSIONS_MAX = 16
/** How long an answered link stays open for the joiner to read the answer. */
const FAREWELL_MS = 1000

/** The member's side. */
export class AdmissionDesk {
  readonly #volume: VolumeId
  readonly #members: MemberPort
  readonly #clock: Clock
  readonly #addresses: () => KnownAddresses[]
  readonly #links = new Set<Link>()

  /** `addresses` tells where members are, this device first. */
  constructor(options: {
    volume: VolumeId
    members: MemberPort
    clock: Clock
    addresses: () => KnownAddresses[]
  }) {
    this.#volume = options.volume
    this.#members = options.members
    this.#clock = options.clock
    this.#addresses = options.addresses
  }

  /** Serves one joiner. The link's key is that of an open invite. */
  serve(link: Link): void {
    if (this.#links.size >= ADMISSIONS_MAX) {
      link.close()
      return
    }
    this.#links.add(link)
    const timer = this.#clock.setTimer(ADMISSION_MS_MAX, () => link.close())
    let isAsked = false
    const channels = new Channels(link, {
      open: ['admission'],
      handlers: {
        onMessage: (message) => {
          // One request per link: whatever follows is not looked at.
          if (isAsked) return
          isAsked = true
          void this.#answer(link, channels, message)
        },
        onDrain: () => {},
        onClose: () => {
          timer.cancel()
          this.#links.delete(link)
        },
      },
    })
  }

  /** Never rejects for an operating error: the joiner gets its code. */
  async #answer(link: Link, channels: Channels, message: Message): Promise<void> {
    try {
      const sealedSecrets = await this.#members.admit(this.#check(link, message))
      channels.send({ type: 'admitted', sealedSecrets, known: this.#addresses() })
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      channels.send({ type: 'refused', code: error.code, message: error.message })
    }
    this.#clock.setTimer(FAREWELL_MS, () => link.close())
  }

  /** The request, if it is one and belongs to this link and volume. */
  #check(link: Link, message: Message): AdmissionRequest {
    if (message.type !== 'admission') {
      throw new WormholeError('PEER_MISBEHAVED', 'an invite key may only ask for admission')
    }
    const { request } = message
    if (request.inviteKey !== link.remoteKey) {
      throw new WormholeError('INVITE_INVALID', 'the request names another invite than the link')
    }
    if (request.volume !== this.#volume) {
      throw new WormholeError('INVITE_INVALID', 'the invite is for another volume')
    }
    return request
  }

  /** Ends what is under way. */
  close(): void {
    for (const link of this.#links) link.close()
  }
}

/** The joiner's side on one link: made when there is a link, asks once. */
export class AdmissionCall {
  readonly #link: Link
  readonly #clock: Clock
  readonly #channels: Channels
  readonly #answer: Promise<Admission>

  constructor(link: Link, clock: Clock) {
    this.#link = link
    this.#clock = clock
    let resolve!: (admission: Admission) => void
    let reject!: (error: Error) => void
    this.#answer = new Promise((...settle) => ([resolve, reject] = settle))
    // Nobody may have asked when the link breaks; who asks later is told.
    this.#answer.catch(() => {})
    this.#channels = new Channels(link, {
      open: ['admission'],
      handlers: {
        onMessage: (message) => {
          try {
            resolve(readAnswer(link, message))
          } catch (error) {
            reject(error as Error)
          }
          link.close()
        },
        onDrain: () => {},
        onClose: (error) => reject(hasCode(error, 'PEER_MISBEHAVED') ? error : silent(link)),
      },
    })
  }

  /**
   * Asks, and closes the link after the answer.
   *
   * @throws {WormholeError} the code the member gave, `PEER_UNREACHABLE` when the link closed or
   *   time ran out, `PEER_MISBEHAVED`.
   */
  async ask(request: AdmissionRequest): Promise<Admission> {
    const timer = this.#clock.setTimer(ADMISSION_MS_MAX, () => this.close())
    try {
      this.#channels.send({ type: 'admission', request })
      return await this.#answer
    } finally {
      timer.cancel()
    }
  }

  /** Gives up. Idempotent. */
  close(): void {
    this.#link.close()
  }
}

function silent(link: Link): WormholeError {
  return new WormholeError('PEER_UNREACHABLE', `${link.remoteAddress} closed without an answer`)
}

function readAnswer(link: Link, message: Message): Admission {
  if (message.type === 'refused') throw new WormholeError(message.code, message.message)
  if (message.type !== 'admitted') {
    throw new WormholeError('PEER_MISBEHAVED', `${link.remoteAddress} answers something else`)
  }
  const member = link.remoteKey as DeviceId
  const others = message.known.filter((each) => each.device !== member)
  const own = message.known.find((each) => each.device === member)?.addresses ?? []
  // The address that worked comes first: the member may not know how it looks from here.
  const isDialled = link.route === 'tls' && link.isInitiator
  const addresses = isDialled ? [...new Set([link.remoteAddress, ...own])] : own
  return {
    member,
    // A copy, so that the message's buffer is not kept alive.
    sealedSecrets: Buffer.from(message.sealedSecrets),
    addresses: [{ device: member, addresses }, ...others],
  }
}

/** Whether a member's refusal is final: asking another member would not help. */
export function isFinalRefusal(error: unknown): boolean {
  return (
    hasCode(error, 'INVITE_EXPIRED') ||
    hasCode(error, 'INVITE_USED_UP') ||
    hasCode(error, 'INVITE_INVALID') ||
    hasCode(error, 'NOT_PERMITTED') ||
    hasCode(error, 'UPGRADE_NEEDED')
  )
}
