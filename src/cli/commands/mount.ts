/** `wormhole mount` and `wormhole unmount`. */
import { EXIT_DONE, type Context } from '../context.ts'
import { clean } from '../format.ts'

/** Mounts a volume. */
export async function mount(
  context: Context,
  [directory]: [string],
  { owner }: { owner?: string },
): Promise<number> {
  const chosen = owner === undefined ? {} : { owner }
  const params = { ...context.words, directory: context.localPath(directory), ...chosen }
  const report = await context.call('mount', params)
  await context.report(report, () =>
    clean(`Volume ${report.volume} is mounted at ${report.mountpoint}.`),
  )
  return EXIT_DONE
}

/** Unmounts the volume at a directory, or the chosen one. */
export async function unmount(
  context: Context,
  [directory]: [string | undefined],
): Promise<number> {
  const where = directory === undefined ? {} : { directory: context.localPath(directory) }
  const report = await context.call('unmount', { ...context.words, ...where })
  await context.report(report, () =>
    report.mountpoint === undefined
      ? clean(`Volume ${report.volume} is not mounted.`)
      : clean(`Volume ${report.volume} is unmounted from ${report.mountpoint}.`),
  )
  return EXIT_DONE
}
