/** Where the members of a volume meet: a topic in the DHT, names in multicast DNS. */
import { deriveKey } from '../seal.ts'
import type { Beacon, Transport } from './interface.ts'

/** What transports and beacons meet by, from topic keys. */
export function meetingKeys(topicKeys: readonly Uint8Array[]): {
  readonly topics: Buffer[]
  readonly beacons: Buffer[]
} {
  return {
    topics: topicKeys.map((key) => deriveKey(key, 'swarm/topic')),
    beacons: topicKeys.map((key) => deriveKey(key, 'swarm/mdns')),
  }
}

/** To be called when members meet elsewhere: topic keys, the newest first. */
export function meetAt(
  { transports, beacon }: { readonly transports: readonly Transport[]; readonly beacon?: Beacon },
  topicKeys: readonly Uint8Array[],
): void {
  const { topics, beacons } = meetingKeys(topicKeys)
  for (const transport of transports) transport.setTopics?.(topics)
  beacon?.setKeys?.(beacons)
}
