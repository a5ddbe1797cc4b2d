/**
 * Proves that the namespaces of the helper form a network whose cables can be pulled, and that they
 * leave nothing behind. Sends datagrams between two of them; needs root.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { createNetwork, whyNoNetwork } from '../../helpers/netns.ts'
import { runProgram } from '../../helpers/command.ts'
import { waitFor } from '../../helpers/process.ts'

const skip = whyNoNetwork() ?? false

/** One UDP datagram and its echo, with nothing but Node: ping may be missing. */
const LISTEN = `
  const socket = require('node:dgram').createSocket('udp4')
  socket.on('message', (bytes, from) => {
    socket.send(bytes, from.port, from.address, () => String(bytes) === 'end' && process.exit())
  })
  socket.bind(4000)`
const ASK = `
  const [host, word] = process.argv.slice(1)
  const socket = require('node:dgram').createSocket('udp4')
  socket.on('message', () => process.exit(0))
  const ask = () => socket.send(word, 4000, host, () => {})
  ask()
  setInterval(ask, 20)
  setTimeout(() => process.exit(1), 500)`

test('devices reach each other until a cable is pulled', { skip }, async (t) => {
  const network = createNetwork(t, ['alice', 'bob'])
  const run = (name: string, ...words: string[]): ReturnType<typeof runProgram> =>
    runProgram([...network.prefix(name), process.execPath, '-e', ...words], process.env)
  const ask = async (word: string): Promise<boolean> =>
    (await run('alice', ASK, network.address('bob'), word)).code === 0
  const listening = run('bob', LISTEN)
  await waitFor(() => ask('hello'), { what: 'the network is up' })
  network.cut('bob')
  assert.equal(await ask('hello'), false)
  network.heal('bob')
  await waitFor(() => ask('end'), { what: 'the cable is back' })
  await listening
  const namespace = path.basename(network.prefix('bob')[1] as string)
  assert.ok(fs.existsSync(`/run/netns/${namespace}`))
  network.close()
  assert.ok(!fs.existsSync(`/run/netns/${namespace}`))
})
