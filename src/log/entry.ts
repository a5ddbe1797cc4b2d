import type { Random } from '../system.ts'
import type { SigningKeys } from '../seal.ts'
import type { FeedHead, FeedId, Frontier, VolumeId } from '../types.ts'
import type { Entry, EntryBody, EntryFrame, LogKeys } from './interface.ts'

/** Where an entry is written. */
export interface EntryPlace {
  /** Undefined for the genesis entry only: its hash becomes the volume id. */
  readonly volume: VolumeId | undefined
  readonly feed: FeedId
  /** The feed's head before it; undefined for the first entry. */
  readonly head: FeedHead | undefined
  /** Frontier of the feed's previous entry (`MemberTable.frontierOf`); empty for the first. */
  readonly previousFrontier: Frontier
}

/** Seals and signs an entry. */
export function sealEntry(
  body: EntryBody,
  place: EntryPlace,
  use: { readonly keys: LogKeys; readonly signing: SigningKeys; readonly random: Random },
): EntryFrame {
  throw new Error(`${body} ${place} ${use}`)
}

/** Checks limits, checksum, and signature of one frame's exact bytes; needs no secret. */
export function verifyFrame(
  bytes: Uint8Array,
  place: { readonly volume: VolumeId; readonly feed: FeedId },
): EntryFrame {
  throw new Error(`${bytes} ${place}`)
}

/** Opens a verified frame. `tree` stays undefined without its key. */
export function openEntry(
  frame: EntryFrame,
  use: {
    readonly volume: VolumeId
    readonly keys: LogKeys
    /** Full frontier of the feed's previous entry; empty for the first. */
    readonly previousFrontier: Frontier
  },
): Entry {
  throw new Error(`${frame} ${use}`)
}
