/**
 * Stories for the tests of merging: what is shared, what each device then does apart, and the tree
 * that all of them show in the end.
 */
import assert from 'node:assert/strict'
import { World, type Device } from './world.ts'

/** Runs a story: `before` is shared, then each part happens on a device of its own. */
export function story(
  deviceCount: number,
  before: (first: Device) => void,
  parts: readonly ((device: Device) => void)[],
): { world: World; lines: string[] } {
  const world = new World({ seed: 1, deviceCount })
  before(world.devices[0] as Device)
  world.settle()
  for (const [index, part] of parts.entries()) {
    part(world.devices[index] as Device)
    world.nowMs += 1000
  }
  return { world, lines: settled(world) }
}

/** Delivers everything; all devices and a newcomer must show the same. */
export function settled(world: World): string[] {
  world.settle()
  const [first] = world.devices as [Device]
  const lines = first.lines()
  for (const device of [...world.devices, world.newcomer()]) {
    device.check()
    assert.deepEqual(device.lines(), lines)
    assert.deepEqual(device.shown(), lines)
  }
  return lines
}
