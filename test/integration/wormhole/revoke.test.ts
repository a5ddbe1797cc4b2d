/**
 * Proves a revocation between real daemons: sessions end, what is written later is neither accepted
 * from the revoked device nor readable by it, who was away learns of it, and who joins later reads
 * old and new. The command line says what it does. No mounts.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { DeviceReport, RevokeReport } from '../../../src/daemon/interface.ts'
import { openEntry } from '../../../src/log/entry.ts'
import { DiskFeedStore } from '../../../src/log/feeds.ts'
import { EMPTY_FRONTIER } from '../../../src/log/frontier.ts'
import { VolumeSecrets } from '../../../src/log/keys.ts'
import { HomeFilesStore } from '../../../src/daemon/home-files.ts'
import { systemDisk } from '../../../src/disk.ts'
import { systemRandom } from '../../../src/system.ts'
import { temporaryDirectory } from '../../helpers/cli.ts'
import { createDevices, waitFor, type Device } from '../../helpers/process.ts'
import { createVolumeOfDevices, syncAll } from '../../helpers/volume-of-devices.ts'

const OPTIONS = { isMounted: false }
const PATIENCE = { timeoutMs: 60_000 }

async function put(device: Device, scratch: string, target: string, text: string): Promise<void> {
  const file = path.join(scratch, 'file')
  fs.writeFileSync(file, text)
  await device.run(['put', file, target])
}

async function namesOf(device: Device): Promise<string[]> {
  const files = await device.json<{ name: string }[]>(['ls', '/'])
  return files.map(({ name }) => name).sort()
}

function devicesOf(device: Device): Promise<DeviceReport[]> {
  return device.json<DeviceReport[]>(['devices'])
}

async function connectedTo(device: Device): Promise<string[]> {
  return (await device.json<{ name: string }[]>(['peers'])).map(({ name }) => name).sort()
}

/** Entries of the log in `holder`'s home that the secrets in `reader`'s home open, and do not. */
function readable(reader: Device, holder: Device): { open: number; shut: number } {
  const files = (home: string) =>
    new HomeFilesStore({ home, disk: systemDisk, random: systemRandom })
  const [directory] = files(holder.home).volumeDirectories()
  const [own] = files(reader.home).volumeDirectories()
  assert.ok(directory && own)
  const keys = VolumeSecrets.decode(files(reader.home).secrets(own)).logKeys()
  const { id: volume } = files(holder.home).settings(directory)
  const feeds = DiskFeedStore.open({
    disk: systemDisk,
    random: systemRandom,
    directory: `${directory}/log`,
    volume,
  })
  let [open, shut] = [0, 0]
  for (const feed of feeds.frontier().keys()) {
    for (const frame of feeds.read(feed, 0, 1 << 30)) {
      try {
        openEntry(frame, { volume, keys, previousFrontier: EMPTY_FRONTIER })
        open++
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'KEY_MISSING')
        shut++
      }
    }
  }
  return { open, shut }
}

test('alice revokes carol while bob is away; dave joins later', async (t) => {
  const names = ['alice', 'bob', 'carol'] as const
  const { alice, bob, carol, invite } = await createVolumeOfDevices(t, names, OPTIONS)
  const { dave } = createDevices(t, ['dave'])
  const scratch = temporaryDirectory(t)
  await put(carol, scratch, '/by carol', 'while she is in')
  await syncAll([alice, bob, carol])
  await bob.run(['down'])

  // The command: it wants to be sure, knows whom it means, and says what it does.
  const unsure = await alice.run(['revoke', 'carol'], { codes: [2] })
  assert.match(unsure.stderr, /--yes/)
  assert.match((await alice.run(['revoke', 'erin', '--yes'], { codes: [2] })).stderr, /no device/)
  assert.match((await alice.run(['revoke', 'alice', '--yes'], { codes: [2] })).stderr, /you are on/)
  assert.match(
    (await carol.run(['revoke', 'bob', '--yes'], { codes: [1] })).stderr,
    /NOT_PERMITTED/,
  )
  const report = await alice.json<RevokeReport>(['revoke', 'carol', '--yes'])
  assert.deepEqual([report.device.name, report.members, report.admins], ['carol', 2, 1])

  // Carol is told why, is alone, and changes nothing any more; what she had she can read.
  await waitFor(async () => (await carol.run(['status', '--json'])).stdout.includes('REVOKED'), {
    ...PATIENCE,
    what: 'carol learns it',
  })
  assert.match((await carol.run(['status'])).stdout, /alice revoked this device/)
  fs.writeFileSync(path.join(scratch, 'late'), 'late')
  const late = await carol.run(['put', path.join(scratch, 'late'), '/late'], { codes: [1] })
  assert.match(late.stderr, /READ_ONLY|REVOKED/)
  assert.deepEqual(await namesOf(carol), ['by carol'])
  assert.deepEqual([await connectedTo(alice), await connectedTo(carol)], [[], []])
  const listed = await devicesOf(alice)
  const row = listed.find(({ name }) => name === 'carol')
  assert.deepEqual([row?.role, row?.revoked?.by], [undefined, 'alice'])
  assert.match((await alice.run(['devices'])).stdout, /carol .*revoked .* by alice/)

  // A daemon of carol that is started anew is refused and told again.
  await carol.run(['down'])
  await carol.run(['up'])
  await put(alice, scratch, '/secret', 'not for carol')

  // Bob comes back, learns it from the log, and reads what is sealed with the new keys.
  await bob.run(['up'])
  await waitFor(async () => (await namesOf(bob)).includes('secret'), {
    ...PATIENCE,
    what: 'bob shows what was written meanwhile',
  })
  await waitFor(async () => (await devicesOf(bob)).some(({ revoked }) => revoked !== undefined), {
    ...PATIENCE,
    what: 'bob knows that carol is out',
  })
  await put(bob, scratch, '/of bob', 'not for carol either')
  assert.deepEqual(await connectedTo(carol), [])

  // The old invite has ended; with a new one dave gets everything.
  const old = await dave.run(['join', invite, '--device', 'dave'], { codes: [1] })
  assert.match(old.stderr, /INVITE_EXPIRED/)
  const { invite: fresh } = await alice.json<{ invite: string }>(['invite'])
  await dave.run(['join', fresh, '--device', 'dave'])
  await syncAll([alice, bob, dave])
  const all = ['by carol', 'of bob', 'secret']
  for (const device of [alice, bob, dave]) {
    assert.deepEqual(await namesOf(device), all, device.name)
    for (const name of all) {
      const { stdout } = await device.run(['cat', `/${name}`])
      assert.equal(stdout, name === 'by carol' ? 'while she is in' : stdout)
      assert.notEqual(stdout, '')
    }
  }

  // Her secrets do not open what was written since, whoever gives her the log.
  assert.deepEqual(await namesOf(carol), ['by carol'])
  for (const device of [alice, bob, dave]) await device.run(['down'])
  await carol.run(['down'])
  assert.ok(readable(carol, alice).shut >= 4, JSON.stringify(readable(carol, alice)))
  assert.equal(readable(bob, alice).shut, 0)
  assert.equal(readable(dave, alice).shut, 0)
})

test('who was away when it was revoked wrote in vain, and is let in again', async (t) => {
  const names = ['alice', 'bob', 'carol'] as const
  const { alice, bob, carol } = await createVolumeOfDevices(t, names, OPTIONS)
  const scratch = temporaryDirectory(t)
  await syncAll([alice, bob, carol])
  await alice.run(['down'])
  await bob.run(['down'])
  await put(carol, scratch, '/in vain', 'written offline')
  await carol.run(['down'])
  await alice.run(['up'])
  const { id } = (await devicesOf(alice)).find(({ name }) => name === 'carol') as DeviceReport
  await alice.run(['revoke', id.slice(0, 10), '--yes'])
  await bob.run(['up'])
  await carol.run(['up'])
  await waitFor(async () => (await carol.run(['status', '--json'])).stdout.includes('REVOKED'), {
    ...PATIENCE,
    what: 'carol learns it when she comes back',
  })
  await syncAll([alice, bob])
  for (const device of [alice, bob]) assert.deepEqual(await namesOf(device), [], device.name)

  const { invite } = await alice.json<{ invite: string }>(['invite'])
  await carol.run(['join', invite])
  await syncAll([alice, bob, carol])
  for (const device of [alice, bob, carol]) {
    assert.deepEqual(await namesOf(device), ['in vain'], device.name)
  }
  await put(carol, scratch, '/back', 'again')
  await syncAll([alice, bob, carol])
  assert.deepEqual(await namesOf(bob), ['back', 'in vain'])
})
