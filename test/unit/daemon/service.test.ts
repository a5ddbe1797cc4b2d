/**
 * Proves what the systemd unit says, for root and for a user, with awkward paths. The text is
 * compared with what systemd.exec(5) and systemd.service(5) ask for.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serviceUnit } from '../../../src/daemon/service.ts'

const base = {
  home: '/var/lib/worm hole',
  isDefaultHome: false,
  program: ['/usr/bin/node', '/opt/worm$hole/100%/"bin"/wormhole.js'],
  uid: 0,
  env: { WORMHOLE_BIND: '10.0.0.1', WORMHOLE_LOG: '', HOME: '/home/u' },
}

test('service: a system unit', () => {
  const unit = serviceUnit(base)
  assert.match(unit.file, /^\/etc\/systemd\/system\/wormhole-[0-9a-f]{8}\.service$/)
  const lines = unit.text.split('\n')
  assert.ok(lines.includes('Environment="WORMHOLE_HOME=/var/lib/worm hole"'))
  assert.ok(lines.includes('Environment="WORMHOLE_BIND=10.0.0.1"'))
  assert.ok(!unit.text.includes('WORMHOLE_LOG'))
  assert.ok(
    lines.includes(
      'ExecStart="/usr/bin/node" "/opt/worm$$hole/100%%/\\"bin\\"/wormhole.js" "up" "--foreground"',
    ),
  )
  assert.ok(lines.includes('WantedBy=multi-user.target'))
  assert.ok(lines.includes('Restart=on-failure'))
  assert.ok(unit.installCommands.includes(`systemctl enable --now ${unit.file.split('/').pop()}`))
})

test('service: a user unit of the default home', () => {
  const unit = serviceUnit({ ...base, uid: 1000, isDefaultHome: true })
  assert.equal(unit.file, '/home/u/.config/systemd/user/wormhole.service')
  assert.match(unit.text, /WantedBy=default\.target/)
  assert.ok(!unit.text.includes('network-online'))
  assert.ok(unit.installCommands.includes('loginctl enable-linger'))
  assert.throws(() => serviceUnit({ ...base, uid: 1, env: {} }), { code: 'BAD_ARGUMENT' })
})

test('service: what cannot stand in a unit file is refused', () => {
  assert.throws(() => serviceUnit({ ...base, home: '/a\nExecStart=/bin/evil' }), {
    code: 'BAD_ARGUMENT',
  })
})
