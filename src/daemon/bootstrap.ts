/** An own node of the DHT, for the command line: devices find each other through it. */
import type { Address } from './paths.ts'

/** A listening bootstrap node. */
export interface BootstrapNode extends Address {
  close(): Promise<void>
}

/** Listens on UDP until it is closed. @throws `IO_ERROR` when the address is not free. */
export async function openBootstrapNode(address: Address): Promise<BootstrapNode> {
  const { bootstrapNode } = await import('../swarm/hyperswarm.ts')
  return bootstrapNode(address)
}
