/**
 * Admission of a new device over one link that was authenticated with an invite's key.
 *
 * The joiner sends one request; the member answers with the volume's secrets, sealed to the joiner,
 * or with a code. Such a link carries nothing else, has little time, and there are few at once.
 */
import { WormholeError, hasCode } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { DeviceId, VolumeId } from '../types.ts'
import type { Admission, AdmissionRequest, KnownAddresses, Link, MemberPort } from './interface.ts'
import { decodeMessage, encodeMessage } from './wire.ts'

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
    link.onMessage = (bytes) => {
      // One request per link: whatever follows is not read.
      if (isAsked) return
      isAsked = true
      void this.#answer(link, bytes)
    }
    link.onClose = () => {
      timer.cancel()
      this.#links.delete(link)
    }
  }

  /** Never rejects for an operating error: the joiner gets its code. */
  async #answer(link: Link, bytes: Buffer): Promise<void> {
    try {
      const sealedSecrets = await this.#members.admit(this.#check(link, bytes))
      link.send(encodeMessage({ type: 'admitted', sealedSecrets, known: this.#addresses() }))
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      link.send(encodeMessage({ type: 'refused', code: error.code, message: error.message }))
    }
    this.#clock.setTimer(FAREWELL_MS, () => link.close())
  }

  /** The request, if it is one and belongs to this link and volume. */
  #check(link: Link, bytes: Buffer): AdmissionRequest {
    const message = decodeMessage(bytes)
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

/**
 * The joiner's side on one link: asks, and closes the link.
 *
 * @throws {WormholeError} the code the member gave, `PEER_UNREACHABLE` when the link closed or time
 *   ran out, `PEER_MISBEHAVED`.
 */
export function askAdmission(
  link: Link,
  request: AdmissionRequest,
  clock: Clock,
): Promise<Admission> {
  return new Promise((resolve, reject) => {
    const fail = (message: string): void => reject(new WormholeError('PEER_UNREACHABLE', message))
    const timer = clock.setTimer(ADMISSION_MS_MAX, () => {
      fail(`${link.remoteAddress} does not answer`)
      link.close()
    })
    link.onClose = () => {
      timer.cancel()
      fail(`${link.remoteAddress} closed the connection`)
    }
    link.onMessage = (bytes) => {
      try {
        resolve(readAnswer(link, bytes))
      } catch (error) {
        reject(error as Error)
      }
      link.close()
    }
    link.send(encodeMessage({ type: 'admission', request }))
  })
}

function readAnswer(link: Link, bytes: Buffer): Admission {
  const message = decodeMessage(bytes)
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
