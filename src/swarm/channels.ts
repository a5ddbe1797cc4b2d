/**
 * The messages of `wire.ts` in protomux channels over one link.
 *
 * protomux trusts its peer further than we do: it recurses through batches, answers every channel
 * it does not know, buffers for channels that are not open, and throws again outside of any handler
 * what looks like a fault of the program. So every frame is looked at before protomux sees it:
 * control frames are short and few, batches are refused, ids are single bytes. All channels are
 * opened before anything arrives, so nothing is ever buffered. Within protomux a message is only
 * decoded; it is handed on after protomux has returned, so that no fault of ours ends there.
 */
import assert from 'node:assert'
import { EventEmitter } from 'node:events'
import Protomux, { type Encoding, type EncodingState, type Sender } from 'protomux'
import { WormholeError } from '../errors.ts'
import type { Link } from './interface.ts'
import {
  channelMessages,
  decodeMessage,
  encodeMessage,
  MESSAGES,
  type ChannelName,
  type Message,
  type MessageType,
} from './wire.ts'

/** Bytes that may wait for a peer that does not read before it is given up. */
const QUEUED_BYTES_MAX = 64 * 1024 * 1024
/** Longest control frame: the hello is the longest. */
export const CONTROL_BYTES_MAX = 1024
/** Control frames on one link: a few channels are opened, some perhaps rejected. */
export const CONTROL_FRAMES_MAX = 64
/** From here on protomux writes an integer in several bytes. Fewer channels and types will do. */
const LONG_INTEGER_FROM = 0xfd
/** Channel 0 controls the others. Its messages: 1 opens, 2 rejects, 3 closes a channel. */
const CONTROL = 0
const OPEN = 1
const CLOSE = 3
const NOTHING: readonly Uint8Array[] = []

/** A message that may be sent. The hello goes with the opening of the session channel. */
export type Outgoing = Exclude<Message, { type: 'hello' }>

/** What the user of channels is told. */
export interface ChannelsHandlers {
  /** What it throws is thrown on: operating errors it deals with itself. */
  onMessage(message: Message): void
  onDrain(): void
  /** Once. */
  onClose(error: Error | undefined): void
}

/** What protomux takes for the stream: frames of one link. */
class FrameStream extends EventEmitter {
  userData: unknown = null
  destroyed = false
  isWritable = true
  /** What follows the frame that is being written: bulk that protomux need not copy. */
  bulk: readonly Uint8Array[] = NOTHING
  readonly #link: Link
  #queuedBytes = 0

  constructor(link: Link) {
    super()
    this.#link = link
  }

  write(frame: Buffer): boolean {
    const parts = this.bulk.length === 0 ? [frame] : [frame, ...this.bulk]
    this.bulk = NOTHING
    this.isWritable = this.#link.send(parts)
    if (this.isWritable) this.#queuedBytes = 0
    else {
      for (const part of parts) this.#queuedBytes += part.length
      if (this.#queuedBytes > QUEUED_BYTES_MAX) this.#misbehaves('does not read')
    }
    return this.isWritable
  }

  drained(): void {
    this.isWritable = true
    this.#queuedBytes = 0
    this.emit('drain')
  }

  closed(): void {
    this.destroyed = true
    this.emit('close')
  }

  /** protomux asks for it when too much waits for channels that are not open. */
  pause(): void {
    this.#misbehaves('sends to a channel that is not open')
  }

  resume(): void {}

  end(): void {
    this.#link.close()
  }

  /** What a decoder of ours threw, or what protomux says of malformed frames. */
  destroy(error?: Error): void {
    if (error instanceof WormholeError) this.#link.close(error)
    else this.#misbehaves(error?.message ?? 'broke the multiplexing')
  }

  #misbehaves(message: string): void {
    this.#link.close(misbehaviour(this.#link, message))
  }
}

/** The channels of one link. Takes over the link's handlers. */
export class Channels {
  readonly #link: Link
  readonly #stream: FrameStream
  readonly #senders = new Map<MessageType, Sender<Message>>()
  #controlFrames = 0
  /** Decoded within protomux, handed on after it. */
  #received: Message | undefined

  /** Opens channels. A `hello` goes with the opening of `session`, as the link's first frame. */
  constructor(
    link: Link,
    options: {
      readonly open: readonly ChannelName[]
      readonly hello?: Extract<Message, { type: 'hello' }>
      readonly handlers: ChannelsHandlers
    },
  ) {
    const { handlers } = options
    const stream = new FrameStream(link)
    this.#link = link
    this.#stream = stream
    link.onMessage = (frame) => this.#receive(frame, handlers)
    link.onDrain = () => {
      stream.drained()
      handlers.onDrain()
    }
    link.onClose = (error) => {
      stream.closed()
      handlers.onClose(error)
    }
    const mux = new Protomux(stream)
    for (const name of options.open) this.#open(mux, name, options.hello)
  }

  /**
   * Sends a message whatever waits before it, on a channel that was opened here. Returns whether
   * more is welcome before a drain.
   */
  send(message: Outgoing): boolean {
    const sender = this.#senders.get(message.type)
    assert(sender, `no channel for ${message.type} is open`)
    sender.send(message)
    return this.#stream.isWritable
  }

  #open(mux: Protomux, name: ChannelName, hello: Message | undefined): void {
    const take = (message: Message | null): void => {
      if (message) this.#received = message
    }
    const types = channelMessages(name)
    const channel = mux.createChannel<Message>({
      protocol: `wormhole/${name}`,
      handshake: name === 'session' ? this.#encoding('hello') : null,
      messages: types.map((type) => ({ encoding: this.#encoding(type), onmessage: take })),
      onopen: take,
      onclose: () => {
        if (!this.#stream.destroyed) this.#stream.destroy(new Error(`wants no channel ${name}`))
      },
    })
    assert(channel, 'a new link has no channels')
    for (const [index, type] of types.entries()) {
      this.#senders.set(type, channel.messages[index] as Sender<Message>)
    }
    channel.open(hello ?? null)
  }

  #encoding(type: MessageType): Encoding<Message> {
    const stream = this.#stream
    const { bytesMax } = MESSAGES[type]
    // protomux calls both within one send: the parts wait here in between.
    let parts = NOTHING
    return {
      preencode(state: EncodingState, message: Message): void {
        parts = encodeMessage(message)
        state.end += (parts[0] as Uint8Array).length
      },
      encode(state: EncodingState): void {
        const header = parts[0] as Uint8Array
        state.buffer.set(header, state.start)
        state.start += header.length
        if (parts.length > 1) stream.bulk = parts.slice(1)
        parts = NOTHING
      },
      decode(state: EncodingState): Message {
        const bytes = state.buffer.subarray(state.start, state.end)
        state.start = state.end
        if (bytes.length > bytesMax) {
          throw new WormholeError('PEER_MISBEHAVED', `${type} of ${bytes.length} bytes`)
        }
        return decodeMessage(type, bytes)
      },
    }
  }

  #receive(frame: Buffer, handlers: ChannelsHandlers): void {
    const problem = this.#problemOf(frame)
    if (problem !== undefined) {
      this.#link.close(misbehaviour(this.#link, problem))
      return
    }
    this.#stream.emit('data', frame)
    const message = this.#takeReceived()
    if (message) handlers.onMessage(message)
  }

  #takeReceived(): Message | undefined {
    const message = this.#received
    this.#received = undefined
    return message
  }

  /** What speaks against giving this frame to protomux. Frame: channel, type, then the body. */
  #problemOf(frame: Buffer): string | undefined {
    // Not by destructuring, which would make an iterator for every frame.
    const channel = frame[0]
    const type = frame[1]
    const id = frame[2]
    if (channel === undefined || type === undefined) return 'a frame without a type'
    if (channel >= LONG_INTEGER_FROM || type >= LONG_INTEGER_FROM) return 'an id out of range'
    if (channel !== CONTROL) {
      return channel > this.#controlFrames ? 'a message in a channel never opened' : undefined
    }
    if (type < OPEN || type > CLOSE) return `control message ${type}`
    if (id === undefined || id === CONTROL || id >= LONG_INTEGER_FROM) return 'an id out of range'
    if (frame.length > CONTROL_BYTES_MAX) return `a control frame of ${frame.length} bytes`
    if (++this.#controlFrames > CONTROL_FRAMES_MAX) return 'too many control frames'
    return undefined
  }
}

function misbehaviour(link: Link, message: string): WormholeError {
  return new WormholeError('PEER_MISBEHAVED', `${link.remoteKey.slice(0, 8)}: ${message}`)
}
