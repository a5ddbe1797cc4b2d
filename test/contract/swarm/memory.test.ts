/** Proves that the simulated transport keeps the contract of `Transport`, by running its suite. */
import { MemoryNetwork } from '../../../src/swarm/memory.ts'
import { SimClock } from '../../helpers/sim-clock.ts'
import { testDevice } from '../../helpers/swarm-world.ts'
import { transportSuite } from './transport.ts'

transportSuite('memory', async () => {
  // Time passes on its own, so that a promise of the transport settles while a test awaits it.
  const clock = new SimClock()
  const network = new MemoryNetwork({ clock, delayMs: 3, bytesPerMs: 100_000 })
  let isOpen = true
  void (async () => {
    while (isOpen) await clock.run(1)
  })()
  return {
    station(index) {
      const key = testDevice(index).device
      return { key, transport: network.transport(key, { isListening: true }) }
    },
    addressOf: (station) => network.addressOf(station.key),
    until: (condition, what) => clock.until(condition, 5000, what),
    async close() {
      isOpen = false
    },
  }
})
