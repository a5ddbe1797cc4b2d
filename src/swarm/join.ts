/**
 * Looking for somebody who lets this device in: every address known or found is dialled until a
 * member answers. Requests are made one after the other, so that one joiner uses up one use.
 */
import { hasCode, WormholeError } from '../errors.ts'
import type { Clock } from '../system.ts'
import { AdmissionCall, isFinalRefusal } from './admission.ts'
import type { Admission, AdmissionRequest, Beacon, Link, Transport } from './interface.ts'

/** Pause between two rounds of dialling. */
const ROUND_MS = 1000
/** One attempt to reach an address. */
const ATTEMPT_MS_MAX = 6000
/** After somebody answered but does not know the invite, others get so long. */
const REFUSED_MS_MAX = 10_000
/** Addresses found on the local network that are tried. */
const FOUND_MAX = 32

/** What a search needs. Transports and beacon use the invite's key pair; closed at the end. */
export interface JoinOptions {
  readonly request: AdmissionRequest
  readonly transports: readonly Transport[]
  readonly beacon: Beacon | undefined
  /** From the invite. */
  readonly addresses: readonly string[]
  readonly clock: Clock
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}

class Search {
  readonly #options: JoinOptions
  readonly #addresses: Set<string>
  readonly #dialling = new Set<string>()
  /** Links not asked yet. */
  readonly #calls: AdmissionCall[] = []
  readonly #abort = new AbortController()
  #isAsking = false
  /** The last reason why a member did not help. */
  #problem: unknown
  #isRefused = false
  #onEnd!: (result: { admission: Admission } | { error: Error }) => void

  constructor(options: JoinOptions) {
    this.#options = options
    this.#addresses = new Set(options.addresses)
  }

  async run(): Promise<Admission> {
    const { clock, transports, beacon, signal, timeoutMs } = this.#options
    const ended = new Promise<{ admission: Admission } | { error: Error }>((resolve) => {
      this.#onEnd = resolve
    })
    const abort = (): void => this.#fail(new WormholeError('ABORTED', 'joining aborted'))
    signal?.addEventListener('abort', abort, { once: true })
    if (signal?.aborted) abort()
    const timer = clock.setTimer(timeoutMs, () => this.#giveUp())
    try {
      const handlers = { isAllowed: () => true, onLink: (link: Link) => this.#onLink(link) }
      await Promise.all(transports.map((transport) => transport.start(handlers)))
      await beacon?.start(({ address }) => {
        if (this.#addresses.size < FOUND_MAX) this.#addresses.add(address)
      })
      this.#round()
      const result = await ended
      if ('error' in result) throw result.error
      return result.admission
    } finally {
      timer.cancel()
      signal?.removeEventListener('abort', abort)
      this.#abort.abort()
      for (const call of this.#calls) call.close()
      await Promise.all([...transports, beacon].map((part) => part?.close()))
    }
  }

  #fail(error: Error): void {
    this.#onEnd({ error })
  }

  #giveUp(): void {
    const cause = this.#problem
    if (this.#isRefused) {
      const why =
        'a member answers but does not accept this invite: it has expired, was used up, ' +
        'or is not known there yet'
      this.#fail(new WormholeError('INVITE_INVALID', why, { cause }))
    } else {
      const why = 'no member could be reached; one of them must be running and connected'
      this.#fail(new WormholeError('PEER_UNREACHABLE', why, { cause }))
    }
  }

  /** Dials everything that is not being dialled, again and again. */
  #round(): void {
    if (this.#abort.signal.aborted) return
    for (const transport of this.#options.transports) {
      if (transport.route !== 'tls') continue
      for (const address of this.#addresses) void this.#dial(transport, address)
    }
    this.#options.beacon?.refresh()
    this.#options.clock.setTimer(ROUND_MS, () => this.#round())
  }

  /** Never rejects for an operating error. */
  async #dial(transport: Transport, address: string): Promise<void> {
    if (this.#dialling.has(address)) return
    this.#dialling.add(address)
    const abort = new AbortController()
    const stop = (): void => abort.abort()
    this.#abort.signal.addEventListener('abort', stop, { once: true })
    const timer = this.#options.clock.setTimer(ATTEMPT_MS_MAX, stop)
    try {
      await transport.dial({ address }, { signal: abort.signal })
    } catch (error) {
      if (!(error instanceof WormholeError)) throw error
      if (error.code !== 'ABORTED') this.#problem = error
      if (hasCode(error, 'NOT_A_MEMBER')) this.#refused()
    } finally {
      timer.cancel()
      this.#abort.signal.removeEventListener('abort', stop)
      this.#dialling.delete(address)
    }
  }

  #refused(): void {
    if (this.#isRefused) return
    this.#isRefused = true
    this.#options.clock.setTimer(REFUSED_MS_MAX, () => this.#giveUp())
  }

  #onLink(link: Link): void {
    this.#calls.push(new AdmissionCall(link, this.#options.clock))
    if (!this.#isAsking) void this.#ask()
  }

  /** Asks one member after the other. Never rejects for an operating error. */
  async #ask(): Promise<void> {
    this.#isAsking = true
    for (let call = this.#calls.shift(); call; call = this.#calls.shift()) {
      try {
        this.#onEnd({ admission: await call.ask(this.#options.request) })
        return
      } catch (error) {
        if (!(error instanceof WormholeError)) throw error
        this.#problem = error
        if (isFinalRefusal(error)) return this.#fail(error)
      }
    }
    this.#isAsking = false
  }
}

/**
 * Finds a member and asks it to let this device in.
 *
 * @throws {WormholeError} `INVITE_EXPIRED`, `INVITE_USED_UP`, `INVITE_INVALID` as a member said;
 *   `INVITE_INVALID` when members refuse the invite's key; `PEER_UNREACHABLE` when none was found
 *   in time; `ABORTED`.
 */
export function findAdmission(options: JoinOptions): Promise<Admission> {
  return new Search(options).run()
}
