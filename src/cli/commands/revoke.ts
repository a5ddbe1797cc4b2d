/** `wormhole revoke`: takes a device out of the volume. */
import type { DeviceReport, RevokeReport } from '../../daemon/interface.ts'
import { WormholeError } from '../../errors.ts'
import { ask } from '../ask.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean, count } from '../format.ts'

/** Fewest digits of an id that name a device. */
const ID_LENGTH_MIN = 4

/** What it means, and what it does not undo. */
const CONSEQUENCES = [
  'Every device that hears of it cuts it off at once, and it cannot read what is written later.',
  'What it wrote by now stays; what it writes from now on is kept aside and not shown.',
  'It keeps what it has: files that are on it, and the keys of everything written until now.',
  'All open invites end, because it may know them: make new ones with wormhole invite.',
]

/** Revokes one device, named or by id. Asks first, on a terminal. */
export async function revoke(
  context: Context,
  [name]: [string],
  options: { yes?: boolean },
): Promise<number> {
  const devices = await context.call('devices', context.words)
  const device = chooseDevice(devices, name)
  if (options.yes !== true && !(await isMeant(context, device))) {
    context.warn('nothing was changed')
    return EXIT_ERROR
  }
  const report = await context.call('revoke', { ...context.words, device: device.id })
  await context.report(report, () => describe(report))
  return EXIT_DONE
}

/** The member that is meant. @throws {WormholeError} `BAD_ARGUMENT`, with the list of several. */
export function chooseDevice(devices: readonly DeviceReport[], name: string): DeviceReport {
  const members = devices.filter(({ role }) => role !== undefined)
  const isId = new RegExp(`^[0-9a-f]{${ID_LENGTH_MIN},64}$`).test(name)
  const byId = isId ? members.filter(({ id }) => id.startsWith(name)) : []
  const found = [...new Set([...members.filter((each) => each.name === name), ...byId])]
  const [device, ...others] = found
  if (others.length > 0) {
    const list = found.map((each) => `  ${clean(each.name)}  ${each.id}`).join('\n')
    throw new WormholeError('BAD_ARGUMENT', `several devices are called ${name}:\n${list}`)
  }
  if (device?.isSelf) {
    const why = 'this is the device you are on; another admin revokes it'
    throw new WormholeError('BAD_ARGUMENT', why)
  }
  if (device) return device
  const revoked = devices.find((each) => each.revoked !== undefined && each.name === name)
  const why = revoked ? `${name} is revoked already` : `there is no device ${name}`
  throw new WormholeError('BAD_ARGUMENT', `${why}; wormhole devices lists them`)
}

async function isMeant(context: Context, device: DeviceReport): Promise<boolean> {
  const text = [`Revoking ${clean(device.name)} (${device.id.slice(0, 12)}):`, ...CONSEQUENCES]
  const question = `${text.join('\n  ')}\nType its name to go on: `
  const answer = await ask(context, question)
  if (answer !== undefined) return answer === device.name
  throw new WormholeError('BAD_ARGUMENT', 'not on a terminal: say that you mean it with --yes')
}

function describe({ device, members, admins }: RevokeReport): string {
  const left = `${count(members, 'device')} left, ${count(admins, 'admin')} among them.`
  const lines = [`Revoked ${clean(device.name)} (${device.id.slice(0, 12)}). ${left}`]
  return [...lines, ...CONSEQUENCES.map((line) => `  ${line}`)].join('\n')
}
