/**
 * Proves which files, sockets and addresses an environment means, and that wrong ones are refused
 * with the variable's name. Pure functions on small environments.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  SOCKET_PATH_BYTES_MAX,
  homeDirectory,
  networkOptions,
  parseBind,
  parseBootstrap,
  socketPath,
} from '../../../src/daemon/paths.ts'

test('paths: the home', () => {
  assert.equal(homeDirectory({ WORMHOLE_HOME: 'x', HOME: '/h' }, '/w'), '/w/x')
  assert.equal(homeDirectory({ XDG_DATA_HOME: '/d', HOME: '/h' }, '/w'), '/d/wormhole')
  assert.equal(homeDirectory({ XDG_DATA_HOME: 'd', HOME: '/h' }, '/w'), '/h/.local/share/wormhole')
  assert.throws(() => homeDirectory({}, '/w'), { code: 'BAD_ARGUMENT' })
})

test('paths: the control socket is short, and one per home', () => {
  const env = { XDG_RUNTIME_DIR: '/run/user/7' }
  assert.match(socketPath(env, 7, '/a'), /^\/run\/user\/7\/wormhole\/[0-9a-f]{8}\.sock$/)
  assert.match(socketPath({}, 7, '/a'), /^\/tmp\/wormhole-7\/[0-9a-f]{8}\.sock$/)
  assert.notEqual(socketPath({}, 7, '/a'), socketPath({}, 7, '/b'))
  const fitting = `/${'d'.repeat(SOCKET_PATH_BYTES_MAX - 15)}`
  assert.equal(socketPath({ WORMHOLE_RUNTIME: fitting }, 7, '/a').length, SOCKET_PATH_BYTES_MAX)
  assert.throws(() => socketPath({ WORMHOLE_RUNTIME: `${fitting}d` }, 7, '/a'), {
    code: 'BAD_ARGUMENT',
    message: /108 bytes.*WORMHOLE_RUNTIME/,
  })
})

test('paths: bootstrap nodes', () => {
  assert.equal(parseBootstrap(undefined), undefined)
  assert.equal(parseBootstrap(' '), undefined)
  assert.deepEqual(parseBootstrap('none'), [])
  assert.deepEqual(parseBootstrap('a.example:1, 10.0.0.1:65535,[fd00::1]:7'), [
    { host: 'a.example', port: 1 },
    { host: '10.0.0.1', port: 65535 },
    { host: 'fd00::1', port: 7 },
  ])
  const wrong = ['a', 'a:', 'a:0', 'a:65536', ':1', 'a:1,', 'a:1;b:2', '[::1', '[x]:1', 'a b:1']
  for (const bad of wrong) {
    assert.throws(() => parseBootstrap(bad), {
      code: 'BAD_ARGUMENT',
      message: /WORMHOLE_BOOTSTRAP/,
    })
  }
})

test('paths: the address to listen on', () => {
  assert.deepEqual(parseBind('127.0.0.1'), { host: '127.0.0.1', port: 0 })
  assert.deepEqual(parseBind('127.0.0.1:80'), { host: '127.0.0.1', port: 80 })
  assert.deepEqual(parseBind('fd00::1'), { host: 'fd00::1', port: 0 })
  assert.deepEqual(parseBind('[fd00::1]:80'), { host: 'fd00::1', port: 80 })
  for (const bad of ['localhost', '1.2.3', '1.2.3.4:x', '1.2.3.4:70000', '[1.2.3.4]:1']) {
    assert.throws(() => parseBind(bad), { code: 'BAD_ARGUMENT', message: /WORMHOLE_BIND/ })
  }
  assert.deepEqual(networkOptions({}), { bootstrap: undefined, bind: undefined })
})
