/** The part of protomux 3 that Wormhole uses; the package ships no types. */
declare module 'protomux' {
  import type { EventEmitter } from 'node:events'

  /** Where an encoding reads or writes. */
  interface EncodingState {
    start: number
    end: number
    buffer: Buffer
  }

  /** An encoding in the manner of compact-encoding. */
  interface Encoding<T> {
    preencode(state: EncodingState, value: T): void
    encode(state: EncodingState, value: T): void
    decode(state: EncodingState): T
  }

  /** What protomux sends and receives frames by: `data`, `drain` and `close` are its events. */
  interface FramedStream extends EventEmitter {
    userData: unknown
    readonly destroyed: boolean
    /** False: wait for `drain`. */
    write(frame: Buffer): boolean
    pause(): void
    resume(): void
    end(): void
    destroy(error?: Error): void
  }

  interface Sender<T> {
    send(value: T): boolean
  }

  interface Channel<T> {
    readonly messages: readonly Sender<T>[]
    open(handshake: T | null): void
  }

  export default class Protomux {
    constructor(stream: FramedStream)
    /** Null when the stream is destroyed, or when the channel is open already. */
    createChannel<T>(options: {
      protocol: string
      handshake?: Encoding<T> | null
      messages: { encoding: Encoding<T>; onmessage(value: T): void }[]
      onopen?(handshake: T | null): void
      onclose?(isRemote: boolean): void
    }): Channel<T> | null
  }
}
