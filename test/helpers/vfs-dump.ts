/** A volume's visible tree as plain data, to compare. */
import { hasCode } from '../../src/errors.ts'
import { hash } from '../../src/seal.ts'
import { ROOT, type VfsUser } from './vfs-user.ts'

/** Longer contents are shown as their size and digest. */
const LONG = 1024
/** What is shown of a content that nobody has. */
export const UNAVAILABLE = 'unavailable'

/** A file's content (latin1) as `dumpTree` shows it. */
export function shortened(content: string): string {
  if (content.length <= LONG) return content
  return `${content.length} bytes, ${hash(Buffer.from(content)).toString('hex')}`
}

async function readWhole(device: VfsUser, handle: number, sizeBytes: number): Promise<string> {
  let text = ''
  try {
    for (let piece = ' '; piece !== ''; text += piece) {
      piece = await device.read(handle, text.length)
    }
  } catch (error) {
    if (!hasCode(error, 'CHUNK_UNAVAILABLE')) throw error
    return UNAVAILABLE
  }
  if (text.length !== sizeBytes) text += ` but size ${sizeBytes}`
  return shortened(text)
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
        what = await readWhole(device, handle, attr.sizeBytes)
        device.close(handle)
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
