/** A volume's visible tree as plain data, to compare. */
import { hash } from '../../src/seal.ts'
import { ROOT, type VfsUser } from './vfs-user.ts'

/** Longer contents are shown as their size and digest. */
const LONG = 1024

/** A file's content (latin1) as `dumpTree` shows it. */
export function shortened(content: string): string {
  if (content.length <= LONG) return content
  return `${content.length} bytes, ${hash(Buffer.from(content)).toString('hex')}`
}

/** One line per path: type, mode, names, and bytes or target. */
export async function dumpTree(device: VfsUser): Promise<Map<string, string>> {
  const lines = new Map<string, string>()
  const walk = async (nodeId: number, path: string): Promise<void> => {
    for (const entry of await device.names(nodeId)) {
      const found = device.lookup(nodeId, entry)
      if (!found) throw new Error(`listed and not found: ${path}/${entry}`)
      const { attr } = found
      const at = `${path}/${entry}`
      const type = attr.mode & 0o170000
      let what = ''
      if (type === 0o100000) {
        const handle = device.open(found.nodeId, 0)
        for (let piece = ' '; piece !== ''; what += piece) {
          piece = await device.read(handle, what.length)
        }
        device.close(handle)
        if (what.length !== attr.sizeBytes) what += ` but size ${attr.sizeBytes}`
        what = shortened(what)
      } else if (type === 0o120000) {
        what = (await device.fs.readlink(found.nodeId)).toString('latin1')
      }
      lines.set(at, `${attr.mode.toString(8)} ${attr.nlink} ${JSON.stringify(what)}`)
      if (type === 0o040000) await walk(found.nodeId, at)
      device.fs.forget(found.nodeId, 1)
    }
  }
  await walk(ROOT, '')
  return lines
}
