/**
 * Proves which volume and path a person's words mean. Fake volumes with and without mounts.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseVolume, locate } from '../../../src/daemon/target.ts'
import { FakeHome } from '../../helpers/fake-home.ts'

function homeWith(...mounts: (string | undefined)[]): FakeHome {
  const home = new FakeHome('/home')
  mounts.forEach((mountpoint, index) => {
    home.addVolume('abc'[index] as string).mountpoint = mountpoint
  })
  return home
}

test('target: the volume', () => {
  const one = homeWith(undefined)
  assert.equal(chooseVolume(one, { cwd: '/' }).name, 'a')
  assert.throws(() => chooseVolume(homeWith(), { cwd: '/' }), { code: 'NOT_FOUND' })
  const two = homeWith('/mnt/a', '/mnt/b')
  assert.throws(() => chooseVolume(two, { cwd: '/' }), {
    code: 'BAD_ARGUMENT',
    message: /--volume/,
  })
  assert.equal(chooseVolume(two, { cwd: '/mnt/b/x' }).name, 'b')
  assert.equal(chooseVolume(two, { cwd: '/mnt/b/x', volume: 'a' }).name, 'a')
  assert.equal(chooseVolume(two, { cwd: '/', volume: '22' }).name, 'b')
  assert.throws(() => chooseVolume(two, { cwd: '/', volume: '3' }), { code: 'NOT_FOUND' })
  assert.throws(() => chooseVolume(two, { cwd: '/', volume: '' }), { code: 'NOT_FOUND' })
  two.addVolume('a')
  assert.throws(() => chooseVolume(two, { cwd: '/', volume: 'a' }), { code: 'BAD_ARGUMENT' })
})

test('target: the path', () => {
  const home = homeWith('/mnt/a', '/mnt/a/inner')
  const at = (path: string | undefined, cwd: string, volume?: string): string => {
    const found = locate(home, { path, cwd, ...(volume === undefined ? {} : { volume }) })
    return `${found.volume.name}:${found.path}`
  }
  assert.equal(at('/mnt/a', '/'), 'a:/')
  assert.equal(at('/mnt/a/x//y/', '/'), 'a:/x/y')
  assert.equal(at('/mnt/a/inner/z', '/'), 'b:/z')
  assert.equal(at('x', '/mnt/a/d'), 'a:/d/x')
  assert.equal(at('../x', '/mnt/a/d'), 'a:/x')
  assert.equal(at('a/x', '/mnt'), 'a:/x')
  assert.equal(at('/x/../y', '/mnt/a'), 'a:/y')
  assert.equal(at('/mnt/ab', '/', 'a'), 'a:/mnt/ab')
  assert.equal(at('/mnt/a/x', '/', 'b'), 'b:/mnt/a/x')
  assert.equal(at(undefined, '/mnt/a/d'), 'a:/d')
  assert.equal(at(undefined, '/', 'b'), 'b:/')
  assert.throws(() => at('../../x', '/mnt/a/d'), { code: 'BAD_ARGUMENT' })
  assert.throws(() => at('x', '/', 'a'), { code: 'BAD_ARGUMENT' })
  assert.throws(() => at('', '/mnt/a'), { code: 'BAD_ARGUMENT' })
  assert.throws(() => at('/a\0', '/mnt/a'), { code: 'BAD_ARGUMENT' })
  assert.throws(() => at(`/${'x'.repeat(5000)}`, '/mnt/a'), { code: 'NAME_TOO_LONG' })
})
